"""Change detection beside nrt 0.3.0 on the same arrays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from lesniva import change
from lesniva.conventions import NODATA_INT16

SIDE, HISTORY, NEW = 200, 150, 10
STRATA = len(change.AMPLITUDE_EDGES) + 1


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Stack of an index with a season and noise, half of it missing; files for the peer."""
    draw = np.random.default_rng(5)
    dates = np.datetime64("2018-01-03") + np.cumsum(draw.integers(8, 14, HISTORY + NEW))
    phase = 2 * np.pi * (dates - dates[0]).astype(float) / 365.25
    curve = 0.6 + 0.15 * np.sin(phase)
    values = curve[:, None, None] + 0.02 * draw.standard_normal((len(dates), SIDE, SIDE))
    stack = np.rint(10_000 * values).astype(np.int16)
    stack[draw.random(stack.shape) < 0.5] = NODATA_INT16
    folder = tmp_path_factory.mktemp("season")
    np.save(folder / "stack.npy", stack)
    np.save(folder / "dates.npy", dates)
    np.save(folder / "history.npy", stack[:HISTORY])
    np.save(folder / "history_dates.npy", dates[:HISTORY])
    return folder, xr.DataArray(stack, dims=("time", "y", "x")), dates


def in_two_threads(work, stack):
    """Work on the upper and the lower half at the same time, as two workers do."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, (stack[:, : SIDE // 2], stack[:, SIDE // 2 :])))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("OLS", {"method": "ols", "trim": None}),
        ("RIRLS", {"method": "robust", "trim": None}),
        ("ROC", {"method": "ols", "trim": "roc"}),
    ],
)
def test_history_fit(season, beside, peer, name, how):
    folder, stack, dates = season
    history = stack[:HISTORY]

    def ours():
        in_two_threads(
            lambda half: change.fit(half, dates[:HISTORY], trend=True, max_order=2, **how), history
        )

    files = {"stack": folder / "history.npy", "dates": folder / "history_dates.npy"}
    beside(
        f"history fit {name}, 150 dates, half missing, order 2 + trend, 2 threads",
        ours,
        {"nrt 0.3.0": peer("nrt_fit", method=name, **files)},
        rounds=3,
        rate=lambda seconds: f"{SIDE**2 / 1e6 / seconds:.2f} Mpx/s",
        target="≥ 25 × nrt" + (", ≥ 1.5 Mpx/s" if name == "OLS" else ""),
    )


def test_update_with_scene_correction_and_status_machine(season, beside, peer):
    folder, stack, dates = season
    state = change.start(change.fit(stack[:HISTORY], dates[:HISTORY]))
    strata = change.amplitude_strata(change.seasonal_amplitude(state))
    new, time = stack[HISTORY:], dates[HISTORY:]

    def ours():
        counts = change.scene_residuals(state, new, time, strata, n_strata=STRATA)
        return change.update(state, new, time, corrections=change.correction(counts), strata=strata)

    files = {"stack": folder / "stack.npy", "dates": folder / "dates.npy"}
    beside(
        "update with ten scenes, correction and status machine, 1 thread",
        ours,
        {"nrt 0.3.0": peer("nrt_monitor", n_history=HISTORY, **files)},
        rounds=5,
        rate=lambda seconds: f"{seconds / NEW / SIDE**2 * 1e9:.0f} ns a pixel and scene",
        target="≥ 5 × nrt",
    )


def test_state_on_disk(table, season, tmp_path):
    from conftest import Row
    from lesniva import ledger

    _, stack, dates = season
    state = change.start(change.fit(stack[:HISTORY], dates[:HISTORY]))
    book = ledger.begin(tmp_path, identity={})
    ledger.write_block(book, "g/0_0", state, seen=ledger.Seen(frozenset(), dates[HISTORY]))
    raw = sum(variable.nbytes for variable in state.data_vars.values()) / SIDE**2
    stored = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) / SIDE**2
    table.append(
        Row(
            "state on disk",
            0.0,
            f"{raw:.1f} B a pixel, {stored:.1f} B compressed",
            target="≤ 40 B (S-CCD 1,180 B)",
        )
    )
