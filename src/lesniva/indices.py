"""Spectral indices: formula, bands and reference of each.

All are computed from harmonised DN (reflectance × 10,000, int16) in one pass without temporaries,
and come as int16 × `INDEX_SCALE` for the detectors (`scaled`) or as float32 for people (`index`).
Reflectance may be slightly negative after the provider's offset, so that a ratio can leave its
range: a value outside the valid range, or on a vanishing denominator, is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.conventions import DN_PER_REFLECTANCE, INDEX_SCALE, NODATA_INT16
from lesniva.errors import InputError

MIN_DENOMINATOR = 200.0
"""In DN (reflectance 0.02): below it a ratio of two dark numbers is noise (deep water, shadow)."""

Kernel = Callable[..., None]


@dataclass(frozen=True)
class Index:
    """A spectral index: what it needs and where it comes from."""

    name: str
    """Lower case, the name of the variable it becomes."""
    long_name: str
    bands: tuple[str, ...]
    """Band names in the order of the formula."""
    formula: str
    reference: str
    kernel: Kernel
    """``kernel(*bands, clear, out)``: fills int16 `out` where the boolean `clear` is True."""
    falls_with_damage: bool = True
    """True where the loss of canopy lowers the index."""
    least_noise: float = 0.012
    """What a model of its seasons is off by at least, in index units."""


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _store(seen: bool, numerator: float, denominator: float, limit: float) -> int:
    """Scaled ratio, or missing where not seen or when the ratio means nothing.

    There is no branch, so that the loops around become SIMD.
    """
    enough = denominator >= MIN_DENOMINATOR
    ratio = numerator / (denominator if enough else 1.0)
    known = seen & enough & (abs(ratio) <= limit)
    scaled = int(np.int32(np.rint((ratio if known else 0.0) * INDEX_SCALE)))
    return scaled if known else NODATA_INT16


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _normalised_difference(high: Any, low: Any, clear: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            a, b = high[row, col], low[row, col]
            seen = clear[row, col] & (min(a, b) != NODATA_INT16)
            out[row, col] = _store(seen, float(a) - b, float(a) + b, 1.0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _evi(nir: Any, red: Any, blue: Any, clear: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            n, r, b = nir[row, col], red[row, col], blue[row, col]
            seen = clear[row, col] & (min(n, r, b) != NODATA_INT16)
            denominator = n + 6.0 * r - 7.5 * b + DN_PER_REFLECTANCE
            out[row, col] = _store(seen, 2.5 * (float(n) - r), denominator, 1.5)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _evi2(nir: Any, red: Any, clear: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            n, r = nir[row, col], red[row, col]
            seen = clear[row, col] & (min(n, r) != NODATA_INT16)
            denominator = n + 2.4 * r + DN_PER_REFLECTANCE
            out[row, col] = _store(seen, 2.5 * (float(n) - r), denominator, 1.5)


NIR08_NM, SWIR16_NM, SWIR22_NM = 864.0, 1610.4, 2185.7
"""Central wavelengths of Sentinel-2B's B8A, B11 and B12 (ESA spectral responses)."""

