"""What a run publishes: rasters with styles, tables, a STAC collection, and last the manifest."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import pandas as pd

from lesniva import aoi, cube, publish
from lesniva.config import Pipeline
from lesniva.conventions import ATTRIBUTION, SYNTHETIC_NOTICE
from lesniva.pipeline.place import Place
from lesniva.pipeline.running import Report

TITLES = {
    "forest": "Forest change alerts",
    "harvest": "Harvest forecast",
    "composite": "Composites of vegetation indices",
}


@dataclass
class Shelf:
    """The results of a run as they are written, one after the other."""

    job: Pipeline
    report: Report
    place: Place
    days: Sequence[cube.SolarDay]
    """The scenes that the results stand on."""
    rasters: dict[str, list[publish.Raster]] = field(default_factory=dict)
    """By grid."""

    @property
    def credit(self) -> str:
        """Attribution of the results, or the notice that they are synthetic."""
        if self.report.synthetic:
            return SYNTHETIC_NOTICE
        first, last = (str(day.date)[:4] for day in (self.days[0], self.days[-1]))
        return f"{ATTRIBUTION} {first if first == last else f'{first}-{last}'}"

    @property
    def when(self) -> dt.datetime:
        """The last day that was seen: what is made of the same scenes is the same to the byte."""
        last = dt.date.fromisoformat(str(self.days[-1].date))
        return dt.datetime.combine(last, dt.time(), dt.UTC)


def put_raster(
    shelf: Shelf, grid: aoi.Grid, name: str, layer: publish.Layer, blocks: Iterable[Any]
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
    """
    stem = name if len(shelf.place.grids) == 1 else f"{name}_{grid.id}"
    path = shelf.report.folder / "rasters" / f"{stem}.tif"
    stats = publish.write_cog(
        path, layer, grid.geobox, blocks, when=shelf.when.date(), attribution=shelf.credit
    )
    publish.write_style(path, layer, stats)
    shelf.rasters.setdefault(grid.id, []).append(publish.Raster(path, layer, stats))


def put_tables(
    shelf: Shelf,
    layers: Mapping[str, gpd.GeoDataFrame],
    *,
    key: str,
    tables: Mapping[str, pd.DataFrame],
    styles: Mapping[str, str],
) -> None:
    """Write features as GeoJSON, CSV and GeoParquet, and all with the districts as GeoPackage.

    Parameters
    ----------
    layers
        Name → features.
    key
        Their id column.
    tables
        Name → table, for CSV and GeoPackage.
    styles
        Name of a layer → QML.
    """
    folder, area = shelf.report.folder, shelf.place.area
    about = {"attribution": shelf.credit, "districts_are_approximate": area.approximate}
    for name, layer in layers.items():
        publish.write_geojson(folder / f"{name}.geojson", layer, id_column=key, metadata=about)
        publish.write_geoparquet(folder / f"{name}.parquet", layer)
        publish.write_csv(folder / f"{name}.csv", layer.drop(columns="geometry"))
    for name, table in tables.items():
        publish.write_csv(folder / f"{name}.csv", table)
    publish.write_geopackage(
        folder / "lesniva.gpkg",
        {**layers, "districts": shelf.place.districts, **tables},
        when=shelf.when,
        attribution=shelf.credit,
        styles={**styles, "districts": publish.districts_style()},
        aliases=publish.field_titles("ru"),
    )


def close(shelf: Shelf) -> None:
    """Write the STAC collection, ``run.json`` and, last, the manifest that says what is whole."""
    job, report, days = shelf.job, shelf.report, shelf.days
    first, last = (dt.date.fromisoformat(str(day.date)) for day in (days[0], days[-1]))
    scenes = [(day.date, scene) for day in days for scene in day.scenes]
    derived_from = {scene.id: scene.href for _, scene in scenes if scene.href is not None}
    grids = {grid.id: grid for grid in shelf.place.grids}
    products = [
        publish.Product(
            id=f"{job.name}_{grid_id}_{last:%Y%m%d}",
            title=f"{TITLES[report.journey]}, {shelf.place.area.name_en}, {last}",
            geobox=grids[grid_id].geobox,
            start=first,
            end=last,
            rasters=rasters,
            derived_from=derived_from,
        )
        for grid_id, rasters in shelf.rasters.items()
    ]
    publish.write_stac(
        report.folder,
        products,
        collection_id=job.name,
        title=f"{TITLES[report.journey]}: {shelf.place.area.name_en}",
        description=f"{TITLES[report.journey]} of {shelf.place.area.name_en} by Lesniva.",
        attribution=shelf.credit,
        created=shelf.when,
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
        scenes=[
            {"id": scene.id, "date": str(date), "baseline": scene.processing[0]}
            for date, scene in scenes
        ],
        results={**report.results, "faults": report.faults},
        attribution=shelf.credit,
    )
    publish.write_manifest(
        report.folder,
        rasters={raster.path: raster.stats for made in shelf.rasters.values() for raster in made},
    )
