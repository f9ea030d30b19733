"""Masks: what counts as seen, as forest, as field; True says usable, or is that cover."""

from typing import Any

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesniva import masks
from lesniva.conventions import NODATA_INT16, Scl
from lesniva.errors import InputError
from scenes import NORTH, WEST, grid, write_tif

CLEAR = {
    Scl.NO_DATA: False,
    Scl.SATURATED_OR_DEFECTIVE: False,
    Scl.DARK_AREA: False,
    Scl.CLOUD_SHADOW: False,
    Scl.VEGETATION: True,
    Scl.NOT_VEGETATED: True,
    Scl.WATER: False,
    Scl.UNCLASSIFIED: True,
    Scl.CLOUD_MEDIUM: False,
    Scl.CLOUD_HIGH: False,
    Scl.THIN_CIRRUS: False,
    Scl.SNOW_OR_ICE: False,
}


def of(value: int, dtype: Any = np.int16) -> Any:
    return np.full((1, 1), value, dtype=dtype)


@pytest.mark.parametrize("scl", Scl)
def test_each_class_is_clear_or_not(scl):
    assert masks.clear(of(scl, np.uint8)).item() == CLEAR[scl]
    assert masks.clear(of(scl, np.uint8), water=True).item() == (CLEAR[scl] or scl == Scl.WATER)


@pytest.mark.parametrize("scl", Scl)
@pytest.mark.parametrize("blue", [-200, 0, 700, 701, 5000, NODATA_INT16])
def test_only_unclassified_pixels_must_be_dark_in_the_blue(scl, blue):
    found = masks.clear(of(scl, np.uint8), blue=of(blue)).item()
    if scl == Scl.UNCLASSIFIED:
        assert found == (blue != NODATA_INT16 and blue <= 700)
    else:
        assert found == CLEAR[scl]


def test_number_that_is_no_class_is_not_clear():
    assert not masks.clear(np.arange(12, 256, dtype=np.uint8).reshape(1, -1)).any()


REFLECTANCE = {
    # blue, green, red, nir08, swir16: is it a veil?
    "dense spruce": ((0.020, 0.035, 0.025, 0.26, 0.11), False),
    "spruce under haze": ((0.090, 0.100, 0.090, 0.32, 0.13), True),
    "birch in June": ((0.025, 0.060, 0.035, 0.40, 0.18), False),
    "fresh clear-cut": ((0.050, 0.070, 0.080, 0.20, 0.25), False),
    "cut under thick haze": ((0.120, 0.130, 0.140, 0.25, 0.26), True),
    "cloud": ((0.400, 0.400, 0.410, 0.45, 0.35), True),
    "clear water": ((0.030, 0.030, 0.015, 0.01, 0.005), False),
}


@pytest.mark.parametrize("name", REFLECTANCE)
def test_haze_over_canopy_is_a_veil_and_bare_ground_is_not(name):
    reflectance, veiled = REFLECTANCE[name]
    bands = {
        band: of(round(value * 10_000))
        for band, value in zip(masks.VEIL_BANDS, reflectance, strict=True)
    }
    assert masks.veiled(bands).item() == veiled


@given(hnp.arrays(np.int16, (5, 4, 6), elements=st.integers(-1000, 16_000)))
def test_veil_is_the_published_rule(values):
    blue, green, red, nir08, swir16 = values.astype(np.float64) / 10_000
    with np.errstate(divide="ignore", invalid="ignore"):
        share = green / (nir08 + red + green)
    total = nir08 + red + green
    thin_cloud = (share > 0.15) & (blue > 0.04)
    bare = (swir16 > 0.125) & (blue < 0.06) & (green + red > 0.08)
    # the share means nothing where all is dark, and nothing is decided at equality
    decided = (total > 0.001) & (np.abs(share - 0.15) > 1e-9)
    decided &= np.abs(green + red - 0.08) > 1e-9
    found = masks.veiled(dict(zip(masks.VEIL_BANDS, values, strict=True)))
    np.testing.assert_array_equal(found[decided], (thin_cloud & ~bare)[decided])


