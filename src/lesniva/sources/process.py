"""Scenes of the Process API, pulled into a local archive piece by piece.

One request is one acquisition (datatake) on one piece of the grid: at most 2500 pixels a side, cut
along the blocks. The service returns harmonised DN (the offset of baseline 04.00 is taken off, a
negative value becomes 0); so that 0 stays "missing", a valid pixel gets at least 1.
"""

import io
import math
import re
import tarfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from lesniva.conventions import HARMONISED_PROPERTY
from lesniva.errors import InputError, SourceError
from lesniva.sources import catalog, remote, store
from lesniva.sources import pull as mirror
from lesniva.sources.catalog import OnSkipped
from lesniva.sources.outlines import DEGREES, project
from lesniva.sources.sentinelhub import SERVICES, Service

MAX_SIDE = 2500
"""Pixels a side that the service takes."""

BAND_IDS = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir16": "B11",
    "swir22": "B12",
}
"""The service's names of the bands."""

CLASS_IDS = {"scl": "SCL", "clp": "CLP"}
"""Class bands: scene classification; cloud probability (0…255), which CDSE does not offer."""

UNIT_PIXELS = 512 * 512
"""Pixels of three 16-bit bands in one processing unit."""

LEAST_UNITS = 0.005
"""No request costs less."""

MARGIN = timedelta(seconds=10)
"""Around the sensing times of an acquisition; the next one is at least minutes away."""

_DATATAKE = re.compile(r"^S2([A-D])_MSIL2A_(\d{8}T\d{6})_")


@dataclass(frozen=True)
class Task:
    """One request: an acquisition on a piece of the grid."""

    id: str
    """Stable from run to run; also the name of the item."""
    items: tuple[pystac.Item, ...]
    """Scenes of the acquisition that touch the piece."""
    piece: GeoBox


@dataclass(frozen=True)
class Estimate:
    """What a pull would cost."""

    requests: int
    units: float
    """Processing units."""


def tasks(
    items: Sequence[pystac.Item],
    geobox: GeoBox,
    *,
    block: int,
    area: BaseGeometry,
) -> list[Task]:
    """Cut a search result into requests.

    Parameters
    ----------
    items
        As `sentinelhub.search` found them.
    geobox
        The working grid.
    block
        Side of a block of the grid in pixels; pieces are whole blocks where a block fits.
    area
        Outline in WGS 84; pieces beside it are left out.

    Returns
    -------
    list of Task
        By time, then row and column.
    """
    acquisitions: dict[str, list[pystac.Item]] = defaultdict(list)
    for item in items:
        acquisitions[_acquisition(item)].append(item)
    wanted = [
        (piece, outline)
        for piece in pieces(geobox, block)
        for outline in [_in_degrees(piece)]
        if outline.intersects(area)
    ]
    found = []
    for name, scenes in sorted(acquisitions.items(), key=lambda pair: pair[0][4:]):
        outlines = [shape(scene.geometry or {}) for scene in scenes]
        for piece, outline in wanted:
            touching = tuple(
                scene
                for scene, place in zip(scenes, outlines, strict=True)
                if place.intersects(outline)
            )
            if touching:
                corner = piece.boundingbox
                where = f"{_epsg(piece)}_{corner.left:.0f}_{corner.top:.0f}"
                found.append(Task(f"{name}_{where}", touching, piece))
    return found


def pieces(geobox: GeoBox, block: int) -> list[GeoBox]:
    """Cut a grid along its blocks into pieces the service takes.

    Parameters
    ----------
    geobox
        The grid.
    block
        Side of a block in pixels; a block above `MAX_SIDE` is itself cut evenly.

    Returns
    -------
    list of GeoBox
        Row by row from the north-west; together the grid, none above `MAX_SIDE` a side.
    """
    if block <= MAX_SIDE:
        side = MAX_SIDE // block * block
    else:
        side = math.ceil(block / math.ceil(block / MAX_SIDE))
    rows, columns = geobox.shape
    return [
        geobox[row : min(row + side, rows), column : min(column + side, columns)]
        for row in range(0, rows, side)
        for column in range(0, columns, side)
    ]


