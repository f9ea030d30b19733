"""What a job costs, said by one function for `plan` and for the projection of the benchmark."""

from dataclasses import replace

import pytest

from lesniva import change
from lesniva.pipeline import costs

WORK = costs.Work(
    pixels=4_000_000,
    pixel_dates=4_000_000 * 150,
    bytes_per_pixel=15,
    largest_block=262_144 * 150,
    block_pixels=262_144,
)


def test_cost_is_linear_in_area_and_memory_is_flat():
    one = costs.forest(WORK, cores=2)
    four = costs.forest(
        replace(WORK, pixels=4 * WORK.pixels, pixel_dates=4 * WORK.pixel_dates), cores=2
    )
    for name in ("first_hours", "night_hours", "disk_gb", "transient_gb"):
        assert getattr(four, name) == pytest.approx(4 * getattr(one, name))
    assert four.memory_gb == one.memory_gb


def test_a_second_core_halves_the_hours_and_nothing_else():
    one, two = costs.forest(WORK, cores=1), costs.forest(WORK, cores=2)
    assert two.first_hours == pytest.approx(one.first_hours / 2)
    assert two.night_hours == pytest.approx(one.night_hours / 2)
    assert (two.disk_gb, two.memory_gb) == (one.disk_gb, one.memory_gb)


def test_a_night_does_not_grow_with_the_history():
    longer = replace(WORK, pixel_dates=2 * WORK.pixel_dates)
    assert costs.forest(longer, cores=2).night_hours == costs.forest(WORK, cores=2).night_hours
    assert costs.forest(longer, cores=2).first_hours > costs.forest(WORK, cores=2).first_hours


def test_with_health_a_pixel_has_three_models_and_four_stacks():
    strata = len(change.AMPLITUDE_EDGES) + 1
    watching = sum(len(of_index) for of_index in change.HEALTH.values()) / strata
    assert watching == costs.HEALTH_MODELS == 2
    unread = replace(WORK, bytes_per_pixel=0)
    plain, more = (costs.forest(replace(unread, health=n), cores=2) for n in (0, 3))
    assert more.first_hours / plain.first_hours == pytest.approx(3, rel=0.05)
    assert more.disk_gb == pytest.approx(3 * plain.disk_gb)
    assert more.transient_gb == pytest.approx(4 * plain.transient_gb)


def test_a_witness_and_the_winter_take_room():
    plain = costs.forest(WORK, cores=2)
    more = costs.forest(replace(WORK, channels=2, winter=True), cores=2)
    assert more.disk_gb / plain.disk_gb == pytest.approx((40 + 16 + 12) / 40)
    assert more.transient_gb == pytest.approx(2 * plain.transient_gb)
