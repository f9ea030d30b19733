"""GDAL over a real connection: faults that pass do pass, in one process, for few requests."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from lesniva.cube import Access, read_day, solar_days
from lesniva.errors import CredentialsError, UnreadableSceneError
from lesniva.sources import reading, remote
from scenes import grid, scene_of
from servers import cog, s3
from servers.loopback import Answer, Fault, Request, Server, serving

WINDOW = Window(300, 700, 400, 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(1)
    for name in ("red", "nir", "scl"):
        options = {"crs": "EPSG:32637", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 6e6)}
        with rasterio.open(
            folder / f"{name}.tif",
            "w",
            driver="COG",
            width=2048,
            height=2048,
            count=1,
            dtype="uint16",
            compress="deflate",
            **options,
        ) as file:
            file.write(rng.integers(1, 10_000, (2048, 2048), dtype=np.uint16), 1)
    return folder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.01)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(cog.files(folder)) as running:
        yield running


def window(address: str, addressed: Callable[[str], str] = str) -> np.ndarray:
    fast = {"GDAL_HTTP_TIMEOUT": "1", "GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_RETRY_DELAY": "0.01"}
    return reading.read(
        address, lambda file: file.read(1, window=WINDOW), options=fast, addressed=addressed
    )


def expected(folder: Path, name: str = "red") -> np.ndarray:
    with rasterio.open(folder / f"{name}.tif") as file:
        return file.read(1, window=WINDOW)


FAULTS = {
    "403": Fault(status=403),
    "404": Fault(status=404),
    "429": Fault(status=429, headers={"Retry-After": "0"}),
    "500": Fault(status=500),
    "503": Fault(status=503),
    "reset": Fault(reset=True),
    "short": Fault(short=True),
    "zeros": Fault(zeros=True),
    "html": Fault(body=b"<html>maintenance</html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_every_request_failing_once_changes_no_pixel_in_the_same_process(server, folder, fault):
    right = len(_requests_of(server, folder))
    server.log.clear()
    server.fail_each_once(fault)
    np.testing.assert_array_equal(window(f"{server.url}/nir.tif"), expected(folder, "nir"))
    # A failed header makes GDAL ask for it again; the answer to that may fail once more.
    assert len(server.log) <= 3 * right + 3


@pytest.mark.parametrize("position", range(4))
def test_a_stalled_answer_at_any_place_is_overcome(server, folder, position):
    faults = [Fault()] * position + [Fault(stall=1.5)]
    server.faults.extend(faults)
    started = time.monotonic()
    np.testing.assert_array_equal(window(f"{server.url}/red.tif"), expected(folder))
    assert time.monotonic() - started < 10


def test_a_burst_longer_than_the_tries_of_gdal_is_overcome(server, folder):
    server.faults.extend([Fault(status=503)] * 4)
    np.testing.assert_array_equal(window(f"{server.url}/red.tif"), expected(folder))


def test_a_plain_repetition_would_never_have_asked_again(server):
    """The fault of GDAL that `retry_options` answers; when this fails, it may go."""
    address = f"{server.url}/red.tif"
    server.faults.append(Fault(status=403))
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for _ in range(3):
            with pytest.raises(rasterio.errors.RasterioIOError):
                rasterio.open(address, driver="GTiff")
    assert len(server.log) == 1


def test_a_file_that_stays_broken_is_told_without_its_signature(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.always = lambda _request: Fault(status=503)
    with pytest.raises(UnreadableSceneError, match=r"red\.tif cannot be read \(.*503") as caught:
        window(f"{server.url}/red.tif?sig=canary")
    assert "503" in caplog.text
    assert "canary" not in str(caught.value) + caplog.text
    assert len(server.log) <= 3 * reading.ATTEMPTS


def test_signed_addresses_are_read_and_signed_anew_for_every_try(server, folder):
    signatures = iter(range(100))
    right = server.route

    def route(request: Request) -> Answer:
        return right(request) if request.query.get("sig") != ["0"] else Answer(403)

    server.route = route
    read = reading.read(
        f"{server.url}/red.tif",
        lambda file: file.read(1, window=WINDOW),
        addressed=lambda href: f"{href}?sig={next(signatures)}",
    )
    np.testing.assert_array_equal(read, expected(folder))


@pytest.mark.parametrize("name", ["403", "503", "reset", "short", "zeros"])
def test_a_fault_of_an_s3_store_passes_in_the_same_process(server, folder, monkeypatch, name):
    for variable, value in s3.environment(server.url).items():
        monkeypatch.setenv(variable, value)
    files = cog.files(folder)
    server.route = lambda request: files(
        replace(request, path=request.path.removeprefix(f"/fault{name}"))
    )
    server.fail_each_once(FAULTS[name])
    got = window(f"s3://fault{name}/red.tif", addressed=reading.address)
    np.testing.assert_array_equal(got, expected(folder))
    signed = [r.headers["authorization"] for r in server.log if r.path.endswith("/red.tif")]
    assert all(s3.KEY in one and s3.SECRET not in one for one in signed)


def test_redirects_to_another_host_reach_nobody(server):
    target = server.url.replace("127.0.0.1", "localhost") + "/red.tif"
    with serving(lambda _request: Answer(302, headers={"Location": target})) as hostile:
        with pytest.raises(UnreadableSceneError, match=r"sends readers to http://localhost:"):
            window(f"{hostile.url}/red.tif", addressed=reading.address)
        assert len(hostile.log) == 1
    assert server.log == []


def test_a_host_that_answers_itself_is_asked_once_a_file(server, folder):
    for _ in range(2):
        got = window(f"{server.url}/scl.tif", addressed=reading.address)
        np.testing.assert_array_equal(got, expected(folder, "scl"))
    heads = [r for r in server.log if "python-requests" in r.headers["user-agent"]]
    assert len(heads) == 1


def test_a_virtual_raster_named_tif_makes_no_request(server, tmp_path):
    vrt = (
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>/vsicurl/{server.url}/red.tif</SourceFilename>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("a.tif", "a.jp2"):
        (tmp_path / name).write_text(vrt)
        with pytest.raises(UnreadableSceneError, match="cannot be read"):
            reading.read(str(tmp_path / name), lambda file: file.read())
    assert server.log == []


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=60_000,
        height=60_000,
        count=1,
        dtype="uint8",
        tiled=True,
        sparse_ok=True,
        compress="deflate",
        crs="EPSG:32637",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 6e6),
    ):
        pass
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UnreadableSceneError, match="claims 60000 × 60000 pixels"):
        reading.read(str(path), lambda file: file.read())


def test_a_block_of_three_bands_costs_little_more_than_headers_and_tiles(server, folder):
    requests = 0
    bytes_asked = 0
    tiles = 0
    for name in ("red", "nir", "scl"):
        server.log.clear()
        window(f"{server.url}/{name}.tif")
        requests += len(server.log)
        bytes_asked += sum(_length(request) for request in server.log)
        with rasterio.open(folder / f"{name}.tif") as file:
            tiles += sum(
                int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
                for row in (1, 2)
                for col in (0, 1)
            )
    # A header of 32 KiB and the four tiles (two rows of two neighbours) of each band at least.
    assert requests <= 4 * 3
    assert bytes_asked <= 1.05 * (tiles + 3 * 32_768)


def test_a_block_of_the_cube_asks_for_no_more_than_headers_and_tiles(server, folder):
    bands = ("red", "nir", "scl")
    written = scene_of({band: f"{server.url}/{band}.tif" for band in bands})
    access = Access(
        gdal_options=reading.gdal_env(),
        address=reading.address,
        retry_options=reading.retry_options,
        redact=remote.redact_text,
    )
    # a block on four tiles, two of a row beside each other in the file: two runs of bytes a band
    block = grid(1024, 1024, 10, west=5e5 + 5120, north=6e6 - 5120)
    [day] = solar_days([written.item], {written.item.id: written.files})
    reading._elsewhere.cache_clear()
    server.log.clear()
    read_day(day, block, bands, access=access)
    asked = [request for request in server.log if request.method == "HEAD"]
    got = [request for request in server.log if request.method == "GET"]
    headers, runs, tiles = len(bands), 2 * len(bands), 0
    for band in bands:
        with rasterio.open(folder / f"{band}.tif") as file:
            tiles += sum(
                int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
                for row in (1, 2)
                for col in (1, 2)
            )
    # by GDAL for the size of a file, and of unknown hosts by us, whether they send elsewhere
    assert len(asked) == 2 * len(bands)
    assert len(got) == headers + runs
    assert sum(map(_length, got)) <= 1.05 * (tiles + headers * 32_768)


def test_local_files_are_tried_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "FIRST_WAIT", 60.0)
    with pytest.raises(UnreadableSceneError, match=r"gone\.tif cannot be read"):
        reading.read(str(tmp_path / "gone.tif"), lambda file: file.read())


def test_options_are_plain_text_and_cdse_needs_keys(monkeypatch):
    assert all(isinstance(value, str) for value in reading.gdal_env().values())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(CredentialsError, match="files of CDSE need S3 keys"):
        reading.gdal_env("cdse")


def _requests_of(server: Server, folder: Path) -> list[Request]:
    server.log.clear()
    np.testing.assert_array_equal(window(f"{server.url}/red.tif"), expected(folder))
    return list(server.log)


def _length(request: Request) -> int:
    asked = request.headers.get("range", "")
    if not asked:
        return 0
    first, last = asked.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1
