"""What an output folder holds, and proof that it still does.

A validator calls a truncated, a zeroed and an all-missing GeoTIFF valid; a checksum does not. The
manifest is therefore what a later run, a copy on another machine and an auditor go by:
``manifest.json`` names every file with its size and SHA-256, ``run.json`` how it was made.
"""

import datetime as dt
import json
import math
import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyproj
import rasterio

from lesniva.errors import EnvironmentFaultError
from lesniva.publish.cog import RasterStats
from lesniva.storage import MANIFEST, TEMPORARY, Mirrored, mirror, sha256, write_json

RUN = "run.json"
MANIFEST_VERSION = 1

EDITABLE = (".gpkg",)
"""Files that reviewers write into: checked for being readable, not for being unchanged."""

SIDE_FILES = ("-wal", "-shm", "-journal", ".aux.xml", ".qgz", ".qgs")
"""What GIS programs leave beside the files they open; none of ours."""

LIBRARIES = (
    "lesniva",
    "dask",
    "exactextract",
    "geopandas",
    "icechunk",
    "lightgbm",
    "numba",
    "numpy",
    "odc-geo",
    "pandas",
    "pyogrio",
    "pystac-client",
    "rasterio",
    "sentinelhub",
    "shapely",
    "xarray",
    "zarr",
)

SECRET_NAME = re.compile(
    r"secret|token|passw|credential|authorization|signature|api_?key|^sig$", re.IGNORECASE
)
SECRET_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]+)")
USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN = "***"


def write_manifest(folder: Path, *, rasters: Mapping[Path, RasterStats] | None = None) -> Path:
    """Write ``manifest.json``: path, size and SHA-256 of every file in `folder` and below.

    Parameters
    ----------
    folder
        Output folder. Call this last: what is written later is not in the manifest.
    rasters
        Statistics of the rasters, by their path (inside `folder`).

    Returns
    -------
    Path
        The manifest.
    """
    statistics = {path.resolve(): stats for path, stats in (rasters or {}).items()}
    entries = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": sha256(path),
            **({"statistics": asdict(found)} if (found := statistics.get(path.resolve())) else {}),
        }
        for path in _files(folder)
    ]
    manifest = folder / MANIFEST
    write_json(manifest, {"manifest_version": MANIFEST_VERSION, "files": entries})
    return manifest


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        # hidden folders are a job's own memory, not results
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path != folder / MANIFEST
        and TEMPORARY not in path.name
        and not path.name.endswith(SIDE_FILES)
    )


def verify(folder: Path) -> list[str]:
    """Compare an output folder with its manifest.

    Parameters
    ----------
    folder
        Folder with a ``manifest.json``.

    Returns
    -------
    list of str
        One line for each fault (a missing, changed or unknown file); empty if all is well. Files
        that reviewers write into (`EDITABLE`) must be readable, not unchanged.
    """
    manifest = folder / MANIFEST
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        entries = {str(entry["path"]): entry for entry in content["files"]}
        known = content["manifest_version"] == MANIFEST_VERSION
    except FileNotFoundError:
        return [f"{MANIFEST}: not there; publish the folder again"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST}: not readable ({error}); publish the folder again"]
    if not known:
        found = content["manifest_version"]
        return [f"{MANIFEST}: version {found}, not {MANIFEST_VERSION}; use another lesniva"]
    faults = [fault for entry in entries.values() if (fault := _fault(folder, entry))]
    present = (path.relative_to(folder).as_posix() for path in _files(folder))
    return faults + [f"{path}: not in the manifest" for path in present if path not in entries]


def upload(folder: Path, address: str) -> Mirrored:
    """Mirror an output folder into an object store, its manifest last.

    Parameters
    ----------
    folder
        Output folder of a run.
    address
        ``s3://bucket/path`` (see `storage.object_store`).

    Returns
    -------
    Mirrored
        What was sent; a second time nothing but the files that reviewers write into.

    Raises
    ------
    EnvironmentFaultError
        The folder is not what its manifest says.
    LesnivaError
        As `storage.object_store`.
    """
    faults = verify(folder)
    if faults:
        raise EnvironmentFaultError(
            f"{folder} is not whole: {'; '.join(faults)}; run the job again, then upload it"
        )
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return mirror(folder, address, content["files"], always=EDITABLE)


