"""Change detection beside nrt 0.3.0 on the same arrays, both with two threads."""

import functools

import numpy as np
import pytest
import xarray as xr
from timing import halves, in_threads

from lesniva import change
from lesniva.conventions import NODATA_INT16

HISTORY, NEW = 150, 10
STRATA = len(change.AMPLITUDE_EDGES) + 1


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Give ``season(side)``: a stack with a season and noise, half of it missing, and its files."""

    @functools.cache
    def of(side):
        draw = np.random.default_rng(5)
        dates = np.datetime64("2018-01-03") + np.cumsum(draw.integers(8, 14, HISTORY + NEW))
        phase = 2 * np.pi * (dates - dates[0]).astype(float) / 365.25
        stack = np.empty((len(dates), side, side), dtype=np.int16)
        for values, level in zip(stack, 0.6 + 0.15 * np.sin(phase), strict=True):
            noise = draw.standard_normal(values.shape, dtype=np.float32)
            values[...] = np.rint(10_000 * (level + 0.02 * noise))
            values[draw.random(values.shape, dtype=np.float32) < 0.5] = NODATA_INT16
        folder = tmp_path_factory.mktemp("season")
        np.save(folder / "stack.npy", stack)
        np.save(folder / "dates.npy", dates)
        np.save(folder / "history.npy", stack[:HISTORY])
        np.save(folder / "history_dates.npy", dates[:HISTORY])
        return folder, xr.DataArray(stack, dims=("time", "y", "x")), dates

    return of


@pytest.mark.parametrize(
    ("name", "side", "how"),
    [
        ("OLS", 512, {"method": "ols", "trim": None}),
        # coefficients and residuals alone, which is all that nrt computes
        ("OLS", 512, {"method": "ols", "trim": None, "sigma": "ols"}),
        ("RIRLS", 200, {"method": "robust", "trim": None}),
        ("ROC", 200, {"method": "ols", "trim": "roc"}),
    ],
)
def test_history_fit(season, beside, peer, name, side, how):
    folder, stack, dates = season(side)
    parts = [part[:HISTORY] for part in halves(stack)]

    def ours():
        in_threads(
            lambda part: change.fit(part, dates[:HISTORY], trend=True, max_order=2, **how), parts
        )

    files = {"stack": folder / "history.npy", "dates": folder / "history_dates.npy"}
    beside(
        f"history fit {name}, noise by {how.get('sigma', 'mad')}, {side}² px, 150 dates, "
        "half missing, order 2 + trend, 2 threads",
        ours,
        {"nrt 0.3.0": peer("nrt_fit", method=name, **files)},
        rounds=7,
        rate=lambda seconds: f"{side**2 / 1e6 / seconds:.2f} Mpx/s",
        target="≥ 25 × nrt" + (", ≥ 1.5 Mpx/s" if name == "OLS" else ""),
    )


def test_update_with_scene_correction_and_status_machine(season, beside, peer):
    side = 512
    folder, stack, dates = season(side)
    time = dates[HISTORY:]
    parts = []
    for part in halves(stack):
        state = change.start(change.fit(part[:HISTORY], dates[:HISTORY]))
        strata = change.amplitude_strata(change.seasonal_amplitude(state))
        parts.append((state, part[HISTORY:], strata))

    def count(part):
        state, new, strata = part
        return change.scene_residuals(state, new, time, strata, n_strata=STRATA)

    def ours():
        counts = change.merge_statistics(in_threads(count, parts))
        corrections = change.correction(counts)
        in_threads(
            lambda part: change.update(
                part[0], part[1], time, corrections=corrections, strata=part[2]
            ),
            parts,
        )

    files = {"stack": folder / "stack.npy", "dates": folder / "dates.npy"}
    beside(
        f"update of {side}² px with ten scenes, correction and status machine, 2 threads",
        ours,
        {"nrt 0.3.0": peer("nrt_monitor", n_history=HISTORY, **files)},
        rounds=9,
        rate=lambda seconds: f"{seconds / NEW / side**2 * 1e9:.0f} ns a pixel and scene",
        target="≥ 5 × nrt",
    )


def test_state_on_disk(benchmark, table, season, tmp_path):
    from conftest import Row
    from lesniva import ledger

    side = 200
    _, stack, dates = season(side)
    state = change.start(change.fit(stack[:HISTORY], dates[:HISTORY]))
    state = change.update(state, stack[HISTORY:], dates[HISTORY:])
    book = ledger.begin(tmp_path, identity={})
    seen = ledger.Seen(frozenset(), dates[-1])
    benchmark.pedantic(ledger.write_block, (book, "g/0_0", state), {"seen": seen}, rounds=1)
    raw = sum(variable.nbytes for variable in state.data_vars.values()) / side**2
    stored = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) / side**2
    row = Row(
        f"state on disk, {side}² px, after ten scenes",
        benchmark.stats.stats.max,
        f"{raw:.1f} B a pixel, {stored:.1f} B compressed",
        target="≤ 40 B (S-CCD 1,180 B)",
    )
    table.append(row)
