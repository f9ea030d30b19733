"""Ground that looks like ground: smooth fields, stands, parcels, rivers, and the grid they lie on.

A landscape is a map of *units* (stands, fields, lakes, villages). On a given date each unit has two
spectra, an upper one (closed canopy, the denser parts of a field) and a lower one (what is seen
through the gaps), and each pixel a fixed share of the upper one. That is all the renderer needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lesniva.synthetic.spectra import Floats, as_floats

AGE_STEP_DAYS: Final = 5
"""Disturbed ground is described in steps of so many days since the event."""

Bytes = npt.NDArray[np.uint8]
Units = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Grid:
    """A north-up grid in metres."""

    epsg: int
    left: int
    """Easting of the left edge, m."""
    top: int
    """Northing of the upper edge, m."""
    resolution: int
    """Pixel size, m."""
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients a, b, c, d, e, f (as in ``proj:transform``)."""
        size = float(self.resolution)
        return size, 0.0, float(self.left), 0.0, -size, float(self.top)

    def coarser(self, factor: int) -> "Grid":
        """Give the same ground in pixels `factor` times as large."""
        return Grid(
            self.epsg,
            self.left,
            self.top,
            self.resolution * factor,
            self.height // factor,
            self.width // factor,
        )


@dataclass(frozen=True)
class Surface:
    """What the units look like on one date."""

    upper: Floats
    """Reflectance of the denser part, (unit, band)."""
    lower: Floats
    """Reflectance of the thinner part, (unit, band)."""
    after: Floats
    """Reflectance of disturbed ground, (cause, age, band); age in `AGE_STEP_DAYS`."""
    water: npt.NDArray[np.bool_]
    """Units that are open water, (unit,)."""


@dataclass(frozen=True)
class Maps:
    """Maps of a landscape at one pixel size, all (y, x)."""

    units: Units
    """Index into the spectra of `Surface`."""
    weight: Bytes
    """Share of the upper spectrum, 255 = all."""
    light: npt.NDArray[np.int8]
    """Fixed brightness texture, 1/1000 of the reflectance."""
    cause: Bytes
    """What disturbs the pixel, 0 = nothing; index into `Surface.after`."""
    severity: Bytes
    """Share of the pixel that is disturbed in the end, 255 = all."""
    event_day: npt.NDArray[np.uint16]
    """Day number of the disturbance, 0 = none."""

    def halved(self) -> "Maps":
        """Give the maps in pixels twice as large: textures averaged, the rest from the corner."""
        return Maps(
            units=np.ascontiguousarray(self.units[::2, ::2]),
            weight=_mean_of_four(self.weight),
            light=_mean_of_four(self.light),
            cause=np.ascontiguousarray(self.cause[::2, ::2]),
            severity=np.ascontiguousarray(self.severity[::2, ::2]),
            event_day=np.ascontiguousarray(self.event_day[::2, ::2]),
        )


@dataclass(frozen=True)
class Land:
    """A landscape as the renderer needs it."""

    grid: Grid
    """Pixels of the finer bands."""
    fine: Maps
    """Maps for the finer bands."""
    coarse: Maps
    """Maps for the coarser bands and the classification: half as many rows and columns, or `fine`
    itself where all bands share one grid."""
    progress: Floats
    """Share of the severity reached, (cause, age)."""
    surface: Callable[[np.datetime64], Surface]
    """Spectra of the units on a date."""
    fine_noise: float
    coarse_noise: float
    """Standard deviation of a pixel's own noise, share of its reflectance: sensor, registration,
    neighbourhood. Less where a pixel is large, and in the finer bands, which make up most of an
    archive's bytes."""

    @property
    def factor(self) -> int:
        """Pixels of the finer bands along one of the coarser."""
        return int(self.fine.units.shape[0] // self.coarse.units.shape[0])

    def grid_of(self, *, fine: bool) -> Grid:
        """Grid of the finer or of the coarser bands."""
        return self.grid if fine else self.grid.coarser(self.factor)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], *, scale: float, roughness: float = 3.0
) -> Floats:
    """Random field with features up to `scale` pixels and a power-law fine structure.

    Parameters
    ----------
    rng
        Source of chance.
    shape
        Rows and columns.
    scale
        Wavelength (pixels) of the largest features.
    roughness
        Exponent of the power spectrum beyond that: 2 = rugged, 4 = smooth.

    Returns
    -------
    ndarray of float32
        Zero mean, unit variance, periodic in both directions, (y, x).
    """
    from scipy import fft

    rows, columns = (fft.next_fast_len(size, real=True) for size in shape)
    frequency = np.hypot(
        np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns)[np.newaxis, :]
    ).astype(np.float32)
    amplitude = (frequency**2 + np.float32(1 / scale) ** 2) ** np.float32(-roughness / 4 - 0.25)
    amplitude[0, 0] = 0
    noise = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    spectrum = np.empty(amplitude.shape, dtype=np.complex64)
    spectrum.real = noise[0] * amplitude
    spectrum.imag = noise[1] * amplitude
    field = fft.irfft2(spectrum, s=(rows, columns), workers=1)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def stands(
    rng: np.random.Generator, shape: tuple[int, int], *, size: float, warp: float
) -> npt.NDArray[np.int64]:
    """Irregular patches of about ``size`` × ``size`` pixels with curved borders.

    Returns
    -------
    ndarray of int64
        Patch number from 0, (y, x).
    """
    from scipy.spatial import cKDTree

    count = max(4, round(shape[0] * shape[1] / size**2))
    centres = rng.uniform((0, 0), shape, size=(count, 2))
    # Every second pixel is enough: borders then follow the pixels of the coarser bands.
    half = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
    rows = 2 * np.arange(half[0])[:, np.newaxis] + warp * smooth_field(rng, half, scale=size)
    columns = 2 * np.arange(half[1])[np.newaxis, :] + warp * smooth_field(rng, half, scale=size)
    points = np.stack([rows.ravel(), columns.ravel()], axis=1)
    _, nearest = cKDTree(centres).query(points)
    doubled = np.asarray(nearest, np.int64).reshape(half).repeat(2, axis=0).repeat(2, axis=1)
    return np.ascontiguousarray(doubled[: shape[0], : shape[1]])


