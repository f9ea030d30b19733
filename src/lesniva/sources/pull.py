"""Mirror what a job needs of a source into the local archive: windows of the area, verified.

The strategy: one acquisition at a time is fetched band by band, in its own projection and on its
own pixels, as the provider's integers; its item, with the provider's properties (so that the offset
is decided as it would be at the source), is written last. What stands already is not asked for
again; what fails is named and left for the next run.
"""

import contextlib
import math
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
import shapely
from filelock import FileLock, Timeout
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from lesniva import storage
from lesniva.errors import (
    EnvironmentFaultError,
    LockedError,
    SourceError,
    UnreadableSceneError,
)
from lesniva.progress import progress
from lesniva.sources import catalog, download, reading, remote, sentinelhub, store
from lesniva.sources.catalog import OnSkipped, Skipped
from lesniva.sources.outlines import DEGREES, project

ALIGNMENT = 60.0
"""Metres: windows begin and end on multiples of it, so that bands of 10, 20 and 60 m agree."""

STRIPE = 512
"""Rows read at a time; of each stripe only the columns that the area touches."""

MEMORY = 1_000_000_000
"""Bytes of pixels held at the same time at most."""

HOPELESS = 5
"""So many failures before the first success say that the source is down."""


@dataclass(frozen=True)
class Pulled:
    """What a pull has done."""

    fetched: int = 0
    """Acquisitions written now."""
    known: int = 0
    """Acquisitions that stood already."""
    empty: int = 0
    """Acquisitions without a pixel in the area."""
    failed: int = 0
    """Acquisitions that could not be fetched; each was named."""
    left: int = 0
    """Acquisitions not tried, because the archive has reached its size."""
    bytes: int = 0
    """Size of what was written."""


@dataclass(frozen=True)
class Part:
    """What is wanted of a scene: whole pixels of all bands."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top in the scene's projection, `ALIGNMENT` apart from its edges."""
    area: BaseGeometry
    """The area in the scene's projection; pixels far outside it stay missing."""
    crs: CRS


def pull(
    items: Sequence[pystac.Item],
    archive: Path,
    *,
    area: BaseGeometry,
    bands: Collection[str] | None = None,
    threads: int = 4,
    max_gb: float | None = None,
    options: Mapping[str, str] | None = None,
    service: sentinelhub.Service | None = None,
    on_skipped: OnSkipped = catalog.log_skipped,
) -> Pulled:
    """Fetch the windows of an area from scenes of any source into a local archive.

    Parameters
    ----------
    items
        Scenes as `search` found them.
    archive
        Folder of the archive; a source of kind ``catalog`` from then on.
    area
        Outline in WGS 84.
    bands
        Names of `conventions.BANDS`; all that a scene has when not given.
    threads
        Scenes fetched at the same time.
    max_gb
        Largest size of the archive, 10⁹ bytes.
    options
        GDAL options on top of `reading.gdal_env`.
    service
        An account of CDSE with whose token files are fetched whole (`download.read`), for lack of
        keys to read windows with.
    on_skipped
        Told of every scene that could not be fetched.

    Returns
    -------
    Pulled
        Counts; with `failed` or `left` above 0 the archive is good but not complete.

    Raises
    ------
    LockedError
        Another pull is filling this archive.
    SourceError
        All scenes failed, or the first ones did one after another.
    EnvironmentFaultError
        The disk is full or cannot be written.
    """
    fetch = partial(
        _fetch, archive=archive, area=area, bands=bands, options=options or {}, service=service
    )
    with filling(archive):
        return run(items, fetch, archive, threads=threads, max_gb=max_gb, on_skipped=on_skipped)


@contextlib.contextmanager
def filling(archive: Path) -> Iterator[None]:
    """Hold the archive's lock, clear what killed runs left, and write the catalog at the end.

    The catalog is written also when the block fails: what was fetched until then is whole.
    """
    lock = FileLock(archive / ".lock")
    try:
        archive.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(
            f"another run is filling {archive}; wait for it or choose another archive"
        ) from None
    except OSError as error:
        raise EnvironmentFaultError(
            f"cannot write {archive}: {error.strerror}; choose another folder"
        ) from error
    try:
        storage.sweep(archive)
        yield
    finally:
        store.write_catalog(archive)
        lock.release()


