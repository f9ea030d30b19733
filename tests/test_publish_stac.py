import datetime as dt
import json
import shutil

import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pystac.extensions.classification import Classification

from lesniva.conventions import ATTRIBUTION, SYNTHETIC_NOTICE
from lesniva.publish.cog import write_cog
from lesniva.publish.layers import LAYERS
from lesniva.publish.qgis import write_style
from lesniva.publish.stac import EXTENSIONS, Product, Raster, write_stac
from lesniva.storage import sha256
from stac_extensions import know_extensions

DAY = dt.date(2026, 6, 10)
CREATED = dt.datetime(2026, 6, 11, 4, 0, tzinfo=dt.UTC)
LIPETSK = GeoBox((60, 80), Affine(100, 0, 400_000, 0, -100, 5_800_000), "EPSG:32637")
CHUKOTKA = GeoBox((60, 2000), Affine(100, 0, 550_000, 0, -100, 7_300_000), "EPSG:32660")


def product(out, name="forest-20260610", geobox=LIPETSK, **options):
    rasters = []
    for layer, value in ((LAYERS["status"], 3), (LAYERS["ndvi"], 5000), (LAYERS["n_obs"], 65535)):
        path = out / "rasters" / name / f"{layer.name}.tif"
        blocks = [(0, 0, np.full(geobox.shape, value, layer.dtype))]
        stats = write_cog(path, layer, geobox, blocks, when=DAY, attribution=ATTRIBUTION)
        write_style(path, layer, stats)
        rasters.append(Raster(path, layer, stats))
    return Product(name, "Forest", geobox, DAY, DAY, rasters, **options)


def publish(out, *products, **options):
    asked = {
        "collection_id": "lipetsk",
        "title": "Lipetsk",
        "description": "Forest and fields.",
        "attribution": ATTRIBUTION,
        "created": CREATED,
    } | options
    return write_stac(out, products, **asked)


