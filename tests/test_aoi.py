import json
import logging
import math
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from lesniva import aoi
from lesniva.errors import InputError

# odc-geo multiplies affine transforms the way affine is about to retire.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SHIPPED = sorted((ROOT / "aoi").glob("*.geojson"))

SQUARE = shapely.box(39.0, 52.0, 39.5, 52.3)


def feature(geometry, **properties):
    if not isinstance(geometry, dict | None):
        geometry = json.loads(shapely.to_geojson(geometry))
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def collection(*features, **members):
    return {"type": "FeatureCollection", "features": list(features), **members}


def polygon(*xy):
    return {"type": "Polygon", "coordinates": [list(map(list, xy))]}


def in_degrees(geobox):
    outline = shapely.segmentize(geobox.extent.geom, geobox.resolution.x)
    transform = geobox.crs.transformer("EPSG:4326").transform
    return shapely.transform(outline, transform, interleaved=False)


@pytest.fixture
def area_of(tmp_path):
    """Write a GeoJSON document (or a geometry) to an area file and load it."""

    def make(document, name="field.geojson", **options):
        if isinstance(document, shapely.Geometry):
            document = collection(feature(document))
        path = tmp_path / name
        path.write_text(json.dumps(document), encoding="utf-8")
        return aoi.load(path, **options)

    return make


# The shipped files


def test_three_regions_are_shipped():
    assert [path.name for path in SHIPPED] == [
        "lipetsk.geojson",
        "moscow-oblast.geojson",
        "yanao.geojson",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_need_no_mending_and_stay_small(path):
    area = aoi.load(path)
    assert area.notices == ()
    assert area.outline.is_valid
    assert area.districts.is_valid.all()
    assert path.stat().st_size < 150_000


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_saving_a_shipped_file_again_changes_no_byte(path, tmp_path):
    aoi.save(aoi.load(path), tmp_path / "again.geojson")
    assert (tmp_path / "again.geojson").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "official_km2", "share"),
    [("lipetsk", 24_047, 0.02), ("moscow-oblast", 44_329, 0.02), ("yanao", 769_250, 0.12)],
)
def test_shipped_outlines_have_about_the_official_area(name, official_km2, share):
    outline = aoi.load(ROOT / "aoi" / f"{name}.geojson").outline
    assert aoi.areas_km2([outline])[0] == pytest.approx(official_km2, rel=share)


def test_lipetsk_has_18_raions_and_2_cities_labelled_approximate():
    area = aoi.load(ROOT / "aoi" / "lipetsk.geojson")
    assert area.districts["kind"].value_counts().to_dict() == {"raion": 18, "city": 2}
    assert area.approximate
    assert area.districts["approximate"].all()
    assert area.districts.index.is_unique


def test_lipetsk_districts_fill_the_outline_without_overlap():
    area = aoi.load(ROOT / "aoi" / "lipetsk.geojson")
    areas = aoi.areas_km2(area.districts.geometry)
    union = shapely.union_all(area.districts.geometry.to_numpy())
    assert areas.sum() == pytest.approx(aoi.areas_km2([area.outline])[0], abs=0.01)
    assert aoi.areas_km2([union.symmetric_difference(area.outline)])[0] < 0.01


def test_city_of_moscow_is_no_part_of_moscow_oblast():
    outline = aoi.load(ROOT / "aoi" / "moscow-oblast.geojson").outline
    assert not outline.contains(shapely.Point(37.62, 55.75))
    assert outline.contains(shapely.Point(38.78, 55.10))  # Kolomna


# Loading


def test_a_bare_polygon_becomes_an_area_named_after_its_file(area_of):
    area = area_of(SQUARE, name="north-field.geojson")
    assert area.id == "north-field"
    assert area.outline.equals(SQUARE)
    assert area.districts.index.tolist() == ["north-field"]


def test_a_file_with_districts_only_is_outlined_by_their_union(area_of):
    west, east = shapely.box(39, 52, 40, 53), shapely.box(40, 52, 41, 53)
    area = area_of(collection(feature(west, id="west"), feature(east, id="east")))
    assert area.outline.equals(shapely.box(39, 52, 41, 53))
    assert area.districts.index.tolist() == ["west", "east"]


def test_names_kinds_and_codes_are_read(area_of):
    area = area_of(
        collection(
            feature(SQUARE, kind="region", id="here", name_en="Here", name_ru="Здесь", source="me"),
            feature(SQUARE, kind="raion", id="a", name_ru="Воловский район", oktmo=42603000),
        )
    )
    assert (area.id, area.name_en, area.name_ru, area.source) == ("here", "Here", "Здесь", "me")
    row = area.districts.loc["a"]
    assert (row.kind, row.name_ru, row.oktmo) == ("raion", "Воловский район", "42603000")
    assert not area.approximate


