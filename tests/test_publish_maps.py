import gc

import geopandas as gpd
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from PIL import Image
from shapely.geometry import box

from lesniva.conventions import ATTRIBUTION, NODATA_INT16, SYNTHETIC_NOTICE
from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.publish.maps import (
    forest,
    forest_map,
    ground,
    harvest,
    harvest_map,
    page,
    season_chart,
    words,
)
from scenes import grid, write_tif

WEST, NORTH, PIXEL = 540_000, 5_820_000, 20
UTM = "EPSG:32637"


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they would be written, for their words and shapes to be read."""
    figures = []

    def keep(path, canvas):
        canvas.draw()
        figures.append(canvas.figure)

    monkeypatch.setattr(page, "_save", keep)
    return figures


def raster(path, *, crs=UTM, west=WEST, north=NORTH, side=300, pixel=PIXEL, values=None):
    if values is None:
        values = np.full((side, side), 6_000, dtype=np.int16)
    here = grid(*values.shape, pixel, west=west, north=north)
    when = {"TIFFTAG_DATETIME": "2026:06:10 00:00:00"}
    return write_tif(path, values, here, nodata=NODATA_INT16, scale=1e-4, tags=when, crs=crs)


def districts():
    halves = [
        box(WEST, NORTH - 6_000, WEST + 3_000, NORTH),
        box(WEST + 3_000, NORTH - 6_000, WEST + 6_000, NORTH),
    ]
    names = {"name_en": ["West District", "East District"], "name_ru": ["Западный район", "Елец"]}
    return gpd.GeoDataFrame({"adm_id": ["w", "e"], **names}, geometry=halves, crs=UTM)


def alerts(*rows):
    """Squares of (x, y, side in metres, date, status), x and y from the upper left corner."""
    shapes = [box(WEST + x, NORTH - y - s, WEST + x + s, NORTH - y) for x, y, s, _, _ in rows]
    return gpd.GeoDataFrame(
        {
            "status": pd.Series([row[4] for row in rows], dtype=object),
            "date_max": pd.to_datetime(pd.Series([row[3] for row in rows], dtype=object)),
            "area_ha": pd.Series([row[2] ** 2 / 1e4 for row in rows], dtype=float),
            "district_en": pd.Series(["West District"] * len(rows), dtype=object),
            "district_ru": pd.Series(["Западный район"] * len(rows), dtype=object),
        },
        geometry=gpd.GeoSeries(shapes, crs=UTM),
        crs=UTM,
    )


THREE = (
    (500, 500, 600, "2025-05-20", "confirmed"),
    (2_000, 3_000, 10, "2025-07-02", "confirmed"),
    (4_500, 4_000, 300, "2026-06-03", "low"),
)


def draw_forest(tmp_path, *, name="forest.png", **options):
    path = tmp_path / name
    given = {
        "ndvi": tmp_path / "ndvi.tif",
        "alerts": alerts(*THREE),
        "districts": districts(),
        "title": "Forest",
        "credit": f"{ATTRIBUTION} 2026",
    }
    if "ndvi" not in options:
        raster(tmp_path / "ndvi.tif")
    forest_map(path, **{**given, **options})
    return path


def said_on(figure):
    texts = figure.findobj(mpl.text.Text)
    return "\n".join(text.get_text() for text in texts if text.get_text())


def forecast(**changes):
    rows = pd.DataFrame(
        {
            "adm_id": ["w"],
            "crop": "winter_wheat",
            "year": 2026,
            "cutoff": pd.Timestamp("2026-06-30"),
            "yield_t_ha": [4.2],
            "q10_t_ha": [3.1],
            "q90_t_ha": [5.3],
            "skill": False,
            "note": "no satellite skill yet at this date",
        }
    ).assign(**changes)
    return districts().merge(rows, on="adm_id")


def skill(**errors):
    rows = errors or {"forecast": 13.7, "mean": 15.2, "last": 22.7, "boosters": 12.1}
    return pd.DataFrame(
        {"forecaster": list(rows), "nrmse": list(rows.values()), "crop": "winter_wheat", "n": 48.0}
    )


def draw_harvest(tmp_path, **options):
    path = tmp_path / "harvest.png"
    given = {
        "forecast": forecast(),
        "districts": districts(),
        "skill": skill(),
        "title": "Harvest",
        "credit": SYNTHETIC_NOTICE,
    }
    harvest_map(path, **{**given, **options})
    return path


def has_colour(path, colour, *, near=6):
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels - wanted).max(axis=-1) <= near).sum())


def test_forest_map_says_how_much_changed_and_until_when(tmp_path, drawn):
    draw_forest(tmp_path)
    said = said_on(drawn[0])
    assert "3 alerts, 45 ha · confirmed: 2, 36 ha · data until 10 Jun 2026" in said
    assert "West" in said
    assert "West District" not in said
    assert "approximate" not in said


def test_alerts_of_the_health_channel_are_told_apart_where_there_are_any(tmp_path):
    table = alerts(*THREE, (3_500, 500, 600, "2025-06-20", "confirmed"))
    removal = draw_forest(tmp_path, alerts=table.assign(channel="removal"), name="removal.png")
    both = table.assign(channel=["removal"] * 3 + ["health"])
    assert has_colour(removal, forest.ILL) == 0
    assert has_colour(draw_forest(tmp_path, alerts=both), forest.ILL) > 200


def test_the_rim_of_the_health_channel_is_explained(tmp_path, drawn):
    draw_forest(tmp_path, alerts=alerts(*THREE).assign(channel=["removal", "removal", "health"]))
    draw_forest(tmp_path, alerts=alerts(*THREE))
    assert ["told by the health channel" in said_on(each) for each in drawn] == [True, False]


def test_approximate_outlines_are_called_so(tmp_path, drawn):
    draw_forest(tmp_path, districts=districts().assign(approximate=True))
    draw_harvest(tmp_path, districts=districts().assign(approximate=True))
    for figure in drawn:
        assert "district outlines are approximate" in said_on(figure)


def test_forest_map_speaks_russian(tmp_path, drawn):
    draw_forest(tmp_path, language="ru", credit=SYNTHETIC_NOTICE, title="Сигналы")
    said = said_on(drawn[0])
    assert "3 сигнала, 45 га · подтверждено: 2, 36 га · данные по 10 июн 2026" in said
    assert "СИНТЕТИЧЕСКИЕ ДАННЫЕ" in said
    assert "Западный" in said


@pytest.mark.parametrize(
    ("many", "english", "russian"),
    [
        (0, "0 alerts", "0 сигналов"),
        (1, "1 alert", "1 сигнал"),
        (3, "3 alerts", "3 сигнала"),
        (5, "5 alerts", "5 сигналов"),
        (11, "11 alerts", "11 сигналов"),
        (21, "21 alerts", "21 сигнал"),
        (104, "104 alerts", "104 сигнала"),
        (112, "112 alerts", "112 сигналов"),
    ],
)
def test_words_agree_with_their_number(many, english, russian):
    assert words.count(many, "alerts", "en") == english
    assert words.count(many, "alerts", "ru") == russian


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_words_leave_the_page_and_every_letter_has_a_shape(tmp_path, drawn, language):
    """Matplotlib warns of a missing glyph, and warnings are errors."""
    many = skill(**dict.fromkeys(("forecast", *harvest.PLAIN), 26.2))
    draw_forest(tmp_path, language=language, title="Ёлки, №1 – «сосны», $5 и $6 " * 6)
    draw_harvest(tmp_path, language=language, skill=many, credit="Long credit " * 20)
    for figure in drawn:
        page = box(0, 0, *figure.bbox.size)
        for text in figure.findobj(mpl.text.Text):
            if text.get_text().strip() and text.get_visible():
                taken = box(*text.get_window_extent().extents)
                assert page.covers(taken), text.get_text()


def test_the_same_results_give_the_same_bytes_whatever_the_users_settings(tmp_path):
    first = draw_forest(tmp_path).read_bytes()
    grain = draw_harvest(tmp_path).read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "pink", "savefig.dpi": 40}):
        assert draw_forest(tmp_path, name="again.png").read_bytes() == first
        assert draw_harvest(tmp_path).read_bytes() == grain
        assert mpl.rcParams["font.size"] == 20


def test_a_tiny_alert_is_seen_in_a_large_area(tmp_path):
    """A hectare in 300 km × 300 km is a thirtieth of a pixel of the picture."""
    raster(tmp_path / "wide.tif", side=300, pixel=1_000)
    west = box(WEST, NORTH - 300_000, WEST + 300_000, NORTH)
    wide = gpd.GeoDataFrame({"name_en": ["Wide"], "name_ru": ["Даль"]}, geometry=[west], crs=UTM)
    tiny = alerts((150_000, 150_000, 100, "2026-06-03", "confirmed"))
    path = draw_forest(tmp_path, ndvi=tmp_path / "wide.tif", alerts=tiny, districts=wide)
    with Image.open(path) as picture:
        # The left half: legend and chart have the colour, too.
        picture.crop((0, 0, picture.width // 2, picture.height)).save(tmp_path / "half.png")
    assert has_colour(tmp_path / "half.png", forest.ALERT_COLOURS[-1]) > 20


def test_an_area_without_alerts_says_so(tmp_path, drawn):
    draw_forest(tmp_path, alerts=alerts(), districts=districts().iloc[:1])
    assert "No alerts · data until 10 Jun 2026" in said_on(drawn[0])


def test_a_raster_without_a_valid_pixel_still_gives_a_map(tmp_path):
    empty = raster(tmp_path / "empty.tif", values=np.full((50, 50), NODATA_INT16, dtype=np.int16))
    assert draw_forest(tmp_path, ndvi=empty).stat().st_size > 0


def test_pieces_of_two_zones_meet_on_one_map(tmp_path):
    """On either side of 42° E, each in its own zone: both halves are drawn where they lie."""
    left = raster(tmp_path / "a.tif", crs="EPSG:32637", west=690_000, pixel=50)
    right = raster(tmp_path / "b.tif", crs="EPSG:32638", west=298_000, pixel=50)
    pieces = [ground.read(left), ground.read(right)]
    crs = ground.projection(pieces)
    assert crs.coordinate_operation.method_name == "Lambert Azimuthal Equal Area"
    assert ground.projection(pieces[:1]).to_epsg() == 32637
    none = districts().iloc[:0]
    bounds = ground.extent(pieces, crs, none.to_crs(crs), alerts().to_crs(crs))
    for path in (left, right):
        with rasterio.open(path) as dataset:
            inside = rasterio.warp.transform_bounds(dataset.crs, crs.to_wkt(), *dataset.bounds)
        assert box(*bounds).covers(box(*inside))
    path = draw_forest(tmp_path, ndvi=[left, right], alerts=alerts(), districts=none)
    assert path.stat().st_size > 0


def test_projection_of_an_area_across_the_antimeridian_lies_in_its_middle():
    chukotka = gpd.GeoDataFrame(
        geometry=[box(170, 64, 180, 68), box(-180, 64, -170, 68)], crs="EPSG:4326"
    )
    operation = ground.equal_area(chukotka.geometry).coordinate_operation
    middle = {each.name: each.value for each in operation.params}["Longitude of natural origin"]
    assert abs(middle) == pytest.approx(180, abs=2)


def test_noise_and_thousands_of_alerts_stay_small_enough_to_send(tmp_path):
    random = np.random.default_rng(5)
    noise = random.integers(-1_000, 9_500, (900, 900)).astype(np.int16)
    raster(tmp_path / "noise.tif", values=noise)
    rows = [
        (x, y, 60, f"202{n % 5}-0{n % 9 + 1}-11", "low" if n % 3 else "confirmed")
        for n, (x, y) in enumerate(random.integers(0, 17_000, (3_000, 2)))
    ]
    path = draw_forest(tmp_path, ndvi=tmp_path / "noise.tif", alerts=alerts(*rows))
    assert path.stat().st_size <= page.MOST_BYTES


def test_bars_add_up_to_the_hectares_of_the_alerts(tmp_path, drawn):
    draw_forest(tmp_path)
    (chart,) = [ax for ax in drawn[0].axes if ax.containers]
    hectares = sum(bar.get_height() for bar in chart.patches)
    assert hectares == pytest.approx(alerts(*THREE)["area_ha"].sum())


@pytest.mark.parametrize("years", [1, 3, 12, 40])
def test_periods_stay_few_enough_to_tell_apart_and_darken_with_time(years):
    dates = pd.date_range("1985-01-15", periods=12 * years, freq="MS")
    rows = [(0, 0, 100, date, "confirmed") for date in dates]
    found = forest._with_looks(alerts(*rows), "en")
    assert found["period"].nunique() <= forest.MAX_PERIODS
    grey = [mpl.colors.to_rgb(colour) @ np.array([0.299, 0.587, 0.114]) for colour in found.colour]
    assert (np.diff(grey) <= 0).all()
    assert found.groupby("period")["label"].nunique().eq(1).all()
    assert found["label"].nunique() == found["period"].nunique()


def test_names_stand_inside_their_district_and_never_on_each_other(tmp_path, drawn):
    draw_forest(tmp_path, alerts=alerts())
    ax = drawn[0].axes[0]
    boxes = {
        text.get_text(): box(*text.get_window_extent().transformed(ax.transData.inverted()).extents)
        for text in ax.texts
        if "km" not in text.get_text()
    }
    assert set(boxes) == {"West", "East"}
    for name, shape in zip(("West", "East"), districts().geometry, strict=True):
        assert shape.covers(boxes[name])


def test_a_district_too_small_for_its_name_has_none(tmp_path, drawn):
    small = districts()
    small.loc[0, "geometry"] = box(WEST, NORTH - 100, WEST + 100, NORTH)
    draw_forest(tmp_path, alerts=alerts(), districts=small)
    assert "East" in said_on(drawn[0])
    assert "West" not in said_on(drawn[0])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Lev-Tolstovsky District", "Lev-Tolstovsky"),
        ("Lipetsk (city)", "Lipetsk"),
        ("Chekhov (city okrug)", "Chekhov"),
        ("Липецкий муниципальный округ", "Липецкий"),
        ("Городской Округ Чехов", "Чехов"),
        ("Новгородский район", "Новгородский"),
        ("Район", "Район"),
        (None, "–"),
    ],
)
def test_short_names_leave_out_what_goes_without_saying(name, short):
    assert words.short(name) == short


def test_scale_bar_is_as_long_as_it_says(tmp_path, drawn):
    """In Web Mercator a unit is not a metre: the bar is measured on the ground."""
    shape = districts().to_crs("EPSG:3857")
    west, _, _, north = shape.total_bounds
    raster(tmp_path / "web.tif", crs="EPSG:3857", west=west, north=north, side=330, pixel=33)
    draw_forest(tmp_path, ndvi=tmp_path / "web.tif", alerts=alerts())
    ax = drawn[0].axes[0]
    (bar,) = ax.lines
    length = np.ptp(bar.get_xdata())
    (said,) = [text.get_text() for text in ax.texts if text.get_text().endswith("km")]
    crs = ground.projection([ground.read(tmp_path / "web.tif")])
    middle = np.mean(ax.get_xlim()), np.mean(ax.get_ylim())
    ends = gpd.GeoSeries(
        gpd.points_from_xy([middle[0], middle[0] + length], [middle[1]] * 2), crs=crs
    ).to_crs(UTM)
    assert ends.iloc[0].distance(ends.iloc[1]) / 1000 == pytest.approx(
        float(said.split()[0]), rel=0.003
    )


@pytest.mark.parametrize("shape", [shapely.Polygon(), "spike"])
def test_a_district_of_odd_shape_does_not_spoil_the_picture(tmp_path, drawn, shape):
    """A spike is mended to a polygon and a line, in which no circle can be inscribed."""
    if shape == "spike":
        east, low = WEST + 3_000, NORTH - 3_000
        spike = [(east, NORTH), (east, low), (east, NORTH + 9_000), (east, low), (WEST, low)]
        shape = shapely.Polygon([(WEST, NORTH), *spike])
    odd = districts()
    odd["geometry"] = gpd.GeoSeries([shape, odd.geometry[1]], crs=UTM)
    draw_forest(tmp_path, districts=odd)
    draw_harvest(tmp_path, districts=odd)
    assert "East" in said_on(drawn[0])
    assert len(drawn) == 2


def test_holes_stay_holes(tmp_path):
    ring = box(WEST + 1_000, NORTH - 5_000, WEST + 5_000, NORTH - 1_000)
    hole = box(WEST + 1_500, NORTH - 4_500, WEST + 4_500, NORTH - 1_500)
    found = alerts((0, 0, 10, "2026-06-03", "confirmed"))
    full = draw_forest(tmp_path, name="full.png", alerts=found.set_geometry([ring], crs=UTM))
    colour = forest.ALERT_COLOURS[-1]
    # Both rings turn the same way, as a file may have them.
    holed = found.set_geometry([shapely.Polygon(ring.exterior, [hole.exterior])], crs=UTM)
    path = draw_forest(tmp_path, name="holed.png", alerts=holed)
    share = has_colour(path, colour) / has_colour(full, colour)
    assert share == pytest.approx(1 - 9 / 16, abs=0.03)


def test_harvest_map_says_plainly_that_no_skill_is_claimed(tmp_path, drawn):
    draw_harvest(tmp_path)
    draw_harvest(tmp_path, forecast=forecast(skill=True, note=""))
    draw_harvest(tmp_path, forecast=forecast(skill=None))
    without, claimed, unknown = (" ".join(said_on(figure).split()) for figure in drawn)
    assert "No in-season skill is claimed at this date" in without
    assert "In-season skill is claimed" in claimed
    assert "No in-season skill is claimed at this date" in unknown
    assert SYNTHETIC_NOTICE in without


def test_harvest_map_shows_numbers_intervals_and_errors(tmp_path, drawn):
    draw_harvest(tmp_path)
    said = said_on(drawn[0]).split("\n")
    for expected in ("Winter wheat", "4.2", "West", "this forecast", "13.7", "15.2", "22.7"):
        assert expected in said
    # The boosters alone are no plain baseline.
    assert "12.1" not in said
    lines = [
        path.vertices[:, 0].tolist()
        for ax in drawn[0].axes
        for collection in ax.collections
        if isinstance(collection, mpl.collections.LineCollection)
        for path in collection.get_paths()
    ]
    assert lines == [[3.1, 5.3]]


def test_districts_without_forecast_are_grey(tmp_path):
    assert has_colour(draw_harvest(tmp_path), harvest.NO_FORECAST, near=3) > 10_000
    both = pd.concat([forecast(), forecast(adm_id="w").assign(adm_id="e")], ignore_index=True)
    assert has_colour(draw_harvest(tmp_path, forecast=both), harvest.NO_FORECAST, near=3) < 500


def test_notes_are_marked_and_explained(tmp_path, drawn):
    note = "no past yields, level of the other districts; no satellite skill yet at this date"
    draw_harvest(tmp_path, forecast=forecast(note=note), language="ru")
    said = said_on(drawn[0]).split("\n")
    assert "Западный ¹" in said
    assert "¹ нет прошлых урожаев, уровень других районов" in said


def test_a_district_with_two_notes_has_the_mark_of_each(tmp_path, drawn):
    rows = pd.concat(
        [
            forecast(note="no past yields, level of the other districts; no imagery"),
            forecast(note="no imagery").assign(adm_id="e", name_en="East District"),
        ]
    )
    draw_harvest(tmp_path, forecast=rows)
    said = said_on(drawn[0]).split("\n")
    assert {"West ¹ ²", "East ¹"} <= set(said)
    assert "¹ no imagery   ² no past yields, level of the other districts" in said


def test_a_town_smaller_than_its_number_has_one_all_the_same(tmp_path, drawn):
    town = shapely.Point(WEST + 1_500, NORTH - 3_000).buffer(280)
    shapes = districts()
    shapes.loc[0, "geometry"] = shapes.geometry[0].difference(town)
    shapes.loc[2] = {"adm_id": "t", "name_en": "Town", "name_ru": "Город", "geometry": town}
    rows = pd.concat([forecast(yield_t_ha=44.6), forecast(yield_t_ha=45.3).assign(adm_id="t")])
    draw_harvest(tmp_path, forecast=rows, districts=shapes)
    assert {"44.6", "45.3"} <= set(said_on(drawn[0]).split("\n"))


def test_a_crop_without_past_years_or_interval_is_drawn(tmp_path, drawn):
    new = forecast(crop="hemp_seed", q10_t_ha=np.nan, q90_t_ha=np.nan, note=None)
    draw_harvest(tmp_path, forecast=new)
    said = said_on(drawn[0]).split("\n")
    assert "Hemp seed" in said
    assert "no past years to judge by" in said


def test_an_unknown_error_is_not_drawn_as_none(tmp_path, drawn):
    draw_harvest(tmp_path, skill=skill(forecast=np.nan, mean=15.2))
    assert "–" in said_on(drawn[0]).split("\n")


def test_faulty_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="alerts lack the columns status"):
        draw_forest(tmp_path, alerts=alerts(*THREE).drop(columns="status"))
    with pytest.raises(ValueError, match="alerts have no CRS"):
        draw_forest(tmp_path, alerts=alerts(*THREE).set_crs(None, allow_override=True))
    with pytest.raises(ValueError, match="1 alerts lack date, area or shape"):
        draw_forest(tmp_path, alerts=alerts(*THREE, (0, 0, 9, None, "low")))
    with pytest.raises(ValueError, match="without NDVI"):
        draw_forest(tmp_path, ndvi=[])
    with pytest.raises(ValueError, match="give at least one row"):
        draw_harvest(tmp_path, forecast=forecast(yield_t_ha=np.nan))
    with pytest.raises(ValueError, match="give one district its own"):
        draw_harvest(tmp_path, districts=districts().set_geometry([None, shapely.Polygon()]))
    with pytest.raises(ValueError, match="twice"):
        draw_harvest(tmp_path, forecast=pd.concat([forecast(), forecast()]))
    assert not list(tmp_path.glob("*.png"))


def test_a_raster_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the raster .*none\.tif"):
        draw_forest(tmp_path, ndvi=tmp_path / "none.tif")
    bare = raster(tmp_path / "bare.tif", crs=None)
    with pytest.raises(InputError, match=r"bare\.tif has no CRS"):
        draw_forest(tmp_path, ndvi=bare)


def test_a_picture_is_whole_or_not_there(tmp_path):
    (tmp_path / "forest.png").mkdir()
    with pytest.raises(EnvironmentFaultError, match="cannot write"):
        draw_forest(tmp_path)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_drawing_leaves_no_figures_behind(tmp_path):
    """Pyplot would keep them for ever; it is not even imported by us."""
    draw_forest(tmp_path)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, mpl.figure.Figure)]


def season_tables(days: int) -> dict[str, pd.DataFrame]:
    cutoffs = [f"06-{day:02d}" for day in (10, 20, 30)][:days]
    dates = pd.to_datetime([f"2024-{day}" for day in cutoffs])
    names = ["forecast", "plain", "mean"]
    skill = pd.DataFrame([(d, n, 12.0) for d in cutoffs for n in names])
    total = pd.DataFrame({"cutoff": dates, "yield_t_ha": 4.0})
    for share, value in (("05", 3.0), ("10", 3.2), ("90", 4.9), ("95", 5.2)):
        total[f"q{share}_t_ha"] = value
    past = [pd.Timestamp(f"2023-{day}") for day in cutoffs]
    return {
        "skill": skill.set_axis(["cutoff", "forecaster", "nrmse"], axis=1),
        "claims": pd.DataFrame(
            {"cutoff": cutoffs, "skill": True, "null_nrmse_low": 11.0, "null_nrmse_high": 15.0}
        ),
        "hindcast": pd.DataFrame(
            {"cutoff": past, "year": 2023, "observed_t_ha": 4.1, "yield_t_ha": 4.0,
             "q10_t_ha": 3.0, "q90_t_ha": 5.0}
        ),
        "total": total,
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("days", [1, 3])
def test_a_season_is_drawn_for_one_day_and_for_many(tmp_path, days, language):
    path = tmp_path / "season.png"
    words = {"title": "Harvest", "credit": "Copernicus", "language": language}
    season_chart(path, crop="winter_wheat", cutoff="06-10", **season_tables(days), **words)
    first = path.read_bytes()
    season_chart(path, crop="winter_wheat", cutoff="06-10", **season_tables(days), **words)
    assert path.read_bytes() == first


def test_a_season_without_forecast_and_past_is_drawn_and_one_without_columns_refused(tmp_path):
    tables = season_tables(1)
    tables |= {"hindcast": tables["hindcast"].iloc[:0], "total": tables["total"].iloc[:0]}
    about = {"crop": "oats", "cutoff": "06-10", "title": "t", "credit": "c"}
    season_chart(tmp_path / "season.png", **tables, **about)
    assert (tmp_path / "season.png").stat().st_size > 1000
    tables["skill"] = tables["skill"].drop(columns="nrmse")
    with pytest.raises(ValueError, match="skill lack the columns nrmse"):
        season_chart(tmp_path / "season.png", **tables, **about)
