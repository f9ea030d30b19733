"""Where scenes are: every source ends as STAC items whose assets can be read.

- `catalog`: static catalogs and item collections, on disk or over http;
- `stac`: STAC APIs (Earth Search, Planetary Computer, CDSE);
- `archive`: folders of SAFE products and band files, indexed to an item collection;
- `sentinelhub`: accounts, limits and the search of Sentinel Hub and CDSE; `process` pulls their
  scenes into a local archive, `statistical` asks for zonal NDVI only;
- `download`: whole files of CDSE, fetched with the token of an account;
- `pull`: windows of an area mirrored from any source into a local archive;
- `store`: how that archive is kept, and verified;
- `reading`: the GDAL options and tries files of other machines need;
- `query`: what is asked for, and which items answer it;
- `remote`: asking servers without surprises.
"""

from collections.abc import Collection
from typing import Literal, get_args

import pystac
from shapely.geometry.base import BaseGeometry

from lesniva.errors import InputError
from lesniva.sources import catalog, stac
from lesniva.sources.catalog import OnSkipped, Skipped, assets, log_skipped
from lesniva.sources.query import Box, Moment, query
from lesniva.sources.reading import address, gdal_env, retry_options
from lesniva.sources.remote import guard_logs, redact_text

__all__ = [
    "Kind",
    "OnSkipped",
    "Skipped",
    "address",
    "assets",
    "gdal_env",
    "guard_logs",
    "log_skipped",
    "query",
    "redact_text",
    "retry_options",
    "search",
]

Kind = Literal["catalog", "stac"]
"""The kinds of source a pipeline file may name."""


def search(
    *,
    kind: Kind,
    href: str,
    collection: str = stac.COLLECTION,
    bbox: Box | None = None,
    area: BaseGeometry | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    max_cloud: float | None = None,
    tiles: Collection[str] | None = None,
    months: Collection[int] | None = None,
    relative_orbit: int | Collection[int] | None = None,
    hosts: Collection[str] = (),
    on_skipped: OnSkipped = log_skipped,
) -> list[pystac.Item]:
    """Search a source for scenes.

    Parameters
    ----------
    kind
        ``catalog``: a static catalog, item collection or item. ``stac``: a STAC API.
    href
        Path or address of the source; for ``stac`` also ``earth-search``, ``planetary-computer``
        or ``cdse``.
    collection
        Name of the collection in a STAC API.
    bbox, area
        Where: a box in degrees or an outline in WGS 84, not both.
    start, end
        When: days or instants in UTC, both included.
    max_cloud
        Largest cloud cover of a scene in per cent; scenes that do not say pass.
    tiles
        MGRS tiles.
    months
        Months of the year, 1…12.
    relative_orbit
        One or several of 1…143.
    hosts
        Hosts (and S3 buckets) files may come from, besides the source's own and known providers.
    on_skipped
        Told of every item left out because something is wrong with it.

    Returns
    -------
    list of pystac.Item
        Rising in time, each id once, asset addresses absolute; `assets` gives the bands' files.

    Raises
    ------
    InputError
        The question or a local catalog is wrong.
    SourceError
        The source cannot be reached or answers nonsense.
    NoDataError
        Nothing matches.
    """
    where = query(
        bbox=bbox,
        area=area,
        start=start,
        end=end,
        max_cloud=max_cloud,
        tiles=tiles,
        months=months,
        relative_orbit=relative_orbit,
    )
    if kind == "catalog":
        return catalog.items(href, where=where, hosts=hosts, on_skipped=on_skipped)
    if kind == "stac":
        return stac.items(
            href, where=where, collection=collection, hosts=hosts, on_skipped=on_skipped
        )
    raise InputError(f"source kind {kind!r} is unknown; use one of {', '.join(get_args(Kind))}")
