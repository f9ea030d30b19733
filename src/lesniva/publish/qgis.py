"""QGIS styles (QML): classes by name, dates by period, quantities by ramp, vectors by attribute.

QGIS takes ``x.qml`` beside ``x.tif`` by itself, and the rows of ``layer_styles`` inside a
GeoPackage. The files hold only what QGIS 3.16 and newer read; symbol properties stand twice, as
``prop`` (before 3.22) and as ``Option`` (since).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from lesniva.publish.cog import RasterStats, rgba
from lesniva.publish.fields import Language, field_titles
from lesniva.publish.layers import LAYERS, Layer
from lesniva.storage import write_text

QGIS_VERSION = "3.22.0"
"""The styles are written as this one would; 3.16 reads them too."""

TIME_COLOURS = ("#0d0887", "#7e03a8", "#cc4778", "#f89540", "#f0f921")
"""From the oldest to the newest date."""

YIELD_COLOURS = ("#ffffcc", "#c2e699", "#78c679", "#31a354", "#006837")

MONTHS: dict[Language, tuple[str, ...]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "ru": ("янв", "фев", "мар", "апр", "май", "июн", "июл", "авг", "сен", "окт", "ноя", "дек"),
}

DEKADS_UP_TO_DAYS = 122
"""Dates within four months are coloured by dekad, …"""

MONTHS_UP_TO_DAYS = 731
"""… within two years by month, otherwise by year."""


@dataclass(frozen=True)
class Category:
    """One value of an attribute and how features that have it are drawn."""

    value: str
    name_en: str
    name_ru: str
    colour: str


ALERT_STATUS = (
    Category("confirmed", "confirmed", "подтверждено", "#d7191c"),
    Category("low", "low confidence", "вероятно", "#fdae61"),
    Category("winter_early", "seen on snow", "по снегу", "#7b3294"),
)

ALERT_CAUSE = (
    Category("harvest", "harvest", "рубка", "#e41a1c"),
    Category("fire", "fire", "пожар", "#ff7f00"),
    Category("windthrow", "windthrow", "ветровал", "#377eb8"),
    Category("dieback", "dieback", "усыхание", "#a65628"),
    Category("thinning", "thinning", "прореживание", "#4daf4a"),
    Category("temporary", "temporary", "временное", "#80b1d3"),
    Category("unknown", "unknown", "не определена", "#999999"),
)

VERDICTS = (
    Category("confirmed", "confirmed", "подтверждено", "#1a9850"),
    Category("false", "false alert", "ложный сигнал", "#d73027"),
    Category("other_cause", "other cause", "иная причина", "#fee08b"),
)
"""What a reviewer may say of an alert."""


def write_style(tif: Path, layer: Layer, stats: RasterStats, *, language: Language = "ru") -> Path:
    """Write ``x.qml`` beside ``x.tif`` (not ``x.tif.qml``, which QGIS does not look for)."""
    path = tif.with_suffix(".qml")
    write_text(path, raster_style(layer, stats, language=language))
    return path


def raster_style(layer: Layer, stats: RasterStats, *, language: Language = "ru") -> str:
    """QML of a raster layer.

    Parameters
    ----------
    layer
        Its classes or its ramp.
    stats
        Of the raster; the periods of a date layer are chosen from them.
    language
        Of the legend.
    """
    root = _root("Symbology")
    pipe = ET.SubElement(root, "pipe")
    if layer.kind == "classes":
        _palette(pipe, layer, language)
    elif layer.kind == "dates":
        items = _periods(stats, language)
        _ramp(pipe, items, interpolated=False)
    else:
        unit = f" {layer.unit}" if layer.unit not in {"", "1"} else ""
        items = [(stop.value, f"{stop.value:g}{unit}", stop.colour) for stop in layer.ramp]
        _ramp(pipe, items, interpolated=True)
    ET.SubElement(root, "blendMode").text = "0"
    return _document(root)


def alerts_style(*, by: str = "status", language: Language = "ru") -> str:
    """QML of alert polygons, coloured by ``status`` or by ``cause``."""
    return _categories_style(by, {"status": ALERT_STATUS, "cause": ALERT_CAUSE}[by], language)


def zones_style(*, language: Language = "ru") -> str:
    """QML of productivity zones of fields, in the colours of their raster."""
    classes = LAYERS["productivity"].classes
    categories = [Category(str(c.value), c.name_en, c.name_ru, c.colour) for c in classes]
    return _categories_style("zone", categories, language, kind="integer")


def _categories_style(
    column: str, categories: Sequence[Category], language: Language, *, kind: str = "string"
) -> str:
    """QML of polygons coloured by the values of a column."""
    root = _root("Symbology|Fields|Forms")
    renderer = _renderer(root, "categorizedSymbol", attr=column)
    entries, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, category in enumerate(categories):
        ET.SubElement(
            entries,
            "category",
            render="true",
            value=category.value,
            type=kind,
            symbol=str(number),
            label=_name(category, language),
        )
        _fill(symbols, number, fill=f"{category.colour}66", line=category.colour, width=0.5)
    _fields(root, {}, language)
    return _document(root)


def districts_style(*, language: Language = "ru") -> str:
    """QML of district outlines, without a filling so that what lies below is seen."""
    root = _root("Symbology|Fields|Forms")
    renderer = _renderer(root, "singleSymbol")
    _fill(ET.SubElement(renderer, "symbols"), 0, fill="#00000000", line="#404040", width=0.4)
    _fields(root, {}, language)
    return _document(root)


def forecast_style(
    values: npt.ArrayLike, *, column: str = "yield_t_ha", language: Language = "ru"
) -> str:
    """QML of districts coloured by a number, in up to five classes of equal frequency.

    Parameters
    ----------
    values
        What the column holds (any shape, NaN = missing); the classes are chosen from it.
    column
        Name of the attribute.
    language
        Of the titles of the columns.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    edges: list[float] = []
    if numbers.size:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6)).round(2)).tolist()
    root = _root("Symbology|Fields|Forms")
    renderer = _renderer(root, "graduatedSymbol", attr=column, graduatedMethod="GraduatedColor")
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    pairs = list(pairwise(edges)) or [(edge, edge) for edge in edges]
    for number, (lower, upper) in enumerate(pairs):
        # Rounded edges must not leave the smallest and the largest value outside.
        first, last = number == 0, number == len(pairs) - 1
        ET.SubElement(
            ranges,
            "range",
            render="true",
            lower=f"{lower - 0.01 * first:.15f}",
            upper=f"{upper + 0.01 * last:.15f}",
            symbol=str(number),
            label=f"{lower:g} – {upper:g}",
        )
        colour = _between(YIELD_COLOURS, len(pairs))[number]
        _fill(symbols, number, fill=colour, line="#404040", width=0.26)
    _fields(root, {}, language)
    return _document(root)


