"""Forest change on the boreal simulation beside nrt 0.3.0: what is found, how soon."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lesniva import indices
from lesniva.conventions import Status, to_day_number
from simulation import HISTORY_END, causes, observe, play, score

SEEDS = (601, 602, 603)
QUICKSTART_CLASSES = (4, 5, 7)
"""Scene classes that nrt's quick start calls clear."""
WINTER_MONTHS = (11, 12, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def played():
    return [play(seed) for seed in SEEDS]


def told(work, found, causes_right=None):
    from conftest import Row

    figures = score(found)
    delays = f"delay {figures['delay']:.0f} d (90 % within {figures['delay90']:.0f} d)"
    rate = (
        f"F1 {figures['f1']:.3f}, thinning {figures['thinning']:.3f}, "
        f"false {figures['false']:.2%}, {delays}, date off by {figures['date_error']:.0f} d, "
        f"winter cuts before green-up {figures['winter_early']:.0%}, "
        f"causes {'not named' if causes_right is None else f'right {causes_right:.0%}'}"
    )
    return Row(f"boreal simulation, seeds {SEEDS[0]} – {SEEDS[-1]}: {work}", 0.0, rate)


def test_ours_by_the_defaults(table, played):
    named = pd.concat([causes(each) for each in played])
    table.append(told("ours", played, (named["cause"] == named["truth"]).mean()))


@pytest.mark.parametrize(
    ("index", "sensitivity"),
    [("ndvi", 2), ("nbr", 2), ("nbr", 5), ("nbr", 8)],
    ids=["its quick start on NDVI", "on our NBR in season", "the same, L = 5", "the same, L = 8"],
)
def test_nrt(table, played, peer, tmp_path_factory, request, index, sensitivity):
    recipe = request.node.callspec.id
    # a folder for each forest: the peer keeps what it has prepared of a file
    watched = [
        of_nrt(each, index, sensitivity, peer, tmp_path_factory.mktemp("forest")) for each in played
    ]
    table.append(told(f"nrt 0.3.0, {recipe}", watched))


def of_nrt(ours, index, sensitivity, peer, folder):
    """Watch the same forest by nrt, as if `play` had."""
    dates, forest = ours.dates, ours.truth.forest
    if index == "ndvi":
        stack = np.empty(ours.bands["scl"].shape, dtype=np.int16)
        for t, scl in enumerate(ours.bands["scl"]):
            # NDVI of B8A and B4
            scene = {"nir": ours.bands["nir08"][t], "red": ours.bands["red"][t]}
            indices.scaled("ndvi", scene, np.isin(scl, QUICKSTART_CLASSES), stack[t])
    else:
        stack, _, _ = observe(ours.bands, forest, "nbr")
        stack, dates = stack[ours.season], dates[ours.season]
    for name, values in {"stack": stack, "dates": dates, "forest": forest}.items():
        np.save(folder / f"{name}.npy", values)
    files = {name: folder / f"{name}.npy" for name in ("stack", "dates", "forest", "out")}
    n_history = int((dates <= HISTORY_END).sum())
    peer("nrt_quickstart", n_history=n_history, sensitivity=sensitivity, **files)()
    broken = np.load(files["out"]).astype("datetime64[D]")
    found = broken > np.datetime64("1970-01-01")
    day = np.where(found, to_day_number(np.where(found, broken, np.datetime64("2015-01-01"))), 0)
    status = np.where(found, Status.CONFIRMED, Status.NONE)
    dated = dict.fromkeys(("first_anomaly", "likely_day", "confirmed"), (("y", "x"), day))
    events = xr.Dataset({"status": (("y", "x"), status), **dated})
    under_snow = found & np.isin(broken.astype("datetime64[M]").astype(int) % 12 + 1, WINTER_MONTHS)
    early = np.where(under_snow & (day >= ours.truth.day), day, 0)
    return replace(ours, events=events, early=early)
