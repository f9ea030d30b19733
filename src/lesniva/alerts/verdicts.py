"""What reviewers say of alerts, and what follows from it.

A reviewer fills the table ``verdicts`` of the GeoPackage; the next run reads it before anything is
published. The ground of a false alert is doubted for a year: changes there need more evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio.features
from odc.geo.geobox import GeoBox

from lesniva.alerts.cause import CAUSES
from lesniva.conventions import Status, from_day_number

VERDICTS = ("confirmed", "false", "other_cause")
"""What may be said of an alert."""

FILLED = ("verdict", "true_cause", "reviewer", "reviewed_on", "comment")
"""Columns that a reviewer fills."""

UNREVIEWED = "unreviewed"

DOUBT_DAYS = 365
DOUBT = 1.5
"""For a year after the review, the log-odds that a change on the ground of a false alert needs are
so many times as high."""


@dataclass(frozen=True)
class Review:
    """Verdicts, and what is new of them."""

    verdicts: gpd.GeoDataFrame
    """``alert_id``, `FILLED`, and the outline of the alert when it was judged, EPSG:4326."""
    new: tuple[str, ...]
    """Alerts whose verdict is another than in the last run."""
    changed: bool
    """Whether any verdict or cause was added, changed or taken back since the last run."""
    unread: pd.DataFrame
    """``alert_id`` and `FILLED` of rows whose verdict is none of `VERDICTS`."""
    warnings: tuple[tuple[str, str], ...]
    """What cannot be understood, in English and Russian."""


def review(
    edited: pd.DataFrame | None,
    stored: gpd.GeoDataFrame | None,
    alerts: gpd.GeoDataFrame | None,
) -> Review:
    """Read what reviewers wrote since the last run.

    Parameters
    ----------
    edited
        Table ``verdicts`` as it is in the GeoPackage now: it counts, so that a verdict may be
        changed or taken back there. None when there is none: then what was stored counts.
    stored
        ``Review.verdicts`` of the last run.
    alerts
        Alerts of the last run, for their outlines.

    Returns
    -------
    Review
    """
    before = _nothing() if stored is None else stored
    if edited is None:
        return Review(before, (), False, pd.DataFrame(columns=["alert_id", *FILLED]), ())
    rows = edited.reindex(columns=["alert_id", *FILLED])
    rows = rows[rows["verdict"].notna() & (rows["verdict"] != "")]
    warnings = [
        _misspelt("verdict", "заключение", row.alert_id, row.verdict, VERDICTS)
        for row in rows.itertuples()
        if row.verdict not in VERDICTS
    ]
    warnings += [
        _misspelt("true_cause", "причина", row.alert_id, row.true_cause, CAUSES)
        for row in rows.itertuples()
        if isinstance(row.true_cause, str) and row.true_cause not in ("", *CAUSES)
    ]
    unread = rows[~rows["verdict"].isin(VERDICTS)].drop_duplicates("alert_id", keep="last")
    rows = rows[rows["verdict"].isin(VERDICTS)].drop_duplicates("alert_id", keep="last")
    unread = unread[~unread["alert_id"].isin(rows["alert_id"])]
    outlines = [before.set_index("alert_id").geometry]
    if alerts is not None:
        outlines.append(alerts.set_index("alert_id").geometry)
    known = pd.concat(outlines)
    known = known[~known.index.duplicated()]
    rows = rows[rows["alert_id"].isin(known.index)]
    verdicts = gpd.GeoDataFrame(
        rows.reset_index(drop=True),
        geometry=known.reindex(rows["alert_id"]).to_numpy(),
        crs="EPSG:4326",
    )
    verdicts["reviewed_on"] = pd.to_datetime(verdicts["reviewed_on"]).astype("datetime64[ns]")
    said, now = _said(before), _said(verdicts)
    new = tuple(name for name in now if said.get(name, ("",))[0] != now[name][0])
    return Review(verdicts, new, said != now, unread, tuple(warnings))


def _misspelt(
    column: str, column_ru: str, alert_id: Any, value: Any, known: Sequence[str]
) -> tuple[str, str]:
    """Say which cell of the table is to be mended, and how."""
    choice = ", ".join(known)
    english = (
        f"verdicts: {column} of alert {alert_id} is {value!r}, none of {choice}; it does not count "
        "until it is mended in lesniva.gpkg"
    )
    russian = (
        f"verdicts: {column_ru} ({column}) сигнала {alert_id} — «{value}», а возможны {choice}; "
        "не учитывается, пока не исправлено в lesniva.gpkg"
    )
    return english, russian


def _said(verdicts: gpd.GeoDataFrame) -> dict[str, tuple[str, str | None]]:
    """Verdict and cause by alert."""
    return {
        row.alert_id: (row.verdict, row.true_cause if isinstance(row.true_cause, str) else None)
        for row in verdicts.itertuples()
    }


def _nothing() -> gpd.GeoDataFrame:
    table = pd.DataFrame({name: pd.Series(dtype="str") for name in ("alert_id", *FILLED)})
    table["reviewed_on"] = table["reviewed_on"].astype("datetime64[ns]")
    return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries([], crs="EPSG:4326"))


def dated(verdicts: gpd.GeoDataFrame, today: np.datetime64) -> gpd.GeoDataFrame:
    """Date the verdicts that reviewers left without a date with the day they are first read."""
    result = verdicts.copy()
    result["reviewed_on"] = result["reviewed_on"].fillna(pd.Timestamp(today))
    return result


def doubted(pixels: pd.DataFrame, geobox: GeoBox, verdicts: gpd.GeoDataFrame, *,
            low: float, confirmed: float) -> pd.DataFrame:  # fmt: skip
    """Ask for more evidence where a false alert was.

    Parameters
    ----------
    pixels
        Rows of `changed_pixels` of one grid.
    geobox
        The whole grid.
    verdicts
        Dated verdicts.
    low, confirmed
        Probabilities at which a pixel is in an alert, and is confirmed.

    Returns
    -------
    pandas.DataFrame
        Without the pixels on the ground of false alerts whose change was first seen within
        `DOUBT_DAYS` of the review and whose log-odds are below `DOUBT` times those of `low`; those
        below `DOUBT` times those of `confirmed` are ``low``.
    """
    false = verdicts[verdicts["verdict"] == "false"].to_crs(str(geobox.crs))
    if false.empty or pixels.empty:
        return pixels
    since = np.zeros(geobox.shape, dtype=np.int32)
    shapes = zip(false.geometry, np.arange(1, len(false) + 1), strict=True)
    with rasterio.Env():
        rasterio.features.rasterize(shapes, out=since, transform=geobox.affine)
    place = since[pixels["row"].to_numpy(), pixels["col"].to_numpy()]
    reviewed = np.concatenate([[np.datetime64("NaT")], false["reviewed_on"].to_numpy()])[place]
    age = (from_day_number(pixels["first_anomaly"].to_numpy()) - reviewed) / np.timedelta64(1, "D")
    doubtful = (age >= 0) & (age <= DOUBT_DAYS)
    probability = np.clip(pixels["probability"].to_numpy(np.float64), 0, 1 - 1e-12)
    odds = np.log(probability / (1 - probability))
    sure = pixels["status"].isin([int(Status.CONFIRMED), int(Status.WINTER_EARLY)]).to_numpy()
    result = pixels.copy()
    result.loc[doubtful & sure & (odds < DOUBT * _odds(confirmed)), "status"] = int(Status.LOW)
    kept = pd.DataFrame(result[~(doubtful & (odds < DOUBT * _odds(low)))])
    return kept.reset_index(drop=True)


def _odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def reviewed(alerts: gpd.GeoDataFrame, verdicts: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Tell of each alert what reviewers said.

    Returns
    -------
    geopandas.GeoDataFrame
        With ``review_status``: the verdict, or "unreviewed". A cause that a reviewer named takes
        the place of the one found (``cause_prob`` 1).
    """
    said = verdicts.set_index("alert_id")
    result = alerts.copy()
    verdict = said["verdict"].reindex(result["alert_id"])
    result["review_status"] = np.where(verdict.isna(), UNREVIEWED, verdict)
    cause = said["true_cause"].reindex(result["alert_id"])
    named = cause.isin(CAUSES).to_numpy()
    words = {"reasons": ["named by a reviewer"], "reasons_ru": ["указана проверяющим"]}
    result.loc[named, "cause"] = cause[named].to_numpy()
    result.loc[named, "cause_prob"] = 1.0
    for column, reason in words.items():
        result[column] = [
            reason if by_reviewer else found
            for by_reviewer, found in zip(named, result[column], strict=True)
        ]
    return result


