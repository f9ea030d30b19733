"""Files are whole or not there: after errors, kills, full disks, and two writers at once."""

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import RasterioError

from lesniva import storage
from lesniva.errors import EnvironmentFaultError
from lesniva.storage import sha256, sweep, whole_file, write_json, write_text
from scenes import grid, write_tif


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_it_is_whole_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_temporary_file_has_the_same_folder_and_suffix(tmp_path):
    with whole_file(tmp_path / "a.b.tif") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tif"
        assert storage.TEMPORARY in temporary.name
        temporary.touch()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError, SystemExit])
def test_error_in_the_middle_leaves_the_version_before_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def interrupted() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_block_that_writes_nothing_is_an_error_not_an_empty_file(tmp_path):
    path = tmp_path / "a.txt"
    with (
        pytest.raises(EnvironmentFaultError, match=r"cannot write .*a\.txt: No such file"),
        whole_file(path),
    ):
        pass
    assert names(tmp_path) == []


def test_two_writers_of_one_file_leave_one_whole_version(tmp_path):
    path = tmp_path / "a.txt"
    texts = [str(n) * 100_000 for n in range(4)]

    def write(text: str) -> None:
        for _ in range(20):
            write_text(path, text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert path.read_text() in texts
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


KILLED = """
import os, sys, time
from pathlib import Path
from lesniva.storage import whole_file
with whole_file(Path(sys.argv[1])) as temporary:
    with temporary.open("w") as file:
        file.write("half")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_killed_writer_leaves_the_version_before_and_a_leftover_that_is_swept(tmp_path):
    path = tmp_path / "rasters" / "a.tif"
    write_text(path, "before")
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "before"
    assert len(names(path.parent)) == 2
    (swept,) = sweep(tmp_path)
    assert storage.TEMPORARY in swept.name
    assert names(path.parent) == ["a.tif"]


@contextmanager
def no_longer_than(size: int) -> Iterator[None]:
    """The kernel refuses longer files, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_that_refuses_is_told_with_the_path_and_the_version_before_stays(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    message = r"^cannot write \S+a\.txt: File too large; free some space or choose another folder$"
    with no_longer_than(1000), pytest.raises(EnvironmentFaultError, match=message) as fault:
        write_text(path, "x" * 5000)
    assert fault.value.exit_code == 7
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_device_is_told_as_what_it_is(tmp_path):
    path = tmp_path / "a.txt"

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("x")

    with pytest.raises(EnvironmentFaultError, match="No space left on device; free some space"):
        write()
    assert names(tmp_path) == []


def test_raster_driver_on_a_full_disk_leaves_no_half_raster(tmp_path):
    # GDAL leaves a file that opens and reads as missing: the very reason for all this
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(1, 60_000, (256, 256)).astype(np.uint16)

    def write() -> None:
        with whole_file(path) as temporary:
            write_tif(temporary, values, grid(256, 256))
            with rasterio.open(temporary) as file:
                assert (file.read(1) == values).all()

    with no_longer_than(20_000), pytest.raises((EnvironmentFaultError, RasterioError)):
        write()
    assert names(tmp_path) == []
    write()
    assert names(tmp_path) == ["a.tif"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "Read-only file system"),
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace"])
def test_every_step_that_the_system_refuses_is_the_administrators(
    tmp_path, monkeypatch, step, code, words
):
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if step == "fsync" else Path, step, refuse)
    with pytest.raises(EnvironmentFaultError, match=rf"a\.txt: {words}; free some space"):
        write_text(path, "after")
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(EnvironmentFaultError, match=r"cannot write \S+out/a\.txt: "):
        write_text(tmp_path / "out" / "a.txt", "x")


def test_contents_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        Path, "replace", lambda old, new: (steps.append("replace"), replace(old, new))
    )
    write_text(tmp_path / "a.txt", "x")
    assert steps == ["fsync", "replace"]


# ── Text, JSON, checksums ─────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(value=JSON)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_json_is_for_people_too(tmp_path):
    write_json(tmp_path / "a.json", {"район": [1]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == ('{\n  "район": [\n    1\n  ]\n}\n')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    assert path.read_text() == "1\n"
    assert names(tmp_path) == ["a.json"]


@given(content=st.binary(max_size=300))
def test_checksum_is_sha256(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


# ── Sweeping ──────────────────────────────────────────────────────────────────────────────────


def test_sweep_removes_leftovers_at_any_depth_and_nothing_else(tmp_path):
    leftovers = [tmp_path / "a.tmp-0a1b2c3d.tif", tmp_path / "b" / "c.tmp-00000000.json"]
    kept = [tmp_path / "a.tif", tmp_path / "b" / "tmp-notes.txt", tmp_path / "b" / "c.tmp"]
    for path in leftovers + kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    folder = tmp_path / "d.tmp-12345678.store"
    (folder / "chunks").mkdir(parents=True)
    (folder / "chunks" / "0").touch()
    assert sweep(tmp_path) == sorted([*leftovers, folder])
    assert all(path.exists() for path in kept)
    assert sweep(tmp_path) == []


def test_sweeping_a_folder_that_is_not_there_does_nothing(tmp_path):
    assert sweep(tmp_path / "nowhere") == []
