"""Writing scenes as an archive: COGs, a static STAC catalog, a manifest.

A scene is a folder ``scenes/<id>/`` with one COG a band and, written last, its STAC item, which
records the size of each file and a fingerprint of the parameters. A scene whose item is there and
whose files have those sizes is whole and is never drawn again; anything else is. ``archive.json``
is written when everything else is there: an archive that has it, with the same fingerprint and all
its files, is reused as it stands.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lesniva.conventions import DN_PER_REFLECTANCE, SYNTHETIC_NOTICE, Scl
from lesniva.errors import EnvironmentFaultError
from lesniva.progress import progress
from lesniva.storage import whole_file, write_json
from lesniva.synthetic.landscape import Grid, Land
from lesniva.synthetic.scenes import Acquisition, Scene, draw, sun
from lesniva.synthetic.spectra import FINE_BANDS

VERSION: Final = 1
"""Raise it when the same parameters give other pixels: old archives are then written anew."""

MANIFEST: Final = "archive.json"
CATALOG: Final = "catalog.json"
MGRS_TILE: Final = "37UEU"
"""Sentinel-2 tile in which both archives lie."""

BLOCK: Final = 512

WAVELENGTH_UM: Final = {
    "blue": (0.49, 0.098),
    "green": (0.56, 0.045),
    "red": (0.665, 0.038),
    "rededge1": (0.704, 0.019),
    "nir": (0.842, 0.145),
    "nir08": (0.865, 0.033),
    "swir16": (1.61, 0.143),
    "swir22": (2.19, 0.242),
}
"""Centre and full width at half maximum of the bands, micrometres."""

EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]


@dataclass(frozen=True)
class Plan:
    """All there is to know before an archive is written."""

    title: str
    seed: int
    latitude: float
    bands: tuple[str, ...]
    """Bands to write; the classification always comes with them."""
    land: Land
    acquisitions: list[Acquisition]
    fingerprint: str
    """Hash of the parameters; see `fingerprint`."""
    extras: dict[str, Callable[[Path], None]]
    """Other files by relative path, and what writes each."""


def fingerprint(**parameters: Any) -> str:
    """Hash of the parameters of an archive and of the version of this code."""
    text = json.dumps({"version": VERSION, **parameters}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reusable(folder: Path, print_: str) -> bool:
    """Tell whether `folder` holds a whole archive of these parameters.

    Raises
    ------
    EnvironmentFaultError
        When `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise EnvironmentFaultError(
            f"cannot write the archive to {folder}: it is a file; choose another folder"
        )
    manifest = _read_json(folder / MANIFEST)
    if manifest is None or manifest.get("fingerprint") != print_:
        return False
    return all(_size(folder / name) == size for name, size in manifest["files"].items())


def write_archive(folder: Path, plan: Plan, *, workers: int) -> Path:
    """Write what is missing of an archive.

    Parameters
    ----------
    folder
        Where to; made if need be.
    plan
        What to write.
    workers
        Threads; the files are the same at any number of them.

    Returns
    -------
    Path
        The catalog.

    Raises
    ------
    EnvironmentFaultError
        When a file cannot be written. What is whole stays, the next call goes on from there.
    """
    _clear_away(folder, plan)
    scenes = folder / "scenes"
    missing = [a for a in plan.acquisitions if not _is_whole(scenes / item_id(a), plan.fingerprint)]
    total = len(missing) + len(plan.extras)
    with progress(plan.title, total) as advance, ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(_write_scene, scenes, plan, acquisition) for acquisition in missing]
        tasks += [pool.submit(write, folder / name) for name, write in plan.extras.items()]
        try:
            for task in as_completed(tasks):
                task.result()
                advance(1)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    items = [_read_json(_item_path(scenes, a)) or {} for a in plan.acquisitions]
    _write_catalog(folder, plan, items)
    _write_manifest(folder, plan, items)
    return folder / CATALOG


def item_id(acquisition: Acquisition) -> str:
    """Id of a scene: no real product is called so."""
    letter = acquisition.platform[-1].upper()
    return f"S2{letter}_{MGRS_TILE}_{str(acquisition.date).replace('-', '')}_SYN"


def write_cog(
    path: Path,
    layers: npt.NDArray[Any],
    grid: Grid,
    *,
    nodata: int | None,
    average: bool,
    names: Iterable[str],
) -> None:
    """Write a COG, whole or not at all.

    Parameters
    ----------
    path
        The file.
    layers
        (band, y, x).
    grid
        Where it lies.
    nodata
        Missing value.
    average
        Overviews by mean (quantities), else by mode (classes).
    names
        Description of each layer.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    count, height, width = layers.shape
    with whole_file(path) as temporary, rasterio.Env(GDAL_NUM_THREADS=1), MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=height,
            width=width,
            count=count,
            dtype=layers.dtype,
            crs=f"EPSG:{grid.epsg}",
            transform=rasterio.Affine(*grid.transform),
            nodata=nodata,
        ) as target:
            target.write(layers)
            target.descriptions = tuple(names)
            target.update_tags(SYNTHETIC=SYNTHETIC_NOTICE)
        # The copy releases the interpreter lock; the COG driver's own writer in rasterio does not.
        with memory.open(driver="GTiff") as source:
            copy(
                source,
                temporary,
                driver="COG",
                blocksize=BLOCK,
                compress="ZSTD",
                level=1,
                predictor=2,
                overview_resampling="AVERAGE" if average else "MODE",
            )


def _write_scene(scenes: Path, plan: Plan, acquisition: Acquisition) -> None:
    folder = scenes / item_id(acquisition)
    scene = draw(plan.land, acquisition, seed=plan.seed, latitude=plan.latitude, bands=plan.bands)
    sizes = {}
    for band in (*plan.bands, "scl"):
        values = scene.scl if band == "scl" else scene.dn[band]
        path = folder / f"{band}.tif"
        write_cog(
            path,
            values[np.newaxis],
            plan.land.grid_of(fine=band in FINE_BANDS),
            nodata=0,
            average=band != "scl",
            names=[band],
        )
        sizes[band] = path.stat().st_size
    write_json(_item_path(scenes, acquisition), _item(plan, scene, sizes))


def _clear_away(folder: Path, plan: Plan) -> None:
    """Remove the manifest, and what an archive of other parameters left behind."""
    old = _read_json(folder / MANIFEST) or {"files": {}}
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in old["files"]:
        if name.startswith("truth/") and name not in plan.extras:
            (folder / "truth" / Path(name).name).unlink(missing_ok=True)
    wanted = {item_id(acquisition) for acquisition in plan.acquisitions}
    for scene in (folder / "scenes").glob("S2?_*_SYN"):
        if scene.name not in wanted:
            shutil.rmtree(scene)


def _item_path(scenes: Path, acquisition: Acquisition) -> Path:
    name = item_id(acquisition)
    return scenes / name / f"{name}.json"


def _is_whole(folder: Path, print_: str) -> bool:
    item = _read_json(folder / f"{folder.name}.json")
    if item is None or item["properties"].get("lesniva:parameters") != print_:
        return False
    assets = item["assets"].values()
    return all(_size(folder / asset["href"]) == asset["file:size"] for asset in assets)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None when it is not there or not whole."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


# --- STAC -----------------------------------------------------------------------------------------


def _item(plan: Plan, scene: Scene, sizes: dict[str, int]) -> dict[str, Any]:
    acquisition = scene.acquisition
    elevation, azimuth = sun(acquisition.date, plan.latitude)
    seconds = acquisition.number % 60
    geometry, bbox = _footprint(plan.land.grid, acquisition)
    share = np.bincount(scene.scl.ravel(), minlength=len(Scl)) / scene.scl.size * 100
    seen = max(100.0 - share[Scl.NO_DATA], 1e-6)
    clouds = share[Scl.CLOUD_MEDIUM] + share[Scl.CLOUD_HIGH] + share[Scl.THIN_CIRRUS]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": EXTENSIONS,
        "id": item_id(acquisition),
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            "datetime": f"{acquisition.date}T08:36:{seconds:02d}Z",
            "description": SYNTHETIC_NOTICE,
            "lesniva:synthetic": True,
            "lesniva:parameters": plan.fingerprint,
            "platform": acquisition.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": plan.land.grid.resolution,
            "eo:cloud_cover": round(float(100 * clouds / seen), 3),
            "eo:snow_cover": round(float(100 * share[Scl.SNOW_OR_ICE] / seen), 3),
            "grid:code": f"MGRS-{MGRS_TILE}",
            "proj:code": f"EPSG:{plan.land.grid.epsg}",
            "view:sun_elevation": round(elevation, 3),
            "view:sun_azimuth": round(azimuth, 3),
            "sat:relative_orbit": acquisition.orbit,
            "s2:processing_baseline": acquisition.baseline,
            "s2:nodata_pixel_percentage": round(float(share[Scl.NO_DATA]), 3),
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../../catalog.json", "type": "application/json"},
        ],
        "assets": {
            band: _asset(
                band, size, plan.land.grid_of(fine=band in FINE_BANDS), acquisition.offset_dn
            )
            for band, size in sizes.items()
        },
    }


def _asset(band: str, size: int, grid: Grid, offset_dn: int) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"./{band}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "gsd": grid.resolution,
        "file:size": size,
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform),
    }
    raster: dict[str, Any] = {"nodata": 0, "spatial_resolution": grid.resolution}
    if band == "scl":
        return {
            **asset,
            "title": "Scene classification map (SCL)",
            "raster:bands": [{**raster, "data_type": "uint8"}],
        }
    centre, width = WAVELENGTH_UM[band]
    radiometry = {
        "data_type": "uint16",
        "scale": 1 / DN_PER_REFLECTANCE,
        "offset": -offset_dn / DN_PER_REFLECTANCE if offset_dn else 0,
    }
    described = {
        "name": band,
        "common_name": _common_name(band),
        "center_wavelength": centre,
        "full_width_half_max": width,
    }
    return {
        **asset,
        "title": f"Surface reflectance, {band} (synthetic)",
        "eo:bands": [described],
        "raster:bands": [{**raster, **radiometry}],
    }


def _common_name(band: str) -> str:
    """Name of a band in the STAC ``eo`` extension, which knows one red edge only."""
    return "rededge" if band == "rededge1" else band


def _footprint(grid: Grid, acquisition: Acquisition) -> tuple[dict[str, Any], list[float]]:
    """Outline of the valid pixels in longitude and latitude."""
    import shapely
    from pyproj import Transformer

    width, height = grid.width * grid.resolution, grid.height * grid.resolution
    outline = shapely.box(0.0, 0.0, 1.0, 1.0)
    if acquisition.edge is not None:
        outline = shapely.intersection(outline, _swath(acquisition.edge))
    transformer = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    outline = shapely.segmentize(outline, 0.25)
    corners = shapely.get_coordinates(outline)
    lon, lat = transformer.transform(
        grid.left + corners[:, 0] * width, grid.top - corners[:, 1] * height
    )
    ring = shapely.geometry.polygon.orient(shapely.Polygon(np.column_stack([lon, lat])))
    coordinates = [[round(x, 6), round(y, 6)] for x, y in ring.exterior.coords]
    bounds = np.array(coordinates)
    bbox = [*bounds.min(axis=0).tolist(), *bounds.max(axis=0).tolist()]
    return {"type": "Polygon", "coordinates": [coordinates]}, bbox


def _swath(edge: tuple[float, float, float]) -> Any:
    """Half-plane a·x + b·y <= c as a large polygon."""
    import shapely

    a, b, c = edge
    norm = float(np.hypot(a, b))
    normal = np.array([a, b]) / norm
    foot = normal * c / norm
    tangent = np.array([-normal[1], normal[0]])
    far = 10.0
    corners = [
        foot + far * tangent,
        foot - far * tangent,
        foot - far * tangent - far * normal,
        foot + far * tangent - far * normal,
    ]
    return shapely.Polygon(corners)


def _write_catalog(folder: Path, plan: Plan, items: list[dict[str, Any]]) -> None:
    links: list[dict[str, Any]] = [
        {"rel": "root", "href": "./catalog.json", "type": "application/json"}
    ]
    links += [
        {
            "rel": "item",
            "href": f"./scenes/{item['id']}/{item['id']}.json",
            "type": "application/geo+json",
        }
        for item in items
    ]
    write_json(
        folder / CATALOG,
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "lesniva-synthetic",
            "title": plan.title,
            "description": f"{SYNTHETIC_NOTICE}. {plan.title}, made by Lesniva.",
            "links": links,
        },
    )


def _write_manifest(folder: Path, plan: Plan, items: list[dict[str, Any]]) -> None:
    files = {name: _size(folder / name) for name in (CATALOG, *plan.extras)}
    for item in items:
        home = f"scenes/{item['id']}"
        files[f"{home}/{item['id']}.json"] = _size(folder / home / f"{item['id']}.json")
        for band, asset in item["assets"].items():
            files[f"{home}/{band}.tif"] = asset["file:size"]
    write_json(
        folder / MANIFEST,
        {
            "notice": SYNTHETIC_NOTICE,
            "title": plan.title,
            "seed": plan.seed,
            "fingerprint": plan.fingerprint,
            "files": files,
        },
    )
