import datetime as dt
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.cog import RasterStats
from lesniva.publish.manifest import verify, without_secrets, write_manifest, write_run

STATS = RasterStats(4, 3, 1, 3, 2.0, 0.8, {1: 1, 2: 1, 3: 1})
NOON = dt.datetime(2026, 6, 10, 12, tzinfo=dt.timezone(dt.timedelta(hours=3)))


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "out"
    (out / "rasters").mkdir(parents=True)
    (out / "rasters" / "status.tif").write_bytes(bytes(range(256)) * 40)
    (out / "сводка.csv").write_text("a,b\n")
    with closing(sqlite3.connect(out / "lesniva.gpkg")) as database:
        database.execute("CREATE TABLE verdicts (verdict TEXT)")
        database.commit()
    write_manifest(out, rasters={out / "rasters" / "status.tif": STATS})
    return out


def run(folder, **options):
    asked = {
        "run_id": "r1",
        "outcome": "done",
        "started": NOON,
        "finished": NOON,
        "stages": {"search": 1.23456},
        "config": {},
        "attribution": SYNTHETIC_NOTICE,
    } | options
    return json.loads(write_run(folder, **asked).read_text(encoding="utf-8"))


def test_the_manifest_names_every_file_with_its_checksum_and_statistics(folder):
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    entries = {entry["path"]: entry for entry in content["files"]}
    assert list(entries) == ["lesniva.gpkg", "rasters/status.tif", "сводка.csv"]
    assert entries["rasters/status.tif"]["size"] == 10_240
    assert entries["rasters/status.tif"]["statistics"]["valid"] == 3
    assert "statistics" not in entries["lesniva.gpkg"]
    assert verify(folder) == []


def test_a_moved_folder_is_still_right(folder, tmp_path):
    assert verify(folder.rename(tmp_path / "moved")) == []


def damaged(content, how):
    middle = len(content) // 2
    return {
        "cut": content[: int(len(content) * 0.6)],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "zeroed": content[:middle] + bytes(64) + content[middle + 64 :],
        "empty": b"",
    }[how]


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("cut", "6144 bytes, not 10240"),
        ("flipped", "content changed"),
        ("zeroed", "content changed"),
        ("empty", "0 bytes, not 10240"),
    ],
)
def test_damage_that_validators_miss_is_found(folder, how, fault):
    raster = folder / "rasters" / "status.tif"
    raster.write_bytes(damaged(raster.read_bytes(), how))
    (found,) = verify(folder)
    assert found.startswith("rasters/status.tif: ")
    assert fault in found


def test_missing_and_unknown_files_are_all_told_at_once(folder):
    (folder / "сводка.csv").unlink()
    (folder / "new.txt").write_text("x")
    assert verify(folder) == ["сводка.csv: missing", "new.txt: not in the manifest"]


def test_what_other_programs_leave_beside_ours_is_no_fault(folder):
    for name in ("lesniva.gpkg-wal", "rasters/status.tif.aux.xml", "x.tmp-1234.tif"):
        (folder / name).write_text("x")
    assert verify(folder) == []


def test_a_reviewer_may_write_into_the_geopackage_but_not_break_it(folder):
    with closing(sqlite3.connect(folder / "lesniva.gpkg")) as database:
        database.execute("INSERT INTO verdicts VALUES ('false')")
        database.commit()
    assert verify(folder) == []
    (folder / "lesniva.gpkg").write_bytes(b"SQLite format 3\0" + bytes(5000))
    (fault,) = verify(folder)
    assert fault.startswith("lesniva.gpkg: ")


@pytest.mark.parametrize("content", ["", "[]", '{"files": [', '{"files": [{}]}', '{"files": 3}'])
def test_a_broken_manifest_is_never_taken_for_done(folder, content):
    (folder / "manifest.json").write_text(content)
    (fault,) = verify(folder)
    assert fault.startswith("manifest.json: not readable")


def test_a_missing_and_a_future_manifest_are_told_apart(folder):
    (folder / "manifest.json").write_text('{"manifest_version": 99, "files": []}')
    assert verify(folder) == ["manifest.json: version 99, not 1; use another lesniva"]
    (folder / "manifest.json").unlink()
    assert verify(folder) == ["manifest.json: not there; publish the folder again"]


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "rasters/../../secret.txt"])
def test_a_path_out_of_the_folder_is_not_followed(folder, path):
    entry = {"path": path, "size": 1, "sha256": "x"}
    (folder / "manifest.json").write_text(
        json.dumps({"manifest_version": 1, "files": [entry]}), encoding="utf-8"
    )
    assert verify(folder)[0] == f"{path}: leads out of the folder"


def test_run_json_says_what_went_in_with_what_and_how_long(folder):
    told = run(folder, inputs=[folder / "сводка.csv"], scenes=[{"id": "S2A", "date": NOON}])
    assert told["started"] == "2026-06-10T09:00:00+00:00"
    assert told["stages_s"] == {"search": 1.235}
    assert told["inputs"][0]["size"] == 4
    assert len(told["inputs"][0]["sha256"]) == 64
    assert told["scenes"] == [{"id": "S2A", "date": "2026-06-10T12:00:00+03:00"}]
    assert told["attribution"] == SYNTHETIC_NOTICE
    assert {"python", "numpy", "lesniva", "gdal (rasterio)", "proj"} <= set(told["versions"])


def test_no_secret_and_no_home_folder_gets_into_run_json(folder, monkeypatch):
    canary = "c4n4ry-5e7q9z"
    monkeypatch.setenv("SH_CLIENT_SECRET", canary)
    run(
        folder,
        config={
            "source": {
                "client_secret": "other",
                "note": f"text with {canary} in it",
                "href": "https://user:word@host/x.tif?X-Amz-Signature=abc&sig=def&part=2",
            },
            "paths": (Path.home() / "data" / "aoi.geojson", None),
            "budget": 3,
        },
    )
    text = (folder / "run.json").read_text(encoding="utf-8")
    for secret in (canary, canary[-4:], "other", "user:word", "abc", "def", str(Path.home())):
        assert secret not in text
    config = json.loads(text)["config"]
    assert config["source"]["href"] == ("https://***@host/x.tif?X-Amz-Signature=***&sig=***&part=2")
    assert config["paths"] == ["~/data/aoi.geojson", None]
    assert config["budget"] == 3


def test_numbers_of_numpy_are_numbers_and_nan_is_null(folder):
    told = run(folder, results={"alerts": np.int64(3), "share": np.float32(0.5), "f1": np.nan})
    assert told["results"] == {"alerts": 3, "share": 0.5, "f1": None}


def test_short_words_in_the_environment_hide_nothing(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "ndvi")
    assert without_secrets({"index": "ndvi"}) == {"index": "ndvi"}
