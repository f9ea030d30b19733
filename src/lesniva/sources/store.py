"""The local archive: whole acquisitions as COGs, each described by an item written last.

::

    archive/
      catalog.json            links to every item
      <id>/<id>.json          the item: written when all files stand and were read back
      <id>/red.tif …          COGs, one a band
      <id>/empty              asked for, and there was nothing (never asked again)

An acquisition without its item is not there: killed half-way, it is fetched again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from lesniva import storage
from lesniva.conventions import ATTRIBUTION
from lesniva.errors import EnvironmentFaultError
from lesniva.sources.catalog import Skipped

CATALOG = "catalog.json"
EMPTY = "empty"
MULTIHASH_SHA256 = "1220"
"""What precedes a SHA-256 in the STAC file extension's checksum: function and length."""


def missing(
    archive: Path, item_id: str, bands: Iterable[str], outline: str = ""
) -> tuple[str, ...]:
    """Name the bands of an acquisition that are not in the archive, or not whole.

    Parameters
    ----------
    archive
        Folder of the archive.
    item_id
        Id of the acquisition.
    bands
        Bands that are wanted; an acquisition that was found empty lacks none.
    outline
        What part of it is wanted (see `save`); one saved for another part does not count.

    Notes
    -----
    Sizes are compared, contents are not: `verify` does that.
    """
    folder = archive / item_id
    if (folder / EMPTY).is_file() and (folder / EMPTY).read_text() == outline:
        return ()
    held = _held(folder, outline)
    return tuple(band for band in bands if band not in held)


def _held(folder: Path, outline: str) -> dict[str, dict[str, Any]]:
    """Assets of an acquisition whose files stand."""
    item = _read_item(folder / f"{folder.name}.json")
    if item is None or item["properties"].get("lesniva:outline", "") != outline:
        return {}
    return {
        band: asset
        for band, asset in item["assets"].items()
        if (folder / asset["href"]).is_file()
        and (folder / asset["href"]).stat().st_size == asset["file:size"]
    }


def save_band(
    path: Path,
    pixels: npt.NDArray[Any],
    *,
    crs: CRS,
    transform: rasterio.Affine,
    nodata: int | None = 0,
) -> dict[str, Any]:
    """Write one band as COG, read it back, and describe it.

    Parameters
    ----------
    path
        The final name.
    pixels
        (y, x), uint16 DN or uint8 classes.
    crs, transform
        Where it is.
    nodata
        The missing value.

    Returns
    -------
    dict
        Fields of the asset: size, SHA-256, ``proj:shape`` and ``proj:transform``.

    Raises
    ------
    EnvironmentFaultError
        It cannot be written, or what is read back differs.
    """
    classes = pixels.dtype == np.uint8
    with storage.whole_file(path) as temporary:
        try:
            with rasterio.open(
                temporary,
                "w",
                driver="COG",
                height=pixels.shape[0],
                width=pixels.shape[1],
                count=1,
                dtype=pixels.dtype.name,
                nodata=nodata,
                crs=crs,
                transform=transform,
                # Half the time of deflate to write and to read, for the same size.
                compress="zstd",
                level=1,
                predictor="standard",
                blocksize=512,
                overview_resampling="nearest" if classes else "average",
                sparse_ok=True,
                num_threads="2",
            ) as file:
                file.write(pixels, 1)
        except RasterioError as error:
            raise EnvironmentFaultError(
                f"cannot write {path}: {error}; free some space or choose another folder"
            ) from error
        with rasterio.open(temporary, driver="GTiff") as file:
            whole = np.array_equal(file.read(1), pixels)
        if not whole:
            raise EnvironmentFaultError(
                f"{path} reads back differently from what was written; check the disk"
            )
        checksum = storage.sha256(temporary)
        size = temporary.stat().st_size
    return {
        "file:size": size,
        "file:checksum": MULTIHASH_SHA256 + checksum,
        "proj:shape": list(pixels.shape),
        "proj:transform": list(transform)[:6],
    }


