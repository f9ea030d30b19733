"""Folders of scenes become item collections: SAFE products (folders and zips) and loose band files.

Nothing is unpacked and no pixel is read: what an item needs stands in a product's XML and in the
headers of the files. A product that is broken or half-downloaded is named and left out.
"""

import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree
import pystac
import rasterio
import shapely
from rasterio.errors import RasterioError
from shapely.affinity import translate
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from lesniva import storage
from lesniva.conventions import ASSET_KEYS
from lesniva.errors import InputError, NoDataError
from lesniva.progress import progress
from lesniva.sources import catalog, reading
from lesniva.sources.catalog import OnSkipped, Skipped
from lesniva.sources.outlines import DEGREES, project

MAX_XML_BYTES = 30_000_000
MAX_MEMBERS = 5_000
MAX_RATIO = 200
"""What a product may hold: more is no Sentinel-2 product but a trap."""

END_OF_CODESTREAM = b"\xff\xd9"
"""Last bytes of a whole JPEG 2000 file (ISO/IEC 15444-1, A.4.4)."""

_IMAGE = re.compile(
    r"(?:^|_)(?P<key>[A-Za-z0-9]+?)(?:_(?P<metres>10|20|60)m)?\.(?:jp2|tiff?)$", re.IGNORECASE
)
_DATE = re.compile(r"(?<!\d)(20\d{6})(?:T(\d{6}))?(?!\d)")
_BASELINE = re.compile(r"_N(\d{2})(\d{2})(?:_|$)")
_BANDS = {key.casefold(): band for band, keys in ASSET_KEYS.items() for key in keys[:2]}


class _BrokenProductError(ValueError):
    """A product cannot be used; the message is one line."""


BROKEN = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged product may raise: wrong or missing numbers in its XML, a zip whose
members are cut, encrypted or packed in an unknown way."""


@dataclass(frozen=True)
class _Product:
    """Where a SAFE product's members are: a folder or a zip."""

    path: Path
    sizes: dict[str, int]
    """Member (POSIX path below the product's folder) → bytes."""
    inside: str
    """Folder of the product inside its zip, empty for a folder."""

    def read(self, member: str) -> bytes:
        if self.sizes[member] > MAX_XML_BYTES:
            raise _BrokenProductError(f"{member} has {self.sizes[member]} bytes, refused")
        if self.path.is_dir():
            return (self.path / member).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.inside + member)

    def tail(self, member: str) -> bytes | None:
        """Last two bytes; None in a zip, whose directory vouches for the length."""
        if not self.path.is_dir():
            return None
        with (self.path / member).open("rb") as file:
            file.seek(max(self.sizes[member] - 2, 0))
            return file.read()

    def href(self, member: str, start: Path) -> str:
        path = PurePosixPath(os.path.relpath(self.path, start)).as_posix()
        if self.path.is_dir():
            return f"./{path}/{member}"
        return f"zip:./{path}!{self.inside}{member}"


