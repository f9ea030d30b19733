"""The ledger: a run is seen whole or not at all, whenever it is killed, whoever else is at work."""

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesniva import ledger
from lesniva.conventions import Scl, flags
from lesniva.errors import EnvironmentFaultError, InputError, LockedError
from lesniva.ledger import MAIN, RUN, Ledger
from states import BLOCKS, IDENTITY, seen, state, write


def versions(book: Ledger, branch: str = RUN) -> dict[str, int]:
    """Version of each block; fails when values and attributes are of different ones."""
    found = {}
    for key in ledger.seen(book) if branch == RUN else BLOCKS:
        block = ledger.read_block(book, key, at=branch)
        values = np.unique(block["evidence"].values)
        assert values.tolist() == [block.attrs["last_day"]]
        assert block.attrs["scenes"] == sorted(seen(values[0]).scenes)
        found[key] = int(values[0])
    return found


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    """Ledger with one whole run, of version 0."""
    made = ledger.begin(tmp_path / "state", identity=IDENTITY)
    write(made, 0)
    ledger.finish(made, run_id="run-0", record={"alerts": "alerts-0.parquet"})
    return ledger.begin(made.folder, identity=IDENTITY)


# ── What is written is what is read ───────────────────────────────────────────────────────────


def any_bits(dtype: str) -> Any:
    """Arrays of any bits at all: −0, infinities, extremes (but one NaN is as good as another)."""
    kind = np.dtype(dtype)

    def as_kind(bits: Any) -> Any:
        values = bits.view(kind)[..., 0]
        return np.where(np.isnan(values), np.float32(np.nan), values) if dtype == "f4" else values

    return hnp.arrays(np.uint8, (3, 4, kind.itemsize)).map(as_kind)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return ledger.begin(tmp_path_factory.mktemp("ledger"), identity={})


@settings(max_examples=20)
@given(arrays=st.fixed_dictionaries({d: any_bits(d) for d in ("u1", "i1", "u2", "i2", "f4")}))
def test_state_comes_back_bit_for_bit(scratch, arrays):
    written = xr.Dataset({name: (("y", "x"), values) for name, values in arrays.items()})
    written["yes"] = ("y", "x"), arrays["u1"] > 127
    ledger.write_block(scratch, "g/0_0", written, seen=seen(1))
    found = ledger.read_block(scratch, "g/0_0")
    for name in written:
        assert found[name].dtype == written[name].dtype
        assert found[name].dims == ("y", "x")
        assert found[name].values.tobytes() == written[name].values.tobytes()


def test_state_of_all_minus_zero_or_all_zero_is_no_empty_chunk(scratch):
    for zero in (0.0, -0.0):
        plane = np.full((4, 5), zero, dtype=np.float32)
        ledger.write_block(scratch, "g/0_1", xr.Dataset({"a": (("y", "x"), plane)}), seen=seen(0))
        assert ledger.read_block(scratch, "g/0_1")["a"].values.tobytes() == plane.tobytes()


def test_state_read_and_written_again_stays_the_same(scratch):
    first = state(3).assign(model=(("coef", "y", "x"), np.random.default_rng(0).random((7, 4, 5))))
    first = first.assign_coords(coef=list("abcdefg"), x=np.arange(5) * 20.0)
    first["status"] = ("y", "x"), np.full((4, 5), 4, dtype=np.uint8), flags(Scl)
    ledger.write_block(scratch, "g/0_2", first, seen=seen(3))
    once = ledger.read_block(scratch, "g/0_2")
    ledger.write_block(scratch, "g/0_2", once, seen=seen(3))
    xr.testing.assert_identical(ledger.read_block(scratch, "g/0_2"), once)
    np.testing.assert_array_equal(once["model"], first["model"])
    np.testing.assert_array_equal(once["x"], first["x"])
    assert once["status"].attrs["flag_meanings"].startswith("no_data saturated")


def test_smaller_state_replaces_a_larger_one_wholly(scratch):
    ledger.write_block(scratch, "g/0_3", state(1).assign(more=("z", [1, 2])), seen=seen(1))
    ledger.write_block(scratch, "g/0_3", state(2).isel(y=slice(2)), seen=seen(2))
    found = ledger.read_block(scratch, "g/0_3")
    assert list(found.data_vars) == ["evidence"]
    assert found["evidence"].shape == (2, 5)


