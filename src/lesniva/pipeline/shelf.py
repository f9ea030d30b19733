"""What a run publishes: rasters with styles, tables, a STAC collection, and last the manifest."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from lesniva import aoi, cube, publish
from lesniva.config import Pipeline
from lesniva.conventions import ATTRIBUTION, SYNTHETIC_NOTICE
from lesniva.pipeline.place import Place
from lesniva.pipeline.running import STATE, Report
from lesniva.storage import whole_file

RUNS = "runs.parquet"
"""In the folder of the job's memory: the runs that have published."""

TITLES = {
    "forest": "Forest change alerts",
    "harvest": "Harvest forecast",
    "fields": "Fields",
    "composite": "Composites of vegetation indices",
}


@dataclass(frozen=True)
class Span:
    """The time that some rasters stand for, where it is a part of the job's."""

    label: str
    first: dt.date
    last: dt.date
    days: tuple[cube.SolarDay, ...] = field(repr=False, compare=False)
    """What they were made of; rasters of the same time may be made of different days."""


@dataclass
class Shelf:
    """The results of a run as they are written, one after the other."""

    job: Pipeline
    report: Report
    place: Place
    days: Sequence[cube.SolarDay]
    """The scenes that the results stand on."""
    rasters: dict[tuple[str, Span | None], list[publish.Raster]] = field(default_factory=dict)
    """By grid and time; None stands for all the job's."""
    scenes: dict[tuple[str, Span | None], dict[str, str]] = field(default_factory=dict)
    """Id of each scene that went into them → address of its item."""
    files: list[Path] = field(default_factory=list)
    """Everything else that was written."""

    @property
    def credit(self) -> str:
        """Attribution of the results, or the notice that they are synthetic."""
        first, last = (str(day.date)[:4] for day in (self.days[0], self.days[-1]))
        imagery = f"{ATTRIBUTION} {first if first == last else f'{first}-{last}'}"
        if self.report.synthetic:
            imagery = SYNTHETIC_NOTICE
        return "; ".join([imagery, *self.report.credits])

    @property
    def where(self) -> str:
        """What the results show, for titles."""
        clipped = self.job.area.clip is not None
        return f"part of {self.place.area.name_en}" if clipped else self.place.area.name_en

    @property
    def when(self) -> dt.datetime:
        """The last day that was seen: what is made of the same scenes is the same to the byte."""
        last = dt.date.fromisoformat(str(self.days[-1].date))
        return dt.datetime.combine(last, dt.time(), dt.UTC)


def put_raster(
    shelf: Shelf,
    grid: aoi.Grid,
    name: str,
    layer: publish.Layer,
    blocks: Iterable[Any],
    *,
    span: Span | None = None,
) -> None:
    """Write one layer of one grid as COG with its QGIS style.

    Parameters
    ----------
    name
        File stem; the grid's id is added where the area has several.
    layer
        What it holds.
    blocks
        ``(row, col, 2-D array)``.
    span
        The time it stands for; None for all the job's.
    """
    path = shelf.report.folder / "rasters" / f"{_stem(shelf, grid, name)}.tif"
    days = shelf.days if span is None else span.days
    stats = publish.write_cog(
        path,
        layer,
        grid.geobox,
        blocks,
        when=shelf.when.date() if span is None else span.last,
        attribution=shelf.credit,
        tags=_provenance(shelf, days),
    )
    publish.write_style(path, layer, stats)
    shelf.rasters.setdefault((grid.id, span), []).append(publish.Raster(path, layer, stats))
    shelf.scenes.setdefault((grid.id, span), {}).update(
        (scene.id, scene.href) for day in days for scene in day.scenes if scene.href is not None
    )


