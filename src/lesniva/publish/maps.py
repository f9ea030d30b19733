"""Pictures of the results, for people who look at maps and charts before tables.

Drawn with matplotlib's objects and its Agg renderer: no window, no global figure, fonts that come
with matplotlib (Cyrillic included), and the same bytes for the same results. Sizes are inches on
the page; at README width (900 px) the smallest type has ten pixels.
"""

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import rasterio
import rasterio.transform
import rasterio.warp
import rasterio.windows
import shapely
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.errors import InputError
from lesniva.publish.fields import Language
from lesniva.publish.qgis import MONTHS, YIELD_COLOURS
from lesniva.storage import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

Bounds = tuple[float, float, float, float]
"""West, south, east, north, in the units of the map."""

READ_SIDE = 1600
"""Most pixels a side that are read of one raster; its overviews make this quick for an oblast."""

BACKGROUND_SIDE = 640
"""Most cells a side of the drawn background: as fine as the picture shows at README width, and
coarse enough that even pure noise stays within the size of a picture one can send."""

WIDTH = 9.0
"""Of every page."""

DPI = 150

MOST_BYTES = 400_000
"""Of a picture, so that it can be mailed and kept in a repository."""

PALETTES = (256, 64, 32)
"""Numbers of colours that are tried until a picture is small enough."""

MARGIN = 0.2

INK = "#1a1a1a"
GREY = "#6b6b6b"
NO_FORECAST = "#d4d4d4"
WARNING = "#fff1c9"
SKILL = "#e3eefa"
FORECAST_COLOUR = "#08519c"
PLAIN_COLOUR = "#a9a9a9"

GROUND = ("#f4f2ec", "#e6e6da", "#d3d9c6", "#bcc9b0", "#a5b79b", "#93a88b")
"""Background, from bare (NDVI `GROUND_RANGE`) to dense: quiet, so that alerts are seen first."""

GROUND_RANGE = (0.1, 0.9)

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

LARGEST = 5
"""Alerts that are numbered and listed."""

PLAIN = ("mean", "mean5", "last", "own_trend", "pooled_trend")
"""Forecasters that know past yields only."""

WORDS: dict[str, tuple[str, str]] = {
    "alerts": ("alerts", "сигналов"),
    "approximate": ("district outlines are approximate", "границы районов приблизительны"),
    "background": ("Background: NDVI", "Фон: NDVI"),
    "by_month": ("Hectares by month", "Гектары по месяцам"),
    "by_year": ("Hectares by year", "Гектары по годам"),
    "confirmed": ("confirmed", "подтверждено"),
    "data_until": ("data until", "данные по"),
    "dot": ("dot: too small for its outline", "точка: мельче контура"),
    "errors": ("Error in past years, %", "Ошибка прошлых лет, %"),
    "errors_of": ("nRMSE of {} district-years", "nRMSE, {} районо-лет"),
    "first_anomaly": ("First anomaly", "Первая аномалия"),
    "forecast": ("this forecast", "этот прогноз"),
    "ha": ("ha", "га"),
    "harvest": ("harvest", "урожай"),
    "interval": ("Forecast and 80 % interval, t/ha", "Прогноз и интервал 80 %, т/га"),
    "km": ("km", "км"),
    "largest": ("Largest", "Крупнейшие"),
    "last": ("last year", "прошлый год"),
    "mean": ("mean", "среднее"),
    "mean5": ("mean of 5 years", "среднее за 5 лет"),
    "no_alerts": ("No alerts", "Сигналов нет"),
    "no_forecast": ("no forecast", "нет прогноза"),
    "no_past": ("no past years to judge by", "нет прошлых лет для проверки"),
    "no_skill": (
        (
            "No in-season skill is claimed at this date: the season's imagery has not been shown "
            "to beat plain forecasts beyond chance. Trust these yields no more than past means."
        ),
        (
            "Прогностическая ценность снимков на эту дату не заявляется: не показано, что они "
            "улучшают простой прогноз сверх случайного. Доверяйте числам не больше, чем средним "
            "прошлых лет."
        ),
    ),
    "no_ndvi": ("no NDVI", "нет NDVI"),
    "own_trend": ("own trend", "свой тренд"),
    "pooled_trend": ("common trend", "общий тренд"),
    "skill": (
        (
            "In-season skill is claimed: in past years the season's imagery beat plain forecasts "
            "beyond chance."
        ),
        (
            "Прогностическая ценность снимков заявляется: в прошлые годы они улучшали простой "
            "прогноз сверх случайного."
        ),
    ),
    "unconfirmed": ("not confirmed yet", "ещё не подтверждено"),
    "yield": ("Yield, t/ha", "Урожайность, т/га"),
}

CROPS: dict[str, tuple[str, str]] = {
    "barley": ("Barley", "Ячмень"),
    "buckwheat": ("Buckwheat", "Гречиха"),
    "flax": ("Flax", "Лён"),
    "maize": ("Maize", "Кукуруза на зерно"),
    "maize_silage": ("Silage maize", "Кукуруза на силос"),
    "millet": ("Millet", "Просо"),
    "oats": ("Oats", "Овёс"),
    "peas": ("Peas", "Горох"),
    "potatoes": ("Potatoes", "Картофель"),
    "rapeseed": ("Rapeseed", "Рапс"),
    "soybean": ("Soybean", "Соя"),
    "spring_barley": ("Spring barley", "Ячмень яровой"),
    "spring_rapeseed": ("Spring rapeseed", "Рапс яровой"),
    "spring_wheat": ("Spring wheat", "Пшеница яровая"),
    "sugar_beet": ("Sugar beet", "Сахарная свёкла"),
    "sunflower": ("Sunflower", "Подсолнечник"),
    "wheat": ("Wheat", "Пшеница"),
    "winter_barley": ("Winter barley", "Ячмень озимый"),
    "winter_rapeseed": ("Winter rapeseed", "Рапс озимый"),
    "winter_rye": ("Winter rye", "Рожь озимая"),
    "winter_triticale": ("Winter triticale", "Тритикале озимая"),
    "winter_wheat": ("Winter wheat", "Пшеница озимая"),
}
"""Crop → English and Russian name; a crop that is not here goes by its id."""

