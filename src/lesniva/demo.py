"""The demonstration: both journeys on the embedded archive, held against its known truth."""

import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva import aoi, config, execution, pipeline, synthetic
from lesniva.conventions import EQUAL_AREA_CRS, SYNTHETIC_NOTICE

PARTS = ("forest", "harvest")

FOREST_BANDS = ("blue", "green", "red", "nir", "nir08", "swir16", "swir22")
"""Bands of the forest archive: what NBR, NDVI and the haze test need."""

FOUND_SHARE = 0.3
"""An event counts as found when alerts cover this share of it."""

CAUSE_OF = {
    "clear_cut": "harvest",
    "winter_clear_cut": "harvest",
    "thinning": "thinning",
    "dieback": "dieback",
    "windthrow": "windthrow",
    "fire": "fire",
}
"""Event of the archive → the cause that an alert should name."""

FALSE_SHARE = 0.1
"""An alert counts as false when it shares less of itself than this with all events."""

LAST_CHANCE = pd.Timedelta(days=15)
"""An event this close to the last scene of a season leaves no time for two clear observations."""


def run(folder: Path, *, scheduler: str | None = None) -> Iterator[str]:
    """Write the archive once, run both pipeline files on it, and compare with the truth.

    Parameters
    ----------
    folder
        Where ``archive/`` and ``out/`` go. ``pipelines/`` and ``aoi/`` are put there too when they
        are missing (outside a clone).
    scheduler
        Address of a Dask scheduler; a local cluster when not given.

    Yields
    ------
    str
        Lines that tell a person what was found.
    """
    started = time.monotonic()
    _provide_files(folder)
    archive = folder / "archive" / "demo"
    districts = aoi.load(folder / "aoi" / "lipetsk.geojson").districts.reset_index()
    synthetic.write_forest_archive(archive / "forest", bands=FOREST_BANDS)
    synthetic.write_farmland_archive(archive / "farmland", districts)
    written = time.monotonic() - started
    reports = {}
    with execution.engine(scheduler) as run_tasks:
        for part in PARTS:
            job = config.read(folder / "pipelines" / f"demo-{part}.toml")
            reports[part] = pipeline.run(job, folder / "out" / job.name, run_tasks=run_tasks)
    yield SYNTHETIC_NOTICE
    yield ""
    yield from forest_in_words(archive / "forest", reports["forest"].folder)
    yield ""
    yield from harvest_in_words(archive / "farmland", reports["harvest"].folder)
    yield ""
    yield "Time:"
    yield f"  archive      {written:6.1f} s" + ("" if written > 5 else " (it was there)")
    for part, report in reports.items():
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.stages.items())
        new = ": nothing new" if report.nothing_new else f" ({stages})"
        yield f"  {part:<12} {sum(report.stages.values()):6.1f} s{new}"
    yield f"  all together {time.monotonic() - started:6.1f} s"
    yield ""
    yield "Files:"
    for part, report in reports.items():
        yield f"  {os.path.relpath(report.folder)}"
        yield from (f"    {line}" for line in _FILES[part])


_FILES = {
    "forest": (
        "alerts.geojson, alerts.csv   the alerts",
        "lesniva.gpkg                 alerts and districts for QGIS",
        "rasters/*.tif                status, dates, probability, magnitude",
    ),
    "harvest": (
        "forecast.geojson, .csv       the forecast by district and crop",
        "forecast_total.csv           the whole oblast, on each day of issue",
        "season_*.png                 the season of each crop: error, past years, interval",
        "reasons.csv, analogues.csv   what moved each forecast, and the years most like this one",
        "hindcast.csv, skill*.csv     what would have been forecast in past years, and how well",
        "district_ndvi.csv            NDVI of each district, cover and date",
    ),
}


