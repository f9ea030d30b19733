"""The journeys on real Sentinel-2 imagery, held to what is known of it."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from lesniva import config, pipeline
from lesniva.conventions import Status
from lesniva.execution import SYNCHRONOUS

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
ROMANIA = DATA / "romania_s2"
EARTH_SEARCH = DATA / "stac_earth_search"

needs_romania = pytest.mark.skipif(
    not ROMANIA.exists(), reason="the real archive ../shared/data/romania_s2 is not here"
)
needs_earth_search = pytest.mark.skipif(
    not EARTH_SEARCH.exists(), reason="the real items ../shared/data/stac_earth_search are not here"
)

FOUND = [Status.LOW, Status.CONFIRMED, Status.REARMED]


def write_area(path: Path, shape: shapely.Geometry, crs: str) -> None:
    """Write a plain outline, as people bring it."""
    dense = shapely.segmentize(shape, 50)
    outline = gpd.GeoSeries([dense], crs=crs).to_crs("EPSG:4326")
    path.write_text(outline.to_json(drop_id=True))


@pytest.fixture(scope="module")
def romania(tmp_path_factory):
    folder = tmp_path_factory.mktemp("romania")
    with rasterio.open(ROMANIA / "S2_RO_20190701" / "red.tif") as red:
        write_area(folder / "area.geojson", shapely.box(*red.bounds), red.crs.to_string())
        anchor = [red.transform.c, red.transform.f]
    (folder / "romania.toml").write_text(
        f"""
        journey = "forest"
        [area]
        file = "area.geojson"
        [source]
        kind = "catalog"
        href = "{(ROMANIA / "catalog.json").resolve()}"
        [period]
        start = 2015-08-01
        end = 2021-01-01
        [grid]
        resolution = 10
        crs = "EPSG:3035"
        anchor = {anchor}
        [forest]
        cover = "{(ROMANIA / "tree_cover_density_2018_romania.tif").resolve()}"
        [monitor]
        history_end = 2018-12-31
        """
    )
    job = config.read(folder / "romania.toml")
    pipeline.run(job, folder / "out", scheduler=SYNCHRONOUS)
    return folder / "out"


@needs_romania
def test_clear_cuts_of_2019_and_2020_are_found_and_stable_forest_is_left_alone(romania):
    with rasterio.open(ROMANIA / "truth.tif") as file:
        truth, bounds = file.read(1), file.bounds
    with rasterio.open(romania / "rasters" / "status.tif") as file:
        status = file.read(1, window=file.window(*bounds).round())
    flagged = np.isin(status, FOUND)
    assert status.shape == truth.shape
    assert flagged[np.isin(truth, [2019, 2020])].mean() >= 0.95
    assert flagged[truth == 1].mean() <= 0.01


@needs_romania
def test_no_change_is_dated_before_the_history_ends(romania):
    alerts = gpd.read_file(romania / "alerts.geojson")
    assert len(alerts) > 0
    assert alerts["date_max"].min().strftime("%Y-%m-%d") > "2018-12-31"
    confirmed = alerts[alerts["status"] == "confirmed"]
    assert (confirmed["confirmed_on"] >= confirmed["date_max"]).all()


@needs_romania
def test_real_imagery_is_credited_to_copernicus(romania):
    credit = "Contains modified Copernicus Sentinel data 2015-2021"
    assert json.loads((romania / "alerts.geojson").read_text())["metadata"]["attribution"] == credit
    assert json.loads((romania / "run.json").read_text())["attribution"] == credit
    with rasterio.open(romania / "rasters" / "status.tif") as file:
        assert file.tags()["TIFFTAG_COPYRIGHT"] == credit


@needs_earth_search
def test_five_days_of_two_tiles_give_the_known_medians_of_ndvi(tmp_path):
    # the window of the southern tile; the northern one has half of it too
    with rasterio.open(EARTH_SEARCH / "S2A_33TWL_20230815_0_L2A" / "B04.tif") as red:
        write_area(tmp_path / "area.geojson", shapely.box(*red.bounds), red.crs.to_string())
        crs, anchor = red.crs.to_string(), [red.transform.c, red.transform.f]
        resolution = red.transform.a
    (tmp_path / "ndvi.toml").write_text(
        f"""
        journey = "composite"
        [area]
        file = "area.geojson"
        [source]
        kind = "catalog"
        href = "{(EARTH_SEARCH / "catalog.json").resolve()}"
        [period]
        start = 2023-08-01
        end = 2023-08-31
        [grid]
        resolution = {resolution}
        crs = "{crs}"
        anchor = {anchor}
        [composite]
        period = "day"
        """
    )
    job = config.read(tmp_path / "ndvi.toml")
    pipeline.run(job, tmp_path / "out", scheduler=SYNCHRONOUS)
    medians = {}
    for path in sorted((tmp_path / "out" / "rasters").glob("*.tif")):
        with rasterio.open(path) as file:
            values = file.read(1, masked=True).compressed() * file.scales[0]
        medians[path.stem.removeprefix("ndvi_")] = round(float(np.median(values)), 2)
    assert medians == {
        "2023-08-10": 0.76,
        "2023-08-13": 0.86,
        "2023-08-15": 0.82,
        "2023-08-18": 0.79,
        "2023-08-20": 0.79,
    }
