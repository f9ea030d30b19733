"""Daily weather of made-up years, and what follows from it: snow, soil water, leaves.

Temperature is a yearly wave plus anomalies that last days and weeks; rain is a latent wet-dry
process cut at a threshold. Neighbouring places share most of both, which is why a whole oblast has
good and bad years together.

Formulas: snow by degree-day melt; potential evapotranspiration after Hamon (1963) in the form of
Lu et al. (2005, doi:10.1111/j.1752-1688.2005.tb03759.x); soil water as one bucket.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lesniva.synthetic.spectra import Floats, as_floats

Days = npt.NDArray[np.datetime64]

DAY: Final = np.timedelta64(1, "D")
YEAR_DAYS: Final = 365.25
WARMEST_DAY: Final = 201
"""Day of the year at which the temperature wave peaks (20 July)."""

MELT_MM_PER_DEGREE_DAY: Final = 5.0
SNOW_COVER_MM: Final = 6.0
"""Snow water equivalent at which 63 % of open ground is white."""

FRESH_SNOW_DAYS: Final = 3
"""How long snow stays on branches."""

SOIL_WATER_CAPACITY_MM: Final = 150.0
STRESS_BEGINS_AT: Final = 0.55
"""Share of the capacity below which plants begin to close their stomata."""


@dataclass(frozen=True)
class Climate:
    """Long-term means of a place; temperatures in °C, precipitation in mm."""

    latitude: float
    """Degrees north."""
    mean_c: float
    """Mean of the year."""
    amplitude_c: float
    """Half the difference between the warmest and the coldest time."""
    rain_summer_mm: float
    """Mean amount of a wet day in July."""
    rain_winter_mm: float
    """Mean amount of a wet day in January."""


LIPETSK: Final = Climate(52.5, 7.2, 13.7, 5.2, 1.4)
"""Forest-steppe at 52.5 N: January −6.5 °C, July 21 °C, about 550 mm a year."""

TAIGA: Final = Climate(60.5, 2.2, 15.2, 5.4, 1.7)
"""Middle taiga at 60 N: snow from November to late April."""


@dataclass(frozen=True)
class Weather:
    """Daily weather of some places; arrays are (place, day) float32."""

    days: Days
    """``datetime64[D]``, consecutive."""
    t2m_c: Floats
    """Mean air temperature, °C."""
    prec_mm: Floats
    """Rain and snow, mm of water a day."""
    snow_mm: Floats
    """Snow on open ground, mm of water."""
    fresh_snow: Floats
    """Share of the branches that carry snow, 0…1."""
    water: Floats
    """Supply of soil water: 1 = plenty, 0 = wilting."""

    def at(self, date: np.datetime64) -> int:
        """Return the index of a date."""
        return int((date - self.days[0]) // DAY)

    def snow_cover(self, date: np.datetime64) -> Floats:
        """Share of open ground that is white, (place,)."""
        return as_floats(1 - np.exp(-self.snow_mm[:, self.at(date)] / SNOW_COVER_MM))


def simulate_weather(
    climate: Climate,
    *,
    rng: np.random.Generator,
    start: np.datetime64,
    end: np.datetime64,
    places: int = 1,
) -> Weather:
    """Play daily weather from `start` to `end` (both included).

    Parameters
    ----------
    climate
        Long-term means.
    rng
        Source of chance; the same state gives the same weather.
    start, end
        First and last day.
    places
        Number of neighbouring places (districts); they share the regional weather.

    Returns
    -------
    Weather
        Without missing values.
    """
    days = np.arange(start, end + DAY, dtype="datetime64[D]")
    doy = day_of_year(days)
    wave = np.cos(2 * np.pi * (doy - WARMEST_DAY) / YEAR_DAYS)
    spread_c = 3.0 - 0.9 * wave
    regional = 0.8 * _autoregression(rng, 1, days.size, 6.0)
    regional = regional + 0.55 * _autoregression(rng, 1, days.size, 45.0)
    local = _autoregression(rng, places, days.size, 3.0)
    drift = _autoregression(rng, places, days.size, 60.0)
    t2m = climate.mean_c + climate.amplitude_c * wave + spread_c * regional
    t2m = t2m + 0.5 * local + 0.45 * drift

    wet = 0.75 * _autoregression(rng, 1, days.size, 1.7)
    wet = wet + 0.38 * _autoregression(rng, 1, days.size, 50.0)
    wet = wet + 0.42 * _autoregression(rng, places, days.size, 1.2)
    wet = wet + 0.36 * _autoregression(rng, places, days.size, 60.0)
    amount = climate.rain_winter_mm + (climate.rain_summer_mm - climate.rain_winter_mm) * (
        0.5 + 0.5 * wave
    )
    prec = amount * (np.maximum(wet - 0.45, 0) / 0.5) ** 1.3
    snow, fresh, water = _ground(t2m, prec, daylength_hours(climate.latitude, doy))
    return Weather(days, as_floats(t2m), as_floats(prec), snow, fresh, water)


def day_of_year(days: Days) -> npt.NDArray[np.int64]:
    """1…366 of ``datetime64[D]`` dates."""
    new_year = days.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((days.astype("datetime64[D]") - new_year).astype(np.int64) + 1)


def year_of(date: np.datetime64) -> int:
    """Calendar year of a date."""
    return int(date.astype("datetime64[Y]").astype(np.int64)) + 1970


def solar_declination(doy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Declination of the sun, radians (Cooper 1969)."""
    return np.asarray(np.deg2rad(23.45) * np.sin(2 * np.pi * (284 + np.asarray(doy)) / 365))


