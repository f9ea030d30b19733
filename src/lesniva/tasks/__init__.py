"""What is done to one block: the work of a Dask task, stages joined.

Each task reads its own scenes, keeps its memory within the block, writes its result whole, and
returns a few numbers. `pipeline` says in which order tasks run.

observing
    Scenes become observations: what every task begins with.
forest, scenes, lending
    The monitor of one block, what the scenes of all blocks together say of each scene, and the
    models that neighbours lend.
findings, closeups
    What is told of one block, and of the few alerts that the report shows closely.
farmland, composites
    The NDVI of fields by district and date; composites and their anomalies.
files
    Results on disk, and their names.
"""

from lesniva.tasks.composites import anomaly_block, composite_block
from lesniva.tasks.farmland import Map, cropland_block, season_block
from lesniva.tasks.files import digest, save_table
from lesniva.tasks.findings import coverage_block, findings_block, spectra_block
from lesniva.tasks.forest import (
    LATE,
    Watching,
    fit_history,
    read_history,
    read_new,
    survey_history,
    try_days,
    update_monitor,
)
from lesniva.tasks.lending import lenders
from lesniva.tasks.observing import HALO, BlockReport, Observing, observe, usable
from lesniva.tasks.scenes import corrections, seasons, usual_spread, within_season

__all__ = [
    "HALO",
    "LATE",
    "BlockReport",
    "Map",
    "Observing",
    "Watching",
    "anomaly_block",
    "composite_block",
    "corrections",
    "coverage_block",
    "cropland_block",
    "digest",
    "findings_block",
    "fit_history",
    "lenders",
    "observe",
    "read_history",
    "read_new",
    "save_table",
    "season_block",
    "seasons",
    "spectra_block",
    "survey_history",
    "try_days",
    "update_monitor",
    "usable",
    "usual_spread",
    "within_season",
]