def test_heights_are_dropped_with_a_notice(area_of, caplog):
    with caplog.at_level(logging.WARNING):
        area = area_of(polygon((39, 52, 100), (40, 52, 100), (40, 53, 100), (39, 52, 100)))
    assert not area.outline.has_z
    assert area.notices == ("feature 1: heights dropped",)
    assert "heights dropped" in caplog.text


def test_a_self_intersecting_polygon_is_repaired_with_a_notice(area_of):
    area = area_of(polygon((39, 52), (40, 53), (40, 52), (39, 53), (39, 52)))
    assert area.outline.is_valid
    assert area.outline.area == pytest.approx(0.5)
    assert area.notices == ("feature 1: repaired (self-intersection)",)


@pytest.mark.parametrize("east", [-178.0, 182.0], ids=["wrapped", "running on"])
def test_a_polygon_across_the_antimeridian_is_cut_there(area_of, east):
    area = area_of(polygon((178, 66), (east, 66), (east, 67), (178, 67), (178, 66)))
    assert area.outline.equals(
        shapely.union_all([shapely.box(178, 66, 180, 67), shapely.box(-180, 66, -178, 67)])
    )
    assert area.notices == ("feature 1: cut at the antimeridian",)


FAULTS = {
    "no features": (collection(), "no features, so no area"),
    "another GeoJSON": ({"type": "Topology"}, "not a GeoJSON FeatureCollection"),
    "a list": ([1, 2], "not a GeoJSON FeatureCollection"),
    "no geometry": (collection(feature(None)), "feature 1 has no geometry"),
    "empty": (collection(feature(shapely.Polygon())), "is empty, not a polygon"),
    "a point": (collection(feature(shapely.Point(39, 52))), "is a Point, not a polygon"),
    "no ground": (polygon((39, 52), (40, 52), (39, 52), (39, 52)), "encloses nothing"),
    "an open ring": (polygon((39, 52), (40, 52), (40, 53), (39, 53)), "broken geometry"),
    "metres": (
        collection(feature(shapely.box(400_000, 5_800_000, 410_000, 5_810_000))),
        "which are not degrees",
    ),
    "latitude first, far north-east": (
        collection(feature(shapely.box(66, 100, 67, 101))),
        "latitude 101.00: longitude and latitude are probably swapped",
    ),
    "latitude first": (
        collection(feature(shapely.box(52, 39, 53, 40))),
        r"longitude 52.5, latitude 39.5, south .* with the two swapped",
    ),
    "half the world": (collection(feature(shapely.box(-60, -60, 60, 60))), "not an area to work"),
    "the whole world": (collection(feature(shapely.box(-180, -90, 180, 90))), "encloses nothing"),
    "another CRS": (
        collection(feature(SQUARE), crs={"properties": {"name": "EPSG:32637"}}),
        "its crs is EPSG:32637, .*lesniva aoi import",
    ),
    "ids twice": (
        collection(feature(SQUARE, id="a"), feature(SQUARE, id="a")),
        "ids given twice: a",
    ),
    "district named like its region": (
        collection(feature(SQUARE, id="a", kind="region"), feature(SQUARE, id="a")),
        "ids given twice: a",
    ),
    "no ids": (
        collection(feature(SQUARE), feature(SQUARE, id="a"), feature(SQUARE)),
        "districts without an id: number 1, 3",
    ),
    "two regions": (
        collection(feature(SQUARE, kind="region"), feature(SQUARE, kind="region")),
        "2 features of kind region",
    ),
}


@pytest.mark.parametrize(("document", "message"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_area_file_is_refused_with_the_reason(area_of, document, message):
    with pytest.raises(InputError, match=message) as caught:
        area_of(document)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "identifier",
    ["../../x", "/etc/x", "a\0b", "con", "x" * 65, "Липецк", "\u202eab", "", "..", "a b", "A"],
)
def test_ids_that_could_leave_the_output_folder_are_refused(area_of, identifier):
    with pytest.raises(InputError, match=r"unfit for a file name|without an id"):
        area_of(collection(feature(SQUARE, id=identifier), feature(SQUARE, id="b")))


def test_all_faults_of_a_file_are_told_at_once(area_of):
    with pytest.raises(InputError, match=r"feature 1 .*empty.*; feature 2 \(b\) .*Point"):
        area_of(collection(feature(shapely.Polygon()), feature(shapely.Point(1, 1), id="b")))


def test_a_missing_area_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.geojson: No such file .*lesniva aoi import"):
        aoi.load(tmp_path / "nowhere.geojson")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"type": NaN}', "NaN is no JSON number"),
        (b"[" * 200_000, "nested too deep"),
        (
            b'{"type": "Polygon", "coordinates": ' + b"[" * 700 + b"]" * 700 + b"}",
            "nested too deep",
        ),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, content, message):
    path = tmp_path / "broken.geojson"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        aoi.load(path)