def run(
    wanted: Sequence[Any],
    fetch: Callable[[Any], Pulled],
    archive: Path,
    *,
    threads: int,
    max_gb: float | None,
    on_skipped: OnSkipped,
) -> Pulled:
    """Fetch many acquisitions in threads, within the size of the archive, naming what fails.

    Parameters
    ----------
    wanted
        Acquisitions: anything with an ``id``.
    fetch
        Fetches one of them and says what that came to.
    archive, threads, max_gb, on_skipped
        As in `pull`.
    """
    limit = None if max_gb is None else max_gb * 1e9
    size = store.used_bytes(archive)
    total = Pulled()
    waiting: dict[Future[Pulled], Any] = {}
    rest = iter(wanted)
    with (
        progress("fetching scenes", len(wanted)) as advance,
        ThreadPoolExecutor(max(threads, 1)) as pool,
    ):
        try:
            for one in rest:
                if limit is not None and size >= limit:
                    total = replace(total, left=1 + sum(1 for _ in rest))
                    break
                waiting[pool.submit(fetch, one)] = one
                if len(waiting) >= threads:
                    total, size = _collect(waiting, total, size, on_skipped)
                    advance(1)
            while waiting:
                total, size = _collect(waiting, total, size, on_skipped)
                advance(1)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if total.failed and total.failed == len(wanted):
        raise SourceError(
            f"none of {total.failed} scenes could be fetched; each is named above with its reason"
        )
    return total


def _collect(
    waiting: dict[Future[Pulled], Any], total: Pulled, size: int, on_skipped: OnSkipped
) -> tuple[Pulled, int]:
    """Take one finished acquisition into account."""
    future = next(iter(wait(waiting, return_when=FIRST_COMPLETED).done))
    one = waiting.pop(future)
    try:
        done = future.result()
    except SourceError as error:
        on_skipped(Skipped(one.id, str(error)))
        total = replace(total, failed=total.failed + 1)
        if total.failed >= HOPELESS and not (total.fetched or total.known or total.empty):
            raise SourceError(
                f"none of the first {total.failed} scenes could be fetched, the last because "
                f"{error}"
            ) from error
        return total, size
    summed = {name: getattr(total, name) + count for name, count in vars(done).items()}
    return Pulled(**summed), size + done.bytes


def _fetch(
    item: pystac.Item,
    *,
    archive: Path,
    area: BaseGeometry,
    bands: Collection[str] | None,
    options: Mapping[str, str],
    service: sentinelhub.Service | None,
) -> Pulled:
    hrefs = catalog.assets(item)
    wanted = list(hrefs) if bands is None else list(bands)
    absent = [band for band in wanted if band not in hrefs]
    if absent or not wanted:
        raise UnreadableSceneError(
            f"scene {item.id} has no file for {', '.join(absent) or 'any band'}; "
            f"it has {', '.join(hrefs) or 'none'}"
        )
    outline = store.digest("pull", shapely.normalize(area).wkt)
    missing = store.missing(archive, item.id, wanted, outline)
    if not missing:
        return Pulled(known=1)
    files: dict[str, dict[str, Any]] = {}
    part: Part | None = None
    for band in missing:
        asset = next(one for one in item.assets.values() if one.href == hrefs[band])
        work = partial(_window, area=area)
        if service is None:
            pixels, transform, part = reading.read(asset.href, work, options=options)
        else:
            _check_disk(archive, int(asset.extra_fields.get("file:size", 0)))
            pixels, transform, part = download.read(
                item, asset, work, service=service, folder=archive / item.id
            )
        if part is None:
            store.save_empty(archive, item.id, outline)
            return Pulled(empty=1)
        _check_disk(archive, pixels.nbytes)
        if not pixels.any() and band == wanted[0]:  # so do all others
            store.save_empty(archive, item.id, outline)
            return Pulled(empty=1)
        path = archive / item.id / f"{band}.tif"
        written = store.save_band(path, pixels, crs=part.crs, transform=transform)
        files[band] = {**_kept(asset), **written, "lesniva:source": remote.redact(asset.href)}
    if part is None:
        raise UnreadableSceneError(f"scene {item.id} has no window")
    place = project(box(*part.bounds), part.crs, DEGREES, step=10_000)
    store.save(archive, item, files, outline=outline, place=place, crs=part.crs)
    return Pulled(fetched=1, bytes=sum(int(fields["file:size"]) for fields in files.values()))