def processing_units(height: int, width: int, bands: int) -> float:
    """Estimate what one request of 16-bit output costs.

    Parameters
    ----------
    height, width
        Pixels.
    bands
        Input bands; the data mask is free.

    Returns
    -------
    float
        Processing units: area / 512² × bands / 3, at least 0.01 for the area and 0.005 in all.
    """
    return max(max(height * width / UNIT_PIXELS, 0.01) * bands / 3, LEAST_UNITS)


def estimate(wanted: Sequence[Task], archive: Path, bands: Collection[str]) -> Estimate:
    """Estimate what the tasks would cost that are not in the archive yet; asks nothing."""
    missing = [(one, lacking) for one in wanted if (lacking := _lacking(one, archive, bands))]
    return Estimate(len(missing), sum(_units(one, lacking) for one, lacking in missing))


def pull(
    service: Service,
    wanted: Sequence[Task],
    archive: Path,
    *,
    bands: Collection[str],
    threads: int = 4,
    max_units: float | None = None,
    max_gb: float | None = None,
    on_skipped: OnSkipped = catalog.log_skipped,
) -> mirror.Pulled:
    """Fetch what is missing of the tasks into a local archive.

    Parameters
    ----------
    service
        Whom to ask.
    wanted
        As `tasks` made them.
    archive
        Folder of the archive; a source of kind ``catalog`` from then on.
    bands
        Names of `conventions.BANDS`, or ``clp``; ``scl`` comes with them in any case.
    threads
        Requests under way at the same time; the account's rate limit holds for all together.
    max_units
        Nothing is asked when the estimate is above.
    max_gb
        Largest size of the archive, 10⁹ bytes.
    on_skipped
        Told of every task that failed.

    Returns
    -------
    Pulled
        Counts, a task each.

    Raises
    ------
    InputError
        An unknown band, or the estimate is above `max_units`.
    CredentialsError
        The account is refused or out of quota: nothing more is asked, a later run goes on.
    SourceError
        The first tasks failed one after another.
    LockedError, EnvironmentFaultError
        As `pull.pull`.
    """
    _check_bands(service, bands)
    cost = estimate(wanted, archive, bands)
    if max_units is not None and cost.units > max_units:
        raise InputError(
            f"{cost.requests} requests would cost {cost.units:.0f} processing units, more than "
            f"max_units = {max_units:g}; shorten the period, ask for fewer bands or raise it"
        )
    fetch = partial(_fetch, service=service, archive=archive, wanted=bands)
    with mirror.filling(archive):
        return mirror.run(
            wanted, fetch, archive, threads=threads, max_gb=max_gb, on_skipped=on_skipped
        )


def evalscript(bands: Sequence[str]) -> str:
    """Write the script the service runs: 16-bit DN, at least 1 where valid, and classes."""
    reflective, classes = _split(bands)
    names = [BAND_IDS[band] for band in reflective]
    class_names = [CLASS_IDS[band] for band in classes]
    inputs = ", ".join(f'"{name}"' for name in (*names, *class_names, "dataMask"))
    values = ", ".join(f"s.dataMask * Math.max(s.{name}, 1)" for name in names)
    class_values = ", ".join(f"s.dataMask * s.{name}" for name in class_names)
    return (
        "//VERSION=3\n"
        "function setup() {\n"
        f'  return {{input: [{{bands: [{inputs}], units: "DN"}}],\n'
        f'    output: [{{id: "bands", bands: {len(names)}, sampleType: "UINT16"}},\n'
        f'      {{id: "classes", bands: {len(class_names)}, sampleType: "UINT8"}}]}};\n'
        "}\n"
        "function evaluatePixel(s) {\n"
        f"  return {{bands: [{values}], classes: [{class_values}]}};\n"
        "}\n"
    )


