"""What other programs say of our files: QGIS and GDAL's own checks.

The programs come from Debian (`make judges`); where they are not installed the tests are skipped.
"""

import datetime as dt
import json
import subprocess
from functools import cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from lesniva import publish
from lesniva.conventions import ATTRIBUTION, Status, to_day_number
from lesniva.publish import LAYERS

DAY = dt.date(2026, 6, 10)
CREDIT = f"{ATTRIBUTION} 2026"
GRID = GeoBox((600, 700), Affine(20, 0, 400_000, 0, -20, 5_800_000), "EPSG:32637")
INSIDE = (400_130, 5_799_870)
"""A place that every raster has a value at."""

SYSTEM_PYTHON = "/usr/bin/python3"
"""What Debian's packages are installed for."""

VALUES = {
    "status": np.uint8(Status.CONFIRMED),
    "first_anomaly": to_day_number(np.datetime64("2026-06-03")),
    "last_normal": to_day_number(np.datetime64("2026-05-20")),
    "confirmed_on": to_day_number(np.datetime64("2026-06-10")),
    "probability": np.float32(97),
    "magnitude": np.float32(-0.4321),
    "n_obs": np.uint16(37),
    "coverage": np.uint8(1),
    "coverage_week": np.uint8(0),
    "ndvi": np.float32(0.8123),
    "ndvi_anomaly": np.float32(-0.1234),
    "cropland": np.uint8(2),
    "productivity": np.uint8(5),
}
"""Layer → what stands in its upper left corner; the rest is missing."""

SHOWN = VALUES | {
    "first_anomaly": 20260603,
    "last_normal": 20260520,
    "confirmed_on": 20260610,
}


