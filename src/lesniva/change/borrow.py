"""Models for pixels with too few observations, borrowed from the forest around them.

The lenders of a pixel are the pixels of its stratum (forest type) in its cell, a square of about
one kilometre fixed to the grid, so that no result depends on the cut into blocks.
"""

import numpy as np
import pandas as pd
import xarray as xr

from lesniva.change.regression import MAD_TO_SIGMA
from lesniva.conventions import Status
from lesniva.errors import InputError

MIN_LENDERS = 30
"""Fewer models than this say little of the forest around."""


def cell_medians(model: xr.Dataset, strata: xr.DataArray, cells: xr.DataArray) -> pd.DataFrame:
    """Median model of each stratum in each cell.

    Parameters
    ----------
    model
        What `history.fit` returned, of a block's inside that holds its cells whole.
    strata
        (y, x) uint8 forest type, known without a model.
    cells
        (y, x) integer number of the cell, unique over the area.

    Returns
    -------
    DataFrame
        Index ``cell``, ``stratum``; columns ``n`` lenders, ``sigma``, and ``c0`` … the medians of
        the coefficients. sigma joins the median noise with the spread of the lenders' intercepts.
        Tables of blocks may be put one under the other.
    """
    lends = model["status"].values == Status.NONE
    columns = {"cell": cells.values[lends], "stratum": strata.values[lends]}
    columns["sigma"] = model["sigma"].values[lends].astype(np.float64)
    names = [f"c{k}" for k in range(model.sizes["coef"])]
    for k, name in enumerate(names):
        columns[name] = model["coefficients"].values[k][lends].astype(np.float64)
    groups = pd.DataFrame(columns).groupby(["cell", "stratum"], sort=True)
    table = groups.median()
    away = groups["c0"].transform("median")
    spread = pd.DataFrame({**columns, "away": np.abs(columns["c0"] - away)})
    between = MAD_TO_SIGMA * spread.groupby(["cell", "stratum"])["away"].median()
    table["sigma"] = np.hypot(table["sigma"], between)
    table.insert(0, "n", groups.size())
    return table[table["n"] >= MIN_LENDERS]


def borrow(
    model: xr.Dataset, strata: xr.DataArray, cells: xr.DataArray, medians: pd.DataFrame
) -> xr.Dataset:
    """Give the pixels that have too few observations the median model around them.

    Parameters
    ----------
    model, strata, cells
        As in `cell_medians`, of the padded block.
    medians
        Tables of `cell_medians` of this block and its neighbours, put together.

    Returns
    -------
    Dataset
        The model with `Status.NONE` where TOO_FEW_OBSERVATIONS or NEVER_CLEAR was and lenders were
        found, and with ``borrowed`` (y, x) bool. Their ``n_history`` stays what it was, below 9: in
        a monitor's state that tells a borrowed model.

    Raises
    ------
    InputError
        If a cell has two medians: the blocks did not hold their cells whole.
    """
    if medians.index.has_duplicates:
        twice = medians.index[medians.index.duplicated()][0]
        raise InputError(
            f"cell {twice[0]}, stratum {twice[1]} has two median models; cut the blocks along the "
            "cells, or give the medians of each block once"
        )
    needy = np.isin(model["status"].values, (Status.TOO_FEW_OBSERVATIONS, Status.NEVER_CLEAR))
    keys = pd.MultiIndex.from_arrays([cells.values[needy], strata.values[needy]])
    place = medians.index.get_indexer(keys)
    found = needy.copy()
    found[needy] = place >= 0
    place = place[place >= 0]
    lent = model.copy(deep=True)
    for k in range(model.sizes["coef"]):
        lent["coefficients"].values[k][found] = medians[f"c{k}"].to_numpy()[place]
    lent["sigma"].values[found] = medians["sigma"].to_numpy()[place]
    lent["status"].values[found] = Status.NONE
    return lent.assign(borrowed=(("y", "x"), found))