CONTINUUM = (SWIR16_NM - NIR08_NM) / (SWIR22_NM - NIR08_NM)
"""How far B11 lies along the line from B8A to B12."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _crswir(nir08: Any, swir16: Any, swir22: Any, clear: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            n, s1, s2 = nir08[row, col], swir16[row, col], swir22[row, col]
            seen = clear[row, col] & (min(n, s1, s2) != NODATA_INT16)
            continuum = n + (float(s2) - n) * CONTINUUM
            out[row, col] = _store(seen, float(s1), continuum, 3.0)


_ND = "({0} - {1}) / ({0} + {1})"

INDICES: Mapping[str, Index] = {
    index.name: index
    for index in (
        Index(
            "ndvi",
            "normalised difference vegetation index",
            ("nir", "red"),
            _ND.format("nir", "red"),
            "Rouse et al. 1974",
            _normalised_difference,
        ),
        Index(
            "nbr",
            "normalised burn ratio",
            ("nir08", "swir22"),
            _ND.format("nir08", "swir22"),
            "Key & Benson 2006",
            _normalised_difference,
        ),
        Index(
            "ndmi",
            "normalised difference moisture index",
            ("nir08", "swir16"),
            _ND.format("nir08", "swir16"),
            "Gao 1996",
            _normalised_difference,
        ),
        Index(
            "ndre",
            "normalised difference red edge index",
            ("nir08", "rededge1"),
            _ND.format("nir08", "rededge1"),
            "Gitelson & Merzlyak 1994",
            _normalised_difference,
            least_noise=0.02,
        ),
        Index(
            "ndsi",
            "normalised difference snow index",
            ("green", "swir16"),
            _ND.format("green", "swir16"),
            "Hall et al. 1995",
            _normalised_difference,
        ),
        Index(
            "evi",
            "enhanced vegetation index",
            ("nir", "red", "blue"),
            "2.5 (nir - red) / (nir + 6 red - 7.5 blue + 1)",
            "Huete et al. 2002",
            _evi,
        ),
        Index(
            "evi2",
            "two-band enhanced vegetation index",
            ("nir", "red"),
            "2.5 (nir - red) / (nir + 2.4 red + 1)",
            "Jiang et al. 2008",
            _evi2,
        ),
        Index(
            "crswir",
            "continuum-removed short-wave infrared",
            ("nir08", "swir16", "swir22"),
            "swir16 / (nir08 + (swir22 - nir08) (1610.4 - 864.0) / (2185.7 - 864.0))",
            "Dutrieux et al. 2021",
            _crswir,
            falls_with_damage=False,
            least_noise=0.02,
        ),
    )
}
"""Every index by name."""


def bands_of(names: Sequence[str]) -> tuple[str, ...]:
    """Bands that some indices need, each once.

    Raises
    ------
    InputError
        For a name that is no index.
    """
    return tuple(dict.fromkeys(band for spec in _known(names) for band in spec.bands))


def _known(names: Sequence[str]) -> list[Index]:
    """Look indices up by name; all unknown names make one error."""
    unknown = [name for name in names if name not in INDICES]
    if unknown:
        raise InputError(f"unknown index {', '.join(unknown)}: use one of {', '.join(INDICES)}")
    return [INDICES[name] for name in names]


def scaled(
    name: str,
    bands: Mapping[str, npt.NDArray[np.int16]],
    clear: npt.NDArray[np.bool_],
    out: npt.NDArray[np.int16],
) -> None:
    """Compute an index of one date into a preallocated array.

    Parameters
    ----------
    name
        Key of `INDICES`.
    bands
        Harmonised DN (y, x), int16, missing `NODATA_INT16`.
    clear
        (y, x), True where the observation is usable.
    out
        (y, x) int16, filled with index × `INDEX_SCALE`, missing `NODATA_INT16`.

    Raises
    ------
    InputError
        For a name that is no index.
    """
    (spec,) = _known([name])
    spec.kernel(*(bands[band] for band in spec.bands), clear, out)


def index(name: str, cube: xr.Dataset, *, clear: xr.DataArray | None = None) -> xr.DataArray:
    """Compute an index of a cube of reflectance.

    Parameters
    ----------
    name
        Key of `INDICES`.
    cube
        Bands as float32 reflectance with NaN (as `cube.load` gives them), dims ``(time,) y, x``.
    clear
        Same dims, True where the observation is usable; everywhere when not given.

    Returns
    -------
    xarray.DataArray
        float32, NaN where missing, with attributes of its own (a band's are not handed on).

    Raises
    ------
    InputError
        For a name that is no index, or bands that the cube does not have.
    """
    (spec,) = _known([name])
    missing = [band for band in spec.bands if band not in cube]
    if missing:
        raise InputError(
            f"{name} needs {', '.join(spec.bands)}; the cube lacks {', '.join(missing)}"
        )
    template = cube[spec.bands[0]].transpose(..., "y", "x")
    bands = [_to_dn(cube[band].transpose(*template.dims)) for band in spec.bands]
    shape = template.shape
    usable = (
        np.ones(shape, dtype=bool)
        if clear is None
        else np.ascontiguousarray(clear.transpose(*template.dims), dtype=bool)
    )
    out = np.empty(shape, dtype=np.int16)
    flat = (-1, *shape[-2:])
    layers = zip(*(a.reshape(flat) for a in (*bands, usable, out)), strict=True)
    for *inputs, result in layers:
        spec.kernel(*inputs, result)
    values = from_scaled(out)
    attrs = {
        "long_name": spec.long_name,
        "units": "1",
        "formula": spec.formula,
        "references": spec.reference,
    }
    return xr.DataArray(values, coords=template.coords, dims=template.dims, name=name, attrs=attrs)


def from_scaled(values: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """float32 index, NaN where missing, from int16 × `INDEX_SCALE`."""
    result = values.astype(np.float32) / np.float32(INDEX_SCALE)
    result[values == NODATA_INT16] = np.nan
    return result


def to_scaled(values: xr.DataArray) -> xr.DataArray:
    """int16 × `INDEX_SCALE`, missing `NODATA_INT16`, of a float index with NaN; same dims."""
    numbers = (values * INDEX_SCALE).round().clip(-32767, 32767)
    scaled: xr.DataArray = numbers.fillna(NODATA_INT16).astype(np.int16)
    return scaled


def _to_dn(reflectance: xr.DataArray) -> npt.NDArray[np.int16]:
    values = np.asarray(reflectance, dtype=np.float32) * DN_PER_REFLECTANCE
    missing = ~np.isfinite(values)
    dn = np.clip(np.rint(np.where(missing, 0, values)), -32767, 32767).astype(np.int16)
    dn[missing] = NODATA_INT16
    return dn
