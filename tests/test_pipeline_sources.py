"""The same ground through every source: one changed line in the pipeline file, the same numbers."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import s3fs
import shapely
import shapely.affinity

from lesniva import cli, config, execution, pipeline
from lesniva.errors import PARTIAL, CredentialsError
from lesniva.execution import SYNCHRONOUS
from lesniva.sources import pull
from lesniva.sources import sentinelhub as hub_room
from lesniva.sources import stac as stac_room
from scenes import grid, outline, write_tif
from servers import cdse, cog, loopback, s3, sentinelhub, stac

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
SAFE = SHARED / "api_responses" / "safe_metadata"
PRODUCT = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157"
recorded = pytest.mark.skipif(
    not SAFE.is_dir(), reason="recorded metadata (../shared/data) are not here"
)

WHEN = datetime(2022, 6, 5, 8, 36, tzinfo=UTC)
TENS, TWENTIES = grid(128, 128, 10), grid(64, 64, 20)
SHIFT = 1000
"""What a provider that leaves the offset to its users has in its numbers."""

JOB = """
journey = "composite"
[area]
file = "area.geojson"
[source]
{source}
[period]
start = 2022-06-01
end = 2022-06-30
[grid]
resolution = 20
block = {block}
[composite]
period = "day"
"""


def seen(band, x, y):
    """What the sensor sees: harmonised DN or classes, the same over every 20 m."""
    number = sum(map(ord, band))
    cell = x // 20 * 3 + y // 20 * 5
    if band == "SCL":
        return ((cell + number) % 5 + 4).astype(np.uint8)
    return (100 + cell * number % 3001).astype(np.uint16)


def pixels(band, geobox):
    rows, columns = np.indices(geobox.shape) + 0.5
    x, y = geobox.affine * (columns, rows)
    return seen(band, x, y)


def write(path, band, *, shift=0, driver="COG", **options):
    geobox = TWENTIES if band == "SCL" else TENS
    values = pixels(band, geobox)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver=driver,
        height=geobox.shape[0],
        width=geobox.shape[1],
        count=1,
        dtype=values.dtype.name,
        crs=str(geobox.crs),
        transform=geobox.affine,
        **options,
    ) as file:
        file.write(values if band == "SCL" else values + np.uint16(shift), 1)


def feature(files, **stated):
    """A STAC item of one scene, as a service would answer it."""
    shape = outline(TENS)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": PRODUCT,
        "geometry": shape.__geo_interface__,
        "bbox": list(shape.bounds),
        "properties": {"datetime": WHEN.isoformat(), "s2:processing_baseline": "05.09"} | stated,
        "links": [],
        "assets": {
            key: {"href": href, "raster:bands": [{"nodata": 0, "scale": 1e-4, "offset": -0.1}]}
            for key, href in files.items()
        },
    }


def safe_product(folder):
    """A SAFE folder: recorded metadata moved to the ground of the test, lossless JPEG 2000."""
    safe = folder / f"{PRODUCT}.SAFE"
    granule = safe / "GRANULE" / "L2A_T37UDB"
    granule.mkdir(parents=True)
    ring = " ".join(f"{y} {x}" for x, y in outline(TENS).exterior.coords)
    root = (SAFE / PRODUCT / "MTD_MSIL2A.xml").read_text()
    root = re.sub(r"(<EXT_POS_LIST>).*?(</EXT_POS_LIST>)", rf"\g<1>{ring}\g<2>", root)
    tile = (SAFE / PRODUCT / "MTD_TL.xml").read_text()
    tile = re.sub(r"(<HORIZONTAL_CS_CODE>).*?(<)", r"\g<1>EPSG:32637\g<2>", tile)
    tile = re.sub(r"(<SENSING_TIME[^>]*>).*?(<)", rf"\g<1>{WHEN:%Y-%m-%dT%H:%M:%SZ}\g<2>", tile)
    (safe / "MTD_MSIL2A.xml").write_text(root)
    (granule / "MTD_TL.xml").write_text(tile)
    lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    for band, size in (("B04", "10m"), ("B08", "10m"), ("B8A", "10m"), ("SCL", "20m")):
        path = granule / "IMG_DATA" / f"R{size}" / f"T37UDB_20220605T083601_{band}_{size}.jp2"
        write(path, band, shift=SHIFT, **lossless)
    return safe


def expected():
    """NDVI of the clear pixels, by hand."""
    red, nir, scl = (pixels(band, TWENTIES).astype(float) for band in ("B04", "B08", "SCL"))
    return np.where(np.isin(scl, [4, 5, 7]), (nir - red) / (nir + red), np.nan)


def write_job(folder, source, *, block=32):
    area = shapely.to_geojson(outline(TENS).buffer(0.001))
    (folder / "area.geojson").write_text(area)
    (folder / "job.toml").write_text(JOB.format(source=source, block=block))
    return config.read(folder / "job.toml")


def ndvi(folder, source):
    return ndvi_of(write_job(folder, source), folder / "out")


def ndvi_of(job, out):
    """Run a job; NDVI on the ground of the scene."""
    report = pipeline.run(job, out, scheduler=SYNCHRONOUS)
    assert report.faults == {}
    with rasterio.open(out / "rasters" / "ndvi_2022-06-05.tif") as file:
        window = file.window(*TWENTIES.boundingbox).round()
        values = file.read(1, window=window, masked=True)
        return values.filled(0) * file.scales[0] + np.where(values.mask, np.nan, 0)


def as_it_should_be(values):
    np.testing.assert_allclose(values, expected(), atol=1.1e-4)
    return True


ASSETS = {"red": "B04", "nir": "B08", "scl": "SCL"}


@pytest.fixture(params=["earth-search-flag", "raster-offset", "baseline-only", "cdse-names"])
def dialect(request):
    """How a provider names its assets and tells of the offset: shift of the DN and the item."""
    return {
        # Earth Search v1: the offset is stated *and* already applied
        "earth-search-flag": (0, {"earthsearch:boa_offset_applied": True}, ASSETS, True),
        # Earth Search c1 and CDSE: stated and to be applied
        "raster-offset": (SHIFT, {}, ASSETS, True),
        # Planetary Computer: only the baseline tells
        "baseline-only": (SHIFT, {}, {"B04": "B04", "B08": "B08", "SCL": "SCL"}, False),
        "cdse-names": (
            SHIFT,
            {},
            {"B04_10m": "B04", "B08_10m": "B08", "SCL_20m": "SCL"},
            True,
        ),
    }[request.param]


@pytest.fixture
def service(tmp_path, dialect):
    """A STAC API of the dialect whose files are served with byte ranges."""
    shift, stated, assets, with_offset = dialect
    folder = tmp_path / "served"
    for key, band in assets.items():
        write(folder / "files" / f"{key}.tif", band, shift=shift, blocksize=128)
    item = feature({key: f"HOME/files/{key}.tif" for key in assets}, **stated)
    if not with_offset:
        for asset in item["assets"].values():
            del asset["raster:bands"]
    api, files = stac.api([item]), cog.files(folder)

    def route(request):
        return (files if request.path.startswith("/files/") else api)(request)

    with loopback.serving(route) as server:
        yield server


@pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])
def test_every_dialect_of_stac_gives_the_same_ndvi_direct_and_mirrored(tmp_path, service, mirrored):
    archive = 'archive = "archive"' if mirrored else ""
    assert as_it_should_be(ndvi(tmp_path, f'kind = "stac"\nhref = "{service.url}/"\n{archive}'))


@recorded
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_folder_of_safe_products_gives_the_same_ndvi_once_it_is_indexed(
    tmp_path, monkeypatch, capsys, packed
):
    safe = safe_product(tmp_path / "scenes")
    if packed:
        shutil.make_archive(str(safe), "zip", safe.parent, safe.name)
        shutil.rmtree(safe)
    (tmp_path / "scenes" / "half.zip").write_bytes(b"PK\x03\x04 half of a download")
    monkeypatch.setattr("sys.argv", ["lesniva", "archive", "index", str(tmp_path / "scenes")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    told = capsys.readouterr()
    assert stopped.value.code == PARTIAL
    assert "left out half.zip: " in told.err
    assert "items.json: 1 scenes from 2022-06-05 to 2022-06-05, 1 left out" in told.out
    assert as_it_should_be(ndvi(tmp_path, 'kind = "catalog"\nhref = "scenes"'))


@pytest.fixture
def hub(monkeypatch):
    """Sentinel Hub in small, looking at the same ground."""
    monkeypatch.setattr(sentinelhub, "truth", seen)
    monkeypatch.setenv("SH_CLIENT_ID", "me")
    monkeypatch.setenv("SH_CLIENT_SECRET", sentinelhub.SECRET)
    with loopback.serving(sentinelhub.SentinelHub([feature({})])) as server:
        yield server


def hub_source(hub, **more):
    extra = "".join(f"\n{key} = {value}" for key, value in more.items())
    return (
        f'kind = "sentinelhub"\nservice = "{hub.url}"\ntoken_url = "{hub.url}/token"\n'
        f'archive = "archive"\nmax_units = 10{extra}'
    )


def test_the_process_api_gives_the_same_ndvi(tmp_path, hub):
    assert as_it_should_be(ndvi(tmp_path, hub_source(hub)))


def test_an_account_is_asked_by_one_limiter_before_any_task_begins(tmp_path, hub, monkeypatch):
    made, asked = [], []

    class Limiter(hub_room.Limiter):
        def __init__(self, *rates):
            made.append(rates)
            super().__init__(*rates)

    def run_tasks(function, tasks, *, title):
        before = len(hub.log)
        done = execution.run_tasks(None, function, tasks, title=title)
        asked.append((len(tasks), before, len(hub.log)))
        return done

    monkeypatch.setattr(hub_room, "Limiter", Limiter)
    job = write_job(tmp_path, hub_source(hub), block=32)
    assert pipeline.run(job, tmp_path / "out", run_tasks=run_tasks).faults == {}
    assert len(made) == 1
    assert max(tasks for tasks, *_ in asked) >= 4
    assert {(before, after) for _, before, after in asked} == {(len(hub.log), len(hub.log))}


@pytest.fixture
def in_bucket(tmp_path, bucket):
    """A local archive, mirrored into an S3 bucket by the command line."""
    files = {"red": "B04", "nir": "B08", "scl": "SCL"}
    for key, band in files.items():
        write(tmp_path / "here" / f"{key}.tif", band, blocksize=128)
    item = feature({key: str(tmp_path / "here" / f"{key}.tif") for key in files})
    item["properties"]["earthsearch:boa_offset_applied"] = True
    found = pystac.Item.from_dict(item)
    pull.pull([found], tmp_path / "kept", area=outline(TENS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv", ["lesniva", "archive", "upload", str(tmp_path / "kept"), f"s3://{bucket}/a"]
        )
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert stopped.value.code == 0
    return f"s3://{bucket}/a"


@pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])
def test_an_archive_in_an_s3_bucket_gives_the_same_ndvi(tmp_path, caplog, in_bucket, mirrored):
    caplog.set_level(logging.DEBUG)
    archive = 'archive = "archive"' if mirrored else ""
    assert as_it_should_be(ndvi(tmp_path, f'kind = "catalog"\nhref = "{in_bucket}"\n{archive}'))
    assert s3.SECRET not in caplog.text
    assert s3.SECRET.encode() not in all_that_is_written(tmp_path)


@pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])
def test_windows_of_cdse_with_s3_keys_give_the_same_ndvi(
    tmp_path, monkeypatch, bucket, data_space, mirrored
):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setattr(stac_room, "EODATA", endpoint)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
    store = s3fs.S3FileSystem(endpoint_url=endpoint)
    if not store.exists("eodata"):
        store.mkdir("eodata")
    for path in (tmp_path / "served").glob("*.jp2"):
        store.put_file(str(path), f"eodata/Sentinel-2/1/{path.name}")
    archive = 'archive = "archive"' if mirrored else ""
    assert as_it_should_be(ndvi(tmp_path, f'kind = "stac"\nhref = "cdse"\n{archive}'))
    assert data_space.asked("/token") == []


@pytest.fixture
def data_space(tmp_path, monkeypatch):
    """CDSE in small: JPEG 2000 files behind a token."""
    folder, files = tmp_path / "served", {}
    for band, size in (("B04", "10m"), ("B08", "10m"), ("SCL", "20m")):
        path = folder / f"T37UDB_{band}_{size}.jp2"
        write(path, band, shift=SHIFT, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        files[f"{band}_{size}"] = cdse.asset(path) | {"raster:offset": -0.1, "raster:scale": 1e-4}
    item = feature({}, **{"auth:schemes": cdse.SCHEMES}) | {"assets": files}
    with loopback.serving(cdse.data_space(folder, [item], sentinelhub.SentinelHub())) as server:
        monkeypatch.setitem(stac_room.ENDPOINTS, "cdse", server.url)
        monkeypatch.setitem(hub_room.SERVICES, "cdse", (server.url, f"{server.url}/token"))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        yield server


def test_whole_files_of_cdse_behind_a_token_give_the_same_ndvi(
    tmp_path, monkeypatch, caplog, data_space
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CDSE_USERNAME", "someone@example.org")
    monkeypatch.setenv("CDSE_PASSWORD", sentinelhub.SECRET)
    source = 'kind = "stac"\nhref = "cdse"\narchive = "archive"'
    assert as_it_should_be(ndvi(tmp_path, source))
    asked = len(data_space.log)
    assert as_it_should_be(ndvi(tmp_path, source))
    again = data_space.log[asked:]
    assert not [one for one in again if one.path == "/token" or "odata" in one.path]
    written = all_that_is_written(tmp_path)
    for canary in CANARIES:
        assert canary not in caplog.text
        assert canary.encode() not in written


def test_cdse_without_any_credentials_says_which_there_are(tmp_path, monkeypatch, data_space):
    for name in ("CDSE_USERNAME", "SH_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    job = write_job(tmp_path, 'kind = "stac"\nhref = "cdse"\narchive = "archive"')
    with pytest.raises(CredentialsError, match=r"AWS_ACCESS_KEY_ID.*or name .* CDSE_USERNAME"):
        pipeline.run(job, tmp_path / "out", scheduler=SYNCHRONOUS)


CANARIES = (sentinelhub.SECRET, sentinelhub.TOKEN, "canary-signature")

LOQUACIOUS = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("numba").setLevel(logging.INFO)
from lesniva import cli, logs
logs.start = lambda *_, **__: None
sys.argv = ["lesniva", "run", "job.toml"]
cli.main()
"""
"""The command line with the debug logs of all libraries."""


