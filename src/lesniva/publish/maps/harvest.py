"""The forecast of each crop: map, districts with their intervals, error in past years."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from lesniva.publish.fields import Language
from lesniva.publish.maps import ground, page, words
from lesniva.publish.qgis import YIELD_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_FORECAST = "#d4d4d4"

OVERHANG = 3
"""Points by which a number may stand out of a district that is too small for it."""

SKILL = "#e3eefa"
FORECAST_COLOUR = "#08519c"
PLAIN_COLOUR = "#a9a9a9"

SMALL: dict[str, Any] = {"size": 7.5, "color": page.GREY}

Body = tuple[float, float]
"""Top and bottom of the charts of a crop, in inches from below."""

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
        districts have no CRS or no shape.
    EnvironmentFaultError
        The picture cannot be written.
    """
    needed = ("adm_id", f"name_{language}", "crop", "year", "cutoff", "yield_t_ha")
    ground.demand(forecast, "forecast", (*needed, "q10_t_ha", "q90_t_ha", "skill", "note"))
    ground.demand(districts, "districts", ("adm_id",))
    ground.demand(skill, "skill", ("crop", "forecaster", "nrmse"))
    known = pd.DataFrame(forecast.dropna(subset=["yield_t_ha"]))
    if known.empty:
        raise ValueError("a harvest map was asked for without a forecast; give at least one row")
    if known.duplicated(["adm_id", "crop"]).any():
        raise ValueError("the forecast has a district and crop twice; give one year and cut-off")
    shapes = ground.present(districts)
    if shapes.empty:
        raise ValueError("a harvest map was asked for without a shape; give one district its own")
    shapes = shapes.to_crs(ground.equal_area(shapes.geometry))
    crops = dict(list(known.sort_values(["yield_t_ha", "adm_id"]).groupby("crop")))
    crops = {crop: _with_colours(crops[crop]) for crop in known["crop"].unique()}
    heights = [max(4.1, 1.75 + 0.185 * len(rows)) for rows in crops.values()]
    top = sum(heights) + 0.45
    with page.sheet(path, top + 0.55, title, credit, language) as figure:
        for (crop, rows), height in zip(crops.items(), heights, strict=True):
            _write_heading(figure, top, rows, language)
            body, top = (top - 0.95, top - height + 0.6), top - height
            _draw_choropleth(figure, body, rows, shapes, language)
            _draw_intervals(figure, body, rows, language)
            _draw_errors(figure, body, skill[skill["crop"] == crop], language)


def _with_colours(rows: pd.DataFrame) -> pd.DataFrame:
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    yields = rows["yield_t_ha"]
    # Small differences should not fill the whole ramp: they would look like news.
    room = max(0.1 * yields.max(), yields.max() - yields.min()) or 1.0
    shares = 0.5 + (yields - (yields.min() + yields.max()) / 2) / room
    ramp = LinearSegmentedColormap.from_list("yields", list(YIELD_COLOURS))
    colours = ramp(shares.to_numpy())
    # Ink goes by the brightness of ITU-R BT.601.
    bright = colours[:, :3] @ (0.299, 0.587, 0.114) >= 0.5
    return rows.assign(
        colour=[to_hex(each) for each in colours], ink=np.where(bright, page.INK, "white")
    )


def _write_heading(figure: "Figure", top: float, rows: pd.DataFrame, language: Language) -> None:
    first, width = rows.iloc[0], page.RIGHT - page.MARGIN
    name = words.crop(str(first["crop"]), language)
    page.write(figure, page.MARGIN, top - 0.1, name, size=12, weight="bold")
    year = f"{words.say('harvest', language)} {first['year']}"
    until = f"{words.say('data_until', language)} {words.day(first['cutoff'], language)}"
    look: dict[str, Any] = {"size": 9, "color": page.GREY, "ha": "right"}
    page.write(figure, page.RIGHT, top - 0.1, f"{year}, {until}", **look)
    # Only a plain True is a claim; a missing value is none.
    claimed = all(claim is True or claim is np.True_ for claim in rows["skill"])
    colour = SKILL if claimed else page.WARNING
    page.box(figure, page.MARGIN, top - 0.7, width, 0.42, color=colour, linewidth=0)
    said = textwrap.fill(words.say("skill" if claimed else "no_skill", language), 122)
    page.write(figure, page.MARGIN + 0.09, top - 0.5, said, linespacing=1.3)


