"""Composites of one block, and their departures from those of earlier years."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesniva import aoi, composites, cube
from lesniva.tasks.files import save_array
from lesniva.tasks.observing import BlockReport, Observing, observe


def composite_block(
    *,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    how: Observing,
    statistic: composites.Statistic,
    out: Path,
) -> BlockReport:
    """Reduce solar days of one block to one value a pixel: a ``.npy`` file (y, x) of int16."""
    observed = observe(days, block.geobox, how, inside=aoi.inside(block, grid))
    value, _ = composites.composite(
        observed.stack, np.arange(len(observed.days)), statistic=statistic
    )
    if not observed.days:
        return observed.report()
    out = observed.result_path(out)
    save_array(out, value)
    return observed.report(composite=out)


def anomaly_block(
    *, value: Path, earlier: Sequence[Path], min_years: int, out: Path
) -> BlockReport:
    """Departure of a composite of one block from those of earlier years, a file as theirs."""
    departure = composites.anomaly(np.load(value), map(np.load, earlier), min_years=min_years)
    save_array(out, departure)
    return BlockReport(paths={"anomaly": out})
