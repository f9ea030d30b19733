"""The synthetic archives are what they say: dated events, believable seasons, honest yields."""

import dataclasses
import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pystac
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from lesniva.conventions import SYNTHETIC_NOTICE, Scl, to_day_number
from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.storage import sha256
from lesniva.synthetic import (
    Cause,
    Cover,
    Truth,
    simulate_forest,
    stack,
    write_farmland_archive,
    write_forest_archive,
)
from lesniva.synthetic.embedded import FARMLAND_GRID, FOREST_GRID
from lesniva.synthetic.events import archive_plan
from lesniva.synthetic.farmland import YIELD_T_HA, Crop, Farmland, farm
from lesniva.synthetic.forest import event_table, plant
from lesniva.synthetic.landscape import Grid
from lesniva.synthetic.scenes import OFFSET_SINCE, Scene, acquisitions, draw, harmonised
from lesniva.synthetic.season import LIPETSK, day_of_year

CLEAR = (Scl.VEGETATION, Scl.NOT_VEGETATED)
SMALL = {
    "size": 128,
    "end": "2022-12-31",
    "scenes_per_month": {2: 1, 6: 1, 9: 1},
    "bands": ("red", "nir", "swir22"),
}


def ratio(high: npt.ArrayLike, low: npt.ArrayLike) -> npt.NDArray[np.float64]:
    a, b = np.asarray(high, np.float64), np.asarray(low, np.float64)
    return (a - b) / (a + b)


@pytest.fixture(scope="module")
def districts() -> gpd.GeoDataFrame:
    """Nine Voronoi cells over the north-west of the farmland."""
    rng = np.random.default_rng(5)
    left, top, width = FARMLAND_GRID.left, FARMLAND_GRID.top, 240 * 120
    box = shapely.box(left - 500, top - width - 500, left + width + 500, top + 500)
    corners = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2)
    points = np.array([left, top - width]) + (corners + rng.uniform(0.35, 0.65, (9, 2))) * width / 3
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points), extend_to=box))
    geometry = shapely.intersection(cells, box)
    names = [f"district_{number}" for number in range(len(geometry))]
    return gpd.GeoDataFrame({"adm_id": names}, geometry=geometry, crs=32637).to_crs(4326)


@pytest.fixture(scope="module")
def farmland(districts: gpd.GeoDataFrame) -> Farmland:
    grid = Grid(32637, FARMLAND_GRID.left, FARMLAND_GRID.top, 120, 240, 240)
    return farm(districts, seed=52, grid=grid, first_year=2017, last_year=2026)


@pytest.fixture(scope="module")
def played() -> tuple[object, Truth]:
    scenes, truth = simulate_forest(seed=3, shape=(96, 96), start="2020-01-01", disturbed_share=0.2)
    return stack(scenes), truth


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest") / "archive"
    return write_forest_archive(folder, workers=1, **SMALL)


# --- The forest in memory -------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others():
    def red(seed: int) -> npt.NDArray[np.int16]:
        scenes, _ = simulate_forest(
            seed=seed,
            shape=(32, 32),
            start="2021-01-01",
            end="2021-03-31",
            events_from="2021-02-01",
        )
        return stack(scenes)["red"].to_numpy()

    first = red(1)
    np.testing.assert_array_equal(first, red(1))
    assert not np.array_equal(first[:3], red(2)[:3])


def test_a_cube_of_scenes_keeps_the_conventions(played):
    cube, _ = played
    assert cube["red"].dims == ("time", "y", "x")
    assert cube["red"].dtype == np.int16
    assert cube["scl"].dtype == np.uint8
    assert np.all(np.diff(cube["time"].to_numpy()) > np.timedelta64(0))
    assert cube.attrs["notice"] == SYNTHETIC_NOTICE


def test_a_pixel_is_seen_clearly_about_34_times_a_year(played):
    cube, _ = played
    seen = cube["scl"].isin([*CLEAR, Scl.SNOW_OR_ICE]).groupby("time.year").sum("time")
    assert 26 < float(seen.mean()) < 46


