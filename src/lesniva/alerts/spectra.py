"""What alerts looked like before and after: mean reflectance of their pixels on a few days.

The monitor keeps one index. The cause shows in several bands, which are read for changed ground
alone and on few days: some of the same season before the change, some right after it, some later.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio.features
import shapely
from odc.geo.geobox import GeoBox

from lesniva.conventions import DN_PER_REFLECTANCE

BANDS = ("red", "nir08", "swir16", "swir22")
"""What the rules of `cause` look at; bands that are not there are done without."""

SOON_DAYS, LATE_DAYS = (0, 45), (60, 120)
"""Days after the first anomaly that show the ground right after the change, and later."""

SAME_SEASON_DAYS = 30
"""Days of the year by which a scene before the change may differ from those after it."""

N_BEFORE, N_AFTER = 4, 3
"""Most scenes of each time."""

SEEN_SHARE = 0.5
"""Least share of an alert's pixels that a scene must show clear."""


def days_to_read(
    dates: npt.NDArray[np.datetime64], first_anomaly: np.datetime64
) -> npt.NDArray[np.int64]:
    """Choose the scenes that show a change.

    Parameters
    ----------
    dates
        Days of all scenes, ``datetime64[D]``, rising.
    first_anomaly
        Day of the change.

    Returns
    -------
    int64 array
        Places in `dates`, rising: for the time right after the change and for the later one the
        first `N_AFTER` scenes each, and the last `N_BEFORE` scenes before the change that have the
        same season as they.
    """
    chosen: list[npt.NDArray[np.int64]] = []
    for first, last in (SOON_DAYS, LATE_DAYS):
        past, after = _windows(dates, first_anomaly, first, last)
        chosen += [np.flatnonzero(past)[-N_BEFORE:], np.flatnonzero(after)[:N_AFTER]]
    return np.unique(np.concatenate(chosen))


def _windows(
    dates: npt.NDArray[np.datetime64], day: np.datetime64, first: int, last: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Scenes before `day` in the season of the time after it, and scenes of that time."""
    since = (dates - day).astype("timedelta64[D]").astype(np.int64)
    after = (since >= first) & (since <= last)
    # whole years back, the distance to the middle of that time
    off = np.abs((since - (first + last) / 2 + 182.6) % 365.25 - 182.6)
    return (since < 0) & (off <= SAME_SEASON_DAYS), after


def labels(shapes: Iterable[shapely.Geometry], geobox: GeoBox) -> npt.NDArray[np.int32]:
    """Burn outlines along the edges of pixels into a grid: 1 for the first, 0 for none."""
    numbered = ((shape, number) for number, shape in enumerate(shapes, start=1))
    burnt: npt.NDArray[np.int32] = rasterio.features.rasterize(
        numbered, out_shape=geobox.shape, transform=geobox.affine, dtype="int32"
    )
    return burnt


def sums(
    places: npt.NDArray[np.int32],
    bands: Mapping[str, npt.NDArray[np.int16]],
    usable: npt.NDArray[np.bool_],
    ids: Sequence[str],
) -> pd.DataFrame:
    """Add up the reflectance of each alert's clear pixels in one scene.

    Parameters
    ----------
    places
        (y, x) what `labels` gives for the outlines of `ids`.
    bands
        Harmonised DN, (y, x); those of `BANDS` count.
    usable
        (y, x) bool: clear.
    ids
        Alerts in the order of their labels.

    Returns
    -------
    pandas.DataFrame
        A row an alert: ``alert_id``, ``n_pixels``, ``n_clear``, and by band the sum over the clear
        pixels (reflectance). Rows of several blocks may be added up.
    """
    size = len(ids) + 1
    seen = usable & (places > 0)
    where = places[seen]

    def total(weights: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        return np.bincount(where, weights=weights, minlength=size)[1:]

    return pd.DataFrame(
        {
            "alert_id": list(ids),
            "n_pixels": np.bincount(places.ravel(), minlength=size)[1:],
            "n_clear": total(),
            **{
                band: total(bands[band][seen].astype(np.float64)) / DN_PER_REFLECTANCE
                for band in BANDS
                if band in bands
            },
        }
    )


def means(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean reflectance of each alert and day, over all its blocks.

    Parameters
    ----------
    parts
        Tables of `sums` with ``date``.

    Returns
    -------
    pandas.DataFrame
        Index ``(alert_id, date)`` rising, a column for each of `BANDS` (reflectance, NaN where a
        band is not there); days that show less than `SEEN_SHARE` of the alert are left out.
    """
    if not parts:
        index = pd.MultiIndex.from_arrays([[], pd.DatetimeIndex([])], names=["alert_id", "date"])
        return pd.DataFrame(index=index, columns=list(BANDS), dtype=float)
    table = pd.concat(parts).groupby(["alert_id", "date"]).sum()
    shown = table[(table["n_clear"] > 0) & (table["n_clear"] >= SEEN_SHARE * table["n_pixels"])]
    return shown.reindex(columns=list(BANDS)).div(shown["n_clear"], axis=0)


def before_and_after(
    reflectance: pd.DataFrame, *, first_anomaly: pd.Timestamp, last_normal: pd.Timestamp
) -> dict[str, pd.Series]:
    """Median spectra of one alert around its change.

    Parameters
    ----------
    reflectance
        Its rows of `means`, by ``date``.
    first_anomaly, last_normal
        ``date_max`` and ``date_min`` of the alert; the latter may be NaT.

    Returns
    -------
    dict
        ``soon_before, soon, late_before, late`` → median by band, NaN where there is no scene; the
        first two with ``n``, the number of scenes.
    """
    dates = reflectance.index.to_numpy("datetime64[D]")
    day = first_anomaly.to_datetime64().astype("datetime64[D]")
    normal = np.ones(len(dates), dtype=bool)
    if not pd.isna(last_normal):
        normal = dates <= last_normal.to_datetime64()
    spectra = {}
    for name, (first, last) in {"soon": SOON_DAYS, "late": LATE_DAYS}.items():
        past, after = _windows(dates, day, first, last)
        for key, rows in (
            (f"{name}_before", reflectance[past & normal].tail(N_BEFORE)),
            (name, reflectance[after].head(N_AFTER)),
        ):
            spectra[key] = pd.concat([rows.median(), pd.Series({"n": float(len(rows))})])
    return spectra
