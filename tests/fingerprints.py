"""What two runs of one job must have in common, byte for byte."""

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd

ABOUT_THE_RUN = ("run_id", "started", "finished", "stages_s", "stages")
"""What ``run.json`` and the page say that no other run says: its name, when, and how long."""


def fingerprints(out: Path) -> dict[str, str]:
    """SHA-256 of every result, without what names and times the run itself."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".lesniva" not in path.parts
    }


def content(path: Path) -> bytes:
    """Bytes of a file, but for what names and times the run."""
    match path.name:
        case "lesniva.gpkg":
            return database(path)
        case "run.json":
            return without_times(path.read_text())
        case "index.html":
            page = path.read_text(encoding="utf-8")
            head, data, tail = re.split(r'(?<=id="data">)(.*?)(?=</script>)', page)
            return head.encode() + without_times(data) + tail.encode()
        case "manifest.json":
            # it proves the others (`publish.verify`); here only the list of them
            files = json.loads(path.read_text())["files"]
            return repr([file["path"] for file in files]).encode()
    return path.read_bytes()


def without_times(text: str) -> bytes:
    """JSON without what names and times the run, at the top or below ``run``."""
    told = json.loads(text)
    about = told.get("run", told)
    left_out = [about.pop(key) for key in ABOUT_THE_RUN if key in about]
    assert len(left_out) >= 3
    return json.dumps(told, ensure_ascii=False).encode()


def database(path: Path) -> bytes:
    """All that is in a GeoPackage but for its list of runs."""
    with closing(sqlite3.connect(path)) as opened:
        names = opened.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        tables = [name for name, sql in names if sql and sql.startswith("CREATE TABLE")]
        rows = {
            # rows are dumped by hand: the spatial index needs functions that sqlite3 has not
            name: sorted(map(repr, opened.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for name in tables
            if name not in ("runs", "gpkg_ogr_contents", "sqlite_sequence")
        }
    return repr((names, rows)).encode()


def alerts_without_names(out: Path) -> gpd.GeoDataFrame:
    """Alerts without what depends on the runs before: their ids, and what became of them since."""
    table = gpd.read_file(out / "alerts.geojson").drop(columns=["alert_id", "id", "event"])
    return table.sort_values(["date_max", "lon", "lat"], ignore_index=True)
