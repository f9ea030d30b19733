"""Alerts on the map of an area, with their hectares by month and the largest of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from lesniva.publish.fields import Language
from lesniva.publish.maps import ground, page, words
from lesniva.publish.qgis import MONTHS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAP_WIDTH = 6.35

BOTTOM = 0.68
"""Of the map; under it are scale and credit."""

COLUMN = page.MARGIN + MAP_WIDTH + 0.25
"""Left edge of what stands beside the map."""

ALERT_COLOURS = ("#fde24c", "#f98e2b", "#d8455c", "#8f1d8f", "#1f0c6e")
"""From the oldest to the newest alert; lightness falls all the way, which survives any kind of
colour vision and a grey print."""

MAX_PERIODS = 6
"""Colours that can still be told apart."""

PERIOD_MONTHS = (1, 3, 6, 12, 24, 60, 120)

MAX_BARS = 36
"""Months that fit into the chart; longer times are counted by year."""

SMALLEST_ALERT = 4.5
"""Points across below which an alert is drawn as a dot of that size."""

CROWD = 1500
"""Alerts from which on dots are drawn `CROWDED` times as large, or they would hide each other."""

CROWDED = 0.7

ILL = "#00a0e0"
"""Rim of the alerts that the health channel tells of; those too small for it are diamonds."""

LARGEST = 5
"""Alerts that are numbered and listed."""


def forest_map(
    path: Path,
    *,
    ndvi: Path | Sequence[Path],
    alerts: gpd.GeoDataFrame,
    districts: gpd.GeoDataFrame,
    title: str,
    credit: str,
    index: str = "NDVI",
    language: Language = "en",
) -> None:
    """Draw the alerts of an area over its NDVI, with their hectares by month.

    Parameters
    ----------
    path
        Final name, ``.png``.
    ndvi
        Published NDVI raster(s), number × scale + offset; several for an area of several zones,
        which are then drawn in one equal-area projection. The day in ``TIFFTAG_DATETIME`` of the
        first is named as the day until which the alerts are known.
    alerts
        Columns ``status, date_max`` (first anomaly), ``area_ha`` and ``district_en`` or
        ``district_ru`` by the language, and ``channel`` where there is more than removal; polygons
        in any CRS. May have no rows.
    districts
        Columns ``name_en, name_ru``, and ``approximate`` where known, of which the picture then
        tells; the outside of all of them is faded.
    title
        What is shown.
    credit
        Attribution, or the notice that the data is synthetic; stands at the bottom.
    index
        What the rasters hold, where there is no NDVI.
    language
        Of everything but title and credit; the notice of `conventions` is translated too.

    Raises
    ------
    ValueError
        No raster was given, a column is missing, a frame has no CRS, or an alert has no date,
        area or shape.
    InputError
        A raster cannot be read or has no CRS.
    EnvironmentFaultError
        The picture cannot be written.
    """
    ground.demand(alerts, "alerts", ("status", "date_max", "area_ha", f"district_{language}"))
    ground.demand(districts, "districts", (f"name_{language}",))
    # What was left out would be missing from the sums, too, and nobody would know.
    unfit = alerts["date_max"].isna() | alerts["area_ha"].isna() | alerts.geometry.isna()
    if unfit.any():
        raise ValueError(f"{unfit.sum()} alerts lack date, area or shape; complete or drop them")
    pieces = [ground.read(each) for each in ([ndvi] if isinstance(ndvi, Path) else ndvi)]
    if not pieces:
        raise ValueError("a forest map was asked for without NDVI; give at least one raster")
    crs = ground.projection(pieces)
    shapes = ground.present(districts).to_crs(crs)
    found = _with_looks(alerts.to_crs(crs), language)
    wanted = west, south, east, north = ground.extent(pieces, crs, shapes, found)
    high = float(np.clip(MAP_WIDTH * (north - south) / (east - west), 6.0, 8.0))
    with page.sheet(path, high + 1.55, title, credit, language) as figure:
        said = _summary(found, pieces[0].when, language)
        if "approximate" in districts and districts["approximate"].any():
            said += [words.say("approximate", language)]
        page.line(figure, page.MARGIN, high + 0.92, " · ".join(said), size=9.5, color=page.GREY)
        ax = ground.frame(figure, page.MARGIN, BOTTOM, MAP_WIDTH, high, wanted)
        image = ground.draw(ax, pieces, crs)
        ground.outlines(ax, shapes)
        _draw_alerts(ax, found)
        ground.scale(ax, words.say("km", language))
        _name_districts(ax, shapes, found, _number_largest(ax, found), language)
        y = _draw_legend(figure, found, image, index, BOTTOM + high, language)
        if len(found):
            _draw_bars(figure, found, y - 0.3, language)
            _list_largest(figure, found, y - 2.2, language)


def _with_looks(alerts: gpd.GeoDataFrame, language: Language) -> gpd.GeoDataFrame:
    """Add what the drawing goes by, oldest first and confirmed last.

    That is ``sure``, ``ill`` (told by the health channel), ``month`` (counted from year 0),
    ``period``, its ``label`` and ``colour``, and ``face, edge, rim``: a confirmed alert is filled,
    another is open, and one of the health channel has a rim of its own colour.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    date = pd.to_datetime(alerts["date_max"])
    month = date.dt.year * 12 + date.dt.month - 1
    fitting = (step for step in PERIOD_MONTHS if (month // step).nunique() <= MAX_PERIODS)
    step = next(fitting, PERIOD_MONTHS[-1])
    period = month // step
    each = sorted(period.unique())
    # A single colour is the last, which is seen best.
    steps = np.linspace(0 if len(each) > 1 else 1, 1, len(each))
    ramp = LinearSegmentedColormap.from_list("alerts", list(ALERT_COLOURS))
    colour = period.map(dict(zip(each, map(to_hex, ramp(steps)), strict=True)))
    sure = alerts["status"] == "confirmed"
    ill = alerts["channel"] == "health" if "channel" in alerts else sure & False
    found = alerts.assign(
        sure=sure,
        ill=ill,
        month=month,
        period=period,
        label=period.map({one: _period_label(one * step, step, language) for one in each}),
        colour=colour,
        face=colour.where(sure, "white"),
        edge=colour.mask(sure, page.INK).mask(ill, ILL),
        rim=np.where(sure & ~ill, 0.7, 1.5),
    )
    return found.sort_values(["sure", "date_max", "area_ha"], ignore_index=True)


def _period_label(month: int, step: int, language: Language) -> str:
    year, names, last = month // 12, MONTHS[language], month + step - 1
    if step >= 12:
        return str(year) if step == 12 else f"{year}–{last // 12}"
    if step == 1:
        return f"{names[month % 12]} {year}"
    return f"{names[month % 12]}–{names[last % 12]} {year}"


def _summary(found: gpd.GeoDataFrame, when: str, language: Language) -> list[str]:
    until = [f"{words.say('data_until', language)} {words.day(when, language)}"] if when else []
    if found.empty:
        return [words.say("no_alerts", language), *until]
    sure = found[found["sure"]]
    all_ha, sure_ha = (words.hectares(part["area_ha"].sum(), 0, language) for part in (found, sure))
    confirmed = words.say("confirmed", language)
    return [
        f"{words.count(len(found), 'alerts', language)}, {all_ha}",
        f"{confirmed}: {words.number(len(sure), 0, language)}, {sure_ha}",
        *until,
    ]


def _draw_alerts(ax: "Axes", found: gpd.GeoDataFrame) -> None:
    """Draw alerts by their shape; what is too small becomes a dot."""
    size = SMALLEST_ALERT * (CROWDED if len(found) >= CROWD else 1)
    small = np.sqrt(found.area) < size * ground.point(ax)
    large, dots = found[~small], found[small]
    ground.fill(ax, large.geometry, facecolors="none", edgecolors="white", linewidths=2.6)
    look: dict[str, Any] = {
        "facecolors": large["face"],
        "edgecolors": large["edge"],
        "linewidths": large["rim"],
    }
    ground.fill(ax, large.geometry, **look)
    for ill, marker in ((False, "o"), (True, "D")):
        those = dots[dots["ill"] == ill]
        places = those.centroid
        look = {"c": those["face"], "edgecolors": those["edge"], "linewidths": 0.75 * those["rim"]}
        ax.scatter(places.x, places.y, s=size**2, marker=marker, **look)


def _largest(found: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return found.sort_values("area_ha", ascending=False, kind="stable").head(LARGEST)


def _number_largest(ax: "Axes", found: gpd.GeoDataFrame) -> list[shapely.Polygon]:
    """Write numbers beside the largest alerts, inside the frame; give their boxes."""
    look: dict[str, Any] = {"size": 10, "weight": "bold", "path_effects": ground.halo()}
    gap = ground.point(ax)
    corners = _largest(found).bounds[["maxx", "maxy"]].to_numpy() + gap * np.array([3, 1])
    corners = np.minimum(corners, np.array(ground.view(ax))[2:] - gap * np.array([20, 12]))
    return [
        ground.text_box(ax, ax.text(x, y, str(rank), **look))
        for rank, (x, y) in enumerate(corners, start=1)
    ]


def _name_districts(
    ax: "Axes",
    districts: gpd.GeoDataFrame,
    found: gpd.GeoDataFrame,
    taken: list[shapely.Polygon],
    language: Language,
) -> None:
    look = {"size": 9, "style": "italic", "color": "#303030", "path_effects": ground.halo()}
    seen = shapely.box(*ground.view(ax)).buffer(-5 * ground.point(ax))
    rooms = districts.make_valid().intersection(seen)
    for name, room in zip(districts[f"name_{language}"].map(words.short), rooms, strict=True):
        taken += ground.write_inside(ax, name, room, alerts=found.geometry, taken=taken, **look)


def _draw_legend(
    figure: "Figure",
    found: gpd.GeoDataFrame,
    image: "AxesImage",
    index: str,
    y: float,
    language: Language,
) -> float:
    """Explain colours and shapes below `y`; give the height where that ends."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    sums = found.groupby(["period", "label", "colour"])["area_ha"].sum()
    handles: list[Any] = [
        Patch(fc=colour, ec=page.INK, lw=0.7, label=f"{label}: {words.hectares(ha, 0, language)}")
        for (_, label, colour), ha in sums.items()
    ]
    if handles:
        dot: dict[str, Any] = {
            "marker": "o",
            "mec": page.INK,
            "mew": 0.5,
            "ms": SMALLEST_ALERT,
            "lw": 0,
        }
        handles += [
            Patch(fc="#b0b0b0", ec=page.INK, lw=0.7, label=words.say("confirmed", language)),
            Patch(fc="white", ec="#707070", lw=1.5, label=words.say("unconfirmed", language)),
            Line2D([], [], color="#b0b0b0", label=words.say("dot", language), **dot),
        ]
    if found["ill"].any():
        handles += [Patch(fc="#b0b0b0", ec=ILL, lw=1.5, label=words.say("ill", language))]
    handles += [
        Patch(
            fc="white",
            ec="#c0c0c0",
            lw=0.7,
            label=words.say("no_index", language).format(index=index),
        )
    ]
    legend = figure.legend(
        handles=handles,
        title=words.say("first_anomaly" if len(found) else "no_alerts", language),
        title_fontproperties={"weight": "bold", "size": 8.5},
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(COLUMN, y),
        bbox_transform=figure.dpi_scale_trans,
        borderpad=0,
        borderaxespad=0,
        frameon=False,
        labelspacing=0.7,
    )
    y = legend.get_window_extent().y0 / page.DPI - 0.25
    page.write(
        figure, COLUMN, y, words.say("background", language).format(index=index), weight="bold"
    )
    scale = page.axes(figure, COLUMN, y - 0.25, page.RIGHT - COLUMN, 0.12)
    bar = figure.colorbar(image, scale, orientation="horizontal", extendfrac="auto")
    classes = np.linspace(*ground.GROUND_RANGE, len(ground.GROUND) - 1)
    bar.set_ticks(list(classes), labels=[words.number(each, 1, language) for each in classes])
    bar.outline.set_linewidth(0)
    return y - 0.45


def _draw_bars(figure: "Figure", found: gpd.GeoDataFrame, y: float, language: Language) -> None:
    """Draw hectares by month (by year where that is too long) in the colours of the map."""
    span = int(found["month"].max() - found["month"].min())
    step = 1 if span < MAX_BARS else 12
    heading = words.say("by_month" if step == 1 else "by_year", language)
    page.write(figure, COLUMN, y, heading, weight="bold")
    ax = page.axes(figure, COLUMN + 0.28, y - 1.35, page.RIGHT - COLUMN - 0.3, 1.2)
    keys = ["bar", "open", "face", "edge", "rim"]
    bars = found.assign(bar=found["month"] // step, open=~found["sure"])
    bars = bars.groupby(keys, as_index=False)["area_ha"].sum()
    below = bars.groupby("bar")["area_ha"].cumsum() - bars["area_ha"]
    look = {"color": bars["face"], "edgecolor": bars["edge"], "linewidth": 0.6 * bars["rim"]}
    ax.bar(bars["bar"], bars["area_ha"], bottom=below, **look)
    first, last = bars["bar"].min(), max(bars["bar"].max(), bars["bar"].min() + 5)
    ax.set_xlim(first - 0.8, last + 0.8)
    every = math.ceil(span / 60) if step == 12 else 3 if span < MAX_BARS / 2 else 6
    ticks = range(first + -first % every, last + 1, every)
    labels = [str(tick) if step == 12 else MONTHS[language][tick % 12] for tick in ticks]
    if step == 1:
        # The year stands under the first month and under each January.
        for place, tick in enumerate(ticks):
            labels[place] += f"\n{tick // 12}" if place == 0 or tick % 12 == 0 else ""
    ax.set_xticks(ticks, labels)
    ax.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    ax.locator_params(axis="y", nbins=4)


def _list_largest(figure: "Figure", found: gpd.GeoDataFrame, y: float, language: Language) -> None:
    page.write(figure, COLUMN, y, words.say("largest", language), weight="bold")
    for rank, row in enumerate(_largest(found).itertuples(), start=1):
        y -= 0.2
        page.write(figure, COLUMN, y, str(rank), weight="bold")
        page.write(figure, COLUMN + 0.17, y, words.hectares(row.area_ha, 1, language))
        page.write(figure, COLUMN + 0.82, y, words.short(getattr(row, f"district_{language}")))
        look = {"facecolor": row.face, "edgecolor": row.edge, "linewidth": row.rim}
        page.box(figure, page.RIGHT - 0.22, y - 0.06, 0.2, 0.12, **look)
