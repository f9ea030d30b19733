"""The forecast of each crop: map, districts with their intervals, error in past years."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva.publish.fields import Language
from lesniva.publish.maps.ground import add_map, equal_area
from lesniva.publish.maps.page import (
    GREY,
    INK,
    MARGIN,
    RIGHT,
    WARNING,
    add_axes,
    add_box,
    page,
    write,
)
from lesniva.publish.maps.shapes import approximate, demand, fill, present, simple, write_inside
from lesniva.publish.maps.words import count, crop_name, day, number, short_name, translated, word
from lesniva.publish.qgis import YIELD_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_FORECAST = "#d4d4d4"
SKILL = "#e3eefa"
FORECAST_COLOUR = "#08519c"
PLAIN_COLOUR = "#a9a9a9"

CHART = 3.3
"""Left edge of the names beside the intervals."""

ERRORS = 6.65
"""Left edge of the errors in past years."""

PLAIN = ("mean", "mean5", "last", "own_trend", "pooled_trend")
"""Forecasters that know past yields only."""


def harvest_map(
    path: Path,
    *,
    forecast: gpd.GeoDataFrame,
    districts: gpd.GeoDataFrame,
    skill: pd.DataFrame,
    title: str,
    credit: str,
    language: Language = "en",
) -> None:
    """Draw the forecast of each crop: map, districts with their intervals, error in past years.

    Parameters
    ----------
    path
        Final name, ``.png``.
    forecast
        One row a district and crop: ``adm_id, name_en, name_ru, crop, year, cutoff, yield_t_ha,
        q10_t_ha, q90_t_ha, skill, note``. A row without a yield counts as no forecast.
    districts
        Column ``adm_id``, ``approximate`` where known, and polygons in any CRS; those without a
        forecast are grey.
    skill
        Columns ``crop, forecaster, nrmse`` (%), and ``n`` where known: errors of the hindcast.
    title
        What is shown.
    credit
        Attribution, or the notice that the data is synthetic; stands at the bottom.
    language
        Of everything but title and credit; the notice of `conventions` is translated too.

    Raises
    ------
    ValueError
        There is no forecast at all, a district has two of one crop, a column is missing, or the
        districts have no CRS.
    EnvironmentFaultError
        The picture cannot be written.
    """
    needed = ("adm_id", f"name_{language}", "crop", "year", "cutoff", "yield_t_ha")
    demand(forecast, "forecast", (*needed, "q10_t_ha", "q90_t_ha", "skill", "note"))
    demand(districts, "districts", ("adm_id",))
    demand(skill, "skill", ("crop", "forecaster", "nrmse"))
    known = pd.DataFrame(forecast.dropna(subset=["yield_t_ha"]))
    if known.empty:
        raise ValueError("a harvest map was asked for without a forecast; give at least one row")
    if known.duplicated(["adm_id", "crop"]).any():
        raise ValueError("the forecast has a district and crop twice; give one year and cut-off")
    shapes = present(districts)
    shapes = shapes.to_crs(equal_area(shapes.geometry))
    crops = {
        crop: rows.sort_values(["yield_t_ha", "adm_id"])
        for crop, rows in known.groupby("crop", sort=False)
    }
    heights = [max(4.1, 1.75 + 0.185 * len(rows)) for rows in crops.values()]
    with page(path, sum(heights) + 1.0, title, credit, language) as figure:
        top = sum(heights) + 0.45
        for (crop, rows), height in zip(crops.items(), heights, strict=True):
            _write_heading(figure, top, rows, language)
            body, bottom = top - 0.95, top - height + 0.6
            coloured = _with_colours(rows)
            _draw_choropleth(figure, body, bottom, coloured, shapes, language)
            _draw_intervals(figure, body, bottom, coloured, language)
            _draw_errors(figure, body, bottom, skill[skill["crop"] == crop], language)
            top -= height


def _write_heading(figure: "Figure", top: float, rows: pd.DataFrame, language: Language) -> None:
    first = rows.iloc[0]
    name = crop_name(str(first["crop"]), language)
    write(figure, MARGIN, top - 0.1, name, size=12, weight="bold")
    said = (
        f"{word('harvest', language)} {first['year']}, "
        f"{word('data_until', language)} {day(first['cutoff'], language)}"
    )
    write(figure, RIGHT, top - 0.1, said, size=9, color=GREY, ha="right")
    # Only a plain True is a claim; a missing value is none.
    claimed = bool(rows["skill"].eq(True).fillna(False).all())
    colour = SKILL if claimed else WARNING
    add_box(figure, MARGIN, top - 0.7, RIGHT - MARGIN, 0.42, color=colour, linewidth=0)
    words = textwrap.fill(word("skill" if claimed else "no_skill", language), 122)
    write(figure, MARGIN + 0.09, top - 0.5, words, linespacing=1.3)


def _with_colours(rows: pd.DataFrame) -> pd.DataFrame:
    from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex

    lowest, highest = rows["yield_t_ha"].min(), rows["yield_t_ha"].max()
    # Small differences should not fill the whole ramp: they would look like news.
    room = max(0.1 * highest, highest - lowest)
    middle = (lowest + highest) / 2
    scale = Normalize(middle - room / 2, middle + room / 2)
    ramp = LinearSegmentedColormap.from_list("yields", list(YIELD_COLOURS))
    return rows.assign(colour=[to_hex(each) for each in ramp(scale(rows["yield_t_ha"].to_numpy()))])


def _draw_choropleth(
    figure: "Figure",
    top: float,
    bottom: float,
    rows: pd.DataFrame,
    shapes: gpd.GeoDataFrame,
    language: Language,
) -> None:
    write(figure, MARGIN, top + 0.06, word("yield", language), weight="bold")
    west, south, east, north = shapes.total_bounds
    ax = add_map(figure, MARGIN, bottom, 3.0, top - bottom - 0.08, (west, south, east, north))
    ax.set_axis_off()
    colours = dict(zip(rows["adm_id"], rows["colour"], strict=True))
    faces = [colours.get(adm_id, NO_FORECAST) for adm_id in shapes["adm_id"]]
    lines = list(simple(ax, shapes.geometry))
    fill(ax, lines, facecolors=faces, edgecolors="#7a7a7a", linewidths=0.6)
    numbers = shapes[["adm_id", "geometry"]].merge(rows[["adm_id", "yield_t_ha", "colour"]])
    for row in numbers.itertuples():
        words = number(row.yield_t_ha, 1, language)
        ink = _ink_on(row.colour)
        write_inside(ax, words, row.geometry, size=8, weight="bold", color=ink)
    small = {"size": 7.5, "color": GREY}
    if approximate(shapes):
        write(figure, MARGIN, bottom - 0.32, word("approximate", language), **small)
    if len(numbers) < len(shapes):
        write(figure, MARGIN, bottom - 0.12, "\N{BLACK SQUARE}", color=NO_FORECAST)
        write(figure, MARGIN + 0.15, bottom - 0.12, word("no_forecast", language), **small)


def _ink_on(colour: str) -> str:
    from matplotlib.colors import to_rgb

    # Brightness of ITU-R BT.601.
    return "white" if np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) < 0.5 else INK


def _draw_intervals(
    figure: "Figure", top: float, bottom: float, rows: pd.DataFrame, language: Language
) -> None:
    write(figure, CHART, top + 0.06, word("interval", language), weight="bold")
    ax = add_axes(figure, 4.4, bottom, 2.0, top - bottom - 0.1)
    places = np.arange(len(rows))
    ax.hlines(places, rows["q10_t_ha"], rows["q90_t_ha"], color="#8a8a8a", linewidth=2.2)
    look = {"c": list(rows["colour"]), "edgecolors": INK, "linewidths": 0.8, "zorder": 3}
    ax.scatter(rows["yield_t_ha"], places, s=38, **look)
    marks, explained = _marks(rows["note"], language)
    names = rows[f"name_{language}"].map(short_name)
    ax.set_yticks(places, [name + mark for name, mark in zip(names, marks, strict=True)])
    room = max(len(rows), 4) / 2 + 0.2
    ax.set_ylim((len(rows) - 1) / 2 - room, (len(rows) - 1) / 2 + room)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e0e0e0", linewidth=0.6)
    write(figure, CHART, bottom - 0.32, explained, size=7.5, color=GREY)


def _marks(notes: pd.Series, language: Language) -> tuple[list[str], str]:
    """Asterisks for each row by its notes, and what they mean."""
    signs: dict[str, str] = {}
    marks = []
    for note in notes:
        parts = note.split("; ") if isinstance(note, str) and note else []
        # What is said of skill stands above the map.
        parts = [part for part in parts if "skill" not in part]
        marks.append("".join(signs.setdefault(part, "*" * (len(signs) + 1)) for part in parts))
    explained = [f"{sign} {translated(part, language)}" for part, sign in signs.items()]
    return marks, "   ".join(explained)


def _draw_errors(
    figure: "Figure", top: float, bottom: float, past: pd.DataFrame, language: Language
) -> None:
    write(figure, ERRORS, top + 0.06, word("errors", language), weight="bold")
    errors = past.set_index("forecaster")["nrmse"]
    shown = errors[[name for name in ("forecast", *PLAIN) if name in errors.index]]
    if shown.isna().all():
        write(figure, ERRORS, top - 0.2, word("no_past", language), color=GREY)
        return
    # The best on top; this forecast first among equals.
    shown = shown.sort_values(kind="stable")
    low = max(bottom, top - 2.3)
    ax = add_axes(figure, 7.7, low, 0.75, top - low - 0.1)
    places = np.arange(len(shown))[::-1]
    ours = shown.index == "forecast"
    ax.barh(places, shown.fillna(0), color=np.where(ours, FORECAST_COLOUR, PLAIN_COLOUR))
    for place, value, mine in zip(places, shown, ours, strict=True):
        known = bool(np.isfinite(value))
        words = f" {number(value, 1, language) if known else '–'}"
        weight = "bold" if mine else "normal"
        ax.text(value if known else 0, place, words, va="center", size=8, weight=weight)
    ax.set_yticks(places, [word(str(name), language) for name in shown.index])
    ax.set(xticks=[], xlim=(0, shown.max()))
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if "n" in past and past["n"].notna().any():
        years = count(int(past["n"].max()), "district_years", language)
        words = f"{word('errors_of', language)} {years}"
        write(figure, ERRORS, low - 0.12, words, size=7.5, color=GREY)