def all_that_is_written(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def run_loquaciously(folder):
    """A run in processes of its own, GDAL as loquacious as it can be; what it says."""
    told = {"CPL_DEBUG": "ON", "CPL_CURL_VERBOSE": "YES", "LESNIVA_LOG": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", LOQUACIOUS],
        cwd=folder,
        env={**os.environ, **told},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("fault", [None, loopback.Fault(status=403)], ids=["well", "refused"])
def test_no_secret_of_an_account_is_in_any_log_output_or_archive(tmp_path, hub, fault):
    write_job(tmp_path, hub_source(hub), block=512)
    hub.always = lambda request: fault if request.path == "/api/v1/process" else None
    code, told = run_loquaciously(tmp_path)
    assert code == (0 if fault is None else 6)
    assert hub.asked("/token")
    assert b"DEBUG:urllib3" in told
    for canary in CANARIES:
        assert canary.encode() not in told + all_that_is_written(tmp_path)


@pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])
def test_no_signature_of_a_file_is_in_any_log_output_or_archive(tmp_path, mirrored):
    assets = {"red": "B04", "nir": "missing", "scl": "SCL"}
    for band in ("B04", "SCL"):
        write(tmp_path / "served" / "files" / f"{band}.tif", band)
    item = feature(
        {key: f"HOME/files/{name}.tif?sig=canary-signature" for key, name in assets.items()}
    )
    api, files = stac.api([item]), cog.files(tmp_path / "served")
    home = tmp_path / "home"
    home.mkdir()
    with loopback.serving(
        lambda request: (files if request.path.startswith("/files/") else api)(request)
    ) as server:
        archive = 'archive = "archive"' if mirrored else ""
        write_job(home, f'kind = "stac"\nhref = "{server.url}/"\n{archive}', block=512)
        code, told = run_loquaciously(home)
        assert server.asked("/files/missing.tif")
    assert code == 5
    assert b"canary-signature" not in told + all_that_is_written(home)


