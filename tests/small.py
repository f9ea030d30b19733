"""A forest job of seconds, and runs of it in processes of their own, to be killed."""

import atexit
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import icechunk  # noqa: F401 a child of the server need not import it
import matplotlib.pyplot as plt  # noqa: F401
import pytest
import zarr  # noqa: F401

from lesniva import config, execution, pipeline, publish, synthetic

AREA = Path(__file__).parents[1] / "aoi" / "lipetsk.geojson"

SCENES_PER_MONTH = dict.fromkeys(range(5, 10), 2)
CLIP = (39.6742, 52.4898, 39.6926, 52.501)


def write_archive(folder: Path, **changed: Any) -> Path:
    """Write three seasons over a square kilometre; give the catalog."""
    options: dict[str, Any] = {
        "seed": 2,  # fellings of hectares in May, June and July of the last season
        "size": 128,
        "start": "2020-01-01",
        "end": "2022-12-31",
        "scenes_per_month": SCENES_PER_MONTH,
        "bands": ("nir", "red", "nir08", "swir22"),
    }
    synthetic.write_forest_archive(folder, **{**options, **changed})
    return folder / "catalog.json"


def write_job(folder: Path, catalog: Path | str, *, cover: Path, **changed: Any) -> Path:
    """Write a pipeline file over four blocks of the archive."""
    values = {"end": "2022-12-31", "history_end": "2021-12-31", "block": 64, "more": ""} | changed
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.toml"
    path.write_text(
        f"""
        journey = "forest"
        [area]
        file = "{AREA}"
        clip = {list(CLIP)}
        [source]
        kind = "catalog"
        href = "{catalog}"
        [period]
        start = 2020-01-01
        end = {values["end"]}
        [grid]
        block = {values["block"]}
        [forest]
        cover = "{cover}"
        [monitor]
        history_end = {values["history_end"]}
        {values["more"]}
        """
    )
    return path


def leave_out_pictures(patched: pytest.MonkeyPatch) -> None:
    """Publish no page and no map: half of the time of a small run, and tested elsewhere."""
    patched.setattr("lesniva.pipeline.showing._report", lambda *_: None)
    patched.setattr(publish, "forest_map", lambda *_, **__: None)


def draw_pictures_small(patched: pytest.MonkeyPatch) -> None:
    """Draw overlays 200 pixels wide: as many as the area has, of which 1600 make two seconds."""
    patched.setattr("lesniva.publish.report.pictures.SIDES", (200,))


@dataclass(frozen=True)
class Ended:
    """How a run in a process of its own ended."""

    code: int
    """Exit code; negative when a signal ended it."""
    seconds: float
    lines: tuple[str, ...]
    """What it logged, and ``FUNCTION KEY`` when a task began."""

    @property
    def begun(self) -> list[str]:
        """Tasks begun, in order."""
        return [line.removeprefix("begun ") for line in self.lines if line.startswith("begun ")]


def run_apart(
    file: Path, out: Path, *, kill_after: float | None = None, kill_at: int | None = None
) -> Ended:
    """Run a job in another process, which is killed after some seconds or at a line of its log."""
    log = out.parent / f"{out.name}-{time.monotonic_ns()}.log"
    log.touch()
    asked = {"file": file, "out": out, "log": log, "kill_after": kill_after, "kill_at": kill_at}
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked, default=str) + "\n")
    server.stdin.flush()
    code, seconds = json.loads(server.stdout.readline())
    return Ended(code, seconds, tuple(log.read_text().splitlines()))


@functools.cache
def _server() -> "subprocess.Popen[str]":
    """Start a process that has everything imported, and forks a child for each run."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.kill)
    return process


def _serve() -> None:
    """Answer each line of stdin with exit code and seconds of a run."""
    draw_pictures_small(pytest.MonkeyPatch())
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _run(Path(asked["file"]), Path(asked["out"]), Path(asked["log"]), asked["kill_at"])
        deadline = started + (asked["kill_after"] or 600.0)
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended:
            time.sleep(0.005)
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
        print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]))  # noqa: T201 the answer
        sys.stdout.flush()


class _Tell(logging.Handler):
    """Write each line to a file at once; die at the one asked for."""

    def __init__(self, write: Callable[[str], Any], kill_at: int | None) -> None:
        super().__init__()
        self.write, self.left = write, kill_at

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.getMessage())
        if self.left is not None:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


def _run(file: Path, out: Path, log: Path, kill_at: int | None) -> NoReturn:
    code = 1
    try:
        with log.open("a", buffering=1) as told:
            code = _told_run(file, out, lambda line: told.write(f"{line}\n"), kill_at)
    except Exception:  # noqa: BLE001 a child of a fork must not return
        traceback.print_exc()
    finally:
        os._exit(code)


def _told_run(file: Path, out: Path, tell: Callable[[str], Any], kill_at: int | None) -> int:
    attempt = execution._attempt

    def counted(key: str, function: Any, arguments: Any) -> Any:
        tell(f"begun {function.__name__} {key}")
        return attempt(key, function, arguments)

    execution._attempt = counted
    logger = logging.getLogger("lesniva.pipeline.running")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Tell(tell, kill_at))
    return pipeline.run(config.read(file), out, scheduler=execution.SYNCHRONOUS).exit_code


if __name__ == "__main__":
    _serve()