def test_the_first_snow_free_weeks_shift_by_about_a_week_from_year_to_year():
    days = []
    for seed in range(3):
        start, end = np.datetime64("2010-01-01"), np.datetime64("2023-12-31")
        _, truth = plant(
            seed=seed,
            grid=Grid(32637, 0, 640, 20, 32, 32),
            start=start,
            end=end,
            climate=LIPETSK,
            forest_share=0.9,
            settled=False,
            plan=[],
        )
        days.extend(day_of_year(np.array(list(truth.green_up.values()))))
    assert 4 < np.std(days) < 11
    assert 115 < np.mean(days) < 140


def test_forest_is_green_in_july_and_broadleaf_bare_in_april_and_white_ground_in_february(played):
    cube, truth = played
    clear = cube["scl"].isin(CLEAR).to_numpy()
    month = cube["time"].dt.month.to_numpy()
    ndvi = ratio(cube["nir"], cube["red"])
    birch = clear & (truth.cover == Cover.BIRCH) & (truth.cause == 0)
    assert np.median(ndvi[birch & (month == 7)[:, None, None]]) > 0.75
    assert np.median(ndvi[birch & (month == 4)[:, None, None]]) < 0.5
    assert (cube["scl"].to_numpy()[month == 2] == Scl.SNOW_OR_ICE).mean() > 0.05
    assert not (cube["scl"].to_numpy()[month == 7] == Scl.SNOW_OR_ICE).any()


@pytest.mark.parametrize(
    ("cause", "least", "most"),
    [
        (Cause.CLEAR_CUT, 0.25, 0.7),
        (Cause.WINTER_CLEAR_CUT, 0.25, 0.7),
        (Cause.THINNING, 0.05, 0.2),
        (Cause.WINDTHROW, 0.15, 0.7),
        (Cause.FIRE, 0.3, 0.9),
    ],
)
def test_nbr_falls_at_the_date_of_the_event(played, cause: Cause, least: float, most: float):
    cube, truth = played
    drop = summer_nbr_drop(cube, truth, truth.cause == cause, days_after=1)
    assert least < drop < most


def test_dieback_is_gradual(played):
    cube, truth = played
    dying = truth.cause == Cause.DIEBACK
    early = summer_nbr_drop(cube, truth, dying, days_after=1, days_until=20)
    late = summer_nbr_drop(cube, truth, dying, days_after=70)
    assert early < 0.6 * late
    assert late > 0.1


def test_undisturbed_forest_does_not_change(played):
    cube, truth = played
    stable = (truth.cause == 0) & truth.forest
    year = cube["time"].dt.year.to_numpy()[:, None, None]
    summer = cube["time"].dt.dayofyear.to_numpy()[:, None, None]
    ok = cube["scl"].isin(CLEAR).to_numpy() & stable & (summer > 170) & (summer < 240)
    nbr = ratio(cube["nir08"], cube["swir22"])
    assert abs(np.median(nbr[ok & (year == 2020)]) - np.median(nbr[ok & (year == 2022)])) < 0.03


def test_a_clear_cut_in_winter_is_bright_on_snow_and_forest_is_dark(played):
    cube, truth = played
    day = to_day_number(cube["time"].to_numpy())[:, None, None]
    # Snow covers the ground and the sky is open where the cutting area is classified as snow.
    snowy = cube["scl"].to_numpy() == Scl.SNOW_OR_ICE
    cut = snowy & (truth.cause == Cause.WINTER_CLEAR_CUT) & (day >= truth.day)
    scenes = np.flatnonzero(cut.any(axis=(1, 2)))
    assert scenes.size
    red = cube["red"].to_numpy() / 1e4
    pine = (truth.cause == 0) & (truth.cover == Cover.PINE)
    clear = cube["scl"].isin([*CLEAR, Scl.SNOW_OR_ICE]).to_numpy()
    assert np.median(red[cut]) > 0.5
    assert np.median(red[scenes][clear[scenes] & pine]) < 0.35