def verdicts_style(*, language: Language = "ru") -> str:
    """QML of the verdict table: a form in which the verdict is chosen from a list."""
    root = _root("Fields|Forms")
    _fields(root, {"verdict": VERDICTS, "true_cause": ALERT_CAUSE}, language)
    return _document(root)


SAMPLE_REFERENCE = (
    Category("change", "change", "изменение", "#d7191c"),
    Category("stable", "no change", "без изменений", "#1a9850"),
    Category("unknown", "cannot tell", "не определить", "#969696"),
)
"""What an interpreter may say of a sample unit."""


def sample_style(*, language: Language = "ru") -> str:
    """QML of sample units to interpret: outlines, and a form with lists to choose from."""
    root = _root("Symbology|Fields|Forms")
    renderer = _renderer(root, "singleSymbol")
    _fill(ET.SubElement(renderer, "symbols"), 0, fill="#00000000", line="#ff00ff", width=0.6)
    _fields(root, {"reference": SAMPLE_REFERENCE, "cause": ALERT_CAUSE}, language)
    return _document(root)


def _root(categories: str) -> ET.Element:
    return ET.Element("qgis", version=QGIS_VERSION, styleCategories=categories)


def _document(root: ET.Element) -> str:
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n"


def _name(category: Category, language: Language) -> str:
    return category.name_ru if language == "ru" else category.name_en


def _solid(colour: str) -> str:
    red, green, blue, _ = rgba(colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _raster_renderer(pipe: ET.Element, kind: str) -> ET.Element:
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    return renderer


def _palette(pipe: ET.Element, layer: Layer, language: Language) -> None:
    palette = ET.SubElement(_raster_renderer(pipe, "paletted"), "colorPalette")
    for known in layer.classes:
        ET.SubElement(
            palette,
            "paletteEntry",
            value=str(int(known.value)),
            label=known.name_ru if language == "ru" else known.name_en,
            color=_solid(known.colour),
            alpha=str(rgba(known.colour)[3]),
        )


def _ramp(pipe: ET.Element, items: Sequence[tuple[float, str, str]], *, interpolated: bool) -> None:
    low, high = f"{items[0][0]:.15g}", f"{items[-1][0]:.15g}"
    renderer = _raster_renderer(pipe, "singlebandpseudocolor")
    renderer.attrib |= {"classificationMin": low, "classificationMax": high}
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED" if interpolated else "DISCRETE",
        classificationMode="1",
        clip="0",
        minimumValue=low,
        maximumValue=high,
    )
    for value, label, colour in items:
        ET.SubElement(
            shader,
            "item",
            value=f"{value:.15g}",
            label=label,
            color=_solid(colour),
            alpha=str(rgba(colour)[3]),
        )


