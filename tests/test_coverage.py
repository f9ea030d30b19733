"""The layer of coverage: seen lately, or why not."""

from datetime import UTC, datetime

import numpy as np
import pytest

from lesniva import aoi, cube, tasks
from lesniva.conventions import Coverage, Scl, Status, to_day_number
from scenes import grid, write_scene

GRID = grid(1, 8, 20)
SINCE = np.datetime64("2023-08-01")


def covered(tmp_path, *scenes, status=Status.NONE, last="2023-05-01", name="lately"):
    """Coverage of eight pixels after scenes of a few classes each."""
    written = [
        write_scene(
            tmp_path,
            {"scl": (np.array([classes], dtype=np.uint8), GRID)},
            name=f"day{number}",
            when=datetime(2023, 8, 2 + number, 8, 30, tzinfo=UTC),
        )
        for number, classes in enumerate(scenes)
    ]
    days = cube.solar_days(
        [scene.item for scene in written], {scene.item.id: scene.files for scene in written}
    )
    shape = GRID.shape
    np.savez(
        tmp_path / "findings.npz",
        status=np.broadcast_to(np.asarray(status, dtype=np.uint8), shape),
        last_observed=np.broadcast_to(to_day_number(np.array(last, "datetime64[D]")), shape),
    )
    done = tasks.coverage_block(
        block=aoi.Block("utm37n", 0, 0, GRID),
        days=days,
        findings=tmp_path / "findings.npz",
        since={"lately": SINCE, "today": np.datetime64("2023-08-03")},
        how=tasks.Observing("nbr", ("scl",)),
        out=tmp_path / "coverage.npz",
    )
    with np.load(done.paths["coverage"]) as saved:
        return saved[name][0].tolist()


def test_the_last_scene_that_reached_a_pixel_gives_the_reason(tmp_path):
    first = [Scl.CLOUD_HIGH] * 8
    last = [Scl.NO_DATA, Scl.CLOUD_MEDIUM, Scl.THIN_CIRRUS, Scl.CLOUD_SHADOW, Scl.DARK_AREA,
            Scl.SNOW_OR_ICE, Scl.VEGETATION, Scl.CLOUD_HIGH]  # fmt: skip
    assert covered(tmp_path, first, last) == [
        Coverage.CLOUD, Coverage.CLOUD, Coverage.CLOUD, Coverage.SHADOW, Coverage.SHADOW,
        Coverage.SNOW, Coverage.SCENE_REJECTED, Coverage.CLOUD,
    ]  # fmt: skip


def test_what_the_monitor_took_lately_is_seen_whatever_came_after(tmp_path):
    last = [["2023-08-02"] * 4 + ["2023-07-31"] * 4]
    found = covered(tmp_path, [Scl.CLOUD_HIGH] * 8, last=last)
    assert found == [Coverage.CLEAR] * 4 + [Coverage.CLOUD] * 4


def test_a_shorter_time_knows_nothing_of_earlier_scenes(tmp_path):
    first, second = [Scl.CLOUD_HIGH] * 8, [Scl.NO_DATA] * 4 + [Scl.CLOUD_SHADOW] * 4
    last = [["2023-08-02"] * 2 + ["2023-05-01"] * 6]
    assert covered(tmp_path, first, second, last=last, name="today") == (
        [Coverage.NO_ACQUISITION] * 4 + [Coverage.SHADOW] * 4
    )


def test_without_a_scene_there_was_no_acquisition(tmp_path):
    assert covered(tmp_path) == [Coverage.NO_ACQUISITION] * 8


@pytest.mark.parametrize("status", [each for each in Status if each >= Status.NOT_FOREST])
def test_what_is_not_watched_says_why(tmp_path, status):
    found = covered(tmp_path, [Scl.VEGETATION] * 8, status=status, last="2023-08-02")
    assert found == [Coverage[status.name]] * 8