def east_half(text):
    """The same job on a part of its area."""
    west, south, east, north = outline(TENS).bounds
    clip = f"clip = [{(west + east) / 2}, {south}, {east}, {north}]"
    return text.replace('file = "area.geojson"', f'file = "area.geojson"\n{clip}')


def job_like(folder, name, change):
    (folder / name).write_text(change((folder / "job.toml").read_text()))
    return config.read(folder / name)


@pytest.fixture
def shared(tmp_path):
    """A service with all bands, and a job that mirrors it into an archive."""
    folder = tmp_path / "served"
    for band in ("B04", "B08", "B8A", "B11", "SCL"):
        write(folder / "files" / f"{band}.tif", band, shift=SHIFT, blocksize=128)
    names = {"red": "B04", "nir": "B08", "nir08": "B8A", "swir16": "B11", "scl": "SCL"}
    item = feature({key: f"HOME/files/{band}.tif" for key, band in names.items()})
    api, files = stac.api([item]), cog.files(folder)
    with loopback.serving(
        lambda request: (files if request.path.startswith("/files/") else api)(request)
    ) as server:
        job = write_job(tmp_path, f'kind = "stac"\nhref = "{server.url}/"\narchive = "archive"')
        yield job, tmp_path, server


def test_jobs_on_different_areas_share_an_archive_without_meeting(shared):
    whole, folder, server = shared
    east = job_like(folder, "east.toml", east_half)
    assert "1 acquisitions fetched" in pipeline.pull(whole)
    assert "1 acquisitions fetched" in pipeline.pull(east)
    server.log.clear()
    assert " 1 were there" in pipeline.pull(whole)
    assert " 1 were there" in pipeline.pull(east)
    assert not [request for request in server.log if request.path.startswith("/files/")]
    assert as_it_should_be(ndvi_of(whole, folder / "out"))


