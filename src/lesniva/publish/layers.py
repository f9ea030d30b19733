"""The raster layers we publish: what each is called, how its numbers are stored and coloured.

Three kinds of layer, each stored so that a GIS shows it right without being told anything:

- **classes**: uint8 with a colour table; 255 = missing.
- **dates**: int32 ``YYYYMMDD``; 0 = no date. Inside the toolkit dates are day numbers (uint16),
  and a file of them would be half the size before compression, but whoever clicks a pixel in any
  program would read 1617 and not 20190606. ``YYYYMMDD`` is read at sight and sorts as time does,
  so it serves for thresholds and colour classes; it must not be averaged or subtracted.
- **quantities**: integers with a scale and an offset; value = number × scale + offset.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lesniva.conventions import (
    INDEX_SCALE,
    NODATA_INT16,
    NODATA_UINT8,
    Coverage,
    Cropland,
    Status,
    from_day_number,
)

NODATA_DATE = 0
"""Missing value of date layers."""

NODATA_UINT16 = 65535
"""Missing value of count layers; 0 is a count."""


@dataclass(frozen=True)
class LayerClass:
    """One value of a class layer."""

    value: int
    name_en: str
    name_ru: str
    colour: str
    """``#rrggbb``, or ``#rrggbbaa`` where less than opaque."""


@dataclass(frozen=True)
class Stop:
    """One stop of a colour ramp."""

    value: float
    """In the unit of the layer, not in the numbers of the file."""
    colour: str


@dataclass(frozen=True)
class Layer:
    """How one layer is stored and shown."""

    name: str
    """File stem, band name, STAC asset key."""
    title_en: str
    title_ru: str
    description: str
    kind: Literal["classes", "dates", "quantity"]
    dtype: str
    nodata: int
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    """UDUNITS symbol; "1" for a ratio, empty for classes and dates."""
    classes: tuple[LayerClass, ...] = ()
    ramp: tuple[Stop, ...] = ()

    @property
    def overview_resampling(self) -> str:
        """GDAL's method for overviews; an average of classes or of YYYYMMDD would be nonsense."""
        return "AVERAGE" if self.kind == "quantity" else "MODE"


def _dates(name: str, title_en: str, title_ru: str, description: str) -> Layer:
    return Layer(
        name, title_en, title_ru, f"{description} (YYYYMMDD)", "dates", "int32", NODATA_DATE
    )


def _classes(
    name: str, title_en: str, title_ru: str, description: str, *classes: LayerClass
) -> Layer:
    return Layer(
        name=name,
        title_en=title_en,
        title_ru=title_ru,
        description=description,
        kind="classes",
        dtype="uint8",
        nodata=NODATA_UINT8,
        classes=classes,
    )


STATUS = _classes(
    "status",
    "Forest status",
    "Состояние леса",
    "What the forest monitor says of the pixel",
    LayerClass(Status.NONE, "no change", "без изменений", "#c9e3c0"),
    LayerClass(Status.FLAGGED, "flagged", "подозрение", "#ffe9a8"),
    LayerClass(Status.LOW, "change, low confidence", "изменение, вероятно", "#fdae61"),
    LayerClass(Status.CONFIRMED, "change, confirmed", "изменение, подтверждено", "#d7191c"),
    LayerClass(Status.WINTER_EARLY, "change seen on snow", "изменение по снегу", "#7b3294"),
    LayerClass(Status.FINISHED, "recovered", "восстановился", "#80b1d3"),
    LayerClass(Status.REARMED, "watched again", "снова под наблюдением", "#b3de69"),
    LayerClass(Status.NOT_FOREST, "not forest", "не лес", "#f7f7f7"),
    LayerClass(Status.TOO_FEW_OBSERVATIONS, "too few observations", "мало наблюдений", "#bdbdbd"),
    LayerClass(Status.UNSTABLE_HISTORY, "unstable history", "нестабильная история", "#969696"),
    LayerClass(Status.NEVER_CLEAR, "never clear", "ни разу не видно", "#636363"),
)

FIRST_ANOMALY = _dates(
    "first_anomaly",
    "First anomaly",
    "Первая аномалия",
    "Date of the first anomalous clear observation of the change",
)

LAST_NORMAL = _dates(
    "last_normal",
    "Last normal observation",
    "Последнее нормальное наблюдение",
    "Date of the last clear normal observation before the change; "
    "the change lies between it and the first anomaly",
)

