"""Serving a folder: what is given, what is refused, and tiles in the colours of the raster."""

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
from io import BytesIO

import defusedxml.ElementTree
import morecantile
import numpy as np
import pytest
from PIL import Image

from lesniva import publish
from lesniva.conventions import Status
from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.publish import serve, tiles
from lesniva.publish.report import pictures
from scenes import grid, write_layer

SIDE = 64
EDGE = serve.MERCATOR_EDGE
ZOOM = 14
PIXEL = 2 * EDGE / tiles.SIZE / 2**ZOOM
COLUMN, ROW = 9_900, 5_300
WEST, NORTH = -EDGE + COLUMN * tiles.SIZE * PIXEL, EDGE - ROW * tiles.SIZE * PIXEL


def write_raster(path, layer, numbers):
    """A raster on the very pixels of a tile, with its style."""
    here = grid(SIDE, SIDE, PIXEL, west=WEST, north=NORTH, crs="EPSG:3857")
    write_layer(path, layer, numbers, here)
    known = numbers[numbers != layer.nodata]
    stats = publish.RasterStats(
        total=numbers.size,
        valid=known.size,
        minimum=int(known.min()),
        maximum=int(known.max()),
        mean=float(known.mean()),
        stddev=float(known.std()),
        classes={},
    )
    publish.write_style(path, layer, stats)
    return path


def numbers_of(name):
    rng = np.random.default_rng(7)
    layer = publish.LAYERS[name]
    if layer.kind == "classes":
        values = [*(each.value for each in layer.classes), layer.nodata]
        return rng.choice(values, size=(SIDE, SIDE))
    if layer.kind == "dates":
        return rng.choice([0, 20220511, 20220702, 20221031, 20230615], size=(SIDE, SIDE))
    return rng.choice([-2_000, 0, 1_234, 6_000, 9_999, layer.nodata], size=(SIDE, SIDE))


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA"))


@pytest.mark.parametrize("name", ["status", "ndvi", "magnitude"])
def test_pixels_of_a_tile_have_the_colours_of_the_layer(tmp_path, name):
    numbers = numbers_of(name)
    path = write_raster(tmp_path / f"{name}.tif", publish.LAYERS[name], numbers)
    tile = pixels(tiles.tile(path, ZOOM, COLUMN, ROW))
    wanted = pictures.coloured(publish.LAYERS[name], numbers)
    seen = wanted[..., 3] > 0
    np.testing.assert_array_equal(tile[:SIDE, :SIDE, 3], wanted[..., 3])
    # the colours between two stops are rounded once here, twice there
    assert np.abs(tile[:SIDE, :SIDE][seen].astype(int) - wanted[seen]).max() <= 1
    assert not tile[SIDE:].any()
    assert not tile[:, SIDE:].any()


def test_dates_of_one_month_share_a_colour_and_later_ones_have_another(tmp_path):
    numbers = numbers_of("first_anomaly")
    path = write_raster(tmp_path / "first_anomaly.tif", publish.LAYERS["first_anomaly"], numbers)
    tile = pixels(tiles.tile(path, ZOOM, COLUMN, ROW))[:SIDE, :SIDE]
    colours = {
        value: {tuple(colour) for colour in tile[numbers == value].tolist()}
        for value in np.unique(numbers).tolist()
    }
    assert all(len(each) == 1 for each in colours.values())
    assert colours[0] == {(0, 0, 0, 0)}
    assert len(set.union(*colours.values())) == len(colours)


def test_a_tile_beside_the_raster_is_transparent_and_one_that_is_none_is_refused(tmp_path):
    path = write_raster(tmp_path / "status.tif", publish.LAYERS["status"], numbers_of("status"))
    assert not pixels(tiles.tile(path, ZOOM, 0, 0)).any()
    with pytest.raises(InputError, match=r"no tile 2/4/0; zoom goes from 0 to 22"):
        tiles.tile(path, 2, 4, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [("<qgis>", "is no QGIS style"), ("<qgis/>", "has no colours by value"), (None, "needs it")],
)
def test_a_raster_without_a_usable_style_is_refused_by_name(tmp_path, text, words):
    path = write_raster(tmp_path / "status.tif", publish.LAYERS["status"], numbers_of("status"))
    style = path.with_suffix(".qml")
    style.unlink()
    if text is not None:
        style.write_text(text)
    with pytest.raises(InputError, match=rf"status\.qml.*{words}"):
        tiles.tile(path, ZOOM, COLUMN, ROW)


def test_text_under_the_name_of_a_raster_is_not_opened_as_anything_else(tmp_path):
    path = write_raster(tmp_path / "status.tif", publish.LAYERS["status"], numbers_of("status"))
    path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(InputError, match=r"status\.tif cannot be read as a GeoTIFF"):
        tiles.tile(path, ZOOM, COLUMN, ROW)


