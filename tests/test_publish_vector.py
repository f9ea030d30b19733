import datetime as dt
import json
import resource
import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon, box

from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.publish.fields import TITLES, field_titles
from lesniva.publish.vector import (
    read_table,
    write_csv,
    write_geojson,
    write_geopackage,
    write_geoparquet,
)

WHEN = dt.datetime(2026, 6, 10, 4, 5, 6, tzinfo=dt.UTC)


def alerts(crs="EPSG:32637", shift=0):
    left = box(400_000 + shift, 5_800_000, 400_100 + shift, 5_800_060)
    hole = box(400_220 + shift, 5_800_020, 400_240 + shift, 5_800_040)
    right = box(400_200 + shift, 5_800_000, 400_260 + shift, 5_800_060).difference(hole)
    return gpd.GeoDataFrame(
        {
            "alert_id": ["b7", "c2"],
            "status": ["confirmed", "low"],
            "date_max": pd.to_datetime(["2019-06-06", "2020-07-08"]),
            "confirmed_on": pd.to_datetime(["2019-06-11", None]),
            "seen": pd.to_datetime(["2019-06-11T08:31:21Z", None]),
            "area_ha": [0.6, np.nan],
            "n_obs": pd.array([7, None], dtype="Int16"),
            "district_ru": ["Усманский район", None],
            "reasons": [["abrupt", "rectangular"], []],
            "inside": [True, False],
        },
        geometry=[left, right],
        crs=crs,
    )


def geojson(tmp_path, frame):
    path = tmp_path / "alerts.geojson"
    write_geojson(path, frame, id_column="alert_id", metadata={"attribution": "данные"})
    return json.loads(path.read_text(encoding="utf-8"))


def geopackage(path, layers=None, **options):
    write_geopackage(path, layers or {"alerts": alerts()}, when=WHEN, attribution="©", **options)
    return path


def sql(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def rings(geometry):
    parts = geometry["coordinates"]
    return [parts] if geometry["type"] == "Polygon" else parts


# --- GeoJSON -------------------------------------------------------------------------------------


def test_geojson_keeps_rfc_7946(tmp_path):
    collection = geojson(tmp_path, alerts())
    assert collection["type"] == "FeatureCollection"
    assert "crs" not in collection
    for feature in collection["features"]:
        for outer, *holes in rings(feature["geometry"]):
            assert shapely.LinearRing(outer).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
            assert all(round(number, 7) == number for point in outer for number in point)
    west, south, east, north = shapely.geometry.shape(collection["features"][0]["geometry"]).bounds
    assert 37 < west < east < 38
    assert 52 < south < north < 53


def test_geojson_is_where_the_features_are(tmp_path):
    frame = alerts()
    geojson(tmp_path, frame)
    back = pyogrio.read_dataframe(tmp_path / "alerts.geojson").to_crs(frame.crs)
    distance = back.geometry.hausdorff_distance(frame.geometry, align=False)
    assert distance.max() < 0.02


def test_geojson_has_ids_iso_dates_attribution_and_null_for_missing(tmp_path):
    collection = geojson(tmp_path, alerts())
    first, second = collection["features"]
    assert collection["metadata"] == {"attribution": "данные"}
    assert (first["id"], first["properties"]["alert_id"]) == ("b7", "b7")
    assert first["properties"]["date_max"] == "2019-06-06"
    assert first["properties"]["seen"] == "2019-06-11T08:31:21Z"
    assert first["properties"]["reasons"] == "abrupt; rectangular"
    assert first["properties"]["n_obs"] == 7
    missing = [name for name, value in second["properties"].items() if value is None]
    assert missing == ["confirmed_on", "seen", "area_ha", "n_obs", "district_ru"]


def test_geojson_is_cut_at_the_antimeridian(tmp_path):
    chukotka = gpd.GeoDataFrame(
        {"alert_id": ["x"]}, geometry=[box(600_000, 7_300_000, 700_000, 7_310_000)], crs=32660
    )
    feature = geojson(tmp_path, chukotka)["features"][0]
    assert feature["geometry"]["type"] == "MultiPolygon"
    parts = shapely.geometry.shape(feature["geometry"])
    assert all(part.bounds[2] - part.bounds[0] < 3 for part in parts.geoms)
    assert {part.bounds[0] < 0 for part in parts.geoms} == {True, False}


def test_geojson_without_features_is_a_valid_empty_collection(tmp_path):
    assert geojson(tmp_path, alerts().iloc[:0])["features"] == []
    assert len(pyogrio.read_dataframe(tmp_path / "alerts.geojson")) == 0


def test_features_without_a_crs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="without a CRS"):
        geojson(tmp_path, alerts(crs=None))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(400_000, 500_000), st.floats(5_700_000, 5_800_000)),
        min_size=3,
        max_size=8,
        unique=True,
    )
)
def test_any_shape_keeps_its_area_and_its_rings_turn_right(tmp_path_factory, points):
    shape = shapely.MultiPoint(points).convex_hull
    if shape.geom_type != "Polygon" or shape.area < 1000:
        return
    reversed_shape = Polygon(list(shape.exterior.coords)[::-1])
    frame = gpd.GeoDataFrame(
        {"alert_id": ["a", "b"]}, geometry=[shape, reversed_shape], crs="EPSG:32637"
    )
    features = geojson(tmp_path_factory.mktemp("g"), frame)["features"]
    for feature in features:
        back = shapely.geometry.shape(feature["geometry"])
        assert back.exterior.is_ccw
        area = gpd.GeoSeries([back], crs=4326).to_crs("EPSG:32637").area.item()
        assert area == pytest.approx(shape.area, abs=0.03 * shape.length)


