"""Late scenes: who goes back, to which state, and that the end is that of one run."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from geopandas.testing import assert_geodataframe_equal

import small
from fingerprints import alerts_without_names
from lesniva import config, execution, ledger, pipeline, tasks
from lesniva.cube import SolarDay
from lesniva.ledger import Seen
from lesniva.pipeline import completeness, replaying

pytestmark = pytest.mark.slow

FIRST = np.datetime64("2024-06-01")
DAYS = [FIRST + 5 * n for n in range(8)]
"""The last is 35 days after the first."""


def days(*scenes: str) -> list[SolarDay]:
    """Solar days of which each has the scenes named, by one letter each."""
    listed = zip(DAYS, scenes, strict=False)
    return [
        SolarDay(date, tuple(SimpleNamespace(id=f"{date}{name}") for name in names))  # type: ignore[misc]
        for date, names in listed
    ]


def table(past: list[SolarDay], out_of_season: int | None = None) -> pd.DataFrame:
    """What a run that has seen these days says of them."""
    return pd.DataFrame(
        {
            "scenes": [replaying.listed(day.ids) for day in past],
            "in_season": [number != out_of_season for number in range(len(past))],
        },
        index=pd.DatetimeIndex([day.date for day in past]).astype("datetime64[ns]"),
    )


def seen(past: list[SolarDay], known: pd.DataFrame) -> Seen:
    """State of a block that has seen these days."""
    ids = frozenset(name for day in past for name in day.ids)
    return Seen(ids, past[-1].date, replaying.to_tell(known))


def first_late(past: list[SolarDay], now: list[SolarDay], *, over: Any = None) -> Any:
    known = table(past)
    state = seen(past, known)
    calendar = replaying.calendar(now, {"a": state}, known)
    late = replaying.late_days(now if over is None else over, state, calendar)
    return next((day.date for day in late), None)


def test_new_days_alone_are_not_late():
    assert first_late(days("a", "a"), days("a", "a", "a")) is None


def test_a_day_between_known_ones_is_late():
    past = [day for day in days("a", "a", "a") if day.date != DAYS[1]]
    assert first_late(past, days("a", "a", "a")) == DAYS[1]


def test_a_scene_beside_a_block_makes_the_day_late_for_it_as_the_correction_changes():
    now = days("a", "ab", "a")
    assert first_late(days("a", "a", "a"), now, over=days("a", "a", "a")) == DAYS[1]


def test_a_scene_that_the_source_no_longer_lists_changes_nothing():
    assert first_late(days("a", "ab", "a"), days("a", "a", "a")) is None


def test_a_scene_more_than_thirty_days_late_is_passed_over():
    eight = ("a",) * 8
    assert first_late(days(*eight), days("ab", *eight[1:])) is None
    assert first_late(days(*eight), days("a", "a", "ab", *eight[3:])) == DAYS[2]


def test_a_day_whose_season_has_turned_is_late():
    past = days("a", "a", "a")
    state = seen(past, table(past))
    calendar = replaying.calendar(past, {"a": state}, table(past, out_of_season=1))
    assert [day.date for day in replaying.late_days(past, state, calendar)] == [DAYS[1]]


def test_a_day_whose_season_turns_keeps_what_the_gate_said_of_it():
    scenes = table(days("a", "a"), out_of_season=1).assign(snow_share=0.0)
    index = pd.MultiIndex.from_product([scenes.index, [0, 1]], names=["time", "stratum"])
    counted = pd.DataFrame({"gate_reason": ["", "", "haze", "haze"], "offset": 0.01}, index=index)
    outside = tasks.within_season(counted, scenes)
    assert outside["rejected"].tolist() == [False, False, True, True]
    assert outside["reason"].iloc[-1].startswith("out of season")
    turned = tasks.within_season(outside, table(days("a", "a"), 0).assign(snow_share=0.0))
    assert turned["rejected"].tolist() == [True] * 4
    assert turned["reason"].tolist()[2:] == ["haze", "haze"]


@pytest.fixture
def book(monkeypatch):
    """Ledger whose kept runs have seen one, two, … days."""
    kept: dict[str, Seen] = {}
    monkeypatch.setattr(
        ledger,
        "runs",
        lambda _: [SimpleNamespace(run_id=name, beginnings=1) for name in sorted(kept)],
    )
    monkeypatch.setattr(ledger, "beginnings", lambda _: 1)
    monkeypatch.setattr(ledger, "seen", lambda _, at: {"a": kept[at]})
    return kept


def states_before(now: list[SolarDay], state: Seen, known: pd.DataFrame) -> Any:
    place: Any = SimpleNamespace(days_by_block=lambda listed: [(SimpleNamespace(key="a"), listed)])
    present = {"a": state}
    calendar = replaying.calendar(now, present, known)
    late = replaying.late_by_block(place, now, present, calendar)
    book = ledger.Ledger(None)  # type: ignore[arg-type]
    return replaying.states_before(book, place, now, late, present, calendar)


def test_a_block_goes_back_to_the_newest_state_from_before_the_late_day(book):
    past = days("a", "a", "a", "a")
    known = table(past)
    for count in (1, 2, 3, 4):
        book[f"run{count}"] = seen(past[:count], known[:count])
    now = days("a", "a", "ab", "a", "a")
    assert states_before(now, seen(past, known), known)["a"].run_id == "run2"
    assert states_before(past, seen(past, known), known) == {}


def test_a_state_that_lacks_what_was_late_itself_is_not_gone_back_to(book):
    past = days("a", "ab", "a", "a")
    before = days("a", "a")
    book["run1"] = seen(before[:1], table(before[:1]))
    book["run2"] = seen(before, table(before))
    now = days("a", "ab", "ab", "a")
    assert states_before(now, seen(past, table(past)), table(past))["a"].run_id == "run1"


def test_without_a_state_from_before_a_block_starts_anew(book):
    past = days("a", "a")
    book["run"] = seen(past, table(past))
    assert states_before(days("ab", "a"), seen(past, table(past)), table(past)) == {"a": None}


def test_a_state_with_the_models_of_another_beginning_is_not_gone_back_to(book, monkeypatch):
    past = days("a", "a", "a")
    known = table(past)
    book["run1"] = seen(past[:1], known[:1])
    monkeypatch.setattr(ledger, "beginnings", lambda _: 2)
    assert states_before(days("a", "ab", "a"), seen(past, known), known) == {"a": None}


def test_before_any_state_all_days_are_counted_anew():
    past = days("a", "a")
    assert replaying.calendar(past, {}, table(past)).grown() == DAYS[:2]
    assert replaying.calendar(past, {"a": seen(past, table(past))}, table(past)).grown() == []


# ── Whole runs ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    with pytest.MonkeyPatch.context() as patched:
        small.leave_out_pictures(patched)
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return small.write_archive(tmp_path_factory.mktemp("small") / "archive")


def run(folder: Path, catalog: Path, out: Path, *, end: str = "2022-12-31") -> pipeline.Report:
    file = small.write_job(
        folder,
        catalog,
        cover=catalog.parent / "forest_cover.tif",
        end=end,
        history_end="2021-09-30",
        more="[alerts]\nmin_area_ha = 0.04\n[report]\nclose_ups = 0",
    )
    return pipeline.run(config.read(file), out, scheduler=execution.SYNCHRONOUS)


@pytest.fixture(scope="module")
def whole(catalog, tmp_path_factory):
    """One run over everything."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, catalog, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def july(catalog, tmp_path_factory):
    """A run up to the end of July."""
    folder = tmp_path_factory.mktemp("july")
    run(folder, catalog, folder / "out", end="2022-07-31")
    return folder / "out"