def test_damage_in_a_shared_archive_is_told_and_mended_from_the_command_line(
    shared, monkeypatch, capsys
):
    whole, folder, _ = shared
    pipeline.pull(whole)
    [red] = (folder / "archive").rglob("red.tif")
    red.write_bytes(red.read_bytes()[:-1] + b"x")

    def verify(*options):
        monkeypatch.setattr("sys.argv", ["lesniva", "archive", "verify", *options])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr()

    code, told = verify(str(folder / "archive"))
    assert (code, "red.tif differs from its checksum" in told.err) == (PARTIAL, True)
    assert verify(str(folder / "archive"), "--repair")[0] == 0
    assert "1 acquisitions fetched" in pipeline.pull(whole)
    code, told = verify(str(folder / "archive"))
    assert (code, told.out.strip().endswith(": whole")) == (0, True)
    code, told = verify(str(folder / "served"))
    assert (code, "holds no local archive" in told.err) == (2, True)


def test_jobs_on_the_same_area_share_files_and_add_only_their_own_bands(shared):
    ndvi_job, folder, server = shared
    pipeline.pull(ndvi_job)
    water = job_like(
        folder,
        "ndmi.toml",
        lambda text: text.replace("[composite]", '[composite]\nindex = ["ndmi"]'),
    )
    server.log.clear()
    assert "1 acquisitions fetched" in pipeline.pull(water)
    asked = {request.path for request in server.log if request.path.startswith("/files/")}
    assert asked == {"/files/B8A.tif", "/files/B11.tif"}
    server.log.clear()
    assert " 1 were there" in pipeline.pull(ndvi_job)
    assert not [request for request in server.log if request.path.startswith("/files/")]