@pytest.mark.parametrize("band", masks.VEIL_BANDS)
def test_without_all_its_bands_no_veil_is_claimed(band):
    bands = {name: of(4000) for name in masks.VEIL_BANDS}
    assert masks.veiled(bands).item()
    assert not masks.veiled({**bands, band: of(NODATA_INT16)}).item()


@pytest.mark.parametrize(
    ("date", "inside"),
    [
        ("2023-04-24", False),
        ("2023-04-25", True),
        ("2023-10-27", True),
        ("2023-10-28", False),
        ("2024-04-24", True),  # day 115 of a leap year
        ("2024-10-26", True),
        ("2024-10-27", False),
        ("2023-01-01", False),
        ("2023-12-31", False),
    ],
)
def test_season_begins_and_ends_with_its_days(date, inside):
    assert masks.in_season(np.datetime64(date)) == inside


def test_season_of_the_whole_year_has_every_day():
    days = np.arange(np.datetime64("2023-01-01"), np.datetime64("2025-01-01"))
    assert masks.in_season(days, season=(1, 366)).all()
    assert masks.in_season(days, season=(366, 366)).sum() == 1  # 2024-12-31


def seasons_of(latitude=55, **shares):
    """Verdicts by date, from snow shares by date (None = nothing was seen of open land)."""
    dates = np.array([name[1:].replace("_", "-") for name in shares], dtype="datetime64[D]")
    share = np.array([np.nan if value is None else value for value in shares.values()])
    return masks.snow_free_season(dates, share, latitude=latitude).tolist()


def test_the_season_begins_ten_days_after_the_first_of_two_snow_free_scenes():
    spring = {"d2022_03_20": 1.0, "d2022_04_02": 0.01, "d2022_04_10": 0.0, "d2022_04_12": 0.0}
    assert seasons_of(**spring) == [False, False, False, True]
    spring["d2022_04_05"] = spring.pop("d2022_04_10")
    again = dict(sorted(spring.items()))
    assert seasons_of(**again) == [False, False, False, True]


def test_snow_that_comes_back_in_spring_costs_its_own_scene_only():
    assert seasons_of(
        d2022_04_01=0.0, d2022_04_06=0.0, d2022_04_16=0.0, d2022_04_20=0.4, d2022_04_22=0.0
    ) == [False, False, True, False, True]


def test_a_late_winter_keeps_the_calendar_from_beginning_the_season():
    late = seasons_of(d2022_04_30=0.9, d2022_05_04=0.0, d2022_05_10=0.0, d2022_05_14=0.0)
    assert late == [False, False, False, True]


def test_the_first_snow_of_autumn_ends_the_season():
    early = seasons_of(d2022_09_30=0.0, d2022_10_08=0.2, d2022_10_12=0.0)
    assert early == [True, False, False]


@pytest.mark.parametrize(
    ("latitude", "counts"), [(45, [True, True, False]), (55, [True, False, False])]
)
def test_a_green_november_goes_on_where_the_sun_is_high_enough(latitude, counts):
    autumn = {"d2022_10_20": 0.0, "d2022_11_20": 0.0, "d2022_12_20": 0.0}
    assert seasons_of(latitude, **autumn) == counts


def test_without_open_land_the_calendar_tells_the_season():
    nothing = seasons_of(
        d2022_04_24=None, d2022_04_25=None, d2022_10_27=None, d2022_10_28=None, d2022_11_20=None
    )
    assert nothing == [False, True, True, False, False]


@given(
    gaps=st.lists(st.integers(1, 40), min_size=2, max_size=30),
    snow=st.lists(st.sampled_from([0.0, 0.03, 0.5, np.nan]), min_size=30, max_size=30),
)
def test_no_later_scene_changes_what_is_said_of_one(gaps, snow):
    dates = np.datetime64("2021-01-01") + np.cumsum(gaps)
    share = np.array(snow[: len(dates)])
    whole = masks.snow_free_season(dates, share, latitude=55)
    half = len(dates) // 2
    assert (
        whole[:half].tolist()
        == masks.snow_free_season(dates[:half], share[:half], latitude=55).tolist()
    )
    assert not whole[share >= masks.SNOW_FREE_SHARE].any()


