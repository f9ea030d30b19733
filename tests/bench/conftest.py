"""Benchmarks: ours, the floor and the peers in one run, by turns; ratios are what is reported.

``make bench`` runs them and prints a table at the end. Nothing here fails for being slow.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cogs
import pytest
from timing import Seconds

HERE = Path(__file__).parent
SETTLE_SECONDS = 0.3
"""Threads of a rival's BLAS turn for a while after its work, on the cores that ours is to have."""

PEERS = HERE.parents[1] / ".venv-peers" / "bin" / "python"


@dataclass
class Row:
    """One line of the closing table."""

    work: str
    seconds: float
    """Median of ours; 0 where the work is not timed."""
    rate: str = ""
    """The same as a user sees it, such as 1.6 Mpx/s."""
    against: dict[str, float] = field(default_factory=dict)
    """Rival → its time by ours: 2 means that we are twice as fast."""
    target: str = ""


ROWS: list[Row] = []


@pytest.fixture
def table() -> list[Row]:
    """Rows of the table that is printed at the end."""
    return ROWS


@pytest.fixture(scope="session")
def peer() -> Iterator[Callable[..., Seconds]]:
    """Give ``peer(work, **arguments)``: a piece of work of `peers`, done in its own environment."""
    if not PEERS.exists():
        pytest.skip("the peers are not installed: run `make bench`")
    # only what the peers need: the variables of this environment are not theirs
    process = subprocess.Popen(
        [PEERS, HERE / "peers.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": ""},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def of(work: str, **arguments: Any) -> Seconds:
        request = json.dumps({"work": work, **arguments}, default=str)

        def seconds() -> float:
            stdin.write(request + "\n")
            stdin.flush()
            answer = stdout.readline()
            assert answer, f"the peer's environment failed at {work}: see its message above"
            return float(json.loads(answer)["seconds"])

        return seconds

    with process:  # closes both pipes, at which the peer ends, and waits for it
        yield of


@pytest.fixture
def beside(benchmark: Any) -> Callable[..., Row]:
    """Give ``beside(work, ours, rivals, ...)``: time ours and its rivals by turns."""

    def run(
        work: str,
        ours: Callable[[], Any],
        rivals: Mapping[str, Seconds] | None = None,
        *,
        rounds: int = 5,
        target: str = "",
        rate: Callable[[float], str] = lambda seconds: "",  # noqa: ARG005
    ) -> Row:
        rivals = rivals or {}
        took: dict[str, list[float]] = {name: [] for name in rivals}
        ours()  # compiled, and the disk's cache as warm for us as for the rivals

        def turn() -> None:
            for name, rival in rivals.items():
                took[name].append(rival())
                time.sleep(SETTLE_SECONDS)

        for rival in rivals.values():
            rival()
        benchmark.pedantic(ours, setup=turn, rounds=rounds)
        seconds = benchmark.stats.stats.median
        against = {name: statistics.median(times) / seconds for name, times in took.items()}
        benchmark.extra_info.update(against)
        row = Row(work, seconds, rate(seconds), against, target)
        ROWS.append(row)
        return row

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, in the form that ``docs/performance.md`` has."""
    if not ROWS:
        return
    terminalreporter.section("ratios: rival's time by ours, in the same run")
    terminalreporter.write_line("| work | ours | rate | against | target |")
    terminalreporter.write_line("|---|---|---|---|---|")
    for row in ROWS:
        against = ", ".join(f"{name} {ratio:.2f} ×" for name, ratio in row.against.items())
        seconds = f"{row.seconds:.3g} s" if row.seconds else ""
        terminalreporter.write_line(
            f"| {row.work} | {seconds} | {row.rate} | {against} | {row.target} |"
        )


@pytest.fixture(scope="session")
def cog_stack(tmp_path_factory: pytest.TempPathFactory) -> cogs.CogStack:
    """Eighteen scenes of 20 × 20 km, as Earth Search has them."""
    return cogs.write(tmp_path_factory.mktemp("cogs"))
