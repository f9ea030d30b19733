"""A STAC 1.1 collection of what was published, with relative links: it travels with the folder.

One item for each product (a grid and a period), one asset for each raster; vectors and tables are
assets of the collection. Fields are written by the extensions named in `EXTENSIONS`.
"""

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pystac
import shapely

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.cog import RasterStats
from lesniva.publish.layers import Layer
from lesniva.publish.manifest import EDITABLE, without_secrets
from lesniva.publish.vector import geojson_features
from lesniva.storage import sha256, write_json

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

EXTENSIONS = {
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
}

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".geojson": pystac.MediaType.GEOJSON,
    ".gpkg": pystac.MediaType.GEOPACKAGE,
    ".html": pystac.MediaType.HTML,
    ".json": pystac.MediaType.JSON,
    ".nc": "application/x-netcdf",
    ".parquet": pystac.MediaType.PARQUET,
    ".png": pystac.MediaType.PNG,
    ".qml": pystac.MediaType.XML,
    ".tif": pystac.MediaType.COG,
    ".zip": "application/zip",
}

SHOWN = (".html", ".png")
"""What is looked at, and read by no program."""

CHANGING = (*EDITABLE, ".html")
"""What reviewers write into, and the page that tells the hour: no lasting size and checksum."""

SENTINEL_TERMS = (
    "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
)

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Ids become names of files and folders."""


@dataclass(frozen=True)
class Raster:
    """One published raster; `stats` is what `lesniva.publish.cog.write_cog` returned."""

    path: Path
    layer: Layer
    stats: RasterStats


@dataclass(frozen=True)
class Product:
    """Rasters on one grid that stand for one period: an item."""

    id: str
    title: str
    geobox: "GeoBox"
    start: dt.date
    end: dt.date
    rasters: Sequence[Raster]
    derived_from: Mapping[str, str] = field(default_factory=dict)
    """Id of each source scene → address of its STAC item."""


def write_stac(
    folder: Path,
    products: Iterable[Product],
    *,
    collection_id: str,
    title: str,
    description: str,
    attribution: str,
    created: dt.datetime,
    files: Mapping[str, Path] | None = None,
    keywords: Sequence[str] = (),
) -> Path:
    """Write ``stac/collection.json`` and an item for each product.

    Parameters
    ----------
    folder
        Output folder; the rasters and files lie in it.
    products
        At least one. Ids may hold letters, digits, ``_``, ``.`` and ``-``.
    collection_id, title, description
        Of the collection.
    attribution
        Credit, or the notice that the data is synthetic: then no Copernicus provider is named.
    created
        Time of making, with a time zone.
    files
        Key → vector, table, cube, picture or page, as assets of the collection.
    keywords
        Of the collection.

    Returns
    -------
    Path
        The collection.

    Raises
    ------
    ValueError
        No products, ids that occur twice or cannot be names of files.
    """
    products = list(products)
    _check_ids([collection_id, *(product.id for product in products)])
    if not products:
        raise ValueError(f"collection {collection_id} has no products; publish at least one raster")
    root = folder.resolve() / "stac"
    items = [_item(product, root, attribution, created) for product in products]
    collection = pystac.Collection(
        id=collection_id,
        title=title,
        description=f"{description} {attribution}.",
        extent=_extent(items),
        license="other",
        keywords=list(keywords) or None,
        providers=_providers(attribution),
        stac_extensions=[EXTENSIONS["file"]],
        extra_fields={"attribution": attribution},
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
    )
    if attribution != SYNTHETIC_NOTICE:
        collection.add_link(
            pystac.Link(pystac.RelType.LICENSE, SENTINEL_TERMS, title="Sentinel data terms")
        )
    for key, path in (files or {}).items():
        roles = ["overview"] if path.suffix in SHOWN else ["data"]
        collection.add_asset(key, _asset(path, root, roles=roles, title=path.name))
    collection.add_items(items)
    collection.normalize_hrefs(str(root))
    for entity in (collection, *items):
        write_json(Path(entity.self_href), entity.to_dict(include_self_link=False))
    return root / "collection.json"


def _check_ids(ids: Sequence[str]) -> None:
    bad = [name for name in ids if not ID.fullmatch(name)]
    twice = sorted({name for name in ids[1:] if ids[1:].count(name) > 1})
    if bad or twice:
        raise ValueError(
            f"STAC ids must be unique names of files; not so {', '.join(map(repr, bad + twice))}"
        )


def _providers(attribution: str) -> list[pystac.Provider]:
    processor = pystac.Provider("Lesniva", roles=[pystac.ProviderRole.PROCESSOR])
    if attribution == SYNTHETIC_NOTICE:
        return [processor]
    producer = pystac.Provider(
        "European Union, Copernicus Sentinel data, processed by ESA",
        roles=[pystac.ProviderRole.PRODUCER, pystac.ProviderRole.LICENSOR],
        url="https://dataspace.copernicus.eu",
    )
    return [producer, processor]


def _item(product: Product, root: Path, attribution: str, created: dt.datetime) -> pystac.Item:
    geometry = _footprint(product.geobox)
    start, end = _midnight(product.start), _midnight(product.end)
    item = pystac.Item(
        id=product.id,
        geometry=geometry,
        bbox=_bbox(geometry),
        datetime=start if start == end else None,
        start_datetime=None if start == end else start,
        end_datetime=None if start == end else end,
        properties={
            "title": product.title,
            "created": pystac.utils.datetime_to_str(created),
            "attribution": attribution,
            "processing:software": {"lesniva": version("lesniva")},
            "processing:level": "L3",
            **_projection(product.geobox),
        },
        stac_extensions=list(EXTENSIONS.values()),
    )
    folder = root / product.id
    for raster in product.rasters:
        item.add_asset(raster.layer.name, _raster_asset(raster, folder, product.geobox))
        style = raster.path.with_suffix(".qml")
        if style.exists():
            name = f"{raster.layer.name}-style"
            item.add_asset(name, _asset(style, folder, roles=["style"], title=style.name))
    for source, href in product.derived_from.items():
        target = without_secrets(href) if "://" in href else _relative(Path(href), folder)
        item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, target, title=source))
    return item


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def _projection(geobox: "GeoBox") -> dict[str, Any]:
    if geobox.crs is None:
        raise ValueError("a grid without a CRS cannot be published; give the geobox its CRS")
    epsg = geobox.crs.to_epsg()
    named = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": geobox.crs.to_wkt()}
    return {
        **named,
        "proj:shape": [int(side) for side in geobox.shape],
        "proj:transform": [float(number) for number in geobox.affine[:6]],
    }


def _footprint(geobox: "GeoBox") -> dict[str, Any]:
    """Outline in longitude and latitude; edges of a projected grid are bent there, so 16 steps."""
    outline = shapely.box(*geobox.boundingbox.bbox)
    side = max(geobox.boundingbox.span_x, geobox.boundingbox.span_y)
    frame = gpd.GeoDataFrame(
        {"id": [0]}, geometry=[outline.segmentize(side / 16)], crs=str(geobox.crs)
    )
    geometry: dict[str, Any] = geojson_features(frame, id_column="id")[0]["geometry"]
    return geometry


def _bbox(geometry: dict[str, Any]) -> list[float]:
    """West, south, east, north; west > east where the antimeridian is crossed (RFC 7946, 5.2)."""
    shape = shapely.geometry.shape(geometry)
    west, south, east, north = shape.bounds
    if east - west > 180:
        bounds = [part.bounds for part in shapely.get_parts(shape)]
        west = min(part[0] for part in bounds if part[0] > 0)
        east = max(part[2] for part in bounds if part[0] <= 0)
    return [west, south, east, north]


def _extent(items: Sequence[pystac.Item]) -> pystac.Extent:
    boxes = [item.bbox for item in items if item.bbox]
    crossing = any(west > east for west, _, east, _ in boxes)
    # Counted from 0 to 360°, a box that crosses the antimeridian is one piece.
    west = min(box[0] % 360 if crossing else box[0] for box in boxes)
    east = max(box[2] % 360 if crossing else box[2] for box in boxes)
    turned = [side - 360 if side > 180 else side for side in (west, east)]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    starts = [item.datetime or item.common_metadata.start_datetime for item in items]
    ends = [item.datetime or item.common_metadata.end_datetime for item in items]
    return pystac.Extent(
        pystac.SpatialExtent([[turned[0], south, turned[1], north]]),
        pystac.TemporalExtent([[min(filter(None, starts)), max(filter(None, ends))]]),
    )


def _raster_asset(raster: Raster, folder: Path, geobox: "GeoBox") -> pystac.Asset:
    layer = raster.layer
    asset = _asset(raster.path, folder, roles=["data"], title=layer.title_en)
    asset.description = layer.description
    band: dict[str, Any] = {
        "name": layer.name,
        "description": layer.description,
        "data_type": layer.dtype,
        "nodata": layer.nodata,
        "raster:sampling": "area",
        "raster:spatial_resolution": abs(float(geobox.resolution.x)),
        "statistics": _statistics(raster.stats),
    }
    if layer.unit:
        band["unit"] = layer.unit
    if (layer.scale, layer.offset) != (1.0, 0.0):
        band |= {"raster:scale": layer.scale, "raster:offset": layer.offset}
    if layer.classes:
        band["classification:classes"] = [
            {
                "value": int(known.value),
                "name": re.sub(r"[^a-z0-9]+", "_", known.name_en),
                "title": known.name_en,
                "description": f"{known.name_en} / {known.name_ru}",
                "color_hint": known.colour.removeprefix("#")[:6].upper(),
            }
            for known in layer.classes
        ]
    asset.extra_fields["bands"] = [band]
    return asset


def _statistics(stats: RasterStats) -> dict[str, float]:
    numbers = {
        name: value
        for name, value in asdict(stats).items()
        if name in {"minimum", "maximum", "mean", "stddev"} and value is not None
    }
    return {**numbers, "valid_percent": 100 * stats.valid / stats.total}


def _asset(path: Path, folder: Path, *, roles: list[str], title: str) -> pystac.Asset:
    return pystac.Asset(
        _relative(path, folder),
        title=title,
        media_type=MEDIA_TYPES.get(path.suffix),
        roles=roles,
        extra_fields={}
        if path.suffix in CHANGING
        else {
            "file:size": path.stat().st_size,
            # Multihash: 0x12 = SHA-256, 0x20 = 32 bytes.
            "file:checksum": f"1220{sha256(path)}",
        },
    )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder)).as_posix()
