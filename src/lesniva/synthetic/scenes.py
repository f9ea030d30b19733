"""Scenes: when the satellite passes, what the sky lets through, which numbers it writes.

One scene is drawn in three steps: the sky (clouds, their shadows, haze) as smooth random fields on
the coarser grid; the classification (SCL), which sees thick clouds well and thin ones badly; the
bands, pixel by pixel in one kernel: surface → disturbance → shadow → haze → cloud → noise → DN.

Each scene has a generator of its own, seeded by (seed, scene number), so that it does not matter
which thread draws it, or whether the others were drawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.conventions import (
    DN_PER_REFLECTANCE,
    NODATA_INT16,
    SYNTHETIC_NOTICE,
    Scl,
    to_day_number,
)
from lesniva.synthetic.landscape import (
    AGE_STEP_DAYS,
    Bytes,
    Grid,
    Land,
    Maps,
    Surface,
    Units,
    enlarge,
    smooth_field,
)
from lesniva.synthetic.season import day_of_year, solar_declination
from lesniva.synthetic.spectra import (
    BANDS,
    CLOUD,
    FINE_BANDS,
    HAZE,
    PATH_ERROR,
    Floats,
    as_floats,
    normalised_difference,
)

OFFSET_SINCE: Final = np.datetime64("2022-01-25", "D")
"""First day of processing baseline 04.00, whose DN are shifted."""

OFFSET_DN: Final = 1000

REVISIT_DAYS: Final = 5
"""Days between passes on one relative orbit with two satellites."""

NOISE_FLOOR: Final = np.float32(0.05)
"""Reflectance at which half of the noise no longer depends on brightness."""

SHADOW_DEPTH: Final = 0.62
"""Share of the light that a thick cloud takes away."""

CLOUD_SEEN: Final = 0.20
CLOUD_THICK: Final = 0.55
CIRRUS_SEEN: Final = 0.16
SHADOW_SEEN: Final = 0.40
"""Opacities from which the classification notices them; thinner ones it misses."""

KEPT_COVER: Final = 0.80
"""Scenes with a larger share of clouds are left out, as most archives leave them out."""


@dataclass(frozen=True)
class Acquisition:
    """One pass of a satellite."""

    number: int
    """Position in the archive, from 0; seeds the scene."""
    date: np.datetime64
    """Day in UTC."""
    platform: str
    """``sentinel-2a`` or ``sentinel-2b``."""
    orbit: int
    """Relative orbit."""
    cover: float
    """Share of the sky under clouds that the drawing aims at."""
    edge: tuple[float, float, float] | None
    """Edge of the swath: no data where a·x + b·y > c, x and y from 0 to 1 over the scene."""

    @property
    def baseline(self) -> str:
        """Processing baseline."""
        if self.date >= OFFSET_SINCE:
            return "04.00"
        return "03.01" if self.date >= np.datetime64("2021-06-30") else "02.14"

    @property
    def offset_dn(self) -> int:
        """What the provider has added to the DN."""
        return OFFSET_DN if self.date >= OFFSET_SINCE else 0


@dataclass(frozen=True)
class Scene:
    """One finished scene."""

    acquisition: Acquisition
    dn: dict[str, npt.NDArray[np.uint16]]
    """DN by band, 0 = no data, (y, x) at the band's own pixel size."""
    scl: Bytes
    """Scene classification, (y, x) on the coarser grid."""


