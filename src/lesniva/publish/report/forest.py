"""What the page of a forest run is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import rasterio

from lesniva.publish.fields import TITLES
from lesniva.publish.layers import LAYERS, Layer
from lesniva.publish.report import about, outlines, pictures
from lesniva.publish.report.page import write_page
from lesniva.publish.report.words import WORDS

OVERLAYS = ("ndvi", "status", "coverage_week", "coverage")
"""Layers that the map can lie on, where they were published; the first is shown at first."""

COVERAGE = ("coverage_week", "coverage", "status")
"""Layers whose classes say how much of the forest was watched, and why not the rest."""

MOST_VERTICES = 250_000
"""Of the outlines of all alerts together; the smallest alerts beyond it are shown as dots."""

DIGITS = {"area_ha": 2, "probability": 3, "magnitude": 3, "lon": 5, "lat": 5, "cause_prob": 2}


@dataclass(frozen=True)
class CloseUp:
    """What was seen of one alert."""

    series: Mapping[str, pd.Series]
    """Index → mean over the alert's pixels, by date, rising."""
    models: Mapping[str, tuple[Sequence[float], float]] = field(default_factory=dict)
    """Index → coefficients of its seasonal model (1, cos 2πτ, sin 2πτ, cos 4πτ, …, with
    τ = days since 2015-01-01 / 365.25) and its noise, in index units."""
    chips: Mapping[str, tuple[str, npt.NDArray[np.int16]]] = field(default_factory=dict)
    """``before``, ``after`` → date and (3, y, x) int16 harmonised DN."""
    outline: Sequence[Sequence[tuple[float, float]]] = ()
    """Rings of the alert in its pictures: shares of width and height, from the top left."""


def write_forest_report(
    path: Path,
    *,
    run: about.About,
    alerts: gpd.GeoDataFrame,
    districts: gpd.GeoDataFrame,
    rasters: Mapping[str, Sequence[Path]],
    close_ups: Mapping[str, CloseUp],
) -> None:
    """Write the page of a forest run.

    Parameters
    ----------
    path
        HTML file.
    run
        Of which run.
    alerts
        As published: ``alert_id``, ``status``, ``date_max``, ``area_ha``, … Columns that the page
        does not know are shown in the cards of alerts by their titles.
    districts
        ``adm_id``, ``name_en``, ``name_ru`` and geometry.
    rasters
        Layer → published files, one a grid.
    close_ups
        By ``alert_id``; the cards of other alerts have neither pictures nor chart.
    """
    found = {name: rasters[name] for name in OVERLAYS if rasters.get(name)}
    write_page(
        path,
        journey="forest",
        title=title(run, "forest_title"),
        language=run.language,
        values={
            "run": about.told(run),
            "alerts": _alerts(alerts),
            "titles": {column: TITLES[column] for column in alerts.columns if column in TITLES},
            "districts": outlines.districts(districts),
            "overlays": [overlay(LAYERS[name], paths) for name, paths in found.items()],
            "coverage": [_classes(LAYERS[name], found[name]) for name in COVERAGE if name in found],
            "close_ups": {key: _close_up(each) for key, each in close_ups.items()},
        },
    )


def title(run: about.About, word: str) -> str:
    """Say what the page is of, in the language it opens in."""
    russian = run.language == "ru"
    return f"{WORDS[word][russian]}: {run.area_ru if russian else run.area_en}"


def _alerts(alerts: gpd.GeoDataFrame) -> dict[str, Any]:
    """Columns of the alerts; names of districts once, not once an alert."""
    table = alerts.drop(columns=[alerts.geometry.name, "district_en", "district_ru"])
    shapes = alerts.geometry.to_crs("EPSG:4326")
    drawn = outlines.within_budget(shapes, MOST_VERTICES)
    return {
        **about.columns(pd.DataFrame(table), DIGITS),
        "outline": [
            outlines.encoded(shape) if whole else None
            for shape, whole in zip(shapes, drawn, strict=True)
        ],
    }


def overlay(layer: Layer, paths: Sequence[Path]) -> dict[str, Any]:
    """Give a picture of a layer for the map, with its title and legend."""
    return {
        "name": layer.name,
        "title": [layer.title_en, layer.title_ru],
        "legend": _legend(layer),
        **pictures.overlay(layer, paths),
    }


def _legend(layer: Layer) -> list[Any]:
    """Colour and words of each class, or colour and value of each stop of a ramp."""
    if layer.kind == "classes":
        return [[each.colour, [each.name_en, each.name_ru]] for each in layer.classes]
    return [[stop.colour, stop.value] for stop in layer.ramp]


def _classes(layer: Layer, paths: Sequence[Path]) -> dict[str, Any]:
    """Hectares of each class of a layer."""
    hectares = dict.fromkeys((each.value for each in layer.classes), 0.0)
    for path in paths:
        for value, area in _hectares(path).items():
            if value in hectares:
                hectares[value] += area
    return {
        "name": layer.name,
        "title": [layer.title_en, layer.title_ru],
        "classes": [
            [each.value, each.colour, [each.name_en, each.name_ru], round(hectares[each.value], 1)]
            for each in layer.classes
            if hectares[each.value]
        ],
    }


def _hectares(path: Path) -> dict[int, float]:
    """Measure the true hectares of each value of a raster of classes, tile by tile."""
    areas = np.zeros(256)
    with rasterio.open(path, driver="GTiff") as raster:
        plane = pyproj.Proj(raster.crs.to_wkt())
        pixel_ha = abs(raster.transform.a * raster.transform.e) / 10_000
        for _, window in raster.block_windows(1):
            counts = np.bincount(raster.read(1, window=window).ravel(), minlength=256)
            middle = raster.xy(
                window.row_off + window.height / 2, window.col_off + window.width / 2
            )
            lon, lat = plane(middle[0], middle[1], inverse=True)
            stretch = plane.get_factors(lon, lat).areal_scale
            areas += counts * pixel_ha / stretch
    return dict(enumerate(areas.tolist()))


def _close_up(seen: CloseUp) -> dict[str, Any]:
    return {
        "series": {
            index: {
                "days": [str(day)[:10] for day in values.index],
                "values": [round(float(value), 3) for value in values],
            }
            for index, values in seen.series.items()
        },
        "models": {
            index: {
                "coefficients": [round(float(number), 5) for number in coefficients],
                "sigma": round(float(sigma), 4),
            }
            for index, (coefficients, sigma) in seen.models.items()
        },
        "outline": [list(map(list, ring)) for ring in seen.outline],
        "chips": {
            when: {"date": date, "image": pictures.chip(bands)}
            for when, (date, bands) in seen.chips.items()
        },
    }
