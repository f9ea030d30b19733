import datetime as dt
import math
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from lesniva.conventions import SYNTHETIC_NOTICE, Status, to_day_number
from lesniva.errors import EnvironmentFaultError
from lesniva.publish.cog import RasterStats, rgba, write_cog
from lesniva.publish.layers import LAYERS, encode
from lesniva.storage import sweep

WHEN = dt.date(2026, 6, 10)


def grid(rows=700, columns=900):
    return GeoBox((rows, columns), Affine(10, 0, 300_000, 0, -10, 5_800_000), "EPSG:32637")


def cut(pixels, size):
    rows, columns = pixels.shape
    return [
        (row, column, pixels[row : row + size, column : column + size])
        for row in range(0, rows, size)
        for column in range(0, columns, size)
    ]


def publish(path, name, pixels, size=300, **options):
    layer = LAYERS[name]
    return write_cog(
        path,
        layer,
        grid(*pixels.shape),
        cut(encode(layer, pixels), size),
        when=WHEN,
        attribution=SYNTHETIC_NOTICE,
        **options,
    )


def sample(name, shape=(700, 900)):
    rng = np.random.default_rng([7, 1])
    layer = LAYERS[name]
    if layer.kind == "classes":
        values = rng.choice([known.value for known in layer.classes] + [layer.nodata], shape)
        return values.astype(np.uint8)
    if layer.kind == "dates":
        changed = rng.random(shape) < 0.1
        return np.where(changed, rng.integers(1200, 4000, shape), 0).astype(np.uint16)
    span = (layer.ramp[0].value, layer.ramp[-1].value)
    return np.where(rng.random(shape) < 0.2, np.nan, rng.uniform(*span, shape))


@pytest.mark.parametrize("name", LAYERS)
def test_rio_cogeo_calls_every_layer_a_valid_cog_with_overviews(tmp_path, name):
    path = tmp_path / f"{name}.tif"
    publish(path, name, sample(name))
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1)
        assert dataset.profile["blockxsize"] == dataset.profile["blockysize"] == 512


def test_gdal_reads_an_index_as_a_user_sees_it(tmp_path):
    path = tmp_path / "ndvi.tif"
    values = sample("ndvi")
    publish(path, "ndvi", values)
    with rasterio.open(path) as dataset:
        numbers = dataset.read(1, masked=True)
        seen = numbers * dataset.scales[0] + dataset.offsets[0]
        assert (dataset.dtypes[0], dataset.nodata) == ("int16", -32768)
        assert (dataset.units[0], dataset.descriptions[0]) == ("1", "ndvi")
        assert dataset.crs.to_epsg() == 32637
        assert dataset.transform == grid().affine
    np.testing.assert_array_equal(numbers.mask, np.isnan(values))
    np.testing.assert_allclose(seen.compressed(), values[~np.isnan(values)], atol=0.5e-4)


def test_dates_are_read_as_yyyymmdd(tmp_path):
    dates = np.array([["2019-06-06", "2026-12-31"], ["NaT", "2015-01-02"]], dtype="datetime64[D]")
    path = tmp_path / "first_anomaly.tif"
    publish(path, "first_anomaly", to_day_number(dates))
    with rasterio.open(path) as dataset:
        assert dataset.read(1).tolist() == [[20190606, 20261231], [0, 20150102]]
        assert dataset.read(1, masked=True).mask.tolist() == [[False, False], [True, False]]


def test_classes_carry_their_colours(tmp_path):
    path = tmp_path / "status.tif"
    publish(path, "status", sample("status"))
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[0] is rasterio.enums.ColorInterp.palette
        assert dataset.colormap(1)[Status.CONFIRMED] == rgba("#d7191c")
        assert dataset.nodata == 255


def test_the_file_says_when_what_and_whose(tmp_path):
    path = tmp_path / "status.tif"
    publish(path, "status", sample("status"), tags={"SCENES_SHA256": "ab"})
    with rasterio.open(path) as dataset:
        tags = dataset.tags()
    assert tags["TIFFTAG_DATETIME"] == "2026:06:10 00:00:00"
    assert tags["TIFFTAG_COPYRIGHT"] == SYNTHETIC_NOTICE
    assert tags["TIFFTAG_SOFTWARE"].startswith("lesniva ")
    assert tags["TIFFTAG_IMAGEDESCRIPTION"].startswith("Forest status")
    assert tags["SCENES_SHA256"] == "ab"


def test_times_are_written_in_utc(tmp_path):
    moscow = dt.timezone(dt.timedelta(hours=3))
    path = tmp_path / "status.tif"
    layer, box = LAYERS["status"], grid(2, 2)
    when = dt.datetime(2026, 6, 10, 1, 30, tzinfo=moscow)
    write_cog(path, layer, box, [], when=when, attribution="x")
    with rasterio.open(path) as dataset:
        assert dataset.tags()["TIFFTAG_DATETIME"] == "2026:06:09 22:30:00"


def test_the_bytes_do_not_depend_on_how_the_area_is_cut_into_blocks(tmp_path):
    values = encode(LAYERS["magnitude"], sample("magnitude"))
    files = []
    for number, size in enumerate((900, 512, 137)):
        files.append(tmp_path / f"{number}.tif")
        blocks = cut(values, size)[:: -1 if number else 1]
        write_cog(files[-1], LAYERS["magnitude"], grid(), blocks, when=WHEN, attribution="x")
    assert len({file.read_bytes() for file in files}) == 1


def test_overviews_of_classes_and_dates_make_up_no_value(tmp_path):
    for name in ("status", "first_anomaly"):
        path = tmp_path / f"{name}.tif"
        publish(path, name, sample(name))
        with rasterio.open(path) as dataset:
            full = set(np.unique(dataset.read(1)))
        with rasterio.open(path, overview_level=0) as overview:
            assert set(np.unique(overview.read(1))) <= full