def index(
    folder: Path, *, out: Path | None = None, on_skipped: OnSkipped = catalog.log_skipped
) -> list[pystac.Item]:
    """Find the scenes in a folder and write them down as an item collection.

    Parameters
    ----------
    folder
        Holds SAFE folders, zips of them, or band files (GeoTIFF or JPEG 2000 whose names end in a
        band: ``red.tif``, ``T37UDB_20190601T083601_B04_10m.jp2``), at any depth.
    out
        The item collection; ``items.json`` in the folder when not given. Addresses in it are
        relative, so that folder and collection may move together.
    on_skipped
        Told of every product that is broken.

    Returns
    -------
    list of pystac.Item
        What was written, rising in time; a source of kind ``catalog`` opens it.

    Raises
    ------
    InputError
        `folder` is none.
    NoDataError
        No whole scene was found.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds the scenes")
    folder = folder.resolve()
    out = (out or folder / catalog.INDEX).resolve()
    candidates = list(_candidates(folder))
    items: dict[str, pystac.Item] = {}
    with progress("indexing scenes", len(candidates)) as advance:
        for path, names in candidates:
            try:
                item = _loose(path, names, out.parent) if names else _safe(path, out.parent)
                items.setdefault(item.id, item)
            except BROKEN as error:
                told = str(error) if isinstance(error, ValueError | OSError) else repr(error)
                on_skipped(Skipped(str(path.relative_to(folder)), told))
            advance(1)
    if not items:
        raise NoDataError(
            f"no whole Sentinel-2 scene among the {len(candidates)} candidates in {folder}; "
            "expected .SAFE folders, zips of them, or files named by their band"
        )
    found = sorted(items.values(), key=lambda item: (str(item.datetime), item.id))
    collection = pystac.ItemCollection(found, clone_items=False)
    storage.write_json(out, collection.to_dict(transform_hrefs=False))
    return found


def _candidates(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Products (folder or zip, no names) and groups of loose band files (folder and names)."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        if here.suffix == ".SAFE" or any(name.upper() == "MTD_MSIL2A.XML" for name in names):
            folders.clear()
            yield here, []
            continue
        folders.sort()
        groups: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            found = _IMAGE.search(name)
            if name.endswith(".zip"):
                yield here / name, []
            elif found and _band_of(name) and storage.TEMPORARY not in name:
                groups[name[: found.start()]].append(name)
        for group in groups.values():
            yield here, group


def _safe(path: Path, start: Path) -> pystac.Item:
    """Describe a SAFE product; addresses are relative to `start`."""
    product = _open_product(path)
    root_name = _member(product, r"MTD_MSIL2A\.xml")
    tile_name = _member(product, r"GRANULE/[^/]+/MTD_TL\.xml")
    root, tile = (_xml(product, name) for name in (root_name, tile_name))
    _check_sizes(product)
    uri = _text(root, "PRODUCT_URI") or path.name
    version = _text(root, "PROCESSING_BASELINE")
    code = _text(tile, "HORIZONTAL_CS_CODE")
    stated = _text(tile, "SENSING_TIME") or _text(root, "PRODUCT_START_TIME")
    if stated is None or code is None or version is None:
        raise _BrokenProductError("its XML gives no time, projection or baseline")
    outline = _footprint(root)
    orbit = _text(root, "SENSING_ORBIT_NUMBER")
    state = _text(root, "SENSING_ORBIT_DIRECTION")
    zenith = _number(tile, "Mean_Sun_Angle/ZENITH_ANGLE")
    properties = {
        "platform": (_text(root, "SPACECRAFT_NAME") or uri[:3]).lower(),
        "constellation": "sentinel-2",
        "eo:cloud_cover": _number(root, "Cloud_Coverage_Assessment"),
        "proj:code": code,
        "proj:epsg": int(code.rpartition(":")[2]),
        "sat:relative_orbit": None if orbit is None else int(orbit),
        "sat:orbit_state": None if state is None else state.lower(),
        "view:sun_elevation": None if zenith is None else 90 - zenith,
        "view:sun_azimuth": _number(tile, "Mean_Sun_Angle/AZIMUTH_ANGLE"),
        "view:incidence_angle": _mean(tile, "Mean_Viewing_Incidence_Angle/ZENITH_ANGLE"),
        "s2:processing_baseline": version,
        "s2:product_uri": uri,
        "s2:generation_time": _text(root, "GENERATION_TIME"),
        "s2:datatake_id": _attribute(root, "Datatake", "datatakeIdentifier"),
    }
    found = re.search(r"_T(\d{2}[A-Z]{3})(?:_|\.|$)", uri)
    if found:
        properties["grid:code"] = f"MGRS-{found[1]}"
    item = pystac.Item(
        id=uri.removesuffix(".SAFE"),
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=_time(stated),
        properties={name: value for name, value in properties.items() if value is not None},
    )
    offset, scale = _radiometry(root)
    places = _geopositions(tile)
    for band, (member, metres) in _images(product).items():
        fields: dict[str, Any] = {"file:size": product.sizes[member], "gsd": metres}
        if metres in places:
            fields |= places[metres]
        if band != "scl":
            fields["raster:bands"] = [{"nodata": 0, "scale": scale, "offset": offset}]
        item.add_asset(
            band, pystac.Asset(product.href(member, start), roles=["data"], extra_fields=fields)
        )
    return item


def _open_product(path: Path) -> _Product:
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
        return _Product(path, sizes, "")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise _BrokenProductError(f"holds {len(members)} members, refused")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise _BrokenProductError("holds the same member twice, refused")
    for member in members:
        parts = PurePosixPath(member.filename).parts
        if ".." in parts or member.filename.startswith(("/", "\\")) or ":" in member.filename:
            raise _BrokenProductError(f"member {member.filename!r} leads out of the zip, refused")
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise _BrokenProductError(f"member {member.filename!r} is a link, refused")
        if member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise _BrokenProductError(f"member {member.filename!r} unpacks to too much, refused")
    root = next((name for name in names if name.upper().endswith("MTD_MSIL2A.XML")), None)
    if root is None:
        raise _BrokenProductError("holds no Level-2A product (no MTD_MSIL2A.xml)")
    inside = root[: -len("MTD_MSIL2A.xml")]
    sizes = {
        member.filename.removeprefix(inside): member.file_size
        for member in members
        if member.filename.startswith(inside) and not member.is_dir()
    }
    return _Product(path, sizes, inside)


def _member(product: _Product, pattern: str) -> str:
    found = next((m for m in product.sizes if re.fullmatch(pattern, m, re.IGNORECASE)), None)
    if found is None:
        missing = pattern.replace("\\", "").replace("[^/]+", "…")
        raise _BrokenProductError(f"is incomplete ({missing} is missing)")
    return found


def _xml(product: _Product, member: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(product.read(member), forbid_dtd=True)
    except (ParseError, defusedxml.DefusedXmlException, zipfile.BadZipFile) as error:
        raise _BrokenProductError(f"{member} cannot be read ({error})") from None
    return root


def _check_sizes(product: _Product) -> None:
    """Compare with the sizes the manifest promises; without one, look for cut images."""
    if "manifest.safe" in product.sizes:
        for part in _xml(product, "manifest.safe").iter("byteStream"):
            place = part.find("fileLocation")
            member = "" if place is None else place.get("href", "").removeprefix("./")
            promised = int(part.get("size", "0"))
            has = product.sizes.get(member, 0)
            if _band_of(PurePosixPath(member).name) is not None and has != promised:
                raise _BrokenProductError(f"{member} has {has} of {promised} bytes")
    for member in product.sizes:
        if member.endswith(".jp2") and "/IMG_DATA/" in member:
            tail = product.tail(member)
            if product.sizes[member] == 0 or (tail is not None and tail != END_OF_CODESTREAM):
                raise _BrokenProductError(f"{member} is cut ({product.sizes[member]} bytes)")


def _images(product: _Product) -> dict[str, tuple[str, int]]:
    """Band → its finest file and that file's pixel size in metres."""
    found: dict[str, tuple[str, int]] = {}
    for member in product.sizes:
        name = PurePosixPath(member).name
        band = _band_of(name)
        if band is None or "IMG_DATA/" not in member:
            continue
        metres = int(_IMAGE.search(name)["metres"] or 10)  # type: ignore[index]
        if band not in found or metres < found[band][1]:
            found[band] = (member, metres)
    missing = [band for band in ("red", "nir08", "scl") if band not in found]
    if missing:
        raise _BrokenProductError(f"is incomplete (no image of {', '.join(missing)})")
    return found


