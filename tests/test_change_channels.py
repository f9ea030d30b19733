"""What removal and health say of a pixel together."""

import numpy as np
import pytest
import xarray as xr

from lesniva import change
from lesniva.conventions import Channel, Status

REMOVAL, HEALTH = int(Channel.REMOVAL), int(Channel.HEALTH)


def said(status, *, probability=0.99, magnitude=-0.2, day=100, decrease=1):
    """Events of a row of pixels in these states."""
    shape = (1, len(status))
    of = {
        "status": np.array([status], dtype=np.uint8),
        "first_anomaly": np.full(shape, day, dtype=np.uint16),
        "probability": np.broadcast_to(np.float32(probability), shape).copy(),
        "magnitude": np.full(shape, magnitude, dtype=np.float32),
    }
    variables = {name: (("y", "x"), values) for name, values in of.items()}
    return xr.Dataset(variables, attrs={"decrease": decrease})


def test_without_health_removal_says_it_all():
    removal = said([Status.NONE, Status.LOW, Status.CONFIRMED, Status.NOT_FOREST])
    told = change.joined(removal)
    xr.testing.assert_identical(told.drop_vars("channel"), removal)
    assert (told["channel"] == REMOVAL).all()


@pytest.mark.parametrize(
    ("removal", "health", "channel"),
    [
        (Status.NONE, Status.CONFIRMED, HEALTH),
        (Status.FLAGGED, Status.CONFIRMED, HEALTH),
        (Status.LOW, Status.REARMED, HEALTH),
        (Status.FINISHED, Status.CONFIRMED, HEALTH),
        (Status.NONE, Status.LOW, REMOVAL),
        (Status.NONE, Status.FINISHED, REMOVAL),
        (Status.CONFIRMED, Status.CONFIRMED, REMOVAL),
        (Status.REARMED, Status.CONFIRMED, REMOVAL),
        (Status.WINTER_EARLY, Status.CONFIRMED, REMOVAL),
        (Status.NOT_FOREST, Status.CONFIRMED, REMOVAL),
        (Status.UNSTABLE_HISTORY, Status.CONFIRMED, REMOVAL),
    ],
)
def test_health_is_heard_where_it_has_confirmed_what_removal_has_not(removal, health, channel):
    told = change.joined(said([removal], day=100), [said([health], day=70)])
    assert told["channel"].item() == channel
    assert told["status"].item() == (health if channel == HEALTH else removal)
    assert told["first_anomaly"].item() == (70 if channel == HEALTH else 100)


def test_of_several_indices_the_one_with_the_most_evidence_is_heard_in_any_order():
    removal = said([Status.NONE] * 3, probability=[0.5, 0.97, 0.5])
    one = said([Status.CONFIRMED] * 3, probability=[0.991, 0.995, 0.999], day=50)
    other = said([Status.CONFIRMED, Status.LOW, Status.CONFIRMED], probability=0.998, day=60)
    for health in ([one, other], [other, one]):
        told = change.joined(removal, health)
        np.testing.assert_array_equal(told["first_anomaly"], [[60, 50, 50]])
        np.testing.assert_allclose(told["probability"], [[0.998, 0.995, 0.999]], rtol=1e-6)


def test_health_that_is_less_sure_than_the_doubts_of_removal_is_heard_all_the_same():
    told = change.joined(
        said([Status.LOW], probability=0.995), [said([Status.CONFIRMED], probability=0.99, day=50)]
    )
    assert told["channel"].item() == HEALTH
    assert told["first_anomaly"].item() == 50


def test_negative_is_damage_also_of_an_index_that_damage_raises():
    water = said([Status.CONFIRMED], magnitude=0.3, decrease=0)
    told = change.joined(said([Status.NONE], magnitude=np.nan), [water])
    assert told["magnitude"].item() == pytest.approx(-0.3)
    assert told["magnitude"].dtype == np.float32


def test_what_was_joined_stays_as_it_was():
    removal, health = said([Status.NONE]), said([Status.CONFIRMED], day=7)
    before = removal.copy(deep=True)
    change.joined(removal, [health])
    xr.testing.assert_identical(removal, before)


def test_every_pixel_has_two_indices_of_health():
    strata = xr.DataArray(np.arange(6, dtype=np.uint8)[np.newaxis], dims=("y", "x"))
    looked = {name: change.looked_at(name, strata)[0] for name in change.HEALTH}
    assert (np.sum(list(looked.values()), axis=0) == 2).all()
    assert looked["ndre"].all()
    assert (looked["crswir"] == ~looked["ndmi"]).all()
    np.testing.assert_array_equal(looked["crswir"], [True, True, True, True, False, False])
