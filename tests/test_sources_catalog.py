"""Static catalogs: what is found, in which order, with which addresses, and what is left out."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pystac
import pytest
from shapely.geometry import box

from lesniva import sources
from lesniva.errors import InputError, NoDataError
from lesniva.sources import Skipped

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
recorded = pytest.mark.skipif(
    not SHARED.is_dir(), reason="recorded responses (../shared/data) are not here"
)
RESPONSES = SHARED / "api_responses"


def feature(number: int, **properties: Any) -> dict[str, Any]:
    when = datetime(2020, 1, 1, 8, tzinfo=UTC) + timedelta(days=5 * number)
    west = 39.0 + 0.01 * (number % 10)
    outline = box(west, 52.0, west + 0.01, 52.1)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene-{number:03d}",
        "geometry": outline.__geo_interface__,
        "bbox": list(outline.bounds),
        "properties": {"datetime": when.isoformat(), **properties},
        "links": [],
        "assets": {"red": {"href": "./red.tif"}, "scl": {"href": "./scl.tif"}},
    }


def write_catalog(folder: Path, features: list[dict[str, Any]]) -> Path:
    links = []
    for made in features:
        path = folder / made["id"] / f"{made['id']}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(made))
        links.append({"rel": "item", "href": f"./{made['id']}/{made['id']}.json"})
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "made", "links": links}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder / "catalog.json"


def find(href: Path, **conditions: Any) -> list[pystac.Item]:
    return sources.search(kind="catalog", href=str(href), **conditions)


def test_items_come_in_time_order_with_absolute_files(tmp_path):
    found = find(write_catalog(tmp_path, [feature(2), feature(0), feature(1)]))
    assert [item.id for item in found] == ["scene-000", "scene-001", "scene-002"]
    assert sources.assets(found[0]) == {
        "red": str(tmp_path / "scene-000" / "red.tif"),
        "scl": str(tmp_path / "scene-000" / "scl.tif"),
    }


def test_a_folder_stands_for_the_catalog_in_it(tmp_path):
    write_catalog(tmp_path, [feature(0)])
    assert len(find(tmp_path)) == 1


def test_nested_catalogs_and_circles_of_links_are_walked_once(tmp_path):
    write_catalog(tmp_path / "inner", [feature(0), feature(1)])
    inner = json.loads((tmp_path / "inner" / "catalog.json").read_text())
    inner["links"].append({"rel": "child", "href": "../catalog.json"})
    (tmp_path / "inner" / "catalog.json").write_text(json.dumps(inner))
    outer = {"type": "Catalog", "links": [{"rel": "child", "href": "inner/catalog.json"}] * 2}
    (tmp_path / "catalog.json").write_text(json.dumps(outer))
    assert len(find(tmp_path)) == 2


def test_an_item_collection_gives_the_same_items_as_a_catalog(tmp_path):
    features = [feature(number) for number in range(3)]
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    collection = find(tmp_path / "items.json")
    catalog = find(write_catalog(tmp_path / "catalog", features))
    assert [item.id for item in collection] == [item.id for item in catalog]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"start": "2020-01-06", "end": "2020-01-11"}, {1, 2}),
        ({"start": "2020-01-06T09:00:00Z", "end": "2020-01-11"}, {2}),
        ({"months": [2]}, {7, 8, 9}),
        ({"bbox": (39.031, 52.01, 39.039, 52.02)}, {3}),
        ({"area": box(39.031, 52.01, 39.039, 52.02)}, {3}),
        ({"bbox": (179.0, 50.0, 39.005, 53.0)}, {0}),
        ({"max_cloud": 50}, {0, 1, 2, 3, 4, 5}),
        ({"tiles": ["T37UDB"]}, {4}),
        ({"relative_orbit": 78}, {5}),
        ({"relative_orbit": [78, 79], "tiles": ["37UDB", "37UEB"]}, set()),
    ],
)
def test_each_condition_keeps_what_it_should(tmp_path, conditions, expected):
    features = [feature(number) for number in range(6)]
    features += [feature(number, **{"eo:cloud_cover": 80.0}) for number in range(6, 10)]
    features[4]["properties"]["grid:code"] = "MGRS-37UDB"
    features[5]["properties"]["sat:relative_orbit"] = 78
    catalog = write_catalog(tmp_path, features)
    if not expected:
        with pytest.raises(NoDataError, match=r"none of the 10 items .* \(9 by tiles, 1 by relat"):
            find(catalog, **conditions)
    else:
        assert {int(item.id[-3:]) for item in find(catalog, **conditions)} == expected


@recorded
@pytest.mark.parametrize(
    ("path", "tile", "orbit"),
    [
        ("cdse/items_2026_s2c_0512.json", "55WFR", 17),
        ("planetary_computer/test_datetime_results.json", "60VUK", 116),
        ("earth_search/test_filter.json", "20EPT", 95),
    ],
)
def test_tile_and_orbit_are_found_in_items_of_every_provider(path, tile, orbit):
    found = find(RESPONSES / path, tiles=[tile], relative_orbit=orbit)
    assert found
    assert all(tile in item.id for item in found)


@recorded
@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("cdse/items_2026_s2c_0512.json", {"red": "B04_10m.jp2", "nir08": "B8A_20m.jp2"}),
        ("cdse/items_2026_s2c_0512.json", {"coastal": "B01_20m.jp2", "scl": "SCL_20m.jp2"}),
        ("planetary_computer/test_datetime_results.json", {"red": "B04_10m.tif"}),
        ("earth_search/test_multiple_collections.json", {"red": "B04.tif", "nir08": "B8A.tif"}),
    ],
)
def test_bands_of_every_provider_get_the_names_of_the_house(path, files):
    found = sources.assets(find(RESPONSES / path, tiles=None)[0])
    assert {band: found[band].rpartition("/")[2][-len(name) :] for band, name in files.items()} == (
        files
    )


def test_broken_items_are_named_and_the_rest_goes_on(tmp_path):
    whole = [feature(number) for number in range(5)]
    catalog = write_catalog(tmp_path, whole)
    (tmp_path / "scene-000" / "scene-000.json").write_text('{"type": "Feat')
    (tmp_path / "scene-001" / "scene-001.json").unlink()
    damaged = feature(2, datetime="yesterday")
    (tmp_path / "scene-002" / "scene-002.json").write_text(json.dumps(damaged))
    homeless = {**feature(3), "geometry": None, "bbox": None}
    (tmp_path / "scene-003" / "scene-003.json").write_text(json.dumps(homeless))
    skipped: list[Skipped] = []
    found = find(catalog, bbox=(30, 50, 45, 60), on_skipped=skipped.append)
    assert [item.id for item in found] == ["scene-004"]
    told = {Path(one.where).stem: one.why for one in skipped}
    assert told == {
        "scene-000": "is no JSON (damaged or half-written)",
        "scene-001": "cannot be read (No such file or directory)",
        "scene-002": "has no time (datetime is 'yesterday')",
        "scene-003": "has no place (neither geometry nor bbox)",
    }


def test_skipped_items_are_logged_unless_someone_asks_for_them(tmp_path, caplog):
    catalog = write_catalog(tmp_path, [feature(0), feature(1)])
    (tmp_path / "scene-001" / "scene-001.json").write_text("[]")
    find(catalog)
    assert "scene-001.json: is no STAC (no JSON object)" in caplog.text


@pytest.mark.parametrize(
    ("href", "why"),
    [
        ("/vsicurl/http://127.0.0.1/red.tif", "virtual path"),
        ("http://169.254.169.254/latest/red.tif", "not allowed; add it as hosts"),
        ("https://example.org/red.tif", r"hosts = \['example.org'\]"),
        ("s3://someone/red.tif", "not allowed"),
        ("ftp://example.org/red.tif", "unknown kind"),
    ],
)
def test_addresses_that_lead_elsewhere_are_refused(tmp_path, href, why):
    made = feature(0)
    made["assets"]["red"]["href"] = href
    skipped: list[Skipped] = []
    catalog = write_catalog(tmp_path, [made])
    with pytest.raises(NoDataError, match="1 by damage left out"):
        find(catalog, on_skipped=skipped.append)
    assert [re.search(why, one.why) is not None for one in skipped] == [True]


def test_a_host_named_in_the_source_is_allowed(tmp_path):
    made = feature(0)
    made["assets"]["red"]["href"] = "https://example.org/red.tif"
    catalog = write_catalog(tmp_path, [made])
    assert sources.assets(find(catalog, hosts=["example.org"])[0])["red"] == (
        "https://example.org/red.tif"
    )


def test_a_missing_catalog_is_told_with_its_path(tmp_path):
    with pytest.raises(InputError, match=r"catalog .*nowhere\.json does not exist"):
        find(tmp_path / "nowhere.json")


def test_a_folder_without_a_catalog_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"holds none of catalog\.json.*lesniva archive index"):
        find(tmp_path)


def test_an_empty_catalog_is_no_data(tmp_path):
    with pytest.raises(NoDataError, match="gave no items"):
        find(write_catalog(tmp_path, []))


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"type": "Topology"}', '{"a": 1}'])
def test_what_is_no_catalog_is_refused(tmp_path, content):
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(InputError, match=r"no JSON|no STAC"):
        find(tmp_path)


def test_all_faults_of_a_question_come_in_one_message(tmp_path):
    with pytest.raises(InputError) as caught:
        find(
            tmp_path,
            start="2021-05-01",
            end="2020-05-01",
            max_cloud=120,
            months=[13],
            tiles=["37ABC"],
            bbox=(52, 39, 53, 200),
            relative_orbit=0,
        )
    for fault in ("is after end", "max_cloud is 120", "month 13", "'37ABC'", "bbox", "orbit 0"):
        assert fault in str(caught.value)


def test_four_hundred_items_load_in_under_one_and_a_half_seconds(tmp_path):
    catalog = write_catalog(tmp_path, [feature(number) for number in range(400)])
    started = time.perf_counter()
    assert len(find(catalog, bbox=(38, 51, 40, 53))) == 400
    assert time.perf_counter() - started < 1.5
