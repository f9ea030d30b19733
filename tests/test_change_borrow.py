"""Models borrowed from the forest around."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lesniva.change import (
    MOST_OWN,
    alike,
    borrow,
    cell_medians,
    events,
    fit,
    start,
    update,
)
from lesniva.conventions import NODATA_INT16, Status
from lesniva.errors import InputError

DATES = np.datetime64("2021-01-06") + 12 * np.arange(90)


@pytest.fixture(scope="module")
def block():
    """Model, strata and cells of 16 × 12 pixels; two forests in two cells, some hardly observed."""
    rng = np.random.default_rng(0)
    strata = np.zeros((16, 12), dtype=np.uint8)
    strata[:, 6:] = 1
    cells = np.repeat([7, 9], 8)[:, None] * np.ones(12, dtype=np.int64)
    level = 0.6 + 0.1 * strata + 0.02 * (cells == 9)
    values = level + rng.normal(0, 0.03, (90, 16, 12)) + rng.normal(0, 0.02, (16, 12))
    index = np.rint(values * 10_000).astype(np.int16)
    index[4:, 2, 3] = NODATA_INT16
    index[:, 12, 9] = NODATA_INT16
    model = fit(xr.DataArray(index, dims=("time", "y", "x")), DATES)
    plane = ("y", "x")
    return model, xr.DataArray(strata, dims=plane), xr.DataArray(cells, dims=plane)


def test_pixels_with_too_few_observations_get_the_median_of_their_forest(block):
    model, strata, cells = block
    medians = cell_medians(model, strata, cells)
    lent = borrow(model, strata, cells, medians)
    assert np.argwhere(lent["borrowed"].values).tolist() == [[2, 3], [12, 9]]
    assert (lent["status"] == Status.NONE).all()
    lenders = (strata == 0) & (cells == 7) & (model["status"] == Status.NONE)
    wanted = model["coefficients"].where(lenders).median(("y", "x"))
    np.testing.assert_allclose(lent["coefficients"][:, 2, 3], wanted, rtol=1e-6, atol=1e-9)
    assert lent["coefficients"][0, 12, 9] == pytest.approx(0.72, abs=0.03)
    assert lent["n_history"][2, 3] == 4
    assert model["status"][2, 3] == Status.TOO_FEW_OBSERVATIONS


def test_the_noise_of_a_borrowed_model_has_the_spread_of_its_lenders(block):
    model, strata, cells = block
    lent = borrow(model, strata, cells, cell_medians(model, strata, cells))
    assert lent["sigma"][2, 3] > 1.1 * model["sigma"].median()
    assert lent["sigma"][2, 3] == pytest.approx(np.hypot(0.03, 0.02), rel=0.35)


def test_a_borrowed_pixel_is_monitored(block):
    model, strata, cells = block
    lent = borrow(model, strata, cells, cell_medians(model, strata, cells))
    felled = xr.DataArray(np.full((4, 16, 12), 1_000, dtype=np.int16), dims=("time", "y", "x"))
    dates = DATES[-1] + 5 * np.arange(1, 5)
    status = events(update(start(lent), felled, dates))["status"].values
    assert (status == Status.CONFIRMED).all()
    plain = events(update(start(model), felled, dates))["status"].values
    assert plain[12, 9] == Status.NEVER_CLEAR


def test_medians_of_blocks_cut_along_the_cells_are_those_of_the_whole(block):
    model, strata, cells = block
    whole = cell_medians(model, strata, cells)
    parts = [
        cell_medians(model.isel(y=rows), strata.isel(y=rows), cells.isel(y=rows))
        for rows in (slice(0, 8), slice(8, 16))
    ]
    pd.testing.assert_frame_equal(pd.concat(parts), whole)


def test_a_forest_with_few_lenders_lends_nothing(block):
    model, strata, cells = block
    few = model.isel(y=slice(0, 4))
    table = cell_medians(few, strata.isel(y=slice(0, 4)), cells.isel(y=slice(0, 4)))
    lent = borrow(few, strata.isel(y=slice(0, 4)), cells.isel(y=slice(0, 4)), table)
    assert table.empty
    assert not lent["borrowed"].any()
    assert lent["status"][2, 3] == Status.TOO_FEW_OBSERVATIONS


def test_cells_that_were_cut_are_told(block):
    model, strata, cells = block
    table = cell_medians(model, strata, cells)
    with pytest.raises(InputError, match="cell 7, stratum 0 has two median models"):
        borrow(model, strata, cells, pd.concat([table, table]))


def few_seen(block, value):
    """Stack of a block in which pixel (2, 3) has two observations of a value, and (12, 9) none."""
    stack = np.full((90, 16, 12), NODATA_INT16, dtype=np.int16)
    stack[:2, 2, 3] = value
    return xr.DataArray(stack, dims=("time", "y", "x"))


@pytest.mark.parametrize(("value", "stratum"), [(6_050, 0), (6_900, 1)])
def test_few_observations_tell_which_forest_a_pixel_is_like(block, value, stratum):
    model, strata, cells = block
    medians = cell_medians(model, strata, cells)
    found = alike(model, few_seen(block, value), DATES, cells, medians)
    assert found[2, 3] == stratum
    lent = borrow(model, found, cells, medians)
    assert lent["coefficients"][0, 2, 3] == pytest.approx(0.6 + 0.1 * stratum, abs=0.02)


def test_a_pixel_never_seen_is_taken_for_the_commonest_forest_of_its_cell(block):
    model, strata, cells = block
    uneven = strata.copy()
    uneven[8:, 3:] = 1
    medians = cell_medians(model, uneven, cells)
    few = medians.drop(index=(9, 1))
    for table, stratum in ((medians, 1), (few, 0)):
        assert alike(model, few_seen(block, 6_000), DATES, cells, table)[12, 9] == stratum


def test_own_observations_of_a_single_year_do_not_hide_that_a_model_is_borrowed(block):
    model, strata, cells = block
    one_year = model.copy(deep=True)
    one_year["n_history"].values[2, 3] = 20
    lent = borrow(one_year, strata, cells, cell_medians(model, strata, cells))
    assert lent["n_history"][2, 3] == MOST_OWN
