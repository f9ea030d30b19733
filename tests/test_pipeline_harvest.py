"""The harvest journey on a small simulated farmland."""

import json
import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from farmland import PIXELS, corner
from lesniva import aoi, config, pipeline, publish, synthetic
from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.errors import InputError
from lesniva.execution import SYNCHRONOUS
from lesniva.pipeline.productivity import relative_peak
from lesniva.synthetic.embedded import FARMLAND_GRID

pytestmark = pytest.mark.slow

OUTPUTS = Path(__file__).parents[1] / "docs" / "outputs.md"
YEAR = 2024


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    area = corner()
    synthetic.write_farmland_archive(
        folder,
        area.districts.reset_index(),
        first_year=2017,
        last_year=YEAR,
        last_scene=f"{YEAR}-06-30",
        size=PIXELS,
        scenes_per_month={4: 2, 5: 2, 6: 2, 7: 1, 8: 1, 10: 1},
        bands=("red", "nir"),
    )
    aoi.save(area, folder / "area.geojson")
    return folder


def job(
    folder,
    archive,
    *,
    cutoff=f"{YEAR}-06-30",
    crop="winter_wheat",
    end=f"{YEAR}-06-30",
    issue_days='"cutoff"',
    start="2016-09-01",
    crop_from='cover = "winter"',
    more="",
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
        start = {start}
        end = {end}
        [grid]
        resolution = 120
        block = 256
        [harvest]
        year = {YEAR}
        cutoff = {cutoff}
        issue_days = {issue_days}
        yields = "{archive / "yields.csv"}"
        [harvest.crops.{crop}]
        {crop_from}
        {more}
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


def test_every_column_of_the_geopackage_has_a_title_and_stands_in_the_docs(done):
    path = done / "lesniva.gpkg"
    layers = set(pyogrio.list_layers(path)[:, 0]) - {"layer_styles"}
    columns = {name for layer in layers for name in pyogrio.read_info(path, layer=layer)["fields"]}
    assert columns - set(publish.field_titles("ru")) == set()
    told = set(re.findall(r"\w+", OUTPUTS.read_text(encoding="utf-8")))
    assert layers | columns <= told


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


@pytest.fixture
def known(done, tmp_path):
    """A folder whose job has seen all scenes already, so that a run costs seconds."""
    shutil.copytree(done, tmp_path / "out")
    return tmp_path / "out"


def test_new_scenes_make_only_their_season_anew(archive, known, tmp_path):
    out = known
    pipeline.run(job(tmp_path, archive, end=f"{YEAR}-05-31"), out, scheduler=SYNCHRONOUS)
    before = {path.name for path in (out / ".lesniva" / "season").rglob("*.parquet")}
    pipeline.run(job(tmp_path, archive), out, scheduler=SYNCHRONOUS)
    after = {path.name for path in (out / ".lesniva" / "season").rglob("*.parquet")}
    assert {name[:4] for name in after - before} == {str(YEAR)}
    assert len(after) == len(before)


def test_nothing_after_the_cutoff_moves_the_forecast(archive, known, tmp_path):
    tables = []
    for end in (f"{YEAR}-06-30", f"{YEAR}-05-31"):
        wanted = job(tmp_path, archive, cutoff=f"{YEAR}-05-31", end=end)
        # made anew from the scenes, not remembered from the run before
        for path in (known / ".lesniva" / "season").rglob(f"{YEAR}-*"):
            path.unlink()
        pipeline.run(wanted, known, scheduler=SYNCHRONOUS)
        tables.append(pd.read_csv(known / "forecast.csv"))
    pd.testing.assert_frame_equal(*tables)


def test_weather_takes_part_and_none_of_it_from_after_the_cutoff(archive, known, tmp_path):
    """The user's table, then the same as NetCDF with noise where nothing was known yet."""
    daily = pd.read_csv(archive / "weather.csv", parse_dates=["date"])
    daily = daily[daily["date"].between("2016-09-01", f"{YEAR}-08-31")]
    season = daily["date"].dt.year + (daily["date"].dt.month >= 9)
    known_until = pd.to_datetime(season.astype(str) + "-06-25")  # five days of latency
    late = (daily["date"] > known_until).to_numpy()
    assert 0.1 < late.mean() < 0.3
    rng = np.random.default_rng(5)
    noisy = daily.copy()
    noisy.loc[late, "t2m_c"] = rng.uniform(-20, 40, late.sum())
    noisy.loc[late, "prec_mm"] = rng.uniform(0, 90, late.sum())
    daily.to_csv(tmp_path / "weather.csv", index=False)
    noisy.set_index(["adm_id", "date"]).to_xarray().to_netcdf(tmp_path / "weather.nc")
    told = {}
    for name in ("weather.csv", "weather.nc"):
        section = f'[weather]\nsource = "file"\nfile = "{tmp_path / name}"'
        report = pipeline.run(job(tmp_path, archive, more=section), known, scheduler=SYNCHRONOUS)
        assert report.results["weather_from"] == name
        names = ("forecast", "forecast_total", "hindcast", "skill", "reasons", "analogues")
        told[name] = {table: pd.read_csv(known / f"{table}.csv") for table in names}
    model = json.loads((known / "models" / "winter_wheat_06-30" / "model.json").read_text())
    assert {"ndvi_peak", "gdd_sos", "prec_30d", "prec_since_april", "htk"} <= set(
        model["predictors"]
    )
    for table, rows in told["weather.csv"].items():
        pd.testing.assert_frame_equal(rows, told["weather.nc"][table], obj=table)


def test_the_users_maps_are_used_and_named_in_what_comes_out(archive, tmp_path):
    """Cropland from parcels, the crop from a raster of types; two seasons of imagery will do."""
    wheat = int(synthetic.farmland.Crop.WINTER_WHEAT)
    crop_map = archive / "truth" / "crop_map_2018.tif"
    fields = parcels()
    fields.to_file(tmp_path / "fields.gpkg")
    wanted = job(
        tmp_path,
        archive,
        start=f"{YEAR - 2}-09-01",
        crop_from=f'mask = "{crop_map}"\nvalues = [{wheat}]\nmade_of = 2018',
        more='[cropland]\nparcels = "fields.gpkg"\nmade_of = 2018\n'
        f'[harvest.soil]\nawc = "{crop_map}"',
    )
    report = pipeline.run(wanted, tmp_path / "out", scheduler=SYNCHRONOUS)
    assert report.results["cropland_from"] == "fields.gpkg"
    assert report.results["winter_wheat_from"] == "crop_map_2018.tif"
    claim = pd.read_csv(tmp_path / "out" / "claims.csv").iloc[0]
    assert claim["mask"] == "crop_map_2018.tif"
    model = (tmp_path / "out" / "models" / "winter_wheat_06-30" / "model.json").read_text()
    assert {"lat", "lon", "soil_awc"} <= set(json.loads(model)["predictors"])
    assert claim["first_test_year"] >= 2019
    seen = pd.read_csv(tmp_path / "out" / "district_ndvi.csv")
    clear = seen[seen["clear_share"] > 0.2]
    hectares = (clear["weight"] / clear["clear_share"]).groupby([clear["cover"], clear["adm_id"]])
    with rasterio.open(crop_map) as file:
        cell, sown = abs(file.res[0] * file.res[1]) / 1e4, file.read(1) == wheat
    told = hectares.median()
    assert told["winter_wheat"].sum() == pytest.approx(sown.sum() * cell, rel=0.05)
    assert told["cropland"].sum() == pytest.approx(fields.area.sum() / 1e4, rel=0.1)


def test_a_map_that_is_not_there_is_named(archive, tmp_path):
    wanted = job(tmp_path, archive, more=f'[cropland]\nmask = "{Path("lost.tif")}"')
    with pytest.raises(InputError, match=r"the map .*lost\.tif is not there; check the path"):
        pipeline.run(wanted, tmp_path / "out", scheduler=SYNCHRONOUS)


def test_a_crop_without_yields_is_refused_by_name(archive, done):
    wanted = job(done.parent, archive, crop="rice")
    with pytest.raises(InputError, match=r"no yields of rice before 2024; it has .*winter_wheat"):
        pipeline.run(wanted, done, scheduler=SYNCHRONOUS)


def fields_job(folder, archive, parcels, **more):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "parcels.gpkg").exists():  # a file written anew would be another one
        parcels.to_file(folder / "parcels.gpkg")
    extra = "\n".join(f'{key} = "{value}"' for key, value in more.items())
    (folder / "fields.toml").write_text(
        f"""
        journey = "fields"
        [area]
        file = "{archive / "area.geojson"}"
        [source]
        kind = "catalog"
        href = "{archive / "catalog.json"}"
        [period]
        start = 2020-09-01
        end = {YEAR}-06-30
        [grid]
        resolution = 120
        block = 128
        [fields]
        file = "parcels.gpkg"
        year = {YEAR}
        {extra}
        """
    )
    return config.read(folder / "fields.toml")


