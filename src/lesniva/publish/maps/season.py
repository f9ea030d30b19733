"""A crop through the season: error by day of issue, past years, this year's interval."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lesniva.publish.fields import Language
from lesniva.publish.maps import ground, page, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 4.1
FORECAST_COLOUR = "#08519c"
PLAIN_COLOUR = "#8a8a8a"
NULL_COLOUR = "#f2d7b6"
WIDE, NARROW = "#deebf7", "#9ecae1"

CHART = (1.05, 2.15)
"""Bottom and height of the charts, inches."""


def season_chart(
    path: Path,
    *,
    crop: str,
    cutoff: str,
    skill: pd.DataFrame,
    claims: pd.DataFrame,
    hindcast: pd.DataFrame,
    total: pd.DataFrame,
    title: str,
    credit: str,
    language: Language = "en",
) -> None:
    """Draw one crop through the season.

    Left: error of past years by the day of issue, beside the plain forecast and the range of the
    year-permuted null; a full dot where skill is claimed. Middle: past years on the day `cutoff`.
    Right: this year's forecast of the whole area with its 80 and 90 % intervals, day by day.

    Parameters
    ----------
    path
        Final name, ``.png``.
    crop
        Its name in the statistics.
    cutoff
        Day ``MM-DD`` of the middle chart.
    skill
        Columns ``cutoff`` (``MM-DD``), ``forecaster``, ``nrmse`` (%).
    claims
        Columns ``cutoff, skill, null_nrmse_low, null_nrmse_high`` (%).
    hindcast
        Columns ``cutoff`` (date), ``year, observed_t_ha, yield_t_ha, q10_t_ha, q90_t_ha``.
    total
        Columns ``cutoff`` (date), ``yield_t_ha`` and its quantiles; empty without a forecast.
    title, credit
        Above and below.
    language
        Of the words.

    Raises
    ------
    ValueError
        Columns are missing.
    """
    ground.demand(skill, "skill", ["cutoff", "forecaster", "nrmse"])
    ground.demand(claims, "claims", ["cutoff", "skill", "null_nrmse_low", "null_nrmse_high"])
    wanted = ["cutoff", "year", "observed_t_ha", "yield_t_ha", "q10_t_ha", "q90_t_ha"]
    ground.demand(hindcast, "hindcast", wanted)
    heading = f"{title}, {words.crop(crop, language)}"
    with page.sheet(path, HEIGHT, heading, credit, language) as figure:
        _draw_errors(_chart(figure, 0.55, "season_errors", language), skill, claims, language)
        days = pd.to_datetime(hindcast["cutoff"]).dt.strftime("%m-%d")
        past = hindcast[days == cutoff]
        _draw_past(_chart(figure, 3.55, "season_past", language), past, language)
        _draw_fan(_chart(figure, 6.55, "season_fan", language), total, language)


def _chart(figure: "Figure", left: float, heading: str, language: Language) -> "Axes":
    bottom, height = CHART
    page.write(
        figure, left - 0.35, bottom + height + 0.18, words.say(heading, language), weight="bold"
    )
    return page.axes(figure, left, bottom, 2.2, height)


def _draw_errors(ax: "Axes", skill: pd.DataFrame, claims: pd.DataFrame, language: Language) -> None:
    error = skill.pivot_table(index="cutoff", columns="forecaster", values="nrmse").sort_index()
    claims = claims.set_index("cutoff").reindex(error.index)
    places = np.arange(len(error))
    null = claims[["null_nrmse_low", "null_nrmse_high"]].to_numpy(dtype=np.float64)
    if np.isfinite(null).all(axis=1).any():
        said = words.say("null", language)
        ax.fill_between(places, null[:, 0], null[:, 1], color=NULL_COLOUR, lw=0, label=said)
    plain = words.say("plain", language)
    ax.plot(places, error["plain"], color=PLAIN_COLOUR, lw=1.4, ls="--", label=plain)
    said = words.say("forecast", language)
    ax.plot(places, error["forecast"], color=FORECAST_COLOUR, lw=1.8, label=said)
    faces = [
        FORECAST_COLOUR if claim is True or claim == 1 else "white" for claim in claims["skill"]
    ]
    look: dict[str, Any] = {"edgecolors": FORECAST_COLOUR, "zorder": 3, "s": 26}
    ax.scatter(places, error["forecast"], c=faces, **look)
    labels = [_day(str(day), language) for day in error.index]
    step = max(1, -(-len(places) // 6))
    ax.set_xticks(places[::step], labels[::step])
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    ax.legend(fontsize=7, frameon=False, loc="lower left", handlelength=1.4, borderpad=0)
    _note(ax, words.say("season_dot", language))


def _draw_past(ax: "Axes", past: pd.DataFrame, language: Language) -> None:
    known = past.dropna(subset=["observed_t_ha", "yield_t_ha"])
    if known.empty:
        _nothing(ax, words.say("no_past", language))
        return
    years = sorted(known["year"].unique())
    shades = np.linspace(0.25, 0.85, len(years))
    from matplotlib import colormaps

    for year, shade in zip(years, shades, strict=True):
        rows = known[known["year"] == year]
        colour = colormaps["viridis"](shade)
        low, high = rows["yield_t_ha"] - rows["q10_t_ha"], rows["q90_t_ha"] - rows["yield_t_ha"]
        ax.errorbar(
            rows["observed_t_ha"], rows["yield_t_ha"], yerr=np.maximum([low, high], 0), fmt="o",
            ms=3, lw=0.4, alpha=0.6, color=colour, label=str(year),
        )  # fmt: skip
    ends = known[["observed_t_ha", "yield_t_ha"]].to_numpy()
    line = [float(ends.min()), float(ends.max())]
    ax.plot(line, line, color=page.GREY, lw=0.8)
    ax.grid(color="#e0e0e0", linewidth=0.6)
    ax.legend(fontsize=6.5, frameon=False, loc="best", handletextpad=0.1, borderpad=0)
    _note(ax, words.say("season_axes", language))


def _draw_fan(ax: "Axes", total: pd.DataFrame, language: Language) -> None:
    if total.empty:
        _nothing(ax, words.say("no_forecast", language))
        return
    rows = total.assign(day=pd.to_datetime(total["cutoff"])).sort_values("day")
    places = np.arange(len(rows))
    if len(rows) == 1:
        # one day is a bar, not a band
        rows, places = pd.concat([rows, rows]), np.array([-0.2, 0.2])
    for low, high, colour, share in (("q05", "q95", WIDE, 90), ("q10", "q90", NARROW, 80)):
        ax.fill_between(
            places,
            rows[f"{low}_t_ha"],
            rows[f"{high}_t_ha"],
            color=colour,
            lw=0,
            label=f"{share} %",
        )
    ax.plot(places, rows["yield_t_ha"], color=FORECAST_COLOUR, lw=1.8, marker="o", ms=4)
    step = max(1, -(-len(places) // 6))
    labels = [_day(day.strftime("%m-%d"), language) for day in rows["day"]]
    ax.set_xticks(places[::step], labels[::step])
    ax.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    ax.legend(fontsize=7, frameon=False, loc="best", borderpad=0)
    _note(ax, words.say("season_total", language))


def _nothing(ax: "Axes", said: str) -> None:
    ax.set_axis_off()
    ax.text(0.0, 0.9, said, transform=ax.transAxes, color=page.GREY)


def _note(ax: "Axes", said: str) -> None:
    ax.text(-0.16, -0.2, said, transform=ax.transAxes, size=7, color=page.GREY, va="top")


def _day(day: str, language: Language) -> str:
    """Return ``06-30`` as "30 Jun" or "30.06"."""
    if language == "ru":
        return f"{day[3:]}.{day[:2]}"
    return dt.date.fromisoformat(f"2001-{day}").strftime("%-d %b")