def sun(date: np.datetime64, latitude: float) -> tuple[float, float]:
    """Elevation and azimuth (degrees) of the sun at the overpass, about 11.2 h solar time."""
    declination = float(solar_declination(day_of_year(np.array([date], "datetime64[D]")))[0])
    hour = np.deg2rad(-12.0)
    lat = np.deg2rad(latitude)
    sine = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(hour)
    elevation = np.arcsin(sine)
    cosine = (np.sin(declination) - sine * np.sin(lat)) / (np.cos(elevation) * np.cos(lat))
    return float(np.rad2deg(elevation)), float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def acquisitions(
    *,
    seed: int,
    start: np.datetime64,
    end: np.datetime64,
    latitude: float,
    orbits: tuple[int, ...],
    keep_per_month: dict[int, int] | None = None,
    edge_share: float = 0.1,
) -> list[Acquisition]:
    """List the passes from `start` to `end` that are worth keeping.

    Parameters
    ----------
    seed
        Seeds cloudiness and edges.
    start, end
        First and last day.
    latitude
        Degrees north; scenes with the sun under 12° are left out.
    orbits
        Relative orbits that see the place; each passes every `REVISIT_DAYS` days.
    keep_per_month
        How many to keep of each month (1…12, others none); without it, all.
    edge_share
        Share of the scenes that the edge of the swath cuts.

    Returns
    -------
    list of Acquisition
        Rising in time, cloud cover below `KEPT_COVER`.
    """
    rng = np.random.default_rng([seed, 11])
    passes = []
    for index, orbit in enumerate(orbits):
        first = start + np.timedelta64(1 + 2 * index, "D")
        for step, date in enumerate(np.arange(first, end + 1, np.timedelta64(REVISIT_DAYS, "D"))):
            platform = "sentinel-2a" if step % 2 == index % 2 else "sentinel-2b"
            passes.append((date.astype("datetime64[D]"), platform, orbit))
    passes.sort()
    kept = []
    for date, platform, orbit in passes:
        cover = _draw_cover(rng, date)
        edge = _draw_edge(rng) if rng.random() < edge_share else None
        priority = rng.random() + 0.5 * cover
        if cover < KEPT_COVER and sun(date, latitude)[0] > 12:
            kept.append((priority, Acquisition(0, date, platform, orbit, cover, edge)))
    chosen = _thin_out(kept, keep_per_month)
    return [
        Acquisition(number, a.date, a.platform, a.orbit, a.cover, a.edge)
        for number, a in enumerate(chosen)
    ]


def draw(
    land: Land,
    acquisition: Acquisition,
    *,
    seed: int,
    latitude: float,
    bands: tuple[str, ...] = BANDS,
) -> Scene:
    """Draw one scene.

    Parameters
    ----------
    land
        The ground.
    acquisition
        The pass.
    seed
        Seed of the archive.
    latitude
        Degrees north, for the sun.
    bands
        Bands to draw; a band's pixels do not depend on which others are drawn.

    Returns
    -------
    Scene
        The same for the same arguments, whoever asks.
    """
    rng = np.random.default_rng([seed, 23, acquisition.number])
    surface = land.surface(acquisition.date)
    sky = _sky(rng, acquisition, land.grid_of(fine=False), sun(acquisition.date, latitude))
    day = int(to_day_number(acquisition.date))
    scl = _classify(land.coarse, surface, sky, day)
    gain = 1 + 0.008 * rng.standard_normal() + 0.004 * rng.standard_normal(len(BANDS))
    gain *= 1 + (0.012 if acquisition.orbit % 2 else -0.012)
    path = 0.0025 * rng.standard_normal() * PATH_ERROR
    path = path + 0.0006 * rng.standard_normal(len(BANDS))
    seeds = rng.integers(1, 2**62, size=len(BANDS), dtype=np.uint64)
    dn = {}
    for band in bands:
        index = BANDS.index(band)
        fine = band in FINE_BANDS
        maps = land.fine if fine else land.coarse
        dn[band] = np.empty(maps.units.shape, dtype=np.uint16)
        _draw_band(
            dn[band],
            land.factor - 1 if fine else 0,
            maps.units,
            maps.weight,
            maps.light,
            maps.cause,
            maps.severity,
            maps.event_day,
            day,
            land.progress,
            np.ascontiguousarray(surface.upper[:, index]),
            np.ascontiguousarray(surface.lower[:, index]),
            np.ascontiguousarray(surface.after[:, :, index]),
            sky.cloud,
            sky.shadow,
            sky.haze,
            scl,
            np.float32(CLOUD[index]),
            np.float32(HAZE[index]),
            np.float32(gain[index]),
            np.float32(path[index]),
            acquisition.offset_dn,
            np.float32(land.fine_noise if fine else land.coarse_noise),
            seeds[index],
        )
    return Scene(acquisition, dn, scl)


def stack(scenes: Iterable[Scene]) -> xr.Dataset:
    """Stack scenes whose bands share one grid into a cube.

    Parameters
    ----------
    scenes
        Rising in time, all bands on one grid.

    Returns
    -------
    Dataset
        dims ``time, y, x``; each band harmonised DN (int16, missing `NODATA_INT16`), ``scl`` uint8.
    """
    drawn = list(scenes)
    data: dict[str, Any] = {
        band: (("time", "y", "x"), np.stack([harmonised(scene, band) for scene in drawn]))
        for band in drawn[0].dn
    }
    data["scl"] = (("time", "y", "x"), np.stack([scene.scl for scene in drawn]))
    time = np.array([scene.acquisition.date for scene in drawn], dtype="datetime64[ns]")
    return xr.Dataset(data, coords={"time": time}, attrs={"notice": SYNTHETIC_NOTICE})


