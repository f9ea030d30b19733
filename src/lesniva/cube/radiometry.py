"""One truth for reflectance: how the numbers of an item become harmonised DN.

Since processing baseline 04.00 (2022-01-25) Sentinel-2 L2A numbers are shifted by +1000, and old
scenes are being reprocessed, so that the sensing date decides nothing. Each provider tells it
differently. `dn_offset` is the only place that decides; the first row that fits wins:

==  ============================================================  =======  ========
no  evidence in the item                                          add      certain
==  ============================================================  =======  ========
1   the band is ``scl``                                                 0  yes
2   `conventions.HARMONISED_PROPERTY` is true (our own archive)         0  yes
3   Earth Search flag ``boa_offset_applied`` is true                    0  yes
4   raster offset −0.1, baseline ≥ 04.00 or not stated              −1000  (a)
5   raster offset −0.1, baseline < 04.00                                0  no
6   flag false, baseline ≥ 04.00                                    −1000  no
7   raster offset 0, baseline ≥ 04.00                                   0  no
8   raster offset 0, baseline < 04.00 or not stated                     0  yes
9   baseline ≥ 04.00 and nothing else (Planetary Computer)          −1000  yes
10  baseline < 04.00 and nothing else                                   0  yes
11  nothing at all                                                      0  (b)
==  ============================================================  =======  ========

| (a) certain unless the flag says false: Earth Search items of 2022–2025 are known whose flag is
  false although the numbers are already shifted (Element84/earth-search issues 66 and 71).
| (b) certain when sensed before 2022-01-25; a reprocessed scene always states its baseline.
| Row 3: such items still carry a raster offset of −0.1, which must then not be applied.
| Row 5: no product before 04.00 was ever shifted.

An uncertain answer is not a guess that nobody sees: `suspicious` confronts it with the data.
"""

import re
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pystac

from lesniva.conventions import (
    ASSET_KEYS,
    DN_PER_REFLECTANCE,
    HARMONISED_PROPERTY,
    NODATA_INT16,
)
from lesniva.errors import InputError, UnreadableSceneError

SHIFT = -1000
"""BOA_ADD_OFFSET of every band since baseline 04.00 (ESA Products Specification Document)."""

SHIFTED_SINCE = (4, 0)
"""First processing baseline with the shift."""

SHIFTED_FROM = datetime(2022, 1, 25, tzinfo=UTC)
"""First day of that baseline in the regular stream."""

MOST_NEGATIVE = 0.10
"""More negative red than this share of clear land says that the offset was taken off twice.

ASSUMPTION: deep shadow and clear water give a few per cent at most.
"""

DARKEST_VEGETATION = 0.10
"""Red reflectance: when hardly any vegetation is as dark, the offset of 0.1 is still in."""

LEAST_DARK = 0.05
"""Share of vegetation that is at least so dark."""

DARKEST_DN = round(DARKEST_VEGETATION * DN_PER_REFLECTANCE)

ENOUGH = 1_000
"""Pixels that a judgement takes."""

_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
_NAMES = ("s2:product_uri", "s2:granule_id", "eopf:datatake_id", "s2:datatake_id")
_BASELINE = re.compile(r"\d\d\.\d\d")
_BASELINE_IN_NAME = re.compile(r"_N(\d\d)\.?(\d\d)(?:_|\.|$)")


@dataclass(frozen=True)
class DnOffset:
    """What is added to the DN of one band of one item to get harmonised DN."""

    value: int
    """0 or −1000; DN 0 is missing and gets nothing added."""
    why: str
    """The evidence, in words, for the record of the run."""
    certain: bool = True
    """False when the evidence contradicts itself; then `suspicious` has the last word."""


def dn_offset(item: pystac.Item, band: str) -> DnOffset:
    """Decide what is to be added to a band's DN, by evidence in the item (see the module's table).

    Parameters
    ----------
    item
        Sentinel-2 L2A item of any provider, as the catalog gave it.
    band
        One of `conventions.BANDS`.

    Returns
    -------
    DnOffset
        Harmonised DN = DN + ``value`` wherever DN > 0.

    Raises
    ------
    InputError
        `band` is not a band name of the house.
    UnreadableSceneError
        The item states a scale or an offset that no Sentinel-2 L2A product has.

    References
    ----------
    ESA, Sentinel-2 Products Specification Document 15.0, BOA_ADD_OFFSET and QUANTIFICATION_VALUE.
    """
    if band not in ASSET_KEYS:
        raise InputError(f"band {band!r} is unknown; use one of {', '.join(ASSET_KEYS)}")
    if band == "scl":
        return DnOffset(0, "classes have no offset")
    properties = item.properties
    if properties.get(HARMONISED_PROPERTY) is True:
        return DnOffset(0, "the archive was written with harmonised DN")
    flag = next((properties[name] for name in _FLAGS if name in properties), None)
    if flag is True:
        return DnOffset(0, "Earth Search has already applied the offset")
    return _weigh(flag, _raster_offset(item, band), baseline(item), _sensed(item))