def test_haze_is_left_that_the_classification_misses(played):
    cube, truth = played
    stable = (truth.cause == 0) & truth.forest
    ok = cube["scl"].isin([Scl.VEGETATION]).to_numpy() & stable
    blue = np.where(ok, cube["blue"].to_numpy(), np.nan)[cube["time"].dt.month.to_numpy() == 7]
    hazy = np.nanmean(blue > 600)
    assert 0.0 < hazy < 0.3


def test_causes_can_be_chosen_and_lie_in_the_forest():
    _, truth = simulate_forest(
        seed=4, shape=(64, 64), start="2020-01-01", end="2022-06-30", causes=(Cause.THINNING,)
    )
    assert set(np.unique(truth.cause)) == {Cause.NONE, Cause.THINNING}
    assert truth.forest[truth.cause > 0].all()
    assert truth.day[truth.cause > 0].min() >= to_day_number(np.datetime64("2021-01-01"))
    np.testing.assert_array_equal(truth.day > 0, truth.cause > 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": "2022-01-01", "end": "2021-01-01"}, "put the earlier date first"),
        ({"start": "last year"}, "write dates as"),
        ({"shape": (8, 64)}, r"at least \(32, 32\)"),
    ],
)
def test_a_wrong_season_is_refused(wrong, message: str):
    with pytest.raises(InputError, match=message):
        simulate_forest(seed=1, **wrong)


def test_the_archive_has_sixty_events_of_all_causes_between_a_third_and_25_hectares():
    grid = Grid(FOREST_GRID.epsg, FOREST_GRID.left, FOREST_GRID.top, 20, 512, 512)
    _, truth = plant(
        seed=52,
        grid=grid,
        start=np.datetime64("2020-01-01"),
        end=np.datetime64("2023-12-31"),
        climate=LIPETSK,
        forest_share=0.62,
        settled=True,
        plan=archive_plan(52, years=range(2022, 2024), history=range(2020, 2022)),
    )
    table = event_table(truth)
    recent = table[table["date_start"] >= "2022-01-01"]
    assert len(recent) >= 60
    assert set(recent["cause"]) == {cause.name.lower() for cause in Cause} - {"none"}
    assert recent["area_ha"].between(0.3, 26).all()
    assert (table["date_start"] < "2022-01-01").sum() >= 4
    np.testing.assert_allclose(table.area.sum(), 400 * (truth.event > 0).sum())


# --- Radiometry -----------------------------------------------------------------------------------


def test_the_offset_of_the_new_baseline_shifts_dn_and_not_reflectance(monkeypatch):
    land, _ = small_land()
    late = next(a for a in passes("2022-05-01", "2022-08-31") if a.cover < 0.2)
    shifted = draw(land, late, seed=1, latitude=52.5)
    monkeypatch.setattr("lesniva.synthetic.scenes.OFFSET_SINCE", np.datetime64("2100-01-01"))
    plain = draw(land, late, seed=1, latitude=52.5)
    for band, dn in plain.dn.items():
        bright = dn > 1  # negative reflectance is cut at DN 1 without the offset
        np.testing.assert_array_equal(dn[bright] + 1000, shifted.dn[band][bright])


def test_baselines_change_on_the_day_the_offset_came():
    both = passes("2021-12-01", "2022-03-31")
    assert {a.baseline for a in both if a.date < OFFSET_SINCE} == {"03.01"}
    assert {(a.baseline, a.offset_dn) for a in both if a.date >= OFFSET_SINCE} == {("04.00", 1000)}


def test_dn_zero_is_no_data_and_nothing_else():
    land, _ = small_land()
    one = passes("2021-05-01", "2021-08-31")[0]
    scene = draw(land, dataclasses.replace(one, edge=(1.0, 0.2, 0.6)), seed=1, latitude=52.5)
    outside = scene.scl == Scl.NO_DATA
    assert 0.2 < outside.mean() < 0.7
    np.testing.assert_array_equal(scene.dn["swir22"] == 0, outside)
    np.testing.assert_array_equal(scene.dn["red"] == 0, np.kron(outside, np.ones((2, 2), bool)))
    assert (harmonised(scene, "red")[scene.dn["red"] == 0] == -32768).all()