def test_the_limit_holds_for_all_areas_of_an_archive_together(shared):
    whole, folder, _ = shared
    pipeline.pull(whole)
    east = job_like(folder, "east.toml", east_half)
    size = sum(p.stat().st_size for p in (folder / "archive").rglob("*") if p.is_file())
    assert ", 1 left out for want of room" in pipeline.pull(east, max_gb=size / 1e9)
    assert "1 acquisitions fetched" in pipeline.pull(east, max_gb=2 * size / 1e9)


def test_an_item_that_lies_about_its_offset_is_told_from_its_data(tmp_path):
    # Earth Search items of 2022-2025 are known whose flag is false although the DN are shifted
    for band in ("B04", "B08", "SCL"):
        write(tmp_path / f"{band}.tif", band)
    item = feature(
        {key: f"./{band}.tif" for key, band in ASSETS.items()},
        **{"earthsearch:boa_offset_applied": False},
    )
    (tmp_path / "item.json").write_text(json.dumps(item))
    job = write_job(tmp_path, 'kind = "catalog"\nhref = "item.json"')
    report = pipeline.run(job, tmp_path / "out", scheduler=SYNCHRONOUS)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    [warning] = run["results"]["warnings"]
    assert re.fullmatch(rf"{PRODUCT}: \d\d% of red is negative after the offset .*", warning)
    assert any(line.startswith("warning: 1 scenes may have wrong") for line in report.words)
    assert run["scenes"][0]["dn_offset"] == "-1000 (raster offset −0.1, flag false)"


