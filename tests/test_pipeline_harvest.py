"""The harvest journey on a small simulated farmland."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from lesniva import config, pipeline, publish, synthetic
from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.errors import InputError
from lesniva.execution import SYNCHRONOUS
from lesniva.synthetic.embedded import FARMLAND_GRID

PIXELS = 240
YEAR = 2024


def districts():
    """Four square districts over the corner of the embedded farmland."""
    left, top = FARMLAND_GRID.left, FARMLAND_GRID.top
    half = PIXELS * FARMLAND_GRID.resolution / 2
    cells = {
        f"d{row}{col}": shapely.box(
            left + col * half, top - (row + 1) * half, left + (col + 1) * half, top - row * half
        )
        for row in range(2)
        for col in range(2)
    }
    frame = gpd.GeoDataFrame({"adm_id": list(cells)}, geometry=list(cells.values()), crs=32637)
    return frame.to_crs("EPSG:4326")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    synthetic.write_farmland_archive(
        folder,
        districts(),
        first_year=2017,
        last_year=YEAR,
        last_scene=f"{YEAR}-06-30",
        size=PIXELS,
        scenes_per_month={4: 2, 5: 2, 6: 2, 7: 1, 8: 1, 10: 1},
        bands=("red", "nir"),
    )
    frame = districts().rename(columns={"adm_id": "id"})
    frame["kind"], frame["name_en"], frame["name_ru"] = "raion", frame["id"], frame["id"]
    whole = {"id": "corner", "kind": "region", "name_en": "Corner", "name_ru": "Угол"}
    features = json.loads(frame.to_json(drop_id=True))["features"]
    outline = shapely.union_all(frame.geometry).__geo_interface__
    features.insert(0, {"type": "Feature", "properties": whole, "geometry": outline})
    area = {"type": "FeatureCollection", "features": features}
    (folder / "area.geojson").write_text(json.dumps(area))
    return folder


def job(
    folder,
    archive,
    *,
    cutoff=f"{YEAR}-06-30",
    crop="winter_wheat",
    end=f"{YEAR}-06-30",
    issue_days='"cutoff"',
):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.toml"
    path.write_text(
        f"""
        journey = "harvest"
        [area]
        file = "{archive / "area.geojson"}"
        [source]
        kind = "catalog"
        href = "{archive / "catalog.json"}"
        [period]
        start = 2016-09-01
        end = {end}
        [grid]
        resolution = 120
        block = 128
        [harvest]
        year = {YEAR}
        cutoff = {cutoff}
        issue_days = {issue_days}
        yields = "{archive / "yields.csv"}"
        [harvest.crops.{crop}]
        cover = "winter"
        """
    )
    return config.read(path)


@pytest.fixture(scope="module")
def done(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    report = pipeline.run(job(folder, archive), folder / "out", scheduler=SYNCHRONOUS)
    assert report.exit_code == 0
    return folder / "out"


def test_every_district_gets_a_forecast_with_its_interval(done):
    forecast = gpd.read_file(done / "forecast.geojson")
    assert set(forecast["adm_id"]) == {"d00", "d01", "d10", "d11"}
    assert (forecast["q05_t_ha"] <= forecast["q10_t_ha"]).all()
    assert (forecast["q10_t_ha"] < forecast["yield_t_ha"]).all()
    assert (forecast["yield_t_ha"] < forecast["q90_t_ha"]).all()
    assert forecast["yield_t_ha"].between(2, 8).all()
    assert (forecast["year"] == YEAR).all()


def test_csv_and_geojson_and_geopackage_say_the_same(done):
    table = pd.read_csv(done / "forecast.csv").set_index("forecast_id")["yield_t_ha"]
    features = gpd.read_file(done / "forecast.geojson").set_index("forecast_id")["yield_t_ha"]
    layer = gpd.read_file(done / "lesniva.gpkg", layer="forecast").set_index("forecast_id")
    pd.testing.assert_series_equal(table, features.loc[table.index], atol=1e-4)
    pd.testing.assert_series_equal(table, layer["yield_t_ha"].loc[table.index], atol=1e-4)


def test_skill_is_printed_beside_the_plain_baselines(done):
    skill = pd.read_csv(done / "skill.csv").set_index("forecaster")
    assert {"forecast", "mean", "own_trend", "last"} <= set(skill.index)
    assert skill.loc[["forecast", "mean", "own_trend", "last"], "nrmse"].between(0, 100).all()


def test_derived_cropland_is_where_the_crops_were(archive, done):
    with rasterio.open(done / "rasters" / "cropland.tif") as file:
        told = file.read(1)
        transform = file.transform
    with rasterio.open(archive / "truth" / "crop_map_2018.tif") as file:
        window = rasterio.windows.from_bounds(
            *rasterio.transform.array_bounds(*told.shape, transform), file.transform
        ).round()
        truth = file.read(1, window=window, boundless=True, fill_value=0)
    crops = synthetic.farmland.Crop
    sown = np.isin(truth, [crops.WINTER_WHEAT, crops.SPRING_BARLEY, crops.SUNFLOWER])
    # nine scenes a season leave some fields unseen while bare; nothing else is taken for a field
    assert (told == 1)[sown].mean() > 0.7
    assert (truth[told == 1] != crops.NONE).mean() > 0.99


def test_outputs_are_whole_valid_and_called_synthetic(done):
    assert publish.verify(done) == []
    for path in (done / "rasters").glob("*.tif"):
        assert cog_validate(path, strict=True, quiet=True)[0], path
    assert json.loads((done / "run.json").read_text())["attribution"] == SYNTHETIC_NOTICE
    assert SYNTHETIC_NOTICE in (done / "forecast.geojson").read_text()


def test_a_second_run_without_new_scenes_does_nothing(archive, done):
    assert pipeline.run(job(done.parent, archive), done, scheduler=SYNCHRONOUS).nothing_new


def test_new_scenes_make_only_their_season_anew(archive, tmp_path):
    out = tmp_path / "out"
    pipeline.run(job(tmp_path, archive, end=f"{YEAR}-05-31"), out, scheduler=SYNCHRONOUS)
    before = {path.name for path in (out / ".lesniva" / "season").rglob("*.parquet")}
    pipeline.run(job(tmp_path, archive), out, scheduler=SYNCHRONOUS)
    after = {path.name for path in (out / ".lesniva" / "season").rglob("*.parquet")}
    assert {name[:4] for name in after - before} == {str(YEAR)}
    assert len(after) == len(before)


def test_nothing_after_the_cutoff_moves_the_forecast(archive, done, tmp_path):
    early = job(tmp_path, archive, cutoff=f"{YEAR}-05-31")
    stopped = job(tmp_path / "b", archive, cutoff=f"{YEAR}-05-31", end=f"{YEAR}-05-31")
    for folder, wanted in (("a", early), ("b", stopped)):
        pipeline.run(wanted, tmp_path / folder / "out", scheduler=SYNCHRONOUS)
    tables = [pd.read_csv(tmp_path / folder / "out" / "forecast.csv") for folder in ("a", "b")]
    pd.testing.assert_frame_equal(*tables)


def test_a_crop_without_yields_is_refused_by_name(archive, done):
    wanted = job(done.parent, archive, crop="rice")
    with pytest.raises(InputError, match=r"no yields of rice before 2024; it has .*winter_wheat"):
        pipeline.run(wanted, done, scheduler=SYNCHRONOUS)