def test_snow_is_what_the_classification_says_and_what_is_white_and_absorbs_infrared():
    one = lambda value, kind=np.int16: np.full((1, 1), value, kind)  # noqa: E731
    white = {"green": one(6000), "red": one(6000), "swir16": one(800)}
    assert masks.snow({"scl": one(4, np.uint8), **white}).item()
    assert not masks.snow({"scl": one(9, np.uint8), **white}).item()
    green = {"green": one(600), "red": one(400), "swir16": one(1500)}
    assert not masks.snow({"scl": one(4, np.uint8), **green}).item()
    assert masks.snow({"scl": one(11, np.uint8), **green}).item()
    assert masks.snow({"scl": one(11, np.uint8)}).item()


# ── The user's rasters ────────────────────────────────────────────────────────────────────────


def test_forest_is_cover_of_at_least_the_asked_share(tmp_path):
    cover = np.array([[0, 29, 30, 31, 100, 255]], dtype=np.uint8)
    path = write_tif(tmp_path / "cover.tif", cover, grid(1, 6), nodata=255)
    found = masks.forest(path, grid(1, 6), min_cover=30)
    assert found.tolist() == [[False, False, True, True, True, False]]


def test_finer_cover_is_averaged_over_what_is_known(tmp_path):
    cover = np.array([[100, 100, 0, 20], [100, 255, 0, 20]], dtype=np.uint8)
    path = write_tif(tmp_path / "cover.tif", cover, grid(2, 4), nodata=255)
    assert masks.forest(path, grid(1, 2, 20), min_cover=100).tolist() == [[True, False]]
    assert masks.forest(path, grid(1, 2, 20), min_cover=10).tolist() == [[True, True]]
    assert masks.forest(path, grid(1, 2, 20), min_cover=11).tolist() == [[True, False]]


def test_classes_are_never_averaged(tmp_path):
    # the mean of classes 0 and 2 is 1, which is another class
    classes = np.indices((40, 40)).sum(axis=0).astype(np.uint8) % 2 * 2
    path = write_tif(tmp_path / "crops.tif", classes, grid(40, 40), nodata=None)
    assert not masks.cropland(path, grid(20, 20, 20), values=[1]).any()
    np.testing.assert_array_equal(masks.cropland(path, grid(40, 40), values=[2]), classes == 2)


def test_several_classes_are_cropland_and_nodata_is_not(tmp_path):
    classes = np.array([[0, 1, 2, 3, 255]], dtype=np.uint8)
    path = write_tif(tmp_path / "crops.tif", classes, grid(1, 5), nodata=255)
    found = masks.cropland(path, grid(1, 5), values=[1, 3, 255])
    assert found.tolist() == [[False, True, False, True, False]]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "EPSG:32638"])
def test_raster_of_another_crs_lands_where_it_belongs(tmp_path, crs):
    # forest west of a meridian of the block's own zone, drawn in another CRS
    border = WEST + 1000
    block = grid(100, 100, 20, north=NORTH)
    there = pyproj.Transformer.from_crs("EPSG:32637", crs, always_xy=True)
    west, south, east, north = there.transform_bounds(*block.boundingbox)
    step = (east - west) / 400
    size = int((north - south) / step) + 20
    drawn = grid(size, 420, step, west=west - 10 * step, north=north + 10 * step, crs=crs)
    rows, cols = np.mgrid[:size, :420]
    x, _ = there.transform(*(drawn.affine * (cols + 0.5, rows + 0.5)), direction="INVERSE")
    path = write_tif(tmp_path / "cover.tif", np.where(x < border, 80, 0).astype(np.uint8), drawn,
                     nodata=255)  # fmt: skip
    found = masks.forest(path, block, min_cover=40)
    expected = np.broadcast_to(np.arange(100) * 20 + 10 < 1000, (100, 100))
    assert (found == expected).mean() >= 0.99
    assert found[:, :49].all()
    assert not found[:, 51:].any()