def harmonised(scene: Scene, band: str) -> npt.NDArray[np.int16]:
    """DN of a band without the provider's offset, int16, missing `NODATA_INT16`."""
    dn = scene.dn[band]
    value = np.minimum(dn.astype(np.int32) - scene.acquisition.offset_dn, 32767).astype(np.int16)
    return np.where(dn == 0, np.int16(NODATA_INT16), value)


@dataclass(frozen=True)
class _Sky:
    cloud: Floats
    """Opacity 0…1."""
    shadow: Floats
    """Light taken away by clouds, 0…1."""
    haze: Floats
    """Opacity of haze 0…1."""
    inside: npt.NDArray[np.bool_]
    """Pixels the swath covers."""


def _draw_cover(rng: np.random.Generator, date: np.datetime64) -> float:
    """Cloud cover of a pass: clear and overcast days are both common, winters are dull."""
    doy = int(day_of_year(np.array([date], "datetime64[D]"))[0])
    dull = 0.5 + 0.5 * np.cos(2 * np.pi * (doy - 5) / 365)
    return float(rng.beta(0.55 + 0.5 * dull, 0.75 - 0.25 * dull))


def _draw_edge(rng: np.random.Generator) -> tuple[float, float, float]:
    """Edge of a swath: steep, leaning as the orbit does, data on one side."""
    side = rng.choice([-1.0, 1.0])
    position = rng.uniform(0.25, 0.9)
    lean = 0.21
    centre = position if side > 0 else 1 - position
    return side, side * lean, side * (centre + 0.5 * lean)


def _thin_out(
    kept: list[tuple[float, Acquisition]], limit: dict[int, int] | None
) -> list[Acquisition]:
    """Keep the first few of each month by priority, in order of time."""
    if limit is None:
        return [acquisition for _, acquisition in kept]
    months: dict[int, list[tuple[float, Acquisition]]] = {}
    for priority, acquisition in kept:
        month = int(acquisition.date.astype("datetime64[M]").astype(np.int64))
        months.setdefault(month, []).append((priority, acquisition))
    chosen: list[Acquisition] = []
    for month, group in months.items():
        best = sorted(group, key=lambda pair: pair[0])[: limit.get(month % 12 + 1, 0)]
        chosen.extend(acquisition for _, acquisition in best)
    return sorted(chosen, key=lambda acquisition: acquisition.date)


