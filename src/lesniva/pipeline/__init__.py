"""The journeys, a page each.

::

    aoi → sources → cube → masks → indices ─┬→ change   → alerts   ─┬→ publish
                                            └→ features → forecast ─┘

`forest.monitor_forest`, `harvest.forecast_harvest`, `fields.survey_fields` and
`composite.composite` say what happens in which order; what happens to one block is in
`lesniva.tasks`. `monitoring` keeps the monitor of the forest's blocks, `alerting` the identity of
its alerts, `showing` publishes both. `place` finds area, blocks and scenes,
`meteo` the weather, `outlook` judges and forecasts a crop on a day, `statistics` imports yield
tables, `running` keeps the clock, the lock and the faults of a run, `shelf` publishes what came
out, `planning` says beforehand what a run would do, `upkeep` how a job stands between its runs, and
`assessing` how right its alerts are.
"""

from pathlib import Path

from lesniva import execution
from lesniva.config import AnyPipeline, FieldsPipeline, ForestPipeline, HarvestPipeline
from lesniva.pipeline.assessing import design, evaluate
from lesniva.pipeline.composite import composite
from lesniva.pipeline.fields import survey_fields
from lesniva.pipeline.forest import deliver, monitor_forest
from lesniva.pipeline.harvest import forecast_harvest
from lesniva.pipeline.planning import check, plan, pull
from lesniva.pipeline.running import Report
from lesniva.pipeline.statistics import Statistics, import_yields
from lesniva.pipeline.upkeep import doctor, roll_back, status

__all__ = [
    "Report",
    "Statistics",
    "check",
    "composite",
    "design",
    "doctor",
    "evaluate",
    "forecast_harvest",
    "import_yields",
    "monitor_forest",
    "plan",
    "pull",
    "roll_back",
    "run",
    "status",
    "survey_fields",
]


def run(
    job: AnyPipeline,
    out: Path,
    *,
    scheduler: str | None = None,
    run_tasks: execution.RunTasks | None = None,
) -> Report:
    """Run a job: the journey its file asks for.

    Parameters
    ----------
    job
        From `config.read`.
    out
        Output folder; holds the job's state too, so that the next run goes on from here.
    scheduler
        Address of a Dask scheduler, or `execution.SYNCHRONOUS`; a local cluster when not given.
    run_tasks
        An `execution.engine` to use instead, when several jobs are run.

    Raises
    ------
    LesnivaError
        What stands in the way; nothing half-written is left, and the next run goes on.
    """
    # a worker of a cluster may stand in another folder
    out = out.absolute()
    if run_tasks is None:
        with execution.engine(scheduler) as own:
            return run(job, out, run_tasks=own)
    if isinstance(job, ForestPipeline):
        report = monitor_forest(job, out, run_tasks)
        # the lock is free again: a slow receiver keeps no run waiting
        report.not_told = deliver(job, out)
        return report
    if isinstance(job, HarvestPipeline):
        return forecast_harvest(job, out, run_tasks)
    if isinstance(job, FieldsPipeline):
        return survey_fields(job, out, run_tasks)
    return composite(job, out, run_tasks)
