"""Windows of the archive's files on the grid of a block, as harmonised integers.

The overall strategy: a file in the block's own CRS is read through a window (GDAL decimates with
the file's overviews or repeats pixels on the way); any other file is warped. Item by item of a
solar day only the pixels still missing are filled. Numbers stay integers: reflectance × 10,000 as
int16 with the provider's offset already in it.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window

from lesniva.conventions import BANDS, DN_PER_REFLECTANCE, NODATA_INT16, Scl
from lesniva.cube.days import Scene, SolarDay
from lesniva.errors import CredentialsError, InputError, UnreadableSceneError

DRIVERS = {".jp2": "JP2OpenJPEG"}
"""GDAL drivers that a scene may be opened with, GTiff for all else. GDAL must not guess: it would
take a text file named .tif for a VRT that leads anywhere."""

MAX_PIXELS = 20_000 * 20_000
"""No Sentinel-2 band has more; a file that says so is refused before anything is allocated."""

GDAL_OPTIONS: Mapping[str, str] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.jp2",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
}
"""How files are opened unless the caller's `gdal_options` say otherwise."""

TRIES = 4
"""How often a file of another machine is opened before it counts as unreadable."""

REFUSED = re.compile(
    r"HTTP response code: 401\b|InvalidCredentials|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|ExpiredToken|AWS_SECRET_ACCESS_KEY"
)
"""What GDAL says of credentials. A bare 403 is none of it: buckets say so of a lost file too."""

PAUSE_SECONDS = 0.5
"""Before the second try; doubled before each further one."""


def _as_it_is(href: str) -> str:
    return href


def _no_options(_href: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Access:
    """How the files of a source are opened; the functions must pickle."""

    gdal_options: Mapping[str, str] = field(default_factory=dict)
    """On top of `GDAL_OPTIONS`."""
    address: Callable[[str], str] = _as_it_is
    """Address of a file → what to open right now (signatures end)."""
    retry_options: Callable[[str], Mapping[str, str]] = _no_options
    """Opened address → GDAL options that make a second try ask the server anew; GDAL would
    remember the failure. Empty where a second try makes no sense (local files)."""
    redact: Callable[[str], str] = _as_it_is
    """Takes secrets out of a message."""


LOCAL = Access()
"""Files on this machine."""

IntegerBands = dict[str, npt.NDArray[Any]]
"""Band → array (y, x): int16 harmonised DN, missing `NODATA_INT16`; ``scl`` uint8, missing 0."""


def read_day(
    day: SolarDay,
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    access: Access = LOCAL,
) -> IntegerBands:
    """Read some bands of one solar day on the grid of a block.

    Parameters
    ----------
    day
        The scenes; the first valid pixel of the newest one counts.
    geobox
        Grid of the block.
    bands
        Names of `conventions.BANDS`.
    access
        How the files are opened.

    Returns
    -------
    dict
        Band → (y, x) array: int16 harmonised DN (reflectance × 10,000, slightly negative values
        are real), missing `NODATA_INT16`; ``scl`` is uint8 with 0 where missing.

    Raises
    ------
    InputError
        A band is not a band name.
    UnreadableSceneError
        A scene lacks a band, or a file is broken or out of reach.
    CredentialsError
        The server refuses the credentials: so it would for every other scene.
    """
    unknown = [band for band in bands if band not in BANDS]
    if unknown:
        raise InputError(f"unknown band {', '.join(unknown)}: use one of {', '.join(BANDS)}")
    result: IntegerBands = {}
    with rasterio.Env(**{**GDAL_OPTIONS, **access.gdal_options}):
        for scene in day.scenes:
            if not _is_full(result, bands):  # a tile's neighbour would show the same ground again
                _fill_from_scene(result, bands, scene, geobox, access)
    return {band: result[band] if band in result else _empty(band, geobox) for band in bands}


def load(
    days: Sequence[SolarDay],
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    access: Access = LOCAL,
    threads: int | None = None,
) -> xr.Dataset:
    """Load a cube of reflectance for people to work with. Reads now, into memory.

    Parameters
    ----------
    days, geobox, bands, access
        As in `read_day`.
    threads
        Days read at the same time; the number of processors when not given.

    Returns
    -------
    xarray.Dataset
        One variable a band, dims ``time, y, x`` (time in UTC days, y falling): float32 reflectance
        with NaN where missing; ``scl`` uint8 with CF flags, 0 where missing. Attribute
        ``dn_offset`` of a band lists, a date, what was added to the archive's numbers and why.
    """
    shape = (len(days), *geobox.shape)
    stacks = {b: np.empty(shape, dtype=np.uint8 if b == "scl" else np.float32) for b in bands}

    def one(place: int) -> None:
        for band, values in read_day(days[place], geobox, bands, access=access).items():
            if band == "scl":
                stacks[band][place] = values
            else:
                _to_reflectance(values, stacks[band][place])

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(one, range(len(days))))
    time = np.array([day.date for day in days], dtype="datetime64[ns]")
    variables = {}
    for band, stack in stacks.items():
        if band == "scl":
            variables[band] = (("time", "y", "x"), stack, _scl_attrs())
        else:
            attrs = {
                "units": "1",
                "long_name": f"{band} reflectance",
                "dn_offset": _why(days, band),
            }
            variables[band] = (("time", "y", "x"), stack, attrs)
    coords = {**xr_coords(geobox), "time": ("time", time, {"standard_name": "time"})}
    cube = xr.Dataset(variables, coords=coords)
    for band in bands:
        cube[band].encoding["grid_mapping"] = "spatial_ref"
    return cube