def _radiometry(root: Element) -> tuple[float, float]:
    """Offset and scale in reflectance, as the raster extension states them."""
    quantity = _number(root, "BOA_QUANTIFICATION_VALUE") or 10_000.0
    offsets = {float(element.text or 0) for element in root.iter("BOA_ADD_OFFSET")} or {0.0}
    if len(offsets) > 1:
        raise _BrokenProductError(f"has different offsets by band {sorted(offsets)}")
    return offsets.pop() / quantity, 1 / quantity


def _geopositions(tile: Element) -> dict[int, dict[str, Any]]:
    """Pixel size → ``proj:shape`` and ``proj:transform``."""
    sizes = {int(e.get("resolution", 0)): e for e in tile.iter("Size")}
    places = {}
    for place in tile.iter("Geoposition"):
        metres = int(place.get("resolution", 0))
        x, y, dx, dy = (float(place.findtext(n, "nan")) for n in ("ULX", "ULY", "XDIM", "YDIM"))
        rows, columns = (int(sizes[metres].findtext(n, "0")) for n in ("NROWS", "NCOLS"))
        places[metres] = {"proj:shape": [rows, columns], "proj:transform": [dx, 0, x, 0, dy, y]}
    return places


def _footprint(root: Element) -> BaseGeometry:
    """Outline of a product, cut at the antimeridian."""
    numbers = [float(number) for number in (_text(root, "EXT_POS_LIST") or "").split()]
    # Some products give latitude, longitude and a height of 0.
    step = 3 if numbers[2:] and not any(numbers[2::3]) else 2
    ring = [(numbers[i + 1], numbers[i]) for i in range(0, len(numbers) - 1, step)]
    if len(ring) < 4:
        raise _BrokenProductError("its XML gives no outline")
    if max(x for x, _ in ring) - min(x for x, _ in ring) <= 180:
        return shapely.make_valid(shapely.Polygon(ring))
    east = shapely.make_valid(shapely.Polygon([(x + 360 if x < 0 else x, y) for x, y in ring]))
    parts = [east & box(0, -90, 180, 90), translate(east & box(180, -90, 540, 90), -360)]
    return shapely.union_all([part for part in parts if part.area > 0])