NOTES_RU = {
    "no imagery": "нет снимков",
    "no past yields, level of the other districts": "нет прошлых урожаев, уровень других районов",
}

SYNTHETIC_RU = "СИНТЕТИЧЕСКИЕ ДАННЫЕ: снимки смоделированы и не изображают реального места"

GENERIC = re.compile(
    r"\s*(\((city|город)[^)]*\)|\b(municipal|urban|district|okrug|raion|город|городской|муниципальный"
    r"|район|округ)\b)",
    re.IGNORECASE,
)
"""What goes without saying in the name of a district on a map."""


@dataclass(frozen=True)
class Piece:
    """One raster as it was read."""

    values: npt.NDArray[np.float32]
    """(y, x), in the unit of the layer; NaN = missing."""
    crs: Any
    transform: Any
    when: str
    """Day the raster stands for, ISO; empty where it does not say."""


def forest_map(
    path: Path,
    *,
    ndvi: Path | Sequence[Path],
    alerts: gpd.GeoDataFrame,
    districts: gpd.GeoDataFrame,
    title: str,
    credit: str,
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
        ``district_ru`` by the language; polygons in any CRS. May have no rows.
    districts
        Columns ``name_en, name_ru``, and ``approximate`` where known, of which the picture then
        tells; the outside of all of them is faded.
    title
        What is shown.
    credit
        Attribution, or the notice that the data is synthetic; stands at the bottom.
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
    _demand(alerts, "alerts", ("status", "date_max", "area_ha", f"district_{language}"))
    _demand(districts, "districts", (f"name_{language}",))
    # What was left out would be missing from the sums, too, and nobody would know.
    unfit = alerts["date_max"].isna() | alerts["area_ha"].isna() | alerts.geometry.isna()
    if unfit.any():
        raise ValueError(f"{unfit.sum()} alerts lack date, area or shape; complete or drop them")
    pieces = [_read(each) for each in ([ndvi] if isinstance(ndvi, Path) else ndvi)]
    if not pieces:
        raise ValueError("a forest map was asked for without NDVI; give at least one raster")
    crs = _map_crs(pieces)
    shapes = _present(districts).to_crs(crs)
    found = _with_period(alerts.to_crs(crs), language)
    wanted = _extent(pieces, crs, shapes, found)
    high = float(np.clip(6.35 * _height(wanted) / _width(wanted), 6.0, 8.0))
    with _page(path, high + 1.55, title, credit, language) as (figure, canvas):
        said = [_forest_words(found, pieces[0].when, language)]
        said += [_word("approximate", language)] if _approximate(districts) else []
        _subtitle(figure, canvas, " · ".join(said))
        ax = _axes(figure, MARGIN, 0.68, 6.35, high)
        _set_view(ax, wanted)
        view = _view(ax)
        _ground(ax, pieces, crs, view)
        _fade_outside(ax, shapes, view)
        _outlines(ax, shapes, view, "#4d4d4d", 0.8)
        _draw_alerts(ax, found)
        _scale_bar(figure, ax, crs, language)
        _name_districts(ax, canvas, shapes, found, _number_largest(ax, canvas, found), language)
        _forest_column(figure, found, MARGIN + 6.35 + 0.25, high + 0.68, language)


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
    _demand(forecast, "forecast", (*needed, "q10_t_ha", "q90_t_ha", "skill", "note"))
    _demand(districts, "districts", ("adm_id",))
    _demand(skill, "skill", ("crop", "forecaster", "nrmse"))
    known = pd.DataFrame(forecast.dropna(subset=["yield_t_ha"]))
    if known.empty:
        raise ValueError("a harvest map was asked for without a forecast; give at least one row")
    if known.duplicated(["adm_id", "crop"]).any():
        raise ValueError("the forecast has a district and crop twice; give one year and cut-off")
    shapes = _present(districts)
    shapes = shapes.to_crs(_equal_area(shapes))
    crops = list(dict.fromkeys(known["crop"]))
    heights = [_crop_height(known[known["crop"] == crop]) for crop in crops]
    with _page(path, sum(heights) + 1.0, title, credit, language) as (figure, canvas):
        top = sum(heights) + 0.45
        for crop, height in zip(crops, heights, strict=True):
            rows = known[known["crop"] == crop].sort_values(["yield_t_ha", "adm_id"])
            past = skill[skill["crop"] == crop]
            _draw_crop(figure, canvas, (top, height), rows, past, shapes, language)
            top -= height


def _demand(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> None:
    absent = [column for column in columns if column not in frame]
    if absent:
        raise ValueError(f"{name} lack the columns {', '.join(absent)}; have {list(frame.columns)}")
    if isinstance(frame, gpd.GeoDataFrame) and frame.crs is None:
        raise ValueError(f"{name} have no CRS; call set_crs() before")


def _approximate(districts: gpd.GeoDataFrame) -> bool:
    return "approximate" in districts and bool(districts["approximate"].any())


def _word(key: str, language: Language) -> str:
    return WORDS[key][language == "ru"]


def _number(value: float, decimals: int, language: Language) -> str:
    text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace(".", ",") if language == "ru" else text


def _day(when: Any, language: Language) -> str:
    day = pd.Timestamp(when)
    return f"{day.day} {MONTHS[language][day.month - 1]} {day.year}"


def _short(name: Any) -> str:
    """Name of a district without the words that go without saying."""
    if not isinstance(name, str):
        return "–"
    return GENERIC.sub("", name).strip() or name


# The page


@contextmanager
def _page(
    path: Path, height: float, title: str, credit: str, language: Language
) -> Iterator[tuple["Figure", "FigureCanvasAgg"]]:
    """Give a page with title and credit to draw on; write it when the block ends well."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's own settings must not change what is published.
    looks = {"font.family": "DejaVu Sans", "font.size": 8.5, "text.color": INK}
    with matplotlib.style.context(["default", looks]):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        _fitted(figure, canvas, title, MARGIN, height - 0.32, size=14, weight="bold")
        _credit(figure, canvas, credit, language)
        yield figure, canvas
        _write(path, canvas)


def _write(path: Path, canvas: "FigureCanvasAgg") -> None:
    """Write a PNG with a palette, a third of the size of one with full colours.

    Fewer colours are taken only where the file would otherwise be too large to send.
    """
    from PIL import Image

    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels[..., :3])
    for colours in PALETTES:
        few = picture.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        encoded = BytesIO()
        few.save(encoded, "PNG", optimize=True, dpi=(DPI, DPI))
        if encoded.tell() <= MOST_BYTES:
            break
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def _credit(figure: "Figure", canvas: "FigureCanvasAgg", credit: str, language: Language) -> None:
    synthetic = SYNTHETIC_NOTICE in credit
    if language == "ru":
        credit = credit.replace(SYNTHETIC_NOTICE, SYNTHETIC_RU)
    box = {"facecolor": WARNING, "edgecolor": "#c98a00", "boxstyle": "square,pad=0.3"}
    _fitted(
        figure,
        canvas,
        credit,
        MARGIN + 0.05 * synthetic,
        0.2,
        size=9,
        weight="bold" if synthetic else "normal",
        bbox=box if synthetic else None,
    )


def _fitted(
    figure: "Figure",
    canvas: "FigureCanvasAgg",
    words: str,
    x: float,
    y: float,
    *,
    size: float,
    **look: Any,
) -> None:
    """Write one line at `x`, `y` inches, smaller where it would leave the page, then cut."""
    text = _text(figure, x, y, words, size=size, va="center", **look)
    room = (WIDTH - MARGIN - x) * DPI

    def wide() -> bool:
        return bool(text.get_window_extent(_renderer(canvas)).width > room)

    while wide() and size > 7:
        size -= 0.5
        text.set_fontsize(size)
    while wide() and len(words) > 1:
        words = words[:-2].rstrip()
        text.set_text(f"{words}…")


def _text(figure: "Figure", x: float, y: float, words: str, **look: Any) -> Any:
    width, height = figure.get_size_inches()
    # A dollar sign in a name is no formula.
    return figure.text(x / width, y / height, words, parse_math=False, **look)


def _renderer(canvas: "FigureCanvasAgg") -> Any:
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
    return renderer


def _subtitle(figure: "Figure", canvas: "FigureCanvasAgg", words: str) -> None:
    height = float(figure.get_size_inches()[1])
    _fitted(figure, canvas, words, MARGIN, height - 0.63, size=9.5, color=GREY)


def _axes(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


# The ground


def _read(path: Path) -> Piece:
    """Read a raster, decimated to at most `READ_SIDE` pixels a side."""
    try:
        with rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise InputError(f"{path} has no CRS and cannot be put on a map; give it one")
            shrink = max(1.0, max(dataset.shape) / READ_SIDE)
            rows, cols = (max(1, round(side / shrink)) for side in dataset.shape)
            numbers = dataset.read(
                1, out_shape=(rows, cols), masked=True, resampling=Resampling.average
            )
            values = numbers.astype(np.float32) * dataset.scales[0] + dataset.offsets[0]
            across, down = dataset.width / cols, dataset.height / rows
            a, b, c, d, e, f, *_ = dataset.transform
            transform = Affine(a * across, b * down, c, d * across, e * down, f)
            stamp = dataset.tags().get("TIFFTAG_DATETIME", "")[:10].replace(":", "-")
            return Piece(values.filled(np.nan).astype(np.float32), dataset.crs, transform, stamp)
    except RasterioError as error:
        raise InputError(f"cannot read the raster {path}: {error}; make it anew") from error


def _map_crs(pieces: Sequence[Piece]) -> pyproj.CRS:
    """CRS of the rasters where they share a metric one, else an equal-area one of their middle."""
    shared = {piece.crs.to_wkt() for piece in pieces}
    crs = pyproj.CRS.from_user_input(pieces[0].crs)
    if len(shared) == 1 and crs.is_projected:
        return crs
    boxes = [
        shapely.box(*rasterio.warp.transform_bounds(piece.crs, "EPSG:4326", *_whole(piece)))
        for piece in pieces
    ]
    return _equal_area(gpd.GeoDataFrame(geometry=boxes, crs="EPSG:4326"))


def _equal_area(frame: gpd.GeoDataFrame) -> pyproj.CRS:
    """Lambert's azimuthal equal-area projection around the middle of what is shown."""
    lon, lat = np.radians(shapely.get_coordinates(frame.geometry.to_crs("EPSG:4326"))).T
    # The mean of directions knows no antimeridian.
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    lon_0 = math.degrees(math.atan2(y.mean(), x.mean()))
    lat_0 = math.degrees(math.atan2(z.mean(), math.hypot(x.mean(), y.mean())))
    return pyproj.CRS.from_proj4(
        f"+proj=laea +lat_0={lat_0:.4f} +lon_0={lon_0:.4f} +datum=WGS84 +units=m"
    )


def _whole(piece: Piece) -> Bounds:
    rows, cols = piece.values.shape
    bounds: Bounds = rasterio.transform.array_bounds(rows, cols, piece.transform)
    return bounds


def _seen(piece: Piece) -> Bounds | None:
    """Bounds of the valid pixels."""
    rows, cols = (np.flatnonzero(np.isfinite(piece.values).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    window = Window.from_slices(
        (int(rows[0]), int(rows[-1]) + 1), (int(cols[0]), int(cols[-1]) + 1)
    )
    bounds: Bounds = rasterio.windows.bounds(window, piece.transform)
    return bounds


def _extent(
    pieces: Sequence[Piece], crs: pyproj.CRS, shapes: gpd.GeoDataFrame, found: gpd.GeoDataFrame
) -> Bounds:
    """Choose what to show: what was seen of the districts, with all alerts and a margin."""
    wkt = crs.to_wkt()
    seen = [
        shapely.box(*rasterio.warp.transform_bounds(piece.crs, wkt, *bounds))
        for piece in pieces
        if (bounds := _seen(piece) or _whole(piece))
    ]
    area: Any = shapely.box(*shapely.union_all(seen).bounds)
    if len(shapes):
        both = area.intersection(shapely.box(*shapes.total_bounds))
        area = area if both.area == 0 else both
    if len(found):
        area = shapely.union_all([area, shapely.box(*found.total_bounds)])
    west, south, east, north = area.bounds
    pad = 0.004 * max(east - west, north - south)
    return west - pad, south - pad, east + pad, north + pad


def _width(bounds: Bounds) -> float:
    return bounds[2] - bounds[0]


def _height(bounds: Bounds) -> float:
    return bounds[3] - bounds[1]


def _set_view(ax: "Axes", wanted: Bounds) -> None:
    """Show `wanted`, and around it what the shape of the axes has room for."""
    west, south, east, north = wanted
    box = ax.get_window_extent()
    unit = max(_width(wanted) / box.width, _height(wanted) / box.height)
    x, y = (west + east) / 2, (south + north) / 2
    ax.set_xlim(x - unit * box.width / 2, x + unit * box.width / 2)
    ax.set_ylim(y - unit * box.height / 2, y + unit * box.height / 2)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_color(GREY)


def _view(ax: "Axes") -> Bounds:
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    return west, south, east, north


def _per_point(ax: "Axes") -> float:
    """Map units in one point of paper."""
    return _width(_view(ax)) / ax.get_window_extent().width * DPI / 72


def _ground(ax: "Axes", pieces: Sequence[Piece], crs: pyproj.CRS, view: Bounds) -> None:
    """Draw the rasters, brought onto one grid of the view."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    cell = max(_width(view), _height(view)) / BACKGROUND_SIDE
    rows, cols = (max(1, round(side / cell)) for side in (_height(view), _width(view)))
    transform = rasterio.transform.from_bounds(*view, cols, rows)
    mosaic = np.full((rows, cols), np.nan, dtype=np.float32)
    for piece in pieces:
        part = np.full_like(mosaic, np.nan)
        rasterio.warp.reproject(
            piece.values,
            part,
            src_transform=piece.transform,
            src_crs=piece.crs,
            src_nodata=np.nan,
            dst_transform=transform,
            dst_crs=crs.to_wkt(),
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
        mosaic = np.where(np.isnan(mosaic), part, mosaic)
    ax.imshow(
        np.ma.masked_invalid(mosaic),
        extent=(view[0], view[2], view[1], view[3]),
        cmap=ListedColormap(list(GROUND)),
        norm=BoundaryNorm(np.linspace(*GROUND_RANGE, len(GROUND) - 1), len(GROUND), extend="both"),
        interpolation="nearest",
        aspect="auto",
    )


def _scale_bar(figure: "Figure", ax: "Axes", crs: pyproj.CRS, language: Language) -> None:
    """Draw a bar of round length under the map, where it hides nothing.

    It is measured on the ellipsoid in the middle of the map, whatever the projection does.
    """
    west, south, east, north = _view(ax)
    y, step = (south + north) / 2, (east - west) / 100
    turn = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = turn.transform([(west + east - step) / 2, (west + east + step) / 2], [y, y])
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])
    most = 25 * metres
    power = 10.0 ** math.floor(math.log10(most))
    length = max(digit * power for digit in (1, 2, 5) if digit * power <= most)
    share = length / metres / 100
    strip = _axes(figure, MARGIN, 0.43, 6.35, 0.2)
    strip.set_axis_off()
    strip.set_xlim(0, 1)
    strip.set_ylim(0, 1)
    ends = [1 - share, 1 - share, 1.0, 1.0]
    strip.plot(ends, [0.75, 0.45, 0.45, 0.75], color=INK, linewidth=1.4, clip_on=False)
    words = f"{length / 1000:g} {_word('km', language)}"
    strip.text(1 - share - 0.01, 0.5, words, ha="right", va="center")


# Shapes on a map


def _present(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)].reset_index(drop=True)


def _path(shape: shapely.Geometry, smallest_hole: float = 0.0) -> "Outline":
    """Outline of polygons as matplotlib draws it, without holes smaller than an area."""
    from matplotlib.path import Path as Outline

    # Where rings turn the same way the renderer fills the holes, too.
    parts = shapely.get_parts(shapely.orient_polygons(shape))
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    rings = [
        ring
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
        if ring is polygon.exterior or shapely.Polygon(ring).area >= smallest_hole
    ]
    vertices = [shapely.get_coordinates(ring)[:, :2] for ring in rings]
    codes = [_ring_codes(len(ring)) for ring in vertices]
    if not rings:
        return Outline(np.empty((0, 2)))
    return Outline(np.concatenate(vertices), np.concatenate(codes))


def _ring_codes(length: int) -> npt.NDArray[np.uint8]:
    from matplotlib.path import Path as Outline

    codes = np.full(length, Outline.LINETO, dtype=np.uint8)
    codes[0], codes[-1] = Outline.MOVETO, Outline.CLOSEPOLY
    return codes


def _fill(ax: "Axes", shapes: Sequence[shapely.Geometry], **look: Any) -> None:
    from matplotlib.collections import PathCollection

    # The rim of a hole three points wide would hide the hole and much beside it.
    hole = (3 * _per_point(ax)) ** 2
    paths = [_path(shape, hole) for shape in shapes]
    ax.add_collection(PathCollection(paths, **look), autolim=False)


def _outlines(
    ax: "Axes", shapes: gpd.GeoDataFrame, view: Bounds, colour: str, width: float
) -> None:
    # Detail finer than a third of a point is not seen, only paid for.
    lines = shapes.geometry.simplify(0.3 * _per_point(ax))
    near = lines[lines.intersects(shapely.box(*view))]
    _fill(ax, list(near), facecolors="none", edgecolors="white", linewidths=width + 1.4, alpha=0.6)
    _fill(ax, list(near), facecolors="none", edgecolors=colour, linewidths=width)


def _fade_outside(ax: "Axes", shapes: gpd.GeoDataFrame, view: Bounds) -> None:
    if shapes.empty:
        return
    inside = shapely.union_all(shapely.make_valid(shapes.geometry.to_numpy()))
    outside = shapely.box(*view).difference(inside)
    _fill(ax, [outside], facecolors="white", alpha=0.65, linewidths=0)


def _box_of(ax: "Axes", canvas: "FigureCanvasAgg", text: Any) -> shapely.Polygon:
    """Box that a text takes, in map units."""
    corners = text.get_window_extent(_renderer(canvas)).get_points()
    (west, south), (east, north) = ax.transData.inverted().transform(corners)
    box: shapely.Polygon = shapely.box(west, south, east, north)
    return box


def _halo(width: float = 2.5) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="white")]


# Alerts


def _with_period(alerts: gpd.GeoDataFrame, language: Language) -> gpd.GeoDataFrame:
    """Add ``month`` (counted from year 0), ``period``, ``label`` and ``colour``, oldest first."""
    found = alerts.assign(date_max=pd.to_datetime(alerts["date_max"]))
    found = found.sort_values(["date_max", "area_ha"])
    month = found["date_max"].dt.year * 12 + found["date_max"].dt.month - 1
    fitting = (step for step in PERIOD_MONTHS if (month // step).nunique() <= MAX_PERIODS)
    step = next(fitting, PERIOD_MONTHS[-1])
    period = month // step
    labels = {each: _period_label(each * step, step, language) for each in period.unique()}
    colours = dict(zip(sorted(labels), _steps(ALERT_COLOURS, len(labels)), strict=True))
    return found.assign(
        month=month, period=period, label=period.map(labels), colour=period.map(colours)
    ).reset_index(drop=True)


def _period_label(month: int, step: int, language: Language) -> str:
    year, names, last = month // 12, MONTHS[language], month + step - 1
    if step >= 12:
        return str(year) if step == 12 else f"{year}–{last // 12}"
    if step == 1:
        return f"{names[month % 12]} {year}"
    return f"{names[month % 12]}–{names[last % 12]} {year}"


def _steps(colours: Sequence[str], count: int) -> list[str]:
    """`count` colours at equal steps; a single one is the last, which is seen best."""
    from matplotlib.colors import to_hex

    places = np.linspace(0, 1, count) if count > 1 else np.ones(count)
    return [to_hex(colour) for colour in _ramp(colours)(places)]


def _ramp(colours: Sequence[str]) -> "Colormap":
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("ramp", list(colours))


def _forest_words(found: gpd.GeoDataFrame, when: str, language: Language) -> str:
    until = f"{_word('data_until', language)} {_day(when, language)}" if when else ""
    if found.empty:
        return " · ".join(filter(None, [_word("no_alerts", language), until]))
    sure = found[found["status"] == "confirmed"]
    ha = _word("ha", language)
    total = _number(found["area_ha"].sum(), 0, language)
    sure_ha = _number(sure["area_ha"].sum(), 0, language)
    words = [
        f"{_number(len(found), 0, language)} {_word('alerts', language)}, {total} {ha}",
        f"{_word('confirmed', language)}: {_number(len(sure), 0, language)}, {sure_ha} {ha}",
        until,
    ]
    return " · ".join(filter(None, words))


def _draw_alerts(ax: "Axes", found: gpd.GeoDataFrame) -> None:
    """Fill the confirmed, leave the others open; what is too small becomes a dot."""
    sure = (found["status"] == "confirmed").to_numpy()
    across = np.sqrt(found.geometry.area.to_numpy()) / _per_point(ax)
    size = SMALLEST_ALERT * (CROWDED if len(found) >= CROWD else 1)
    small = across < size
    for confirmed, order in ((False, 3), (True, 4)):
        shown = found[(sure == confirmed) & ~small]
        colours = list(shown["colour"])
        faces = colours if confirmed else ["white"] * len(shown)
        edges = [INK] * len(shown) if confirmed else colours
        _fill(ax, list(shown.geometry), facecolors="none", edgecolors="white", linewidths=2.6)
        _fill(
            ax,
            list(shown.geometry),
            facecolors=faces,
            edgecolors=edges,
            linewidths=0.7 if confirmed else 1.5,
            zorder=order,
        )
        dots = found[(sure == confirmed) & small]
        places = dots.geometry.centroid
        ax.scatter(
            places.x,
            places.y,
            s=size**2,
            c=list(dots["colour"]) if confirmed else "white",
            edgecolors=INK if confirmed else list(dots["colour"]),
            linewidths=0.5 if confirmed else 1.2,
            zorder=order,
        )


def _largest(found: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return found.sort_values("area_ha", ascending=False, kind="stable").head(LARGEST)


def _number_largest(
    ax: "Axes", canvas: "FigureCanvasAgg", found: gpd.GeoDataFrame
) -> list[shapely.Polygon]:
    """Write numbers beside the largest alerts; give the boxes of the numbers."""
    boxes = []
    # Near the frame a number stands on the other side of its alert.
    edge = np.array(_view(ax))[2:] - 15 * _per_point(ax)
    for rank, shape in enumerate(_largest(found).geometry, start=1):
        at_right, at_top = shape.bounds[2] > edge[0], shape.bounds[3] > edge[1]
        text = ax.annotate(
            str(rank),
            (shape.bounds[0 if at_right else 2], shape.bounds[1 if at_top else 3]),
            xytext=(-3 if at_right else 3, -1 if at_top else 1),
            textcoords="offset points",
            ha="right" if at_right else "left",
            va="top" if at_top else "bottom",
            size=10,
            weight="bold",
            zorder=8,
            path_effects=_halo(3),
        )
        boxes.append(_box_of(ax, canvas, text))
    return boxes


def _name_districts(
    ax: "Axes",
    canvas: "FigureCanvasAgg",
    shapes: gpd.GeoDataFrame,
    found: gpd.GeoDataFrame,
    taken: Sequence[shapely.Polygon],
    language: Language,
) -> None:
    """Write names where they fit inside their district, off other words and off most alerts."""
    taken = list(taken)
    tree = shapely.STRtree(found.geometry.to_numpy())
    seen = shapely.box(*_view(ax)).buffer(-5 * _per_point(ax))
    for row in shapes.itertuples():
        room = shapely.make_valid(row.geometry).intersection(seen)
        name = _short(getattr(row, f"name_{language}"))
        label = ax.text(0, 0, name, size=9, style="italic", color="#303030", ha="center")
        label.set(va="center", path_effects=_halo(), zorder=5)
        place = _free_place(room, _box_of(ax, canvas, label), tree, taken)
        if place is None:
            label.remove()
            continue
        label.set_position((place.centroid.x, place.centroid.y))
        taken.append(place)


def _free_place(
    room: Any,
    box: shapely.Polygon,
    tree: shapely.STRtree,
    taken: Sequence[shapely.Polygon],
) -> shapely.Polygon | None:
    """Place for a box inside `room`: over the fewest alerts, then the nearest to the middle."""
    if room.is_empty:
        return None
    west, south, east, north = room.bounds
    middle = shapely.maximum_inscribed_circle(room).coords[0] if room.area else (west, south)
    width, height = box.bounds[2] - box.bounds[0], box.bounds[3] - box.bounds[1]
    grid = product(np.linspace(west, east, 25)[1:-1], np.linspace(south, north, 25)[1:-1])
    centres = np.array([middle, *grid])
    places = shapely.box(
        centres[:, 0] - width / 2,
        centres[:, 1] - height / 2,
        centres[:, 0] + width / 2,
        centres[:, 1] + height / 2,
    )
    shapely.prepare(room)
    fits = shapely.contains(room, places)
    for other in taken:
        fits &= ~shapely.intersects(places, other)
    if not fits.any():
        return None
    places, centres = places[fits], centres[fits]
    covered = np.bincount(tree.query(places, predicate="intersects")[0], minlength=len(places))
    away = np.hypot(*(centres - middle).T)
    best: shapely.Polygon = places[np.lexsort((away, covered))[0]]
    return best


def _forest_column(
    figure: "Figure", found: gpd.GeoDataFrame, left: float, top: float, language: Language
) -> None:
    """Legend, hectares by month and the largest alerts, from the top down."""
    bottom, width = 0.68, WIDTH - MARGIN - left
    ax = _axes(figure, left, bottom, width, top - bottom)
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(0, top - bottom)
    y = _alert_legend(ax, found, top - bottom - 0.1, language)
    y = _ground_legend(ax, y - 0.3, language)
    if len(found):
        _bars(figure, found, (left, bottom + y - 0.37), width, language)
        _list_largest(ax, found, y - 2.25, language)


def _line(ax: "Axes", x: float, y: float, words: str, **look: Any) -> None:
    ax.text(x, y, words, va="center", parse_math=False, **look)


def _swatch(ax: "Axes", x: float, y: float, face: str, edge: str, thick: float) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((x, y - 0.06), 0.2, 0.12, facecolor=face, edgecolor=edge, linewidth=thick)
    )


def _alert_swatch(ax: "Axes", x: float, y: float, colour: str, *, confirmed: bool) -> None:
    look = (colour, INK, 0.7) if confirmed else ("white", colour, 1.5)
    _swatch(ax, x, y, *look)


def _alert_legend(ax: "Axes", found: gpd.GeoDataFrame, y: float, language: Language) -> float:
    """Explain colours and shapes; give the height of the last line."""
    if found.empty:
        _line(ax, 0, y, _word("no_alerts", language), weight="bold")
        return y
    _line(ax, 0, y, _word("first_anomaly", language), weight="bold")
    for _, members in found.groupby("period"):
        y -= 0.2
        _alert_swatch(ax, 0.02, y, members["colour"].iloc[0], confirmed=True)
        _line(ax, 0.32, y, members["label"].iloc[0])
        ha = _number(members["area_ha"].sum(), 0, language)
        _line(ax, ax.get_xlim()[1], y, f"{ha} {_word('ha', language)}", ha="right")
    y -= 0.27
    _alert_swatch(ax, 0.02, y, "#b0b0b0", confirmed=True)
    _line(ax, 0.32, y, _word("confirmed", language))
    y -= 0.2
    _alert_swatch(ax, 0.02, y, "#707070", confirmed=False)
    _line(ax, 0.32, y, _word("unconfirmed", language))
    y -= 0.2
    ax.plot([0.12], [y], "o", color="#b0b0b0", mec=INK, mew=0.5, ms=SMALLEST_ALERT)
    _line(ax, 0.32, y, _word("dot", language))
    return y


def _ground_legend(ax: "Axes", y: float, language: Language) -> float:
    """Explain the background; give the height of the last line."""
    low, high = (_number(value, 1, language) for value in GROUND_RANGE)
    _line(ax, 0, y, _word("background", language))
    y -= 0.2
    for number, colour in enumerate(GROUND):
        _swatch(ax, 0.32 + 0.2 * number, y, colour, "none", 0)
    _line(ax, 0.27, y, low, ha="right")
    _line(ax, 0.37 + 0.2 * len(GROUND), y, high)
    y -= 0.2
    _swatch(ax, 0.02, y, "white", "#c0c0c0", 0.7)
    _line(ax, 0.32, y, _word("no_ndvi", language))
    return y


def _list_largest(ax: "Axes", found: gpd.GeoDataFrame, y: float, language: Language) -> None:
    _line(ax, 0, y, _word("largest", language), weight="bold")
    for rank, row in enumerate(_largest(found).itertuples(), start=1):
        y -= 0.2
        _line(ax, 0, y, str(rank), weight="bold")
        _line(ax, 0.17, y, f"{_number(row.area_ha, 1, language)} {_word('ha', language)}")
        _line(ax, 0.82, y, _short(getattr(row, f"district_{language}")))
        x = ax.get_xlim()[1] - 0.22
        _alert_swatch(ax, x, y, row.colour, confirmed=row.status == "confirmed")


def _bars(
    figure: "Figure",
    found: gpd.GeoDataFrame,
    corner: tuple[float, float],
    width: float,
    language: Language,
) -> None:
    """Draw hectares by month (by year where that is too long) in the colours of the map."""
    left, top = corner
    first, last = int(found["month"].min()), int(found["month"].max())
    step = 1 if last - first < MAX_BARS else 12
    key = "by_month" if step == 1 else "by_year"
    _text(figure, left, top, _word(key, language), weight="bold", va="center")
    ax = _axes(figure, left + 0.28, top - 1.35, width - 0.3, 1.2)
    bars = found.assign(bar=found["month"] // step, sure=found["status"] == "confirmed")
    sums = bars.groupby(["bar", "colour", "sure"])["area_ha"].sum()
    base: dict[int, float] = {}
    for (bar, colour, sure), ha in sums.sort_index(level="sure", ascending=False).items():
        look = (
            {"facecolor": colour, "edgecolor": INK, "linewidth": 0.4}
            if sure
            else {"facecolor": "white", "edgecolor": colour, "linewidth": 1.0}
        )
        ax.bar(bar, ha, bottom=base.get(bar, 0.0), width=0.8, **look)
        base[bar] = base.get(bar, 0.0) + ha
    ax.set_xlim(first // step - 0.8, max(last // step, first // step + 5) + 0.8)
    if step == 1:
        every = 3 if last - first < MAX_BARS / 2 else 6
        ticks = [m for m in range(first, max(last, first + 5) + 1) if m % every == 0]
        ax.set_xticks(ticks, [_month_tick(tick, ticks[0], language) for tick in ticks])
    else:
        every = max(1, math.ceil((last - first) / 12 / 5))
        ticks = list(range(first // 12, last // 12 + 1, every))
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
    _plain_axes(ax)
    ax.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    ax.locator_params(axis="y", nbins=4)


def _month_tick(month: int, first: int, language: Language) -> str:
    name = MONTHS[language][month % 12]
    return f"{name}\n{month // 12}" if month == first or month % 12 == 0 else name


def _plain_axes(ax: "Axes") -> None:
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=7.5, length=2, colors=INK)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)


# Harvest


def _crop_height(rows: pd.DataFrame) -> float:
    return max(4.1, 1.75 + 0.185 * len(rows))


def _draw_crop(
    figure: "Figure",
    canvas: "FigureCanvasAgg",
    band: tuple[float, float],
    rows: pd.DataFrame,
    past: pd.DataFrame,
    shapes: gpd.GeoDataFrame,
    language: Language,
) -> None:
    """Draw one crop into a band of the page given by its top and height."""
    from matplotlib.colors import Normalize

    top, height = band
    _crop_heading(figure, rows, top, language)
    body, bottom = top - 0.95, top - height + 0.6
    lowest, highest = rows["yield_t_ha"].min(), rows["yield_t_ha"].max()
    # Small differences should not fill the whole ramp: they would look like news.
    room = max(0.1 * highest, highest - lowest)
    middle = (lowest + highest) / 2
    scale, ramp = Normalize(middle - room / 2, middle + room / 2), _ramp(YIELD_COLOURS)
    fills = ramp(scale(rows["yield_t_ha"].to_numpy()))
    colours = dict(zip(rows["adm_id"].astype(str), fills, strict=True))
    _choropleth(figure, canvas, (body, bottom), rows, shapes, colours, language)
    marks, notes = _marked(rows, language)
    _intervals(figure, (body, bottom), rows, colours, marks, language)
    _errors(figure, (body, bottom), past, language)
    if notes:
        _text(figure, 3.3, bottom - 0.32, notes, size=7.5, color=GREY, va="center")


def _crop_heading(figure: "Figure", rows: pd.DataFrame, top: float, language: Language) -> None:
    crop, first = str(rows["crop"].iloc[0]), rows.iloc[0]
    name = CROPS.get(crop, (crop.replace("_", " "),) * 2)[language == "ru"]
    _text(figure, MARGIN, top - 0.1, name, size=12, weight="bold", va="center")
    said = (
        f"{_word('harvest', language)} {first['year']}, "
        f"{_word('data_until', language)} {_day(first['cutoff'], language)}"
    )
    _text(figure, WIDTH - MARGIN, top - 0.1, said, size=9, color=GREY, ha="right", va="center")
    # Only a plain True is a claim; a missing value is none.
    skill = all(claim is True or claim is np.True_ for claim in rows["skill"])
    banner = _axes(figure, MARGIN, top - 0.7, WIDTH - 2 * MARGIN, 0.42)
    banner.set(xticks=[], yticks=[], facecolor=SKILL if skill else WARNING)
    for side in banner.spines.values():
        side.set_visible(False)
    words = textwrap.wrap(_word("skill" if skill else "no_skill", language), 122)
    banner.text(0.01, 0.48, "\n".join(words), va="center", linespacing=1.3)


def _choropleth(
    figure: "Figure",
    canvas: "FigureCanvasAgg",
    span: tuple[float, float],
    rows: pd.DataFrame,
    shapes: gpd.GeoDataFrame,
    colours: Mapping[str, Any],
    language: Language,
) -> None:
    top, bottom = span
    ax = _axes(figure, MARGIN, bottom, 3.0, top - bottom - 0.08)
    _set_view(ax, tuple(shapes.total_bounds))
    ax.set_axis_off()
    lines = shapes.geometry.simplify(0.3 * _per_point(ax))
    _fill(
        ax,
        list(lines),
        facecolors=[colours.get(adm_id, NO_FORECAST) for adm_id in shapes["adm_id"]],
        edgecolors="#7a7a7a",
        linewidths=0.6,
    )
    values = dict(zip(rows["adm_id"], rows["yield_t_ha"], strict=True))
    nothing = shapely.STRtree([])
    for adm_id, shape in zip(shapes["adm_id"], shapes.geometry, strict=True):
        if adm_id not in values:
            continue
        words = _number(values[adm_id], 1, language)
        label = ax.text(0, 0, words, size=8, weight="bold", ha="center", va="center")
        place = _free_place(shapely.make_valid(shape), _box_of(ax, canvas, label), nothing, [])
        if place is None:
            label.remove()
            continue
        label.set(position=(place.centroid.x, place.centroid.y), color=_ink_on(colours[adm_id]))
    _text(figure, MARGIN, top + 0.06, _word("yield", language), weight="bold", va="center")
    if _approximate(shapes):
        words = _word("approximate", language)
        _text(figure, MARGIN, bottom - 0.32, words, size=7.5, color=GREY, va="center")
    if not set(shapes["adm_id"]) <= set(values):
        _text(figure, MARGIN, bottom - 0.12, "\N{BLACK SQUARE}", color=NO_FORECAST, va="center")
        words = _word("no_forecast", language)
        _text(figure, MARGIN + 0.15, bottom - 0.12, words, size=7.5, color=GREY, va="center")


def _ink_on(colour: Any) -> str:
    red, green, blue = colour[:3]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else INK


def _marked(rows: pd.DataFrame, language: Language) -> tuple[dict[str, str], str]:
    """Mark the districts whose forecast has a note, by adm_id, and explain the marks."""
    marks: dict[str, str] = {}
    signs: dict[str, str] = {}
    for adm_id, note in zip(rows["adm_id"].astype(str), rows["note"], strict=True):
        parts = note.split("; ") if isinstance(note, str) and note else []
        # What is said of skill stands above the map.
        for part in (part for part in parts if "skill" not in part):
            signs.setdefault(part, "*" * (len(signs) + 1))
            marks[adm_id] = marks.get(adm_id, "") + signs[part]
    told = [
        f"{sign} {NOTES_RU.get(part, part) if language == 'ru' else part}"
        for part, sign in signs.items()
    ]
    return marks, "   ".join(told)


def _intervals(
    figure: "Figure",
    span: tuple[float, float],
    rows: pd.DataFrame,
    colours: Mapping[str, Any],
    marks: Mapping[str, str],
    language: Language,
) -> None:
    top, bottom = span
    ax = _axes(figure, 4.4, bottom, 2.0, top - bottom - 0.1)
    places = np.arange(len(rows))
    ax.hlines(places, rows["q10_t_ha"], rows["q90_t_ha"], color="#8a8a8a", linewidth=2.2)
    fills = [colours[adm_id] for adm_id in rows["adm_id"]]
    ax.scatter(rows["yield_t_ha"], places, s=38, c=fills, edgecolors=INK, linewidths=0.8, zorder=3)
    names = [
        f"{_short(name)}{marks.get(adm_id, '')}"
        for adm_id, name in zip(rows["adm_id"], rows[f"name_{language}"], strict=True)
    ]
    ax.set_yticks(places, names)
    room = max(len(rows), 4) / 2 + 0.2
    ax.set_ylim((len(rows) - 1) / 2 - room, (len(rows) - 1) / 2 + room)
    _plain_axes(ax)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e0e0e0", linewidth=0.6)
    _text(figure, 3.3, top + 0.06, _word("interval", language), weight="bold", va="center")


def _errors(
    figure: "Figure", span: tuple[float, float], past: pd.DataFrame, language: Language
) -> None:
    top, bottom = span
    _text(figure, 6.65, top + 0.06, _word("errors", language), weight="bold", va="center")
    errors = past.set_index("forecaster")["nrmse"]
    shown = errors[[name for name in ("forecast", *PLAIN) if name in errors.index]]
    if shown.notna().sum() == 0:
        _text(figure, 6.65, top - 0.2, _word("no_past", language), color=GREY, va="center")
        return
    # The best on top; this forecast first among equals.
    shown = shown.sort_values(kind="stable")
    ax = _axes(figure, 7.7, max(bottom, top - 2.3), 0.75, min(2.2, top - bottom - 0.1))
    places = np.arange(len(shown))[::-1]
    ours = [name == "forecast" for name in shown.index]
    ax.barh(
        places, shown.fillna(0), color=[FORECAST_COLOUR if mine else PLAIN_COLOUR for mine in ours]
    )
    for place, value, mine in zip(places, shown, ours, strict=True):
        known = bool(np.isfinite(value))
        words = f" {_number(value, 1, language) if known else '–'}"
        ax.text(
            value if known else 0,
            place,
            words,
            va="center",
            size=8,
            weight="bold" if mine else "normal",
        )
    ax.set_yticks(places, [_word(str(name), language) for name in shown.index])
    ax.set_xticks([])
    ax.set_xlim(0, float(shown.max()))
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    if "n" in past and past["n"].notna().any():
        words = _word("errors_of", language).format(int(past["n"].max()))
        _text(figure, 6.65, max(bottom, top - 2.3) - 0.12, words, size=7.5, color=GREY, va="center")
