"""Files that are either whole or not there.

A raster writer killed half-way leaves a file that opens and reads as all missing, so "it exists"
proves nothing. Every output is written under a temporary name in its own folder, flushed to the
disk and renamed; what a run may trust afterwards is the checksum in its manifest.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lesniva.errors import EnvironmentFaultError

TEMPORARY = ".tmp-"
"""Part of every temporary name; `sweep` removes what a killed run left behind."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` when the block ends well.

    Parameters
    ----------
    path
        The final name. Its folder is made. The temporary name keeps the suffix, so that drivers
        chosen by suffix work.

    Raises
    ------
    EnvironmentFaultError
        When the file cannot be written (no space, no permission); `path` is then untouched.
    """
    temporary = path.with_name(f"{path.stem}{TEMPORARY}{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise EnvironmentFaultError(
            f"cannot write {path}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        # what went wrong before matters more than a leftover, which `sweep` removes
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (UTF-8, no NaN) to `path`, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: Path) -> list[Path]:
    """Remove what killed runs left in `folder` and below; return what was removed.

    Only the holder of the folder's lock may call this: a living writer's file looks the same.
    """
    leftovers = sorted(folder.rglob(f"*{TEMPORARY}*"))
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
    return leftovers
