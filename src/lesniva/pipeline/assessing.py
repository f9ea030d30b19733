"""Accuracy of a forest job: a sample drawn over its results, and what the interpreted one says."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import rasterio.features
import shapely
from rasterio.errors import RasterioError

from lesniva import aoi, assess, publish
from lesniva.conventions import EQUAL_AREA_CRS, Status
from lesniva.errors import InputError, NoDataError

STRATA = {1: "alert_confirmed", 2: "alert_low", 3: "near_alert", 4: "stable"}
"""Number in the map of strata → name. Omissions hide near what was found: that is a stratum."""

EXPECTED_USERS = {"alert_confirmed": 0.9, "alert_low": 0.6, "near_alert": 0.95, "stable": 0.99}
"""Share of each stratum that is expected to be mapped right, for the size of the sample."""

NEAR_M = 200.0
"""Forest within so many metres of an alert is a stratum of its own."""

MAPPED = {"alert_confirmed": "change", "alert_low": "change"}
CLASSES = ("change", "stable")

FOUND_SHARE = 0.3
"""An event counts as found when alerts cover this share of it."""

TO_FILL = ("reference", "change_from", "change_to", "cause", "interpreter", "comment")


@dataclass(frozen=True)
class _Raster:
    """Strata of one grid."""

    strata: npt.NDArray[np.uint8]
    transform: Any
    crs: Any

    @property
    def pixel_ha(self) -> float:
        return float(abs(self.transform.a * self.transform.e)) / 10_000


def design(
    out: Path, sample: Path, *, standard_error: float, least: int, seed: int
) -> Iterator[str]:
    """Draw a stratified random sample of pixels over the results of a forest job.

    Parameters
    ----------
    out
        Output folder of the job.
    sample
        GeoPackage to write: layer ``sample`` for the interpreter, who does not see the map in it,
        and the tables ``design``, ``strata`` and ``about`` for `evaluate`.
    standard_error
        What the overall accuracy may have.
    least
        Fewest units in a stratum.
    seed
        Everything follows from it.

    Yields
    ------
    str
        What was drawn, in words.

    Raises
    ------
    InputError
        `out` has no results of a forest job, or `sample` is there already.
    """
    if sample.exists():
        raise InputError(f"{sample} is there already and may be interpreted; name another file")
    alerts, about = _published(out)
    rasters = [_strata(path, alerts) for path in sorted((out / "rasters").glob("status*.tif"))]
    pixels = {
        name: sum(int((raster.strata == number).sum()) for raster in rasters)
        for number, name in STRATA.items()
    }
    area = {
        name: sum(float((raster.strata == number).sum()) * raster.pixel_ha for raster in rasters)
        for number, name in STRATA.items()
        if pixels[name]
    }
    if not area:
        raise NoDataError(f"{out} has no forest that was watched; there is nothing to sample")
    n = assess.sample_size(area, EXPECTED_USERS, standard_error=standard_error)
    units = assess.allocate(pixels, n, least=least)
    flat = np.concatenate([raster.strata.ravel() for raster in rasters])
    numbers = {number: units[name] for number, name in STRATA.items() if name in units}
    places = assess.draw(flat, numbers, seed=seed)
    ground = _squares(rasters, places)
    ground["unit_id"] = np.arange(1, len(ground) + 1)
    strata = [STRATA[number] for number in flat[places]]
    to_fill = pd.DataFrame({name: pd.Series(dtype="str") for name in TO_FILL})
    to_fill["change_from"] = to_fill["change_to"] = pd.Series(dtype="datetime64[ns]")
    layer = ground[["unit_id", "geometry"]].join(to_fill.reindex(ground.index))
    publish.write_geopackage(
        sample,
        {
            "sample": layer,
            "design": _design(ground, strata, alerts),
            "strata": pd.DataFrame(
                {"stratum": list(area), "area_ha": area.values(), "units": units.values()}
            ),
            "about": pd.DataFrame([{**about, "seed": seed, "standard_error": standard_error}]),
        },
        when=dt.datetime.fromisoformat(about["finished"]),
        attribution=about["attribution"],
        styles={"sample": publish.sample_style()},
        aliases=publish.field_titles("ru"),
    )
    yield f"{len(ground)} units to interpret in {sample}:"
    for name, count in units.items():
        yield f"  {name:<16} {count:5d} units for {area[name]:12.1f} ha"
    yield "fill the layer sample: reference, and change_from and change_to where it is change"


def _published(out: Path) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Alerts of a job's last run, and what the sample has to say of that run."""
    try:
        run = json.loads((out / "run.json").read_text(encoding="utf-8"))
        alerts = gpd.read_parquet(out / "alerts.parquet")
    except OSError as error:
        raise InputError(
            f"{out} has no results of a forest job ({error.strerror}); give its output folder"
        ) from error
    about = {name: run[name] for name in ("run_id", "attribution", "finished")}
    return alerts, about


