"""Windows of files on a block's grid: rasterio, NumPy and known truth are the oracles."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from lesniva import sources
from lesniva.conventions import NODATA_INT16, Scl
from lesniva.cube import load, read_day, solar_days
from lesniva.errors import InputError, UnreadableSceneError
from scenes import NORTH, WEST, Written, grid, numbers, outline, scene_of, write_scene, write_tif

EARTH_SEARCH = Path(__file__).parents[1] / ".." / "shared" / "data" / "stac_earth_search"

SIZE = 64


def day_of(*scenes: Written) -> Any:
    (day,) = solar_days(
        [scene.item for scene in scenes], {scene.item.id: scene.files for scene in scenes}
    )
    return day


def read(scene: Written, geobox: GeoBox, band: str = "red") -> Any:
    return read_day(day_of(scene), geobox, [band])[band]


@pytest.fixture(scope="module")
def truth() -> Any:
    return numbers(SIZE, SIZE, seed=1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, truth: Any) -> Written:
    """One array, as a 10 m band, as a 20 m band and as classes of 20 m."""
    bands = {
        "red": (truth, grid(SIZE, SIZE, 10)),
        "nir08": (truth, grid(SIZE, SIZE, 20)),
        "scl": ((truth % 12).astype(np.uint8), grid(SIZE, SIZE, 20)),
    }
    return write_scene(tmp_path_factory.mktemp("scene"), bands)


# ── Windows of the same CRS ───────────────────────────────────────────────────────────────────


@given(data=st.data())
def test_window_on_the_files_own_grid_is_the_files_pixels(scene, truth, data):
    top, left = data.draw(st.integers(0, SIZE - 1)), data.draw(st.integers(0, SIZE - 1))
    height = data.draw(st.integers(1, SIZE - top))
    width = data.draw(st.integers(1, SIZE - left))
    block = grid(height, width, west=WEST + 10 * left, north=NORTH - 10 * top)
    with rasterio.open(scene.files["red"]) as file:
        expected = file.read(1, window=Window(left, top, width, height))
    found = read(scene, block)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, truth[top : top + height, left : left + width])


@given(data=st.data())
def test_block_anywhere_shows_the_file_where_it_is_and_nothing_elsewhere(scene, truth, data):
    top, left = data.draw(st.integers(-90, 90)), data.draw(st.integers(-90, 90))
    height, width = data.draw(st.integers(1, 100)), data.draw(st.integers(1, 100))
    wide = np.full((300, 300), NODATA_INT16, dtype=np.int16)
    wide[100 : 100 + SIZE, 100 : 100 + SIZE] = truth
    block = grid(height, width, west=WEST + 10 * left, north=NORTH - 10 * top)
    expected = wide[100 + top : 100 + top + height, 100 + left : 100 + left + width]
    np.testing.assert_array_equal(read(scene, block), expected)


def test_twenty_metres_from_ten_are_the_mean_of_four(scene, truth):
    mean = truth.reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3))
    found = read(scene, grid(SIZE // 2, SIZE // 2, 20))
    assert np.abs(found - mean).max() <= 0.5  # rounding to whole DN


def test_missing_pixels_are_left_out_of_means_also_when_the_file_does_not_tell(tmp_path, truth):
    # a swath's edge through the middle of target pixels; JP2 of a SAFE state no nodata value
    cut = truth.copy()
    cut[:, :21] = 0
    cut[5, 40:46] = 0
    parts = np.ma.masked_equal(cut, 0).reshape(SIZE // 2, 2, SIZE // 2, 2)
    mean = parts.mean(axis=(1, 3))
    for nodata in (0, None):
        path = write_tif(tmp_path / f"{nodata}.tif", cut, grid(SIZE, SIZE), nodata=nodata)
        found = read(scene_of({"red": path}), grid(SIZE // 2, SIZE // 2, 20))
        np.testing.assert_array_equal(found == NODATA_INT16, mean.mask)
        assert np.abs(np.ma.masked_array(found, mean.mask) - mean).max() <= 0.5


def test_missing_pixels_are_left_out_of_interpolation_also_when_the_file_does_not_tell(tmp_path):
    flat = np.full((SIZE, SIZE), 5000, dtype=np.uint16)
    flat[20:30, 20:30] = 0
    for nodata in (0, None):
        path = write_tif(tmp_path / f"{nodata}.tif", flat, grid(SIZE, SIZE, 20), nodata=nodata)
        found = read(scene_of({"nir08": path}), grid(2 * SIZE, 2 * SIZE, 10), "nir08")
        assert set(np.unique(found)) == {NODATA_INT16, 5000}
        assert (found[40:60, 40:60] == NODATA_INT16).mean() > 0.8


def test_ten_metres_from_twenty_follow_a_plane(tmp_path):
    rows, cols = np.mgrid[:SIZE, :SIZE]
    plane = (2000 + 40 * cols + 80 * rows).astype(np.uint16)
    scene = write_scene(tmp_path, {"nir08": (plane, grid(SIZE, SIZE, 20))})
    rows, cols = np.mgrid[: 2 * SIZE, : 2 * SIZE]
    # the centre of fine pixel j lies at (j + 0.5) / 2 − 0.5 coarse pixels
    expected = 2000 + 40 * ((cols + 0.5) / 2 - 0.5) + 80 * ((rows + 0.5) / 2 - 0.5)
    found = read(scene, grid(2 * SIZE, 2 * SIZE, 10), "nir08")
    inner = np.s_[1:-1, 1:-1]  # at the rim there is nothing to interpolate with
    assert np.abs(found - expected)[inner].max() <= 0.5


def test_classes_are_repeated_never_mixed(scene, truth):
    expected = np.repeat(np.repeat(truth % 12, 2, axis=0), 2, axis=1)
    found = read(scene, grid(2 * SIZE, 2 * SIZE, 10), "scl")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_classes_of_a_coarse_grid_are_classes_of_the_file(scene, truth):
    found = read(scene, grid(SIZE // 3, SIZE // 3, 60), "scl")
    cells = (truth % 12)[: SIZE // 3 * 3, : SIZE // 3 * 3].reshape(SIZE // 3, 3, SIZE // 3, 3)
    assert (found[:, None, :, None] == cells).any(axis=(1, 3)).all()


@pytest.mark.parametrize(("band", "resolution"), [("red", 20), ("nir08", 10), ("scl", 10)])
@given(data=st.data())
def test_block_edges_leave_no_seam_at_any_ratio(scene, data, band, resolution):
    size = data.draw(st.integers(2, 60))
    cut = data.draw(st.integers(1, size - 1))
    shift = data.draw(st.integers(-3, 70)) * resolution
    whole = grid(size, size, resolution, west=WEST + shift, north=NORTH - shift)
    expected = read(scene, whole, band)
    parts = [read(scene, whole[:, :cut], band), read(scene, whole[:, cut:], band)]
    np.testing.assert_array_equal(np.hstack(parts), expected)


def test_pixels_that_a_file_covers_in_part_stay_missing(scene, truth):
    # a 20 m grid that begins 10 m before the file: its first row and column are covered by half
    block = grid(SIZE // 2 + 1, SIZE // 2 + 1, 20, west=WEST - 10, north=NORTH + 10)
    found = read(scene, block)
    assert (found[0] == NODATA_INT16).all()
    assert (found[:, 0] == NODATA_INT16).all()
    inner = truth[1:-1, 1:-1].reshape(SIZE // 2 - 1, 2, SIZE // 2 - 1, 2).mean(axis=(1, 3))
    assert np.abs(found[1:-1, 1:-1] - inner).max() <= 0.5


def test_grid_off_the_files_pixels_takes_the_pixel_under_its_centre(scene, truth):
    # the 20 m file on a 20 m grid moved by 6 m: every centre still lies in the same pixel
    block = grid(SIZE - 1, SIZE - 1, 20, west=WEST + 6, north=NORTH - 6)
    np.testing.assert_array_equal(read(scene, block, "nir08"), truth[:-1, :-1])


def test_metres_rounded_in_a_files_header_do_not_cost_its_rim(tmp_path, truth):
    path = write_tif(tmp_path / "red.tif", truth, grid(SIZE, SIZE, west=WEST + 0.004))
    np.testing.assert_array_equal(read(scene_of({"red": path}), grid(SIZE, SIZE)), truth)


def test_overviews_serve_coarse_grids(tmp_path):
    smooth = (1000 + np.add.outer(np.arange(512) * 9, np.arange(512) * 5)).astype(np.uint16)
    path = write_tif(tmp_path / "red.tif", smooth, grid(512, 512), driver="COG", blocksize=128)
    with rasterio.open(path) as file:
        assert file.overviews(1)
    found = read(scene_of({"red": path}), grid(128, 128, 40))
    mean = smooth.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 1.5


# ── Other CRSs ────────────────────────────────────────────────────────────────────────────────

EAST = WEST + 150_000
"""Towards the neighbour zone, 38."""


def slope(geobox: GeoBox) -> Any:
    """DN that rise by 1 a metre eastward and 0.4 southward in zone 37, seen from any CRS."""
    height, width = geobox.shape
    rows, cols = np.mgrid[:height, :width]
    to_zone = pyproj.Transformer.from_crs(str(geobox.crs), "EPSG:32637", always_xy=True)
    x, y = to_zone.transform(*(geobox.affine * (cols + 0.5, rows + 0.5)))
    return 4000 + (x - EAST) + 0.4 * (NORTH - y)


def in_zone_38(block: GeoBox, resolution: float) -> GeoBox:
    """Grid of the neighbour zone that has a block in it, with 10 pixels to spare."""
    to_zone = pyproj.Transformer.from_crs(str(block.crs), "EPSG:32638", always_xy=True)
    bounds = np.array(to_zone.transform_bounds(*block.boundingbox)) / resolution
    west, south, east, north = (np.floor(bounds) + np.array([-10, -10, 10, 10])).astype(int)
    corner = {"west": west * resolution, "north": north * resolution}
    return grid(north - south, east - west, resolution, **corner, crs="EPSG:32638")


@pytest.mark.parametrize(
    ("band", "own", "target", "tolerance"),
    [
        ("red", 10, 10, 7.1),  # the nearest pixel: half a step of both slopes
        ("red", 10, 20, 2.6),  # a mean of pixels that lie askew
        ("nir08", 20, 10, 0.6),  # interpolated
    ],
)
def test_tile_of_the_neighbour_zone_lands_where_it_belongs(tmp_path, band, own, target, tolerance):
    block = grid(50, 50, target, west=EAST)
    there = in_zone_38(block, own)
    drawn = np.rint(slope(there)).astype(np.uint16)
    found = read(write_scene(tmp_path, {band: (drawn, there)}), block, band)
    assert np.abs(found - slope(block)).max() <= tolerance


def test_classes_of_the_neighbour_zone_stay_classes(tmp_path):
    block = grid(50, 50, 10, west=EAST)
    there = in_zone_38(block, 20)
    halves = np.where(slope(there) < 4250, Scl.VEGETATION, Scl.CLOUD_HIGH).astype(np.uint8)
    found = read(write_scene(tmp_path, {"scl": (halves, there)}), block, "scl")
    assert set(np.unique(found)) == {Scl.VEGETATION, Scl.CLOUD_HIGH}
    assert ((found == Scl.VEGETATION) == (slope(block) < 4250)).mean() > 0.96


def test_tile_of_the_neighbour_zone_that_ends_inside_a_block_leaves_the_rest_missing(tmp_path):
    block = grid(50, 50, 10, west=EAST)
    there = in_zone_38(block, 10)
    half = there[: there.shape.y // 2]
    found = read(
        write_scene(tmp_path, {"red": (np.rint(slope(half)).astype(np.uint16), half)}), block
    )
    seen = found != NODATA_INT16
    assert seen[:15].all()
    assert not seen[-15:].any()
    assert np.abs(found - slope(block))[seen].max() <= 7.1


@pytest.mark.parametrize("crs", ["EPSG:32638", "EPSG:32601", "EPSG:32737"])
def test_file_of_another_zone_that_does_not_reach_the_block_adds_nothing(tmp_path, truth, crs):
    path = write_tif(tmp_path / "red.tif", truth, grid(SIZE, SIZE, crs=crs))
    assert (read(scene_of({"red": path}), grid(8, 8)) == NODATA_INT16).all()


def test_file_whose_rows_go_north_is_read_the_right_way_up(tmp_path, truth):
    upward = grid(SIZE, SIZE)
    path = write_tif(tmp_path / "red.tif", truth[::-1], upward)
    with rasterio.open(path, "r+") as file:
        file.transform = rasterio.Affine(10, 0, WEST, 0, 10, NORTH - 10 * SIZE)
    np.testing.assert_array_equal(read(scene_of({"red": path}), grid(SIZE, SIZE)), truth)


# ── Numbers ───────────────────────────────────────────────────────────────────────────────────


def shifted(tmp_path: Path, values: Any, **stated: Any) -> Written:
    """Make a scene of baseline 05.10, whose numbers are shifted by 1000."""
    geobox = grid(*values.shape)
    return write_scene(
        tmp_path, {"red": (values, geobox)}, **{"s2:processing_baseline": "05.10", **stated}
    )


def test_offset_is_added_once_missing_stays_missing_and_negative_is_real(tmp_path):
    values = np.array([[0, 1, 999, 1000, 1001, 11_000]], dtype=np.uint16)
    found = read(shifted(tmp_path, values), grid(1, 6))
    np.testing.assert_array_equal(found, [[NODATA_INT16, -999, -1, 0, 1, 10_000]])


def test_zero_reflectance_is_an_observation_and_no_older_scene_covers_it(tmp_path):
    newest = np.array([[1000, 0]], dtype=np.uint16)
    older = np.array([[5000, 5000]], dtype=np.uint16)
    scenes = [
        shifted(
            tmp_path, values, name=name, **{"s2:processing_baseline": baseline, "grid:code": name}
        )
        for name, baseline, values in (("new", "05.10", newest), ("old", "05.09", older))
    ]
    found = read_day(day_of(*scenes), grid(1, 2), ["red"])["red"]
    np.testing.assert_array_equal(found, [[0, 4000]])


def test_offset_that_the_provider_has_applied_is_not_applied_again(tmp_path):
    values = np.array([[500, 5000]], dtype=np.uint16)
    applied = shifted(tmp_path, values, **{"earthsearch:boa_offset_applied": True})
    np.testing.assert_array_equal(read(applied, grid(1, 2)), values)


def test_saturated_numbers_end_at_the_largest_int16(tmp_path):
    values = np.array([[32_766, 32_767, 32_768, 65_535]], dtype=np.uint16)
    plain = write_scene(tmp_path, {"red": (values, grid(1, 4))})
    np.testing.assert_array_equal(read(plain, grid(1, 4)), [[32_766] + 3 * [32_767]])


def test_classes_get_no_offset(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(1, 12)
    scene = write_scene(
        tmp_path, {"scl": (values, grid(1, 12))}, **{"s2:processing_baseline": "05.10"}
    )
    np.testing.assert_array_equal(read(scene, grid(1, 12), "scl"), values)


# ── Several scenes a day ──────────────────────────────────────────────────────────────────────


def test_halves_of_a_datastrip_make_a_whole(tmp_path, truth):
    geobox = grid(SIZE, SIZE)
    whole = {"red": truth, "scl": (1 + truth % 11).astype(np.uint8)}
    scenes = []
    for name, rows in (("north", np.s_[:40, :]), ("south", np.s_[36:, :])):
        halves = {band: np.zeros_like(values) for band, values in whole.items()}
        for band, values in whole.items():
            halves[band][rows] = values[rows]
        bands = {band: (half, geobox) for band, half in halves.items()}
        ground = outline(geobox[rows])
        scenes.append(write_scene(tmp_path, bands, name=name, footprint=ground))
    found = read_day(day_of(*scenes), geobox, ["red", "scl"])
    for band, values in whole.items():
        np.testing.assert_array_equal(found[band], values)


def test_superseded_copy_is_not_even_opened(tmp_path, truth):
    geobox = grid(SIZE, SIZE)
    new = write_scene(tmp_path, {"red": (truth, geobox)}, name="new")
    gone = {"red": tmp_path / "gone.tif"}
    old = scene_of(
        gone, name="old", footprint=outline(geobox), **{"s2:processing_baseline": "02.08"}
    )
    np.testing.assert_array_equal(read_day(day_of(old, new), geobox, ["red"])["red"], truth)


def test_neighbour_of_a_tile_is_opened_only_where_something_is_missing(tmp_path, truth):
    geobox = grid(SIZE, SIZE)
    half = truth.copy()
    half[:, 32:] = 0
    tile = write_scene(tmp_path, {"red": (half, geobox)}, name="tile")
    gone = {"red": tmp_path / "gone.tif"}
    stated = {"s2:processing_baseline": "02.08", "grid:code": "MGRS-37UDC"}
    day = day_of(tile, scene_of(gone, name="neighbour", footprint=outline(geobox), **stated))
    west, east = geobox[:, :32], geobox[:, 32:]
    np.testing.assert_array_equal(read_day(day, west, ["red"])["red"], truth[:, :32])
    with pytest.raises(UnreadableSceneError, match="scene neighbour: red cannot be read"):
        read_day(day, east, ["red"])


@given(order=st.permutations(["a", "b", "c"]))
def test_order_of_the_catalog_does_not_matter(scene, tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    geobox = grid(8, 8)
    made = {}
    for seed, name in enumerate("abc"):
        values = numbers(8, 8, seed=seed)
        values[numbers(8, 8, seed=seed + 10, high=3) == 1] = 0
        made[name] = write_scene(
            folder, {"red": (values, geobox)}, name=name, **{"grid:code": name}
        )
    found, same = (
        read_day(day_of(*(made[name] for name in names)), geobox, ["red"])["red"]
        for names in (order, "abc")
    )
    np.testing.assert_array_equal(found, same)


# ── Faults ────────────────────────────────────────────────────────────────────────────────────


def test_missing_band_is_named_with_what_there_is(scene):
    with pytest.raises(
        UnreadableSceneError, match=r"scene has no file for blue; it has red, nir08"
    ):
        read_day(day_of(scene), grid(8, 8), ["red", "blue"])


def test_what_is_no_band_is_the_callers_mistake(scene):
    with pytest.raises(InputError, match=r"unknown band B04, ndvi: use one of coastal, blue"):
        read_day(day_of(scene), grid(8, 8), ["B04", "red", "ndvi"])


def broken(folder: Path, kind: str, truth: Any) -> Path:
    path = write_tif(folder / "red.tif", truth, grid(SIZE, SIZE), compress="deflate", blocksize=16)
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "a page of the web":
        path.write_text("<!doctype html><title>503</title>")
    elif kind == "a VRT that leads elsewhere":
        write_tif(folder / "secret.tif", truth, grid(SIZE, SIZE))
        path.write_text(
            f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>EPSG:32637</SRS>'
            f"<GeoTransform>{WEST}, 10, 0, {NORTH}, 0, -10</GeoTransform>"
            '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            f"<SourceFilename>{folder}/secret.tif</SourceFilename><SourceBand>1</SourceBand>"
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        with rasterio.open(path) as left_to_guess:  # the bait works
            assert left_to_guess.read(1).any()
    elif kind == "missing":
        path.unlink()
    else:
        path.unlink()
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "cut short",
        "empty",
        "a page of the web",
        "a VRT that leads elsewhere",
        "missing",
        "a folder",
    ],
)
def test_broken_file_is_one_unreadable_scene_with_its_name(tmp_path, truth, kind):
    scene = scene_of({"red": broken(tmp_path, kind, truth)}, name="S2B_37UDB")
    with pytest.raises(UnreadableSceneError, match=r"^scene S2B_37UDB: red cannot be read: "):
        read(scene, grid(SIZE, SIZE))


def test_file_that_does_not_say_where_it_lies_is_refused(tmp_path, truth):
    path = write_tif(tmp_path / "red.tif", truth, grid(SIZE, SIZE), crs=None)
    with pytest.raises(UnreadableSceneError, match="red does not say where it lies"):
        read(scene_of({"red": path}), grid(8, 8))


def test_two_kilobytes_that_claim_a_world_are_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "red.tif"
    profile = {"driver": "GTiff", "width": 60_000, "height": 60_000, "count": 1, "dtype": "uint16"}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32637", transform=grid(1, 1).affine, sparse_ok=True,
        tiled=True, blockxsize=16_384, blockysize=16_384,
    ):  # fmt: skip
        pass
    assert path.stat().st_size < 10_000
    with pytest.raises(UnreadableSceneError, match=r"red claims 60000 × 60000 pixels"):
        read(scene_of({"red": path}), grid(8, 8))


# ── For people: load ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three days, given out of order; the second has a hole and a negative pixel."""
    folder = tmp_path_factory.mktemp("cube")
    geobox = grid(6, 5)
    scenes = []
    for number in (2, 0, 1):
        values = numbers(6, 5, seed=number, low=1000)
        if number == 1:
            values[0, 0], values[0, 1] = 0, 900
        scenes.append(
            write_scene(
                folder,
                {"red": (values, geobox), "scl": (np.full((6, 5), 4, np.uint8), geobox)},
                name=f"s{number}",
                when=datetime(2023, 6, 1 + number, 8, 30, tzinfo=UTC),
                **{"s2:processing_baseline": "05.10"},
            )
        )
    days = solar_days([s.item for s in scenes], {s.item.id: s.files for s in scenes})
    return load(days, geobox, ["red", "scl"], threads=2)


