"""Models for pixels with too few observations, borrowed from the forest around them.

The lenders of a pixel are the pixels of its stratum (forest type) in its cell, a square of about
one kilometre fixed to the grid, so that no result depends on the cut into blocks. Where no map
tells the type of the forest, the few observations of the pixel do (`alike`).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from lesniva.change.history import checked_stack, plane_coords
from lesniva.change.regression import MAD_TO_SIGMA, day_numbers, design
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import InputError

MOST_OWN = 8
"""Observations of its own that a pixel with a borrowed model has at most; more in a single year do
not count, as a model of its own has nine or more."""

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


_AT_ONCE = 20_000
"""Pixels whose observations are compared with the strata at a time."""


def alike(
    model: xr.Dataset,
    index: xr.DataArray,
    time: npt.ArrayLike,
    cells: xr.DataArray,
    medians: pd.DataFrame,
) -> xr.DataArray:
    """Stratum of its cell that each pixel without a model is most like.

    Parameters
    ----------
    model, index, time
        As `history.fit` returned and took them, of the padded block.
    cells, medians
        As in `borrow`.

    Returns
    -------
    DataArray
        (y, x) uint8: the stratum whose median model has the least mean absolute departure from the
        pixel's observations; that with the most lenders where the pixel has none, or where two are
        even; 0 where nothing is lent, and where a pixel needs no model.
    """
    stack = checked_stack(index, time)
    strata = np.zeros(stack.shape[1:], dtype=np.uint8)
    names = [f"c{k}" for k in range(model.sizes["coef"])]
    trend = bool(model.attrs["trend"])
    X = design(day_numbers(time), (len(names) - 1 - trend) // 2, trend=trend)
    needy = np.flatnonzero(_is_needy(model))
    for first in range(0, needy.size, _AT_ONCE):
        chosen = needy[first : first + _AT_ONCE]
        seen = stack.reshape(len(stack), -1)[:, chosen]
        cell = cells.values.ravel()[chosen]
        least, most = np.full(chosen.size, np.inf), np.zeros(chosen.size)
        for stratum in np.unique(medians.index.get_level_values("stratum")):
            of_cell = medians.xs(stratum, level="stratum").reindex(cell)
            departure = np.abs(seen / INDEX_SCALE - X @ of_cell[names].to_numpy().T)
            departure[seen == NODATA_INT16] = 0.0
            away = departure.sum(axis=0) / np.maximum((seen != NODATA_INT16).sum(axis=0), 1)
            lenders = of_cell["n"].to_numpy(np.float64)
            away[np.isnan(lenders)] = np.inf
            better = (away < least) | ((away == least) & (lenders > most))
            strata.ravel()[chosen[better]] = stratum
            least, most = np.where(better, away, least), np.where(better, lenders, most)
    return xr.DataArray(strata, dims=("y", "x"), coords=plane_coords(model))


def _is_needy(model: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Pixels that have too few observations for a model of their own."""
    return np.isin(model["status"].values, (Status.TOO_FEW_OBSERVATIONS, Status.NEVER_CLEAR))


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
        found, and with ``borrowed`` (y, x) bool. Their ``n_history`` is their own observations, at
        most `MOST_OWN`: in a monitor's state that tells a borrowed model.

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
    needy = _is_needy(model)
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
    own = lent["n_history"].values
    own[found] = np.minimum(own[found], MOST_OWN)
    return lent.assign(borrowed=(("y", "x"), found))