@cache
def has(module: str) -> bool:
    """Tell whether the Python of the system has a module."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    command = [SYSTEM_PYTHON, "-c", f"import {module}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


needs_qgis = pytest.mark.skipif(
    not has("qgis.core"), reason="PyQGIS is not installed (python3-qgis of Debian: make judges)"
)
needs_gdal = pytest.mark.skipif(
    not has("osgeo_utils.samples"),
    reason="GDAL's Python programs are not installed (python3-gdal of Debian: make judges)",
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    for name, value in VALUES.items():
        layer = LAYERS[name]
        pixels = publish.encode(layer, np.full((300, 400), value))
        path = folder / f"{name}.tif"
        stats = publish.write_cog(path, layer, GRID, [(0, 0, pixels)], when=DAY, attribution=CREDIT)
        publish.write_style(path, layer, stats)
    publish.write_netcdf(
        folder / "ndvi.nc",
        LAYERS["ndvi"],
        GRID,
        [(0, 0, 0, np.full((300, 400), 8123, np.int16))],
        times=[(dt.date(2026, 6, 1), dt.date(2026, 6, 10))],
        title="NDVI",
        attribution=CREDIT,
    )
    write_vectors(folder)
    return folder


def write_vectors(folder):
    shapes = [box(39.6, 52.4, 39.7, 52.5), box(39.7, 52.4, 39.8, 52.5)]
    alerts = gpd.GeoDataFrame(
        {
            "alert_id": ["a", "b"],
            "status": ["confirmed", "low"],
            "date_max": pd.to_datetime(["2026-06-03", "2026-06-10"]),
            "area_ha": [3.2, 1.1],
        },
        geometry=shapes,
        crs="EPSG:4326",
    )
    forecast = gpd.GeoDataFrame(
        {"adm_id": ["w", "e"], "yield_t_ha": [3.1, 4.7]}, geometry=shapes, crs="EPSG:4326"
    )
    publish.write_geojson(folder / "alerts.geojson", alerts, id_column="alert_id", metadata={})
    publish.write_geopackage(
        folder / "lesniva.gpkg",
        {
            "alerts": alerts,
            "forecast": forecast,
            "districts": forecast[["adm_id", "geometry"]],
            "runs": pd.DataFrame({"run_id": ["20260611T040000Z"]}),
        },
        when=dt.datetime(2026, 6, 10, tzinfo=dt.UTC),
        attribution=CREDIT,
        styles={
            "alerts": publish.alerts_style(),
            "forecast": publish.forecast_style(forecast["yield_t_ha"]),
            "districts": publish.districts_style(),
        },
        aliases=publish.field_titles("ru"),
    )


@pytest.fixture(scope="module")
def in_qgis(published):
    """What QGIS says of each file, by its name."""
    layers = ("alerts", "forecast", "districts", "runs")
    files = [
        *sorted(published.glob("*.tif")),
        f'NETCDF:"{published / "ndvi.nc"}":ndvi',
        published / "alerts.geojson",
        *(f"{published / 'lesniva.gpkg'}|layername={layer}" for layer in layers),
    ]
    program = Path(__file__).parent / "judges" / "read_in_qgis.py"
    # not our environment: QGIS would find our PROJ and our packages
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(published),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(published),
    }
    done = subprocess.run(
        [SYSTEM_PYTHON, program, *map(str, INSIDE), *map(str, files)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        name.rpartition("=")[2] if "|" in name else Path(name).name.replace('"', ""): made
        for name, made in said.items()
    }


@needs_qgis
@pytest.mark.parametrize("name", VALUES)
def test_qgis_shows_a_raster_in_its_place_with_the_value_that_people_mean(in_qgis, name):
    shown = in_qgis[f"{name}.tif"]
    assert shown["valid"]
    assert shown["crs"] == "EPSG:32637"
    assert shown["value"] == pytest.approx(float(SHOWN[name]), abs=6e-5)
    assert shown["missing"] == LAYERS[name].nodata
    assert shown["band"] == f"Band 1: {name}" or shown["band"].startswith(f"Band 1: {name} ")


@needs_qgis
@pytest.mark.parametrize(
    "name", ["status", "coverage", "coverage_week", "cropland", "productivity"]
)
def test_qgis_shows_classes_by_their_russian_names(in_qgis, name):
    shown = in_qgis[f"{name}.tif"]
    assert shown["renderer"] == "QgsPalettedRasterRenderer"
    assert shown["legend"] == {known.name_ru: known.value for known in LAYERS[name].classes}


@needs_qgis
def test_qgis_shows_dates_by_period_and_quantities_by_ramp(in_qgis):
    dates, ndvi = in_qgis["first_anomaly.tif"], in_qgis["ndvi.tif"]
    assert dates["renderer"] == ndvi["renderer"] == "QgsSingleBandPseudoColorRenderer"
    assert dates["legend"] == {"1–10 июн 2026": 20260610}
    assert list(ndvi["legend"].values()) == [stop.value for stop in LAYERS["ndvi"].ramp]


@needs_qgis
def test_qgis_shows_alerts_and_forecasts_in_their_own_style_with_russian_titles(in_qgis):
    alerts, forecast = in_qgis["alerts"], in_qgis["forecast"]
    assert (alerts["valid"], alerts["crs"], alerts["features"]) == (True, "EPSG:4326", 2)
    assert alerts["renderer"] == "QgsCategorizedSymbolRenderer"
    assert alerts["legend"]["подтверждено"] == "confirmed"
    assert alerts["aliases"]["area_ha"] == "площадь, га"
    assert alerts["types"]["date_max"] == "Date"
    assert alerts["shapes_are_valid"]
    assert forecast["renderer"] == "QgsGraduatedSymbolRenderer"
    assert forecast["aliases"]["yield_t_ha"] == "урожайность, т/га"
    assert in_qgis["districts"]["renderer"] == "QgsSingleSymbolRenderer"
    assert in_qgis["runs"]["features"] == 1
    assert in_qgis["alerts.geojson"]["crs"] == "EPSG:4326"


@needs_qgis
def test_qgis_opens_the_cube_with_its_projection_and_real_values(in_qgis):
    (shown,) = (made for name, made in in_qgis.items() if "ndvi.nc" in name)
    assert (shown["valid"], shown["crs"], shown["bands"]) == (True, "EPSG:32637", 1)
    assert shown["value"] == pytest.approx(0.8123)


@needs_gdal
@pytest.mark.parametrize("name", VALUES)
def test_gdals_own_check_calls_a_raster_a_valid_cog(published, name):
    check = "osgeo_utils.samples.validate_cloud_optimized_geotiff"
    command = [SYSTEM_PYTHON, "-m", check, "--full-check=yes", published / f"{name}.tif"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid cloud optimized GeoTIFF" in done.stdout


@needs_gdal
def test_gdals_own_check_calls_the_geopackage_valid(published):
    command = [SYSTEM_PYTHON, "-m", "osgeo_utils.samples.validate_gpkg", published / "lesniva.gpkg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
