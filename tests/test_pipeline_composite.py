"""The composite journey on a small simulated archive: rasters by period, anomalies, a cube."""

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

from lesniva import config, pipeline, publish, synthetic
from lesniva.errors import InputError, NoDataError
from lesniva.execution import SYNCHRONOUS

AREA = Path(__file__).parents[1] / "aoi" / "lipetsk.geojson"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    synthetic.write_forest_archive(
        folder,
        size=128,
        start="2020-01-01",
        end="2022-12-31",
        scenes_per_month={6: 4, 7: 4},
        bands=("red", "nir"),
    )
    return folder


def job(folder, archive, **composite):
    asked = {
        "period": "month",
        "anomaly": True,
        "min_years": 2,
        "netcdf": True,
        "zarr": True,
    } | composite
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in asked.items())
    path = folder / "months.toml"
    path.write_text(
        f"""
        journey = "composite"
        [area]
        file = "{AREA}"
        clip = [39.672, 52.485, 39.708, 52.502]
        [source]
        kind = "catalog"
        href = "{archive / "catalog.json"}"
        [period]
        start = 2020-01-01
        end = 2022-12-31
        [grid]
        block = 64
        [composite]
        {lines}
        """
    )
    return config.read(path)


@pytest.fixture(scope="module")
def months(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("months")
    report = pipeline.run(job(folder, archive), folder / "out", scheduler=SYNCHRONOUS)
    assert report.exit_code == 0
    return folder / "out"


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1, masked=True).astype(float)


MONTHS = [f"{year}-{month}" for year in (2020, 2021, 2022) for month in ("06", "07")]


def test_every_month_has_a_raster_and_the_last_year_an_anomaly(months):
    found = {path.stem for path in (months / "rasters").glob("*.tif")}
    assert found == {
        *(f"ndvi_{month}" for month in MONTHS),
        "ndvi_anomaly_2022-06",
        "ndvi_anomaly_2022-07",
    }
    assert publish.verify(months) == []


def test_an_anomaly_is_the_month_minus_the_mean_of_the_same_month_before(months):
    rasters = months / "rasters"
    this, *earlier = (pixels(rasters / f"ndvi_{year}-07.tif") for year in (2022, 2021, 2020))
    wanted = this - np.ma.stack(earlier).mean(axis=0)
    found = pixels(rasters / "ndvi_anomaly_2022-07.tif")
    both = ~np.ma.getmaskarray(found)
    assert both.mean() > 0.2
    assert not np.ma.getmaskarray(wanted)[both].any()
    assert np.abs(found - wanted)[both].max() <= 0.5


def test_each_raster_says_its_own_time_and_what_it_was_made_of(months):
    for month in MONTHS:
        with rasterio.open(months / "rasters" / f"ndvi_{month}.tif") as file:
            tags = file.tags()
        last = {"06": "30", "07": "31"}[month[5:]]
        assert tags["TIFFTAG_DATETIME"] == f"{month.replace('-', ':')}:{last} 00:00:00"
        assert tags["LESNIVA_DAYS"].startswith(month)
        assert int(tags["LESNIVA_SCENES"]) == 4
    with rasterio.open(months / "rasters" / "ndvi_anomaly_2022-07.tif") as file:
        assert int(file.tags()["LESNIVA_SCENES"]) == 12


def test_every_month_is_an_item_with_its_own_time_and_scenes(months):
    collection = pystac.Collection.from_file(str(months / "stac" / "collection.json"))
    items = {item.id.rpartition("_")[2]: item for item in collection.get_items()}
    assert sorted(items) == MONTHS
    june = items["2022-06"]
    assert june.common_metadata.start_datetime.date().isoformat() == "2022-06-01"
    assert june.common_metadata.end_datetime.date().isoformat() == "2022-06-30"
    assert {"ndvi", "ndvi_anomaly"} <= set(june.assets)
    assert len(june.get_links("derived_from")) == 12
    assert set(items["2020-06"].assets) == {"ndvi", "ndvi-style"}
    assert len(items["2020-06"].get_links("derived_from")) == 4
    assert set(collection.assets) == {
        *("ndvi.nc", "ndvi_anomaly.nc"),
        *("ndvi.zarr.zip", "ndvi_anomaly.zarr.zip"),
    }


def test_the_cube_holds_what_the_rasters_hold(months):
    with xr.open_dataset(months / "cubes" / "ndvi.nc", mask_and_scale=False) as cube:
        assert [str(month)[:7] for month in cube["time"].values] == MONTHS
        for number, month in enumerate(MONTHS):
            with rasterio.open(months / "rasters" / f"ndvi_{month}.tif") as file:
                np.testing.assert_array_equal(cube["ndvi"][number], file.read(1))


def test_earlier_years_may_serve_as_normal_only(archive, months, tmp_path):
    wanted = job(tmp_path, archive, since="2022-07-01", netcdf=False)
    pipeline.run(wanted, tmp_path / "out", scheduler=SYNCHRONOUS)
    cubes = {path.name for path in (tmp_path / "out" / "cubes").iterdir()}
    assert cubes == {"ndvi.zarr.zip", "ndvi_anomaly.zarr.zip"}
    rasters = {path.name: path for path in (tmp_path / "out" / "rasters").glob("*.tif")}
    assert set(rasters) == {"ndvi_2022-07.tif", "ndvi_anomaly_2022-07.tif"}
    for name, path in rasters.items():
        assert path.read_bytes() == (months / "rasters" / name).read_bytes()


def test_what_cannot_be_made_is_told_before_and_after_the_search(archive, tmp_path):
    with pytest.raises(InputError, match='needs the period "dekad", "month" or "season"'):
        job(tmp_path, archive, period="day")
    with pytest.raises(NoDataError, match=r"from composite\.since 2022-12-01 on"):
        pipeline.run(
            job(tmp_path, archive, since="2022-12-01"), tmp_path / "out", scheduler=SYNCHRONOUS
        )
