"""Which pixels may be used, and what they are. True says: usable, or is that cover."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from lesniva.conventions import DN_PER_REFLECTANCE, NODATA_INT16, Scl
from lesniva.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

CLEAR_CLASSES = (Scl.VEGETATION, Scl.NOT_VEGETATED)
"""Classes that are clear land beyond doubt."""

HAZE_BLUE = round(0.07 * DN_PER_REFLECTANCE)
"""An unclassified pixel brighter than this in the blue is haze (method, A.1)."""

THIN_CLOUD_GREEN_SHARE = 0.15
THIN_CLOUD_BLUE = round(0.04 * DN_PER_REFLECTANCE)
"""Thin cloud: green / (nir08 + red + green) above the share, and blue above this."""

BARE_SWIR16 = round(0.125 * DN_PER_REFLECTANCE)
BARE_BLUE = round(0.06 * DN_PER_REFLECTANCE)
BARE_GREEN_RED = round(0.08 * DN_PER_REFLECTANCE)
"""Bare ground: swir16 above, blue below, and green + red above these."""

VEGETATION_SEASON = (115, 300)
"""First and last day of the year (25 April – 27 October) in which forests of 50–60° N are neither
under snow nor bare; the calendar stands in where no scene tells."""


@numba.njit(nogil=True, cache=True)
def _clear(scl: Any, blue: Any, use_blue: bool, water: bool, out: Any) -> None:
    # no branch in the loop, so that it becomes SIMD
    for row in range(scl.shape[0]):
        for col in range(scl.shape[1]):
            value, haze = scl[row, col], blue[row, col]
            dark = (not use_blue) | ((haze != NODATA_INT16) & (haze <= HAZE_BLUE))
            land = (value == 4) | (value == 5) | (water & (value == 6))
            out[row, col] = land | (dark & (value == 7))


def clear(
    scl: npt.NDArray[np.uint8],
    *,
    blue: npt.NDArray[np.int16] | None = None,
    water: bool = False,
) -> npt.NDArray[np.bool_]:
    """Usable observations of the land surface by the scene classification.

    Parameters
    ----------
    scl
        Scene classification, (y, x) uint8.
    blue
        Harmonised DN of the blue band; where given, an unclassified pixel (class 7) must also be
        dark in it.
    water
        Whether water (class 6) is usable too.

    Returns
    -------
    (y, x) bool array
        True for vegetation, bare ground and unclassified pixels without sign of haze.
    """
    out = np.empty(scl.shape, dtype=bool)
    _clear(scl, scl if blue is None else blue, blue is not None, water, out)
    return out


CLOUDY_CLASSES = (Scl.CLOUD_SHADOW, Scl.CLOUD_MEDIUM, Scl.CLOUD_HIGH, Scl.THIN_CIRRUS)
"""Classes whose surroundings are not to be trusted."""


def near_cloud(scl: npt.NDArray[np.uint8], radius: float) -> npt.NDArray[np.bool_]:
    """Pixels within a distance of clouds or their shadows, and these themselves.

    Parameters
    ----------
    scl
        Scene classification, (y, x) uint8. What is nearer to its edge than `radius` may have an
        unseen cloud beside it: give more than is wanted, and cut.
    radius
        Distance between the centres of pixels, in pixels.

    Returns
    -------
    (y, x) bool array
        True where a pixel of `CLOUDY_CLASSES` is at most so far away.
    """
    from scipy.ndimage import binary_dilation

    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = x * x + y * y <= radius * radius
    cloudy = np.isin(scl, CLOUDY_CLASSES)
    return np.asarray(binary_dilation(cloudy, structure=disc))


VEIL_BANDS = ("blue", "green", "red", "nir08", "swir16")
"""Bands that `veiled` needs."""


@numba.njit(nogil=True, cache=True)
def _veiled(blue: Any, green: Any, red: Any, nir08: Any, swir16: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            b, g, r = blue[row, col], green[row, col], red[row, col]
            n, s = nir08[row, col], swir16[row, col]
            known = min(b, g, r, n, s) != NODATA_INT16
            bright = b > THIN_CLOUD_BLUE and g > THIN_CLOUD_GREEN_SHARE * (float(g) + r + n)
            bare = s > BARE_SWIR16 and b < BARE_BLUE and float(g) + r > BARE_GREEN_RED
            out[row, col] = known and bright and not bare


def veiled(bands: Mapping[str, npt.NDArray[np.int16]]) -> npt.NDArray[np.bool_]:
    """Thin cloud and haze over canopy that the scene classification missed.

    Bare ground looks like haze to the test of thin cloud, so that a pixel which looks like bare
    ground counts as seen.

    Parameters
    ----------
    bands
        `VEIL_BANDS`, harmonised DN, (y, x) int16.

    Returns
    -------
    (y, x) bool array
        True where green / (nir08 + red + green) > 0.15 and blue > 0.04, except where swir16 >
        0.125, blue < 0.06 and green + red > 0.08 (Dutrieux et al. 2021).
    """
    out = np.empty(bands["blue"].shape, dtype=bool)
    blue, green, red, nir08, swir16 = (bands[name] for name in VEIL_BANDS)
    _veiled(blue, green, red, nir08, swir16, out)
    return out


SNOW_BANDS = ("green", "red", "swir16")
"""Bands that `snow` needs besides the classification."""

SNOW_NDSI = 0.40
SNOW_RED = round(0.20 * DN_PER_REFLECTANCE)
"""Snow: NDSI above, and red above (Gascoin et al. 2019)."""


@numba.njit(nogil=True, cache=True)
def _snow(scl: Any, green: Any, red: Any, swir16: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            g, r, s = green[row, col], red[row, col], swir16[row, col]
            known = min(g, r, s) != NODATA_INT16
            white = float(g) - s > SNOW_NDSI * (float(g) + s) and r > SNOW_RED
            clear = scl[row, col] in (4, 5, 7)
            out[row, col] = scl[row, col] == 11 or (known and white and clear)


def snow(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Snow on the ground or the branches.

    Parameters
    ----------
    bands
        ``scl`` and, where there, `SNOW_BANDS` as harmonised DN, (y, x).

    Returns
    -------
    (y, x) bool array
        True where the classification says snow, or where a clear pixel has NDSI > 0.40 and red >
        0.20.
    """
    if not all(band in bands for band in SNOW_BANDS):
        return np.asarray(bands["scl"] == Scl.SNOW_OR_ICE)
    out = np.empty(bands["scl"].shape, dtype=bool)
    green, red, swir16 = (bands[name] for name in SNOW_BANDS)
    _snow(bands["scl"], green, red, swir16, out)
    return out


