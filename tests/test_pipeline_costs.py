"""What a job costs, said by one function for `plan` and for the projection of the benchmark."""

from dataclasses import replace

import pytest

from lesniva.pipeline import costs

WORK = costs.Work(
    pixels=4_000_000,
    pixel_dates=4_000_000 * 150,
    bytes_per_pixel=15,
    largest_block=262_144 * 150,
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


def test_each_index_of_health_takes_a_state_and_a_stack_of_its_own():
    plain, more = costs.forest(WORK, cores=2), costs.forest(replace(WORK, health=3), cores=2)
    assert more.disk_gb == pytest.approx(4 * plain.disk_gb)
    assert more.transient_gb == pytest.approx(4 * plain.transient_gb)


def test_a_witness_and_the_winter_take_room():
    plain = costs.forest(WORK, cores=2)
    more = costs.forest(replace(WORK, channels=2, winter=True), cores=2)
    assert more.disk_gb / plain.disk_gb == pytest.approx((40 + 16 + 12) / 40)
    assert more.transient_gb == pytest.approx(2 * plain.transient_gb)
