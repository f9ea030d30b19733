"""The winter channel: fellings seen on snow, long before the first green scene.

A closed conifer canopy stays dark over snow, a fresh cut is white. Each scene of the snow season is
compared with the pixel's own median brightness B = (green + red) / 2 over the snow scenes of the
history, less the median departure of all such pixels in the scene (snow on the branches). What is
far brighter is evidence, as in `cusum`; two dates of it make WINTER_EARLY. The first two green
observations put it to the test: it becomes a confirmed event with the date of the winter, or it is
closed. Open leafless canopies are bright over snow whatever happens, and have no such model. A
canopy that was dark over snow stood on that day, which dates what the spring shows.
"""

from math import log

import numpy as np
import numpy.typing as npt
import xarray as xr
from numba import njit

from lesniva.change.cusum import EVIDENCE_STEPS
from lesniva.change.regression import MAD_TO_SIGMA
from lesniva.conventions import DN_PER_REFLECTANCE, NODATA_INT16, Status

MIN_SNOW_SCENES = 4
"""Fewer clear snow scenes in the history say little of a canopy over snow."""

MAX_CANOPY = 0.35
"""Reflectance of a canopy over snow above which a felling would hardly be brighter: closed conifers
have .05 to .15, closed leafless canopies about .3, open ones more."""

LEAST_CUT = 0.5
"""Least reflectance of a felling under snow, beyond that of snow on branches."""

SIGMA_FLOOR = 0.02
"""Least noise of the brightness, reflectance."""

ANOMALOUS_Z = 4.0
"""Departures beyond this are evidence …"""

NORMAL_Z = 2.0
"""… and those below this speak against a felling."""

CLIP = 0.15
"""Least probability a single snow scene may give either class."""

MIN_DATES = 2
"""Snow scenes with evidence that WINTER_EARLY needs."""

TESTS = 2
"""Green observations that settle what the snow has shown."""

DEPARTURE_BIN = 0.0025
"""Width of a bin of departures, reflectance; the bins span −1 … 1."""

FIELDS = (
    "snow_level",
    "snow_sigma",
    "snow_evidence",
    "snow_dates",
    "snow_first",
    "snow_normal",
    "snow_tests",
)
"""Arrays of the winter channel in a state, 12 bytes a pixel."""

SETTLED = (
    "status",
    "evidence",
    "first_anomaly",
    "last_normal",
    "confirmed",
    "span_days",
    *FIELDS[2:],
)
"""Arrays of a state that `settle` takes, in order."""

_STEP = round(EVIDENCE_STEPS * log((1.0 - CLIP) / CLIP))
_NODATA = int(NODATA_INT16)
_SCALE = float(DN_PER_REFLECTANCE)
_N_BINS = 800
_LOW = int(Status.LOW)
_CONFIRMED = int(Status.CONFIRMED)
_FIRST_WITHOUT_MODEL = int(Status.NOT_FOREST)
_PLANE = ("y", "x")


def snow_fields(
    brightness: npt.NDArray[np.int16], status: npt.NDArray[np.uint8]
) -> dict[str, xr.DataArray]:
    """Fields of the winter channel before the first scene.

    Parameters
    ----------
    brightness
        (time, y, x) B in harmonised DN over the snow scenes of the history, missing `NODATA_INT16`.
    status
        (y, x) `Status` of the model; pixels without model get no winter channel.

    Returns
    -------
    dict
        `FIELDS`, (y, x): ``snow_level`` int16, the median in DN, ``snow_sigma`` uint16 its noise, 0
        where there is no model; ``snow_evidence`` int16, ``snow_dates`` uint8, ``snow_first`` and
        ``snow_normal`` uint16 day numbers, ``snow_tests`` uint8, all 0.
    """
    shape = status.shape
    level, sigma = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.uint16)
    _fit_snow(brightness, status, MAX_CANOPY * _SCALE, SIGMA_FLOOR * _SCALE, level, sigma)
    types = (np.int16, np.uint8, np.uint16, np.uint16, np.uint8)
    empty = {
        name: np.zeros(shape, dtype=kind) for name, kind in zip(FIELDS[2:], types, strict=True)
    }
    fields = {"snow_level": level, "snow_sigma": sigma, **empty}
    return {name: xr.DataArray(values, dims=_PLANE) for name, values in fields.items()}


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_snow(
    brightness: npt.NDArray[np.int16],
    status: npt.NDArray[np.uint8],
    most: float,
    floor: float,
    level: npt.NDArray[np.int16],
    sigma: npt.NDArray[np.uint16],
) -> None:
    kept = np.empty(brightness.shape[0])
    for i in range(status.shape[0]):
        for j in range(status.shape[1]):
            n = 0
            for t in range(brightness.shape[0]):
                if brightness[t, i, j] != _NODATA:
                    kept[n] = brightness[t, i, j]
                    n += 1
            if n < MIN_SNOW_SCENES or status[i, j] >= _FIRST_WITHOUT_MODEL:
                continue
            middle = np.median(kept[:n])
            if middle > most:
                continue
            spread = MAD_TO_SIGMA * np.median(np.abs(kept[:n] - middle))
            level[i, j] = int(np.rint(middle))
            sigma[i, j] = int(np.rint(np.sqrt(spread * spread + floor * floor)))


