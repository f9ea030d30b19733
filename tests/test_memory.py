"""A run needs the memory of a block, however large the area, and no more than its plan says."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from scenes import grid, outline, scene_of, write_tif

AREA = Path(__file__).parents[1] / "aoi" / "lipetsk.geojson"

DAYS = 60

BLOCK, BLOCKS = 256, 4
"""Pixels along a block, and blocks along the area."""

JOB = """
journey = "composite"
[area]
file = "{area}"
clip = {clip}
[source]
kind = "catalog"
href = "archive/catalog.json"
[period]
start = 2022-01-01
end = 2022-12-31
[grid]
block = {block}
[composite]
period = "all"
"""

MEASURE = """
import json, sys
from pathlib import Path
from lesniva import config, pipeline
from lesniva.execution import SYNCHRONOUS

def told(key):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(key + ":")[1].split()[0])

def run(name):
    job = config.read(Path(name + ".toml"))
    assert pipeline.run(job, Path(name), scheduler=SYNCHRONOUS).exit_code == 0

run("block")  # imports and kernels
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = told("VmRSS")
run("area")
print(json.dumps({"before": before, "peak": told("VmHWM")}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A year of scenes that share their files: as much to read, and little to write."""
    folder = tmp_path_factory.mktemp("memory")
    size = BLOCK * BLOCKS + 64
    ground = grid(size, size, 20)
    draw = np.random.default_rng(1)
    bands = {
        "red": draw.integers(200, 900, ground.shape, dtype=np.uint16),
        "nir": draw.integers(1500, 4500, ground.shape, dtype=np.uint16),
        "scl": draw.choice(np.array([4, 5, 9], dtype=np.uint8), ground.shape),
    }
    files = {
        name: write_tif(folder / f"{name}.tif", values, ground, tiled=True)
        for name, values in bands.items()
    }
    links = []
    for day in range(DAYS):
        when = datetime(2022, 1, 2, 8, 30, tzinfo=UTC) + timedelta(days=5 * day)
        item = scene_of(files, name=f"day-{day}", when=when, footprint=outline(ground)).item
        path = folder / "archive" / f"{item.id}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(item.to_dict(include_self_link=False)))
        links.append({"rel": "item", "href": f"./{path.name}"})
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "c"}
    (folder / "archive" / "catalog.json").write_text(json.dumps({**root, "links": links}))
    for name, blocks in (("block", 1), ("area", BLOCKS)):
        inside = grid(
            BLOCK * blocks - 64,
            BLOCK * blocks - 64,
            20,
            west=ground.boundingbox.left + 640,
            north=ground.boundingbox.top - 640,
        )
        clip = list(outline(inside).bounds)
        (folder / f"{name}.toml").write_text(JOB.format(area=AREA, clip=clip, block=BLOCK))
    return folder


@pytest.mark.slow
def test_stack_four_times_larger_than_the_memory_goes_through_it(folder):
    asked = [sys.executable, "-c", MEASURE]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    stack = 2 * DAYS * (BLOCK * BLOCKS) ** 2
    assert measured["peak"] - measured["before"] <= stack / 4, measured

    plan = subprocess.run(
        [sys.executable, "-m", "lesniva", "plan", "area.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    (told,) = re.findall(r"about (\d+\.\d) GB a worker", plan.stdout)
    assert measured["peak"] <= (float(told) + 0.05) * 1e9
