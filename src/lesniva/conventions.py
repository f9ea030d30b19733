"""Names, types, units and flags of everything that flows between the stages.

The thirty lines that settle arguments:

- **band**: a STAC common name (`BANDS`). The archive's numbers are *DN* (uint16, 0 = no data);
  *harmonised DN* are int16 with the provider's offset already in them, so that
  reflectance = harmonised DN / `DN_PER_REFLECTANCE`; missing = `NODATA_INT16`.
- **index**: for users float32 with NaN; inside a block int16 = index × `INDEX_SCALE`, missing =
  `NODATA_INT16`.
- **time**: numpy ``datetime64`` in UTC, one slice a solar day, rising and unique. In state arrays a
  date is a uint16 `day number`: days since `EPOCH`, 0 = no date (see `to_day_number`).
- **masks** are named for what True says: ``clear``, ``forest``, ``cropland``.
- **dims** are ``time, y, x`` with y falling (north up).
- **areas** are hectares on the ellipsoid or in `EQUAL_AREA_CRS`, never pixel counts over zones.
- **tables** are long with a named key; columns carry their unit (``area_ha``, ``yield_t_ha``).
- **adm_id**: the ``id`` of a district in an area file.
- **states** are an ``IntEnum`` here and CF ``flag_values``/``flag_meanings`` in files (`flags`).
"""

from datetime import date
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from lesniva.errors import InputError

BANDS = (
    "coastal",
    "blue",
    "green",
    "red",
    "rededge1",
    "rededge2",
    "rededge3",
    "nir",
    "nir08",
    "nir09",
    "swir16",
    "swir22",
    "scl",
)
"""Band names of a cube, as in the STAC ``eo`` extension (nir = B08, nir08 = B8A)."""

ASSET_KEYS = {
    "coastal": ("coastal", "B01", "B01_20m", "B01_60m"),
    "blue": ("blue", "B02", "B02_10m"),
    "green": ("green", "B03", "B03_10m"),
    "red": ("red", "B04", "B04_10m"),
    "rededge1": ("rededge1", "B05", "B05_20m"),
    "rededge2": ("rededge2", "B06", "B06_20m"),
    "rededge3": ("rededge3", "B07", "B07_20m"),
    "nir": ("nir", "B08", "B08_10m"),
    "nir08": ("nir08", "B8A", "B8A_20m"),
    "nir09": ("nir09", "B09", "B09_60m"),
    "swir16": ("swir16", "B11", "B11_20m"),
    "swir22": ("swir22", "B12", "B12_20m"),
    "scl": ("scl", "SCL", "SCL_20m"),
}
"""Asset keys a band goes by: Earth Search, Planetary Computer, CDSE; the finest native first."""

HARMONISED_PROPERTY = "lesniva:harmonised"
"""Item property of archives we wrote ourselves: True says that no offset is left to apply."""

DN_PER_REFLECTANCE = 10_000
"""Harmonised DN of reflectance 1."""

INDEX_SCALE = 10_000
"""int16 steps in one unit of a spectral index."""

NODATA_INT16 = -32768
"""Missing value of harmonised DN and of scaled indices."""

NODATA_UINT8 = 255
"""Missing value of class rasters."""

EQUAL_AREA_CRS = "EPSG:6933"
"""Where hectares are measured (WGS 84 / NSIDC EASE-Grid 2.0, equal area)."""

EPOCH = np.datetime64("2015-01-01", "D")
"""Day number 0; Sentinel-2A flew in June 2015, so that no observation has it."""

ATTRIBUTION = "Contains modified Copernicus Sentinel data"
"""Goes with every published result that real imagery has entered."""

SYNTHETIC_NOTICE = "SYNTHETIC DATA: simulated imagery, not an observation of any real place"
"""Goes with every published result of the embedded archive."""


class Scl(IntEnum):
    """Sentinel-2 L2A scene classification (ESA product specification)."""

    NO_DATA = 0
    SATURATED_OR_DEFECTIVE = 1
    DARK_AREA = 2
    CLOUD_SHADOW = 3
    VEGETATION = 4
    NOT_VEGETATED = 5
    WATER = 6
    UNCLASSIFIED = 7
    CLOUD_MEDIUM = 8
    CLOUD_HIGH = 9
    THIN_CIRRUS = 10
    SNOW_OR_ICE = 11


class Status(IntEnum):
    """What the forest monitor says of a pixel."""

    NONE = 0
    FLAGGED = 1
    LOW = 2
    CONFIRMED = 3
    WINTER_EARLY = 4
    FINISHED = 5
    REARMED = 6
    NOT_FOREST = 250
    TOO_FEW_OBSERVATIONS = 251
    UNSTABLE_HISTORY = 252
    NEVER_CLEAR = 253
    NO_DATA = 255


class Channel(IntEnum):
    """Which channel of the forest monitor tells of a pixel."""

    REMOVAL = 0
    HEALTH = 1


class Coverage(IntEnum):
    """Whether a pixel was seen clear lately, and if not, why; from 250 on as in `Status`."""

    CLEAR = 0
    CLOUD = 1
    SHADOW = 2
    SNOW = 3
    SCENE_REJECTED = 4
    NO_ACQUISITION = 6
    NOT_FOREST = 250
    TOO_FEW_OBSERVATIONS = 251
    UNSTABLE_HISTORY = 252
    NEVER_CLEAR = 253
    NO_DATA = 255


class Cropland(IntEnum):
    """What a map of cropland says of a pixel."""

    OTHER = 0
    CROPLAND = 1
    WINTER_CROPS = 2
    SUMMER_CROPS = 3
    NO_DATA = 255


def flags(states: type[IntEnum]) -> dict[str, Any]:
    """CF attributes that explain the numbers of a state array.

    Parameters
    ----------
    states
        The enumeration the array is coded with; its members fit uint8.

    Returns
    -------
    dict
        ``flag_values`` (uint8) and ``flag_meanings`` (CF conventions 1.11, section 3.5).
    """
    return {
        "flag_values": np.array([int(state) for state in states], dtype=np.uint8),
        "flag_meanings": " ".join(state.name.lower() for state in states),
    }


def to_day_number(dates: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Days since `EPOCH` of ``datetime64`` dates; NaT becomes 0."""
    days = np.asarray(dates, dtype="datetime64[D]")
    number = (days - EPOCH).astype(np.int64)
    return np.where(np.isnat(days), 0, number).astype(np.uint16)


def from_day_number(number: npt.ArrayLike) -> npt.NDArray[np.datetime64]:
    """Dates of day numbers; 0 becomes NaT."""
    days = np.asarray(number, dtype=np.int64)
    return np.where(days == 0, np.datetime64("NaT", "D"), EPOCH + days.astype("timedelta64[D]"))


def cutoff_date(year: int, cutoff: str) -> np.datetime64:
    """Date of the cut-off ``MM-DD`` of a harvest year; from October on, in the autumn before it."""
    try:
        # 2001 has no 29 February: a cut-off is a day of every year.
        date.fromisoformat(f"2001-{cutoff}")
    except ValueError as error:
        raise InputError(f"the cut-off is {cutoff!r}, a day like 06-30 is wanted") from error
    before = int(cutoff[:2]) >= 10
    return np.datetime64(f"{year - before:04d}-{cutoff}", "D")
