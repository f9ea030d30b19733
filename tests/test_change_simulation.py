"""Gates of the boreal simulation, on seeds that nothing was tuned with."""

import pandas as pd
import pytest

from simulation import causes, play, score

pytestmark = pytest.mark.slow

SEEDS = range(601, 611)


@pytest.fixture(scope="module")
def played():
    return [play(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def figures(played):
    return score(played)


def test_changes_are_found_and_little_else_is_reported(figures):
    assert figures["n"] > 9000
    assert figures["f1"] >= 0.985


def test_thinnings_are_found_and_hardly_any_undisturbed_pixel_is_reported(figures):
    assert figures["thinning"] >= 0.95
    assert figures["false"] <= 0.005


def test_changes_are_confirmed_within_a_fortnight_of_the_first_clear_view(figures):
    assert figures["delay"] <= 13
    assert figures["delay90"] <= 40


def test_most_winter_clear_cuts_are_found_before_the_green_up(figures):
    assert figures["winter_early"] >= 0.60


def test_changes_are_dated_to_a_few_days_and_not_seen_before_they_happen(figures):
    assert figures["date_error"] <= 5
    assert figures["too_early"] <= 0.02


def test_four_of_five_causes_are_named_rightly(played):
    named = pd.concat([causes(each) for each in played])
    assert len(named) > 60
    assert (named["cause"] == named["truth"]).mean() >= 0.8