@numba.njit(nogil=True, cache=True)
def _to_reflectance(harmonised: Any, out: Any) -> None:
    """Write harmonised DN (int16) as reflectance (float32), NaN where missing."""
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            value = harmonised[row, col]
            reflectance = np.float32(value) / np.float32(DN_PER_REFLECTANCE)
            out[row, col] = np.float32(np.nan) if value == NODATA_INT16 else reflectance


def _scl_attrs() -> dict[str, Any]:
    return {
        "long_name": "scene classification",
        "flag_values": np.array([int(member) for member in Scl], dtype=np.uint8),
        "flag_meanings": " ".join(member.name.lower() for member in Scl),
    }


def _why(days: Sequence[SolarDay], band: str) -> str:
    decisions = ((scene.id, scene.offsets[band]) for day in days for scene in day.scenes)
    return "; ".join(f"{name}: {offset.value:+d} ({offset.why})" for name, offset in decisions)


def _empty(band: str, geobox: GeoBox) -> npt.NDArray[Any]:
    if band == "scl":
        return np.zeros(geobox.shape, dtype=np.uint8)
    return np.full(geobox.shape, NODATA_INT16, dtype=np.int16)


def _is_full(result: IntegerBands, bands: Sequence[str]) -> bool:
    """Tell whether no pixel of any band is missing any more."""
    return all(
        band in result and (result[band] != (Scl.NO_DATA if band == "scl" else NODATA_INT16)).all()
        for band in bands
    )


def _fill_from_scene(
    result: IntegerBands, bands: Sequence[str], scene: Scene, geobox: GeoBox, access: Access
) -> None:
    """Fill with a scene what those before it left missing; the first one makes the arrays."""
    missing = [band for band in bands if band not in scene.files]
    if missing:
        raise UnreadableSceneError(
            f"scene {scene.id} has no file for {', '.join(missing)}; it has "
            f"{', '.join(scene.files)}"
        )
    for band in bands:
        raw = _read(scene.files[band], geobox, band, scene.id, access)
        if raw is None:
            continue
        first = band not in result
        if band != "scl":
            offset = scene.offsets[band].value
            if first and raw.dtype == np.uint16:
                result[band] = raw.view(np.int16)
                _harmonise_in_place(result[band], offset)
                continue
            filled = np.empty(raw.shape, dtype=np.int16) if first else result[band]
            _harmonise(raw, offset, first, filled)
            result[band] = filled
        elif first:
            result[band] = raw.astype(np.uint8, copy=False)
        else:
            np.copyto(result[band], raw, where=result[band] == Scl.NO_DATA)