def test_an_overview_of_an_index_is_the_mean_of_what_is_not_missing(tmp_path):
    values = np.full((1024, 1024), 0.2)
    values[::2] = np.nan
    values[1::2, ::2] = 0.6
    publish(tmp_path / "ndvi.tif", "ndvi", values)
    with rasterio.open(tmp_path / "ndvi.tif", overview_level=0) as overview:
        assert np.unique(overview.read(1)).tolist() == [4000]


def test_where_no_block_is_the_file_is_missing(tmp_path):
    layer, path = LAYERS["n_obs"], tmp_path / "n_obs.tif"
    block = (600, 0, np.full((100, 100), 5, np.uint16))
    stats = write_cog(path, layer, grid(), [block], when=WHEN, attribution="x")
    assert (stats.valid, stats.total, stats.minimum) == (10_000, 630_000, 5)
    with rasterio.open(path) as dataset:
        assert dataset.read(1, masked=True).count() == 10_000


def test_a_raster_without_a_valid_pixel_is_whole_and_says_so(tmp_path):
    path = tmp_path / "confirmed_on.tif"
    stats = publish(path, "confirmed_on", np.zeros((600, 600), np.uint16))
    assert stats == RasterStats(360_000, 0, None, None, None, None, {})
    assert cog_validate(path, strict=True)[0]


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.int16, (40, 30), elements=st.integers(-32768, 32767)),
    st.integers(7, 40),
)
def test_statistics_are_those_of_the_pixels_in_the_file(tmp_path_factory, numbers, size):
    path = tmp_path_factory.mktemp("stats") / "ndvi.tif"
    stats = write_cog(
        path, LAYERS["ndvi"], grid(40, 30), cut(numbers, size), when=WHEN, attribution="x"
    )
    valid = numbers[numbers != -32768].astype(np.float64)
    assert stats.valid == valid.size
    if valid.size:
        assert (stats.minimum, stats.maximum) == (valid.min(), valid.max())
        assert math.isclose(stats.mean, valid.mean(), rel_tol=1e-12, abs_tol=1e-9)
        assert math.isclose(stats.stddev, valid.std(), rel_tol=1e-9, abs_tol=1e-6)


def test_statistics_stand_in_the_file_and_dates_do_not_overflow_them(tmp_path):
    days = sample("first_anomaly")
    stats = publish(tmp_path / "first_anomaly.tif", "first_anomaly", days)
    numbers = encode(LAYERS["first_anomaly"], days)
    numbers = numbers[numbers > 0].astype(np.float64)
    assert math.isclose(stats.stddev, numbers.std(), rel_tol=1e-9)
    with rasterio.open(tmp_path / "first_anomaly.tif") as dataset:
        tags = dataset.tags(1)
    assert float(tags["STATISTICS_MAXIMUM"]) == numbers.max()
    assert math.isclose(float(tags["STATISTICS_MEAN"]), numbers.mean(), rel_tol=1e-8)


def test_class_counts_are_exact(tmp_path):
    values = sample("status")
    stats = publish(tmp_path / "status.tif", "status", values)
    known, counts = np.unique(values[values != 255], return_counts=True)
    assert stats.classes == dict(zip(known.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ((0, 0, np.zeros((2, 2), np.int16)), "2-D int16, not 2-D uint8; use encode"),
        ((0, 0, np.zeros(4, np.uint8)), "1-D uint8"),
        ((699, 0, np.zeros((2, 2), np.uint8)), r"leaves the grid of 700 x 900"),
        ((-1, 0, np.zeros((2, 2), np.uint8)), r"row -1"),
        ((0, 0, np.full((2, 2), 77, np.uint8)), r"no classes \[77\]"),
    ],
)
def test_a_wrong_block_is_refused_and_nothing_is_left(tmp_path, block, message):
    with pytest.raises(ValueError, match=message):
        write_cog(
            tmp_path / "status.tif",
            LAYERS["status"],
            grid(),
            [block],
            when=WHEN,
            attribution="x",
        )
    assert list(tmp_path.iterdir()) == []


def test_a_grid_without_a_crs_is_refused(tmp_path):
    bare = GeoBox((2, 2), grid().affine, None)
    with pytest.raises(ValueError, match="without a CRS"):
        write_cog(tmp_path / "x.tif", LAYERS["status"], bare, [], when=WHEN, attribution="x")


WRITER = """
    import datetime as dt, os, signal, sys
    from pathlib import Path
    import numpy as np
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from lesniva.publish import LAYERS, write_cog

    grid = GeoBox((2000, 2000), Affine(10, 0, 0, 0, -10, 0), "EPSG:32637")

    def blocks():
        for number in range(4):
            yield 500 * number, 0, np.full((500, 2000), number, np.uint16)
            if number == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    write_cog(Path(sys.argv[1]), LAYERS["n_obs"], grid, blocks(),
              when=dt.date(2026, 1, 1), attribution="x")
"""


def test_a_killed_writer_leaves_the_earlier_file_and_what_sweep_finds(tmp_path):
    path = tmp_path / "n_obs.tif"
    path.write_bytes(b"earlier")
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"earlier"
    assert sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk():
    """No file of this process may grow beyond 1 MiB, as if the disk were full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_in_one_line_and_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "n_obs.tif"
    path.write_bytes(b"earlier")
    noise = np.random.default_rng(5).integers(0, 1000, (1500, 1500)).astype(np.uint16)
    with pytest.raises(EnvironmentFaultError, match=r"cannot write .*n_obs\.tif: .*free some"):
        publish(path, "n_obs", noise)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
