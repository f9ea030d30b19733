import datetime as dt
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from compliance_checker.runner import CheckSuite, ComplianceChecker
from odc.geo.geobox import GeoBox
from zarr.storage import ZipStore

from lesniva.conventions import ATTRIBUTION, NODATA_INT16
from lesniva.errors import EnvironmentFaultError
from lesniva.publish import LAYERS, write_netcdf, write_zarr

GRID = GeoBox((40, 60), Affine(20, 0, 400_000, 0, -20, 5_800_000), "EPSG:32637")
JUNE = [
    (dt.date(2026, 6, 1), dt.date(2026, 6, 10)),
    (dt.date(2026, 6, 11), dt.date(2026, 6, 20)),
]
PIXELS = np.arange(2400, dtype=np.int16).reshape(GRID.shape)


def write(path, slices=((0, 0, 0, PIXELS), (1, 10, 20, PIXELS[10:, 20:])), **changed):
    asked = {
        "layer": LAYERS["ndvi"],
        "geobox": GRID,
        "times": JUNE,
        "title": "NDVI: Lipetsk Oblast",
        "attribution": f"{ATTRIBUTION} 2026",
    } | changed
    write_netcdf(path, asked.pop("layer"), asked.pop("geobox"), slices, **asked)
    return path


@pytest.mark.parametrize("name", ["ndvi", "ndvi_anomaly", "probability"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_checker_of_cf_conventions_finds_no_fault(tmp_path, name, monkeypatch):
    layer = LAYERS[name]
    pixels = np.ones(GRID.shape, layer.dtype)
    path = write(tmp_path / "cube.nc", [(0, 0, 0, pixels)], layer=layer)
    CheckSuite.load_all_available_checkers()
    ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], 0, "strict", output_filename=str(tmp_path / "said.txt")
    )
    said = (tmp_path / "said.txt").read_text()
    assert "All tests passed!" in said, said


def test_xarray_reads_values_times_and_places_as_a_user_sees_them(tmp_path):
    with xr.open_dataset(write(tmp_path / "cube.nc"), decode_coords="all") as cube:
        ndvi = cube["ndvi"].load()
        assert [str(day)[:10] for day in cube["time_bounds"].values.ravel()] == [
            "2026-06-01",
            "2026-06-11",
            "2026-06-11",
            "2026-06-21",
        ]
    assert ndvi.dims == ("time", "y", "x")
    assert ndvi.sel(time="2026-06-06").item(0, 5) == pytest.approx(0.0005)
    assert ndvi.isel(time=1, y=5).isnull().all()
    assert ndvi.isel(time=1, y=10, x=20).item() == pytest.approx(PIXELS[10, 20] * 1e-4)
    assert (ndvi.x[0].item(), ndvi.y[0].item()) == (400_010, 5_799_990)
    assert ndvi.attrs["standard_name"] == "normalized_difference_vegetation_index"
    assert cube.attrs["source"] == f"{ATTRIBUTION} 2026"


def test_gdal_finds_grid_scale_and_missing_value(tmp_path):
    path = write(tmp_path / "cube.nc")
    with rasterio.open(f"netcdf:{path}:ndvi") as file:
        assert (file.crs.to_epsg(), file.transform, file.shape) == (32637, GRID.affine, GRID.shape)
        assert (file.nodata, file.scales, file.count) == (NODATA_INT16, (1e-4, 1e-4), 2)
        np.testing.assert_array_equal(file.read(1), PIXELS)


def test_the_same_slices_in_any_order_make_the_same_pixels(tmp_path):
    halves = [(0, 0, 0, PIXELS[:20]), (0, 20, 0, PIXELS[20:])]
    one, other = write(tmp_path / "a.nc", halves), write(tmp_path / "b.nc", halves[::-1])
    with xr.open_dataset(one) as a, xr.open_dataset(other) as b:
        xr.testing.assert_identical(a, b)
    assert write(tmp_path / "c.nc", halves).read_bytes() == one.read_bytes()


def test_a_zarr_store_holds_the_same_cube_and_the_same_bytes_every_time(tmp_path):
    cube = write(tmp_path / "cube.nc")
    for name in ("a", "b"):
        write_zarr(tmp_path / f"{name}.zarr.zip", cube)
    with (
        ZipStore(tmp_path / "a.zarr.zip", mode="r") as store,
        xr.open_zarr(store, consolidated=False, decode_coords="all") as one,
        xr.open_dataset(cube, decode_coords="all") as other,
    ):
        xr.testing.assert_identical(one.load(), other.load())
        assert one["ndvi"].encoding["dtype"] == np.int16
        assert one["ndvi"].encoding["fill_value"] == NODATA_INT16
    # and of the metadata what the checker of CF conventions has seen
    with (
        ZipStore(tmp_path / "a.zarr.zip", mode="r") as store,
        xr.open_zarr(store, consolidated=False, decode_cf=False) as one,
        xr.open_dataset(cube, decode_cf=False) as other,
    ):
        xr.testing.assert_identical(one.load(), other.load())
    assert (tmp_path / "a.zarr.zip").read_bytes() == (tmp_path / "b.zarr.zip").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_chunk_without_a_value_takes_no_space(tmp_path):
    write_zarr(tmp_path / "one.zarr.zip", write(tmp_path / "cube.nc", [(1, 0, 0, PIXELS)]))
    with zipfile.ZipFile(tmp_path / "one.zarr.zip") as packed:
        assert [name for name in packed.namelist() if name.startswith("ndvi/c")] == ["ndvi/c/1/0/0"]


def test_a_zarr_store_on_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    cube = write(tmp_path / "cube.nc")
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFaultError, match="cannot write"):
        write_zarr(tmp_path / "file" / "a.zarr.zip", cube)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cube.nc", "file"]


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match="at least one period"):
        write(tmp_path / "a.nc", times=[])
    with pytest.raises(ValueError, match="is float64, not int16"):
        write(tmp_path / "a.nc", [(0, 0, 0, PIXELS * 1.0)])
    with pytest.raises(ValueError, match="projected grid"):
        write(tmp_path / "a.nc", geobox=GeoBox((4, 4), Affine(1, 0, 0, 0, -1, 0), "EPSG:4326"))
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFaultError, match="cannot write"):
        write(tmp_path / "file" / "a.nc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


PROGRAM = """
import datetime as dt, resource, sys
from pathlib import Path
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from lesniva.publish import LAYERS, write_cog, write_netcdf

side, step = 8192, 512
grid = GeoBox((side, side), Affine(20, 0, 400_000, 0, -20, 5_800_000), "EPSG:32637")
ramp = np.arange(step * step, dtype=np.int16).reshape(step, step) % 997
def blocks():
    for row in range(0, side, step):
        for column in range(0, side, step):
            yield row, column, ramp
folder, layer, day = Path(sys.argv[1]), LAYERS["ndvi"], dt.date(2026, 6, 1)
write_cog(folder / "warm.tif", layer, grid[:step, :step], [(0, 0, ramp)], when=day, attribution="")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_cog(folder / "a.tif", layer, grid, blocks(), when=day, attribution="")
write_netcdf(folder / "a.nc", layer, grid, ((0, *block) for block in blocks()),
             times=[(day, day)], title="", attribution="-")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_a_whole_area_is_written_in_memory_that_does_not_grow_with_it(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True
    )
    # 128 MiB of pixels an array, 512 MiB as floats; GDAL's cache may fill
    assert float(said.stdout) < 200