def test_tiles_lie_where_the_standard_says():
    """Against the well-known WebMercatorQuad of morecantile."""
    quad = morecantile.tms.get("WebMercatorQuad")
    root = defusedxml.ElementTree.fromstring(serve.capabilities("http://localhost:1", ["a.tif"]))
    matrices = root.findall(f".//{{{serve.WMTS}}}TileMatrix")
    assert len(matrices) == tiles.DEEPEST + 1
    for matrix in matrices:
        zoom = int(matrix.findtext(f"{{{serve.OWS}}}Identifier"))
        told = float(matrix.findtext(f"{{{serve.WMTS}}}ScaleDenominator"))
        assert told == pytest.approx(quad.matrix(zoom).scaleDenominator, rel=1e-9)
        corner = [float(x) for x in matrix.findtext(f"{{{serve.WMTS}}}TopLeftCorner").split()]
        assert corner == pytest.approx(list(quad.matrix(zoom).pointOfOrigin))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder served by the program itself; gives the folder and the port."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "out"
    write_raster(folder / "rasters" / "status.tif", publish.LAYERS["status"], numbers_of("status"))
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("<p>отчёт</p>", encoding="utf-8")
    (folder / "a & b.csv").write_text("1")
    (folder / ".lesniva").mkdir()
    (folder / ".lesniva" / "lock").write_text("secret")
    (home / "secret.txt").write_text("secret")
    shutil.copytree(folder / "rasters", home / "elsewhere")
    (folder / "link.txt").symlink_to(home / "secret.txt")
    (folder / "linked").symlink_to(home / "elsewhere")
    command = "from lesniva.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", command, "serve", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        # whoever runs the tests in the background has switched Ctrl-C off for all of them
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 no threads
    )
    line = process.stdout.readline()
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
    yield folder, port
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(timeout=30) == 0


def ask(port, path, *, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_report_files_and_tiles_are_given(served):
    _, port = served
    assert ask(port, "/report/index.html")[2].decode() == "<p>отчёт</p>"
    assert ask(port, "/a%20%26%20b.csv")[2] == b"1"
    status, headers, png = ask(port, f"/tiles/rasters/status.tif/{ZOOM}/{COLUMN}/{ROW}.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    tile = pixels(png)[:SIDE, :SIDE]
    confirmed = numbers_of("status") == Status.CONFIRMED
    assert {tuple(colour) for colour in tile[confirmed].tolist()} == {(0xD7, 0x19, 0x1C, 255)}
    part = ask(port, "/rasters/status.tif", Range="bytes=0-3")
    assert (part[0], len(part[2])) == (206, 4)


def test_the_first_page_lists_what_there_is_and_nothing_that_is_elsewhere(served):
    _, port = served
    page = ask(port, "/")[2].decode()
    assert "/report/index.html" in page
    assert "/tiles/rasters/status.tif/{z}/{x}/{y}.png" in page
    assert "linked" not in page
    assert ".lesniva" not in page


def test_wmts_names_addresses_that_answer(served):
    _, port = served
    root = defusedxml.ElementTree.fromstring(
        ask(port, "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities")[2]
    )
    (link,) = root.findall(f".//{{{serve.WMTS}}}ResourceURL")
    for name, value in {"TileMatrix": ZOOM, "TileCol": COLUMN, "TileRow": ROW}.items():
        link.set("template", link.get("template").replace(f"{{{name}}}", str(value)))
    tile = link.get("template").removeprefix(f"http://127.0.0.1:{port}")
    assert pixels(ask(port, tile)[2]).any()
    assert ask(port, "/wmts?REQUEST=GetTile&url=http://127.0.0.1/")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/report/..%2f..%2fsecret.txt",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/link.txt",
        "/linked/status.tif",
        "/.lesniva/lock",
        "/report/../.lesniva/lock",
        "/a%00b",
        "/nothing.tif",
        f"/tiles/../elsewhere/status.tif/{ZOOM}/{COLUMN}/{ROW}.png",
        f"/tiles/%2e%2e/elsewhere/status.tif/{ZOOM}/{COLUMN}/{ROW}.png",
        f"/tiles/linked/status.tif/{ZOOM}/{COLUMN}/{ROW}.png",
        f"/tiles/%2fvsicurl/http://127.0.0.1/status.tif/{ZOOM}/{COLUMN}/{ROW}.png",
        f"/tiles/http://127.0.0.1/status.tif/{ZOOM}/{COLUMN}/{ROW}.png",
        "/tiles/rasters/status.tif/99/0/0.png",
    ],
)
def test_what_is_not_in_the_folder_is_refused(served, path):
    _, port = served
    status, _, body = ask(port, path)
    assert status in (400, 403, 404)
    assert b"secret" not in body.replace(path.encode(), b"")


def test_parameters_of_a_tile_other_hosts_and_other_methods_are_refused(served):
    _, port = served
    tile = f"/tiles/rasters/status.tif/{ZOOM}/{COLUMN}/{ROW}.png"
    assert ask(port, f"{tile}?url=http://127.0.0.1/x.tif")[0] == 400
    for path in ("/", tile, "/report/index.html", "/wmts"):
        assert ask(port, path, Host="evil.example")[0] == 421
        assert ask(port, path, method="POST")[0] == 405


def test_only_the_loopback_address_listens(served):
    _, port = served
    other = socket.gethostbyname(socket.gethostname())
    if other.startswith("127."):
        pytest.skip("this machine has no address but the loopback")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((other, port), timeout=5)


def test_a_taken_port_and_a_missing_folder_are_said_in_a_line(tmp_path, served):
    _, port = served
    with pytest.raises(EnvironmentFaultError, match=rf"port {port} of 127\.0\.0\.1 cannot be used"):
        serve.serve(tmp_path, port=port, ready=print)
    with pytest.raises(InputError, match="is no folder; give the output folder of a run"):
        serve.serve(tmp_path / "none", port=0, ready=print)
