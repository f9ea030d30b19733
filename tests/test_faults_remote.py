"""What a server of scenes does wrong once changes no result; what it does for good is named."""

import json
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from lesniva import config, pipeline
from lesniva.cube import read
from lesniva.errors import CredentialsError, SourceError
from lesniva.execution import SYNCHRONOUS
from lesniva.sources import remote
from servers import cog
from servers.loopback import Answer, Fault, Request, Route, Server, serving
from small import AREA, CLIP, write_archive

HTML = b"<html><body>Service temporarily unavailable</body></html>"

FAULTS = {
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "429 with seconds": Fault(status=429, headers={"Retry-After": "0"}),
    "429 with milliseconds": Fault(status=429, headers={"Retry-After": "0.010"}),
    "429 with a date": Fault(status=429, headers={"Retry-After": formatdate(usegmt=True)}),
    "429 without a word": Fault(status=429),
    "reset": Fault(reset=True),
    "short body": Fault(short=True),
    "zeroed body": Fault(zeros=True),
    "stall": Fault(stall=1.5),
    "200 with HTML": Fault(status=200, body=HTML, headers={"Content-Type": "text/html"}),
    "200 with a JSON error": Fault(
        status=200, body=b'{"error": "busy"}', headers={"Content-Type": "application/json"}
    ),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Three days; everything is also found below any first folder, which GDAL has not seen yet."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, size=64, scenes_per_month={6: 1, 7: 1, 8: 1}, bands=("red", "nir"))
    catalog = json.loads((folder / "catalog.json").read_text())
    catalog["links"] = [link for link in catalog["links"] if "_2022" in link["href"]]
    assert len(catalog["links"]) == 3
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder


def below_any_folder(archive: Path) -> Route:
    files = cog.files(archive)

    def route(request: Request) -> Answer:
        path = "/" + request.path.split("/", 2)[2]
        return files(Request(**{**vars(request), "path": path}))

    return route


@pytest.fixture
def server(archive) -> Iterator[Server]:
    with serving(below_any_folder(archive)) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "TIMEOUT", (1.0, 1.0))
    monkeypatch.setattr(read, "PAUSE_SECONDS", 0.01)
    quick = {"GDAL_HTTP_RETRY_DELAY": "0.01", "GDAL_HTTP_TIMEOUT": "1"}
    monkeypatch.setattr("lesniva.sources.gdal_env", lambda _href="": quick)


def run(server: Server, folder: Path, name: str) -> tuple[Any, Path]:
    """Make one composite of all days from the server."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job.toml"
    file.write_text(
        f"""
        journey = "composite"
        [area]
        file = "{AREA}"
        clip = {list(CLIP)}
        [source]
        kind = "catalog"
        href = "{server.url}/{name}/catalog.json"
        [period]
        start = 2022-06-01
        end = 2022-08-31
        [composite]
        period = "all"
        statistic = "max"
        """
    )
    report = pipeline.run(config.read(file), folder / "out", scheduler=SYNCHRONOUS)
    return report, folder / "out"


def pixels(out: Path) -> np.ndarray:
    (path,) = (out / "rasters").glob("ndvi*.tif")
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory) -> tuple[np.ndarray, int]:
    """What comes out without faults, and of how many requests."""
    with serving(below_any_folder(archive)) as made:
        report, out = run(made, tmp_path_factory.mktemp("undisturbed"), "undisturbed")
        assert report.exit_code == 0
        return pixels(out), len(made.log)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAULTS))
def test_every_request_failing_once_changes_nothing_and_makes_no_storm(
    server, undisturbed, tmp_path, name
):
    server.fail_each_once(FAULTS[name])
    report, out = run(server, tmp_path, name.replace(" ", "-"))
    assert report.faults == {}
    np.testing.assert_array_equal(pixels(out), undisturbed[0])
    assert len(server.log) <= 3 * undisturbed[1]


def lost(request: Request) -> Fault | None:
    return Fault(status=503) if "_202207" in request.path and ".tif" in request.path else None


def test_scene_lost_for_good_is_named_the_rest_is_published_and_a_later_run_mends_it(
    server, undisturbed, tmp_path
):
    server.always = lost
    report, out = run(server, tmp_path, "lost")
    assert report.exit_code == 3
    (name,) = report.faults
    assert "_202207" in name
    run_json = json.loads((out / "run.json").read_text())
    assert run_json["outcome"] == "partial"
    assert name in run_json["results"]["faults"]
    assert (pixels(out) != undisturbed[0]).any()
    server.always = lambda _request: None
    report, out = run(server, tmp_path, "lost")
    assert report.exit_code == 0
    np.testing.assert_array_equal(pixels(out), undisturbed[0])


def test_refused_credentials_stop_the_run_at_once_and_leave_it_to_be_gone_on_with(
    server, undisturbed, tmp_path
):
    server.always = lambda request: Fault(status=401) if ".tif" in request.path else None
    with pytest.raises(CredentialsError, match=r"scene .* is refused: .*401"):
        run(server, tmp_path, "refused")
    assert len(server.log) <= undisturbed[1]
    assert not (tmp_path / "out" / "manifest.json").exists()
    server.always = lambda _request: None
    report, out = run(server, tmp_path, "refused")
    assert report.exit_code == 0
    np.testing.assert_array_equal(pixels(out), undisturbed[0])


def test_server_that_is_gone_is_a_source_error(server, tmp_path):
    server.always = lambda _request: Fault(status=503)
    with pytest.raises(SourceError, match="cannot be reached"):
        run(server, tmp_path, "gone")
