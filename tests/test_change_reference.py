"""Agreement with the R packages strucchange and bfast, number by number."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesniva.change.classical import bfast_regressors, monitor, reverse_cusum
from lesniva.change.critical import (
    cusum_critical_value,
    mosum_critical_value,
    reverse_cusum_critical_value,
    reverse_cusum_p_value,
)
from lesniva.errors import InputError

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
NO_DATA = "the reference data of ../shared/data is not here"


@pytest.fixture(scope="module")
def series():
    """Series (time, pixel), regressors, rows of history, pixel numbers, reference tables."""
    folder = DATA / "strucchange"
    if not folder.is_dir():
        pytest.skip(NO_DATA)
    y = pd.read_csv(folder / "y.csv")
    X = pd.read_csv(folder / "X.csv", header=None).to_numpy()
    n_history = int((folder / "nh.txt").read_text())
    pixels = [int(name[1:]) for name in y.columns]
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("summary", "process")}
    tables["reccusum"] = pd.read_csv(folder / "reccusum.csv")
    return y.to_numpy(), X, n_history, pixels, tables


@pytest.mark.parametrize("history", ["all", "ROC"])
@pytest.mark.parametrize(
    ("kind", "h"), [("OLS-CUSUM", 0.25), ("OLS-MOSUM", 0.25), ("OLS-MOSUM", 0.5), ("OLS-MOSUM", 1)]
)
def test_monitoring_is_that_of_strucchange_on_every_pixel(series, history, kind, h):
    y, X, n_history, pixels, tables = series
    process = "cusum" if kind == "OLS-CUSUM" else "mosum"
    found = monitor(y, X, n_history, process=process, history=history.lower(), h=h)
    wanted = tables["summary"].query("history == @history and type == @kind and h == @h")
    wanted = wanted.set_index("pixel").loc[pixels]
    beta = wanted[[f"b{k}" for k in range(5)]].to_numpy().T
    np.testing.assert_allclose(found.coefficients, beta, rtol=1e-9)
    np.testing.assert_allclose(found.sigma, wanted["sigma"], rtol=1e-9)
    np.testing.assert_allclose(found.magnitude, wanted["magnitude"], rtol=1e-9)
    np.testing.assert_array_equal(found.n_history, wanted["histsize"])
    np.testing.assert_array_equal(found.break_row, wanted["break_row0"].fillna(-1))
    if history == "ROC":
        np.testing.assert_array_equal(found.history_start, wanted["roc_start_row0"])

    steps = tables["process"].query("history == @history and type == @kind and h == @h")
    at = steps["row0"].to_numpy() - n_history, steps["pixel"].map(pixels.index).to_numpy()
    told = sorted(set(at[1]))  # of the trimmed histories R's steps are there for some pixels only
    assert np.isfinite(found.process[:, told]).sum() == len(steps)
    np.testing.assert_allclose(found.process[at], steps["process"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.border[at], steps["border"], rtol=1e-8)


def test_the_stable_history_starts_where_strucchange_says_on_every_pixel(series):
    y, X, n_history, pixels, tables = series
    for column, pixel in enumerate(pixels):
        found = reverse_cusum(y[:n_history, column], X[:n_history])
        wanted = tables["summary"][tables["summary"]["pixel"] == pixel].iloc[-1]
        steps = tables["reccusum"][tables["reccusum"]["pixel"] == pixel]
        assert found.start == wanted["roc_start_valid0"]
        # R updates the inverse of X'X by rank-one steps and keeps some 1e-9 of their rounding (the
        # test below shows which side is right); its λ comes from a coarser root search.
        np.testing.assert_allclose(found.residuals, steps["recresid"], rtol=0, atol=1e-8)
        np.testing.assert_allclose(found.process, steps["rec_process"], rtol=0, atol=2e-7)
        np.testing.assert_allclose(found.boundary, steps["rec_boundary"], rtol=2e-7)
        assert found.statistic == pytest.approx(wanted["roc_stat"], abs=1e-7)
        p_value = reverse_cusum_p_value(found.statistic)
        assert p_value == pytest.approx(wanted["roc_pvalue"], abs=1e-7)


def test_recursive_residuals_are_exact_to_double_precision(series):
    y, X, n_history, _, _ = series
    rows = np.flatnonzero(~np.isnan(y[:n_history, 0]))[::-1]
    found = reverse_cusum(y[:n_history, 0], X[:n_history]).residuals
    for i in (5, 7, 20):
        residual, variance = _recursive_residual(X[rows[: i + 1]], y[rows[: i + 1], 0])
        assert found[i - 5] == pytest.approx(float(residual) / float(variance) ** 0.5, rel=1e-12)


def _recursive_residual(X, y):
    """Prediction error of the last row from the rows before, and its factor, in rationals."""
    exact = [[Fraction(float(v)) for v in row] for row in X]
    values = [Fraction(float(v)) for v in y]
    before, last = exact[:-1], exact[-1]
    k = len(last)
    gram = [[sum(r[i] * r[j] for r in before) for j in range(k)] for i in range(k)]
    right = [sum(r[i] * v for r, v in zip(before, values, strict=False)) for i in range(k)]
    beta, pull = _solve(gram, right), _solve(gram, last)
    error = values[-1] - sum(a * b for a, b in zip(last, beta, strict=True))
    return error, 1 + sum(a * b for a, b in zip(last, pull, strict=True))


def _solve(A, b):
    rows = [[*row, value] for row, value in zip(A, b, strict=True)]
    n = len(rows)
    for i in range(n):
        swap = next(r for r in range(i, n) if rows[r][i] != 0)
        rows[i], rows[swap] = rows[swap], rows[i]
        for r in range(n):
            if r != i:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [u - factor * v for u, v in zip(rows[r], rows[i], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]


@pytest.mark.parametrize(
    ("name", "history", "order"),
    [
        ("romania10m_all_start2019_order1", "all", 1),
        ("romania10m_ROC_start2019_order3", "roc", 3),
    ],
)
def test_breakpoints_are_those_of_bfastmonitor_on_all_pixels(romania_ndvi, name, history, order):
    ndvi, time = romania_ndvi
    wanted = pd.read_csv(DATA / "bfastmonitor_r" / f"{name}.csv")
    decimal, X = bfast_regressors(time, order)
    found = monitor(ndvi, X, int((decimal < 2019).sum()), history=history)
    breaks = np.where(found.break_row >= 0, decimal[found.break_row], np.nan)
    np.testing.assert_allclose(breaks, wanted["breakpoint"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.n_history, wanted["n_history"])
    start = decimal[found.history_start]
    np.testing.assert_allclose(start, wanted["history_start"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sigma, wanted["sigma"], rtol=1e-6)
    # NDVI was handed to R with nine digits, and R returned ten.
    np.testing.assert_allclose(found.magnitude, wanted["magnitude"], rtol=0, atol=1e-4)
    largest = np.nanmax(np.abs(found.process), axis=0)
    np.testing.assert_allclose(largest, wanted["max_abs_process"], rtol=1e-4)


@pytest.fixture(scope="module")
def romania_ndvi():
    """NDVI (time, pixel) float64 of clear observations, and dates."""
    import rasterio

    folder = DATA / "romania_s2"
    if not folder.is_dir():
        pytest.skip(NO_DATA)
    values, time = [], []
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        bands = {}
        for name in ("red", "nir", "scl"):
            with rasterio.open(scene / f"{name}.tif") as file:
                bands[name] = file.read(1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            ndvi = (bands["nir"] - bands["red"]) / (bands["nir"] + bands["red"])
        ndvi[~np.isin(bands["scl"], (4, 5, 7))] = np.nan
        values.append(ndvi.ravel())
        day = scene.name[-8:]
        time.append(np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}"))
    return np.stack(values), np.array(time)


@pytest.mark.parametrize(
    ("level", "value"),
    [
        (0.001, 4.0331422),
        (0.005, 3.5830373),
        (0.01, 3.3682144),
        (0.02, 3.1364645),
        (0.025, 3.0575159),
        (0.03, 2.9912017),
        (0.04, 2.8829101),
        (0.05, 2.7954835),
        (0.10, 2.5002777),
    ],
)
def test_cusum_critical_values_solve_their_equation(level, value):
    assert cusum_critical_value(level) == pytest.approx(value, abs=3e-7)


@pytest.mark.parametrize(
    ("level", "value"), [(0.01, 1.1429735661), (0.05, 0.9478982340), (0.10, 0.8499238086)]
)
def test_reverse_cusum_critical_values_give_back_their_level(level, value):
    assert reverse_cusum_critical_value(level) == pytest.approx(value, abs=1e-9)
    assert reverse_cusum_p_value(reverse_cusum_critical_value(level)) == pytest.approx(level)


def test_a_small_statistic_has_the_linear_p_value():
    assert reverse_cusum_p_value(0.1) == pytest.approx(1 - 0.1464 * 0.1)


def test_mosum_critical_values_are_those_of_strucchange():
    path = DATA / "strucchange" / "mosum_crit.csv"
    if not path.is_file():
        pytest.skip(NO_DATA)
    table = pd.read_csv(path)
    for row in table.itertuples():
        value = mosum_critical_value(row.alpha, h=float(row.h), period=int(row.period))
        assert value == pytest.approx(row.max, abs=1e-12)


def test_an_untabulated_mosum_says_what_there_is():
    with pytest.raises(InputError, match=r"h=0\.3.*use h 0\.25, 0\.5 or 1"):
        mosum_critical_value(0.05, h=0.3)


def test_leap_days_are_taken_for_the_first_of_march():
    dates = np.array(["2016-02-28", "2016-02-29", "2016-03-01", "2016-12-31", "2017-01-01"])
    decimal, X = bfast_regressors(dates.astype("datetime64[D]"), 1)
    np.testing.assert_allclose((decimal - 2016) * 365, [58, 59, 59, 364, 365], atol=1e-9)
    np.testing.assert_array_equal(X[:, 1], [1, 2, 2, 307, 308])


def test_pixels_with_a_short_history_have_no_model():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(40, 2))
    y[:18, 1] = np.nan
    X = np.stack([np.ones(40), np.arange(40.0)], axis=1)
    found = monitor(y, X, 20)
    assert found.history_start.tolist() == [0, -1]
    assert np.isnan(found.sigma[1])
    assert np.isnan(found.process[:, 1]).all()


def test_wrong_requests_are_told_apart():
    y, X = np.zeros((10, 1)), np.ones((10, 1))
    with pytest.raises(InputError, match="n_history is 10 of 10 rows"):
        monitor(y, X, 10)
    with pytest.raises(InputError, match="process='ewma'"):
        monitor(y, X, 5, process="ewma")
    with pytest.raises(InputError, match="do not match"):
        monitor(y, np.ones((9, 1)), 5)
    with pytest.raises(InputError, match="2 observations for 1 coefficients; give 3"):
        reverse_cusum([1.0, np.nan, 2.0], np.ones((3, 1)))
