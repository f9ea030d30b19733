"""Close looks at single alerts: where, through which days, and against which model."""

from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

from lesniva import aoi, cube, tasks
from lesniva.change.cusum import SIGMA_STEP
from lesniva.conventions import INDEX_SCALE, Scl, Status
from lesniva.tasks import closeups
from scenes import NORTH, WEST, grid, write_scene

SIDE, METRES = 64, 20
GRID = grid(SIDE, SIDE, METRES)
BLOCK = aoi.Block("utm37n", 0, 0, GRID)
ALERT = shapely.box(WEST + 600, NORTH - 720, WEST + 700, NORTH - 620)
"""Five by five pixels, far enough from the edges for its picture to be whole."""

ROWS, COLUMNS = slice(31, 36), slice(30, 35)


def outline(shape, crs=GRID.crs):
    """Text of a polygon, as tasks are given it."""
    return gpd.GeoSeries([shape], crs=str(crs)).to_crs("EPSG:4326").to_wkb(hex=True).iloc[0]


def days_of(folder, *scenes):
    """Solar days from 1 June 2023 on, a scene each: red, nir and classes of every pixel."""
    written = [
        write_scene(
            folder,
            {
                band: (np.broadcast_to(np.asarray(values, dtype), GRID.shape), GRID)
                for (band, dtype), values in zip(
                    (("red", "uint16"), ("nir", "uint16"), ("scl", "uint8")), bands, strict=True
                )
            },
            name=f"day{number}",
            when=datetime(2023, 6, 1 + number, 8, 30, tzinfo=UTC),
        )
        for number, bands in enumerate(scenes)
    ]
    return cube.solar_days(
        [scene.item for scene in written], {scene.item.id: scene.files for scene in written}
    )


def followed(folder, days):
    done = closeups.series_block(
        block=BLOCK,
        days=days,
        how=tasks.Observing("ndvi", ("red", "nir", "scl")),
        names=("ndvi",),
        outlines={"a": outline(ALERT)},
        out=folder / "series.parquet",
    )
    return done, pd.read_parquet(done.paths["series"])


@pytest.mark.parametrize("crs", ["EPSG:32637", "EPSG:32638", "EPSG:3576"])
def test_an_outline_comes_back_to_where_it_was_drawn(crs):
    there = gpd.GeoSeries([ALERT], crs=str(GRID.crs)).to_crs(crs).iloc[0]
    found = closeups.on_grid(outline(ALERT), crs)
    assert found.symmetric_difference(there).area < 1e-3 * there.area


@pytest.mark.parametrize(
    ("metres", "ground"), [(20, 960), (479, 960), (600, 1_200), (1_920, 3_840), (9_000, 3_840)]
)
def test_a_picture_is_twice_as_wide_as_its_alert_within_limits(metres, ground):
    shape = shapely.box(WEST, NORTH - metres / 2, WEST + metres, NORTH)
    square = closeups.view(shape, GRID.crs)
    assert square.shape == (closeups.SIDE, closeups.SIDE)
    west, south, east, north = square.boundingbox
    assert (east - west, north - south) == pytest.approx((ground, ground))
    middle = ((west + east) / 2, (south + north) / 2)
    pixel = ground / closeups.SIDE  # pixels lie on whole multiples of their size
    assert middle == pytest.approx((shape.centroid.x, shape.centroid.y), abs=pixel)


def test_the_outline_lies_in_its_picture_where_its_pixels_do():
    square = closeups.view(ALERT, GRID.crs)
    (ring,) = closeups.in_view(ALERT, square)
    corners = [square.affine * (x * closeups.SIDE, y * closeups.SIDE) for x, y in ring]
    assert shapely.Polygon(corners).symmetric_difference(ALERT).area < 1e-3 * ALERT.area
    holed = shapely.difference(ALERT, ALERT.centroid.buffer(10))
    assert len(closeups.in_view(holed, square)) == 2


def test_a_series_is_the_mean_over_the_alert_and_no_other_pixel(tmp_path):
    red, nir = np.full(GRID.shape, 3_000), np.full(GRID.shape, 3_000)
    red[ROWS, COLUMNS], nir[ROWS, COLUMNS] = 1_000, 3_000
    nir[ROWS, COLUMNS.start] = 9_000
    _, table = followed(tmp_path, days_of(tmp_path, (red, nir, Scl.VEGETATION)))
    assert table["ndvi"].tolist() == pytest.approx([(4 * 0.5 + 0.8) / 5], abs=1e-4)
    assert table["clear"].tolist() == [1.0]


def test_a_day_counts_where_half_of_the_alert_is_clear(tmp_path):
    half, less = (np.full(GRID.shape, Scl.VEGETATION) for _ in range(2))
    half[ROWS.start : ROWS.start + 2, COLUMNS] = Scl.CLOUD_HIGH
    less[ROWS.start : ROWS.start + 3, COLUMNS] = Scl.CLOUD_HIGH
    _, table = followed(tmp_path, days_of(tmp_path, (1_000, 3_000, half), (1_000, 3_000, less)))
    assert table["ndvi"].round(3).tolist()[0] == 0.5
    assert np.isnan(table["ndvi"].iloc[1])
    assert table["clear"].is_monotonic_decreasing


