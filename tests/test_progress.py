"""Progress: bars for people, log lines for logs, silence when there is nothing to do."""

import logging
import sys
import threading

import pytest

from lesniva import progress as module
from lesniva.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def log(caplog, monkeypatch):
    """What is logged where there is no terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO, logger="lesniva.progress")
    return lambda: [record.getMessage() for record in caplog.records]


def test_short_stage_is_one_line_at_its_end(clock, log):
    with progress("Read", 3) as advance:
        for _ in range(3):
            clock.now += 1
            advance(1)
    assert log() == ["Read: 3 of 3 in 3.0 s"]


def test_long_stage_reports_itself_every_half_minute(clock, log):
    with progress("Read", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    assert log() == [
        "Read: 30 of 100",
        "Read: 60 of 100",
        "Read: 90 of 100",
        "Read: 100 of 100 in 100.0 s",
    ]


def test_steps_may_come_in_bunches(clock, log):
    with progress("Read", 10) as advance:
        clock.now += 40
        advance(7)
        advance(3)
    assert log() == ["Read: 7 of 10", "Read: 10 of 10 in 40.0 s"]


def test_nothing_to_do_is_not_told(log):
    with progress("Read", 0) as advance:
        advance(1)
    assert log() == []


def test_stage_that_fails_is_not_told_as_done(log):
    def fail() -> None:
        with progress("Read", 5) as advance:
            advance(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert log() == []


def test_steps_of_many_threads_are_all_counted(log):
    with progress("Read", 8000) as advance:
        threads = [
            threading.Thread(target=lambda: [advance(1) for _ in range(1000)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert log()[-1].startswith("Read: 8000 of 8000 in ")


def test_terminal_shows_a_bar_with_title_and_count(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("Monitor forest", 4) as advance:
        advance(1)
        advance(3)
    shown = capsys.readouterr()
    assert "Monitor forest" in shown.err
    assert "4/4" in shown.err
    assert shown.out == ""