def parcels(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    block: float,
    length: float,
    width: float,
) -> npt.NDArray[np.int64]:
    """Fields as strips: the land falls into blocks, each ploughed along its own direction.

    Parameters
    ----------
    rng
        Source of chance.
    shape
        Rows and columns.
    block
        Size of a block of equally directed fields, pixels.
    length, width
        Typical size of one field, pixels.

    Returns
    -------
    ndarray of int64
        Parcel number from 0, consecutive, (y, x).
    """
    blocks = stands(rng, shape, size=block, warp=0.02 * block)
    count = int(blocks.max()) + 1
    angle = rng.choice([0.0, 0.25, -0.2, 0.5], size=count) + rng.normal(0, 0.06, count)
    angle += np.where(rng.random(count) < 0.5, np.pi / 2, 0.0)
    long = length * np.exp(rng.normal(0, 0.25, count))
    wide = width * np.exp(rng.normal(0, 0.25, count))
    shift = rng.uniform(0, 1, (2, count))
    rows, columns = np.indices(shape)
    cosine, sine = np.cos(angle)[blocks], np.sin(angle)[blocks]
    along = np.floor((columns * cosine + rows * sine) / long[blocks] + shift[0][blocks])
    across_shift = 0.37 * along + shift[1][blocks]
    across = np.floor((rows * cosine - columns * sine) / wide[blocks] + across_shift)
    key = (blocks * 4096 + along.astype(np.int64) + 2048) * 4096 + across.astype(np.int64) + 2048
    return np.asarray(np.unique(key, return_inverse=True)[1], dtype=np.int64).reshape(shape)


def river_distance(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    start: float,
    drift: float,
    meander: float,
) -> Floats:
    """Distance from a river that winds from the northern to the southern edge.

    Parameters
    ----------
    rng
        Source of chance.
    shape
        Rows and columns.
    start
        Column at the northern edge.
    drift
        Columns gained down to the southern edge.
    meander
        Amplitude of the bends, pixels.

    Returns
    -------
    ndarray of float32
        Distance across the flow, pixels, (y, x).
    """
    down = np.arange(shape[0]) / shape[0]
    path = start + drift * down
    for wave in range(1, 8):
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        path = path + meander * size / wave * np.sin(2 * np.pi * wave * 1.7 * down + phase)
    across = np.abs(np.arange(shape[1])[np.newaxis, :] - path[:, np.newaxis])
    return np.asarray(across / np.hypot(1, np.gradient(path))[:, np.newaxis], dtype=np.float32)


def discs(
    rng: np.random.Generator, shape: tuple[int, int], *, count: int, radius: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Round patches with ragged edges (villages, ponds), True inside, (y, x)."""
    ragged = smooth_field(rng, shape, scale=2 * radius[1], roughness=2.5)
    inside = np.zeros(shape, dtype=bool)
    reach = int(4 * radius[1])
    for _ in range(count):
        row, column = (rng.uniform(0.06, 0.94, 2) * shape).astype(int)
        size, flatness = rng.uniform(*radius), rng.uniform(0.6, 1.4)
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = (slice(top, row + reach), slice(left, column + reach))
        edge = size * (1 + 0.3 * ragged[window])
        rows = np.arange(top, top + edge.shape[0])[:, np.newaxis] - row
        columns = np.arange(left, left + edge.shape[1])[np.newaxis, :] - column
        inside[window] |= np.hypot(rows, columns * flatness) < edge
    return inside


def enlarge(field: Floats, shape: tuple[int, int]) -> Floats:
    """Interpolate a small field to `shape`, bilinearly."""
    for axis in (0, 1):
        size, small = shape[axis], field.shape[axis]
        position = np.linspace(0, small - 1, size, dtype=np.float32)
        before = np.minimum(position.astype(np.int64), small - 2)
        part = (position - before.astype(np.float32)).reshape((-1, 1) if axis == 0 else (1, -1))
        low, high = np.take(field, before, axis), np.take(field, before + 1, axis)
        field = as_floats(low + part * (high - low))
    return field


def to_bytes(share: npt.ArrayLike) -> Bytes:
    """Shares 0…1 as 0…255."""
    return np.asarray(np.round(np.clip(share, 0, 1) * np.float64(255)), dtype=np.uint8)


def _mean_of_four(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows, columns = values.shape
    blocks = values.reshape(rows // 2, 2, columns // 2, 2).astype(np.float32)
    return np.asarray(np.round(blocks.mean(axis=(1, 3))), dtype=values.dtype)
