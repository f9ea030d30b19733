"""Zonal sums: exactextract's own means and the whole area at once are the oracles."""

import itertools
from typing import Any

import exactextract
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from affine import Affine
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from lesniva import zonal
from lesniva.conventions import INDEX_SCALE, NODATA_INT16
from scenes import NORTH, WEST, grid

SIZE = 40
GRID = grid(SIZE, SIZE, 20)
SIDE = SIZE * 20

DAYS = np.array(["2023-05-01", "2023-06-01"], dtype="datetime64[D]")


def at(x: float, y: float) -> tuple[float, float]:
    """Place in the grid, as shares of its side from its upper left corner."""
    return WEST + x * SIDE, NORTH - y * SIDE


def districts(crs: str = "EPSG:32637") -> gpd.GeoDataFrame:
    """Three districts that share borders inside pixels, a lake in one, an island of another."""
    middle = Point(at(0.5, 0.5)).buffer(0.23 * SIDE)
    lake = Point(at(0.5, 0.5)).buffer(0.07 * SIDE)
    left = shapely.Polygon([at(-0.2, -0.1), at(0.47, -0.1), at(0.61, 1.1), at(-0.2, 1.2)])
    right = box(*at(0.3, 1.3), *at(1.1, -0.3)).difference(left)
    shapes = {
        "a": middle.difference(lake),
        "b": shapely.union_all([left.difference(middle), lake]),
        "c": right.difference(middle),
    }
    table = gpd.GeoDataFrame(
        {"adm_id": list(shapes)}, geometry=list(shapes.values()), crs="EPSG:32637"
    )
    return table.to_crs(crs)


@pytest.fixture(scope="module")
def stack() -> Any:
    rng = np.random.default_rng(3)
    values = rng.integers(-2000, 9500, (2, SIZE, SIZE)).astype(np.int16)
    values[rng.random(values.shape) < 0.3] = NODATA_INT16
    return values


@pytest.fixture(scope="module")
def cover() -> Any:
    return np.random.default_rng(4).random((SIZE, SIZE)) < 0.8


def sums(polygons: gpd.GeoDataFrame, block: GeoBox, stack: Any, cover: Any) -> pd.DataFrame:
    return zonal.sums(zonal.zones(polygons, block), stack, DAYS, {"cropland": cover})


def exact_means(polygons: gpd.GeoDataFrame, values: Any) -> pd.DataFrame:
    """Let exactextract itself do it, of a raster whose left-out pixels are NaN."""
    bounds = GRID.boundingbox
    raster = NumPyRasterSource(
        values, xmin=bounds.left, ymin=bounds.bottom, xmax=bounds.right, ymax=bounds.top,
        srs_wkt=polygons.crs.to_wkt(),
    )  # fmt: skip
    return exactextract.exact_extract(
        raster, polygons, ["mean", "count"], include_cols=["adm_id"], output="pandas"
    ).set_index("adm_id")


def test_means_are_those_of_exactextract(stack, cover):
    found = zonal.means(sums(districts(), GRID, stack, cover)).set_index(["date", "adm_id"])
    for day, values in zip(DAYS, stack, strict=True):
        seen = np.where((values != NODATA_INT16) & cover, values / INDEX_SCALE, np.nan)
        expected = exact_means(districts(), seen)
        rows = found.loc[pd.Timestamp(day)]
        assert list(rows.index) == ["a", "b", "c"]
        np.testing.assert_allclose(rows["ndvi"], expected["mean"], rtol=1e-6)
        np.testing.assert_allclose(rows["weight"], expected["count"] * 0.04, rtol=1e-6)
        whole = exact_means(districts(), np.where(cover, 1.0, np.nan))["count"]
        np.testing.assert_allclose(rows["clear_share"], expected["count"] / whole, rtol=1e-6)


CUTS = st.sets(st.integers(1, SIZE - 1), max_size=2)


@settings(max_examples=15)
@given(rows=CUTS, cols=CUTS)
def test_blocks_add_up_to_the_whole_however_they_are_cut(rows, cols, stack, cover):
    expected = zonal.means(sums(districts(), GRID, stack, cover))
    down, across = ([0, *sorted(cuts), SIZE] for cuts in (rows, cols))
    parts = [
        sums(
            districts(),
            GRID[top:bottom, left:right],
            np.ascontiguousarray(stack[:, top:bottom, left:right]),
            cover[top:bottom, left:right],
        )
        for top, bottom in itertools.pairwise(down)
        for left, right in itertools.pairwise(across)
    ]
    found = zonal.means(pd.concat(parts))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_borders_cut_pixels_and_no_ground_is_counted_twice_or_lost():
    zones = zonal.zones(districts(), GRID)
    total = np.bincount(zones.pixel, weights=zones.hectares, minlength=SIZE * SIZE)
    inside = exact_means(districts().dissolve().assign(adm_id="all"), np.ones((SIZE, SIZE)))
    assert total.sum() == pytest.approx(inside["count"].item() * 0.04, rel=1e-6)
    assert total.max() <= 0.04 * (1 + 1e-6)
    shared = np.bincount(zones.pixel) > 1
    assert shared.sum() > 30  # pixels that lie in several districts


def test_areas_are_those_of_the_polygons():
    polygons = districts()
    frame = box(*at(0, 1), *at(1, 0))
    zones = zonal.zones(polygons, GRID)
    found = np.add.reduceat(zones.hectares, zones.start[:-1])
    expected = polygons.intersection(frame).area / 10_000
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "EPSG:32638"])
def test_polygons_of_another_crs_mean_the_same_ground(crs, stack, cover):
    own = zonal.means(sums(districts(), GRID, stack, cover))
    # edges are straight in their own CRS only: a bend of centimetres over these 800 m
    other = zonal.means(sums(districts(crs), GRID, stack, cover))
    pd.testing.assert_frame_equal(own, other, rtol=2e-3)