def _strata(path: Path, alerts: gpd.GeoDataFrame) -> _Raster:
    """Stratum of each pixel that is watched, 0 elsewhere."""
    try:
        with rasterio.open(path, driver="GTiff") as file:
            status, transform, crs = file.read(1), file.transform, file.crs
    except RasterioError as error:
        raise InputError(f"{path} cannot be read ({error}); run the job again") from error
    here = alerts.to_crs(crs)
    number = here["status"].map({"confirmed": 1}).fillna(2).astype(int)

    def burnt(shapes: Any, values: Any) -> npt.NDArray[np.uint8]:
        image = np.zeros(status.shape, dtype=np.uint8)
        pairs = list(zip(shapes, values, strict=True))
        if pairs:
            with rasterio.Env():
                rasterio.features.rasterize(pairs, out=image, transform=transform)
        return image

    strata = np.where(status < Status.NOT_FOREST, np.uint8(4), np.uint8(0))
    near = burnt(here.buffer(NEAR_M), np.ones(len(here), dtype=int)) > 0
    strata[near & (strata > 0)] = 3
    mapped = burnt(here.geometry, number)
    return _Raster(np.where((mapped > 0) & (strata > 0), mapped, strata), transform, crs)


def _squares(rasters: list[_Raster], places: npt.NDArray[np.int64]) -> gpd.GeoDataFrame:
    """Outlines of pixels by their places in all rasters one after the other, EPSG:4326."""
    ends = np.cumsum([raster.strata.size for raster in rasters])
    of = np.searchsorted(ends, places, side="right")
    parts = []
    for number, raster in enumerate(rasters):
        mine = np.flatnonzero(of == number)
        start = ends[number] - raster.strata.size
        rows, cols = np.divmod(places[mine] - start, raster.strata.shape[1])
        left, top = raster.transform @ (cols, rows)
        right, bottom = raster.transform @ (cols + 1, rows + 1)
        shapes = gpd.GeoSeries(shapely.box(left, bottom, right, top), index=mine, crs=raster.crs)
        parts.append(shapes.to_crs("EPSG:4326"))
    return gpd.GeoDataFrame(geometry=pd.concat(parts).sort_index())


def _design(ground: gpd.GeoDataFrame, strata: list[str], alerts: gpd.GeoDataFrame) -> pd.DataFrame:
    """List what the map says of each unit, apart from what the interpreter fills."""
    points = gpd.GeoDataFrame(
        {"unit_id": ground["unit_id"]}, geometry=shapely.centroid(ground.geometry.to_numpy()),
        crs=ground.crs,
    )  # fmt: skip
    columns = ["alert_id", "date_max", "confirmed_on", "cause", "geometry"]
    joined = points.sjoin(alerts[columns], how="left").drop_duplicates("unit_id")
    return pd.DataFrame(
        {
            "unit_id": ground["unit_id"],
            "stratum": strata,
            "map": [MAPPED.get(name, "stable") for name in strata],
            "alert_id": joined["alert_id"].to_numpy(dtype=object),
            "first_seen": joined["date_max"].to_numpy("datetime64[ns]"),
            "confirmed_on": joined["confirmed_on"].to_numpy("datetime64[ns]"),
            "map_cause": joined["cause"].to_numpy(dtype=object),
        }
    )


