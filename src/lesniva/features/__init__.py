"""Observations and weather up to a cut-off → one row per (district, crop, year, cut-off).

The same function makes training rows and today's row. A row is made from the observations of its
own harvest year that were known on the day of the cut-off (acquired at least the latency before
it), and from nothing else: not from later dates, not from other years. Only the anomalies look at
other years, and only at those they are handed.

A harvest year runs from 1 September of the year before to the cut-off. Its NDVI is averaged by
dekad (days 1-10, 11-20, 21-end of a month) and smoothed over what is there (`smooth`). Nothing is
extrapolated: after the last observation its value stands.
"""

from lesniva.features.curve import smooth
from lesniva.features.table import (
    IMAGERY_LATENCY_DAYS,
    WEATHER_LATENCY_DAYS,
    anomalies,
    cover_at,
    features,
)

__all__ = [
    "IMAGERY_LATENCY_DAYS",
    "WEATHER_LATENCY_DAYS",
    "anomalies",
    "cover_at",
    "features",
    "smooth",
]