def test_too_many_vertices_are_refused_before_any_geometry_is_made(area_of, monkeypatch):
    monkeypatch.setattr("lesniva.aoi.area.MAX_VERTICES", 9)
    ring = [["not even", "numbers"]] * 5
    with pytest.raises(InputError, match="10 vertices, more than 9: simplify"):
        area_of({"type": "MultiPolygon", "coordinates": [[ring], [ring]]})


def test_a_place_south_of_russia_is_accepted_when_the_file_vouches_for_it(area_of, tmp_path):
    tashkent = shapely.box(69, 40.5, 70, 40.9)
    area = area_of(collection(feature(tashkent, axis_order="lonlat")))
    assert area.outline.equals(tashkent)
    aoi.save(area, tmp_path / "saved.geojson")
    assert aoi.load(tmp_path / "saved.geojson").outline.equals(tashkent)


GEOJSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-200, 200) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "features", "geometry", "properties", "coordinates", "id"]),
            inner | st.sampled_from(["FeatureCollection", "Feature", "Polygon", "MultiPolygon"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(document=GEOJSON_LIKE)
def test_whatever_json_says_it_is_loaded_or_refused(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("any") / "any.geojson"
    path.write_text(json.dumps(document))
    try:
        area = aoi.load(path)
    except InputError:
        return
    assert area.outline.is_valid


# Clipping


def test_clipping_keeps_the_id_and_only_the_districts_inside():
    whole = aoi.load(ROOT / "aoi" / "lipetsk.geojson")
    part = aoi.load(ROOT / "aoi" / "lipetsk.geojson", clip=(39.4, 52.5, 39.8, 52.7))
    assert part.id == whole.id
    assert part.outline.equals(shapely.box(39.4, 52.5, 39.8, 52.7))
    assert "lipetsk_city" in part.districts.index
    assert len(part.districts) < len(whole.districts)
    areas = aoi.areas_km2(part.districts.geometry)
    assert areas.sum() == pytest.approx(aoi.areas_km2([part.outline])[0], rel=1e-6)


def test_clipping_outside_the_area_is_refused_with_its_bounds(area_of):
    with pytest.raises(InputError, match=r"outside it; .* 39.000, 52.000, 39.500, 52.300"):
        area_of(SQUARE, clip=(10, 50, 11, 51))


@pytest.mark.parametrize("clip", [(40, 52, 39, 53), (39, 52, 40), (39, 52, math.nan, 53)])
def test_a_clip_that_is_no_box_is_refused(area_of, clip):
    with pytest.raises(InputError, match="give west, south, east, north"):
        area_of(SQUARE, clip=clip)


# Saving


def test_saved_files_follow_rfc_7946(area_of, tmp_path):
    area = area_of(polygon((39, 52), (39, 53), (40, 53), (40, 52), (39, 52)))  # clockwise
    aoi.save(area, tmp_path / "saved.geojson")
    document = json.loads((tmp_path / "saved.geojson").read_text(encoding="utf-8"))
    assert "crs" not in document
    ring = shapely.LinearRing(document["features"][0]["geometry"]["coordinates"][0])
    assert ring.is_ccw


def test_saving_what_rounding_would_destroy_is_refused(area_of, tmp_path):
    area = area_of(shapely.box(39, 52, 39 + 1e-8, 52 + 1e-8))
    with pytest.raises(InputError, match="vanishes"):
        aoi.save(area, tmp_path / "saved.geojson")
    assert not (tmp_path / "saved.geojson").exists()


# Areas


def cap_km2(latitude):
    """Closed formula: area between the equator and a latitude, per radian of longitude."""
    a, f = 6378.137, 1 / 298.257223563
    e2 = f * (2 - f)
    e, s = math.sqrt(e2), math.sin(math.radians(latitude))
    return a * a * (1 - e2) / 2 * (s / (1 - e2 * s * s) + math.atanh(e * s) / e)


@settings(max_examples=50, deadline=None)
@given(
    west=st.floats(-170, 160),
    south=st.floats(-85, 80),
    width=st.floats(0.01, 10),
    height=st.floats(0.01, 5),
    clockwise=st.booleans(),
)
def test_areas_agree_with_the_closed_formula(west, south, width, height, clockwise):
    box = shapely.box(west, south, west + width, south + height, ccw=not clockwise)
    expected = math.radians(width) * (cap_km2(south + height) - cap_km2(south))
    assert aoi.areas_km2([box])[0] == pytest.approx(expected, rel=1e-6)


def test_holes_are_taken_off_whatever_their_orientation():
    hole = shapely.box(39.1, 52.1, 39.2, 52.2)
    for ring in (hole.exterior.coords, hole.exterior.coords[::-1]):
        holed = shapely.Polygon(SQUARE.exterior, [ring])
        whole, inner, rest = aoi.areas_km2([SQUARE, hole, holed])
        assert rest == pytest.approx(whole - inner)


def test_what_is_no_polygon_has_no_area():
    assert aoi.areas_km2([shapely.Point(1, 2), shapely.Polygon()]).tolist() == [0, 0]
    assert aoi.areas_km2([]).shape == (0,)


# Grids


@pytest.mark.parametrize(
    ("name", "zones"),
    [
        ("lipetsk", ["utm37n"]),
        ("moscow-oblast", ["utm36n", "utm37n"]),
        ("yanao", ["utm41n", "utm42n", "utm43n", "utm44n", "utm45n"]),
    ],
)
def test_each_utm_zone_of_an_area_gets_one_grid(name, zones):
    area = aoi.load(ROOT / "aoi" / f"{name}.geojson")
    grids = aoi.grids(area, resolution=20, block_size=512)
    assert [grid.id for grid in grids] == zones
    for grid in grids:
        left, top = grid.geobox.affine.c, grid.geobox.affine.f
        assert (left % 20, top % 20) == (0, 0)
        assert (grid.geobox.affine.a, grid.geobox.affine.e) == (20, -20)
        assert grid.geobox.boundingbox.polygon.geom.contains(grid.outline)


def test_zones_are_those_of_both_hemispheres(area_of):
    area = area_of(collection(feature(shapely.box(29.9, -0.1, 30.1, 0.1), axis_order="lonlat")))
    grids = aoi.grids(area, resolution=100, block_size=64)
    assert [grid.id for grid in grids] == ["utm35n", "utm35s", "utm36n", "utm36s"]
    assert [grid.geobox.crs.epsg for grid in grids] == [32635, 32735, 32636, 32736]


def test_zones_on_both_sides_of_the_antimeridian_are_the_last_and_the_first(area_of):
    area = area_of(polygon((178, 66), (-178, 66), (-178, 67), (178, 67), (178, 66)))
    assert [grid.id for grid in aoi.grids(area, resolution=60, block_size=64)] == [
        "utm01n",
        "utm60n",
    ]


def test_pieces_of_neighbouring_zones_meet_without_overlap_or_gap():
    area = aoi.load(ROOT / "aoi" / "yanao.geojson")
    pieces = []
    for grid in aoi.grids(area, resolution=60, block_size=512):
        back = grid.geobox.crs.transformer("EPSG:4326")
        pieces.append(shapely.transform(grid.outline, back.transform, interleaved=False))
    whole, *parts = aoi.areas_km2([area.outline, *pieces])
    assert sum(parts) == pytest.approx(whole, rel=1e-6)
    for west, east in pairwise(pieces):
        # A thousand kilometres of common meridian, not a centimetre's width of overlap.
        assert aoi.areas_km2([west.intersection(east)])[0] < 0.01
    assert aoi.areas_km2([area.outline.difference(shapely.union_all(pieces))])[0] < 0.1


def test_an_anchored_grid_stands_on_the_pixels_of_the_archive(area_of):
    archive = GeoBox.from_bbox(
        (5271982.5765, 2599731.25, 5272982.5765, 2600731.25), "EPSG:3035", resolution=10, tight=True
    )
    footprint = in_degrees(archive)
    anchor = (archive.affine.c, archive.affine.f)
    (grid,) = aoi.grids(
        area_of(footprint), resolution=10, block_size=128, crs="EPSG:3035", anchor=anchor
    )
    assert grid.id == "epsg3035"
    assert grid.geobox == archive
    (block,) = aoi.blocks(grid, block_size=128)
    assert (block.key, block.geobox) == ("epsg3035/0000_0000", archive)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data folder beside the project")
def test_the_real_archive_is_met_pixel_by_pixel(area_of):
    import rasterio

    with rasterio.open(SHARED / "romania_s2" / "truth.tif") as raster:
        archive = GeoBox.from_rio(raster)
    footprint = in_degrees(archive)
    (grid,) = aoi.grids(
        area_of(footprint),
        resolution=10,
        block_size=64,
        crs=archive.crs,
        anchor=(archive.affine.c, archive.affine.f),
    )
    assert grid.geobox.shape == archive.shape
    assert grid.geobox.affine.almost_equals(archive.affine, precision=1e-6)
    assert [block.key for block in aoi.blocks(grid, block_size=64)] == [
        f"epsg3035/000{row}_000{col}" for row in (0, 1) for col in (0, 1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 0, "block_size": 64}, "resolution 0: give metres"),
        ({"resolution": math.nan, "block_size": 64}, "resolution nan"),
        ({"resolution": 10, "block_size": 0}, "block size 0"),
        ({"resolution": 10, "block_size": 64, "crs": "EPSG:4326"}, "units are degree"),
        ({"resolution": 10, "block_size": 64, "crs": "EPSG:2263"}, "units are US survey foot"),
        ({"resolution": 10, "block_size": 64, "crs": "nonsense"}, "crs nonsense: unknown"),
        ({"resolution": 10, "block_size": 64, "anchor": (0, 0)}, "needs the crs"),
    ],
)
def test_grids_that_cannot_be_are_refused(area_of, options, message):
    with pytest.raises(InputError, match=message):
        aoi.grids(area_of(SQUARE), **options)


# Blocks

TRIANGLES = st.lists(
    st.tuples(st.floats(41.9, 42.1), st.floats(55.9, 56.1)), min_size=3, max_size=3
).filter(lambda corners: shapely.Polygon(corners).area > 1e-4)


@settings(max_examples=25, deadline=None)
@given(corners=TRIANGLES, block_size=st.integers(7, 64))
def test_blocks_hold_every_pixel_of_the_area_once(corners, block_size):
    shape = shapely.Polygon(corners)
    area = replace(aoi.load(SHIPPED[0]), outline=shape)
    for grid in aoi.grids(area, resolution=100, block_size=block_size):
        times = np.zeros(grid.geobox.shape.yx, dtype=int)
        for block in aoi.blocks(grid, block_size=block_size):
            roi = grid.geobox.overlap_roi(block.geobox)
            times[roi] += aoi.inside(block, grid)
        x, y = (grid.geobox.coordinates[axis].values for axis in ("x", "y"))
        expected = shapely.contains_xy(grid.outline, *np.meshgrid(x, y))
        np.testing.assert_array_equal(times, expected)


def test_blocks_stand_only_where_the_area_is():
    area = aoi.load(ROOT / "aoi" / "yanao.geojson")
    for grid in aoi.grids(area, resolution=20, block_size=512):
        blocks = aoi.blocks(grid, block_size=512)
        height, width = grid.geobox.shape.yx
        assert len(blocks) < 0.8 * math.ceil(height / 512) * math.ceil(width / 512)
        assert len({block.key for block in blocks}) == len(blocks)


def test_a_block_keeps_its_key_and_pixels_when_the_outline_grows(area_of):
    small, large = (
        {
            block.key: block.geobox
            for grid in aoi.grids(area_of(shape), resolution=10, block_size=256)
            for block in aoi.blocks(grid, block_size=256)
        }
        for shape in (SQUARE, shapely.box(38.7, 51.9, 39.8, 52.4))
    )
    assert set(small) < set(large)
    whole = [key for key, geobox in small.items() if geobox.shape == (256, 256)]
    assert len(whole) > 100
    assert all(small[key] == large[key] for key in whole)


def test_blocks_do_not_depend_on_the_districts():
    area = aoi.load(SHIPPED[0])
    renamed = replace(area, districts=area.districts.iloc[:3].assign(name_ru="иначе"))
    first, second = (
        [aoi.blocks(grid, block_size=512) for grid in aoi.grids(a, resolution=20, block_size=512)]
        for a in (area, renamed)
    )
    assert first == second


def test_grids_and_blocks_travel_to_workers_and_serve_as_keys(area_of):
    (grid,) = aoi.grids(area_of(SQUARE), resolution=20, block_size=256)
    block = aoi.blocks(grid, block_size=256)[0]
    for value in (grid, block):
        again = pickle.loads(pickle.dumps(value))  # noqa: S301 (what Dask does)
        assert again == value
        assert hash(again) == hash(value)


def test_a_padded_block_has_its_halo_on_every_side(area_of):
    (grid,) = aoi.grids(area_of(SQUARE), resolution=20, block_size=256)
    block = aoi.blocks(grid, block_size=256)[0]
    padded = block.padded(3)
    assert padded[3:-3, 3:-3] == block.geobox
