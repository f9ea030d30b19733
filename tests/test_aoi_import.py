from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lesniva import aoi
from lesniva.aoi.names import english, kind_of, slug
from lesniva.errors import InputError

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "aoi"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the shared data folder beside the project"
)

LIPETSK = aoi.load(ROOT / "aoi" / "lipetsk.geojson").districts["name_ru"].to_dict()


def districts(shapes, names, crs="EPSG:4326", **columns):
    return gpd.GeoDataFrame({"name": names, **columns}, geometry=shapes, crs=crs)


WEST, EAST = shapely.box(39.0, 52.0, 39.5, 52.5), shapely.box(39.5, 52.0, 40.0, 52.5)
PAIR = districts([WEST, EAST], ["Западный район", "городской округ Восток"])


@pytest.fixture
def write(tmp_path):
    def make(table, name="here.gpkg", **options):
        path = tmp_path / name
        table.to_file(path, **options)
        return path

    return make


# Names


@pytest.mark.parametrize(
    "spelling",
    [
        "Липецкий район",
        "Липецкий муниципальный округ",
        "Липецкий муниципальный район",
        "ЛИПЕЦКИЙ  М.Р-Н",
        "Липецкий м.о.",
        "по Липецкому району",
        "Липецкого муниципального округа",
        "Муниципальный район Липецкий",
        "Липецкий",
        "Липeцкий paйoн",  # Latin e, p, a, o
        "Липецкий район (до 2023)",
    ],
)
def test_spellings_of_a_district_are_one(spelling):
    assert aoi.match_name(spelling, LIPETSK) == "lipetsk_lipetsky"


@pytest.mark.parametrize(
    "spelling",
    ["Липецк", "г. Липецк", "город Липецк", "Городской округ город Липецк", "г.о. Липецк"],
)
def test_spellings_of_a_city_are_not_its_district(spelling):
    assert aoi.match_name(spelling, LIPETSK) == "lipetsk_city"


@pytest.mark.parametrize(
    ("spelling", "adm_id"),
    [
        ("Лев–Толстовский муниципальный округ", "lipetsk_lev_tolstovsky"),
        ("Лев Толстовский р-н", "lipetsk_lev_tolstovsky"),
        ("городской округ Елец", "yelets_city"),
        ("Елецкий муниципальный округ", "lipetsk_yeletsky"),
        ("Липецкая область", None),
        ("Ленинский район", None),
        ("район", None),
        ("", None),
    ],
)
def test_names_are_matched_on_the_stem_or_not_at_all(spelling, adm_id):
    assert aoi.match_name(spelling, LIPETSK) == adm_id


def test_the_kind_of_unit_decides_between_equal_stems():
    known = {"town": "Городской округ Жуковский", "land": "Жуковский район"}
    assert aoi.match_name("г. Жуковский", known) == "town"
    assert aoi.match_name("Жуковский муниципальный район", known) == "land"
    with pytest.raises(InputError, match="may be any of land, town; give the id"):
        aoi.match_name("Жуковский", known)


@given(name=st.text(max_size=30))
def test_any_text_can_be_looked_up_and_made_a_slug(name):
    assert aoi.match_name(name, LIPETSK) is None or slug(name)
    assert slug(name).isascii()
    assert isinstance(english(name), str)


def test_city_and_raion_are_told_by_their_words():
    kinds = {
        "городской округ Химки": "city",
        "Городской округ Жуковский": "city",
        "Можайский городской округ": "raion",
        "Городецкий район": "raion",
        "Липецк": "district",
    }
    assert {name: kind_of(name) for name in kinds} == kinds


@needs_shared
def test_made_ids_are_those_the_shared_districts_have():
    table = gpd.read_file(SHARED / "lipetsk_districts_osm_simplified.geojson", ignore_geometry=True)
    raions = table[table["kind"] == "raion"]
    assert ["lipetsk_" + slug(name) for name in raions["name_ru"]] == raions["id"].tolist()
    assert [english(name) for name in raions["name_ru"]] == raions["name_en"].tolist()


# Import


