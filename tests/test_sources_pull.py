"""Pulling over a real connection: the same pixels, only what is missing, nothing half-written."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.features
import shapely
from filelock import FileLock
from pyproj import Transformer
from rasterio.warp import transform_bounds
from shapely.geometry import Polygon, box

from lesniva import sources
from lesniva.cube.radiometry import dn_offset
from lesniva.errors import LockedError, SourceError
from lesniva.sources import Skipped, pull, reading, store
from servers import cog
from servers.loopback import Fault, Request, Server, serving

LEFT, TOP, SIZE = 300_000, 5_900_040, 10_240
BANDS = ("red", "nir", "scl")


def in_degrees(outline: Polygon) -> Polygon:
    to_degrees = Transformer.from_crs(32637, 4326, always_xy=True).transform
    return shapely.transform(outline, lambda xy: np.column_stack(to_degrees(*xy.T)))


AREA_UTM = Polygon(
    [(302_013, 5_892_007), (306_007, 5_892_007), (306_007, 5_894_011), (302_013, 5_898_999)]
)
AREA = in_degrees(AREA_UTM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    rng = np.random.default_rng(2)
    for number in range(6):
        for band in BANDS:
            metres, dtype = (20, np.uint8) if band == "scl" else (10, np.uint16)
            count = SIZE // metres
            pixels = rng.integers(1, 12 if band == "scl" else 9_000, (count, count), dtype=dtype)
            with rasterio.open(
                folder / f"scene{number}-{band}.tif",
                "w",
                driver="COG",
                width=count,
                height=count,
                count=1,
                dtype=np.dtype(dtype).name,
                nodata=0,
                crs="EPSG:32637",
                transform=rasterio.Affine(metres, 0, LEFT, 0, -metres, TOP),
                compress="deflate",
                blocksize=128,
                overviews="none",
            ) as file:
                file.write(pixels, 1)
    return folder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.01)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(cog.files(folder)) as running:
        yield running


def scenes(server: Server, count: int = 6) -> list[pystac.Item]:
    items = []
    outline = in_degrees(box(LEFT, TOP - SIZE, LEFT + SIZE, TOP))
    for number in range(count):
        when = datetime(2023, 6, 1, 8, tzinfo=UTC) + timedelta(days=5 * number)
        properties = {"s2:processing_baseline": "05.09", "eo:cloud_cover": 10.0}
        item = pystac.Item(
            f"scene{number}",
            outline.__geo_interface__,
            list(outline.bounds),
            when,
            properties,
        )
        for band in BANDS:
            fields: dict[str, Any] = {}
            if band != "scl":
                fields["raster:bands"] = [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]
            href = f"{server.url}/scene{number}-{band}.tif?sig=canary"
            item.add_asset(band, pystac.Asset(href, extra_fields=fields))
        items.append(item)
    return items


def fetch(items: list[pystac.Item], archive: Path, **options: Any) -> pull.Pulled:
    fast = {"GDAL_HTTP_TIMEOUT": "2", "GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_RETRY_DELAY": "0.01"}
    return pull.pull(items, archive, area=AREA, options=fast, **options)


def contents(archive: Path) -> dict[str, bytes]:
    """All files but what tells the time."""
    files = {}
    for path in sorted(archive.rglob("*")):
        if path.is_file() and path.name != ".lock" and "quarantine" not in path.parts:
            text = path.read_bytes()
            if path.suffix == ".json" and path.stem == path.parent.name:
                item = json.loads(text)
                del item["properties"]["created"]
                text = json.dumps(item).encode()
            files[path.relative_to(archive).as_posix()] = text
    return files


def test_pixels_of_the_area_are_the_source_s_and_stand_on_its_grid(server, folder, tmp_path):
    done = fetch(scenes(server, 1), tmp_path)
    assert (done.fetched, done.failed) == (1, 0)
    for band, metres in (("red", 10), ("scl", 20)):
        with (
            rasterio.open(tmp_path / "scene0" / f"{band}.tif") as mine,
            rasterio.open(folder / f"scene0-{band}.tif") as theirs,
        ):
            window = theirs.window(*mine.bounds)
            assert window == window.round_offsets().round_lengths()
            expected = theirs.read(1, window=window)
            got = mine.read(1)
            inside = rasterio.features.geometry_mask(
                [AREA_UTM], got.shape, mine.transform, all_touched=True, invert=True
            )
            np.testing.assert_array_equal(got[inside], expected[inside])
            assert set(np.unique(got[got != expected])) <= {0}
            assert (got.dtype, mine.nodata, mine.res) == (expected.dtype, 0, (metres, metres))
            assert (mine.bounds.left - LEFT) % 60 == (TOP - mine.bounds.top) % 60 == 0


def test_bands_of_different_pixel_sizes_cover_the_same_ground(server, tmp_path):
    fetch(scenes(server, 1), tmp_path)
    bounds = set()
    for band in BANDS:
        with rasterio.open(tmp_path / "scene0" / f"{band}.tif") as file:
            bounds.add(tuple(file.bounds))
    assert len(bounds) == 1


def test_the_archive_is_a_source_with_the_same_offset_and_provenance(server, tmp_path):
    items = scenes(server)
    fetch(items, tmp_path)
    found = sources.search(kind="catalog", href=str(tmp_path), area=AREA, max_cloud=50)
    assert [item.id for item in found] == [item.id for item in items]
    for mine, theirs in zip(found, items, strict=True):
        assert dn_offset(mine, "red") == dn_offset(theirs, "red")
        assert mine.properties["s2:processing_baseline"] == "05.09"
        assert mine.datetime == theirs.datetime
        red = mine.assets["red"].extra_fields
        assert red["lesniva:source"] == f"{server.url}/{mine.id}-red.tif"
        assert red["file:checksum"].startswith("1220")


def test_a_second_pull_asks_nothing_and_writes_nothing(server, tmp_path):
    items = scenes(server)
    fetch(items, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    server.log.clear()
    again = fetch(items, tmp_path)
    assert (again.known, again.fetched, server.log) == (6, 0, [])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")} == before


def test_only_the_part_of_a_scene_that_holds_the_area_is_asked_for(server, folder, tmp_path):
    fetch(scenes(server, 1), tmp_path)
    asked = sum(_length(request) for request in server.log)
    whole = sum((folder / f"scene0-{band}.tif").stat().st_size for band in BANDS)
    assert asked < 0.5 * whole


def test_another_area_is_another_part_and_is_fetched_anew(server, tmp_path):
    items = scenes(server, 1)
    fetch(items, tmp_path)
    smaller = in_degrees(box(303_000, 5_893_000, 304_000, 5_894_000))
    assert pull.pull(items, tmp_path, area=smaller).fetched == 1


def test_scenes_beside_the_area_are_remembered_as_empty(server, tmp_path):
    items = scenes(server, 2)
    beside = in_degrees(box(200_000, 5_890_000, 210_000, 5_895_000))
    assert pull.pull(items, tmp_path, area=beside).empty == 2
    server.log.clear()
    assert pull.pull(items, tmp_path, area=beside).known == 2
    assert server.log == []


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=403), Fault(reset=True), Fault(short=True), Fault(zeros=True)],
    ids=["503", "403", "reset", "short", "zeros"],
)
def test_every_request_failing_once_leaves_the_same_archive(server, tmp_path, fault):
    items = scenes(server, 2)
    fetch(items, tmp_path / "clean")
    server.fail_each_once(fault)
    done = fetch(items, tmp_path / "faulty")
    assert (done.fetched, done.failed) == (2, 0)
    assert contents(tmp_path / "clean") == contents(tmp_path / "faulty")


def test_a_scene_that_stays_broken_is_named_and_fetched_when_it_is_mended(server, tmp_path):
    def broken(request: Request) -> Fault | None:
        return Fault(status=404) if "scene2-nir" in request.path else None

    server.always = broken
    items = scenes(server)
    skipped: list[Skipped] = []
    done = fetch(items, tmp_path, on_skipped=skipped.append)
    assert (done.fetched, done.failed) == (5, 1)
    assert [one.where for one in skipped] == ["scene2"]
    assert "scene2-nir.tif cannot be read" in skipped[0].why
    assert len(sources.search(kind="catalog", href=str(tmp_path))) == 5
    server.always = lambda _request: None
    again = fetch(items, tmp_path)
    assert (again.known, again.fetched) == (5, 1)


def test_a_source_that_is_down_is_given_up_after_a_few_scenes(server, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ATTEMPTS", 2)
    server.always = lambda _request: Fault(status=503)
    skipped: list[Skipped] = []
    with pytest.raises(SourceError, match="none of the first 5 scenes could be fetched"):
        fetch(scenes(server), tmp_path, threads=1, on_skipped=skipped.append)
    assert list(tmp_path.glob("*/*.tif")) == []


def test_killed_between_files_the_next_pull_ends_with_the_same_archive(
    server, tmp_path, monkeypatch
):
    items = scenes(server, 3)
    fetch(items, tmp_path / "clean")
    for point in range(1, 9, 2):
        archive = tmp_path / f"killed-{point}"
        written = iter(range(1, 100))
        right = store.save_band

        def dying(
            path: Path, *args: Any, _written=written, _right=right, _point=point, **rest: Any
        ) -> dict[str, Any]:
            if next(_written) == _point:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f"red{store.storage.TEMPORARY}1.tif").write_bytes(b"half")
                raise KeyboardInterrupt
            return _right(path, *args, **rest)

        with monkeypatch.context() as patch:
            patch.setattr(store, "save_band", dying)
            with pytest.raises(KeyboardInterrupt):
                fetch(items, archive, threads=1)
        whole = len(list(archive.glob("*/*.json")))
        assert whole == (point - 1) // 3
        assert fetch(items, archive, threads=1).fetched == 3 - whole
        assert contents(archive) == contents(tmp_path / "clean")


def test_damage_is_found_quarantined_and_fetched_again(server, tmp_path):
    items = scenes(server, 4)
    fetch(items, tmp_path)
    clean = contents(tmp_path)
    flipped = tmp_path / "scene0" / "red.tif"
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    flipped.write_bytes(content)
    cut = tmp_path / "scene1" / "nir.tif"
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "scene2" / "scene2.json").write_text('{"assets"')
    damaged = store.verify(tmp_path, repair=True)
    assert [(one.where, one.why) for one in damaged] == [
        ("scene0", "red.tif differs from its checksum"),
        ("scene1", "nir.tif differs from its checksum"),
        ("scene2", "its item is damaged"),
    ]
    assert (tmp_path / "quarantine" / "scene0" / "red.tif").is_file()
    assert len(sources.search(kind="catalog", href=str(tmp_path))) == 1
    assert fetch(items, tmp_path).fetched == 3
    assert contents(tmp_path) == clean
    assert store.verify(tmp_path) == []


def test_the_archive_stops_growing_at_its_limit_and_says_what_is_left(server, tmp_path):
    items = scenes(server)
    size = fetch(items[:1], tmp_path / "one").bytes
    done = fetch(items, tmp_path / "some", threads=1, max_gb=2.5 * size / 1e9)
    assert (done.fetched, done.left) == (3, 3)
    more = fetch(items, tmp_path / "some", threads=1)
    assert (more.known, more.fetched, more.left) == (3, 3, 0)


def test_two_pulls_into_one_archive_are_refused(server, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(LockedError, match="another run is filling"):
        fetch(scenes(server, 1), tmp_path)


def test_a_scene_without_a_wanted_band_is_named(server, tmp_path):
    items = scenes(server, 2)
    del items[0].assets["nir"]
    skipped: list[Skipped] = []
    done = fetch(items, tmp_path, bands=["red", "nir"], on_skipped=skipped.append)
    assert (done.fetched, done.failed) == (1, 1)
    assert "scene0 has no file for nir; it has red, scl" in skipped[0].why


def test_no_signature_reaches_the_archive_or_the_log(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.always = lambda r: Fault(status=503) if "scene1" in r.path else None
    skipped: list[Skipped] = []
    fetch(scenes(server, 2), tmp_path, on_skipped=skipped.append)
    assert skipped
    assert "canary" not in caplog.text + str(skipped)
    for name, content in contents(tmp_path).items():
        assert b"canary" not in content, name


@pytest.mark.parametrize(("zone", "left"), [(36, 640_020), (37, 199_980)])
def test_an_area_across_two_zones_gets_a_window_of_each_on_the_zone_s_own_grid(zone, left):
    across = box(35.9, 52.5, 36.1, 52.9)
    crs = rasterio.CRS.from_epsg(32600 + zone)
    part = pull.part_of(across, crs, (left, 5_790_240, left + 109_800, 5_900_040))
    assert part is not None
    west, south, east, north = part.bounds
    covered = transform_bounds(crs, "EPSG:4326", *part.bounds)
    assert covered[0] < 35.91
    assert covered[2] > 36.09
    assert {(west - left) % 60, (east - left) % 60, (5_900_040 - north) % 60} == {0}
    assert south < north


def _length(request: Request) -> int:
    asked = request.headers.get("range", "")
    if not asked:
        return 0
    first, last = asked.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1