CONFIRMED_ON = _dates(
    "confirmed_on",
    "Confirmed on",
    "Подтверждено",
    "Date of the observation that confirmed the change",
)

PROBABILITY = Layer(
    name="probability",
    title_en="Probability of change",
    title_ru="Вероятность изменения",
    description="Probability that the forest has changed",
    kind="quantity",
    dtype="uint8",
    nodata=NODATA_UINT8,
    unit="%",
    ramp=(
        Stop(0, "#ffffff00"),
        Stop(50, "#fee8c8"),
        Stop(85, "#fdbb84"),
        Stop(99, "#e34a33"),
        Stop(100, "#b30000"),
    ),
)

MAGNITUDE = Layer(
    name="magnitude",
    title_en="Magnitude of change",
    title_ru="Величина изменения",
    description="Median departure of the index from its model since the first anomaly",
    kind="quantity",
    dtype="int16",
    nodata=NODATA_INT16,
    scale=1 / INDEX_SCALE,
    unit="1",
    ramp=(
        Stop(-0.6, "#67001f"),
        Stop(-0.3, "#d6604d"),
        Stop(-0.1, "#fddbc7"),
        Stop(0.0, "#f7f7f7"),
        Stop(0.2, "#4393c3"),
    ),
)

N_OBS = Layer(
    name="n_obs",
    title_en="Clear observations",
    title_ru="Ясные наблюдения",
    description="Clear observations of the history that the model of the pixel stands on",
    kind="quantity",
    dtype="uint16",
    nodata=NODATA_UINT16,
    unit="1",
    ramp=(
        Stop(0, "#440154"),
        Stop(5, "#3b528b"),
        Stop(15, "#21918c"),
        Stop(30, "#5ec962"),
        Stop(60, "#fde725"),
    ),
)

_COVERAGE_CLASSES = (
    LayerClass(Coverage.CLEAR, "seen clear", "видно", "#66bd63"),
    LayerClass(Coverage.CLOUD, "cloud", "облако", "#d9d9d9"),
    LayerClass(Coverage.SHADOW, "cloud shadow", "тень облака", "#737373"),
    LayerClass(Coverage.SNOW, "snow", "снег", "#c6dbef"),
    LayerClass(Coverage.SCENE_REJECTED, "scene rejected", "снимок забракован", "#fdae61"),
    LayerClass(Coverage.NO_ACQUISITION, "no acquisition", "нет съёмки", "#525252"),
    LayerClass(Coverage.NOT_FOREST, "not forest", "не лес", "#f7f7f7"),
    LayerClass(Coverage.TOO_FEW_OBSERVATIONS, "too few observations", "мало наблюдений", "#e7d4e8"),
    LayerClass(Coverage.UNSTABLE_HISTORY, "unstable history", "нестабильная история", "#c2a5cf"),
    LayerClass(Coverage.NEVER_CLEAR, "never clear", "ни разу не видно", "#9970ab"),
)

COVERAGE = _classes(
    "coverage",
    "Coverage of the last 30 days",
    "Обеспеченность за последние 30 дней",
    "Whether the pixel was seen clear in the 30 days up to the last scene, and if not, why",
    *_COVERAGE_CLASSES,
)

COVERAGE_WEEK = _classes(
    "coverage_week",
    "Coverage of the last 7 days",
    "Обеспеченность за последние 7 дней",
    "Whether the pixel was seen clear in the 7 days up to the last scene, and if not, why",
    *_COVERAGE_CLASSES,
)

NDVI = Layer(
    name="ndvi",
    title_en="NDVI",
    title_ru="NDVI",
    description="Normalised difference vegetation index",
    kind="quantity",
    dtype="int16",
    nodata=NODATA_INT16,
    scale=1 / INDEX_SCALE,
    unit="1",
    ramp=(
        Stop(-0.1, "#a6d8f0"),
        Stop(0.0, "#c9b38c"),
        Stop(0.2, "#ece5b8"),
        Stop(0.4, "#c2de7a"),
        Stop(0.6, "#78b74a"),
        Stop(0.8, "#2f8534"),
        Stop(0.95, "#0b4a1d"),
    ),
)

