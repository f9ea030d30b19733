"""The health channel beside that of removal, from scenes to alerts."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

import small
from lesniva import change, config, ledger, pipeline, publish
from lesniva.conventions import Scl, Status
from lesniva.errors import InputError
from lesniva.execution import SYNCHRONOUS
from lesniva.pipeline.running import STATE

pytestmark = pytest.mark.slow

BANDS = ("blue", "green", "nir", "red", "rededge1", "nir08", "swir16", "swir22")
SCENES_PER_MONTH = dict.fromkeys(range(5, 9), 3)


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patched:
        small.leave_out_pictures(patched)
        yield


HEALTH = "health = true\n[report]\nclose_ups = 1"

DRY = (slice(37, 49), slice(39, 51))
"""Rows and columns of the archive's 20 m pixels that lose water from `DRY_FROM` on …"""

SPARSE = (slice(16, 30), slice(26, 40))
"""Those that clouds hide in nearly all of the history."""

DRY_FROM = "20220510"
"""… as swir16 tells, which NBR does not look at."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    catalog = small.write_archive(folder, bands=BANDS, scenes_per_month=SCENES_PER_MONTH)
    for path in catalog.parent.glob("scenes/*/swir16.tif"):
        if path.parent.name.split("_")[2] >= DRY_FROM:
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
                values = file.read(1)
                values[DRY] = np.round(1.6 * values[DRY])
                file.write(values, 1)
    history = sorted(
        path for path in catalog.parent.glob("scenes/*/scl.tif") if "_2022" not in str(path)
    )
    for path in history[3:]:
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            classes = file.read(1)
            classes[SPARSE] = Scl.CLOUD_HIGH
            file.write(classes, 1)
    return catalog


def run(folder, catalog, out, *, more=HEALTH, **changed):
    cover = catalog.parent / "forest_cover.tif"
    file = small.write_job(folder, catalog, cover=cover, more=more, block=128, **changed)
    return pipeline.run(config.read(file), out, scheduler=SYNCHRONOUS)


@pytest.fixture(scope="module")
def whole(catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, catalog, folder / "out").exit_code == 0
    return folder / "out"


def states(out):
    """States of all blocks and channels by name."""
    book = ledger.Ledger(out / STATE)
    return {
        (key, channel): ledger.read_block(book, key, at=ledger.MAIN, channel=channel)
        for key in ledger.seen(book, at=ledger.MAIN)
        for channel in (None, *change.HEALTH)
    }


def test_each_index_of_health_has_a_state_of_forty_bytes_beside_that_of_removal(whole):
    for (_, channel), state in states(whole).items():
        assert state.attrs["channel"] == (channel or "nbr")
        of_pixel = sum(each.dtype.itemsize * each.size for each in state.data_vars.values())
        if channel is not None:
            assert of_pixel / state["status"].size <= 40


def test_what_is_hardly_seen_borrows_a_model_of_each_index_that_watches_its_kind(whole):
    found = states(whole)
    seen = 0
    for key in {key for key, _ in found}:
        few = found[key, None]["n_history"].values <= change.MOST_OWN
        few &= found[key, None]["status"].values < Status.NOT_FOREST
        watched = {name: found[key, name]["status"].values[few] < Status.NOT_FOREST
                   for name in change.HEALTH}  # fmt: skip
        assert watched["ndre"].all()
        assert (watched["crswir"] ^ watched["ndmi"]).all()
        for name, those in watched.items():
            assert (found[key, name]["n_history"].values[few][those] <= change.MOST_OWN).all()
        seen += few.sum()
    assert seen >= 30


def test_what_only_the_water_shows_is_an_alert_of_the_health_channel(catalog, whole):
    found = gpd.read_file(whole / "alerts.geojson")
    assert set(found["channel"]) == {"removal", "health"}
    with rasterio.open(next(catalog.parent.glob("scenes/*/swir16.tif"))) as file:
        rows, columns = DRY
        west, north = file.transform @ (columns.start, rows.start)
        east, south = file.transform @ (columns.stop, rows.stop)
        ill = found[found["channel"] == "health"].to_crs(file.crs)
    assert (ill["status"] == "confirmed").all()
    assert (ill["magnitude"] < -0.06).all()
    dry = shapely.box(west, south, east, north)
    assert ill.intersection(dry).area.sum() > 0.9 * ill.area.sum()
    assert ill.area.sum() > 0.2 * dry.area
    assert publish.verify(whole) == []


def test_the_chart_of_an_alert_follows_what_each_channel_watches(whole):
    files = list((whole / STATE).glob("series/**/*.parquet"))
    assert files
    for file in files:
        seen = pd.read_parquet(file)
        assert {"ndvi", "nbr", *change.HEALTH} <= set(seen.columns)
        assert seen[list(change.HEALTH)].notna().any().all()


def test_two_runs_over_growing_time_end_in_the_states_of_one(catalog, whole, tmp_path):
    for end in ("2022-07-31", "2022-12-31"):
        run(tmp_path, catalog, tmp_path / "out", end=end)
    one, two = states(whole), states(tmp_path / "out")
    assert one.keys() == two.keys()
    for name, state in one.items():
        for variable in state.data_vars:
            np.testing.assert_array_equal(state[variable], two[name][variable], str(name))


def test_a_state_with_health_is_refused_by_name_to_a_job_without(catalog, whole, tmp_path):
    with pytest.raises(InputError, match=r"health: \['ndre', 'crswir', 'ndmi'\] → None"):
        run(tmp_path, catalog, whole, more="")