def _draw_choropleth(
    figure: "Figure",
    body: Body,
    rows: pd.DataFrame,
    shapes: gpd.GeoDataFrame,
    language: Language,
) -> None:
    (top, bottom), left = body, page.MARGIN
    page.write(figure, left, top + 0.06, words.say("yield", language), weight="bold")
    ax = ground.frame(figure, left, bottom, 3.0, top - bottom - 0.1, tuple(shapes.total_bounds))
    ax.set_axis_off()
    drawn = shapes[["adm_id", shapes.geometry.name]].merge(
        rows[["adm_id", "yield_t_ha", "colour", "ink"]], on="adm_id", how="left"
    )
    faces = drawn["colour"].fillna(NO_FORECAST)
    ground.fill(ax, drawn.geometry, facecolors=faces, edgecolors="#7a7a7a", linewidths=0.6)
    known = drawn.dropna(subset=["yield_t_ha"])
    taken: list[Any] = []
    for value, ink, room in zip(known["yield_t_ha"], known["ink"], known.geometry, strict=True):
        number = words.number(value, 1, language)
        look: dict[str, Any] = {"weight": "bold", "color": ink}
        placed = ground.write_inside(ax, number, room, size=8, taken=taken, **look)
        # A town is smaller than its number: a little may stand out over its neighbours.
        wider = shapely.buffer(room, OVERHANG * ground.point(ax))
        taken += placed or ground.write_inside(ax, number, wider, size=7.5, taken=taken, **look)
    if len(known) < len(drawn):
        y = bottom - 0.12
        page.write(figure, left, y, "\N{BLACK SQUARE}", color=NO_FORECAST)
        page.write(figure, left + 0.15, y, words.say("no_forecast", language), **SMALL)
    if "approximate" in shapes and shapes["approximate"].any():
        said = words.say("approximate", language)
        page.write(figure, left, bottom - 0.32, said, **SMALL)


def _draw_intervals(figure: "Figure", body: Body, rows: pd.DataFrame, language: Language) -> None:
    (top, bottom), left, places = body, 3.3, np.arange(len(rows))
    page.write(figure, left, top + 0.06, words.say("interval", language), weight="bold")
    ax = page.axes(figure, left + 1.1, bottom, 2.0, top - bottom - 0.1)
    ax.hlines(places, rows["q10_t_ha"], rows["q90_t_ha"], color="#8a8a8a", linewidth=2.2)
    look: dict[str, Any] = {"edgecolors": page.INK, "linewidths": 0.8, "zorder": 3}
    ax.scatter(rows["yield_t_ha"], places, s=38, c=rows["colour"], **look)
    marks, explained = _marks(rows["note"], language)
    names = rows[f"name_{language}"].map(words.short)
    ax.set_yticks(places, [name + mark for name, mark in zip(names, marks, strict=True)])
    room = max(len(rows), 4) / 2 + 0.2
    ax.set_ylim((len(rows) - 1) / 2 - room, (len(rows) - 1) / 2 + room)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e0e0e0", linewidth=0.6)
    page.write(figure, left, bottom - 0.32, explained, **SMALL)


def _marks(notes: Iterable[object], language: Language) -> tuple[list[str], str]:
    """Superscript numbers for each row by its notes, and what they mean."""
    signs: dict[str, int] = {}
    marks = []
    for note in notes:
        parts = note.split("; ") if isinstance(note, str) and note else []
        # What is said of skill stands above the map.
        parts = [part for part in parts if "skill" not in part]
        numbers = sorted(signs.setdefault(part, len(signs) + 1) for part in parts)
        marks.append("".join(f" {_superscript(number)}" for number in numbers))
    explained = [
        f"{_superscript(number)} {words.translated(part, language)}"
        for part, number in signs.items()
    ]
    return marks, "   ".join(explained)


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _draw_errors(figure: "Figure", body: Body, past: pd.DataFrame, language: Language) -> None:
    (top, bottom), left = body, 6.65
    page.write(figure, left, top + 0.06, words.say("errors", language), weight="bold")
    errors = past.set_index("forecaster")["nrmse"]
    shown = errors[[name for name in ("forecast", *PLAIN) if name in errors.index]]
    if shown.isna().all():
        page.write(figure, left, top - 0.2, words.say("no_past", language), color=page.GREY)
        return
    # The best on top; this forecast first among equals.
    shown = shown.sort_values(kind="stable")
    low = top - min(top - bottom - 0.1, 2.2) - 0.1
    ax = page.axes(figure, left + 1.05, low, 0.75, top - low - 0.1)
    colours = np.where(shown.index == "forecast", FORECAST_COLOUR, PLAIN_COLOUR)
    names = [words.say(name, language) for name in shown.index]
    bars = ax.barh(names, shown.fillna(0), color=colours)
    numbers = ["–" if np.isnan(each) else words.number(each, 1, language) for each in shown]
    ax.bar_label(bars, numbers, padding=3, size=8, annotation_clip=False)
    ax.invert_yaxis()
    ax.set(xticks=[], xlim=(0, shown.max()))
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if "n" in past and past["n"].notna().any():
        years = words.count(int(past["n"].max()), "district_years", language)
        page.write(figure, left, low - 0.12, f"{words.say('errors_of', language)} {years}", **SMALL)