def _weigh(
    flag: bool | None,
    offset: int | None,
    version: tuple[int, int] | None,
    sensed: datetime | None,
) -> DnOffset:
    """Rows 4 to 11 of the table."""
    shifted = None if version is None else version >= SHIFTED_SINCE
    label = "" if version is None else f"baseline {version[0]:02d}.{version[1]:02d}"
    unflagged = flag is None
    if offset == SHIFT and shifted is not False:
        told = "raster offset −0.1" if unflagged else "raster offset −0.1, flag false"
        return DnOffset(SHIFT, told, certain=unflagged)
    if offset == SHIFT:
        return DnOffset(0, f"raster offset −0.1, but {label} has none", certain=False)
    if shifted and not unflagged:
        return DnOffset(SHIFT, f"flag false and {label}", certain=False)
    if offset == 0:
        told = f"raster offset 0, but {label} has one" if shifted else "raster offset 0"
        return DnOffset(0, told, certain=not shifted)
    if version is not None:
        return DnOffset(SHIFT if shifted else 0, label)
    certain = sensed is not None and sensed < SHIFTED_FROM
    return DnOffset(0, "no flag, offset or baseline stated", certain=certain)


def baseline(item: pystac.Item) -> tuple[int, int] | None:
    """Give the processing baseline of an item, (5, 10) for 05.10; None when nothing in it tells.

    Read from ``s2:processing_baseline``, ``processing:version`` or the ``_N0510_`` in the name of
    the product, granule or datatake.
    """
    properties = item.properties
    for name in _BASELINES:
        stated = str(properties.get(name, ""))
        if _BASELINE.fullmatch(stated):
            major, minor = stated.split(".")
            return int(major), int(minor)
    for text in (*(str(properties.get(name, "")) for name in _NAMES), item.id):
        found = _BASELINE_IN_NAME.search(text)
        if found:
            return int(found[1]), int(found[2])
    return None


@dataclass(frozen=True)
class RedLook:
    """What the red of a scene looks like: counts of pixels, to be added up over blocks."""

    land: int = 0
    """Vegetation and bare ground, by the scene classification."""
    negative: int = 0
    """Of these, with a harmonised red below 0."""
    vegetation: int = 0
    dark: int = 0
    """Of the vegetation, with a red of at most `DARKEST_VEGETATION`."""

    def __add__(self, other: "RedLook") -> "RedLook":
        return RedLook(
            *(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True))
        )


def look(red: npt.NDArray[np.int16], scl: npt.NDArray[np.uint8]) -> RedLook:
    """Count what `suspicious` wants to know.

    Parameters
    ----------
    red
        (y, x) int16 harmonised DN, missing `conventions.NODATA_INT16`.
    scl
        (y, x) uint8 scene classification.
    """
    return RedLook(*_look(red, scl))


@numba.njit(nogil=True, cache=True)
def _look(red: Any, scl: Any) -> Any:
    land = negative = vegetation = dark = 0
    for row in range(red.shape[0]):
        for col in range(red.shape[1]):
            green, value = scl[row, col] == 4, red[row, col]
            seen = (green or scl[row, col] == 5) and value != NODATA_INT16
            land += seen
            negative += seen and value < 0
            vegetation += seen and green
            dark += seen and green and value <= DARKEST_DN
    return land, negative, vegetation, dark


def suspicious(offset: DnOffset, seen: RedLook) -> str | None:
    """Confront the decision about a scene with what its data look like.

    Parameters
    ----------
    offset
        What `dn_offset` said of the red band.
    seen
        Counts of the whole scene, or of what was read of it.

    Returns
    -------
    str or None
        A one-line warning; None when data and decision agree, or there is too little to say.
    """
    if offset.value != 0 and seen.land >= ENOUGH and seen.negative > MOST_NEGATIVE * seen.land:
        return (
            f"{seen.negative / seen.land:.0%} of red is negative after the offset ({offset.why}): "
            "the provider's numbers seem to be shifted already"
        )
    bright = seen.dark < LEAST_DARK * seen.vegetation
    if offset.value == 0 and seen.vegetation >= ENOUGH and bright:
        return (
            f"{1 - seen.dark / seen.vegetation:.0%} of vegetation has red above "
            f"{DARKEST_VEGETATION:.2f} without the offset ({offset.why}): "
            "the provider's numbers seem to be unshifted"
        )
    return None


def _raster_offset(item: pystac.Item, band: str) -> int | None:
    """Offset in DN stated by the band's asset (raster extension 1.1 or 2.0, STAC 1.1 bands)."""
    asset = next((item.assets[key] for key in ASSET_KEYS[band] if key in item.assets), None)
    if asset is None:
        return None
    fields = asset.extra_fields
    stated = _first(fields.get("raster:bands"))
    scale, offset = stated.get("scale"), stated.get("offset")
    for place in (fields, _first(fields.get("bands"))):
        scale = place.get("raster:scale", scale)
        offset = place.get("raster:offset", offset)
    if scale is not None and abs(float(scale) * DN_PER_REFLECTANCE - 1) > 1e-6:
        raise UnreadableSceneError(
            f"{item.id}: {band} states scale {scale}, Sentinel-2 L2A has 0.0001; "
            "leave this item or collection out"
        )
    if offset is None:
        return None
    value = round(float(offset) * DN_PER_REFLECTANCE)
    if value not in (0, SHIFT):
        raise UnreadableSceneError(
            f"{item.id}: {band} states offset {offset}, Sentinel-2 L2A has 0 or -0.1; "
            "leave this item or collection out"
        )
    return value


def _first(values: Any) -> dict[str, Any]:
    return values[0] if isinstance(values, list) and values else {}


def _sensed(item: pystac.Item) -> datetime | None:
    when = item.datetime or item.common_metadata.start_datetime
    return when.replace(tzinfo=UTC) if when and when.tzinfo is None else when
