"""A folder of results on this machine's own network address: files, and tiles of the rasters.

For one person at one machine: it listens on the loopback address only, answers only those who ask
for it by that name (so that a web page cannot reach it under a name of its own), and gives nothing
but what lies in the folder.
"""

import asyncio
import html
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote
from xml.etree import ElementTree as ET

import tornado.httpserver
import tornado.web

from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.publish import tiles

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

NAMES = ("127.0.0.1", "localhost")
"""Names that the server answers to."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

WMTS = "http://www.opengis.net/wmts/1.0"
OWS = "http://www.opengis.net/ows/1.1"
XLINK = "http://www.w3.org/1999/xlink"
MERCATOR_EDGE = 20_037_508.342789244
"""Metres from the middle of web mercator to its edges."""
WMTS_PIXEL = 0.28e-3
"""Metres of a pixel of the screen that scale denominators are told by (OGC 07-057r7, 6.1)."""


def serve(folder: Path, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve a folder until the process is interrupted.

    Parameters
    ----------
    folder
        Output folder of a run, or one that holds several.
    port
        0: any that is free.
    ready
        Told the address when it can be asked.

    Raises
    ------
    InputError
        `folder` is none.
    EnvironmentFaultError
        The port is taken or not allowed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the output folder of a run")
    try:
        asyncio.run(_serve(folder.resolve(), port, ready))
    except KeyboardInterrupt:
        logger.info("stopped serving %s", folder)


async def _serve(folder: Path, port: int, ready: Callable[[str], None]) -> None:
    try:
        # tornado's own way leaves a socket open when the port is taken
        listening = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise EnvironmentFaultError(
            f"port {port} of {LOOPBACK} cannot be used: {error.strerror}; choose another --port"
        ) from error
    server = tornado.httpserver.HTTPServer(application(folder))
    listening.setblocking(False)
    server.add_sockets([listening])
    ready(f"http://{LOOPBACK}:{listening.getsockname()[1]}/")
    await asyncio.Event().wait()


def application(folder: Path) -> tornado.web.Application:
    """Routes over a folder (its real path)."""
    told = {"folder": folder}
    return tornado.web.Application(
        [
            (r"/", Index, told),
            (r"/wmts", Capabilities, told),
            (r"/tiles/(.+\.tif)/(\d{1,2})/(\d{1,7})/(\d{1,7})\.png", Tile, told),
            (r"/(.+)", File, {"path": str(folder)}),
        ],
        default_handler_class=tornado.web.ErrorHandler,
        default_handler_args={"status_code": 404},
        log_function=lambda handler: logger.debug(
            "%s %s", handler.get_status(), handler.request.uri
        ),
    )


def allowed(folder: Path, name: str) -> Path:
    """File of a folder by its relative name.

    Parameters
    ----------
    folder
        A real path.
    name
        With ``/`` between its parts.

    Raises
    ------
    InputError
        It is hidden, no file, or lies outside, be it by ``..`` or by a link.
    """
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") or part == "/" or "\0" in part for part in parts):
        raise InputError(f"{name} is not served; ask for a file that / lists")
    path = folder.joinpath(*parts).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise InputError(f"{name} is not in the folder; ask for a file that / lists")
    return path


def rasters(folder: Path) -> list[str]:
    """Names of the rasters of a folder that tiles can be made of, sorted."""
    names = []
    for path in folder.rglob("*.tif"):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if not hidden and path.with_suffix(".qml").is_file():
            names.append(name)
    return sorted(names)


class Handler(tornado.web.RequestHandler):
    """What holds for every answer."""

    def initialize(self, folder: Path) -> None:
        """Keep the folder."""
        self.folder = folder

    def prepare(self) -> None:
        """Refuse who does not ask for this machine by its own name."""
        _check_host(self)

    def set_default_headers(self) -> None:
        """Tell browsers to take nothing for what it is not."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def refuse(self, status: int, why: str) -> None:
        """Answer with one line that says why."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{why}\n")

    @property
    def address(self) -> str:
        """Where the server is, as the one who asks calls it."""
        return f"http://{self.request.host}"


def _check_host(handler: tornado.web.RequestHandler) -> None:
    if handler.request.host_name not in NAMES:
        raise tornado.web.HTTPError(421, reason="this address answers to localhost only")


class File(tornado.web.StaticFileHandler):
    """Files as they are, also in parts, as GDAL asks for them."""

    def prepare(self) -> None:
        """Refuse who does not ask for this machine by its own name."""
        _check_host(self)

    def set_default_headers(self) -> None:
        """Tell browsers to take nothing for what it is not."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """Refuse what is hidden, and links that lead elsewhere."""
        name = Path(absolute_path).relative_to(root).as_posix()
        try:
            return str(allowed(Path(root), name))
        except (InputError, ValueError) as error:
            raise tornado.web.HTTPError(404, reason="not in the folder") from error

    def get_content_type(self) -> str:
        """Say what a file is; text is UTF-8."""
        kind = super().get_content_type()
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class Tile(Handler):
    """Tiles by ``/tiles/RASTER.tif/{z}/{x}/{y}.png``."""

    async def get(self, name: str, zoom: str, column: str, row: str) -> None:
        """Draw a tile, beside the loop that answers."""
        if self.request.query:
            self.refuse(400, "a tile takes no parameters; its address says all")
            return
        try:
            path = allowed(self.folder, name)
        except InputError as error:
            self.refuse(404, str(error))
            return
        try:
            image = await asyncio.to_thread(tiles.tile, path, int(zoom), int(column), int(row))
        except InputError as error:
            self.refuse(404, str(error).replace(f"{self.folder}/", ""))
            return
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", "no-cache")
        self.finish(image)


class Index(Handler):
    """What there is: reports, and the addresses of tiles."""

    def get(self) -> None:
        """List it."""
        pages = sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("report/index.html")
        )
        links = "".join(f'<li><a href="/{quote(p)}">{html.escape(p)}</a></li>' for p in pages)
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(self.address)}/tiles/"
            f"{quote(name)}/{{z}}/{{x}}/{{y}}.png</code></td></tr>"
            for name in rasters(self.folder)
        )
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.finish(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Lesniva</title>"
            "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
            "padding:0 1rem}td{padding:.2rem 1rem .2rem 0}</style>"
            f"<h1>{html.escape(self.folder.name)}</h1><h2>Reports</h2><ul>{links}</ul>"
            f"<h2>Tiles (XYZ)</h2><p>WMTS: <code>{html.escape(self.address)}/wmts</code></p>"
            f"<table>{rows}</table></html>"
        )


class Capabilities(Handler):
    """WMTS 1.0.0 by addresses (RESTful), which QGIS adds with all layers at once."""

    def get(self) -> None:
        """Describe the layers; any parameters beyond those of GetCapabilities are refused."""
        allowed_words = {"service", "request", "version", "acceptversions"}
        odd = [name for name in self.request.arguments if name.lower() not in allowed_words]
        if odd or not re.fullmatch("(?i)(getcapabilities)?", self._asked("request")):
            self.refuse(400, "only GetCapabilities is answered; tiles have addresses of their own")
            return
        self.set_header("Content-Type", "application/xml; charset=utf-8")
        self.finish(capabilities(self.address, rasters(self.folder)))

    def _asked(self, name: str) -> str:
        asked = {key.lower(): values[-1] for key, values in self.request.arguments.items()}
        return asked.get(name, b"").decode("utf-8", "replace")


def capabilities(address: str, names: list[str]) -> bytes:
    """WMTS capabilities (OGC 07-057r7) of rasters.

    Parameters
    ----------
    address
        Of the server, without a slash at the end.
    names
        Of `rasters`.
    """
    for prefix, uri in (("", WMTS), ("ows", OWS), ("xlink", XLINK)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(f"{{{WMTS}}}Capabilities", version="1.0.0")
    contents = ET.SubElement(root, f"{{{WMTS}}}Contents")
    for name in names:
        layer = ET.SubElement(contents, f"{{{WMTS}}}Layer")
        ET.SubElement(layer, f"{{{OWS}}}Title").text = name.removesuffix(".tif")
        ET.SubElement(layer, f"{{{OWS}}}Identifier").text = name
        style = ET.SubElement(layer, f"{{{WMTS}}}Style", isDefault="true")
        ET.SubElement(style, f"{{{OWS}}}Identifier").text = "default"
        ET.SubElement(layer, f"{{{WMTS}}}Format").text = "image/png"
        link = ET.SubElement(layer, f"{{{WMTS}}}TileMatrixSetLink")
        ET.SubElement(link, f"{{{WMTS}}}TileMatrixSet").text = "WebMercatorQuad"
        template = f"{address}/tiles/{quote(name)}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"
        ET.SubElement(
            layer,
            f"{{{WMTS}}}ResourceURL",
            format="image/png",
            resourceType="tile",
            template=template,
        )
    matrices = ET.SubElement(contents, f"{{{WMTS}}}TileMatrixSet")
    ET.SubElement(matrices, f"{{{OWS}}}Identifier").text = "WebMercatorQuad"
    ET.SubElement(matrices, f"{{{OWS}}}SupportedCRS").text = "urn:ogc:def:crs:EPSG::3857"
    for zoom in range(tiles.DEEPEST + 1):
        pixel = 2 * MERCATOR_EDGE / tiles.SIZE / 2**zoom
        matrix = ET.SubElement(matrices, f"{{{WMTS}}}TileMatrix")
        ET.SubElement(matrix, f"{{{OWS}}}Identifier").text = str(zoom)
        for key, value in {
            "ScaleDenominator": f"{pixel / WMTS_PIXEL:.10f}",
            "TopLeftCorner": f"-{MERCATOR_EDGE} {MERCATOR_EDGE}",
            "TileWidth": str(tiles.SIZE),
            "TileHeight": str(tiles.SIZE),
            "MatrixWidth": str(2**zoom),
            "MatrixHeight": str(2**zoom),
        }.items():
            ET.SubElement(matrix, f"{{{WMTS}}}{key}").text = value
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
