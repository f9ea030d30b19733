"""Whose ground alerts lie on: the unit with most of each, permits valid at the time."""

import geopandas as gpd
import pandas as pd
import pytest
from shapely.geometry import box

from lesniva import alerts, config
from lesniva.errors import InputError
from lesniva.pipeline import telling


def squares(*corners, **columns):
    """Squares of 0.01° by their lower left corners, in hundredths from 39° E, 52° N."""
    shapes = [box(39 + x / 100, 52 + y / 100, 39.01 + x / 100, 52.01 + y / 100) for x, y in corners]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")


def changed(*corners, first="2023-05-01", last="2023-05-20"):
    count = len(corners)
    return squares(
        *corners,
        alert_id=[str(number) for number in range(count)],
        date_min=pd.to_datetime([first] * count),
        date_max=pd.to_datetime([last] * count),
    )


def permits(*corners, start=None, end=None):
    count = len(corners)
    return squares(
        *corners,
        id=[f"P{number}" for number in range(count)],
        start=pd.to_datetime([start] * count),
        end=pd.to_datetime([end] * count),
    )


def test_an_alert_gets_the_unit_with_most_of_it_and_its_share():
    units = squares((0, 0), (1, 0), id=["12", "13"], name=["Двенадцатый", "Тринадцатый"])
    found = alerts.with_unit(changed((0.3, 0), (0.8, 0)), units, "kvartal")
    assert found["kvartal_id"].tolist() == ["12", "13"]
    assert found["kvartal"].tolist() == ["Двенадцатый", "Тринадцатый"]
    assert found["kvartal_overlap_share"].tolist() == pytest.approx([0.7, 0.8])


def test_outside_all_units_there_is_none():
    units = squares((5, 5), id=["12"], name=["x"])
    found = alerts.with_unit(changed((0, 0)), units, "kvartal")
    assert found["kvartal_id"].tolist() == [None]
    assert found["kvartal_overlap_share"].tolist() == [0.0]


def test_no_alerts_get_the_columns_all_the_same():
    nothing = changed((0, 0)).iloc[:0]
    units = squares((0, 0), id=["12"], name=["x"])
    assert {"kvartal", "kvartal_id"} <= set(alerts.with_unit(nothing, units, "kvartal").columns)
    assert len(alerts.with_permit(nothing, permits((0, 0)))) == 0


@pytest.mark.parametrize(("shift", "expected"), [(0.0, "P0"), (0.45, "P0"), (0.55, None)])
def test_an_alert_is_inside_a_permit_that_has_at_least_half_of_it(shift, expected):
    found = alerts.with_permit(changed((shift, 0)), permits((0, 0)))
    assert found["inside_permit"].tolist() == [expected]
    assert found["permit_overlap_share"].item() == pytest.approx(1 - shift, abs=1e-3)


def test_permits_side_by_side_count_together_and_overlapping_ones_once():
    found = alerts.with_permit(changed((0.4, 0)), permits((0, 0), (1, 0), (1, 0)))
    assert found["permit_overlap_share"].item() == pytest.approx(1.0)
    assert found["inside_permit"].item() == "P0"


@pytest.mark.parametrize(
    ("start", "end", "valid"),
    [
        (None, None, True),
        ("2023-05-20", None, True),
        ("2023-05-21", None, False),
        (None, "2023-05-01", True),
        (None, "2023-04-30", False),
        ("2023-05-05", "2023-05-06", True),
    ],
)
def test_a_permit_counts_when_it_was_valid_while_the_change_happened(start, end, valid):
    found = alerts.with_permit(changed((0, 0)), permits((0, 0), start=start, end=end))
    assert found["inside_permit"].tolist() == (["P0"] if valid else [None])
    assert found["permit_overlap_share"].item() == (1.0 if valid else 0.0)


# ── Files that users bring ────────────────────────────────────────────────────────────────────


def job(folder, tables):
    path = folder / "job.toml"
    path.write_text(
        f"""
        journey = "forest"
        [area]
        file = "area.geojson"
        [source]
        kind = "catalog"
        href = "catalog.json"
        [period]
        start = 2020-01-01
        end = 2023-12-31
        [monitor]
        history_end = 2021-12-31
        {tables}
        """
    )
    return config.read(path)


UNITS = '[[alerts.units]]\nname = "kvartal"\nfile = "k.shp"\nid_column = "NUM"\n'


def test_old_shapefiles_in_any_crs_are_read_by_their_encoding(tmp_path):
    table = squares((0, 0), NUM=[12], IMYA=["Усманское"]).to_crs("EPSG:32637")
    table.to_file(tmp_path / "k.shp", encoding="cp1251")
    (tmp_path / "k.cpg").unlink()
    asked = f'{UNITS}name_column = "IMYA"\nencoding = "cp1251"\n'
    units = telling.read_layers(job(tmp_path, asked)).units["kvartal"]
    assert units["name"].tolist() == ["Усманское"]
    assert units["id"].tolist() == ["12"]
    assert units.crs.to_epsg() == 4326
    assert units.geometry.item().centroid.x == pytest.approx(39.005, abs=1e-4)


def test_dates_of_permits_are_read_as_russians_and_computers_write_them(tmp_path):
    squares((0, 0), (1, 0), N=["a", "b"], S=["01.05.2023", "2023-05-01"]).to_file(
        tmp_path / "p.gpkg"
    )
    asked = '[alerts.permits]\nfile = "p.gpkg"\nid_column = "N"\nstart_column = "S"\n'
    found = telling.read_layers(job(tmp_path, asked)).permits
    assert found["start"].tolist() == [pd.Timestamp("2023-05-01")] * 2
    assert found["end"].isna().all()


def test_all_faults_of_all_layers_are_told_at_once(tmp_path):
    squares((0, 0), N=["a"], S=["soon"]).to_file(tmp_path / "p.gpkg")
    asked = (
        f'{UNITS}[alerts.permits]\nfile = "p.gpkg"\nid_column = "N"\nstart_column = "S"\n'
        '[alerts]\nhotspots = "no.geojson"\n'
    )
    with pytest.raises(InputError) as told:
        telling.read_layers(job(tmp_path, asked))
    message = str(told.value)
    assert "k.shp: No such file" in message
    assert "no.geojson: No such file" in message
    assert "S of feature 1 is 'soon'; write dates as YYYY-MM-DD or DD.MM.YYYY" in message


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    squares((0, 0), N=["a"]).to_file(tmp_path / "k.shp")
    with pytest.raises(InputError, match=r"no column NUM; it has N"):
        telling.read_layers(job(tmp_path, UNITS))


def test_a_layer_may_not_take_the_name_of_a_column_of_alerts(tmp_path):
    squares((0, 0), NUM=["a"]).to_file(tmp_path / "k.shp")
    with pytest.raises(InputError, match=r"status is a column of all alerts"):
        telling.read_layers(job(tmp_path, UNITS.replace("kvartal", "status")))


def test_two_layers_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"kvartal is there twice"):
        job(tmp_path, UNITS + UNITS)
