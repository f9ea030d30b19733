"""The notebooks run from the first cell to the last, which asserts what their text claims."""

import ast
import re
import runpy
from pathlib import Path

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from farmland import PIXELS, corner
from lesniva import aoi, config, pipeline, synthetic
from lesniva.execution import SYNCHRONOUS
from lesniva.sources import sentinelhub
from servers import sentinelhub as stub
from servers.loopback import serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
FOREST = ["forest-change-of-one-place.py"]
FARMLAND = [path.name for path in NOTEBOOKS if path.name not in FOREST]

YEAR = 2023


def run(name, home, monkeypatch):
    """Run a notebook as a script, in the folder of the archive."""
    monkeypatch.chdir(home)
    with mpl.rc_context({"backend": "agg"}):
        runpy.run_path(str(ROOT / "notebooks" / name))
        assert plt.get_fignums(), "a notebook shows something"
        plt.close("all")


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    """A folder as `make demo` leaves it, of a smaller forest."""
    home = tmp_path_factory.mktemp("forest")
    synthetic.write_forest_archive(
        home / "archive" / "demo" / "forest",
        size=256,
        start="2020-01-01",
        end="2022-12-31",
        scenes_per_month=dict.fromkeys(range(5, 11), 3),
        bands=("red", "nir", "nir08", "swir22"),
    )
    written(home / "aoi" / "lipetsk.geojson", (ROOT / "aoi" / "lipetsk.geojson").read_text())
    asked = (ROOT / "pipelines" / "demo-forest.toml").read_text(encoding="utf-8")
    asked = asked.replace("[39.67, 52.40, 39.83, 52.51]", "[39.674, 52.456, 39.749, 52.501]")
    asked = asked.replace("2023-12-31", "2022-12-31")
    job = config.read(written(home / "pipelines" / "demo-forest.toml", asked))
    pipeline.run(job, home / "out" / job.name, scheduler=SYNCHRONOUS)
    return home


@pytest.fixture(scope="module")
def farmland(tmp_path_factory):
    """A folder as `make demo` leaves it, of four square districts."""
    home = tmp_path_factory.mktemp("farmland")
    area = corner()
    (home / "aoi").mkdir()
    aoi.save(area, home / "aoi" / "lipetsk.geojson")
    synthetic.write_farmland_archive(
        home / "archive" / "demo" / "farmland",
        area.districts.reset_index(),
        first_year=2017,
        last_year=YEAR,
        last_scene=f"{YEAR}-06-30",
        size=PIXELS,
        scenes_per_month={4: 2, 5: 2, 6: 2, 7: 2, 8: 2, 10: 1},
        bands=("red", "nir"),
    )
    asked = (ROOT / "pipelines" / "demo-harvest.toml").read_text(encoding="utf-8")
    asked = asked.replace("2026", str(YEAR)).replace("[harvest.crops.sugar_beet]", "[unused]")
    asked = re.sub(r"\[unused\]\n.*\n", "", asked)
    job = config.read(written(home / "pipelines" / "demo-harvest.toml", asked))
    pipeline.run(job, home / "out" / job.name, scheduler=SYNCHRONOUS)
    return home


@pytest.mark.parametrize("name", FOREST)
def test_a_notebook_on_the_forest_holds_what_it_claims(name, forest, monkeypatch):
    run(name, forest, monkeypatch)


def curve(payload):
    """Answer of the Statistical API: a season that is at its height in the middle."""
    asked = payload["aggregation"]["timeRange"]
    starts = pd.date_range(asked["from"], asked["to"], freq="10D", inclusive="left")
    heights = np.sin(np.linspace(0, np.pi, len(starts)))
    return {
        "status": "OK",
        "data": [
            {
                "interval": {
                    "from": f"{start:%Y-%m-%dT00:00:00Z}",
                    "to": f"{start + pd.Timedelta(days=10):%Y-%m-%dT00:00:00Z}",
                },
                "outputs": {"ndvi": {"bands": {"B0": {"stats": _stats(0.2 + 0.6 * height)}}}},
            }
            for start, height in zip(starts, heights, strict=True)
        ],
    }


def _stats(mean):
    return {"mean": mean, "stDev": 0.05, "sampleCount": 1156, "noDataCount": 100}


@pytest.fixture
def account(monkeypatch):
    """An account of a Sentinel Hub that listens on loopback."""
    with serving(stub.SentinelHub([], stats=curve)) as server:
        addresses = (server.url, f"{server.url}/token")
        monkeypatch.setitem(sentinelhub.SERVICES, "cdse", addresses)
        monkeypatch.setenv("SH_CLIENT_ID", "cid")
        monkeypatch.setenv("SH_CLIENT_SECRET", stub.SECRET)
        yield server


@pytest.mark.parametrize("name", FARMLAND)
def test_a_notebook_on_the_farmland_holds_what_it_claims(name, farmland, monkeypatch, account):
    run(name, farmland, monkeypatch)
    by_service = name == "one-field-through-the-season.py"
    assert len(account.asked("/api/v1/statistics")) == by_service


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_a_percent_script_that_ends_with_its_claims(path):
    cells = jupytext.read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert cells[-2].source.endswith("## What this page claims")
    assert cells[-1].source.count("assert ") >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_uses_public_names_only(path):
    for step in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(step, ast.Attribute):
            assert not re.match(r"_[^_]", step.attr), step.attr
        if isinstance(step, ast.ImportFrom) and str(step.module).startswith("lesniva"):
            assert not any(alias.name.startswith("_") for alias in step.names)
