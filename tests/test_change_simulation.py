"""Gates of the simulation that the detector reaches."""

import pytest

from simulation import play, score

SEEDS = (301, 302)


@pytest.fixture(scope="module")
def figures():
    return score([play(seed) for seed in SEEDS])


def test_changes_are_confirmed_within_a_fortnight_of_the_first_clear_view(figures):
    assert figures["n"] > 2000
    assert figures["delay"] <= 13
    assert figures["delay90"] <= 40


def test_hardly_any_undisturbed_pixel_is_reported(figures):
    assert figures["false"] <= 0.005


def test_most_winter_clear_cuts_are_found_before_the_green_up(figures):
    assert figures["winter_early"] >= 0.60
