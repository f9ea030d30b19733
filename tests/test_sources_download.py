"""Whole files of CDSE over a real connection: right, verified, and the token stays at home."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from lesniva.errors import CredentialsError, SourceError, UnreadableSceneError
from lesniva.sources import download, remote
from lesniva.sources import sentinelhub as hub
from scenes import grid, numbers, outline
from servers import cdse
from servers import sentinelhub as stub
from servers.loopback import Answer, Fault, Server, serving

GROUND = grid(64, 64)
TRUTH = numbers(64, 64)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    with rasterio.open(
        folder / "T37UDB_B04_10m.jp2",
        "w",
        driver="JP2OpenJPEG",
        QUALITY="100",
        REVERSIBLE="YES",
        width=64,
        height=64,
        count=1,
        dtype="uint16",
        crs=str(GROUND.crs),
        transform=GROUND.affine,
    ) as file:
        file.write(TRUTH, 1)
    return folder


@pytest.fixture
def tokens() -> stub.SentinelHub:
    return stub.SentinelHub()


@pytest.fixture
def server(files: Path, tokens: stub.SentinelHub) -> Iterator[Server]:
    with serving(cdse.data_space(files, [], tokens)) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "TIMEOUT", (1.0, 1.0))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CDSE_USERNAME", "CDSE_PASSWORD", "SH_CLIENT_ID", "SH_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)


def service_of(server: Server) -> hub.Service:
    return hub.Service(hub.Account(server.url, f"{server.url}/token", "client", stub.SECRET))


def item_of(files: Path, home: str, **stated: Any) -> pystac.Item:
    place = outline(GROUND)
    item = pystac.Item(
        "scene",
        place.__geo_interface__,
        list(place.bounds),
        datetime(2024, 6, 1, tzinfo=UTC),
        {"auth:schemes": cdse.SCHEMES},
    )
    fields = cdse.asset(files / "T37UDB_B04_10m.jp2", home=home) | stated
    item.add_asset("B04_10m", pystac.Asset.from_dict(fields))
    return item


def pixels(item: pystac.Item, service: hub.Service, folder: Path) -> np.ndarray:
    asset = item.assets["B04_10m"]
    return download.read(item, asset, lambda file: file.read(1), service=service, folder=folder)


def test_a_file_comes_whole_and_leaves_nothing_on_the_disk(server, files, tmp_path):
    item, service = item_of(files, server.url), service_of(server)
    for _ in range(2):
        np.testing.assert_array_equal(pixels(item, service, tmp_path / "archive"), TRUTH)
    assert len(server.asked("/token")) == 1
    assert list((tmp_path / "archive").iterdir()) == []


FAULTS = {
    "503": Fault(status=503),
    "429": Fault(status=429, headers={"Retry-After": "0"}),
    "reset": Fault(reset=True),
    "short": Fault(short=True),
    "zeros": Fault(zeros=True),
    "html": Fault(body=b"<html>maintenance</html>"),
    "expired": Fault(status=401),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_changes_no_pixel(server, files, tmp_path, fault):
    item, service = item_of(files, server.url), service_of(server)
    failing = iter([fault])
    server.always = lambda request: None if request.path == "/token" else next(failing, None)
    np.testing.assert_array_equal(pixels(item, service, tmp_path), TRUTH)
    assert len(server.asked("/token")) == (2 if fault.status == 401 else 1)
    assert len(server.log) <= 4


def test_a_file_that_never_agrees_with_its_checksum_is_named(server, files, tmp_path):
    item = item_of(files, server.url, **{"file:checksum": "1620" + "0" * 64})
    with pytest.raises(UnreadableSceneError, match=r"B04_10m\.jp2\).* the answer makes no sense"):
        pixels(item, service_of(server), tmp_path / "archive")
    assert list((tmp_path / "archive").iterdir()) == []


def test_a_refused_account_is_a_matter_of_credentials(server, files, tmp_path):
    server.always = lambda request: Fault(status=401) if "odata" in request.path else None
    with pytest.raises(CredentialsError, match="refuses"):
        pixels(item_of(files, server.url), service_of(server), tmp_path)
    assert len(server.log) == 4  # a token, the file, another token, the file


def test_the_token_is_sent_to_no_host_that_a_catalog_names(server, files, tmp_path):
    item = item_of(files, server.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(UnreadableSceneError, match="token is not sent; use a catalog of CDSE"):
        pixels(item, service_of(server), tmp_path)
    assert server.log == []


def test_the_token_does_not_follow_a_redirect(server, files, tmp_path, monkeypatch):
    with serving(lambda _request: Answer(200)) as other:
        elsewhere = {"Location": f"{other.url}/stolen"}
        server.always = lambda request: (
            Fault(status=302, headers=elsewhere) if "odata" in request.path else None
        )
        item = item_of(files, server.url)
        # the same host under another port: followed, but the token is left behind
        with pytest.raises(UnreadableSceneError, match="the answer makes no sense"):
            pixels(item, service_of(server), tmp_path)
        assert other.log
        assert all("authorization" not in request.headers for request in other.log)
        elsewhere["Location"] = other.url.replace("127.0.0.1", "localhost")
        other.log.clear()
        with pytest.raises(SourceError, match=r"redirects to http://localhost.* not followed"):
            pixels(item, service_of(server), tmp_path)
        assert other.log == []


def test_an_item_without_such_an_address_is_named(server, files, tmp_path):
    item = item_of(files, server.url, alternate={})
    with pytest.raises(UnreadableSceneError, match="scene offers no file that a token opens"):
        pixels(item, service_of(server), tmp_path)


def test_a_person_or_a_client_may_ask_and_nobody_is_none(server, monkeypatch):
    monkeypatch.setitem(hub.SERVICES, "cdse", (server.url, f"{server.url}/token"))
    assert download.account() is None
    monkeypatch.setenv("SH_CLIENT_ID", "client")
    monkeypatch.setenv("SH_CLIENT_SECRET", stub.SECRET)
    who = download.account()
    assert who is not None
    assert who.grant["grant_type"] == "client_credentials"
    monkeypatch.setenv("CDSE_USERNAME", "someone@example.org")
    monkeypatch.setenv("CDSE_PASSWORD", stub.SECRET)
    who = download.account()
    assert who is not None
    assert hub.Service(who).token().startswith(stub.TOKEN)
    form = server.asked("/token")[0].body.decode()
    assert "grant_type=password&client_id=cdse-public&username=someone%40example.org" in form
    assert stub.SECRET not in repr(who)
    assert "someone" not in repr(who)


def test_no_secret_is_logged(server, files, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    failing = iter([Fault(status=401), Fault(status=503)])
    server.always = lambda request: None if request.path == "/token" else next(failing, None)
    pixels(item_of(files, server.url), service_of(server), tmp_path)
    assert "503" in caplog.text
    assert stub.SECRET not in caplog.text
    assert stub.TOKEN not in caplog.text