def test_loaded_reflectance_is_float32_with_nan(cube):
    red = cube["red"]
    assert red.dtype == np.float32
    assert red.dims == ("time", "y", "x")
    assert np.isnan(red.values[1, 0, 0])
    assert red.values[1, 0, 1] == pytest.approx(-0.01)
    assert np.isfinite(red.values).sum() == red.size - 1
    expected = (numbers(6, 5, seed=0, low=1000).astype(float) - 1000) / 10_000
    np.testing.assert_allclose(red.values[0], expected, atol=1e-7)


def test_loaded_cube_has_rising_time_falling_y_and_its_place(cube):
    assert (np.diff(cube["time"].values) > np.timedelta64(0, "ns")).all()
    assert (np.diff(cube["y"].values) == -10).all()
    assert (np.diff(cube["x"].values) == 10).all()
    assert cube["x"].values[0] == WEST + 5
    assert cube["y"].values[0] == NORTH - 5
    assert "32637" in cube["spatial_ref"].attrs["crs_wkt"]
    assert cube["red"].encoding["grid_mapping"] == "spatial_ref"


def test_loaded_cube_explains_its_numbers(cube):
    assert cube["red"].attrs["units"] == "1"
    assert cube["red"].attrs["dn_offset"].split("; ")[0] == "s0: -1000 (baseline 05.10)"
    meanings = cube["scl"].attrs["flag_meanings"].split()
    assert meanings[list(cube["scl"].attrs["flag_values"]).index(4)] == "vegetation"


