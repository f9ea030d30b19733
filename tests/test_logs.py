"""Log lines: plain for people, one JSON object each for machines, with run and block."""

import json
import logging
from collections.abc import Iterator

import pytest

from lesniva import logs


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("lesniva")
    handlers, level, own = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(own)


def test_plain_line_is_level_and_message(capsys):
    logs.start()
    logging.getLogger("lesniva.x").info("read %d of %d", 1, 2)
    assert capsys.readouterr() == ("", "INFO read 1 of 2\n")


def test_json_line_names_its_run_and_block_and_stays_one_line(capsys):
    logs.start("json")
    log = logging.getLogger("lesniva.x")
    with logs.about(run="R1"):
        log.info("begins")
        with logs.about(block="utm37n/0001_0002"):
            log.warning("лес\nи нива")
        log.info("ends")
    log.info("after")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line.get("run") for line in lines] == ["R1", "R1", "R1", None]
    assert [line.get("block") for line in lines] == [None, "utm37n/0001_0002", None, None]
    assert lines[1]["message"] == "лес\nи нива"
    assert lines[1]["level"] == "WARNING"
    assert lines[1]["time"].endswith("+00:00")


def test_traceback_is_part_of_the_json_line(capsys):
    logs.start("json", level="debug")
    error = ZeroDivisionError("division by zero")
    logging.getLogger("lesniva.x").debug("failed", exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: division by zero" in json.loads(line)["traceback"]


def test_libraries_are_heard_from_their_warnings_on(capsys):
    logs.start(level="debug")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    assert capsys.readouterr().err == "WARNING trouble\n"