def test_states_of_further_channels_come_and_go_with_that_of_the_block(tmp_path):
    book = ledger.begin(tmp_path, identity=IDENTITY)
    ledger.write_block(book, "g/0_0", state(1), seen=seen(1), beside={"ndre": state(11)})
    ledger.finish(book, run_id="first", record={})
    ledger.write_block(book, "g/0_0", state(2), seen=seen(2), beside={"ndre": state(12)})
    assert list(ledger.seen(book)) == ["g/0_0"]
    for at, version in (("first", 1), (ledger.RUN, 2)):
        both = [ledger.read_block(book, "g/0_0", at=at, channel=name) for name in (None, "ndre")]
        assert [int(each["evidence"].max()) for each in both] == [version, version + 10]
    ledger.write_block(book, "g/0_0", state(3), seen=seen(3))
    with pytest.raises(FileNotFoundError):
        ledger.read_block(book, "g/0_0", channel="ndre")


def test_some_variables_can_be_read_alone(scratch):
    ledger.write_block(scratch, "g/0_4", state(1).assign(more=("z", [1, 2])), seen=seen(1))
    assert list(ledger.read_block(scratch, "g/0_4", names=["more"]).data_vars) == ["more"]


def test_what_each_block_has_seen_is_kept_with_its_state(book):
    write(book, 2, BLOCKS[0])
    assert ledger.seen(book) == {BLOCKS[0]: seen(2), BLOCKS[1]: seen(0), BLOCKS[2]: seen(0)}


def test_what_a_block_was_told_of_its_days_comes_back_also_from_an_earlier_run(tmp_path):
    book = ledger.begin(tmp_path, identity=IDENTITY)
    told = {np.datetime64("2024-06-01"): ledger.Told(frozenset({"a", "b"}), False)}
    first = ledger.Seen(frozenset({"a"}), np.datetime64("2024-06-01"), told)
    ledger.write_block(book, "g/0_9", state(1), seen=first)
    ledger.finish(book, run_id="first", record={})
    second = ledger.Seen(frozenset({"a", "c"}), np.datetime64("2024-06-06"))
    ledger.write_block(book, "g/0_9", state(2), seen=second)
    assert ledger.seen(book)["g/0_9"] == second
    assert ledger.seen(book, at="first")["g/0_9"] == first
    assert ledger.read_block(book, "g/0_9", at="first").attrs["last_day"] == 1


def test_new_ledger_has_seen_nothing_and_has_no_last_run(tmp_path):
    book = ledger.begin(tmp_path / "deep" / "state", identity=IDENTITY)
    assert ledger.seen(book) == {}
    assert ledger.last_run(book) is None
    assert ledger.is_whole(book)


# ── A run is whole or not there ───────────────────────────────────────────────────────────────


def test_readers_see_a_run_when_it_is_finished_not_before(book):
    write(book, 1)
    assert set(versions(book, MAIN).values()) == {0}
    assert set(versions(book).values()) == {1}
    assert not ledger.is_whole(book)
    ledger.finish(book, run_id="run-1", record={"alerts": "alerts-1.parquet"})
    assert set(versions(book, MAIN).values()) == {1}
    assert ledger.last_run(book) == {"id": "run-1", "alerts": "alerts-1.parquet"}
    assert ledger.is_whole(ledger.begin(book.folder, identity=IDENTITY))


def test_every_run_stays_readable_by_its_name(book):
    for version in (1, 2):
        write(book, version)
        ledger.finish(book, run_id=f"run-{version}", record={})
        ledger.begin(book.folder, identity=IDENTITY)
    storage = icechunk.local_filesystem_storage(str(book.folder / "repo"))
    repository = icechunk.Repository.open(storage)
    for version in range(3):
        store = repository.readonly_session(tag=f"run-{version}").store
        with xr.open_zarr(store, group=BLOCKS[0], consolidated=False, decode_cf=False) as block:
            assert (block["evidence"].values == version).all()


def test_next_run_goes_on_from_what_an_unfinished_one_has_done(book):
    write(book, 1, BLOCKS[0])
    again = ledger.begin(book.folder, identity=IDENTITY)
    assert versions(again) == {BLOCKS[0]: 1, BLOCKS[1]: 0, BLOCKS[2]: 0}
    write(again, 1, *BLOCKS[1:])
    ledger.finish(again, run_id="run-1", record={})
    assert set(versions(book, MAIN).values()) == {1}


def test_run_that_begins_anew_has_seen_nothing_and_readers_still_see_the_last_one(book):
    ledger.begin_anew(book)
    again = ledger.begin(book.folder, identity=IDENTITY)
    assert ledger.seen(again) == {}
    assert set(versions(book, MAIN).values()) == {0}
    write(again, 1)
    ledger.finish(again, run_id="run-1", record={})
    assert set(versions(book, MAIN).values()) == {1}
    assert [run.beginnings for run in ledger.runs(book)] == [0, 1]
    assert ledger.beginnings(book) == 1
    ledger.roll_back(book, "run-0")
    assert ledger.beginnings(book) == 0