WINTER = (305, 120)
"""First and last day of the year of scenes that may show fellings on snow."""

SNOWY_SHARE = 0.9
"""Share of snow on open land from which a scene shows fellings."""


@numba.njit(nogil=True, cache=True)
def _brightness(scl: Any, green: Any, red: Any, inside: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            g, r = green[row, col], red[row, col]
            clear = inside[row, col] and scl[row, col] in (2, 4, 5, 7, 11)
            if clear and min(g, r) != NODATA_INT16:
                out[row, col] = (np.int32(g) + r) // 2
            else:
                out[row, col] = NODATA_INT16


def brightness(
    bands: Mapping[str, npt.NDArray[Any]],
    inside: npt.NDArray[np.bool_],
    out: npt.NDArray[np.int16],
) -> None:
    """Brightness (green + red) / 2 of a scene of the snow season, into a preallocated array.

    Parameters
    ----------
    bands
        ``scl``, ``green`` and ``red``, (y, x).
    inside
        (y, x): pixels outside are missing.
    out
        (y, x) harmonised DN; missing, too, where there is cloud or its shadow. Dark areas count:
        under a low sun conifers are classified so.
    """
    _brightness(bands["scl"], bands["green"], bands["red"], inside, out)


SNOW_FREE_SHARE = 0.05
"""Share of snow on open land below which a scene is free of snow."""

GREEN_UP_GUARD = np.timedelta64(10, "D")
"""From the first of two consecutive scenes free of snow to the first scene that counts."""

SPRING = 60
"""No scene before 1 March counts, whatever lies on the ground."""

LOW_SUN = 23.0
"""Degrees at noon. With a lower sun half of a canopy is in its own shade; at 53° N the sun comes
down to it at the end of the calendar's season, farther south later."""

SNOW_MEMORY = np.timedelta64(20, "D")
"""A snowy scene keeps the calendar from beginning the season for so long."""

AUTUMN = 274
"""From 1 October on, the first scene with snow ends the season."""


def snow_free_season(
    dates: npt.NDArray[np.datetime64], snow_share: npt.NDArray[np.float64], *, latitude: float
) -> npt.NDArray[np.bool_]:
    """Scenes of the snow-free season, told by the scenes themselves.

    Parameters
    ----------
    dates
        ``datetime64[D]`` of all scenes known, rising. What is said of one depends on none after it.
    snow_share
        Share of snow on the open land of each, NaN where too little of it was seen.
    latitude
        Of the area, degrees north.

    Returns
    -------
    (time) bool array
        The season begins `GREEN_UP_GUARD` after the first of two consecutive snow-free scenes, or
        by the calendar (`VEGETATION_SEASON`) where no snow was seen for `SNOW_MEMORY`. It ends with
        the first snowy scene from October on, or by the calendar where no scene tells, or where the
        sun stands below `LOW_SUN` by then.
    """
    counts = np.zeros(len(dates), dtype=bool)
    calendar = in_season(dates)
    winter = in_season(dates, season=(1, SPRING - 1))
    sunny = _noon_sun(dates, latitude) >= LOW_SUN
    autumn = ~in_season(dates, season=(1, AUTUMN - 1))
    year, last_free, last_snowy, begin = None, None, None, None
    ended = told = False
    for place, date in enumerate(dates):
        if date.astype("datetime64[Y]") != year:
            year, last_free, begin = date.astype("datetime64[Y]"), None, None
            ended = told = False
        snowy = bool(snow_share[place] >= SNOW_FREE_SHARE)
        if snowy:
            last_snowy, last_free, ended = date, None, ended or bool(autumn[place])
        elif not np.isnan(snow_share[place]):
            told = told or bool(autumn[place])
            if last_free is not None and begin is None:
                begin = last_free + GREEN_UP_GUARD
            last_free = last_free or date
        quiet = last_snowy is None or date - last_snowy > SNOW_MEMORY
        begun = (begin is not None and date >= begin) or (bool(calendar[place]) and quiet)
        lasts = not autumn[place] or calendar[place] or (told and sunny[place])
        counts[place] = begun and lasts and not (snowy or ended or winter[place])
    return counts


def _noon_sun(dates: npt.NDArray[np.datetime64], latitude: float) -> npt.NDArray[np.float64]:
    """Height of the sun at noon, degrees (declination by Cooper 1969)."""
    day = (dates - dates.astype("datetime64[Y]")).astype(np.float64) + 1
    declination = 23.45 * np.sin(2 * np.pi * (284 + day) / 365)
    return np.asarray(90 - latitude + declination)


def in_season(dates: npt.ArrayLike, *, season: tuple[int, int] = VEGETATION_SEASON) -> Any:
    """Dates inside the vegetation season, by the calendar.

    Parameters
    ----------
    dates
        ``datetime64`` array.
    season
        First and last day of the year, both included.

    Returns
    -------
    bool array of the same shape
    """
    days = np.asarray(dates, dtype="datetime64[D]")
    day_of_year = (days - days.astype("datetime64[Y]")).astype(int) + 1
    return (day_of_year >= season[0]) & (day_of_year <= season[1])


def forest(path: Path, geobox: GeoBox, *, min_cover: float) -> npt.NDArray[np.bool_]:
    """Forest by a raster of tree cover that the user gives.

    Parameters
    ----------
    path
        GeoTIFF in any CRS: tree cover in percent (or any number that grows with it), with its own
        nodata value.
    geobox
        Grid of the block.
    min_cover
        Least tree cover of a forest pixel, in the raster's unit.

    Returns
    -------
    (y, x) bool array
        True for forest; False also where the raster says nothing.

    Raises
    ------
    InputError
        The raster is missing or unreadable.
    """
    cover = _warped(path, geobox, what="forest cover")
    return np.asarray(cover >= min_cover)


def cropland(path: Path, geobox: GeoBox, *, values: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Cropland by a class raster that the user gives (WorldCereal, a national map, own).

    Parameters
    ----------
    path
        GeoTIFF of classes in any CRS.
    geobox
        Grid of the block.
    values
        Classes that are cropland.

    Returns
    -------
    (y, x) bool array
        True for cropland; False also where the raster says nothing.

    Raises
    ------
    InputError
        The raster is missing or unreadable.
    """
    classes = _warped(path, geobox, what="cropland", resampling=Resampling.nearest)
    return np.isin(classes, list(values))


def parcels(shapes: "gpd.GeoDataFrame", geobox: GeoBox) -> npt.NDArray[np.bool_]:
    """Pixels whose middle lies in a parcel.

    Parameters
    ----------
    shapes
        Polygons in any CRS.
    geobox
        Grid of the block.

    Returns
    -------
    (y, x) bool array

    Raises
    ------
    InputError
        There is no coordinate system or no polygon.
    """
    from rasterio.features import geometry_mask

    drawn = shapes[shapes.geometry.notna() & ~shapes.geometry.is_empty]
    if shapes.crs is None or not drawn.geom_type.isin(["Polygon", "MultiPolygon"]).any():
        raise InputError("the parcels state no coordinate system or hold no polygon")
    local = drawn.to_crs(str(geobox.crs))
    local = local[local.intersects(geobox.extent.geom)]
    if local.empty:
        return np.zeros(geobox.shape, dtype=bool)
    outside = geometry_mask(local.geometry, geobox.shape, geobox.affine)
    return np.asarray(~outside)


def _warped(
    path: Path, geobox: GeoBox, *, what: str, resampling: Resampling = Resampling.average
) -> npt.NDArray[np.float32]:
    """Bring a user's raster onto the grid: float32, NaN where it says nothing."""
    result = np.full(geobox.shape, np.nan, dtype=np.float32)
    try:
        with rasterio.open(path, driver="GTiff") as file:
            if file.crs is None:
                raise InputError(
                    f"the {what} raster {path} cannot be placed: it states no coordinate system; "
                    "give it one"
                )
            reproject(
                rasterio.band(file, 1),
                result,
                dst_transform=geobox.affine,
                dst_crs=str(geobox.crs),
                dst_nodata=np.nan,
                resampling=resampling,
            )
    except (RasterioError, OSError) as error:
        raise InputError(f"the {what} raster {path} cannot be read: {error}") from error
    return result


BARE, GREEN = 0.35, 0.55
"""NDVI that bare or stubbled ground stays under, and that a standing crop passes."""

EVERGREEN = {"ndvi": 0.55, "nbr": 0.35, "ndmi": 0.10, "ndre": 0.30}
"""Index that a forest of the growing season stays above, four times out of five."""


def forest_from_history(index: str, low: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Forest by what an index did through the history, where the user gives no map.

    Parameters
    ----------
    index
        Name of the index, a key of `EVERGREEN`.
    low
        (y, x) float32: its 20th percentile over the clear observations of the vegetation season,
        NaN where there are none.

    Returns
    -------
    (y, x) bool array
        True where it stayed above `EVERGREEN`: closed canopy, but also lush meadows and bogs.
    """
    return np.asarray(low >= EVERGREEN[index])


def cropland_from_seasons(low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Cropland by what NDVI did in earlier seasons: bare at some time and green at another.

    Parameters
    ----------
    low, high
        NDVI (season, y, x), float with NaN: the 10th and 90th percentile of the clear observations
        from April to October of each season.

    Returns
    -------
    (y, x) bool array
        True where at least two thirds of the seasons with data were bare once (low < 0.35) and
        green once (high > 0.55): forests and meadows are never bare, villages and water never
        green.
    """
    low, high = np.asarray(low), np.asarray(high)
    seen = np.isfinite(low) & np.isfinite(high)
    tilled = seen & (low < BARE) & (high > GREEN)
    n_seen = seen.sum(axis=0)
    return np.asarray((n_seen > 0) & (tilled.sum(axis=0) * 3 >= n_seen * 2))