def put_cube(
    shelf: Shelf,
    grid: aoi.Grid,
    name: str,
    layer: publish.Layer,
    slices: Iterable[Any],
    spans: Sequence[Span],
    *,
    formats: Mapping[str, bool],
) -> None:
    """Write one layer of one grid over several times as a NetCDF file, a Zarr store, or both.

    Parameters
    ----------
    name
        File stem; the grid's id is added where the area has several.
    layer
        What it holds.
    slices
        ``(place in spans, row, col, 2-D array)``.
    spans
        Times of the slices, rising.
    formats
        Whether ``netcdf`` and ``zarr`` are wanted.
    """
    path = shelf.report.folder / "cubes" / f"{_stem(shelf, grid, name)}.nc"
    publish.write_netcdf(
        path,
        layer,
        grid.geobox,
        slices,
        times=[(span.first, span.last) for span in spans],
        title=f"{layer.title_en}: {shelf.where}",
        attribution=shelf.credit,
    )
    if formats["zarr"]:
        publish.write_zarr(path.with_suffix(".zarr.zip"), path)
        shelf.files.append(path.with_suffix(".zarr.zip"))
    if formats["netcdf"]:
        shelf.files.append(path)
    else:
        path.unlink()


def _stem(shelf: Shelf, grid: aoi.Grid, name: str) -> str:
    """Name a file, by its grid too where the area spans several."""
    return name if len(shelf.place.grids) == 1 else f"{name}_{grid.id}"


def _provenance(shelf: Shelf, days: Sequence[cube.SolarDay]) -> dict[str, str]:
    """Metadata from which a raster that lies alone tells what it was made of."""
    scenes = [scene for day in days for scene in day.scenes]
    listed = "\n".join(sorted(scene.id for scene in scenes))
    return {
        "LESNIVA_JOB": shelf.job.name,
        "LESNIVA_JOURNEY": shelf.report.journey,
        "LESNIVA_AREA": shelf.place.area.id,
        "LESNIVA_DAYS": f"{days[0].date}/{days[-1].date}",
        "LESNIVA_SCENES": str(len(scenes)),
        "LESNIVA_SCENES_SHA256": hashlib.sha256(listed.encode()).hexdigest(),
        "LESNIVA_BASELINES": ", ".join(sorted({str(scene.processing[0]) for scene in scenes})),
    }