def _loose(folder: Path, names: list[str], start: Path) -> pystac.Item:
    """Describe band files that stand side by side and share the beginning of their names."""
    found = _IMAGE.search(names[0])
    prefix = names[0][: found.start()] if found else ""
    title = prefix or folder.name
    dated = _DATE.search(title) or _DATE.search(folder.name)
    if dated is None:
        raise _BrokenProductError(f"neither {names[0]} nor its folder holds a date (YYYYMMDD)")
    assets: dict[str, tuple[float, pystac.Asset]] = {}
    covered: list[BaseGeometry] = []
    code = ""
    for name in names:
        path = folder / name
        try:
            with rasterio.open(path, driver=reading.driver_of(name)) as file:
                metres = abs(file.transform.a)
                if file.crs is None:
                    raise _BrokenProductError(f"{name} has no projection")
                code = file.crs.to_string()
                covered.append(project(box(*file.bounds), file.crs, DEGREES, step=10_000))
                fields = {
                    "proj:shape": list(file.shape),
                    "proj:transform": list(file.transform)[:6],
                    "file:size": path.stat().st_size,
                }
        except RasterioError as error:
            raise _BrokenProductError(f"{name} cannot be read ({error})") from None
        band = str(_band_of(name))
        asset = pystac.Asset(
            f"./{PurePosixPath(os.path.relpath(path, start)).as_posix()}",
            roles=["data"],
            extra_fields=fields,
        )
        if band not in assets or metres < assets[band][0]:
            assets[band] = (metres, asset)
    outline = shapely.union_all(covered)
    properties: dict[str, Any] = {"proj:code": code}
    version = _BASELINE.search(title) or _BASELINE.search(folder.name)
    if version:
        properties["s2:processing_baseline"] = f"{version[1]}.{version[2]}"
    item = pystac.Item(
        id=title,
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=_time(f"{dated[1]}T{dated[2] or '000000'}"),
        properties=properties,
    )
    for band, (_, asset) in assets.items():
        item.add_asset(band, asset)
    return item


def _band_of(name: str) -> str | None:
    found = _IMAGE.search(name)
    return _BANDS.get(found["key"].casefold()) if found else None


def _time(stated: str) -> datetime:
    when = datetime.fromisoformat(stated)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _text(root: Element, name: str) -> str | None:
    text = root.findtext(f".//{name}")
    return text.strip() if text else None


def _number(root: Element, path: str) -> float | None:
    text = _text(root, path)
    return None if text is None else float(text)


def _mean(root: Element, path: str) -> float | None:
    numbers = [float(element.text or "nan") for element in root.findall(f".//{path}")]
    return sum(numbers) / len(numbers) if numbers else None


def _attribute(root: Element, name: str, attribute: str) -> str | None:
    element = root.find(f".//{name}")
    return None if element is None else element.get(attribute)