def _fault(folder: Path, entry: Mapping[str, Any]) -> str | None:
    name = str(entry["path"])
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        return f"{name}: leads out of the folder"
    path = folder / name
    if not path.is_file():
        return f"{name}: missing"
    if path.suffix in EDITABLE:
        return _database_fault(path, name)
    if path.stat().st_size != entry.get("size"):
        return f"{name}: {path.stat().st_size} bytes, not {entry.get('size')}"
    if sha256(path) != entry.get("sha256"):
        return f"{name}: content changed (SHA-256 differs)"
    return None


def _database_fault(path: Path, name: str) -> str | None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return f"{name}: not readable ({error})"
    return None if answer == "ok" else f"{name}: damaged ({answer})"


def write_run(
    folder: Path,
    *,
    run_id: str,
    outcome: str,
    started: dt.datetime,
    finished: dt.datetime,
    stages: Mapping[str, float],
    config: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    scenes: Iterable[Mapping[str, Any]] = (),
    results: Mapping[str, Any] | None = None,
    attribution: str,
) -> Path:
    """Write ``run.json``: what went in, what it was done with, how long it took.

    Secrets do not get in: values under names that sound like one, values of such environment
    variables, users and signatures in addresses become ``***``; the home folder becomes ``~``.

    Parameters
    ----------
    folder
        Output folder.
    run_id
        Name of the run.
    outcome
        In a word: done, partial, no data, …
    started, finished
        Times with a time zone.
    stages
        Seconds of each stage, in order.
    config
        What the pipeline file asked.
    inputs
        Files that went in (pipeline file, area file, yields, …); each with size and SHA-256.
    scenes
        Scenes that went in, a mapping each: id, datetime, baseline, … as the caller has them.
    results
        Numbers worth keeping: alerts, blocks, failed blocks, …
    attribution
        Credit, or the notice that the data is synthetic.

    Returns
    -------
    Path
        The file.
    """
    run = {
        "run_id": run_id,
        "outcome": outcome,
        "attribution": attribution,
        "started": started.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "finished": finished.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "stages_s": {stage: round(seconds, 3) for stage, seconds in stages.items()},
        "config": dict(config),
        "inputs": [
            {"path": str(path), "size": path.stat().st_size, "sha256": sha256(path)}
            for path in inputs
        ],
        "scenes": [dict(scene) for scene in scenes],
        "results": dict(results or {}),
        "versions": versions(),
    }
    path = folder / RUN
    write_json(path, without_secrets(run))
    return path


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "gdal (rasterio)": rasterio.__gdal_version__,
        "proj": pyproj.proj_version_str,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def without_secrets(value: Any) -> Any:
    """Copy a value for JSON: secrets hidden, home folder as ``~``.

    NumPy numbers become plain ones, NaN and infinities null, paths, dates and the rest text.
    """
    secrets = [
        content
        for name, content in os.environ.items()
        if SECRET_NAME.search(name) and len(content) >= 6
    ]
    return _scrub(value, secrets, f"{Path.home()}{os.sep}")


def _scrub(value: Any, secrets: list[str], home: str) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): HIDDEN
            if isinstance(inner, str) and SECRET_NAME.search(str(name))
            else _scrub(inner, secrets, home)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub(inner, secrets, home) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value.isoformat() if isinstance(value, dt.date) else str(value)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = USER_INFO.sub(f"{HIDDEN}@", text)
    text = SECRET_QUERY.sub(
        lambda found: f"{found[1]}={HIDDEN}" if SECRET_NAME.search(found[1]) else found[0], text
    )
    return text.replace(home, f"~{os.sep}")