@pytest.mark.parametrize("block", [16, 32, 128])
def test_a_guard_around_clouds_reaches_over_the_edges_of_blocks(tmp_path, block):
    # one cloud of a pixel of 20 m, next to the corner of blocks of every size
    clear = np.full(TWENTIES.shape, 5, dtype=np.uint8)
    clear[31, 31] = 9
    for band in ("B04", "B08"):
        write(tmp_path / f"{band}.tif", band, shift=SHIFT)
    write_tif(tmp_path / "SCL.tif", clear, TWENTIES)
    item = feature({key: f"./{band}.tif" for key, band in ASSETS.items()})
    (tmp_path / "item.json").write_text(json.dumps(item))
    job = write_job(
        tmp_path,
        'kind = "catalog"\nhref = "item.json"\n[clouds]\nguard_m = 60',
        block=block,
    )
    values = ndvi_of(job, tmp_path / "out")
    y, x = np.indices(TWENTIES.shape)
    np.testing.assert_array_equal(np.isnan(values), np.hypot(y - 31, x - 31) <= 3)


def test_an_agronomist_gets_the_ndvi_of_fields_for_few_units(tmp_path, monkeypatch, capsys, hub):
    def stats(asked):
        west = asked["input"]["bounds"]["geometry"]["coordinates"][0][0][0]
        numbers = {"mean": 0.5 if west < 600_000 else "NaN", "stDev": 0.1, "sampleCount": 9}
        stats = {**numbers, "noDataCount": 2 if west < 600_000 else 9}
        span = {"from": "2022-06-01T00:00:00Z", "to": "2022-06-11T00:00:00Z"}
        outputs = {"ndvi": {"bands": {"B0": {"stats": stats}}}}
        return {"status": "OK", "data": [{"interval": span, "outputs": outputs}]}

    hub.route.stats = stats
    fields = [outline(TENS), shapely.affinity.translate(outline(TENS), 2)]
    features = [
        {
            "type": "Feature",
            "properties": {"id": f"field-{number}", "name_en": f"Field {number}"},
            "geometry": shapely.geometry.mapping(field),
        }
        for number, field in enumerate(fields)
    ]
    (tmp_path / "fields.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )

    def zonal(max_units):
        words = ["zonal", tmp_path / "fields.geojson", "--start", "2022-06-01", "--end"]
        words += ["2022-06-10", "--max-units", max_units, "--out", tmp_path / "ndvi.csv"]
        words += ["--service", hub.url, "--token-url", f"{hub.url}/token"]
        monkeypatch.setattr("sys.argv", ["lesniva", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr()

    code, told = zonal(0)
    assert (code, hub.log) == (0, [])
    assert re.fullmatch(r"2 zones: about 0\.1 processing units\n", told.out)
    code, told = zonal(0.01)
    assert (code, hub.log) == (2, [])
    assert "2 zones would cost 0.1 processing units, more than 0.01" in told.err
    code, told = zonal(5)
    assert code == 0
    table = pd.read_csv(tmp_path / "ndvi.csv")
    assert list(table["zone_id"]) == ["field-0", "field-1"]
    assert list(table["name_en"]) == ["Field 0", "Field 1"]
    assert table["ndvi"].isna().tolist() == [False, True]
    assert list(table["pixels"]) == [7, 0]
