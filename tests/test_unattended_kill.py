"""Kill −9 at any moment, run again: the results are those of a run that nobody disturbed."""

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from fingerprints import fingerprints
from lesniva import publish
from small import Ended, run_apart, write_archive, write_job

RUNS = int(os.environ.get("LESNIVA_TEST_RUNS", "2"))
"""How many runs are killed at random moments; 5 before a release, which makes 20 moments."""

KILLS = 4
"""Random moments of such a run."""

JOB = os.environ.get("LESNIVA_TEST_JOB")
"""A pipeline file to be run in place of the small job: the demo's, before a release."""


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    if JOB is not None:
        return Path(JOB)
    folder = tmp_path_factory.mktemp("job")
    catalog = write_archive(folder / "archive")
    return write_job(folder, catalog, cover=folder / "archive" / "forest_cover.tif")


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ended = run_apart(job, out)
    assert ended.code == 0
    return out, ended


def assert_as_if_undisturbed(out: Path, runs: Sequence[Ended], undisturbed: tuple[Path, Ended]):
    whole, once = undisturbed
    assert runs[-1].code == 0
    assert fingerprints(out) == fingerprints(whole)
    assert publish.verify(out) == []
    assert not list(out.rglob("*.tmp-*"))
    begun = Counter(task for run in runs for task in run.begun)
    assert begun.keys() == set(once.begun)
    kills = len(runs) - 1
    assert begun.total() - len(begun) <= kills, "more than one block was done again for a kill"


@pytest.mark.slow
def test_run_killed_at_the_end_of_every_stage_ends_as_if_undisturbed(job, undisturbed, tmp_path):
    out = tmp_path / "out"
    stages = len(undisturbed[1].lines) - len(undisturbed[1].begun)
    assert stages >= 9
    killed = [run_apart(job, out, kill_at=stage) for stage in range(stages)]
    assert {run.code for run in killed} == {-9}
    again = run_apart(job, out)
    # the last kill came after everything was published, and before the ledger knew
    assert_as_if_undisturbed(out, [*killed, again], undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(RUNS))
def test_run_killed_at_random_moments_ends_as_if_undisturbed(job, undisturbed, tmp_path, seed):
    out = tmp_path / "out"
    random_ = random.Random(seed)
    moments = sorted(random_.uniform(0.05, 0.95) * undisturbed[1].seconds for _ in range(KILLS))
    gaps = [moment - before for before, moment in zip([0.0, *moments], moments, strict=False)]
    killed = [run_apart(job, out, kill_after=gap) for gap in gaps]
    # on a machine that has grown faster meanwhile the run may have ended before
    assert {run.code for run in killed} <= {-9, 0}
    assert_as_if_undisturbed(out, [*killed, run_apart(job, out)], undisturbed)