def table(
    alerts: gpd.GeoDataFrame, verdicts: gpd.GeoDataFrame, unread: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Table for reviewers: a row for each alert, filled where there is a verdict.

    Returns
    -------
    pandas.DataFrame
        ``alert_id``, ``date_max``, ``area_ha``, ``lon``, ``lat``, ``cause`` of open alerts, then
        `FILLED`; verdicts on alerts that are closed stay in the table, and so does what could not
        be read (``Review.unread``), for the reviewer to mend.
    """
    about = alerts[["alert_id", "date_max", "area_ha", "lon", "lat", "cause"]]
    # a column without any text has no type, and would become one of numbers in the file
    texts = dict.fromkeys(set(FILLED) - {"reviewed_on"}, pd.StringDtype(na_value=np.nan))
    filled = pd.DataFrame(verdicts.drop(columns="geometry"))
    if unread is not None and len(unread):
        when = pd.to_datetime(unread["reviewed_on"]).astype("datetime64[ns]")
        filled = pd.concat([filled, unread.assign(reviewed_on=when)], ignore_index=True)
    filled = filled.astype(texts)
    return pd.DataFrame(about).merge(filled, on="alert_id", how="outer", sort=True)


def events(new: tuple[str, ...]) -> pd.DataFrame:
    """Events "reviewed" of the alerts with a new verdict."""
    rows: list[tuple[str, str, Any]] = [(name, "reviewed", None) for name in new]
    return pd.DataFrame(rows, columns=["alert_id", "event", "into"])
