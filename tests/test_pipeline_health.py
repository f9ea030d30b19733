"""The health channel beside that of removal, from scenes to alerts."""

import geopandas as gpd
import numpy as np
import pytest

import small
from lesniva import change, config, ledger, pipeline, publish
from lesniva.errors import InputError
from lesniva.execution import SYNCHRONOUS
from lesniva.pipeline.running import STATE

BANDS = ("nir", "red", "rededge1", "nir08", "swir16", "swir22")


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patched:
        small.leave_out_pictures(patched)
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return small.write_archive(tmp_path_factory.mktemp("archive"), bands=BANDS)


def run(folder, catalog, out, *, more="health = true", **changed):
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


def test_alerts_say_which_channel_tells_of_them(whole):
    found = gpd.read_file(whole / "alerts.geojson")
    assert set(found["channel"]) <= {"removal", "health"}
    assert (found["channel"] == "removal").any()
    assert publish.verify(whole) == []


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