def _window(
    file: Any, *, area: BaseGeometry
) -> tuple[npt.NDArray[Any], rasterio.Affine, Part | None]:
    """Read the window of one band, its pixels far outside the area left at 0."""
    part = part_of(area, file.crs, tuple(file.bounds))
    if part is None:
        return np.empty((0, 0), np.uint16), file.transform, None
    resolution = file.transform.a
    left, bottom, right, top = part.bounds
    west, north = file.bounds.left, file.bounds.top
    columns = slice(round((left - west) / resolution), round((right - west) / resolution))
    rows = slice(round((north - top) / resolution), round((north - bottom) / resolution))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height * width * 2 > MEMORY:
        raise UnreadableSceneError(
            f"a window of {height} × {width} pixels is too large; give a smaller area"
        )
    pixels = np.zeros((height, width), dtype=np.uint8 if file.dtypes[0] == "uint8" else np.uint16)
    shapely.prepare(part.area)
    for first in range(0, height, STRIPE):
        last = min(first + STRIPE, height)
        stripe = box(left, top - last * resolution, right, top - first * resolution)
        touched = part.area & stripe
        if touched.is_empty:
            continue
        start = max(int((touched.bounds[0] - left) // resolution) - 1, 0)
        stop = min(int((touched.bounds[2] - left) // resolution) + 2, width)
        window = Window(columns.start + start, rows.start + first, stop - start, last - first)
        pixels[first:last, start:stop] = file.read(1, window=window)
    corner = rasterio.Affine(resolution, 0, left, 0, -resolution, top)
    return pixels, corner, part


def part_of(area: BaseGeometry, crs: CRS, bounds: tuple[float, float, float, float]) -> Part | None:
    """Find what of a raster an area needs.

    Parameters
    ----------
    area
        Outline in WGS 84.
    crs, bounds
        Of the raster: left, bottom, right, top.

    Returns
    -------
    Part or None
        None when the raster does not reach the area.
    """
    inside = project(area, DEGREES, crs, step=0.05) & box(*bounds)
    if inside.is_empty or inside.area == 0:
        return None
    left, bottom, right, top = bounds
    west, south, east, north = inside.bounds
    window = (
        left + math.floor((west - left) / ALIGNMENT) * ALIGNMENT,
        max(top - math.ceil((top - south) / ALIGNMENT) * ALIGNMENT, bottom),
        min(left + math.ceil((east - left) / ALIGNMENT) * ALIGNMENT, right),
        top - math.floor((top - north) / ALIGNMENT) * ALIGNMENT,
    )
    return Part(window, inside, crs)


def _kept(asset: pystac.Asset) -> dict[str, Any]:
    """Fields of a provider's asset that decide how its numbers are read."""
    names = ("raster:bands", "bands", "raster:scale", "raster:offset", "nodata", "data_type", "gsd")
    return {name: asset.extra_fields[name] for name in names if name in asset.extra_fields}


def _check_disk(archive: Path, size: int) -> None:
    free = shutil.disk_usage(archive).free
    if free < 2 * size:
        raise EnvironmentFaultError(
            f"{archive} has {free / 1e6:.0f} MB left and the next file may need "
            f"{2 * size / 1e6:.0f} MB; free some space or set max_gb"
        )