def item_of(out, name="forest-20260610"):
    return json.loads((out / "stac" / name / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def _extensions_known():
    know_extensions()


@pytest.mark.usefixtures("_extensions_known")
def test_pystac_reads_and_validates_the_collection_and_its_items_with_their_extensions(tmp_path):
    (tmp_path / "alerts.geojson").write_text("{}")
    files = {"alerts": tmp_path / "alerts.geojson"}
    path = publish(tmp_path, product(tmp_path), product(tmp_path, "b"), files=files)
    collection = pystac.Collection.from_file(str(path))
    items = list(collection.get_items())
    assert [item.id for item in items] == ["forest-20260610", "b"]
    assert collection.validate()[1:] == [EXTENSIONS["file"]]
    for item in items:
        assert set(item.validate()[1:]) == set(EXTENSIONS.values())


def _spoil_band(item, field, value):
    item["assets"]["ndvi"]["bands"][0][field] = value


SPOILT = {
    "projection": lambda item: item["properties"].update({"proj:shape": [60.5, 80]}),
    "raster": lambda item: _spoil_band(item, "raster:scale", "0.0001"),
    "processing": lambda item: item["properties"].update({"processing:softwear": {}}),
    "classification": lambda item: _spoil_band(item, "classification:classes", [{"value": 1}]),
    "file": lambda item: item["assets"]["ndvi"].update({"file:checksum": "abcd"}),
}


@pytest.mark.usefixtures("_extensions_known")
@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_field_that_an_extension_does_not_allow_makes_an_item_invalid(tmp_path, name):
    publish(tmp_path, product(tmp_path))
    stated = item_of(tmp_path)
    SPOILT[name](stated)
    with pytest.raises(pystac.STACValidationError, match=f"stac-extensions.github.io/{name}/"):
        pystac.Item.from_dict(stated).validate()


def test_the_extensions_of_pystac_read_what_they_know(tmp_path):
    publish(tmp_path, product(tmp_path))
    item = pystac.Item.from_file(
        str(tmp_path / "stac" / "forest-20260610" / "forest-20260610.json")
    )
    assert item.ext.proj.code == "EPSG:32637"
    assert item.ext.proj.shape == [60, 80]
    assert item.ext.proj.transform == [100, 0, 400_000, 0, -100, 5_800_000]
    status = item.assets["status"]
    assert status.ext.file.size == (tmp_path / "rasters/forest-20260610/status.tif").stat().st_size
    assert status.ext.file.checksum.startswith("1220")
    classes = [
        Classification(each) for each in status.to_dict()["bands"][0]["classification:classes"]
    ]
    assert {each.value: each.title for each in classes} == {
        known.value: known.name_en for known in LAYERS["status"].classes
    }
    assert all(len(each.color_hint) == 6 for each in classes)


def test_what_reviewers_write_into_has_no_checksum_that_would_soon_be_wrong(tmp_path):
    (tmp_path / "lesniva.gpkg").write_bytes(b"SQLite")
    path = publish(tmp_path, product(tmp_path), files={"gpkg": tmp_path / "lesniva.gpkg"})
    asset = pystac.Collection.from_file(str(path)).assets["gpkg"]
    assert asset.media_type == pystac.MediaType.GEOPACKAGE
    assert not set(asset.extra_fields) & {"file:size", "file:checksum"}


def test_every_asset_is_there_also_after_the_folder_has_moved(tmp_path):
    publish(tmp_path / "out", product(tmp_path / "out"))
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    collection = pystac.Collection.from_file(str(tmp_path / "elsewhere/stac/collection.json"))
    (item,) = collection.get_items()
    assert set(item.assets) == {
        "status",
        "status-style",
        "ndvi",
        "ndvi-style",
        "n_obs",
        "n_obs-style",
    }
    for asset in item.assets.values():
        content = tmp_path / "elsewhere" / asset.get_absolute_href()
        assert asset.extra_fields["file:size"] == content.stat().st_size
        assert asset.extra_fields["file:checksum"] == "1220" + sha256(content)
    assert str(tmp_path) not in json.dumps(item_of(tmp_path / "elsewhere"))


def test_bands_say_how_numbers_become_values(tmp_path):
    publish(tmp_path, product(tmp_path))
    assets = item_of(tmp_path)["assets"]
    (ndvi,) = assets["ndvi"]["bands"]
    assert (ndvi["data_type"], ndvi["nodata"], ndvi["unit"]) == ("int16", -32768, "1")
    assert (ndvi["raster:scale"], ndvi["raster:offset"]) == (0.0001, 0.0)
    assert ndvi["raster:spatial_resolution"] == 100
    assert ndvi["statistics"]["mean"] == 5000
    (status,) = assets["status"]["bands"]
    confirmed = next(c for c in status["classification:classes"] if c["value"] == 3)
    assert confirmed["name"] == "change_confirmed"
    assert confirmed["color_hint"] == "D7191C"
    assert assets["n_obs"]["bands"][0]["statistics"] == {"valid_percent": 0.0}


def test_an_item_says_where_when_and_by_what(tmp_path):
    publish(tmp_path, product(tmp_path))
    item = item_of(tmp_path)
    properties = item["properties"]
    assert properties["proj:code"] == "EPSG:32637"
    assert properties["proj:shape"] == [60, 80]
    assert properties["proj:transform"] == [100, 0, 400_000, 0, -100, 5_800_000]
    assert properties["datetime"] == "2026-06-10T00:00:00Z"
    assert "lesniva" in properties["processing:software"]
    assert item["stac_extensions"] == list(EXTENSIONS.values())
    shape = shapely.geometry.shape(item["geometry"])
    assert shape.exterior.is_ccw
    assert item["bbox"] == list(shape.bounds)


def test_a_period_has_a_start_and_an_end(tmp_path):
    whole = product(tmp_path)
    season = Product("season", "S", LIPETSK, dt.date(2026, 4, 1), DAY, whole.rasters)
    path = publish(tmp_path, season)
    properties = item_of(tmp_path, "season")["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2026-04-01T00:00:00Z"
    interval = json.loads(path.read_text())["extent"]["temporal"]["interval"]
    assert interval == [["2026-04-01T00:00:00Z", "2026-06-10T00:00:00Z"]]


def test_sources_are_linked_without_their_signatures(tmp_path):
    sources = {
        "S2A_1": "https://host/items/S2A_1.json?sig=canary&v=1",
        "S2A_2": str(tmp_path / "archive" / "S2A_2.json"),
    }
    publish(tmp_path / "out", product(tmp_path / "out", derived_from=sources))
    links = {
        link["title"]: link["href"]
        for link in item_of(tmp_path / "out")["links"]
        if link["rel"] == "derived_from"
    }
    assert links == {
        "S2A_1": "https://host/items/S2A_1.json?sig=***&v=1",
        "S2A_2": "../../../archive/S2A_2.json",
    }


def test_a_box_across_the_antimeridian_has_its_west_in_the_east(tmp_path):
    path = publish(tmp_path, product(tmp_path, "chukotka", CHUKOTKA))
    west, south, east, north = item_of(tmp_path, "chukotka")["bbox"]
    assert 178 < west < 179
    assert -178 < east < -177
    assert 65 < south < north < 66
    assert item_of(tmp_path, "chukotka")["geometry"]["type"] == "MultiPolygon"
    extent = json.loads(path.read_text())["extent"]["spatial"]["bbox"]
    assert extent == [[west, south, east, north]]


def test_real_imagery_is_credited_and_synthetic_is_not(tmp_path):
    def providers(attribution):
        path = publish(tmp_path, product(tmp_path), attribution=attribution)
        collection = json.loads(path.read_text(encoding="utf-8"))
        assert attribution in collection["description"]
        return [provider["name"] for provider in collection["providers"]]

    assert any("Copernicus" in name for name in providers(f"{ATTRIBUTION} 2026"))
    assert providers(SYNTHETIC_NOTICE) == ["Lesniva"]


def test_vectors_are_assets_of_the_collection(tmp_path):
    (tmp_path / "alerts.geojson").write_text("{}")
    path = publish(tmp_path, product(tmp_path), files={"alerts": tmp_path / "alerts.geojson"})
    asset = json.loads(path.read_text())["assets"]["alerts"]
    assert (asset["href"], asset["type"]) == ("../alerts.geojson", "application/geo+json")


def test_pictures_and_the_page_are_overviews_and_the_page_has_no_checksum(tmp_path):
    files = {name: tmp_path / name for name in ("forest.png", "index.html")}
    for path in files.values():
        path.write_text("shown")
    assets = pystac.Collection.from_file(
        str(publish(tmp_path, product(tmp_path), files=files))
    ).assets
    assert {asset.roles[0] for asset in assets.values()} == {"overview"}
    assert "file:checksum" in assets["forest.png"].extra_fields
    assert not set(assets["index.html"].extra_fields) & {"file:size", "file:checksum"}


def test_the_same_products_make_the_same_files(tmp_path):
    publish(tmp_path, product(tmp_path))
    files = sorted((tmp_path / "stac").rglob("*.json"))
    first = [file.read_bytes() for file in files]
    publish(tmp_path, product(tmp_path))
    assert [file.read_bytes() for file in files] == first


@pytest.mark.parametrize("names", [("../x",), ("a/b",), ("",), ("a", "a")])
def test_ids_that_are_no_names_of_files_are_refused(tmp_path, names):
    products = [Product(name, "T", LIPETSK, DAY, DAY, ()) for name in names]
    with pytest.raises(ValueError, match="unique names of files; not so"):
        publish(tmp_path, *products)
    assert list(tmp_path.iterdir()) == []


def test_a_collection_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no products"):
        publish(tmp_path)