def withhold(catalog: Path, folder: Path, *months: str) -> tuple[Path, str]:
    """Copy an archive whose catalog lacks the first scene of some months; give the whole one."""
    shutil.copytree(catalog.parent, folder)
    listed = json.loads(catalog.read_text())
    late = [first_of(month, listed) for month in months]
    listed["links"] = [link for link in listed["links"] if link["href"] not in late]
    (folder / catalog.name).write_text(json.dumps(listed))
    return folder / catalog.name, catalog.read_text()


def first_of(month: str, listed: Any) -> str:
    """Address of the first scene of a month, relative to the catalog."""
    return str(min(link["href"] for link in listed["links"] if f"_{month}" in link["href"]))


def run_before_and_after(
    catalog: Path, folder: Path, *months: str, until: str
) -> tuple[Path, pipeline.Report]:
    """Run without the first scene of some months, then with all; the catalog, the second report."""
    partial, all_of_it = withhold(catalog, folder / "archive", *months)
    run(folder, partial, folder / "out", end=until)
    partial.write_text(all_of_it)
    return partial, run(folder, partial, folder / "out")


def assert_as_in_one_run(out: Path, whole: Path) -> None:
    """States bit for bit, tables, rasters; alerts but for their ids."""
    books = [ledger.Ledger(folder / ".lesniva") for folder in (out, whole)]
    mine, theirs = (ledger.seen(book) for book in books)
    assert mine == theirs
    for key in theirs:
        xr.testing.assert_identical(*(ledger.read_block(book, key) for book in books))
    for name in ("corrections.parquet", "seasons.parquet"):
        pd.testing.assert_frame_equal(
            *(pd.read_parquet(book.folder / name) for book in books), check_freq=False
        )
    for path in (whole / "rasters").glob("*.tif"):
        with rasterio.open(path) as one, rasterio.open(out / "rasters" / path.name) as other:
            np.testing.assert_array_equal(one.read(), other.read(), err_msg=path.name)
    assert len(alerts_without_names(whole)) > 0
    assert_geodataframe_equal(alerts_without_names(out), alerts_without_names(whole))