def put_tables(
    shelf: Shelf,
    layers: Mapping[str, gpd.GeoDataFrame],
    *,
    key: str | Mapping[str, str],
    tables: Mapping[str, pd.DataFrame],
    styles: Mapping[str, str],
    forms: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write features as GeoJSON, CSV and GeoParquet, and all with the districts as GeoPackage.

    Parameters
    ----------
    layers
        Name → features.
    key
        Their id column, or that of each.
    tables
        Name → table, for CSV and GeoPackage.
    styles
        Name of a layer → QML.
    forms
        Name → table or features for the GeoPackage alone, such as what people fill in.
    """
    folder, area = shelf.report.folder, shelf.place.area
    about = {"attribution": shelf.credit, "districts_are_approximate": area.approximate}
    for name, layer in layers.items():
        column = key if isinstance(key, str) else key[name]
        publish.write_geojson(folder / f"{name}.geojson", layer, id_column=column, metadata=about)
        publish.write_geoparquet(folder / f"{name}.parquet", layer)
        publish.write_csv(folder / f"{name}.csv", layer.drop(columns="geometry"))
        shelf.files += [folder / f"{name}.{kind}" for kind in ("geojson", "parquet", "csv")]
    for name, table in tables.items():
        publish.write_csv(folder / f"{name}.csv", table)
        shelf.files.append(folder / f"{name}.csv")
    shelf.files.append(folder / "lesniva.gpkg")
    publish.write_geopackage(
        folder / "lesniva.gpkg",
        {
            **layers,
            "districts": shelf.place.districts,
            **tables,
            **(forms or {}),
            "runs": _runs(shelf),
            "scenes": pd.DataFrame(_scenes(shelf)),
        },
        when=shelf.when,
        attribution=shelf.credit,
        styles={**styles, "districts": publish.districts_style()},
        aliases=publish.field_titles("ru"),
    )


def _scenes(shelf: Shelf) -> list[dict[str, Any]]:
    """List the scenes that went in."""
    return [
        {
            "id": scene.id,
            "date": str(day.date),
            "baseline": scene.processing[0],
            "dn_offset": _decided(scene),
        }
        for day in shelf.days
        for scene in day.scenes
    ]


def _runs(shelf: Shelf) -> pd.DataFrame:
    """List the runs that have published in this folder, this one last."""
    report = shelf.report
    row = {
        "run_id": report.run_id,
        "started": pd.Timestamp(report.started).floor("s"),
        "first_day": str(shelf.days[0].date),
        "last_day": str(shelf.days[-1].date),
        "scenes": sum(len(day.scenes) for day in shelf.days),
        "faults": len(report.faults),
        "lesniva": version("lesniva"),
    }
    this, path = pd.DataFrame([row]), report.folder / STATE / RUNS
    return pd.concat([pd.read_parquet(path), this], ignore_index=True) if path.exists() else this


def close(shelf: Shelf) -> None:
    """Write the STAC collection, ``run.json`` and, last, the manifest that says what is whole."""
    job, report, runs = shelf.job, shelf.report, _runs(shelf)
    _warn(shelf)
    shown = sorted(each for kind in ("*.png", "report/*.html") for each in report.folder.glob(kind))
    publish.write_stac(
        report.folder,
        [_product(shelf, grid_id, span, made) for (grid_id, span), made in shelf.rasters.items()],
        collection_id=job.name,
        title=f"{TITLES[report.journey]}: {shelf.where}",
        description=f"{TITLES[report.journey]} of {shelf.where} by Lesniva.",
        attribution=shelf.credit,
        created=shelf.when,
        files={path.name: path for path in (*shelf.files, *shown)},
    )
    publish.write_run(
        report.folder,
        run_id=report.run_id,
        outcome="partial" if report.faults else "done",
        started=report.started,
        finished=dt.datetime.now(dt.UTC),
        stages=report.stages,
        config=job.model_dump(mode="json"),
        inputs=[job.area.file],
        scenes=_scenes(shelf),
        results={**report.results, "faults": report.faults},
        attribution=shelf.credit,
    )
    publish.write_manifest(
        report.folder,
        rasters={raster.path: raster.stats for made in shelf.rasters.values() for raster in made},
    )
    with whole_file(report.folder / STATE / RUNS) as temporary:
        runs.to_parquet(temporary, index=False)


def _product(
    shelf: Shelf, grid_id: str, span: Span | None, rasters: Sequence[publish.Raster]
) -> publish.Product:
    """Give the rasters of one grid and time as a STAC item is made of them."""
    first, last = (
        (dt.date.fromisoformat(str(day.date)) for day in (shelf.days[0], shelf.days[-1]))
        if span is None
        else (span.first, span.last)
    )
    label = f"{last:%Y%m%d}" if span is None else span.label
    return publish.Product(
        id=f"{shelf.job.name}_{grid_id}_{label}",
        title=f"{TITLES[shelf.report.journey]}, {shelf.where}, {last if span is None else label}",
        geobox=next(grid.geobox for grid in shelf.place.grids if grid.id == grid_id),
        start=first,
        end=last,
        rasters=rasters,
        derived_from=shelf.scenes[grid_id, span],
    )


def _decided(scene: cube.Scene) -> str:
    """Say what is added to a scene's numbers, and why; by band where bands differ."""
    told = {band: f"{offset.value:+d} ({offset.why})" for band, offset in scene.offsets.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{band} {decision}" for band, decision in told.items())


def _warn(shelf: Shelf) -> None:
    """Name the scenes whose numbers contradict what was decided about their offset."""
    report = shelf.report
    doubts = {
        scene.id: doubt
        for day in shelf.days
        for scene in day.scenes
        if scene.id in report.red and "red" in scene.offsets
        if (doubt := cube.suspicious(scene.offsets["red"], report.red[scene.id])) is not None
    }
    doubtful = [f"{name}: {doubt}" for name, doubt in doubts.items()]
    report.results["warnings"] = [english for english, _ in report.warnings] + doubtful
    if doubts:
        report.words.append(
            f"warning: {len(doubts)} scenes may have wrong reflectance (all in run.json), "
            f"the first is {doubtful[0]}"
        )