def test_a_band_does_not_depend_on_which_others_are_drawn():
    land, _ = small_land()
    one = passes("2021-05-01", "2021-08-31")[0]
    everything = draw(land, one, seed=1, latitude=52.5)
    alone = draw(land, one, seed=1, latitude=52.5, bands=("swir22",))
    np.testing.assert_array_equal(everything.dn["swir22"], alone.dn["swir22"])


def test_shadows_lie_north_of_clouds():
    land, _ = small_land(size=256)
    cloudy = next(a for a in passes("2021-05-01", "2021-08-31") if 0.3 < a.cover < 0.5)
    scene = draw(land, cloudy, seed=1, latitude=52.5)
    cloud = np.isin(scene.scl, [Scl.CLOUD_MEDIUM, Scl.CLOUD_HIGH])
    shadow = scene.scl == Scl.CLOUD_SHADOW
    overlap = {
        shift: (np.roll(cloud, -shift, axis=0) & shadow).sum()
        - (np.roll(cloud, shift, 0) & shadow).sum()
        for shift in (10, 25, 40)
    }
    assert max(overlap.values()) > 0


# --- The farmland ---------------------------------------------------------------------------------


def test_winter_wheat_is_green_in_autumn_and_june_and_ripe_in_august(farmland: Farmland):
    growth = farmland.growth
    cover = {
        (month, day): np.mean(
            [
                series[:, growth.weather.at(np.datetime64(f"{year}-{month}-{day}"))].mean()
                for year in range(2018, 2026)
            ]
        )
        for month, day, series in [
            ("10", "25", growth.sown),
            ("06", "10", growth.green[Crop.WINTER_WHEAT]),
            ("08", "10", growth.green[Crop.WINTER_WHEAT]),
            ("02", "10", growth.green[Crop.SPRING_BARLEY]),
        ]
    }
    assert cover["10", "25"] > 0.25
    assert cover["06", "10"] > 0.6
    assert cover["08", "10"] < 0.1
    assert cover["02", "10"] < 0.02


def test_summer_crops_peak_after_the_cereals(farmland: Farmland):
    green = farmland.growth.green.mean(axis=1)
    in_2020 = farmland.growth.weather.days.astype("datetime64[Y]") == np.datetime64("2020")
    peak = {crop: int(np.argmax(green[crop, in_2020])) for crop in list(Crop)[1:]}
    assert peak[Crop.WINTER_WHEAT] < peak[Crop.SPRING_BARLEY] < peak[Crop.SUNFLOWER]
    assert peak[Crop.SUGAR_BEET] > 180


def test_yields_are_those_of_lipetsk_with_a_common_year_effect(farmland: Farmland):
    table = farmland.yields
    assert set(table["crop"]) == {crop.name.lower() for crop in YIELD_T_HA}
    assert not table.duplicated(["adm_id", "crop", "year"]).any()
    wheat = table[table["crop"] == "winter_wheat"].pivot_table(
        index="adm_id", columns="year", values="yield_t_ha"
    )
    assert 4.0 < wheat.to_numpy().mean() < 5.5
    anomaly = wheat.sub(wheat.mean(axis=1), axis=0)
    share = anomaly.mean().var(ddof=0) / anomaly.to_numpy().var()
    assert 0.4 < share < 0.9


def test_winter_wheat_follows_a_crop_that_is_off_the_field_by_september(farmland: Farmland):
    crop = farmland.unit_crop
    before = crop[:, :-1][crop[:, 1:] == Crop.WINTER_WHEAT]
    assert set(np.unique(before)) <= {Crop.FALLOW, Crop.SPRING_BARLEY}


def test_june_ndvi_tells_of_wheat_and_barley_and_little_of_sugar_beet(farmland: Farmland):
    june = june_ndvi(farmland)
    assert correlation(farmland, june, Crop.WINTER_WHEAT) > 0.55
    assert correlation(farmland, june, Crop.SPRING_BARLEY) > 0.4
    assert correlation(farmland, june, Crop.SUGAR_BEET) < 0.5