def _periods(stats: RasterStats, language: Language) -> list[tuple[float, str, str]]:
    """Last YYYYMMDD, label and colour of each period; QGIS colours up to and with that number."""
    if stats.minimum is None or stats.maximum is None:
        return [(99991231, "–", TIME_COLOURS[-1])]
    first, last = stats.minimum, stats.maximum
    span = (_day(last) - _day(first)).days
    by_dekad, by_month = span <= DEKADS_UP_TO_DAYS, span <= MONTHS_UP_TO_DAYS
    # The 31st stands for the last day of any month: these are numbers, not dates.
    ends = [
        year * 10_000 + month * 100 + day
        for year in range(first // 10_000, last // 10_000 + 1)
        for month in (range(1, 13) if by_month else (12,))
        for day in ((10, 20, 31) if by_dekad else (31,))
    ]
    ends = [end for before, end in pairwise([0, *ends]) if end >= first and before < last]
    colours = _between(TIME_COLOURS, len(ends))
    return [
        (end, _period_label(end, by_dekad, by_month, language), colour)
        for end, colour in zip(ends, colours, strict=True)
    ]


def _day(number: int) -> dt.date:
    return dt.date(number // 10_000, number // 100 % 100, number % 100)


def _period_label(end: int, by_dekad: bool, by_month: bool, language: Language) -> str:
    year, month, day = end // 10_000, MONTHS[language][end // 100 % 100 - 1], end % 100
    if by_dekad:
        return f"{({10: '1–10', 20: '11–20', 31: '21–31'})[day]} {month} {year}"
    return f"{month} {year}" if by_month else str(year)


def _between(colours: Sequence[str], count: int) -> list[str]:
    """`count` colours from the first to the last of `colours`, at equal steps."""
    table = np.array([rgba(colour)[:3] for colour in colours], dtype=np.float64)
    at = np.linspace(0, len(colours) - 1, count)
    mixed = np.column_stack([np.interp(at, np.arange(len(colours)), part) for part in table.T])
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed.round().astype(int)]


def _renderer(root: ET.Element, kind: str, **attributes: str) -> ET.Element:
    fixed = {"type": kind, "symbollevels": "0", "enableorderby": "0"}
    return ET.SubElement(root, "renderer-v2", fixed | attributes)


def _fill(symbols: ET.Element, number: int, *, fill: str, line: str, width: float) -> None:
    symbol = ET.SubElement(
        symbols, "symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1"
    )
    layer = ET.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"}
    )
    properties = {
        "color": ",".join(map(str, rgba(fill))),
        "style": "solid",
        "outline_color": ",".join(map(str, rgba(line))),
        "outline_style": "solid",
        "outline_width": f"{width:g}",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    options = ET.SubElement(layer, "Option", type="Map")
    for key, value in properties.items():
        ET.SubElement(options, "Option", name=key, value=value, type="QString")
    for key, value in properties.items():
        ET.SubElement(layer, "prop", k=key, v=value)


def _fields(
    root: ET.Element, choices: Mapping[str, Sequence[Category]], language: Language
) -> None:
    """Titles of the columns, and lists to choose from where a column has one."""
    if choices:
        configuration = ET.SubElement(root, "fieldConfiguration")
        for column, categories in choices.items():
            field = ET.SubElement(configuration, "field", name=column)
            config = ET.SubElement(ET.SubElement(field, "editWidget", type="ValueMap"), "config")
            entries = ET.SubElement(
                ET.SubElement(config, "Option", type="Map"), "Option", name="map", type="List"
            )
            for category in categories:
                ET.SubElement(
                    ET.SubElement(entries, "Option", type="Map"),
                    "Option",
                    name=_name(category, language),
                    value=category.value,
                    type="QString",
                )
    aliases = ET.SubElement(root, "aliases")
    for column, title in field_titles(language).items():
        ET.SubElement(aliases, "alias", field=column, name=title)