@numba.njit(nogil=True, cache=True)
def _harmonise(raw: Any, offset: int, first: bool, filled: Any) -> None:
    """Fill missing pixels of `filled` (int16) with ``raw + offset``; raw 0 is missing.

    At `first` all are missing, whatever stands in `filled`. There is no branch in the loop, so that
    it becomes SIMD.
    """
    for row in range(raw.shape[0]):
        for col in range(raw.shape[1]):
            value = np.int32(raw[row, col])
            before = NODATA_INT16 if first else filled[row, col]
            now = NODATA_INT16 if value == 0 else min(value + offset, 32767)
            filled[row, col] = now if before == NODATA_INT16 else before


@numba.njit(nogil=True, cache=True)
def _harmonise_in_place(values: Any, offset: int) -> None:
    """Turn the 16 bits of numbers into harmonised DN where they stand: new memory is slow."""
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            value = np.int32(np.uint16(values[row, col]))
            values[row, col] = NODATA_INT16 if value == 0 else min(value + offset, 32767)


def _read(
    href: str, geobox: GeoBox, band: str, scene_id: str, access: Access
) -> npt.NDArray[Any] | None:
    """Read one file on the grid of the block; None where it does not reach."""
    opened = access.address(href)
    anew = access.retry_options(opened)
    for wait in (0.0, *(PAUSE_SECONDS * 2**again for again in range(TRIES - 1))):
        if wait:
            time.sleep(wait)
        try:
            with rasterio.Env(**anew) if wait else nullcontext():
                return _read_once(opened, geobox, band, scene_id)
        except (RasterioError, NotGeoreferencedWarning, OSError) as error:
            fault = error
        # the second try makes GDAL forget the refusal, for a later run in this process
        if not anew or (wait and REFUSED.search(str(fault))):
            break
    if REFUSED.search(str(fault)):
        raise CredentialsError(
            f"scene {scene_id} is refused: {access.redact(str(fault))}; mend the credentials in "
            "the environment, then run again: it goes on from here"
        ) from fault
    raise UnreadableSceneError(
        f"scene {scene_id}: {band} cannot be read: {access.redact(str(fault))}"
    ) from fault


def _read_once(opened: str, geobox: GeoBox, band: str, scene_id: str) -> npt.NDArray[Any] | None:
    driver = DRIVERS.get(Path(opened.partition("?")[0]).suffix.lower(), "GTiff")
    with rasterio.open(opened, driver=driver) as file:
        if file.width * file.height > MAX_PIXELS:
            raise UnreadableSceneError(
                f"scene {scene_id}: {band} claims {file.width} × {file.height} pixels; "
                "no Sentinel-2 band is that large"
            )
        if file.crs is None:
            raise UnreadableSceneError(
                f"scene {scene_id}: {band} does not say where it lies (no coordinate system)"
            )
        if file.crs == _crs(geobox) and _north_up(file.transform):
            return _window(file, geobox, band)
        return _warp(file, geobox, band)


def _crs(geobox: GeoBox) -> rasterio.crs.CRS:
    return _CRS_CACHE.of(str(geobox.crs))


class _CrsCache(threading.local):
    """Parsing a CRS costs more than opening a small file; each thread keeps what it has parsed."""

    def __init__(self) -> None:
        self._parsed: dict[str, rasterio.crs.CRS] = {}

    def of(self, text: str) -> rasterio.crs.CRS:
        if text not in self._parsed:
            self._parsed[text] = rasterio.crs.CRS.from_user_input(text)
        return self._parsed[text]


_CRS_CACHE = _CrsCache()


def _north_up(transform: rasterio.Affine) -> bool:
    return bool(transform.b == transform.d == 0 and transform.a > 0 > transform.e)


def _resampling(band: str, ratio: float) -> Resampling:
    """Classes are never mixed; reflectance is averaged downwards and interpolated upwards."""
    if band == "scl" or abs(ratio - 1) < 1e-6:
        return Resampling.nearest
    return Resampling.average if ratio > 1 else Resampling.bilinear