def test_crop_maps_agree_with_the_areas_of_the_statistics(farmland: Farmland):
    crop = farmland.crop_map(2020)
    assert set(np.unique(crop)) == set(Crop)
    wheat = (crop == Crop.WINTER_WHEAT).sum() * 1.44
    table = farmland.yields.query("crop == 'winter_wheat' and year == 2020")
    assert table["area_ha"].sum() <= wheat + 1
    assert table["area_ha"].sum() > 0.7 * wheat


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.rename(columns={"adm_id": "id"}), "column adm_id"),
        (lambda table: table.set_crs(None, allow_override=True), "and the CRS None"),
        (lambda table: table.set_geometry(table.translate(30, 0)), "no district touches"),
    ],
)
def test_wrong_districts_are_refused(districts, tmp_path: Path, change, message: str):
    with pytest.raises(InputError, match=message):
        write_farmland_archive(tmp_path / "farm", change(districts))
    assert not (tmp_path / "farm").exists()


# --- The archives ---------------------------------------------------------------------------------


def test_items_are_valid_stac_with_all_that_a_reader_needs(archive: Path):
    catalog = pystac.Catalog.from_file(archive)
    items = list(catalog.get_items())
    assert len(items) == 9
    for item in items:
        assert item.properties["lesniva:synthetic"] is True
        assert item.properties["description"] == SYNTHETIC_NOTICE
        assert item.id.endswith("_SYN")
        late = item.datetime.replace(tzinfo=None) >= pd.Timestamp(str(OFFSET_SINCE))
        for name, asset in item.assets.items():
            with rasterio.open(asset.get_absolute_href()) as band:
                assert band.crs.to_string() == item.properties["proj:code"]
                assert list(band.shape) == asset.extra_fields["proj:shape"]
                assert list(band.transform)[:6] == asset.extra_fields["proj:transform"]
                assert band.nodata == 0
                assert band.tags()["SYNTHETIC"] == SYNTHETIC_NOTICE
            raster = asset.extra_fields["raster:bands"][0]
            if name != "scl":
                assert (raster["scale"], raster["offset"]) == (0.0001, -0.1 if late else 0)
        item.stac_extensions = []  # their schemas are on the network, that of the core is at hand
        item.validate()
    catalog.validate()
    baselines = {item.properties["s2:processing_baseline"] for item in items}
    assert baselines == {"02.14", "03.01", "04.00"}


def test_every_raster_is_a_cloud_optimised_geotiff(archive: Path):
    for path in archive.parent.rglob("*.tif"):
        valid, errors, _ = cog_validate(path)
        assert valid, (path, errors)


def test_pixels_lie_on_the_sentinel_2_grid(archive: Path):
    with rasterio.open(next(archive.parent.glob("scenes/*/red.tif"))) as band:
        assert band.transform.a == 10
        assert (band.transform.c - 499980) % 60 == 0
        assert (band.transform.f - 5900040) % 60 == 0


def test_the_truth_as_polygons_and_as_raster_are_one(archive: Path):
    events = gpd.read_file(archive.parent / "truth" / "events.gpkg")
    assert list(events.columns[:5]) == ["event_id", "cause", "date_start", "date_end", "area_ha"]
    with rasterio.open(archive.parent / "truth" / "truth.tif") as truth:
        day, cause = truth.read()
        shapes = [(row.geometry, int(row.event_id)) for row in events.itertuples()]
        event = rasterio.features.rasterize(
            shapes, out_shape=truth.shape, transform=truth.transform
        )
    np.testing.assert_array_equal(event > 0, cause > 0)
    for row in events.itertuples():
        inside = event == row.event_id
        assert set(cause[inside]) == {Cause[row.cause.upper()]}
        assert day[inside].min() == to_day_number(np.datetime64(row.date_start))
        assert day[inside].max() == to_day_number(np.datetime64(row.date_end))


def test_the_tree_cover_product_separates_forest_from_open_land(archive: Path):
    with rasterio.open(archive.parent / "forest_cover.tif") as product:
        density = product.read(1)
        assert product.res == (20, 20)
    assert density.max() <= 100
    assert (density > 50).any()


