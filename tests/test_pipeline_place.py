"""Which index is watched, by the bands that all scenes have."""

from types import SimpleNamespace
from typing import Any

import pytest

from lesniva import cube
from lesniva.errors import InputError
from lesniva.pipeline.place import observing, watched

PLACE: Any = SimpleNamespace(cloud_guard=0.0, access=cube.Access())

TEN_METRES = ("blue", "green", "red", "nir", "scl")
ALL = (*TEN_METRES, "rededge1", "nir08", "swir16", "swir22")


def days(*bands: tuple[str, ...]) -> Any:
    return [SimpleNamespace(scenes=[SimpleNamespace(files=dict.fromkeys(each))]) for each in bands]


@pytest.mark.parametrize(
    ("bands", "index", "witness"),
    [
        (ALL, "nbr", None),
        (TEN_METRES, "ndvi", None),
        ((*TEN_METRES, "nir08", "swir16"), "ndvi", "ndmi"),
        (("nir08", "swir16", "scl"), "ndmi", None),
    ],
)
def test_the_best_index_is_watched_that_the_bands_allow(bands, index, witness):
    how = observing("auto", days(bands), PLACE, canopy=True)
    assert (how.index, how.witness) == (index, witness)
    assert set(how.bands) <= set(bands)


def test_one_scene_of_ten_metre_bands_leaves_ndvi_alone():
    assert observing("auto", days(ALL, TEN_METRES), PLACE, canopy=True).index == "ndvi"


def test_an_index_without_its_bands_is_refused_with_those_that_are_there():
    with pytest.raises(
        InputError, match=r"index nbr needs nir08, swir22, scl; .* only blue, green"
    ):
        observing("nbr", days(TEN_METRES), PLACE)


def job(*, health: bool) -> Any:
    return SimpleNamespace(monitor=SimpleNamespace(index="auto", health=health))


def test_health_is_watched_by_three_indices_beside_removal_where_it_is_asked_for():
    how = watched(job(health=True), days(ALL), PLACE)
    assert (how.index, how.also) == ("nbr", ("ndre", "crswir", "ndmi"))
    assert {"rededge1", "swir16", "swir22", "nir08"} <= set(how.bands)
    assert watched(job(health=False), days(ALL), PLACE).also == ()


def test_health_without_its_bands_is_refused_with_those_that_are_there():
    some = tuple(band for band in ALL if band != "rededge1")
    with pytest.raises(
        InputError, match=r"monitor.health needs nir08, rededge1, .* only blue, .*health = false"
    ):
        watched(job(health=True), days(ALL, some), PLACE)