def _sky(
    rng: np.random.Generator,
    acquisition: Acquisition,
    grid: Grid,
    position: tuple[float, float],
) -> _Sky:
    """Draw clouds, their shadows under a sun at `position`, haze and the edge of the swath."""
    shape = grid.shape
    elevation, azimuth = position
    scale = max(shape) / rng.uniform(1.5, 4.0)
    field = smooth_field(rng, shape, scale=scale, roughness=3.2)
    threshold = np.quantile(field, 1 - acquisition.cover) if acquisition.cover > 0.01 else np.inf
    softness = np.float32(rng.uniform(0.15, 0.6))
    cloud = np.clip((field - np.float32(threshold)) / softness, 0, 0.96)
    base_m = rng.uniform(700, 2200)
    reach = min(base_m / np.tan(np.deg2rad(elevation)), 6000.0) / grid.resolution
    # The sun stands in the south: shadows fall to the north, and west or east with the azimuth.
    down = round(reach * np.cos(np.deg2rad(azimuth)))
    right = round(-reach * np.sin(np.deg2rad(azimuth)))
    shadow = np.roll(cloud, (down, right), axis=(0, 1)) * (1 - cloud)
    small = (max(shape[0] // 8, 4), max(shape[1] // 8, 4))
    veil = enlarge(smooth_field(rng, small, scale=max(small), roughness=3.5), shape)
    level = rng.exponential(0.012) if rng.random() < 0.86 else rng.uniform(0.03, 0.13)
    haze = np.clip(np.float32(level) * (1 + np.float32(0.7) * veil), 0, 0.5)
    rows = (np.arange(shape[0], dtype=np.float32) + 0.5)[:, np.newaxis] / shape[0]
    columns = (np.arange(shape[1], dtype=np.float32) + 0.5)[np.newaxis, :] / shape[1]
    inside = np.ones(shape, dtype=bool)
    if acquisition.edge is not None:
        a, b, c = acquisition.edge
        inside = a * columns + b * rows <= c
    return _Sky(as_floats(cloud), as_floats(shadow), as_floats(haze), inside)


def _classify(maps: Maps, surface: Surface, sky: _Sky, day: int) -> Bytes:
    """Scene classification: what the ground is, under what the sky shows."""
    ground = _ground_class(0.65 * surface.upper + 0.35 * surface.lower)
    ground[surface.water & (ground != Scl.SNOW_OR_ICE)] = Scl.WATER
    scl = ground[maps.units]
    age = (day - maps.event_day.astype(np.int32)) // AGE_STEP_DAYS
    changed = (maps.cause > 0) & (age >= 0) & (maps.severity > 140)
    after = _ground_class(surface.after)
    scl[changed] = after[maps.cause[changed], np.minimum(age[changed], after.shape[1] - 1)]
    scl[sky.shadow > SHADOW_SEEN] = Scl.CLOUD_SHADOW
    scl[sky.haze > CIRRUS_SEEN] = Scl.THIN_CIRRUS
    scl[sky.cloud > CLOUD_SEEN] = Scl.CLOUD_MEDIUM
    scl[sky.cloud > CLOUD_THICK] = Scl.CLOUD_HIGH
    scl[~sky.inside] = Scl.NO_DATA
    return scl


def _ground_class(spectra: Floats) -> Bytes:
    """SCL of clear ground by its spectrum (…, band)."""
    ndvi = normalised_difference(spectra, "nir", "red")
    ndsi = normalised_difference(spectra, "green", "swir16")
    scl = np.where(ndvi > 0.35, np.uint8(Scl.VEGETATION), np.uint8(Scl.NOT_VEGETATED))
    scl[(ndsi > 0.4) & (spectra[..., BANDS.index("red")] > 0.18)] = Scl.SNOW_OR_ICE
    return np.asarray(scl, dtype=np.uint8)


@numba.njit(nogil=True, cache=True)
def _draw_band(
    out: npt.NDArray[np.uint16],
    sky_shift: int,
    units: Units,
    weight: Bytes,
    light: npt.NDArray[np.int8],
    cause: Bytes,
    severity: Bytes,
    event_day: npt.NDArray[np.uint16],
    day: int,
    progress: Floats,
    upper: Floats,
    lower: Floats,
    after: Floats,
    cloud: Floats,
    shadow: Floats,
    haze: Floats,
    scl: Bytes,
    cloud_white: np.float32,
    haze_white: np.float32,
    gain: np.float32,
    path: np.float32,
    offset: int,
    noise: np.float32,
    seed: np.uint64,
) -> None:
    """Fill `out` with DN; the sky has pixels ``2 ** sky_shift`` times as large."""
    one = np.float32(1)
    share_of_byte = np.float32(1 / 255)
    oldest = progress.shape[1] - 1
    for i in range(out.shape[0]):
        sky_row = i >> sky_shift
        row_seed = seed + np.uint64(i * out.shape[1]) * np.uint64(0x9E3779B97F4A7C15)
        for j in range(out.shape[1]):
            sky_column = j >> sky_shift
            if scl[sky_row, sky_column] == 0:
                out[i, j] = 0
                continue
            unit = units[i, j]
            value = lower[unit]
            value += np.float32(weight[i, j]) * share_of_byte * (upper[unit] - value)
            kind = cause[i, j]
            if kind > 0 and day >= event_day[i, j]:
                age = min((day - np.int64(event_day[i, j])) // AGE_STEP_DAYS, oldest)
                part = np.float32(severity[i, j]) * share_of_byte * progress[kind, age]
                value += part * (after[kind, age] - value)
            value *= one + np.float32(0.001) * np.float32(light[i, j])
            thick = cloud[sky_row, sky_column]
            dark = np.float32(SHADOW_DEPTH) * shadow[sky_row, sky_column]
            value *= gain * (one - dark)
            value += haze[sky_row, sky_column] * (haze_white - value)
            # splitmix64 of the pixel's number; the sum of four uniform 16-bit parts is nearly
            # normal with variance 4/12.
            state = row_seed + np.uint64(j) * np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
            total = (
                np.int32(state & np.uint64(0xFFFF))
                + np.int32((state >> np.uint64(16)) & np.uint64(0xFFFF))
                + np.int32((state >> np.uint64(32)) & np.uint64(0xFFFF))
                + np.int32(state >> np.uint64(48))
            )
            normal = (np.float32(total) * np.float32(1 / 65536) - np.float32(2)) * np.float32(1.732)
            value += normal * noise * (value + NOISE_FLOOR)
            value += thick * (cloud_white - value) + path
            number = int(np.floor(value * np.float32(DN_PER_REFLECTANCE) + np.float32(0.5)))
            out[i, j] = np.uint16(min(max(number + offset, 1), 65535))
