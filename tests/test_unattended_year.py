"""A year of nightly runs, with all that happens in one, ends where one big run ends."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from geopandas.testing import assert_geodataframe_equal

from fingerprints import alerts_without_names
from lesniva import config, pipeline, publish
from lesniva.execution import SYNCHRONOUS
from small import leave_out_pictures, run_apart, write_archive, write_job

LEFT_OUT = () if os.environ.get("LESNIVA_TEST_YEAR") == "whole" else (1, 7, 9)
"""Numbers of scenes that are not waited for: seven remain of ten, and a month has one or two."""

LATE = 1
"""Number of the scene that comes a night after its successor."""

DOUBLE = 3
"""Number of the scene that comes a second time, processed anew, two nights later."""

KILL_AT = (0, 2, 3, 5, 9)
"""Lines of the log at which the first run of each month is killed."""


class Archive:
    """Scenes that are listed one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = json.loads((folder / "catalog.json").read_text())
        items = [link for link in self.catalog["links"] if link["rel"] == "item"]
        self.items = sorted(items, key=lambda link: link["href"].split("_37UEU_")[1])

    def show(self, shown: list[dict[str, str]]) -> None:
        others = [link for link in self.catalog["links"] if link["rel"] != "item"]
        listed = {**self.catalog, "links": others + shown}
        (self.folder / "catalog.json").write_text(json.dumps(listed))

    def double(self, link: dict[str, str]) -> dict[str, str]:
        """Process a scene anew: the same ground, another id, a later time of processing."""
        name = Path(link["href"]).stem
        again = name.replace("_SYN", "_R1_SYN")
        shutil.copytree(self.folder / "scenes" / name, self.folder / "scenes" / again)
        (self.folder / "scenes" / again / f"{name}.json").unlink()
        item = json.loads((self.folder / link["href"]).read_text())
        item["id"] = again
        item["properties"]["s2:generation_time"] = "2023-01-01T00:00:00Z"
        href = f"./scenes/{again}/{again}.json"
        (self.folder / href).write_text(json.dumps(item))
        return {**link, "href": href}


def month(link: dict[str, str]) -> str:
    return link["href"].split("_37UEU_")[1][:6]


def nights(archive: Archive) -> list[list[dict[str, str]]]:
    """What the catalog lists, night by night: one scene more each."""
    history = [link for link in archive.items if not month(link).startswith("2022")]
    new = [link for link in archive.items if month(link).startswith("2022")]
    new = [link for number, link in enumerate(new) if number not in LEFT_OUT]
    new[LATE], new[LATE + 1] = new[LATE + 1], new[LATE]
    new.insert(DOUBLE + 2, archive.double(new[DOUBLE]))
    return [history + new[: night + 1] for night in range(len(new))]


def state_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in (out / ".lesniva").rglob("*") if path.is_file())


def rasters(out: Path) -> dict[str, bytes]:
    pixels = {}
    for path in sorted((out / "rasters").glob("*.tif")):
        with rasterio.open(path) as file:
            pixels[path.name] = file.read().tobytes()
    return pixels


@pytest.mark.slow
def test_year_of_nights_ends_as_one_big_run_and_neither_state_nor_time_grows(tmp_path, monkeypatch):
    leave_out_pictures(monkeypatch)
    archive = Archive(write_archive(tmp_path / "archive").parent)
    file = write_job(
        tmp_path,
        archive.folder / "catalog.json",
        cover=archive.folder / "forest_cover.tif",
        more="[alerts]\nmin_area_ha = 0.04\n[report]\nclose_ups = 0",
    )
    job, out = config.read(file), tmp_path / "out"
    sizes, seconds = [], []
    kills = {}
    for shown in nights(archive):
        archive.show(shown)
        if month(shown[-1]) not in kills:
            kill_at = KILL_AT[len(kills)]
            kills[month(shown[-1])] = run_apart(file, out, kill_at=kill_at).code
        started = time.process_time()
        report = pipeline.run(job, out, scheduler=SYNCHRONOUS)
        seconds.append(time.process_time() - started)
        sizes.append(state_bytes(out))
        assert (report.exit_code, report.nothing_new) == (0, False)
    assert list(kills.values()) == [-9] * 5
    assert pipeline.run(job, out, scheduler=SYNCHRONOUS).nothing_new
    assert publish.verify(out) == []

    whole = tmp_path / "whole"
    pipeline.run(job, whole, scheduler=SYNCHRONOUS)
    assert rasters(out) == rasters(whole)
    assert len(alerts_without_names(whole)) > 0
    assert_geodataframe_equal(alerts_without_names(out), alerts_without_names(whole))

    # four runs are kept of those of one day: from then on the state is no larger
    assert max(sizes[5:]) <= 1.1 * sizes[4], sizes
    # the first night learns the history; a late scene and a double cost as much
    assert np.median(seconds[-3:]) <= 1.5 * np.median(seconds[1:4]), seconds