def test_outside_the_raster_nothing_is_forest_or_field(tmp_path):
    path = write_tif(tmp_path / "all.tif", np.full((4, 4), 90, np.uint8), grid(4, 4), nodata=None)
    found = masks.forest(path, grid(4, 8), min_cover=30)
    assert found[:, :4].all()
    assert not found[:, 4:].any()
    assert not masks.cropland(path, grid(4, 4, west=WEST + 9000), values=[0, 90]).any()


@pytest.mark.parametrize("kind", ["missing", "text", "no CRS"])
def test_unusable_raster_is_the_users_to_mend(tmp_path, kind):
    path = tmp_path / "cover.tif"
    if kind == "text":
        path.write_text("tree cover")
    elif kind == "no CRS":
        write_tif(path, np.full((4, 4), 90, np.uint8), grid(4, 4), crs=None)
    with pytest.raises(InputError, match=r"the forest cover raster .*cover\.tif cannot be"):
        masks.forest(path, grid(4, 4), min_cover=30)
    with pytest.raises(InputError, match=r"the cropland raster .*cover\.tif cannot be"):
        masks.cropland(path, grid(4, 4), values=[1])


# ── Covers that the history tells ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("index", masks.EVERGREEN)
def test_forest_from_history_stayed_above_its_index(index):
    level = masks.EVERGREEN[index]
    low = np.array([[level - 0.01, level + 0.01, np.nan]], dtype=np.float32)
    assert masks.forest_from_history(index, low).tolist() == [[False, True, False]]


SEASONS = {
    # 10th and 90th percentile of each season: is it tilled?
    "winter wheat": ([0.2, 0.22, 0.18], [0.8, 0.85, 0.82], True),
    "one season of perennial grass in three": ([0.2, 0.6, 0.2], [0.8, 0.85, 0.8], True),
    "two seasons of perennial grass in three": ([0.6, 0.6, 0.2], [0.8, 0.85, 0.8], False),
    "meadow": ([0.5, 0.52, 0.48], [0.75, 0.8, 0.78], False),
    "forest": ([0.7, 0.7, 0.72], [0.88, 0.9, 0.9], False),
    "village": ([0.15, 0.2, 0.15], [0.4, 0.45, 0.5], False),
    "water": ([-0.3, -0.2, -0.4], [0.0, 0.1, 0.0], False),
    "seen in one season only": ([np.nan, 0.2, np.nan], [np.nan, 0.8, np.nan], True),
    "never seen": ([np.nan] * 3, [np.nan] * 3, False),
}


@pytest.mark.parametrize("name", SEASONS)
def test_cropland_was_bare_once_and_green_once_in_most_seasons(name):
    low, high, tilled = SEASONS[name]
    shape = (3, 1, 1)
    found = masks.cropland_from_seasons(np.reshape(low, shape), np.reshape(high, shape))
    assert found.shape == (1, 1)
    assert found.item() == tilled


@given(st.floats(0, 6), st.integers(0, 2**32 - 1))
def test_what_is_near_a_cloud_is_what_a_ruler_says(radius, seed):
    scl = np.random.default_rng(seed).choice(
        [4, 5, 6, 7, 11, 3, 8, 9, 10], (14, 11), p=[0.19] * 5 + [0.0125] * 4
    )
    rows, cols = np.nonzero(np.isin(scl, [3, 8, 9, 10]))
    y, x = np.indices(scl.shape)
    near = np.zeros(scl.shape, dtype=bool)
    for row, col in zip(rows, cols, strict=True):
        near |= np.hypot(y - row, x - col) <= radius
    np.testing.assert_array_equal(masks.near_cloud(scl.astype(np.uint8), radius), near)