def warm_up() -> None:
    """Compile the kernels into Numba's cache, by a forest journey over a square kilometre.

    Part of an installation, as compiling Python files is: it takes a minute that the first run
    would otherwise need in every worker.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _provide_files(folder)
        synthetic.write_forest_archive(
            folder / "archive" / "demo" / "forest",
            size=128,
            end="2022-12-31",
            scenes_per_month=dict.fromkeys(range(5, 10), 3),
            bands=FOREST_BANDS,
        )
        job = config.read(folder / "pipelines" / "demo-forest.toml")
        pipeline.run(job, folder / "out", scheduler=execution.SYNCHRONOUS)


def _provide_files(folder: Path) -> None:
    """Put the pipeline and area files beside the archive where there is no clone around."""
    for name in ("pipelines", "aoi"):
        if not (folder / name).exists():
            with_wheel = Path(str(files("lesniva"))) / "share" / name
            in_clone = Path(__file__).parents[2] / name
            source = with_wheel if with_wheel.exists() else in_clone
            shutil.copytree(source, folder / name)


@dataclass(frozen=True)
class Verdict:
    """How the alerts compare with the events that really happened."""

    events: gpd.GeoDataFrame
    """Events of the monitored years that could be seen, with ``found`` (bool), ``seen_after`` and
    ``confirmed_after`` (days from the event to the first anomaly and to the confirmation), and
    ``cause_right`` (bool): the alert with most of the event names its cause."""
    alerts: gpd.GeoDataFrame
    """Alerts with ``false`` (bool)."""


def judge(events: gpd.GeoDataFrame, alerts: gpd.GeoDataFrame, *, since: dt.date) -> Verdict:
    """Compare alerts with the events of the archive.

    Parameters
    ----------
    events
        ``cause, date_start, date_end`` and geometry: all that happened.
    alerts
        Published alerts.
    since
        First day that was monitored; earlier events only excuse alerts, they are not asked for.
    """
    events, alerts = (frame.to_crs(EQUAL_AREA_CRS) for frame in (events, alerts))
    started = pd.to_datetime(events["date_start"])
    last_chance = pd.to_datetime(alerts["date_max"]).max() - LAST_CHANCE
    events = events.assign(start=started, event=np.arange(len(events)))
    alerts = alerts.assign(alert=np.arange(len(alerts)))
    shared = gpd.overlay(
        events[["event", "start", "geometry"]],
        alerts[["alert", "date_max", "confirmed_on", "cause", "geometry"]].rename(
            columns={"cause": "named"}
        ),
        keep_geom_type=True,
    )
    shared["area"] = shared.area
    of_alert = shared.groupby("alert")["area"].sum().reindex(alerts["alert"]).fillna(0).to_numpy()
    alerts["false"] = of_alert < FALSE_SHARE * alerts.area
    asked = events[(events["start"] >= pd.Timestamp(since)) & (events["start"] <= last_chance)]
    asked = asked.copy()
    # an alert dated clearly before the event is another story
    shared = shared[pd.to_datetime(shared["date_max"]) >= shared["start"] - LAST_CHANCE]
    covered = shared.groupby("event")["area"].sum().reindex(asked["event"]).fillna(0).to_numpy()
    asked["found"] = covered >= FOUND_SHARE * asked.area
    best = shared.sort_values("area", ascending=False).drop_duplicates("event").set_index("event")
    for name, date in (("seen_after", "date_max"), ("confirmed_after", "confirmed_on")):
        days = (pd.to_datetime(best[date]) - best["start"]).dt.days
        asked[name] = days.reindex(asked["event"]).to_numpy()
    named = best["named"].reindex(asked["event"]).to_numpy()
    asked["cause_right"] = asked["found"] & (asked["cause"].map(CAUSE_OF).to_numpy() == named)
    return Verdict(asked, alerts)


def forest_in_words(archive: Path, results: Path) -> Iterator[str]:
    """Say what the forest journey found, and how that compares with the truth."""
    job = config.read(archive.parents[2] / "pipelines" / "demo-forest.toml")
    alerts = gpd.read_file(results / "alerts.geojson")
    since = getattr(job, "monitor").history_end  # noqa: B009 the demo's file is a forest job
    verdict = judge(gpd.read_file(archive / "truth" / "events.gpkg"), alerts, since=since)
    confirmed = alerts[alerts["status"] == "confirmed"]
    yield (
        f"Forest: {len(alerts)} alerts, {len(confirmed)} of them confirmed on "
        f"{confirmed['area_ha'].sum():.0f} ha, since {since}"
    )
    top = confirmed.sort_values("area_ha", ascending=False).head(3)
    for _, alert in top.iterrows():
        yield (
            f"  the largest: {alert['area_ha']:5.1f} ha in {alert['district_en']}, "
            f"between {_day(alert['date_min'])} and {_day(alert['date_max'])}, "
            f"confirmed {_day(alert['confirmed_on'])}"
        )
    hit = verdict.events["found"]
    wrong, right = (verdict.alerts[verdict.alerts["false"] == no] for no in (True, False))
    yield (
        f"  the truth: {len(hit)} events that could be seen; {hit.sum()} found, {(~hit).sum()} "
        f"missed; {len(wrong)} alerts false ({wrong['area_ha'].sum():.1f} ha)"
    )
    yield (
        f"  area of the events found {verdict.events['area_ha'][hit].sum():.0f} ha, of their "
        f"alerts {right['area_ha'].sum():.0f} ha"
    )
    found = verdict.events[hit]
    yield (
        f"  the cause is right for {found['cause_right'].sum()} of the {len(found)} events found "
        f"({100 * found['cause_right'].mean():.0f} %)"
    )
    yield (
        "  event             events  found  cause right  first anomaly after  confirmed after "
        "(median days)"
    )
    for cause, group in verdict.events.groupby("cause"):
        hits = group[group["found"]]
        yield (
            f"  {str(cause).replace('_', ' '):<17} {len(group):6d} {len(hits):6d} "
            f"{hits['cause_right'].sum():12d} "
            f"{_days(hits['seen_after']):>20} {_days(hits['confirmed_after']):>16}"
        )


def harvest_in_words(archive: Path, results: Path) -> Iterator[str]:
    """Say what the harvest journey forecast, and how that compares with the truth."""
    forecast = pd.read_csv(results / "forecast.csv")
    skill = pd.read_csv(results / "skill.csv")
    skill = skill[skill["cutoff"] == forecast["cutoff"].iloc[0][5:10]]
    truth = pd.read_csv(archive / "truth" / f"yields_{forecast['year'].iloc[0]}.csv")
    both = forecast.merge(
        truth[["adm_id", "crop", "yield_t_ha"]], on=["adm_id", "crop"], suffixes=("", "_true")
    )
    yield f"Harvest {forecast['year'].iloc[0]}, as of {forecast['cutoff'].iloc[0][:10]}:"
    for crop, rows in both.groupby("crop"):
        errors = skill[skill["crop"] == crop].set_index("forecaster")["nrmse"]
        error = np.sqrt(((rows["yield_t_ha"] - rows["yield_t_ha_true"]) ** 2).mean())
        inside = rows["yield_t_ha_true"].between(rows["q10_t_ha"], rows["q90_t_ha"]).mean()
        yield (
            f"  {str(crop).replace('_', ' ')}: {rows['yield_t_ha'].mean():.2f} t/ha on average "
            f"over {len(rows)} districts"
        )
        yield (
            f"    the truth: {rows['yield_t_ha_true'].mean():.2f} t/ha; error "
            f"{100 * error / rows['yield_t_ha_true'].mean():.1f} %; {100 * inside:.0f} % of the "
            "districts inside the 80 % interval"
        )
        yield (
            f"    in past years (walk-forward): error {errors['forecast']:.1f} %, beside mean "
            f"{errors['mean']:.1f} %, trend {errors['own_trend']:.1f} %, last year "
            f"{errors['last']:.1f} %"
        )
        yield f"    skill: {'yes' if rows['skill'].all() else 'not claimed at this date'}"


def _day(value: object) -> str:
    return str(value)[:10]


def _days(values: "pd.Series[float]") -> str:
    return "-" if values.dropna().empty else f"{values.median():.0f}"