def request(service: Service, task: Task, bands: Sequence[str]) -> Any:
    """Build the request of a task (a ``sentinelhub.DownloadRequest``)."""
    from sentinelhub.api.process import SentinelHubRequest
    from sentinelhub.constants import CRS, MimeType
    from sentinelhub.geometry import BBox

    first, last = _span(task)
    height, width = task.piece.shape
    built = SentinelHubRequest(
        evalscript=evalscript(bands),
        input_data=[
            SentinelHubRequest.input_data(
                data_collection=service.collection(),
                time_interval=(first, last),
                other_args={"processing": {"harmonizeValues": True}},
            )
        ],
        responses=[
            SentinelHubRequest.output_response(name, MimeType.TIFF) for name in ("bands", "classes")
        ],
        bbox=BBox(task.piece.boundingbox.bbox, crs=CRS(_epsg(task.piece))),
        size=(width, height),
        config=service.config(),
    )
    return built.download_list[0]


def unpack(
    content: bytes, piece: GeoBox, bands: Sequence[str]
) -> dict[str, npt.NDArray[Any]] | None:
    """Read the tar a task is answered with; None when it is not what was asked for.

    Nothing is written to disk; only the two members asked for are looked at, and their size, type,
    projection and place must be those of the request.
    """
    reflective, classes = _split(bands)
    height, width = piece.shape
    limit = height * width * 2 * (len(bands) + 1) + 1_000_000
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members: dict[str, bytes] = {}
            for member in archive:
                if member.name in ("bands.tif", "classes.tif") and member.isfile():
                    file = archive.extractfile(member)
                    if member.size > limit or file is None or member.name in members:
                        return None
                    members[member.name] = file.read()
        pixels = _pixels(members["bands.tif"], piece, len(reflective), "uint16")
        class_pixels = _pixels(members["classes.tif"], piece, len(classes), "uint8")
    except (tarfile.TarError, KeyError, RasterioError, EOFError, OSError):
        return None
    if pixels is None or class_pixels is None:
        return None
    return dict(zip((*reflective, *classes), (*pixels, *class_pixels), strict=True))


def _pixels(content: bytes, piece: GeoBox, count: int, dtype: str) -> npt.NDArray[Any] | None:
    """All bands (band, y, x) of a GeoTIFF in memory; None when it is another one."""
    with MemoryFile(content) as memory, memory.open(driver="GTiff") as file:
        whole = (
            file.shape == tuple(piece.shape)
            and file.count == count
            and set(file.dtypes) == {dtype}
            and file.crs is not None
            and file.crs.to_epsg() == _epsg(piece)
            and file.transform.almost_equals(piece.affine, precision=1e-6)
        )
        return file.read() if whole else None


def _lacking(task: Task, archive: Path, wanted: Collection[str]) -> tuple[str, ...]:
    """Bands to ask for: those that are not in the archive, and the classes that go with any."""
    missing = store.missing(archive, task.id, _with_scl(wanted), _outline(task))
    if not missing:
        return ()
    return _with_scl(missing if _split(missing)[0] else wanted)


def _fetch(
    task: Task, *, service: Service, archive: Path, wanted: Collection[str]
) -> mirror.Pulled:
    bands = _lacking(task, archive, wanted)
    if not bands:
        return mirror.Pulled(known=1)
    outline = _outline(task)
    height, width = task.piece.shape
    reads = height * width * 2 * (len(bands) + 1)
    asked = request(service, task, bands)
    answer = service.send(
        asked,
        units=_units(task, bands),
        max_bytes=reads + 2_000_000,
        accept=lambda content: unpack(content, task.piece, bands) is not None,
    )
    read = unpack(answer.content, task.piece, bands)
    if read is None:
        raise SourceError(f"{task.id}: the answer makes no sense; try again later")
    if not any(pixels.any() for pixels in read.values()):
        store.save_empty(archive, task.id, outline)
        return mirror.Pulled(empty=1)
    crs = rasterio.CRS.from_epsg(_epsg(task.piece))
    transform = task.piece.affine
    files = {}
    for band, pixels in read.items():
        path = archive / task.id / f"{band}.tif"
        missing = None if band == "clp" else 0
        files[band] = store.save_band(path, pixels, crs=crs, transform=transform, nodata=missing)
        if band in BAND_IDS:
            files[band]["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": 0}]
    place = _in_degrees(task.piece)
    item = _describe(task, asked, answer, service)
    store.save(archive, item, files, outline=outline, place=place, crs=crs)
    return mirror.Pulled(fetched=1, bytes=sum(int(one["file:size"]) for one in files.values()))


