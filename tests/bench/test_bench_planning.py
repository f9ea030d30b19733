"""A whole oblast's season is planned in seconds, and the command line answers at once."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pystac
import pytest
import shapely

from lesniva import aoi, config, pipeline

ROOT = Path(__file__).parents[2]
TILES_ACROSS, DATES = 4, 63
BANDS = ("blue", "green", "red", "nir", "nir08", "swir16", "swir22", "scl")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> config.AnyPipeline:
    """Forest job of Lipetsk oblast with some thousand scenes of made-up addresses."""
    folder = tmp_path_factory.mktemp("season")
    outline = aoi.load(ROOT / "aoi" / "lipetsk.geojson").outline
    west, south, east, north = outline.bounds
    wide, high = (east - west) / TILES_ACROSS, (north - south) / TILES_ACROSS
    items = []
    for tile in range(TILES_ACROSS**2):
        left, low = west + tile % TILES_ACROSS * wide, south + tile // TILES_ACROSS * high
        ground = shapely.box(left - 0.1, low - 0.1, left + wide + 0.1, low + high + 0.1)
        for number in range(DATES):
            when = dt.datetime(2024, 5, 1, 8, 30, tzinfo=dt.UTC) + dt.timedelta(days=2 * number)
            name = f"S2A_37UD{tile:02d}_{when:%Y%m%d}_0_L2A"
            properties = {"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": True}
            item = pystac.Item(
                name, shapely.geometry.mapping(ground), list(ground.bounds), when, properties
            )
            for band in BANDS:
                item.add_asset(band, pystac.Asset(str(folder / name / f"{band}.tif")))
            items.append(item)
    (folder / "items.json").write_text(json.dumps(pystac.ItemCollection(items).to_dict()))
    file = folder / "season.toml"
    file.write_text(f"""
        journey = "forest"
        [area]
        file = "{ROOT / "aoi" / "lipetsk.geojson"}"
        [source]
        kind = "catalog"
        href = "{folder / "items.json"}"
        [period]
        start = 2024-05-01
        end = 2024-10-31
        [grid]
        resolution = 20
        [monitor]
        history_end = 2024-07-31
    """)
    return config.read(file)


def test_plan_of_an_oblast_season(beside, job):
    lines = pipeline.plan(job)
    row = beside("plan a season, 1008 scenes over Lipetsk oblast", lambda: pipeline.plan(job),
                 rounds=2, target="< 10 s, < 20,000 tasks")  # fmt: skip
    blocks = next(int(line.split()[1]) for line in lines if line.startswith("  blocks"))
    # three tasks a block at a first run: history, new days, findings, and the two that follow
    row.rate = f"{5 * blocks} tasks"


def test_help_of_the_command_line(beside):
    command = [Path(sys.executable).with_name("lesniva"), "--help"]
    beside(
        "lesniva --help",
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        target="< 0.3 s",
    )