@pytest.mark.parametrize(
    ("stops_at", "version"), [("reset_branch", 0), ("create_tag", 1), ("delete_branch", 1)]
)
def test_run_that_dies_while_finishing_shows_the_old_or_the_new_one_never_a_mixture(
    book, monkeypatch, stops_at, version
):
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    write(book, 1)
    with monkeypatch.context() as patched:
        patched.setattr(icechunk.Repository, stops_at, die)
        with pytest.raises(KeyboardInterrupt):
            ledger.finish(book, run_id="run-1", record={})
    assert set(versions(book, MAIN).values()) == {version}
    assert ledger.last_run(book)["id"] == f"run-{version}"
    again = ledger.begin(book.folder, identity=IDENTITY)
    # what readers see already is completed, anything less is gone on with
    assert ledger.is_whole(again) == (version == 1)
    assert [run.run_id for run in ledger.runs(again)] == ["run-0", "run-1"][: version + 1]
    assert set(versions(again).values()) == {1}
    write(again, 2, BLOCKS[0])
    ledger.finish(again, run_id="run-2", record={})
    assert ledger.is_whole(again)
    assert versions(again, MAIN) == {BLOCKS[0]: 2, BLOCKS[1]: 1, BLOCKS[2]: 1}


# ── Killed, and side by side ──────────────────────────────────────────────────────────────────

CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import time
from pathlib import Path
from lesniva import ledger
from states import BLOCKS, IDENTITY, write
folder, act, *rest = sys.argv[1:]
if act == "lock":
    with ledger.locked(Path(folder)):
        print("held", flush=True)
        time.sleep(60)
book = ledger.begin(Path(folder), identity=IDENTITY)
keys = rest or BLOCKS
print("begun", flush=True)
for version in range(1, 1000 if act == "write" else 11):
    write(book, version, *keys)
    print(version, flush=True)