NDVI_ANOMALY = Layer(
    name="ndvi_anomaly",
    title_en="NDVI anomaly",
    title_ru="Аномалия NDVI",
    description="NDVI minus the mean of the same period in earlier years",
    kind="quantity",
    dtype="int16",
    nodata=NODATA_INT16,
    scale=1 / INDEX_SCALE,
    unit="1",
    ramp=(
        Stop(-0.3, "#8c510a"),
        Stop(-0.15, "#d8b365"),
        Stop(-0.03, "#f6e8c3"),
        Stop(0.03, "#f5f5f5"),
        Stop(0.15, "#7fbf7b"),
        Stop(0.3, "#1b7837"),
    ),
)

CROPLAND = _classes(
    "cropland",
    "Cropland",
    "Пашня",
    "Cover classes of cropland, as known on the day of the product",
    LayerClass(Cropland.OTHER, "not cropland", "не пашня", "#f0f0f0"),
    LayerClass(
        Cropland.CROPLAND, "cropland, crop unknown", "пашня, культура неизвестна", "#e6c35c"
    ),
    LayerClass(Cropland.WINTER_CROPS, "winter crops", "озимые", "#5aae61"),
    LayerClass(Cropland.SUMMER_CROPS, "summer crops", "яровые и поздние", "#c2a5cf"),
)

PRODUCTIVITY = _classes(
    "productivity",
    "Productivity zone",
    "Зона продуктивности",
    "Zones of a field by the peak NDVI of past seasons, relative to the field",
    LayerClass(1, "lowest", "самая низкая", "#d7191c"),
    LayerClass(2, "2", "2", "#fdae61"),
    LayerClass(3, "3", "3", "#ffffbf"),
    LayerClass(4, "4", "4", "#a6d96a"),
    LayerClass(5, "5", "5", "#1a9641"),
)

FOREST_LAYERS = (
    STATUS,
    FIRST_ANOMALY,
    LAST_NORMAL,
    CONFIRMED_ON,
    PROBABILITY,
    MAGNITUDE,
    N_OBS,
    COVERAGE,
    COVERAGE_WEEK,
)
HARVEST_LAYERS = (NDVI, NDVI_ANOMALY, CROPLAND, PRODUCTIVITY)

LAYERS = {layer.name: layer for layer in (*FOREST_LAYERS, *HARVEST_LAYERS)}
"""Every layer by its name."""


def encode(layer: Layer, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Turn what the stages compute into the numbers of the file.

    Parameters
    ----------
    layer
        Where the values go.
    values
        Any shape. For classes: class values. For dates: day numbers (see
        `lesniva.conventions.to_day_number`, 0 = no date). For quantities: floats in the unit of the
        layer, NaN = missing; values the file cannot hold are brought to the nearest it can.
        Integers of the layer's own dtype are numbers of the file already and pass unchanged.

    Returns
    -------
    numpy.ndarray
        Same shape, dtype of the layer.

    Raises
    ------
    TypeError
        Dates that are no day numbers, or quantities that are neither floats nor in the dtype of
        the layer: a cast would change what they mean.
    """
    array = np.asarray(values)
    if array.dtype == layer.dtype:
        return array
    if layer.kind == "quantity" and np.issubdtype(array.dtype, np.floating):
        return _scaled(layer, array)
    if layer.kind == "dates" and array.dtype == np.uint16:
        numbers: npt.NDArray[Any] = _calendar()[array]
        return numbers
    if layer.kind == "classes" and array.dtype == np.bool_:
        return array.astype(layer.dtype)
    raise TypeError(
        f"layer {layer.name} ({layer.kind}) cannot be made of {array.dtype}; give "
        f"{'uint16 day numbers' if layer.kind == 'dates' else 'floats'} or {layer.dtype}"
    )


def _scaled(layer: Layer, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    limits = np.iinfo(layer.dtype)
    low = limits.min + (layer.nodata == limits.min)
    high = limits.max - (layer.nodata == limits.max)
    numbers = np.clip(np.rint((values - layer.offset) / layer.scale), low, high)
    filled: npt.NDArray[Any] = np.where(np.isnan(values), layer.nodata, numbers)
    return filled.astype(layer.dtype)


@cache
def _calendar() -> npt.NDArray[np.int32]:
    """YYYYMMDD of every day number; a table is quicker than date arithmetic on each pixel."""
    days = from_day_number(np.arange(2**16))
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]")
    numbers = (
        (years.astype(np.int64) + 1970) * 10_000
        + ((months - years).astype(np.int64) + 1) * 100
        + ((days - months).astype(np.int64) + 1)
    )
    return np.where(np.isnat(days), NODATA_DATE, numbers).astype(np.int32)