def test_a_day_that_cannot_be_read_is_named_and_the_result_partial(tmp_path):
    days = days_of(tmp_path, (1_000, 3_000, Scl.VEGETATION), (1_000, 3_000, Scl.VEGETATION))
    (tmp_path / "day0" / "red.tif").write_bytes(b"no image")
    done, table = followed(tmp_path, days)
    assert list(done.unreadable) == ["day0"]
    assert done.paths["series"].name == "series.partial.parquet"
    assert [str(date)[:10] for date in table["date"]] == ["2023-06-02"]


def test_pictures_are_cut_around_the_alert_on_the_days_asked_for(tmp_path):
    days = days_of(tmp_path, (500, 3_000, Scl.VEGETATION), (700, 3_000, Scl.VEGETATION))
    done = closeups.pictures_block(
        block=BLOCK,
        days=days,
        how=tasks.Observing("ndvi", ("nir", "red", "red")),
        outlines={"a": outline(ALERT)},
        wanted={"a": ["2023-06-02"]},
        out=tmp_path / "pictures.npz",
    )
    with np.load(done.paths["pictures"]) as cut:
        assert list(cut) == ["a@2023-06-02"]
        picture = cut["a@2023-06-02"]
    assert picture.shape == (3, closeups.SIDE, closeups.SIDE)
    middle = picture[:, closeups.SIDE // 2, closeups.SIDE // 2]
    assert middle.tolist() == [3_000, 700, 700]


def rows(*days):
    """Rows of a series: date and share of the picture that is clear."""
    dates, clear = zip(*days, strict=True)
    return pd.DataFrame({"date": pd.to_datetime(dates), "clear": clear})


def test_pictures_are_the_last_clear_day_before_and_the_first_after():
    seen = rows(("2023-05-01", 1), ("2023-05-11", 0.95), ("2023-05-16", 0.2), ("2023-06-01", 0.5),
                ("2023-06-06", 0.92), ("2023-06-11", 1))  # fmt: skip
    chosen = closeups.before_and_after(seen, "2023-05-16", "2023-06-01")
    assert chosen == {"before": "2023-05-11", "after": "2023-06-06"}
    chosen = closeups.before_and_after(seen, pd.NaT, "2023-05-11")
    assert chosen == {"before": "2023-05-01", "after": "2023-05-11"}


def test_at_the_edge_of_the_scenes_a_day_near_the_change_serves_not_the_fullest_of_all():
    seen = rows(("2020-05-01", 0.65), ("2023-05-11", 0.62), ("2023-05-16", 0.2), ("2023-06-01", 0))
    chosen = closeups.before_and_after(seen, "2023-05-16", "2023-06-01")
    assert chosen == {"before": "2023-05-11"}


def state(status):
    """Models of a block with its halo: the level of a pixel is its column."""
    padded = BLOCK.padded(tasks.observing.HALO)
    plane = np.broadcast_to(np.arange(padded.shape[1]) - tasks.observing.HALO, padded.shape)
    return xr.Dataset(
        {
            "coefficients": (
                ("coefficient", "y", "x"),
                np.stack([plane * 100, plane * 0]).astype(np.int16),
            ),
            "sigma": (("y", "x"), np.full(padded.shape, 300, np.uint16)),
            "status": (("y", "x"), np.full(padded.shape, status, np.uint8)),
        }
    )


def test_the_model_of_an_alert_is_the_mean_of_its_pixels_models():
    coefficients, sigma = closeups.model_of(state(Status.NONE), BLOCK, outline(ALERT))
    assert coefficients == pytest.approx([32 * 100 / INDEX_SCALE, 0])
    assert sigma == pytest.approx(300 * SIGMA_STEP)
    assert closeups.model_of(state(Status.NOT_FOREST), BLOCK, outline(ALERT)) is None


def test_a_fitted_model_has_the_season_of_its_history_and_ignores_what_came_later():
    dates = pd.date_range("2019-05-01", "2022-10-01", freq="8D")
    year = 2 * np.pi * (dates - pd.Timestamp("2015-01-01")).days / 365.25
    noise = np.random.default_rng(1).normal(0, 0.01, len(dates))
    series = pd.Series(0.6 - 0.2 * np.cos(year) + noise, index=dates)
    series[dates >= "2022-01-01"] = 0.0
    coefficients, sigma = closeups.fitted_model(series, history_end=np.datetime64("2021-12-31"))
    assert coefficients[:3] == pytest.approx([0.6, -0.2, 0.0], abs=0.02)
    assert 0.005 < sigma < 0.03
    few = series.iloc[:4]
    assert closeups.fitted_model(few, history_end=np.datetime64("2021-12-31")) is None
    assert closeups.fitted_model(series, history_end=np.datetime64("2018-12-31")) is None