def snow_counts(state: xr.Dataset, brightness: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Count how scenes depart from the canopy's brightness; counts of blocks may be added.

    Parameters
    ----------
    state
        State with `FIELDS`, of a block's inside.
    brightness
        (time, y, x) as in `snow_fields`.

    Returns
    -------
    ndarray
        (time, bin) int64.
    """
    watched = state["snow_sigma"].values > 0
    counts = np.zeros((len(brightness), _N_BINS), dtype=np.int64)
    for t, values in enumerate(brightness):
        seen = watched & (values != _NODATA)
        departure = (values[seen].astype(np.float64) - state["snow_level"].values[seen]) / _SCALE
        place = np.clip(np.floor((departure + 1.0) / DEPARTURE_BIN), 0, _N_BINS - 1)
        counts[t] = np.bincount(place.astype(np.int64), minlength=_N_BINS)
    return counts


def snow_offset(counts: npt.NDArray[np.int64], *, shrink: float = 200.0) -> npt.NDArray[np.float64]:
    """Median departure of each scene (time), reflectance, from the counts of all blocks.

    Multiplied by n / (n + shrink), so that few pixels move nothing.
    """
    running = counts.cumsum(axis=1)
    n = running[:, -1]
    place = (2 * running >= n[:, None]).argmax(axis=1)
    middle = (place + 0.5) * DEPARTURE_BIN - 1.0
    return np.asarray(np.where(n > 0, middle * n / (n + shrink), 0.0))


@njit(nogil=True, cache=True, error_model="numpy")
def see_snow(
    values: npt.NDArray[np.int16],
    day: int,
    offset: float,
    status: npt.NDArray[np.uint8],
    snow_level: npt.NDArray[np.int16],
    snow_sigma: npt.NDArray[np.uint16],
    snow_evidence: npt.NDArray[np.int16],
    snow_dates: npt.NDArray[np.uint8],
    snow_first: npt.NDArray[np.uint16],
    snow_normal: npt.NDArray[np.uint16],
    snow_tests: npt.NDArray[np.uint8],
) -> None:
    """Take a snow scene in; a pixel with a confirmed event of its own is past that."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if values[i, j] == _NODATA or snow_sigma[i, j] == 0 or status[i, j] > _LOW:
                continue
            bare = values[i, j] - offset * _SCALE
            z = (bare - snow_level[i, j]) / snow_sigma[i, j]
            felled = z > ANOMALOUS_Z and bare > LEAST_CUT * _SCALE
            step = _STEP if felled else (-_STEP if z < NORMAL_Z else 0)
            held = int(snow_evidence[i, j])
            total = min(max(held + step, 0), 32767)
            if held == 0 and total > 0:
                snow_first[i, j] = day
                snow_dates[i, j] = 0
                snow_tests[i, j] = 0
            if total == 0:
                snow_first[i, j] = 0
                snow_dates[i, j] = 0
                if step < 0:
                    snow_normal[i, j] = day
            elif step > 0:
                snow_dates[i, j] = min(int(snow_dates[i, j]) + 1, 255)
            snow_evidence[i, j] = total


@njit(nogil=True, cache=True, error_model="numpy")
def settle(
    values: npt.NDArray[np.int16],
    day: int,
    status: npt.NDArray[np.uint8],
    evidence: npt.NDArray[np.int16],
    first_anomaly: npt.NDArray[np.uint16],
    last_normal: npt.NDArray[np.uint16],
    confirmed: npt.NDArray[np.uint16],
    span_days: npt.NDArray[np.uint8],
    snow_evidence: npt.NDArray[np.int16],
    snow_dates: npt.NDArray[np.uint8],
    snow_first: npt.NDArray[np.uint16],
    snow_normal: npt.NDArray[np.uint16],
    snow_tests: npt.NDArray[np.uint8],
) -> None:
    """Put to the test of a green scene what the snow has shown, after `cusum.observe`."""
    for i in range(status.shape[0]):
        for j in range(status.shape[1]):
            if values[i, j] == _NODATA:
                continue
            if last_normal[i, j] < snow_normal[i, j] < first_anomaly[i, j]:
                # dark over snow: the canopy stood then
                last_normal[i, j] = snow_normal[i, j]
            if snow_evidence[i, j] == 0:
                continue
            snow_tests[i, j] += 1
            settled = snow_tests[i, j] >= TESTS
            shown = snow_dates[i, j] >= MIN_DATES
            own = status[i, j] == _CONFIRMED and first_anomaly[i, j] >= snow_first[i, j]
            if shown and evidence[i, j] > 0 and (settled or own):
                first_anomaly[i, j] = snow_first[i, j]
                if snow_normal[i, j] > 0:
                    last_normal[i, j] = max(int(last_normal[i, j]), int(snow_normal[i, j]))
                    last_normal[i, j] = min(int(last_normal[i, j]), int(snow_first[i, j]) - 1)
                span_days[i, j] = min(day - int(snow_first[i, j]), 255)
                if status[i, j] != _CONFIRMED:
                    confirmed[i, j] = day
                    status[i, j] = _CONFIRMED
                settled = True
            if settled:
                snow_evidence[i, j] = 0
                snow_dates[i, j] = 0
                snow_first[i, j] = 0


def shown_on_snow(state: xr.Dataset) -> npt.NDArray[np.bool_]:
    """(y, x) True where two snow scenes have shown a felling that no green scene has settled."""
    return np.asarray(
        (state["snow_evidence"].values > 0)
        & (state["snow_dates"].values >= MIN_DATES)
        & (state["status"].values <= _LOW)
    )