def test_an_archive_has_the_same_bytes_at_any_number_of_threads(archive: Path, tmp_path: Path):
    other = write_forest_archive(tmp_path / "threads", workers=3, **SMALL)
    assert hashes(other.parent) == hashes(archive.parent)


def test_a_whole_archive_is_reused(archive: Path):
    before = {path: path.stat().st_mtime_ns for path in archive.parent.rglob("*")}
    assert write_forest_archive(archive.parent, **SMALL) == archive
    assert {path: path.stat().st_mtime_ns for path in archive.parent.rglob("*")} == before


def test_a_half_written_archive_is_completed_and_not_started_again(archive: Path, tmp_path: Path):
    folder = shutil.copytree(archive.parent, tmp_path / "a")
    whole = hashes(folder)
    scenes = sorted((folder / "scenes").iterdir())
    (folder / "archive.json").unlink()
    (scenes[0] / f"{scenes[0].name}.json").unlink()
    (scenes[1] / "nir.tif").unlink()
    (scenes[2] / "red.tif").write_bytes(b"II*")
    kept = {path: path.stat().st_mtime_ns for scene in scenes[3:] for path in scene.iterdir()}
    write_forest_archive(folder, **SMALL)
    assert hashes(folder) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_other_parameters_replace_the_archive(archive: Path, tmp_path: Path):
    first = write_forest_archive(tmp_path / "a", seed=1, **{**SMALL, "scenes_per_month": {7: 1}})
    (first.parent / "scenes" / "notes").mkdir()
    write_forest_archive(first.parent, **SMALL)
    (first.parent / "scenes" / "notes").rmdir()  # what is not ours stays
    assert hashes(first.parent) == hashes(archive.parent)


def test_a_failing_disk_leaves_no_manifest_and_the_next_call_goes_on(tmp_path: Path, monkeypatch):
    from lesniva.synthetic import archive as module

    few = {**SMALL, "scenes_per_month": {7: 1}}
    write, calls = module.write_cog, []

    def failing(path: Path, *args, **kwargs) -> None:
        calls.append(path)
        if len(calls) == 6:
            raise EnvironmentFaultError(f"cannot write {path}: No space left on device")
        write(path, *args, **kwargs)

    monkeypatch.setattr(module, "write_cog", failing)
    with pytest.raises(EnvironmentFaultError, match="No space left"):
        write_forest_archive(tmp_path / "a", workers=1, **few)
    assert not (tmp_path / "a" / "archive.json").exists()
    monkeypatch.undo()
    catalog = write_forest_archive(tmp_path / "a", **few)
    assert len(list(pystac.Catalog.from_file(catalog).get_items())) == 3


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(EnvironmentFaultError, match="it is a file"):
        write_forest_archive(tmp_path / "taken", **SMALL)


def test_an_archive_without_history_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="two years of history"):
        write_forest_archive(tmp_path / "a", start="2022-01-01", end="2022-12-31")


def test_the_farmland_archive_tells_nothing_of_what_comes_after_its_last_scene(
    districts, tmp_path: Path
):
    catalog = write_farmland_archive(
        tmp_path / "farm",
        districts,
        first_year=2023,
        last_year=2026,
        size=240,
        scenes_per_month={6: 2, 10: 1},
    )
    folder = catalog.parent
    dates = [item.datetime for item in pystac.Catalog.from_file(catalog).get_items()]
    assert str(min(dates))[:7] == "2022-10"
    assert str(max(dates))[:7] == "2026-06"
    assert pd.read_csv(folder / "weather.csv")["date"].max() == "2026-06-30"
    known = pd.read_csv(folder / "yields.csv")
    assert list(known.columns) == [
        "adm_id", "crop", "year", "yield_t_ha", "area_ha", "weight_basis",
    ]  # fmt: skip
    assert known["year"].max() == 2025
    assert set(pd.read_csv(folder / "truth" / "yields_2026.csv")["year"]) == {2026}
    with rasterio.open(next(folder.glob("scenes/*/nir.tif"))) as band:
        assert band.res == (120, 120)
        assert band.transform.c % 240 == 0
        assert band.transform.f % 240 == 0
    manifest = json.loads((folder / "archive.json").read_text())
    assert manifest["notice"] == SYNTHETIC_NOTICE
    assert {name for name in manifest["files"] if name.endswith(".tif") and "crop_map" in name} == {
        f"truth/crop_map_{year}.tif" for year in range(2023, 2027)
    }