"""


@contextmanager
def child(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process at work; killed at the end, as by power failure."""
    command = [sys.executable, "-c", CHILD, str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def said(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a child says something."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"the other process ended with {process.wait()} before it said {word}")


@pytest.mark.slow
def test_killed_anywhere_leaves_main_as_it_was_and_blocks_whole(book):
    before = versions(book, MAIN)
    for waited in (0.0, 0.017):
        with child(book.folder, "write") as process:
            said(process, "2")
            time.sleep(waited)  # somewhere in the middle of a later commit
        assert versions(book, MAIN) == before
        again = ledger.begin(book.folder, identity=IDENTITY)
        left = versions(again)
        assert set(left) == set(BLOCKS)
        assert max(left.values()) - min(left.values()) <= 1
        assert min(left.values()) >= 2
    ledger.finish(again, run_id="after", record={})
    assert versions(again, MAIN) == left


@pytest.mark.slow
def test_only_one_process_gets_the_lock_and_a_killed_one_gives_it_back_at_once(tmp_path):
    with child(tmp_path, "lock") as process:
        said(process, "held")
        started = time.monotonic()
        with (
            pytest.raises(LockedError, match="another run is at work in") as refused,
            ledger.locked(tmp_path),
        ):
            pytest.fail("both have it")
        assert time.monotonic() - started < 2
        assert refused.value.exit_code == 75
    with ledger.locked(tmp_path):
        pass


@pytest.mark.slow
def test_processes_that_write_different_blocks_lose_nothing(book):
    with child(book.folder, "few", BLOCKS[0]) as other:
        said(other, "begun")
        for version in range(1, 11):
            write(book, version, *BLOCKS[1:])
        said(other, "10")
    assert versions(book) == dict.fromkeys(BLOCKS, 10)


def test_threads_that_write_different_blocks_lose_nothing(book):
    def work(key: str) -> None:
        for version in range(1, 6):
            write(book, version, key)

    threads = [threading.Thread(target=work, args=(key,)) for key in BLOCKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions(book) == dict.fromkeys(BLOCKS, 5)


def hold_twice(folder: Path) -> None:
    with ledger.locked(folder), ledger.locked(folder):
        pytest.fail("a second run got in")


def test_the_lock_holds_in_the_same_process_and_is_free_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(LockedError):
            hold_twice(tmp_path / "new")


# ── Refusals and faults ───────────────────────────────────────────────────────────────────────


def test_same_settings_are_accepted_in_any_order_and_with_tuples(book):
    turned = dict(reversed(IDENTITY.items()))
    assert ledger.begin(book.folder, identity=turned) == book
    assert ledger.begin(book.folder, identity={**IDENTITY, "later option": None}) == book


def test_other_settings_are_refused_with_all_that_changed(book):
    other = {**IDENTITY, "index": "ndvi", "cover": "tcd.tif", "season": [115, 300]}
    message = (
        r"was made with other settings \(cover: None → tcd\.tif; index: nbr → ndvi; "
        r"season: None → \[115, 300\]\): set them back, or give another --out"
    )
    with pytest.raises(InputError, match=message):
        ledger.begin(book.folder, identity=other)
    assert set(versions(book, MAIN).values()) == {0}


def test_ledger_of_a_newer_version_is_refused(book, monkeypatch):
    monkeypatch.setattr(ledger, "SCHEMA", 0)
    with pytest.raises(InputError, match="has layout 1, this version knows 0: upgrade lesniva"):
        ledger.begin(book.folder, identity=IDENTITY)


@pytest.mark.parametrize("damage", ["empty", "refs gone"])
def test_damaged_ledger_is_told_and_not_overwritten(book, damage):
    kept = book.folder / "kept"
    repo = book.folder / "repo"
    if damage == "empty":
        repo.rename(kept)
        repo.mkdir()
    else:
        (repo / "refs").rename(kept)
    with pytest.raises(EnvironmentFaultError, match=r"repo cannot be opened: .*restore it from"):
        ledger.begin(book.folder, identity=IDENTITY)
    assert kept.exists()


def test_creation_that_was_killed_does_not_look_like_a_ledger(tmp_path):
    unborn = tmp_path / "repo.new"
    unborn.mkdir()
    (unborn / "half").write_bytes(b"x")
    book = ledger.begin(tmp_path, identity=IDENTITY)
    assert ledger.seen(book) == {}
    assert not unborn.exists()


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may become longer than so many bytes: the kernel refuses, as it does when full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_one_line_for_the_administrator_and_loses_nothing(book, tmp_path):
    message = r"cannot write the ledger \S+state: .*File too large.*; free some space"
    with full_disk(200), pytest.raises(EnvironmentFaultError, match=message) as fault:
        write(book, 1, BLOCKS[0])
    assert "\n" not in str(fault.value)
    with full_disk(200), pytest.raises(EnvironmentFaultError, match=message):
        ledger.finish(book, run_id="run-1", record={})
    with full_disk(10), pytest.raises(EnvironmentFaultError, match="cannot write the ledger"):
        ledger.begin(tmp_path / "other", identity=IDENTITY)
    assert versions(book) == dict.fromkeys(BLOCKS, 0)
    write(book, 1)
    ledger.finish(book, run_id="run-1", record={})
    assert versions(book, MAIN) == dict.fromkeys(BLOCKS, 1)


def test_work_folder_that_cannot_be_made_is_the_administrators(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "state"
    message = r"cannot write in .*file/state: Not a directory; choose another --out"
    with pytest.raises(EnvironmentFaultError, match=message), ledger.locked(folder):
        pytest.fail("it was made")


# ── Runs that are kept ────────────────────────────────────────────────────────────────────────


def nightly(folder: Path, runs: int) -> Ledger:
    """As many runs as asked for, each of its own version, tidied up after each."""
    for version in range(runs):
        book = ledger.begin(folder, identity=IDENTITY)
        write(book, version)
        ledger.finish(book, run_id=f"run-{version:03d}", record={"version": version})
        ledger.tidy(book)
    return book


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_ledger_of_many_runs_is_no_larger_than_that_of_a_few(tmp_path):
    few, many = (nightly(tmp_path / str(runs), runs).folder for runs in (5, 15))
    assert stored(many) <= 1.2 * stored(few)


def test_last_runs_are_kept_and_of_older_ones_one_in_ten_days():
    first = ledger.dt.datetime(2024, 1, 1, tzinfo=ledger.dt.UTC)
    known: list[ledger.Run] = []
    for night in range(100):
        known.append(ledger.Run(f"{night}", first + ledger.dt.timedelta(days=night), {}))
        known = ledger._worth_keeping(known)
        behind = [night - int(run.run_id) for run in known]
        assert behind[-3:] == [2, 1, 0][-night - 1 :]
        assert len(known) <= ledger.KEEP_RUNS + ledger.KEEP_PERIODS
    ages = sorted(behind)
    assert ages[-1] >= 30, "a scene that is 30 days late finds a state from before it"


def test_returning_to_a_run_brings_back_its_state_and_forgets_what_came_after(tmp_path):
    book = nightly(tmp_path / "state", 3)
    write(ledger.begin(book.folder, identity=IDENTITY), 9, BLOCKS[0])  # a run killed half-way
    ledger.roll_back(book, "run-001")
    assert versions(book) == dict.fromkeys(BLOCKS, 1)
    assert ledger.is_whole(book)
    assert [run.run_id for run in ledger.runs(book)] == ["run-000", "run-001"]
    assert ledger.last_run(book) == {"id": "run-001", "version": 1}


def test_returning_to_a_run_that_is_not_kept_is_refused_with_those_that_are(tmp_path):
    book = nightly(tmp_path / "state", 2)
    with pytest.raises(InputError, match=r"run run-7 is not kept in .*; kept are run-000, run-001"):
        ledger.roll_back(book, "run-7")