def test_loaded_cube_can_be_stored_and_read_again(cube, tmp_path):
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "cube.zarr", consolidated=False) as again:
        np.testing.assert_array_equal(again["red"].values, cube["red"].values)
        np.testing.assert_array_equal(again["time"].values, cube["time"].values)


def test_no_days_make_a_cube_without_time():
    cube = load([], grid(6, 5), ["red", "scl"])
    assert dict(cube.sizes) == {"time": 0, "y": 6, "x": 5}
    assert (cube["red"].dtype, cube["scl"].dtype) == (np.float32, np.uint8)


def test_one_unreadable_scene_stops_a_load_by_name(scene, tmp_path):
    gone = scene_of(
        {"red": tmp_path / "gone.tif"}, name="gone", when=datetime(2022, 1, 1, 8, tzinfo=UTC)
    )
    days = [day_of(scene), day_of(gone)]
    with pytest.raises(UnreadableSceneError, match="scene gone: red cannot be read"):
        load(days, grid(8, 8), ["red"])


# ── Real items ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    not EARTH_SEARCH.is_dir(), reason="real items (../shared/data/stac_earth_search) are not here"
)
def test_real_earth_search_items_have_the_ndvi_of_summer_as_the_offset_is_applied_once():
    items = sources.search(kind="catalog", href=str(EARTH_SEARCH.resolve()))
    days = solar_days(items, {item.id: sources.assets(item) for item in items})
    assert [len(day.scenes) for day in days] == [2, 2, 2, 2, 2]
    south = next(scene for scene in days[0].scenes if scene.tile == "33TWL")
    with rasterio.open(south.files["red"]) as file:
        block = GeoBox(file.shape, file.transform, str(file.crs))
    cube = load(days, block, ["red", "nir", "scl"])
    ndvi = (cube["nir"] - cube["red"]) / (cube["nir"] + cube["red"])
    medians = ndvi.where(cube["scl"].isin([4, 5, 7])).median(dim=("y", "x"))
    np.testing.assert_allclose(medians, [0.76, 0.86, 0.82, 0.79, 0.79], atol=0.005)
    # further north only the other tile has pixels, and between them there is no gap
    both = load(days[:1], block.pad(0, 100), ["red"])["red"]
    assert np.isfinite(both.values[0, :300]).mean() > 0.999