# --- GeoPackage ----------------------------------------------------------------------------------


def test_a_geopackage_is_version_1_3_with_the_crs_of_each_layer(tmp_path):
    districts = alerts()[["geometry"]].to_crs(4326)
    path = geopackage(tmp_path / "a.gpkg", {"alerts": alerts(), "districts": districts})
    assert sql(path, "PRAGMA user_version") == [(10300,)]
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    info = {name: pyogrio.read_info(path, layer=name) for name in ("alerts", "districts")}
    assert {name: found["crs"] for name, found in info.items()} == {
        "alerts": "EPSG:32637",
        "districts": "EPSG:4326",
    }
    assert {found["geometry_type"] for found in info.values()} == {"MultiPolygon"}


def test_a_geopackage_gives_back_what_was_written(tmp_path):
    frame = alerts()
    back = pyogrio.read_dataframe(geopackage(tmp_path / "a.gpkg"))
    assert back["date_max"].tolist() == frame["date_max"].tolist()
    assert back["seen"][0] == frame["seen"][0]
    assert back["n_obs"].tolist()[0] == 7
    assert back["inside"].tolist() == [True, False]
    assert back.geometry.area.tolist() == frame.geometry.area.tolist()


def test_column_types_of_a_layer_without_rows_are_those_of_a_layer_with_rows(tmp_path):
    layers = {"full": alerts(), "empty": alerts().iloc[:0]}
    path = geopackage(tmp_path / "a.gpkg", layers)
    full, empty = (pyogrio.read_info(path, layer=name) for name in layers)
    assert full["ogr_types"] == empty["ogr_types"]
    assert full["fields"].tolist() == empty["fields"].tolist()
    assert (empty["features"], empty["geometry_type"]) == (0, "MultiPolygon")


def test_tables_styles_titles_and_attribution_are_in_the_geopackage(tmp_path):
    runs = pd.DataFrame({"run_id": ["r1"], "started": [WHEN]})
    path = geopackage(
        tmp_path / "a.gpkg",
        {"alerts": alerts(), "runs": runs},
        styles={"alerts": "<qgis/>"},
        aliases=field_titles("ru"),
        descriptions={"alerts": "Changes"},
    )
    assert pyogrio.read_dataframe(path, layer="runs")["run_id"].tolist() == ["r1"]
    assert sql(path, "SELECT f_table_name, f_geometry_column, styleQML FROM layer_styles") == [
        ("alerts", "geom", "<qgis/>")
    ]
    titles = dict(sql(path, "SELECT column_name, name FROM gpkg_data_columns"))
    assert titles["district_ru"] == "район"
    assert titles["started"] == "начат"
    kinds = sql(path, "SELECT table_name, data_type, description FROM gpkg_contents")
    assert kinds == [
        ("alerts", "features", "Changes"),
        ("runs", "attributes", ""),
        ("layer_styles", "attributes", ""),
    ]
    assert pyogrio.read_info(path, layer="runs")["dataset_metadata"] == {"ATTRIBUTION": "©"}


def test_the_same_content_makes_the_same_geopackage(tmp_path):
    styles = {"alerts": "<qgis/>"}
    first = geopackage(tmp_path / "a.gpkg", styles=styles)
    second = geopackage(tmp_path / "b.gpkg", styles=styles)
    assert first.read_bytes() == second.read_bytes()
    assert sql(first, "SELECT DISTINCT last_change FROM gpkg_contents") == [
        ("2026-06-10T04:05:06.000Z",)
    ]