def parcels():
    """Two fields, one of them over the edge of blocks."""
    left, top = FARMLAND_GRID.left, FARMLAND_GRID.top
    boxes = [(2000, 2000, 4400, 3800), (13800, 14400, 17200, 16800)]
    shapes = [shapely.box(left + x0, top - y1, left + x1, top - y0) for x0, y0, x1, y1 in boxes]
    return gpd.GeoDataFrame({"id": ["near", "far"]}, geometry=shapes, crs=32637)


@pytest.fixture(scope="module")
def surveyed(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    wanted = fields_job(folder, archive, parcels())
    report = pipeline.run(wanted, folder / "out", scheduler=SYNCHRONOUS)
    assert report.results["fields"] == 2
    return folder / "out"


def test_fields_get_curve_dates_and_zones_and_no_yield_without_yields(surveyed):
    fields = gpd.read_file(surveyed / "fields.geojson").set_index("field_id")
    assert set(fields.index) == {"near", "far"}
    assert "yield_t_ha" not in fields
    assert fields["note"].str.contains("no figure").all()
    assert (fields["ndvi_peak"] > fields["ndvi_last"] - 1e-6).all()
    assert pd.to_datetime(fields["peak"]).dt.year.eq(YEAR).all()
    styles = publish.read_table(surveyed / "lesniva.gpkg", "layer_styles")
    assert set(styles["f_table_name"]) == {"fields", "productivity_zones", "districts"}
    curves = pd.read_csv(surveyed / "field_curves.csv").dropna(subset=["ndvi", "normal"])
    np.testing.assert_allclose(curves["anomaly"], curves["ndvi"] - curves["normal"], atol=2e-4)
    assert curves["dekad"].max() <= 18
    with rasterio.open(surveyed / "rasters" / "productivity.tif") as file:
        zones, hectares = file.read(1), abs(file.res[0] * file.res[1]) / 1e4
    count = np.bincount(zones[zones != 255], minlength=4)[1:]
    assert len(count) == 3
    # parts of equal area, and all the ground of the fields
    assert count.max() <= 1.15 * count.min()
    assert count.sum() * hectares == pytest.approx(parcels().area.sum() / 1e4, rel=0.1)
    assert publish.verify(surveyed) == []


def test_zones_are_polygons_within_their_field_with_their_hectares(surveyed):
    zones = gpd.read_file(surveyed / "productivity_zones.geojson")
    layer = gpd.read_file(surveyed / "lesniva.gpkg", layer="productivity_zones")
    assert set(zones["zone_id"]) == set(layer["zone_id"])
    assert sorted(zones["zone_id"]) == [f"{f}/{z}" for f in ("far", "near") for z in (1, 2, 3)]
    fields = parcels().set_index("id")
    local = zones.to_crs(32637)
    for field, rows in local.groupby("field_id"):
        shape = fields.geometry[field]
        assert rows.within(shape.buffer(0.5)).all()
        assert not rows.iloc[0].geometry.overlaps(rows.iloc[1].geometry.buffer(-0.5))
        # half a pixel of 120 m beyond the edge of a block stays open
        assert rows["area_ha"].sum() == pytest.approx(shape.area / 1e4, rel=0.02)
        np.testing.assert_allclose(rows["area_ha"], rows.area / 1e4, rtol=2e-3)
        assert rows["share"].sum() == pytest.approx(1, abs=1e-3)
        assert rows.sort_values("zone")["relative_peak"].is_monotonic_increasing
    with rasterio.open(surveyed / "rasters" / "productivity.tif") as file:
        inner = local.geometry.buffer(-90)  # whole pixels only
        for zone, shape in zip(local["zone"], inner, strict=True):
            points = [
                (p.x, p.y)
                for p in getattr(shape, "geoms", [shape])
                if not p.is_empty
                for p in [p.representative_point()]
            ]
            assert all(value == zone for (value,) in file.sample(points))


def test_fields_with_yields_get_a_figure_only_where_they_are_known(archive, surveyed, tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        ("near", "winter_wheat", year, round(4 + rng.normal(0, 0.5), 2))
        for year in range(2015, YEAR)
    ]
    table = pd.DataFrame(rows, columns=["adm_id", "crop", "year", "yield_t_ha"])
    shutil.copytree(surveyed.parent, tmp_path / "again")
    table.to_csv(tmp_path / "again" / "yields.csv", index=False)
    wanted = fields_job(
        tmp_path / "again", archive, parcels(), yields="yields.csv", crop="winter_wheat"
    )
    pipeline.run(wanted, tmp_path / "again" / "out", scheduler=SYNCHRONOUS)
    fields = pd.read_csv(tmp_path / "again" / "out" / "fields.csv").set_index("field_id")
    assert 2.5 < fields.loc["near", "yield_t_ha"] < 5.5
    assert np.isnan(fields.loc["far", "yield_t_ha"])
    assert fields.loc["far", "note"] == "no yields of this field are known: no figure"


def test_parcels_without_their_id_column_are_refused_by_name(archive, tmp_path):
    wanted = fields_job(tmp_path, archive, parcels().rename(columns={"id": "cadastre"}))
    with pytest.raises(InputError, match=r"no column 'id', only cadastre, geometry"):
        pipeline.run(wanted, tmp_path / "out", scheduler=SYNCHRONOUS)


def test_the_productivity_of_a_pixel_is_against_its_own_field_and_season():
    peaks = np.array([[0.4, 0.6, 0.5], [0.8, 1.2, np.nan]])
    np.testing.assert_allclose(relative_peak(peaks), [0.8, 1.2, 1.0])
    assert np.isnan(relative_peak(np.full((2, 3), np.nan))).all()