def test_a_late_scene_is_replayed_and_the_end_is_bit_for_bit_that_of_one_run(
    catalog, whole, july, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(july, out)
    partial, report = run_before_and_after(catalog, tmp_path, "202208", until="2022-08-31")
    assert report.results["blocks_replayed"] == 4
    assert report.results["blocks_anew"] == 0
    assert_as_in_one_run(out, whole)
    assert run(tmp_path, partial, out).nothing_new


def test_a_late_scene_without_an_earlier_run_sends_its_blocks_to_their_history(
    catalog, whole, tmp_path
):
    _, report = run_before_and_after(catalog, tmp_path, "202208", until="2022-08-31")
    assert report.results["blocks_anew"] == 4
    assert_as_in_one_run(tmp_path / "out", whole)


def test_a_late_scene_of_the_history_is_learnt_from_and_the_end_is_that_of_one_run(
    catalog, whole, tmp_path
):
    out = tmp_path / "out"
    partial, report = run_before_and_after(catalog, tmp_path, "202109", until="2021-10-15")
    assert (report.results["blocks_replayed"], report.results["blocks_anew"]) == (0, 4)
    assert_as_in_one_run(out, whole)
    assert run(tmp_path, partial, out).nothing_new


def test_scenes_that_come_too_late_are_passed_over_and_named_also_those_of_the_history(
    catalog, tmp_path
):
    months = ("202108", "202206")
    _, report = run_before_and_after(catalog, tmp_path, *months, until="2022-08-31")
    assert "blocks_anew" not in report.results
    assert report.results["scenes_too_late"] == 2
    assert any("2 scenes came over 30 days after younger ones" in line for line in report.lines())
    table = pd.read_csv(tmp_path / "out" / "completeness.csv")
    listed = json.loads(catalog.read_text())
    late = {Path(first_of(month, listed)).stem for month in months}
    assert set(table["id"][table["reason"] == completeness.TOO_LATE]) == late


def test_a_broken_file_is_named_every_night_and_replayed_once_it_is_mended(
    catalog, whole, july, tmp_path
):
    archive = shutil.copytree(catalog.parent, tmp_path / "archive")
    item = archive / first_of("202208", json.loads(catalog.read_text()))
    (broken,) = item.parent.glob("*nir08.tif")
    good = broken.read_bytes()
    broken.write_bytes(good[:100])
    out = tmp_path / "out"
    shutil.copytree(july, out)
    first = run(tmp_path, archive / catalog.name, out, end="2022-08-31")
    assert first.exit_code == 3
    assert list(first.faults) == [item.stem]
    # the next night tries to read it, and does nothing else
    begun = []
    night = pipeline.run(config.read(tmp_path / "job.toml"), out, run_tasks=counting(begun))
    assert (night.exit_code, night.nothing_new, list(night.faults)) == (3, True, [item.stem])
    assert night.told()["outcome"] == "partial"
    assert any(item.stem in line for line in night.lines())
    assert set(begun) == {"try_days"}
    broken.write_bytes(good)
    mended = run(tmp_path, archive / catalog.name, out)
    assert (mended.exit_code, mended.results["blocks_replayed"]) == (0, 4)
    assert_as_in_one_run(out, whole)


def counting(begun: list[str]) -> execution.RunTasks:
    """Run tasks here, and note which there were."""

    def run_tasks(function: Any, work: Any, *, title: str) -> Any:
        begun.extend(function.__name__ for _ in work)
        return execution.run_tasks(None, function, work, title=title)

    return run_tasks
