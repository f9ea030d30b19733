"""Pixels with too few observations are watched by the model of the forest around them."""

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

import small
from lesniva import change, config, execution, pipeline, tasks
from lesniva.conventions import Scl, Status
from lesniva.tasks import lending

pytestmark = pytest.mark.slow

SPARSE = (slice(16, 30), slice(26, 40))
"""Rows and columns of 20 m pixels that clouds hide in nearly all of the history."""


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """One run over an archive with a patch that hardly any scene of the history shows."""
    folder = tmp_path_factory.mktemp("hidden")
    catalog = small.write_archive(folder / "archive")
    history = sorted(
        path for path in catalog.parent.glob("scenes/*/scl.tif") if "_2022" not in str(path)
    )
    for path in history[3:]:
        with rasterio.open(path) as file:
            profile, classes = file.profile, file.read(1)
        classes[SPARSE] = Scl.CLOUD_HIGH
        with rasterio.open(path, "w", **profile) as file:
            file.write(classes, 1)
    cover, more = catalog.parent / "forest_cover.tif", "[report]\nclose_ups = 0"
    file = small.write_job(folder, catalog, cover=cover, more=more)
    with pytest.MonkeyPatch.context() as patched:
        small.leave_out_pictures(patched)
        report = pipeline.run(config.read(file), folder / "out", scheduler=execution.SYNCHRONOUS)
    return folder / "out", report


def test_what_is_hardly_seen_is_watched_with_a_borrowed_model_and_says_so(hidden):
    out, report = hidden
    layers = {}
    for name in ("status", "n_obs"):
        with rasterio.open(out / "rasters" / f"{name}.tif") as file:
            layers[name] = file.read(1)
    few = layers["n_obs"] <= change.MOST_OWN
    assert few.sum() >= 30
    assert (layers["status"][few] < Status.NOT_FOREST).all()
    assert not np.isin(layers["status"], (Status.TOO_FEW_OBSERVATIONS, Status.NEVER_CLEAR)).any()
    assert report.results["borrowed_share"] > 0
    assert any("a model borrowed from the forest around" in line for line in report.lines())


GRID = GeoBox.from_bbox((499_200, 5_990_400, 501_760, 5_992_960), "EPSG:32637", resolution=20)


def survey(path, model, strata, rows, cols):
    """File of a block's medians, as `tasks.survey_history` writes it."""
    padded = GRID[rows, cols].pad(1)
    inside = {"y": rows, "x": cols}
    around = {"y": (1, 1), "x": (1, 1)}
    lent = lending.lendable(
        model.isel(inside).pad(around, constant_values=0),
        strata.isel(inside).pad(around, constant_values=0).astype(np.uint8),
        padded,
    )
    np.savez(path, **lent)
    return path


@pytest.fixture(scope="module")
def forest():
    """Model and strata of 128 × 128 pixels: four cells of 64."""
    rng = np.random.default_rng(3)
    plane = ("y", "x")
    model = xr.Dataset(
        {
            "coefficients": (("coef", *plane), rng.normal(size=(3, 128, 128)).astype(np.float32)),
            "sigma": (plane, rng.uniform(0.01, 0.03, (128, 128)).astype(np.float32)),
            "status": (plane, np.zeros((128, 128), dtype=np.uint8)),
        }
    )
    strata = xr.DataArray(rng.integers(0, 2, (128, 128)).astype(np.uint8), dims=plane)
    return model, strata


def test_what_is_lent_does_not_depend_on_blocks_that_hold_their_cells_whole(forest, tmp_path):
    whole = tasks.lenders(
        [survey(tmp_path / "whole.npz", *forest, slice(0, 128), slice(0, 128))], None
    )
    assert len(whole) == 8
    parts = [
        survey(tmp_path / f"{row}_{col}.npz", *forest, slice(row, row + 64), slice(col, col + 64))
        for row in (0, 64)
        for col in (64, 0)
    ]
    pd.testing.assert_frame_equal(tasks.lenders(parts, None), whole)
    later = tasks.lenders(parts[2:], tasks.lenders(parts[:2], None))
    pd.testing.assert_frame_equal(later, whole)


def test_of_a_cell_that_blocks_have_cut_the_largest_piece_lends(forest, tmp_path):
    cut = [
        survey(tmp_path / f"{first}.npz", *forest, slice(first, last), slice(0, 64))
        for first, last in ((0, 48), (48, 64))
    ]
    assert len(tasks.lenders(cut, None)) == 2
    pd.testing.assert_frame_equal(tasks.lenders(cut, None), tasks.lenders(cut[:1], None))
