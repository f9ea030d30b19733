"""Log lines on stderr: plain for people, JSON for machines, each with its run and its block."""

import datetime as dt
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Style = Literal["plain", "json"]

_RUN: ContextVar[str | None] = ContextVar("run", default=None)
_BLOCK: ContextVar[str | None] = ContextVar("block", default=None)


def start(style: Style = "plain", *, level: str = "info") -> None:
    """Send the log of lesniva, and the warnings of its libraries, to stderr.

    Parameters
    ----------
    style
        ``plain``: ``LEVEL message``. ``json``: an object a line with ``time`` (UTC), ``level``,
        ``logger``, ``message`` and, where they are known, ``run`` and ``block``.
    level
        Least level of lesniva's own lines.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonLines() if style == "json" else logging.Formatter("%(levelname)s %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("lesniva").setLevel(level.upper())


@contextmanager
def about(*, run: str | None = None, block: str | None = None) -> Iterator[None]:
    """Say which run and block the lines inside are about."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in ((_RUN, run), (_BLOCK, block))
        if value is not None
    ]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


class _JsonLines(logging.Formatter):
    """One JSON object a record; a traceback is a text in it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            "run": _RUN.get(),
            "block": _BLOCK.get(),
            "message": record.getMessage(),
            "traceback": _traceback(self, record),
        }
        told = {key: value for key, value in line.items() if value is not None}
        return json.dumps(told, ensure_ascii=False)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """Give the traceback of a record, as it was cleaned of secrets if it was."""
    if not record.exc_info:
        return None
    return record.exc_text or formatter.formatException(record.exc_info)