def save(
    archive: Path,
    item: pystac.Item,
    files: Mapping[str, dict[str, Any]],
    *,
    outline: str = "",
    place: BaseGeometry,
    crs: CRS,
) -> None:
    """Write the item of an acquisition whose files stand: from now on it is in the archive.

    Bands that stood already, of the same part of the scene, stay with it.

    Parameters
    ----------
    archive
        Folder of the archive.
    item
        Where it comes from; its properties are kept. Assets named in `files` replace its own.
    files
        Band → fields of its asset; ``<band>.tif`` stands in the acquisition's folder.
    outline
        Names the part of the scene that was fetched (a digest).
    place
        That part in WGS 84.
    crs
        Projection of the files.
    """
    saved = pystac.Item(
        id=item.id,
        geometry=mapping(place),
        bbox=list(place.bounds),
        datetime=item.datetime,
        properties={
            **item.properties,
            "proj:code": crs.to_string(),
            "lesniva:outline": outline,
            "lesniva:collection": item.collection_id,
            "processing:software": {"lesniva": version("lesniva")},
            "created": datetime.now(UTC).isoformat(),
            "attribution": ATTRIBUTION,
        },
    )
    if crs.to_epsg():
        saved.properties["proj:epsg"] = crs.to_epsg()
    media = pystac.MediaType.COG
    for band, asset in _held(archive / item.id, outline).items():
        saved.add_asset(band, pystac.Asset.from_dict(asset))
    for band, fields in files.items():
        saved.add_asset(band, pystac.Asset(f"./{band}.tif", None, None, media, ["data"], fields))
    storage.write_json(
        archive / item.id / f"{item.id}.json", saved.to_dict(include_self_link=False)
    )


def save_empty(archive: Path, item_id: str, outline: str = "") -> None:
    """Remember that an acquisition was asked for and holds nothing."""
    storage.write_text(archive / item_id / EMPTY, outline)


def write_catalog(archive: Path) -> int:
    """Write ``catalog.json`` with a link to every whole item; return how many there are."""
    items = sorted(path for path in archive.glob("*/*.json") if path.stem == path.parent.name)
    links = [
        {"rel": "item", "type": "application/geo+json", "href": f"./{path.parent.name}/{path.name}"}
        for path in items
    ]
    storage.write_json(
        archive / CATALOG,
        {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": "lesniva-archive",
            "description": f"Scenes fetched by Lesniva. {ATTRIBUTION}.",
            "links": [{"rel": "root", "href": f"./{CATALOG}", "type": "application/json"}, *links],
        },
    )
    return len(items)


def verify(archive: Path, *, repair: bool = False) -> list[Skipped]:
    """Compare every file of the archive with the checksum its item states.

    Parameters
    ----------
    archive
        Folder of the archive.
    repair
        Move damaged acquisitions to ``quarantine/``, so that the next pull fetches them anew.

    Returns
    -------
    list of Skipped
        What is damaged, and how; empty when all is well.
    """
    damaged = []
    for path in sorted(archive.glob("*/*.json")):
        if path.stem != path.parent.name:
            continue
        fault = _fault(path)
        if fault is not None:
            damaged.append(Skipped(path.stem, fault))
            if repair:
                target = archive / "quarantine" / path.stem
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                path.parent.rename(target)
    if damaged and repair:
        write_catalog(archive)
    return damaged


def upload(archive: Path, address: str) -> storage.Mirrored:
    """Mirror the whole acquisitions of an archive into an object store.

    Parameters
    ----------
    archive
        Folder of the archive.
    address
        ``s3://bucket/path`` (see `storage.object_store`); ``s3://bucket/path/catalog.json`` is a
        source of kind ``catalog`` from then on.

    Raises
    ------
    LesnivaError
        As `storage.object_store`.
    """
    entries = []
    for path in sorted(archive.glob("*/*.json")):
        item = _read_item(path) if path.stem == path.parent.name else None
        if item is None:
            continue
        entries += [
            {
                "path": f"{path.stem}/{(path.parent / asset['href']).name}",
                "size": asset["file:size"],
                "sha256": asset["file:checksum"].removeprefix(MULTIHASH_SHA256),
            }
            for asset in item["assets"].values()
        ]
        entries.append(_entry(archive, path))
    return storage.mirror(archive, address, [*entries, _entry(archive, archive / CATALOG)])


def _entry(archive: Path, path: Path) -> dict[str, Any]:
    return {
        "path": path.relative_to(archive).as_posix(),
        "size": path.stat().st_size,
        "sha256": storage.sha256(path),
    }


def used_bytes(archive: Path) -> int:
    """Count the bytes of the archive on disk."""
    return sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())


def digest(*parts: object) -> str:
    """Name a part of a scene: the same for the same window and resolution."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _fault(path: Path) -> str | None:
    item = _read_item(path)
    if item is None:
        return "its item is damaged"
    for asset in item["assets"].values():
        file = path.parent / asset["href"]
        if not file.is_file():
            return f"{file.name} is missing"
        if MULTIHASH_SHA256 + storage.sha256(file) != asset.get("file:checksum"):
            return f"{file.name} differs from its checksum"
    return None


def _read_item(path: Path) -> dict[str, Any] | None:
    try:
        item = json.loads(path.read_bytes())
        whole = isinstance(item["assets"], dict) and isinstance(item["properties"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return item if whole else None