def test_the_embedded_farmland_touches_no_other_tile():
    right = FARMLAND_GRID.left + FARMLAND_GRID.width * 120
    bottom = FARMLAND_GRID.top - FARMLAND_GRID.height * 120
    assert FARMLAND_GRID.left >= 499980
    assert right <= 609780
    assert FARMLAND_GRID.top <= 5900040
    assert bottom >= 5790240


# --- Helpers --------------------------------------------------------------------------------------


def small_land(size: int = 64):
    return plant(
        seed=1,
        grid=Grid(32637, 545760, 5817000, 10, size, size),
        start=np.datetime64("2021-01-01"),
        end=np.datetime64("2022-12-31"),
        climate=LIPETSK,
        forest_share=0.7,
        settled=True,
        plan=[],
    )


def passes(start: str, end: str):
    return acquisitions(
        seed=1,
        start=np.datetime64(start),
        end=np.datetime64(end),
        latitude=52.5,
        orbits=(79, 122),
        edge_share=0,
    )


def summer_nbr_drop(cube, truth: Truth, where, *, days_after: int, days_until: int = 2000) -> float:
    """Median NBR of clear summer observations before the event minus that after it."""
    day = to_day_number(cube["time"].to_numpy()).astype(int)[:, None, None]
    summer = cube["time"].dt.dayofyear.to_numpy()[:, None, None]
    ok = cube["scl"].isin(CLEAR).to_numpy() & where & (summer > 150) & (summer < 270)
    since = day - truth.day.astype(int)
    nbr = ratio(cube["nir08"], cube["swir22"])
    before = ok & (since < 0)
    after = ok & (since >= days_after) & (since <= days_until)
    assert before.any()
    assert after.any()
    return float(np.median(nbr[before]) - np.median(nbr[after]))


def june_ndvi(farmland: Farmland) -> dict[int, Scene]:
    """Scenes of the second half of June, by year."""
    kept = acquisitions(
        seed=52,
        start=np.datetime64("2017-06-01"),
        end=np.datetime64("2025-06-30"),
        latitude=52.5,
        orbits=(79, 122),
        keep_per_month={6: 4},
        edge_share=0,
    )
    scenes: dict[int, list[Scene]] = {}
    for acquisition in kept:
        scene = draw(farmland.land, acquisition, seed=52, latitude=52.5, bands=("red", "nir"))
        scenes.setdefault(acquisition.date.item().year, []).append(scene)
    return scenes


def correlation(farmland: Farmland, june, crop: Crop) -> float:
    """Correlation of anomalies: best June NDVI of a crop's fields with its yield."""
    district = farmland.unit_district[farmland.land.fine.units]
    rows = []
    for year, scenes in june.items():
        here = farmland.crop_map(year) == crop
        best = np.full(len(farmland.adm_id), np.nan)
        for scene in scenes:
            clear = np.kron(np.isin(scene.scl, CLEAR), np.ones((2, 2), bool)) & here
            ndvi = ratio(harmonised(scene, "nir"), harmonised(scene, "red"))
            count = np.bincount(district[clear], minlength=best.size)
            mean = np.bincount(district[clear], ndvi[clear], best.size) / np.maximum(count, 1)
            best = np.fmax(best, np.where(count > 30, mean, np.nan))
        rows.append(pd.DataFrame({"adm_id": farmland.adm_id, "year": year, "ndvi": best}))
    table = pd.concat(rows).merge(farmland.yields.query(f"crop == '{crop.name.lower()}'"))
    anomaly = table.groupby("adm_id")[["ndvi", "yield_t_ha"]].transform(lambda x: x - x.mean())
    return float(anomaly["ndvi"].corr(anomaly["yield_t_ha"]))


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
