"""Files that are either whole or not there.

A raster writer killed half-way leaves a file that opens and reads as all missing, so "it exists"
proves nothing. Every output is written under a temporary name in its own folder, flushed to the
disk and renamed; what a run may trust afterwards is the checksum in its manifest.

An object store knows no renaming. What is mirrored there (`mirror`) is whole when its manifest is:
that goes away before the first file changes, and comes back after the last.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesniva.errors import CredentialsError, EnvironmentFaultError, InputError, SourceError

MANIFEST = "manifest.json"
"""Names every file of a folder with its size and SHA-256."""

UPLOADS = 8
"""Files sent to an object store at a time."""

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


@contextmanager
def object_store(address: str) -> Iterator[tuple[Any, str]]:
    """Open an object store; its faults become ours.

    Parameters
    ----------
    address
        ``s3://bucket/path``. Keys, region and, for a store other than Amazon's, the endpoint come
        from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
        ``AWS_ENDPOINT_URL``) or a profile, as for every client of S3; ``AWS_NO_SIGN_REQUEST=YES``
        reads a public bucket without keys.

    Yields
    ------
    tuple
        The fsspec file system and the path in it.

    Raises
    ------
    InputError
        It is no such address, or the bucket or file is not there.
    CredentialsError
        The store refuses, or there are no keys.
    SourceError
        The store cannot be reached.
    EnvironmentFaultError
        The package s3fs is not installed.
    """
    if not address.startswith("s3://"):
        raise InputError(f"{address!r} is no address of an object store; give s3://bucket/path")
    try:
        from botocore.exceptions import BotoCoreError, NoCredentialsError
        from s3fs import S3FileSystem
    except ImportError:
        raise EnvironmentFaultError(
            f"{address} needs the package s3fs: pip install 'lesniva[s3]'"
        ) from None
    try:
        files = S3FileSystem(
            anon=os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON"),
            # fsspec keeps what it has opened, by these arguments
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL"),
            config_kwargs={"connect_timeout": 10, "read_timeout": 60},
            use_listings_cache=False,
        )
        yield files, address.removeprefix("s3://").rstrip("/")
    except FileNotFoundError as error:
        raise InputError(f"{address}: {error}; check bucket and path") from None
    except (PermissionError, NoCredentialsError) as error:
        raise CredentialsError(
            f"{address} is refused ({error}); check the keys in the environment and their rights"
        ) from None
    except (BotoCoreError, OSError) as error:
        raise SourceError(
            f"{address} cannot be reached ({error}); check AWS_ENDPOINT_URL and the network"
        ) from None


@dataclass(frozen=True)
class Mirrored:
    """What a mirroring has done."""

    sent: int = 0
    """Files."""
    bytes: int = 0
    """Their size."""
    known: int = 0
    """Files that were there already."""
    removed: int = 0
    """Files that an earlier mirroring brought and the folder no longer has."""


def mirror(
    folder: Path,
    address: str,
    entries: Sequence[Mapping[str, Any]],
    *,
    always: Collection[str] = (),
) -> Mirrored:
    """Bring an object store to hold what a folder holds; whole when its manifest is there.

    Parameters
    ----------
    folder
        Where the files stand.
    address
        ``s3://bucket/path`` (see `object_store`).
    entries
        The files: ``path`` in the folder, ``size`` and ``sha256``. What the manifest there names
        with the same checksum is not sent again.
    always
        Endings of files that are sent in any case, as their checksums do not tell of changes.

    Raises
    ------
    LesnivaError
        As `object_store`; what was sent until then stays, without a manifest.
    """
    with object_store(address) as (store, root):
        manifest = f"{root}/{MANIFEST}"
        before = _entries_there(store, manifest)
        sizes = {name: found["size"] for name, found in store.find(root, detail=True).items()}
        changed = [
            entry
            for entry in entries
            if before.get(entry["path"]) != entry["sha256"]
            or sizes.get(f"{root}/{entry['path']}") != entry["size"]
            or str(entry["path"]).endswith(tuple(always))
        ]
        gone = sorted(set(before) - {entry["path"] for entry in entries})
        if changed or gone:
            if manifest in sizes:
                store.rm_file(manifest)

            def send(entry: Mapping[str, Any]) -> None:
                store.put_file(str(folder / entry["path"]), f"{root}/{entry['path']}")

            with ThreadPoolExecutor(UPLOADS) as pool:
                list(pool.map(send, changed))
            for path in gone:
                if f"{root}/{path}" in sizes:
                    store.rm_file(f"{root}/{path}")
        content = json.dumps({"manifest_version": 1, "files": [dict(one) for one in entries]})
        if changed or gone or manifest not in sizes:
            store.pipe_file(manifest, content.encode())
    return Mirrored(
        sent=len(changed),
        bytes=sum(entry["size"] for entry in changed),
        known=len(entries) - len(changed),
        removed=len(gone),
    )


def _entries_there(store: Any, manifest: str) -> dict[str, str]:
    """Files that an earlier `mirror` left, with their SHA-256; none when it did not end."""
    try:
        content = json.loads(store.cat_file(manifest))
        return {entry["path"]: entry["sha256"] for entry in content["files"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