def daylength_hours(latitude: float, doy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Hours from sunrise to sunset at `latitude` (degrees)."""
    cosine = -np.tan(np.deg2rad(latitude)) * np.tan(solar_declination(doy))
    return np.asarray(24 / np.pi * np.arccos(np.clip(cosine, -1, 1)))


def degree_days(weather: Weather, *, base_c: float, month: int) -> Floats:
    """Sum of temperature above `base_c` since the first of `month`, starting anew each year.

    Returns
    -------
    ndarray of float32
        °C·day, (place, day).
    """
    warmth = np.maximum(weather.t2m_c - base_c, 0).astype(np.float64)
    months = weather.days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    warmth[:, months < month] = 0
    total = np.cumsum(warmth, axis=1)
    years = weather.days.astype("datetime64[Y]")
    first = np.searchsorted(weather.days, years.astype("datetime64[D]"))
    before = np.where(first > 0, total[:, np.maximum(first, 1) - 1], 0.0)
    return np.asarray(total - before, dtype=np.float32)


def logistic(x: npt.ArrayLike) -> Floats:
    """1 / (1 + exp(−x))."""
    return as_floats(1 / (1 + np.exp(-np.clip(as_floats(x), -40, 40))))


def trailing_mean(values: Floats, days: float) -> Floats:
    """Exponentially weighted mean over the past `days`, along the last axis."""
    keep = np.exp(-1 / days)
    inputs = (1 - keep) * values.astype(np.float64)
    inputs[:, 0] = values[:, 0]
    return as_floats(_recursion(inputs, keep))


def _autoregression(
    rng: np.random.Generator, rows: int, length: int, memory_days: float
) -> npt.NDArray[np.float64]:
    """Stationary first-order noise of unit variance, (rows, length)."""
    keep = np.exp(-1 / memory_days)
    shocks = rng.standard_normal((rows, length))
    shocks[:, 1:] *= np.sqrt(1 - keep**2)
    return _recursion(shocks, keep)


def _recursion(inputs: npt.NDArray[np.float64], keep: float) -> npt.NDArray[np.float64]:
    """Solve y(t) = keep · y(t − 1) + input(t) along the last axis."""
    result = inputs.copy()
    for day in range(1, inputs.shape[1]):
        result[:, day] += keep * result[:, day - 1]
    return result


def _ground(
    t2m: npt.NDArray[np.float64], prec: npt.NDArray[np.float64], hours: npt.NDArray[np.float64]
) -> tuple[Floats, Floats, Floats]:
    """Snow water (mm), snow on branches (0…1) and soil water supply (0…1) by daily budgets."""
    snow = np.zeros_like(t2m)
    fresh = np.zeros_like(t2m)
    water = np.zeros_like(t2m)
    pack = np.zeros(t2m.shape[0])
    branches = np.zeros(t2m.shape[0])
    soil = np.full(t2m.shape[0], 0.7 * SOIL_WATER_CAPACITY_MM)
    for day in range(t2m.shape[1]):
        warm = np.maximum(t2m[:, day], 0)
        falling = np.where(t2m[:, day] < 0.5, prec[:, day], 0.0)
        melt = np.minimum(pack, MELT_MM_PER_DEGREE_DAY * warm)
        pack = pack + falling - melt
        branches = branches * np.exp(-1 / FRESH_SNOW_DAYS - 0.8 * warm) + falling / 8
        branches = np.minimum(branches, 1.0)
        supply = np.minimum(1, soil / (STRESS_BEGINS_AT * SOIL_WATER_CAPACITY_MM))
        use = _hamon_mm(t2m[:, day], hours[day]) * supply
        soil = np.clip(soil + prec[:, day] - falling + melt - use, 0, SOIL_WATER_CAPACITY_MM)
        snow[:, day] = pack
        fresh[:, day] = branches
        water[:, day] = supply
    return as_floats(snow), as_floats(fresh), as_floats(water)


def _hamon_mm(t2m: npt.NDArray[np.float64], hours: float) -> npt.NDArray[np.float64]:
    """Potential evapotranspiration, mm a day."""
    vapour_hpa = 6.108 * np.exp(17.26939 * t2m / (t2m + 237.3))
    density_g_m3 = 216.7 * vapour_hpa / (t2m + 273.3)
    return np.asarray(np.where(t2m > 0, 0.1651 * hours / 12 * density_g_m3 * 1.1, 0.0))
