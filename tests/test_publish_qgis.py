import datetime as dt

import numpy as np
import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

from lesniva.publish.cog import RasterStats, rgba
from lesniva.publish.layers import LAYERS
from lesniva.publish.qgis import (
    ALERT_CAUSE,
    ALERT_STATUS,
    alerts_style,
    districts_style,
    forecast_style,
    raster_style,
    verdicts_style,
    write_style,
)

NOTHING = RasterStats(9, 0, None, None, None, None, {})


def parse(qml):
    assert qml.startswith("<!DOCTYPE qgis")
    root = ElementTree.fromstring(qml)
    assert tuple(map(int, root.get("version").split("."))) >= (3, 16)
    return root


def dated(first, last):
    numbers = [int(f"{day:%Y%m%d}") for day in (first, last)]
    return RasterStats(9, 9, *numbers, 0.0, 0.0, {})


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "name", ["status", "coverage", "coverage_week", "cropland", "productivity"]
)
def test_classes_are_shown_by_name_in_the_colours_of_the_file(name, language):
    root = parse(raster_style(LAYERS[name], NOTHING, language=language))
    assert root.find("pipe/rasterrenderer").get("type") == "paletted"
    entries = {
        int(entry.get("value")): (entry.get("label"), entry.get("color"))
        for entry in root.iter("paletteEntry")
    }
    assert entries == {
        known.value: (known.name_ru if language == "ru" else known.name_en, known.colour)
        for known in LAYERS[name].classes
    }


def test_an_index_is_coloured_in_its_own_unit_not_in_numbers_of_the_file():
    root = parse(raster_style(LAYERS["ndvi"], NOTHING))
    values = [float(item.get("value")) for item in root.iter("item")]
    assert values == [stop.value for stop in LAYERS["ndvi"].ramp]
    assert root.find(".//colorrampshader").get("colorRampType") == "INTERPOLATED"


def test_transparency_of_a_colour_reaches_the_style():
    root = parse(raster_style(LAYERS["probability"], NOTHING))
    assert next(root.iter("item")).attrib == {
        "value": "0",
        "label": "0 %",
        "color": "#ffffff",
        "alpha": "0",
    }


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("2026-06-03", "2026-07-11", ["1–10 Jun 2026", "11–20 Jun 2026", "21–31 Jun 2026"]),
        ("2025-11-30", "2026-06-01", ["Nov 2025", "Dec 2025", "Jan 2026"]),
        ("2019-05-01", "2026-06-01", ["2019", "2020", "2021"]),
    ],
)
def test_dates_are_coloured_by_dekad_month_or_year(first, last, labels):
    stats = dated(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
    root = parse(raster_style(LAYERS["first_anomaly"], stats, language="en"))
    assert [item.get("label") for item in root.iter("item")][:3] == labels


@given(
    st.dates(dt.date(2015, 1, 2), dt.date(2040, 1, 1)),
    st.integers(0, 3000),
    st.floats(0, 1),
)
def test_every_date_falls_into_the_period_that_names_it(first, days, share):
    last = first + dt.timedelta(days)
    date = first + dt.timedelta(int(days * share))
    root = parse(raster_style(LAYERS["first_anomaly"], dated(first, last), language="ru"))
    items = [(float(item.get("value")), item.get("label")) for item in root.iter("item")]
    assert items == sorted(items, key=lambda item: item[0])
    number = int(f"{date:%Y%m%d}")
    label = next(label for value, label in items if number <= value)
    assert label.endswith(str(date.year))
    # No period at either end is empty of dates the file may hold.
    assert items[0][1] == next(text for value, text in items if int(f"{first:%Y%m%d}") <= value)
    assert int(f"{last:%Y%m%d}") <= items[-1][0]
    assert len(items) == 1 or items[-2][0] < int(f"{last:%Y%m%d}")


def test_a_date_layer_without_dates_has_a_style_all_the_same():
    assert len(list(parse(raster_style(LAYERS["confirmed_on"], NOTHING)).iter("item"))) == 1


def test_the_style_stands_beside_the_raster_under_the_name_qgis_looks_for(tmp_path):
    path = write_style(tmp_path / "status.tif", LAYERS["status"], NOTHING)
    assert path == tmp_path / "status.qml"
    parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("by", "known"), [("status", ALERT_STATUS), ("cause", ALERT_CAUSE)])
def test_alerts_are_coloured_by_an_attribute(by, known):
    root = parse(alerts_style(by=by))
    assert root.find("renderer-v2").get("attr") == by
    values = {entry.get("value"): entry.get("symbol") for entry in root.iter("category")}
    assert set(values) == {category.value for category in known}
    assert set(values.values()) == {symbol.get("name") for symbol in root.iter("symbol")}


def test_symbol_properties_stand_for_old_and_new_qgis_alike():
    layer = next(parse(districts_style()).iter("layer"))
    old = {prop.get("k"): prop.get("v") for prop in layer.iter("prop")}
    new = {option.get("name"): option.get("value") for option in layer.findall("Option/Option")}
    assert old == new
    assert old["color"] == "0,0,0,0"


def test_columns_have_russian_titles():
    aliases = {
        alias.get("field"): alias.get("name") for alias in parse(alerts_style()).iter("alias")
    }
    assert aliases["area_ha"] == "площадь, га"


@given(st.lists(st.floats(0, 9, width=32) | st.just(np.nan), max_size=30))
def test_every_forecast_falls_into_a_class(values):
    root = parse(forecast_style(np.array(values)))
    ranges = [(float(r.get("lower")), float(r.get("upper"))) for r in root.iter("range")]
    assert len(ranges) <= 5
    for value in values:
        assert np.isnan(value) or any(lower <= value <= upper for lower, upper in ranges)


def test_a_verdict_is_chosen_from_a_list():
    root = parse(verdicts_style(language="en"))
    widget = root.find("fieldConfiguration/field[@name='verdict']/editWidget")
    assert widget.get("type") == "ValueMap"
    choices = {o.get("name"): o.get("value") for o in widget.iter("Option") if o.get("value")}
    assert choices == {
        "confirmed": "confirmed",
        "false alert": "false",
        "other cause": "other_cause",
    }


def test_a_colour_has_four_parts():
    assert rgba("#010203") == (1, 2, 3, 255)
    assert rgba("#01020304") == (1, 2, 3, 4)
