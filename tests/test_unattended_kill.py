"""Kill −9 at any moment, run again: the results are those of a run that nobody disturbed."""

import hashlib
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lesniva import publish
from small import Ended, run_apart, write_archive, write_job

ABOUT_THE_RUN = ("run.json", "manifest.json", "report/index.html")
"""When and how long: with the list of runs in the GeoPackage all that differs between two runs."""


KILLS = int(os.environ.get("LESNIVA_TEST_KILLS", "2"))
"""How many random moments; 20 before a release."""


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    catalog = write_archive(folder / "archive")
    return write_job(folder, catalog, cover=folder / "archive" / "forest_cover.tif")


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ended = run_apart(job, out)
    assert ended.code == 0
    return out, ended


def fingerprints(out: Path) -> dict[str, str]:
    """SHA-256 of every result but those about the run itself."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and ".lesniva" not in path.parts
        and path.relative_to(out).as_posix() not in ABOUT_THE_RUN
    }


def content(path: Path) -> bytes:
    """Bytes of a file; of a GeoPackage all that is in it but for its list of runs."""
    if path.suffix != ".gpkg":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        names = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        tables = [name for name, sql in names if sql and sql.startswith("CREATE TABLE")]
        rows = {
            # rows are dumped by hand: the spatial index needs functions that sqlite3 has not
            name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for name in tables
            if name not in ("runs", "gpkg_ogr_contents", "sqlite_sequence")
        }
    return repr((names, rows)).encode()


def told(out: Path) -> dict[str, object]:
    """What ``run.json`` says but for names, times and durations."""
    told = json.loads((out / "run.json").read_text())
    return {key: told[key] for key in ("outcome", "config", "inputs", "scenes", "results")}


def assert_as_if_undisturbed(out: Path, runs: Sequence[Ended], undisturbed: tuple[Path, Ended]):
    whole, once = undisturbed
    assert runs[-1].code == 0
    assert fingerprints(out) == fingerprints(whole)
    assert told(out) == told(whole)
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
@pytest.mark.parametrize("seed", range(KILLS))
def test_run_killed_at_a_random_moment_ends_as_if_undisturbed(job, undisturbed, tmp_path, seed):
    out = tmp_path / "out"
    moment = random.Random(seed).uniform(0.05, 0.95) * undisturbed[1].seconds
    killed, again = run_apart(job, out, kill_after=moment), run_apart(job, out)
    # on a machine that has grown faster meanwhile the run may have ended before
    assert killed.code in (-9, 0)
    assert_as_if_undisturbed(out, [killed, again], undisturbed)
