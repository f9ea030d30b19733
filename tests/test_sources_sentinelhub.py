"""Sentinel Hub and CDSE over a real connection, with requests of the package sentinelhub."""

import io
import json
import logging
import pickle
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from sentinelhub.constants import MimeType, RequestType
from sentinelhub.download.models import DownloadRequest
from shapely.geometry import box

from lesniva import sources
from lesniva.conventions import HARMONISED_PROPERTY
from lesniva.cube.radiometry import dn_offset
from lesniva.errors import (
    CredentialsError,
    EnvironmentFaultError,
    InputError,
    NoDataError,
    SourceError,
)
from lesniva.sources import Skipped, process, remote, statistical, store
from lesniva.sources import sentinelhub as hub
from lesniva.sources.outlines import DEGREES, project
from lesniva.sources.query import query
from servers import sentinelhub as stub
from servers.loopback import Answer, Fault, Server, serving

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
GRID = GeoBox.from_bbox((300_000, 5_898_000, 302_560, 5_900_560), "EPSG:32637", resolution=10)
AREA = project(box(*GRID.boundingbox.bbox), 32637, DEGREES).buffer(-0.001)
DATATAKES = ("20230601T083559", "20230606T083601", "20230611T083559")


def feature(datatake: str, tile: str, seconds: int) -> dict[str, Any]:
    when = datetime.strptime(datatake, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    outline = box(34, 52, 38, 54)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_MSIL2A_{datatake}_N0509_R064_T{tile}_20230601T120000",
        "geometry": outline.__geo_interface__,
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": (when + timedelta(seconds=seconds)).isoformat(),
            "platform": "sentinel-2a",
            "eo:cloud_cover": 12.5,
        },
        "links": [],
        "assets": {"data": {"href": "s3://sentinel-s2-l2a/tiles/x"}},
    }


@pytest.fixture
def world() -> stub.SentinelHub:
    tiles = (("37UCU", 300), ("37UCV", 315))
    return stub.SentinelHub([feature(d, t, s) for d in DATATAKES for t, s in tiles], page=4)


@pytest.fixture
def server(world: stub.SentinelHub) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "LONGEST_WAIT", 0.5)
    monkeypatch.setattr(remote, "TIMEOUT", (1.0, 1.0))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SH_CLIENT_ID", "cid")
    monkeypatch.setenv("SH_CLIENT_SECRET", stub.SECRET)


def service_of(server: Server, **limits: float) -> hub.Service:
    limits = {"requests_per_minute": 60_000, "units_per_minute": 600_000, **limits}
    return hub.Service(hub.account(server.url, token_url=server.url + "/token", **limits))


def find(service: hub.Service) -> list[pystac.Item]:
    where = query(area=AREA, start="2023-06-01", end="2023-06-30", max_cloud=80)
    return hub.search(service, where=where)


def wanted(service: hub.Service, block: int = 128) -> list[process.Task]:
    return process.tasks(find(service), GRID, block=block, area=AREA)


def fetch(service: hub.Service, archive: Path, **options: Any) -> Any:
    options = {"bands": ("red", "nir"), **options}
    return process.pull(service, wanted(service), archive, **options)


def pixels_of(archive: Path) -> dict[str, bytes]:
    return {p.relative_to(archive).as_posix(): p.read_bytes() for p in archive.glob("*/*.tif")}


def test_the_catalog_is_asked_page_by_page_with_period_place_and_clouds(server):
    found = find(service_of(server))
    assert len(found) == 6
    first, second = (request.json() for request in server.asked("/api/v1/catalog/1.0.0/search"))
    assert first["collections"] == ["sentinel-2-l2a"]
    assert first["datetime"] == "2023-06-01T00:00:00Z/2023-06-30T23:59:59Z"
    assert first["filter"] == "eo:cloud_cover <= 80"
    assert first["bbox"] == pytest.approx(AREA.bounds)
    assert second["next"] == 4