def _window(file: rasterio.DatasetReader, geobox: GeoBox, band: str) -> npt.NDArray[Any] | None:
    """Read a file of the same CRS: only target pixels that it covers wholly are filled."""
    to_source = ~file.transform * geobox.affine
    ratio_x, ratio_y = to_source.a, to_source.e
    height, width = geobox.shape
    first_col, end_col = _covered(to_source.c, ratio_x, width, file.width)
    first_row, end_row = _covered(to_source.f, ratio_y, height, file.height)
    if first_col >= end_col or first_row >= end_row:
        return None
    resampling = _resampling(band, ratio_x)
    if resampling != Resampling.nearest and file.nodata != 0:
        # the JPEG 2000 files of a SAFE do not say that 0 is missing, and GDAL would mix it in
        values = _warped(file, geobox[first_row:end_row, first_col:end_col], resampling)
        return _placed(values, geobox, first_row, first_col)
    window = Window(
        to_source.c + first_col * ratio_x,
        to_source.f + first_row * ratio_y,
        (end_col - first_col) * ratio_x,
        (end_row - first_row) * ratio_y,
    )
    shape = (end_row - first_row, end_col - first_col)
    if resampling == Resampling.nearest and ratio_x < 1:
        return _placed(_repeated(file, window, shape), geobox, first_row, first_col)
    values = np.asarray(file.read(1, window=window, out_shape=shape, resampling=resampling))
    return _placed(values, geobox, first_row, first_col)


def _repeated(
    file: rasterio.DatasetReader, window: Window, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Read a window of a coarser file and repeat its pixels, several times as fast as GDAL does."""
    rows = _nearest(window.row_off, window.height, shape[0], file.height)
    cols = _nearest(window.col_off, window.width, shape[1], file.width)
    coarse = Window(cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)
    values: npt.NDArray[Any] = file.read(1, window=coarse)
    wide = values.take(cols - cols[0], axis=1)
    repeated: npt.NDArray[Any] = wide.take(rows - rows[0], axis=0)
    return repeated


def _nearest(start: float, length: float, size: int, source_size: int) -> npt.NDArray[np.int64]:
    """Source pixels under the centres of target pixels, along one axis."""
    centres = start + (np.arange(size) + 0.5) * (length / size)
    slack = 1e-6  # a centre on the border of two pixels: the same one for all blocks, as in GDAL
    places: npt.NDArray[np.int64] = np.floor(centres + slack).astype(np.int64)
    return places.clip(0, source_size - 1)


def _placed(
    values: npt.NDArray[Any], geobox: GeoBox, first_row: int, first_col: int
) -> npt.NDArray[Any]:
    """Put what a file covers at its place in the block; the rest is 0, missing."""
    if values.shape == geobox.shape:
        return values
    whole = np.zeros(geobox.shape, dtype=values.dtype)
    height, width = values.shape
    whole[first_row : first_row + height, first_col : first_col + width] = values
    return whole


def _covered(start: float, ratio: float, size: int, source_size: int) -> tuple[int, int]:
    """First and end target pixel that lie wholly inside the source, along one axis."""
    slack = 1e-3  # of a source pixel: coordinates in metres are rounded in the files
    first = int(np.ceil((-start - slack) / ratio))
    end = int(np.floor((source_size - start + slack) / ratio))
    return max(first, 0), min(end, size)


def _warp(file: rasterio.DatasetReader, geobox: GeoBox, band: str) -> npt.NDArray[Any] | None:
    """Bring a file of another CRS (the neighbour zone's tile) onto the grid."""
    ratio = abs(geobox.resolution.x) / abs(file.transform.a)
    values = _warped(file, geobox, _resampling(band, ratio))
    return values if values.any() else None


def _warped(
    file: rasterio.DatasetReader, geobox: GeoBox, resampling: Resampling
) -> npt.NDArray[Any]:
    destination = np.zeros(geobox.shape, dtype=file.dtypes[0])
    reproject(
        rasterio.band(file, 1),
        destination,
        dst_transform=geobox.affine,
        dst_crs=_crs(geobox),
        src_nodata=0,
        dst_nodata=0,
        resampling=resampling,
    )
    return destination
