"""Models lent to pixels with too few observations, by the forest around them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from lesniva import change
from lesniva.tasks.observing import INSIDE

LENDER = "lender_"
"""In front of the names of what is lent, in the files between two passes."""

CELL_M = 1300.0
"""Most metres across a cell whose pixels lend each other their models."""


def cells(geobox: GeoBox) -> xr.DataArray:
    """Give each pixel of a block the number of its cell: squares fixed to the CRS.

    Their side is a power of two pixels. A block whose side is a multiple of that holds its cells
    whole, and what is lent does not depend on how the area is cut; blocks of another size cut
    cells, and the largest piece lends.
    """
    metres = abs(float(geobox.resolution.x))
    side = 2 ** max(int(np.log2(CELL_M / metres)), 0)
    row, col = (
        (round(first / metres) + np.arange(count)) // side
        for first, count in zip((-geobox.affine.f, geobox.affine.c), geobox.shape, strict=True)
    )
    return xr.DataArray(row[:, np.newaxis] * 2**24 + col[np.newaxis], dims=("y", "x"))


def lendable(
    model: xr.Dataset, strata: xr.DataArray, geobox: GeoBox, *, channel: str = ""
) -> dict[str, Any]:
    """Median models of a block's inside, as arrays ``CHANNELlender_…`` for `lenders`."""
    table = change.cell_medians(
        model.isel(INSIDE), strata.isel(INSIDE), cells(geobox).isel(INSIDE)
    ).reset_index()
    return {f"{channel}{LENDER}{name}": table[name].to_numpy() for name in table}


def lenders(
    surveys: Iterable[Path], before: pd.DataFrame | None, *, channel: str = ""
) -> pd.DataFrame:
    """Put the median models of all blocks of a grid together.

    Parameters
    ----------
    surveys
        What `survey_history` wrote, a file a block.
    before
        Result for blocks that were learnt earlier; newer ones take its place.
    channel
        Index of health whose models are lent; those of removal when not given.

    Returns
    -------
    pandas.DataFrame
        As `change.cell_medians`; of a cell that blocks have cut, the piece with the most lenders.
    """
    parts = []
    for path in surveys:
        with np.load(path) as saved:
            prefix = f"{channel}{LENDER}"
            names = [name for name in saved.files if name.startswith(prefix)]
            parts.append(pd.DataFrame({name.removeprefix(prefix): saved[name] for name in names}))
    table = pd.concat(parts, ignore_index=True).sort_values("n", kind="stable")
    table = table.drop_duplicates(["cell", "stratum"], keep="last")
    table = table.set_index(["cell", "stratum"]).sort_index()
    if before is not None:
        table = pd.concat([table, before.loc[before.index.difference(table.index)]]).sort_index()
    return table


def borrowed(
    model: xr.Dataset,
    stack: npt.NDArray[np.int16],
    dates: npt.NDArray[np.datetime64],
    geobox: GeoBox,
    lent: Path,
) -> xr.Dataset:
    """Lend models to the pixels of a block that have too few observations.

    Parameters
    ----------
    model
        Of the padded block.
    stack, dates
        That it was fitted to: the few observations choose the kind of forest.
    geobox
        Of the padded block.
    lent
        File of `lenders`.
    """
    here = cells(geobox)
    medians = pd.read_parquet(lent)
    medians = medians[medians.index.isin(np.unique(here.values), level="cell")]
    index = xr.DataArray(stack, dims=("time", "y", "x"))
    strata = change.alike(model, index, dates, here, medians)
    return change.borrow(model, strata, here, medians)