def test_an_acquisition_is_one_request_a_piece_of_whole_blocks(server, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MAX_SIDE", 150)
    service = service_of(server)
    tasks = wanted(service)
    assert len(tasks) == 3 * 4
    assert {tuple(one.piece.shape) for one in tasks} == {(128, 128)}
    assert len({one.id for one in tasks}) == len(tasks)
    assert tasks[0].id == "S2A_20230601T083559_32637_300000_5900560"
    assert len(tasks[0].items) == 2
    process.pull(service, tasks, tmp_path, bands=("red",))
    asked = server.asked("/api/v1/process")
    assert len(asked) == 12
    payload = asked[0].json()
    left, _, right, _ = payload["input"]["bounds"]["bbox"]
    assert (right - left) / payload["output"]["width"] == 10
    assert payload["input"]["data"][0]["processing"] == {"harmonizeValues": True}
    span = payload["input"]["data"][0]["dataFilter"]["timeRange"]
    assert span == {"from": "2023-06-01T08:40:49Z", "to": "2023-06-01T08:41:24Z"}
    assert asked[0].headers["accept"] == "application/x-tar"


def test_pulled_pixels_are_the_service_s_on_the_grid_and_need_no_offset(server, tmp_path):
    service = service_of(server)
    done = fetch(service, tmp_path, bands=("red", "nir08", "clp"))
    assert (done.fetched, done.failed) == (3, 0)
    found = sources.search(kind="catalog", href=str(tmp_path), start="2023-06-01", max_cloud=20)
    item = found[0]
    assert item.datetime.isoformat() == "2023-06-01T08:40:59+00:00"
    assert item.properties[HARMONISED_PROPERTY] is True
    assert dn_offset(item, "red") == dn_offset(item, "nir08")
    assert (dn_offset(item, "red").value, dn_offset(item, "red").certain) == (0, True)
    assert len(item.properties["lesniva:derived_from"]) == 2
    assert item.properties["lesniva:processing_units"] > 0
    assert sources.assets(item).keys() == {"red", "nir08", "scl"}
    for band, name in (("red", "B04"), ("nir08", "B8A"), ("scl", "SCL"), ("clp", "CLP")):
        with rasterio.open(tmp_path / item.id / f"{band}.tif") as file:
            assert file.transform == GRID.affine
            columns, rows = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
            expected = stub.truth(name, *(GRID.affine * (columns, rows)))
            np.testing.assert_array_equal(file.read(1), expected)


def test_dark_pixels_of_the_service_are_not_taken_for_missing():
    script = process.evalscript(("red", "scl"))
    assert "bands: [s.dataMask * Math.max(s.B04, 1)]" in script
    assert "classes: [s.dataMask * s.SCL]" in script


def test_only_what_is_missing_is_asked_for(server, tmp_path):
    service = service_of(server)
    fetch(service, tmp_path)
    (tmp_path / "S2A_20230606T083601_32637_300000_5900560" / "nir.tif").unlink()
    server.log.clear()
    again = fetch(service, tmp_path)
    assert (again.known, again.fetched) == (2, 1)
    assert len(server.asked("/api/v1/process")) == 1


def test_acquisitions_without_a_pixel_are_remembered(server, world, tmp_path):
    world.empty = True
    service = service_of(server)
    assert fetch(service, tmp_path).empty == 3
    server.log.clear()
    assert fetch(service, tmp_path).known == 3
    assert server.asked("/api/v1/process") == []


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    archive = tmp_path_factory.mktemp("clean")
    hub_in_small = stub.SentinelHub([feature(one, "37UCU", 300) for one in DATATAKES])
    with serving(hub_in_small) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SH_CLIENT_ID", "cid")
        patch.setenv("SH_CLIENT_SECRET", stub.SECRET)
        fetch(service_of(server), archive, bands=("red",))
    return pixels_of(archive)


FAULTS = {
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "429 milliseconds": Fault(status=429, headers={"Retry-After": "100"}),
    "429 seconds": Fault(status=429, headers={"Retry-After": "1"}),
    "429 decimal": Fault(status=429, headers={"Retry-After": "1.5"}),
    "429 alone": Fault(status=429),
    "reset": Fault(reset=True),
    "short": Fault(short=True),
    "zeros": Fault(zeros=True),
    "html": Fault(body=b"<html></html>"),
    "json error": Fault(body=b'{"error": {"message": "internal"}}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_every_request_failing_once_leaves_the_same_archive(server, clean, tmp_path, fault):
    service = service_of(server)
    tasks = wanted(service)
    server.log.clear()
    # From here on, as the token and the catalog cannot know well-formed JSON for a fault.
    server.fail_each_once(fault)
    process.pull(service, tasks, tmp_path, bands=("red",))
    assert pixels_of(tmp_path) == clean
    assert len(server.log) == 2 * len(tasks)


@pytest.mark.parametrize("name", ["500", "429 milliseconds", "reset", "short", "html"])
def test_faults_of_token_and_catalog_pass_too(server, name):
    server.fail_each_once(FAULTS[name])
    assert len(find(service_of(server))) == 6


def test_a_retry_after_date_is_waited_for(server, tmp_path):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.faults.append(Fault(status=429, headers={"Retry-After": when}))
    assert len(find(service_of(server))) == 6


def test_a_wait_of_hours_is_a_quota_and_not_a_fault(server):
    service = service_of(server)
    service.token()
    hours = str(3 * 3600 * 1000)
    server.always = lambda _request: Fault(status=429, headers={"Retry-After": hours})
    with pytest.raises(CredentialsError, match=r"asks to wait 180 minutes .*quota is used up"):
        find(service)
    assert len(server.asked("/api/v1/catalog/1.0.0/search")) == 1


def test_a_revoked_token_is_renewed_once_and_the_request_repeated_once(server, world, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    world.revoke()
    server.log.clear()
    done = process.pull(service, tasks, tmp_path, bands=("red",), threads=3)
    assert done.fetched == 3
    assert len(server.asked("/token")) == 1
    assert len(server.asked("/api/v1/process")) <= 6


def test_a_second_refusal_stops_everything_as_a_matter_of_credentials(server, world, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    server.always = lambda r: Fault(status=401) if r.path == "/api/v1/process" else None
    with pytest.raises(CredentialsError, match=r"refuses .HTTP 401.*check the credentials"):
        process.pull(service, tasks, tmp_path, bands=("red",), threads=1)
    assert len(server.asked("/api/v1/process")) == 2


def test_a_quota_that_ends_stops_the_pull_which_a_later_run_ends(server, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    count = iter(range(100))
    quota = Fault(status=403, body=b'{"error": {"message": "out of processing units"}}')
    server.always = lambda _request: quota if next(count) >= 2 else None
    with pytest.raises(CredentialsError, match="out of processing units"):
        process.pull(service, tasks, tmp_path, bands=("red",), threads=1)
    server.always = lambda _request: None
    later = process.pull(service, tasks, tmp_path, bands=("red",))
    assert (later.known, later.fetched) == (2, 1)


def test_short_lived_tokens_are_renewed_at_half_their_life(server, world):
    world.lifetime = 0.4
    service = service_of(server)
    for _ in range(8):
        service.token()
        time.sleep(0.1)
    assert 3 <= len(server.asked("/token")) <= 5


def test_a_wrong_wall_clock_does_not_matter(server, monkeypatch):
    service = service_of(server)
    service.token()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    service.token()
    assert len(server.asked("/token")) == 1


def test_many_threads_ask_for_one_token(server):
    service = service_of(server)
    threads = [threading.Thread(target=service.token) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked("/token")) == 1


def test_threads_together_keep_the_rate_of_the_account(server, world):
    world.per_minute = 1200
    service = service_of(server, requests_per_minute=1140)
    request = DownloadRequest(
        url=server.url + "/api/v1/catalog/1.0.0/search",
        request_type=RequestType.POST,
        post_values={},
        data_type=MimeType.JSON,
    )
    service.token()
    server.log.clear()
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(service.send, [request] * 40))
    seconds = time.monotonic() - started
    assert len(server.log) <= 40 * 1.02
    assert 40 / seconds * 60 >= 0.85 * 1140


def test_units_slow_the_requests_down_as_well(server):
    service = service_of(server, units_per_minute=600)
    started = time.monotonic()
    for _ in range(3):
        service.limiter.wait(units=2.0)
    assert 0.35 <= time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("height", "width", "bands", "units"),
    [
        (512, 512, 3, 1.0),
        (2500, 2500, 3, 23.84),
        (16_472, 16_472, 2, 690.0),
        (10, 10, 1, 0.005),
        (10, 10, 3, 0.01),
    ],
)
def test_processing_units_are_as_the_price_list_says(height, width, bands, units):
    assert process.processing_units(height, width, bands) == pytest.approx(units, rel=1e-3)


def test_the_estimate_asks_nothing_and_counts_only_what_is_missing(server, world, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    server.log.clear()
    before = process.estimate(tasks, tmp_path, ("red", "nir"))
    assert server.log == []
    process.pull(service, tasks[:1], tmp_path, bands=("red", "nir"))
    after = process.estimate(tasks, tmp_path, ("red", "nir"))
    assert (before.requests, after.requests) == (3, 2)
    assert before.units - after.units == pytest.approx(world.units)


def test_nothing_is_spent_when_the_estimate_is_above_the_limit(server, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    with pytest.raises(InputError, match=r"3 requests would cost 1 processing .* max_units = 0.5"):
        process.pull(service, tasks, tmp_path, bands=("red", "nir"), max_units=0.5)
    assert server.asked("/api/v1/process") == []


@pytest.mark.parametrize("block", [100, 512, 2048, 2500, 4096, 10_980])
def test_pieces_tile_the_grid_and_stay_within_what_the_service_takes(block):
    grid = GeoBox.from_bbox((3e5, 5.7e6, 4.2e5, 5.75e6), "EPSG:32637", resolution=10)
    pieces = process.pieces(grid, block)
    assert max(max(piece.shape) for piece in pieces) <= process.MAX_SIDE
    assert sum(piece.shape[0] * piece.shape[1] for piece in pieces) == 12_000 * 5_000
    assert all(piece.boundingbox.left % 10 == 0 for piece in pieces)
    if block <= process.MAX_SIDE:
        assert all((piece.boundingbox.left - 3e5) % (block * 10) == 0 for piece in pieces)


def tar_of(**members: bytes) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in members.items():
            stub.add(archive, name.replace("_tif", ".tif"), content)
    return tar.getvalue()


def test_answers_that_are_not_what_was_asked_for_are_not_taken(tmp_path):
    shape = GRID.shape
    good = {
        "bands_tif": stub.geotiff(np.ones((1, *shape), np.uint16), 32637, GRID.affine),
        "classes_tif": stub.geotiff(np.ones((1, *shape), np.uint8), 32637, GRID.affine),
    }
    assert process.unpack(tar_of(**good), GRID, ("red",)) is not None
    shifted = GRID.affine * rasterio.Affine.translation(1, 0)
    bad = {
        "size": stub.geotiff(np.ones((1, 9, 9), np.uint16), 32637, GRID.affine),
        "count": stub.geotiff(np.ones((2, *shape), np.uint16), 32637, GRID.affine),
        "type": stub.geotiff(np.ones((1, *shape), np.float32), 32637, GRID.affine),
        "zone": stub.geotiff(np.ones((1, *shape), np.uint16), 32638, GRID.affine),
        "place": stub.geotiff(np.ones((1, *shape), np.uint16), 32637, shifted),
        "half": good["bands_tif"][: len(good["bands_tif"]) // 2],
        "text": b'{"error": "x"}',
    }
    for why, content in bad.items():
        assert process.unpack(tar_of(**{**good, "bands_tif": content}), GRID, ("red",)) is None, why
    assert process.unpack(b"", GRID, ("red",)) is None
    assert process.unpack(tar_of(bands_tif=good["bands_tif"]), GRID, ("red",)) is None


def test_tar_members_are_never_written_whatever_they_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        stub.add(archive, "../escaped.tif", b"x")
        stub.add(archive, str(tmp_path / "absolute.tif"), b"x")
        link = tarfile.TarInfo("bands.tif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert process.unpack(tar.getvalue(), GRID, ("red",)) is None
    assert list(tmp_path.parent.glob("**/escaped.tif")) == list(tmp_path.iterdir()) == []


def test_an_answer_that_never_makes_sense_is_named_and_leaves_nothing(server, tmp_path):
    service = service_of(server)
    tasks = wanted(service)
    nonsense = Fault(body=b"nonsense")
    server.always = lambda r: nonsense if b"2023-06-06" in r.body else None
    skipped: list[Skipped] = []
    done = process.pull(service, tasks, tmp_path, bands=("red",), on_skipped=skipped.append)
    assert (done.fetched, done.failed) == (2, 1)
    assert "20230606" in skipped[0].where
    assert "makes no sense after 6 tries" in skipped[0].why
    assert not list(tmp_path.glob("*20230606*"))


def test_a_disk_fault_stops_the_pull(server, tmp_path, monkeypatch):
    service = service_of(server)
    tasks = wanted(service)

    def full(*_args: Any, **_options: Any) -> None:
        raise EnvironmentFaultError("no space")

    monkeypatch.setattr(store, "save_band", full)
    with pytest.raises(EnvironmentFaultError, match="no space"):
        process.pull(service, tasks, tmp_path, bands=("red",))


def test_pages_of_the_catalog_in_a_circle_end(server, world):
    world.page = 100
    world.features = world.features * 60
    with pytest.raises(SourceError, match="run in circles after 6 items"):
        find(service_of(server))


def test_a_catalog_page_without_features_is_nonsense(server):
    body = json.dumps({"features": None, "context": {}}).encode()
    server.always = lambda r: Fault(body=body) if r.path.endswith("search") else None
    with pytest.raises(SourceError, match="a page without features"):
        find(service_of(server))


def test_unknown_bands_are_refused_with_the_known_ones(server, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no band B04; use blue, .* swir22"):
        process.pull(service_of(server), [], tmp_path, bands=("B04",))
    cdse = hub.Service(hub.account("cdse"))
    with pytest.raises(InputError, match="the service has no band clp"):
        process.pull(cdse, [], tmp_path, bands=("red", "clp"))


def test_known_services_have_their_own_addresses_and_plain_http_is_refused():
    assert hub.account("cdse").base_url == "https://sh.dataspace.copernicus.eu"
    for where in ("http://sh.example.org", "http://10.0.0.1"):
        with pytest.raises(InputError, match="no https address; credentials go nowhere else"):
            hub.account(where, token_url="https://example.org/token")  # noqa: S106
        with pytest.raises(InputError, match="no https address"):
            hub.account("https://sh.example.org", token_url=where)
    with pytest.raises(InputError, match="needs a token_url"):
        hub.account("https://sh.example.org")


def test_missing_credentials_are_told_and_no_file_is_made(monkeypatch, tmp_path):
    monkeypatch.delenv("SH_CLIENT_SECRET")
    with pytest.raises(CredentialsError, match="set SH_CLIENT_ID and SH_CLIENT_SECRET"):
        hub.account("cdse")
    assert not (tmp_path / "config").exists()


def test_a_profile_of_the_package_is_read(monkeypatch, tmp_path):
    monkeypatch.delenv("SH_CLIENT_ID")
    monkeypatch.delenv("SH_CLIENT_SECRET")
    folder = tmp_path / "config" / "sentinelhub"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[mine]\nsh_client_id = "a"\nsh_client_secret = "b"\n')
    assert hub.account("cdse", profile="mine").client_id == "a"
    with pytest.raises(CredentialsError, match=r"profile other .* cannot be read"):
        hub.account("cdse", profile="other")


def test_wrong_credentials_are_told(server, monkeypatch):
    monkeypatch.setenv("SH_CLIENT_SECRET", "wrong")
    with pytest.raises(CredentialsError, match="invalid_client"):
        find(service_of(server))


def test_a_redirected_token_request_does_not_carry_the_secret_away(server):
    with serving(lambda _request: Answer(307, headers={"Location": server.url + "/token"})) as away:
        who = hub.account(server.url, token_url=away.url.replace("127.0.0.1", "localhost") + "/t")
        with pytest.raises(SourceError, match="is not followed"):
            hub.Service(who).token()
    assert server.log == []


def test_no_secret_is_shown_logged_pickled_or_written(server, world, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    service = service_of(server)
    fetch(service, tmp_path / "archive")
    messages = []
    for status in (400, 403, 503):
        server.always = lambda r, s=status: Fault(status=s) if "process" in r.path else None
        skipped: list[Skipped] = []
        try:
            process.pull(
                service,
                wanted(service),
                tmp_path / f"other-{status}",
                bands=("red",),
                on_skipped=skipped.append,
            )
        except (CredentialsError, SourceError) as error:
            messages.append(str(error))
        messages.append(str(skipped))
    shown = "".join(messages) + caplog.text + "".join(capfd.readouterr())
    shown += repr(service.account) + str(service.config())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            shown += path.read_bytes().decode("latin-1")
    assert "canary" not in shown
    assert stub.SECRET[-4:] not in shown
    for secretive in (service, service.account):
        with pytest.raises(TypeError, match=r"credentials stay|cannot pickle"):
            pickle.dumps(secretive)


# ── Statistical API ───────────────────────────────────────────────────────────────────────────


def stats_of(mean: Any, samples: int = 100, missing: int = 10) -> dict[str, Any]:
    stats = {"mean": mean, "stDev": 0.1, "sampleCount": samples, "noDataCount": missing}
    return {"ndvi": {"bands": {"B0": {"stats": stats}}}}


def interval(day: int, **content: Any) -> dict[str, Any]:
    span = {"from": f"2023-06-{day:02d}T00:00:00Z", "to": f"2023-06-{day + 10:02d}T00:00:00Z"}
    return {"interval": span, **content}


ZONES = {"field-1": box(36.01, 53.1, 36.02, 53.11), "field-2": box(36.05, 53.1, 36.06, 53.11)}


def test_zonal_ndvi_is_one_row_a_zone_and_interval(server, world):
    world.stats = lambda _payload: {
        "status": "OK",
        "data": [
            interval(1, outputs=stats_of(0.6)),
            interval(11, outputs=stats_of("NaN", samples=100, missing=100)),
        ],
    }
    table = statistical.zonal_ndvi(
        service_of(server), ZONES, start="2023-06-01", end="2023-06-20", resolution=20
    )
    assert list(table.columns) == list(statistical.COLUMNS)
    assert table["zone_id"].tolist() == ["field-1", "field-1", "field-2", "field-2"]
    assert table["ndvi"].tolist()[:1] == [0.6]
    assert table["ndvi"].isna().tolist() == [False, True, False, True]
    assert table["pixels"].tolist() == [90, 0, 90, 0]
    assert table["start"][1] == pd.Timestamp("2023-06-11", tz="UTC")
    payload = server.asked("/api/v1/statistics")[0].json()
    assert payload["aggregation"]["aggregationInterval"] == {"of": "P10D"}
    assert payload["aggregation"]["resx"] == 20
    assert payload["input"]["bounds"]["properties"]["crs"].endswith("32637")


def test_intervals_that_failed_are_asked_again_and_only_they(server, world):
    asked: list[dict[str, Any]] = []

    def stats(payload: dict[str, Any]) -> Any:
        asked.append(payload["aggregation"]["timeRange"])
        if len(asked) == 1:
            data = [interval(1, outputs=stats_of(0.5)), interval(11, error="EXECUTION_ERROR")]
        else:
            data = [interval(11, outputs=stats_of(0.7))]
        return {"status": "PARTIAL", "data": data}

    world.stats = stats
    zones = {"field-1": ZONES["field-1"]}
    table = statistical.zonal_ndvi(service_of(server), zones, start="2023-06-01", end="2023-06-20")
    assert table["ndvi"].tolist() == [0.5, 0.7]
    assert asked[1] == {"from": "2023-06-11T00:00:00Z", "to": "2023-06-21T00:00:00Z"}
    assert len(asked) == 2


def test_zones_and_intervals_that_stay_broken_are_named(server, world):
    def stats(payload: dict[str, Any]) -> Any:
        west = payload["input"]["bounds"]["geometry"]["coordinates"][0][0][0]
        if west > 301_500:
            return {"data": None, "status": "FAILED"}
        return {"data": [interval(1, outputs=stats_of(0.5)), interval(11, error="X")]}

    world.stats = stats
    skipped: list[Skipped] = []
    table = statistical.zonal_ndvi(
        service_of(server),
        ZONES,
        start="2023-06-01",
        end="2023-06-20",
        on_skipped=skipped.append,
    )
    assert table["zone_id"].tolist() == ["field-1"]
    assert [one.where for one in skipped] == ["field-1", "field-2"]
    assert "no statistics from 2023-06-11" in skipped[0].why
    assert "FAILED" in skipped[1].why


@pytest.mark.skipif(not SHARED.is_dir(), reason="recorded responses (../shared/data) are not here")
def test_a_recorded_partial_answer_is_read(server, world):
    path = SHARED / "api_responses" / "sentinelhub" / "normal_stat_partial_result.json"
    recorded = json.loads(path.read_text())[0]
    world.stats = lambda _payload: recorded
    skipped: list[Skipped] = []
    table = statistical.zonal_ndvi(
        service_of(server),
        {"one": ZONES["field-1"]},
        start="2020-06-07",
        end="2020-06-20",
        on_skipped=skipped.append,
    )
    assert table["ndvi"].iloc[0] == pytest.approx(0.38401383599010064)
    assert table["pixels"].iloc[0] == 109
    assert "2020-06-07" in skipped[0].why


def test_no_statistics_at_all_is_no_data(server, world):
    with pytest.raises(NoDataError, match="no NDVI for any of the 2 zones"):
        statistical.zonal_ndvi(service_of(server), ZONES, start="2023-06-01", end="2023-06-20")


def test_the_cost_of_a_zone_is_estimated_from_its_box_and_its_intervals():
    outline = box(38.95, 53.1, 39.05, 53.2)  # 6.69 × 11.13 km on a zone's central meridian
    units = statistical.statistical_units(outline, days=100, interval_days=10, resolution=10)
    assert units == pytest.approx(10 * (669 * 1113) / 512**2, rel=0.02)