def evaluate(sample: Path, *, events: Path | None = None, out: Path | None = None) -> Iterator[str]:
    """Say what an interpreted sample tells of the map.

    Parameters
    ----------
    sample
        GeoPackage of `design`, interpreted. ``reference`` is "change", "stable", or "unknown"; the
        unknown and empty ones are left out and counted.
    events
        Polygons of changes that are known, for the share found by size; needs `out`.
    out
        Output folder of the job.

    Yields
    ------
    str
        Accuracies, areas and delays in words. The tables are written beside the sample:
        ``…_accuracy.csv`` and ``…_timeliness.csv``.

    Raises
    ------
    InputError
        The file is no sample, nothing is interpreted in it, or too little.
    """
    layers = {name: publish.read_table(sample, name) for name in ("sample", "design", "strata")}
    about = publish.read_table(sample, "about")
    missing = [name for name, table in layers.items() if table is None]
    if missing or about is None:
        raise InputError(
            f"{sample} is no sample: {', '.join(missing or ['about'])} is missing; make one with "
            "lesniva assess design"
        )
    filled = pd.DataFrame(layers["sample"])[["unit_id", *TO_FILL]]
    units = filled.merge(pd.DataFrame(layers["design"]), on="unit_id")
    told = units[units["reference"].notna() & (units["reference"] != "unknown")]
    if told.empty:
        raise InputError(
            f"{sample}: no unit has a reference; fill the layer sample with change or stable"
        )
    strata = pd.DataFrame(layers["strata"])
    area = dict(zip(strata["stratum"], strata["area_ha"].astype(float), strict=True))
    found = assess.accuracy(told, area, classes=CLASSES)
    yield str(about["attribution"].iloc[0])
    yield (
        f"{len(told)} of {len(units)} units interpreted; overall accuracy {found.overall:.3f} ± "
        f"{found.overall_ci:.3f}"
    )
    for name, row in found.classes.iterrows():
        yield (
            f"  {name:<8} user's {row['users']:.3f} ± {row['users_ci']:.3f}, producer's "
            f"{row['producers']:.3f} ± {row['producers_ci']:.3f}, area {row['area_ha']:.1f} ± "
            f"{row['area_ha_ci']:.1f} ha"
        )
    publish.write_csv(
        sample.with_name(f"{sample.stem}_accuracy.csv"),
        found.classes.rename_axis("class").reset_index(),
    )
    yield from _delays_in_words(sample, told, area)
    if events is not None and out is not None:
        yield from _events_in_words(events, _published(out)[0])


def _delays_in_words(sample: Path, told: pd.DataFrame, area: dict[str, float]) -> Iterator[str]:
    """Delays from the middle of the interpreter's interval, first seen and confirmed."""
    first, last = (pd.to_datetime(told[name]) for name in ("change_from", "change_to"))
    middle = (first + (last - first) / 2).fillna(last).fillna(first)
    middle = middle.where(told["reference"] == "change")
    weight = told["stratum"].map(area) / told.groupby("stratum")["stratum"].transform("size")
    if middle.isna().all():
        yield "no dates of change are filled in: nothing is known of the delay"
        return
    # a change without a date has no place on the curve
    dated = middle.notna() | (told["reference"] == "stable")
    curves = []
    for word, column in (("first seen", "first_seen"), ("confirmed", "confirmed_on")):
        day = pd.to_datetime(told[column])
        delay = assess.delays(middle, day)
        yield (
            f"  {word}: median {delay['median_days']:.0f} days after the change, 90 % within "
            f"{delay['p90_days']:.0f} (of {delay['n']:.0f} changes)"
        )
        curve = assess.curve(middle[dated], day[dated], weight=weight[dated])
        curves.append(curve.assign(date=column))
    publish.write_csv(sample.with_name(f"{sample.stem}_timeliness.csv"), pd.concat(curves))


def _events_in_words(path: Path, alerts: gpd.GeoDataFrame) -> Iterator[str]:
    """Share of known changes that alerts cover, by size."""
    events = aoi.read_vector(path, "event file")[0].to_crs(EQUAL_AREA_CRS)
    under = alerts.to_crs(EQUAL_AREA_CRS).union_all()
    shapes = shapely.make_valid(events.geometry.to_numpy())
    share = shapely.area(shapely.intersection(shapes, under)) / shapely.area(shapes)
    table = assess.by_size(
        pd.Series(shapely.area(shapes) / 10_000), pd.Series(share >= FOUND_SHARE)
    )
    yield f"events that alerts cover by at least {100 * FOUND_SHARE:.0f} %:"
    for row in table.itertuples():
        yield f"  {row.size_ha:>8} ha: {row.found} of {row.events}"