def test_pixel_counts_by_its_share_inside():
    half = gpd.GeoDataFrame(
        {"adm_id": ["half"]}, geometry=[box(WEST, NORTH - 20, WEST + 30, NORTH)], crs="EPSG:32637"
    )
    values = np.array([[[4000, 8000]]], dtype=np.int16)
    block = grid(1, 2, 20)
    rows = zonal.sums(zonal.zones(half, block), values, DAYS[:1], {"all": np.ones((1, 2), bool)})
    assert rows["clear_ha"].item() == pytest.approx(0.06)
    assert rows["weighted"].item() == pytest.approx(0.04 * 0.4 + 0.02 * 0.8)
    # 20 × 20 m of 0.4 and 10 × 20 m of 0.8
    assert zonal.means(rows)["ndvi"].item() == pytest.approx(1.6 / 3)


@pytest.mark.parametrize(
    "ground",
    [
        box(*at(2, 3), *at(3, 2)),
        box(*at(1, 1), *at(2, 0)),  # its edge is the block's
        Point(at(1, 1)).buffer(5).difference(box(*at(0, 1), *at(1, 0))),  # touches a corner
    ],
    ids=["far away", "along the edge", "around the corner"],
)
def test_zone_without_pixels_of_the_block_is_not_in_it(ground, stack, cover):
    polygons = gpd.GeoDataFrame({"adm_id": ["out"]}, geometry=[ground], crs="EPSG:32637")
    assert zonal.zones(polygons, GRID).ids == ()
    rows = sums(polygons, GRID, stack, cover)
    assert rows.empty
    assert zonal.means(rows).empty


def test_no_zones_no_rows_but_the_columns_and_their_types(stack, cover):
    rows = sums(districts().iloc[:0], GRID, stack, cover)
    full = sums(districts(), GRID, stack, cover)
    assert rows.empty
    assert dict(rows.dtypes) == dict(full.dtypes)


def test_cover_that_a_zone_has_not_gives_no_row(stack):
    nothing = np.zeros((SIZE, SIZE), dtype=bool)
    assert sums(districts(), GRID, stack, nothing).empty


def test_zone_under_cloud_is_a_row_without_value(cover):
    clouds = np.full((2, SIZE, SIZE), NODATA_INT16, dtype=np.int16)
    found = zonal.means(sums(districts(), GRID, clouds, cover))
    assert len(found) == 6
    assert found["ndvi"].isna().all()
    assert (found["weight"] == 0).all()
    assert (found["clear_share"] == 0).all()


def test_covers_are_summed_apart(stack, cover):
    zones = zonal.zones(districts(), GRID)
    both = zonal.sums(zones, stack, DAYS, {"winter": cover, "summer": ~cover})
    whole = zonal.sums(zones, stack, DAYS, {"all": np.ones_like(cover)})
    keys, numbers = ["adm_id", "date"], ["weighted", "clear_ha", "cover_ha"]
    added = both.groupby(keys)[numbers].sum()
    pd.testing.assert_frame_equal(added, whole.groupby(keys)[numbers].sum(), rtol=1e-9)


def test_blocks_no_scene_reached_count_as_unseen():
    # two blocks; on the second day the swath ends between them
    polygons = districts().iloc[:1]
    west, east = GRID[:, : SIZE // 2], GRID[:, SIZE // 2 :]
    every = np.ones((SIZE, SIZE // 2), dtype=bool)
    seen = np.full((2, SIZE, SIZE // 2), 5000, dtype=np.int16)
    both = zonal.sums(zonal.zones(polygons, west), seen, DAYS, {"cropland": every})
    one = zonal.sums(zonal.zones(polygons, east), seen[:1], DAYS[:1], {"cropland": every})
    found = zonal.means(pd.concat([both, one]))
    assert found["clear_share"].tolist() == [1.0, pytest.approx(0.5, abs=0.01)]
    assert found["ndvi"].tolist() == pytest.approx([0.5, 0.5])


def test_share_seen_is_of_the_covers_own_season():
    # twice as much winter wheat in the season that begins in September 2023
    rows = pd.DataFrame(
        {
            "adm_id": "a",
            "cover": "winter",
            "date": pd.to_datetime(["2023-05-01", "2023-08-31", "2023-09-01", "2024-06-01"]),
            "weighted": [25.0, 50.0, 50.0, 100.0],
            "clear_ha": [50.0, 100.0, 100.0, 200.0],
            "cover_ha": [100.0, 100.0, 200.0, 200.0],
        }
    )
    assert zonal.means(rows)["clear_share"].tolist() == [0.5, 1.0, 0.5, 1.0]


def test_a_series_is_the_mean_of_the_clear_pixels_by_their_share():
    geobox = GeoBox((4, 4), Affine(20, 0, 400_000, 0, -20, 5_800_000), "EPSG:32637")
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4) / 100
    values[1, 0, 0] = np.nan
    time = np.array(["2026-06-01", "2026-06-06"], dtype="datetime64[ns]")
    ndvi = xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time})
    # the first pixel whole, half of the one beside it
    field = gpd.GeoDataFrame(
        {"adm_id": ["field"]},
        geometry=[shapely.box(400_000, 5_799_980, 400_030, 5_800_000)],
        crs="EPSG:32637",
    )
    first, second = zonal.series(field, ndvi, geobox).itertuples()
    assert first.ndvi == pytest.approx((0.00 + 0.01 / 2) / 1.5, abs=1e-6)
    assert first.clear_share == pytest.approx(1)
    assert second.ndvi == pytest.approx(0.17)
    assert second.clear_share == pytest.approx(1 / 3, abs=1e-4)
    assert first.cover == "cropland"