def test_a_geopackage_without_layers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got no layers"):
        write_geopackage(tmp_path / "a.gpkg", {}, when=WHEN, attribution="©")


def test_where_the_file_cannot_be_put_the_error_says_so_and_nothing_is_left(tmp_path):
    (tmp_path / "a.gpkg").mkdir()
    with pytest.raises(EnvironmentFaultError, match=r"cannot write .*a\.gpkg"):
        geopackage(tmp_path / "a.gpkg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"]


@pytest.fixture
def small_disk():
    """No file of this process may grow beyond 256 KiB, as if the disk were full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "parquet", "csv"])
def test_a_full_disk_is_told_in_one_line_and_leaves_the_earlier_file(tmp_path, suffix):
    path = tmp_path / f"alerts.{suffix}"
    path.write_bytes(b"earlier")
    corners = np.random.default_rng(4).uniform(400_000, 450_000, (6000, 2))
    many = gpd.GeoDataFrame(
        {"alert_id": [f"{x:.9f}" for x in corners[:, 0]]},
        geometry=shapely.box(*corners.T, *(corners.T + 100)),
        crs="EPSG:32637",
    )
    write = {
        "gpkg": lambda: geopackage(path, {"alerts": many}),
        "geojson": lambda: geojson(tmp_path, many),
        "parquet": lambda: write_geoparquet(path, many),
        "csv": lambda: write_csv(path, many.assign(text="x" * 40)),
    }[suffix]
    with pytest.raises(
        EnvironmentFaultError, match=rf"cannot write .*alerts\.{suffix}: .*free some"
    ):
        write()
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_reviewer_wrote_can_be_read_and_carried_over(tmp_path):
    verdicts = pd.DataFrame({"alert_id": ["b7"], "verdict": pd.Series([None], dtype="str")})
    path = geopackage(tmp_path / "a.gpkg", {"alerts": alerts(), "verdicts": verdicts})
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE verdicts SET verdict = 'false'")
        database.commit()
    kept = read_table(path, "verdicts")
    geopackage(path, {"alerts": alerts(), "verdicts": kept})
    assert read_table(path, "verdicts").to_dict("records") == [
        {"alert_id": "b7", "verdict": "false"}
    ]


def test_a_table_that_is_not_there_yet_is_none(tmp_path):
    assert read_table(tmp_path / "a.gpkg", "verdicts") is None
    assert read_table(geopackage(tmp_path / "a.gpkg"), "verdicts") is None


def test_what_is_no_geopackage_is_refused(tmp_path):
    (tmp_path / "a.gpkg").write_text("<VRTDataset/>")
    with pytest.raises(InputError, match=r"a\.gpkg is no GeoPackage"):
        read_table(tmp_path / "a.gpkg", "verdicts")


# --- GeoParquet, CSV -----------------------------------------------------------------------------


def test_geoparquet_is_1_1_with_a_bbox_column_and_comes_back(tmp_path):
    frame = alerts().drop(columns="reasons")
    write_geoparquet(tmp_path / "a.parquet", frame)
    schema = pq.read_schema(tmp_path / "a.parquet")
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["encoding"] == "WKB"
    assert "bbox" in schema.names
    back = gpd.read_parquet(tmp_path / "a.parquet")
    assert back.crs == frame.crs
    assert back.geometry.equals(frame.geometry)


def test_csv_is_read_by_excel_and_by_programs(tmp_path):
    write_csv(tmp_path / "a.csv", alerts())
    text = (tmp_path / "a.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbfalert_id,")
    back = pd.read_csv(tmp_path / "a.csv", encoding="utf-8-sig")
    assert back["date_max"].tolist() == ["2019-06-06", "2020-07-08"]
    assert back["area_ha"].tolist()[0] == 0.6
    assert back["district_ru"].isna().tolist() == [False, True]
    assert "geometry" not in back


def test_csv_without_rows_keeps_its_head(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"adm_id": [], "yield_t_ha": []}))
    assert (tmp_path / "a.csv").read_text(encoding="utf-8-sig") == "adm_id,yield_t_ha\n"


def test_titles_of_columns_do_not_collide_within_a_language():
    for titles in zip(*TITLES.values(), strict=True):
        assert len(set(titles)) == len(titles)