def _describe(task: Task, asked: Any, answer: Any, service: Service) -> pystac.Item:
    clouds = [scene.properties.get("eo:cloud_cover") for scene in task.items]
    known = [float(cloud) for cloud in clouds if cloud is not None]
    headers = {name.lower(): value for name, value in answer.headers.items()}
    platforms = sorted({str(s.properties.get("platform", "sentinel-2")) for s in task.items})
    properties: dict[str, Any] = {
        "platform": platforms[0],
        "constellation": "sentinel-2",
        HARMONISED_PROPERTY: True,
        "lesniva:service": remote.redact(service.account.base_url),
        "lesniva:request": asked.post_values,
        "lesniva:derived_from": [scene.id for scene in task.items],
        "lesniva:processing_units": float(headers.get("x-processingunits-spent", "nan")),
    }
    if math.isnan(properties["lesniva:processing_units"]):
        del properties["lesniva:processing_units"]
    if known:
        properties["eo:cloud_cover"] = float(np.mean(known))
    sensed = min(scene.datetime for scene in task.items if scene.datetime)
    return pystac.Item(task.id, None, None, sensed, properties)


def _acquisition(item: pystac.Item) -> str:
    """Name a datatake: all tiles of one pass carry its start in their name."""
    found = _DATATAKE.match(item.id)
    if found:
        return f"S2{found[1]}_{found[2]}"
    platform = str(item.properties.get("platform", "sentinel-2"))[-1].upper()
    return f"S2{platform}_{item.datetime:%Y%m%dT%H%M}"


def _span(task: Task) -> tuple[datetime, datetime]:
    times = [scene.datetime for scene in task.items if scene.datetime]
    return min(times) - MARGIN, max(times) + MARGIN


def _outline(task: Task) -> str:
    return store.digest(
        "process", tuple(task.piece.shape), tuple(task.piece.affine)[:6], _epsg(task.piece)
    )


def _units(task: Task, bands: Collection[str]) -> float:
    height, width = task.piece.shape
    return processing_units(height, width, len(_with_scl(bands)))


def _with_scl(bands: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*bands, "scl")))


def _split(bands: Collection[str]) -> tuple[list[str], list[str]]:
    """Separate reflectances from classes."""
    names = _with_scl(bands)
    return [b for b in names if b in BAND_IDS], [b for b in names if b in CLASS_IDS]


def _check_bands(service: Service, bands: Collection[str]) -> None:
    known = {*BAND_IDS, *CLASS_IDS}
    if service.account.base_url == SERVICES["cdse"][0]:
        known -= {"clp"}
    unknown = [band for band in bands if band not in known]
    if unknown or not _split(bands)[0]:
        raise InputError(
            f"the service has no band {', '.join(unknown) or 'of reflectance among those asked'}; "
            f"use {', '.join(sorted(known))}"
        )


def _in_degrees(piece: GeoBox) -> BaseGeometry:
    return project(box(*piece.boundingbox.bbox), _epsg(piece), DEGREES, step=10_000)


def _epsg(piece: GeoBox) -> int:
    if piece.crs is None or piece.crs.epsg is None:
        raise InputError("the service needs a grid in a projection with an EPSG code")
    return int(piece.crs.epsg)