@pytest.mark.parametrize("name", ["here.gpkg", "here.geojson", "here.shp"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32637", "EPSG:3857"])
def test_every_format_and_crs_gives_the_same_area(write, name, crs):
    area, report = aoi.import_boundaries(write(PAIR.to_crs(crs), name))
    assert area.districts.index.tolist() == ["here_zapadny", "here_vostok_city"]
    assert area.districts["name_en"].tolist() == ["Zapadny District", "Vostok (city)"]
    assert area.districts["kind"].tolist() == ["raion", "city"]
    expected = aoi.areas_km2([shapely.box(39, 52, 40, 52.5)])[0]
    assert report.area_km2 == pytest.approx(expected, rel=1e-4)
    assert not report.overlaps
    assert not report.gaps


def test_an_imported_area_survives_saving_and_loading(write, tmp_path):
    area, _ = aoi.import_boundaries(
        write(PAIR), id="two", name_ru="Двое", name_en="Two", credit="me, CC0"
    )
    aoi.save(area, tmp_path / "two.geojson")
    again = aoi.load(tmp_path / "two.geojson")
    assert (again.id, again.name_ru, again.name_en, again.source) == (
        "two",
        "Двое",
        "Two",
        "me, CC0",
    )
    assert again.notices == ()
    pd.testing.assert_frame_equal(
        again.districts.drop(columns="geometry"), area.districts.drop(columns="geometry")
    )
    assert again.outline.symmetric_difference(area.outline).area < 1e-9


def test_known_ids_are_given_by_name_and_areas_compared(write):
    known = pd.DataFrame(
        {
            "id": ["w", "e", "n"],
            "name_ru": ["Западный муниципальный округ", "Восток", "Северный район"],
            "area_km2": [1.0, None, 5.0],
        }
    )
    area, report = aoi.import_boundaries(write(PAIR), known=known)
    assert area.districts.index.tolist() == ["w", "e"]
    west, east = report.rows
    assert west.difference == pytest.approx(aoi.areas_km2([WEST])[0] - 1)
    assert east.difference is None
    text = "\n".join(report.lines())
    assert "known 1.0" in text
    assert "look at it" in text
    assert "known, but not in the file: Северный район" in text


def test_areas_of_a_sketch_are_not_held_against_a_real_boundary(write):
    table = districts([WEST], ["Липецкий район"])
    area, report = aoi.import_boundaries(write(table), known=ROOT / "aoi" / "lipetsk.geojson")
    assert area.districts.index.tolist() == ["lipetsk_lipetsky"]
    assert report.rows[0].known_km2 is None


def test_overlaps_and_gaps_are_reported_with_their_names(write):
    wide = shapely.box(39.4, 52.0, 40.0, 52.5)
    holed = WEST.difference(shapely.box(39.1, 52.1, 39.2, 52.2))
    names = ["Западный район", "Восточный район"]
    _, report = aoi.import_boundaries(write(districts([holed, wide], names)))
    (overlap,), (gap,) = report.overlaps, report.gaps
    assert overlap.names == ("Западный район", "Восточный район")
    assert overlap.area_km2 == pytest.approx(
        aoi.areas_km2([shapely.box(39.4, 52.0, 39.5, 52.5)])[0]
    )
    assert gap.neighbours == ("Западный район",)
    assert gap.area_km2 == pytest.approx(aoi.areas_km2([shapely.box(39.1, 52.1, 39.2, 52.2)])[0])
    text = "\n".join(report.lines())
    assert "overlap of" in text
    assert "gap of" in text


def test_a_region_in_the_file_is_the_outline_and_bares_gaps(write):
    whole = shapely.box(39.0, 52.0, 40.5, 52.5)
    table = districts([whole, WEST, EAST], ["Край", "А район", "Б район"])
    table["kind"] = ["region", "raion", "raion"]
    area, report = aoi.import_boundaries(write(table))
    assert area.outline.equals(whole)
    assert len(area.districts) == 2
    assert [gap.neighbours for gap in report.gaps] == [("Б район",)]


def test_slits_between_districts_do_not_reach_the_outline(write):
    apart = shapely.box(39.500001, 52.0, 40.0, 52.5).union(shapely.box(39.4, 51.9, 40.0, 52.0))
    closed = WEST.union(shapely.box(39.4, 52.5, 40.0, 52.6))
    area, report = aoi.import_boundaries(write(districts([closed, apart], ["А район", "Б район"])))
    assert not any(part.interiors for part in getattr(area.outline, "geoms", [area.outline]))
    assert not report.gaps


def test_features_of_one_district_are_joined_with_a_notice(write):
    area, report = aoi.import_boundaries(write(districts([WEST, EAST], ["А район", "А район"])))
    assert len(area.districts) == 1
    assert "2 features joined into А район" in report.lines()


def test_one_id_under_two_names_is_refused(write):
    table = districts([WEST, EAST], ["А район", "Б район"], code=["x", "x"])
    with pytest.raises(InputError, match="x is 'А район', 'Б район'"):
        aoi.import_boundaries(write(table), id_column="code")


def test_ids_of_a_column_are_taken_as_whole_numbers(write):
    table = districts([WEST, EAST], ["А район", "Б район"], code=[42603000.0, 42606000.0])
    area, _ = aoi.import_boundaries(write(table), id_column="code")
    assert area.districts.index.tolist() == ["42603000", "42606000"]


def test_running_numbers_are_no_ids(write):
    table = districts([WEST, EAST], ["Западный район", "Восточный район"], id=[1, 2])
    area, _ = aoi.import_boundaries(write(table))
    assert area.districts.index.tolist() == ["here_zapadny", "here_vostochny"]


def test_broken_geometry_is_repaired_and_said_so(write):
    bow = shapely.Polygon([(39, 52), (39.5, 52.5), (39.5, 52), (39, 52.5)])
    area, report = aoi.import_boundaries(write(districts([bow, EAST], ["А район", "Б район"])))
    assert area.districts.is_valid.all()
    assert report.rows[0].mended == "repaired (self-intersection)"
    assert "repaired" in report.lines()[1]


def test_geometry_past_repair_is_refused_all_at_once(write):
    table = districts(
        [shapely.Point(39, 52), WEST, shapely.LineString([(39, 52), (40, 53)])], ["А", "Б", "В"]
    )
    with pytest.raises(InputError, match=r"feature 1 is a Point.*; feature 3 is a LineString"):
        aoi.import_boundaries(write(table, "here.geojson"))


def test_a_projected_polygon_across_the_antimeridian_is_cut(write):
    far = districts(
        [shapely.box(500_000, 7_300_000, 700_000, 7_400_000)], ["Чукотский район"], "EPSG:32601"
    )
    wide = districts(
        [shapely.box(-100_000, 7_300_000, 400_000, 7_400_000)], ["Чукотский район"], "EPSG:32601"
    )
    one, _ = aoi.import_boundaries(write(far, "far.gpkg"))
    two, report = aoi.import_boundaries(write(wide, "wide.gpkg"))
    assert one.outline.geom_type == "Polygon"
    assert two.outline.geom_type == "MultiPolygon"
    assert report.rows[0].mended == "cut at the antimeridian"
    assert report.area_km2 == pytest.approx(50_000, rel=0.05)


def test_old_russian_shapefiles_need_their_encoding(write):
    path = write(PAIR, "old.shp", encoding="cp1251")
    path.with_suffix(".cpg").unlink()
    with pytest.raises(InputError, match="try the encoding cp1251"):
        aoi.import_boundaries(path)
    area, _ = aoi.import_boundaries(path, encoding="cp1251")
    assert area.districts["name_ru"].tolist() == PAIR["name"].tolist()


def test_a_shapefile_without_crs_is_refused(write):
    path = write(PAIR, "bare.shp", encoding="utf-8")
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match=r"does not say its CRS; add one .*\.prj"):
        aoi.import_boundaries(path)


def test_a_layer_must_be_chosen_among_several(write):
    path = write(PAIR, "two.gpkg", layer="first")
    PAIR.to_file(path, layer="second")
    with pytest.raises(InputError, match="2 layers; choose one: first, second"):
        aoi.import_boundaries(path)
    with pytest.raises(InputError, match="no layer 'third'"):
        aoi.import_boundaries(path, layer="third")
    area, _ = aoi.import_boundaries(path, layer="second")
    assert len(area.districts) == 2


def test_columns_that_are_not_there_are_told_with_those_that_are(write):
    path = write(PAIR.rename(columns={"name": "label"}))
    with pytest.raises(InputError, match=r"no column name_ru or .* choose name_column among label"):
        aoi.import_boundaries(path)
    with pytest.raises(InputError, match="no column nom"):
        aoi.import_boundaries(path, name_column="nom")
    area, _ = aoi.import_boundaries(path, name_column="label")
    assert len(area.districts) == 2


def test_missing_names_are_counted(write):
    path = write(districts([WEST, EAST], ["А район", None]))
    with pytest.raises(InputError, match="no name in feature 2"):
        aoi.import_boundaries(path)


def test_swapped_coordinates_are_refused(write):
    table = districts([shapely.box(52, 39, 53, 39.5)], ["А район"])
    with pytest.raises(InputError, match=r"with the two swapped.*say so with lonlat"):
        aoi.import_boundaries(write(table))
    area, _ = aoi.import_boundaries(write(table), lonlat=True)
    assert area.outline.equals(shapely.box(52, 39, 53, 39.5))


@pytest.mark.parametrize("identifier", ["../x", "Липецк", "con"])
def test_unfit_ids_of_an_area_are_refused(write, identifier):
    with pytest.raises(InputError, match="unfit for a file name"):
        aoi.import_boundaries(write(PAIR), id=identifier)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("here.vrt", b"<OGRVRTDataSource/>", r"\.vrt is not read"),
        ("here.geojson", b"<OGRVRTDataSource/>", "its content is not GeoJSON"),
        ("here.gpkg", b"<OGRVRTDataSource/>", "its content is not GPKG"),
        ("here.geojson", b'{"type":"Topology"', "cannot be read|it is TopoJSON"),
        ("here.geojson", b'{"type":"FeatureCollection","features":[]}', "no features"),
        ("here.gpkg", b"SQLite format 3\0" + b"\0" * 100, "cannot be read"),
        ("here.shp", b"\x00\x00\x27\x0a", "cannot be read"),
        ("archive.zip", b"PK", "unpack archives first"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        aoi.import_boundaries(path)


def test_a_missing_boundary_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.gpkg: No such file"):
        aoi.import_boundaries(tmp_path / "gone.gpkg")


def test_a_table_of_known_districts_needs_its_columns(write, tmp_path):
    (tmp_path / "known.csv").write_text("code;title\n1;x\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column id and no name_ru; found code, title"):
        aoi.import_boundaries(write(PAIR), known=tmp_path / "known.csv")
    with pytest.raises(InputError, match="cannot be read"):
        aoi.import_boundaries(write(PAIR), known=tmp_path / "none.csv")


# The shared OpenStreetMap districts


@needs_shared
def test_osm_districts_of_lipetsk_agree_with_the_table():
    area, report = aoi.import_boundaries(
        SHARED / "lipetsk_districts_osm.geojson",
        id="lipetsk",
        known=SHARED / "lipetsk_districts_table.csv",
    )
    assert report.area_km2 == pytest.approx(24_066, abs=1)
    assert len(report.rows) == 20
    assert all(abs(row.difference) < 0.001 for row in report.rows)
    assert not report.overlaps
    assert not report.gaps
    assert set(area.districts.index) == set(LIPETSK)
    assert area.districts.loc["lipetsk_volovsky", "oktmo"] == "42603000"


@needs_shared
@pytest.mark.parametrize(
    ("name", "km2", "count", "tolerance"),
    [
        ("moscow_oblast_districts_osm_simplified", 44_436, 60, 1),
        ("yanao_districts_osm_simplified", 792_490, 13, 10),
    ],
)
def test_osm_districts_have_the_area_of_the_readme(name, km2, count, tolerance, tmp_path):
    area, report = aoi.import_boundaries(SHARED / f"{name}.geojson", id="here")
    assert report.area_km2 == pytest.approx(km2, abs=tolerance)
    assert len(area.districts) == count
    aoi.save(area, tmp_path / "here.geojson")
    assert len(aoi.load(tmp_path / "here.geojson").districts) == count


@needs_shared
def test_enclaves_of_the_city_of_moscow_are_told_as_gaps():
    _, report = aoi.import_boundaries(
        SHARED / "moscow_oblast_districts_osm_simplified.geojson", id="moscow_oblast"
    )
    zelenograd = report.gaps[0]
    assert zelenograd.area_km2 == pytest.approx(37.2, abs=0.5)
    assert set(zelenograd.neighbours) == {"Городской Округ Химки", "Городской Округ Солнечногорск"}


@needs_shared
def test_the_shared_file_can_be_loaded_as_an_area_as_it_is():
    area = aoi.load(SHARED / "lipetsk_districts_osm_simplified.geojson")
    assert area.id == "lipetsk_districts_osm_simplified"
    assert len(area.districts) == 20
