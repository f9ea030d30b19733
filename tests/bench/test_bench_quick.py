"""A look at the hot paths in some seconds, beside floors only: `make speed`, at the end of CI."""

from concurrent.futures import ThreadPoolExecutor

import cogs
import numpy as np
import pytest
import xarray as xr
from timing import timed

from lesniva import change, composites, cube, indices, masks
from lesniva.change.regression import day_numbers, design
from lesniva.conventions import INDEX_SCALE, NODATA_INT16

SIDE, DATES, BLOCK = 128, 120, 512


@pytest.fixture(scope="module")
def small_stack(tmp_path_factory):
    return cogs.write(tmp_path_factory.mktemp("cogs"), dates=6, side=2 * BLOCK)


@pytest.fixture(scope="module")
def forest():
    """Index of a forest, half of it missing, and its dates."""
    draw = np.random.default_rng(3)
    dates = np.datetime64("2020-01-05") + 11 * np.arange(DATES)
    level = 0.6 + 0.1 * np.sin(2 * np.pi * np.arange(DATES) * 11 / 365.25)
    values = level[:, None, None] + 0.02 * draw.standard_normal((DATES, SIDE, SIDE))
    stack = np.rint(INDEX_SCALE * values).astype(np.int16)
    stack[draw.random(stack.shape) < 0.5] = NODATA_INT16
    return xr.DataArray(stack, dims=("time", "y", "x")), dates


@pytest.mark.parametrize(
    ("name", "how"), [("OLS", {"method": "ols", "trim": None}), ("robust, trimmed", {})]
)
def test_fit(beside, forest, name, how):
    stack, dates = forest
    X = design(day_numbers(dates), 3)
    some = stack.values.reshape(DATES, -1).T[: SIDE**2 // 16]

    def with_numpy():
        for y in some:
            seen = y != NODATA_INT16
            np.linalg.lstsq(X[seen], y[seen] / INDEX_SCALE, rcond=None)

    beside(
        f"fit of {SIDE}² px, {name}, 1 thread",
        lambda: change.fit(stack, dates, **how),
        {"numpy's lstsq of every sixteenth pixel": timed(with_numpy)},
        rounds=2,
        rate=lambda seconds: f"{SIDE**2 / 1e6 / seconds:.2f} Mpx/s",
    )


def test_update(beside, forest):
    stack, dates = forest
    state = change.start(change.fit(stack[:-1], dates[:-1]))
    strata = change.amplitude_strata(change.seasonal_amplitude(state))
    n_strata = len(change.AMPLITUDE_EDGES) + 1

    def ours():
        counts = change.scene_residuals(state, stack[-1:], dates[-1:], strata, n_strata=n_strata)
        corrections = change.correction(counts)
        change.update(state, stack[-1:], dates[-1:], corrections=corrections, strata=strata)

    beside(
        f"update of {SIDE}² px with a scene, its correction, 1 thread",
        ours,
        {"floor: a copy of the state": timed(lambda: state.copy(deep=True))},
        rounds=5,
        rate=lambda seconds: f"{seconds / SIDE**2 * 1e9:.0f} ns/px",
    )


def clear_ndvi(days, geobox):
    stack = np.empty((len(days), *geobox.shape), dtype=np.int16)
    for place, day in enumerate(days):
        bands = cube.read_day(day, geobox, ("red", "nir", "scl"))
        indices.scaled("ndvi", bands, masks.clear(bands["scl"]), stack[place])
    return stack


def median_ndvi(days, geobox):
    return composites.composite(clear_ndvi(days, geobox), np.arange(len(days)))


@pytest.mark.parametrize("work", [clear_ndvi, median_ndvi])
def test_reading_and_compositing(beside, small_stack, work):
    corners = [(row, column) for row in (0, BLOCK) for column in (0, BLOCK)]

    def one(corner):
        row, column = corner
        geobox = small_stack.geobox[row : row + BLOCK, column : column + BLOCK]
        return work(small_stack.days, geobox)

    def ours():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, corners))

    beside(
        f"{work.__name__.replace('_', ' ')} of 6 scenes of 10 × 10 km, 2 threads",
        ours,
        {"floor: GDAL reads": timed(cogs.plain_reads(small_stack))},
        rounds=3,
    )
