"""STAC APIs, asked with pystac-client over our own transport.

pystac-client 0.9 retries connection errors only, waits without end by default, follows a ``next``
link in circles and takes ``"features": null`` for "nothing found". The two methods overridden in
`_transport` put `remote.fetch` and checked paging in their place; conformance, search parameters
and the merging of ``next`` links stay the library's.
"""

import json
import os
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pystac
import pystac.errors
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from lesniva.errors import CredentialsError, InputError, SourceError
from lesniva.sources import catalog, remote
from lesniva.sources.catalog import OnSkipped, Skipped
from lesniva.sources.query import Box, Query

ENDPOINTS = {
    "earth-search": "https://earth-search.aws.element84.com/v1",
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "cdse": "https://stac.dataspace.copernicus.eu/v1",
}
"""Short names of the services a pipeline file may use instead of an address."""

COLLECTION = "sentinel-2-l2a"
"""What the three services call Sentinel-2 L2A."""

PAGE = 100
"""Items asked for at a time."""

MAX_PAGES = 2_000
"""More pages than this are taken for a circle."""

SAS_ENDPOINT = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Where Planetary Computer gives out the signatures of its files, without an account."""

SAS_MARGIN = 300.0
"""Seconds before its end at which a signature is renewed (half its life when that is less)."""

EODATA = "https://eodata.dataspace.copernicus.eu"
"""S3 store of CDSE."""

_BLOBS = ".blob.core.windows.net"
_SIGNATURES: dict[str, tuple[str, float]] = {}
_SIGNING = threading.Lock()


def items(
    href: str,
    *,
    where: Query,
    collection: str = COLLECTION,
    hosts: Collection[str] = (),
    on_skipped: OnSkipped = catalog.log_skipped,
) -> list[pystac.Item]:
    """Search a STAC API.

    Parameters
    ----------
    href
        A name of `ENDPOINTS` or the address of an API's landing page.
    where
        Which items are wanted. Period, place and cloud cover are asked of the server; all
        conditions are checked again here.
    collection
        Name of the collection.
    hosts
        Hosts and buckets that assets may lead to, besides the API's own and the known providers.
    on_skipped
        Told of every item that is left out, and of items the server counted but did not give.

    Returns
    -------
    list of pystac.Item
        As `catalog.items` gives them.

    Raises
    ------
    InputError
        `href` is no address, or a catalog without search.
    SourceError
        The service cannot be reached, or its pages make no sense.
    CredentialsError
        The service refuses.
    NoDataError
        Nothing matches.
    """
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import PystacClientWarning

    address = ENDPOINTS.get(href, href)
    if urlsplit(address).scheme not in ("http", "https"):
        raise InputError(
            f"STAC API {href!r} is no address; use http(s)://… or one of {', '.join(ENDPOINTS)}"
        )
    try:
        with warnings.catch_warnings():
            # What the landing page does not promise is checked below, with an error of ours.
            warnings.simplefilter("ignore", PystacClientWarning)
            client = Client.open(address, stac_io=_transport(address, hosts, on_skipped))
        method = _method(client)
        if method is None:
            raise InputError(
                f'{remote.redact(address)} offers no item search; write kind = "catalog" '
                "for a static catalog"
            )
        search = client.search(
            method=method,
            collections=[collection],
            limit=PAGE,
            **_place(where.area),
            **_period(where.start, where.end),
            **_cloud(where.max_cloud, client),
        )
        found = (
            (address, feature) for page in search.pages_as_dicts() for feature in page["features"]
        )
        return catalog.select(
            found, where=where, name=remote.redact(address), hosts=hosts, on_skipped=on_skipped
        )
    except (APIError, ClientTypeError, pystac.errors.STACError, KeyError) as error:
        raise SourceError(
            f"{remote.redact(address)} does not behave as a STAC API "
            f"({remote.redact_text(str(error))[:200]}); check the address"
        ) from None


def sign(href: str, *, endpoint: str = SAS_ENDPOINT) -> str:
    """Give an address of Planetary Computer its signature; any other comes back as it is.

    Call it right before a file is opened: signatures last under an hour. They are kept a process
    and container until shortly before their end. Safe from any thread.

    Parameters
    ----------
    href
        Address of a file.
    endpoint
        Service that gives out signatures.

    Raises
    ------
    SourceError
        The service cannot be reached or answers nonsense.
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    if not host.endswith(_BLOBS) or parts.query:
        return href
    where = f"{endpoint}/{host.removesuffix(_BLOBS)}/{parts.path.split('/')[1]}"
    with _SIGNING:
        token, renew = _SIGNATURES.get(where, ("", 0.0))
        if time.time() >= renew:
            token, renew = _SIGNATURES[where] = _signature(where)
    return f"{href}?{token}"


def _signature(address: str) -> tuple[str, float]:
    """Ask for a signature; the second value is when (seconds since 1970) to ask again."""
    answer = remote.fetch_json(address)
    try:
        token = str(answer["token"])
        expires = datetime.fromisoformat(answer["msft:expiry"]).timestamp()
    except (KeyError, TypeError, ValueError):
        raise SourceError(f"{remote.redact(address)} gave no signature; try again later") from None
    now = time.time()
    return token, expires - min(SAS_MARGIN, (expires - now) / 2)


def s3_options(href: str) -> dict[str, str]:
    """Give the GDAL options to read files from an S3 store; none of them is secret.

    The keys themselves are taken by GDAL from the environment of each process
    (``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``), so that they enter no task and no log.

    Parameters
    ----------
    href
        A name of `ENDPOINTS` or an address. CDSE has a store of its own; for any other the
        environment may name one, as for every client of S3 (``AWS_ENDPOINT_URL``).

    Raises
    ------
    CredentialsError
        The service needs keys and there are none.
    """
    missing = missing_keys()
    if is_cdse(href) and missing:
        raise CredentialsError(
            f"files of CDSE need S3 keys and {' and '.join(missing)} is not set; make keys at "
            "https://eodata-s3keysmanager.dataspace.copernicus.eu and put them into the "
            "environment, or name an archive and set CDSE_USERNAME and CDSE_PASSWORD"
        )
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    endpoint = urlsplit(EODATA if is_cdse(href) else named)
    if not endpoint.netloc:
        return {}
    return {
        "AWS_S3_ENDPOINT": endpoint.netloc,
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_HTTPS": "NO" if endpoint.scheme == "http" else "YES",
    }


def is_cdse(href: str) -> bool:
    """Whether an API is that of the Copernicus Data Space, whose files need credentials."""
    return ENDPOINTS.get(href, href) == ENDPOINTS["cdse"]


def missing_keys() -> list[str]:
    """Name the S3 keys that the environment lacks."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return [name for name in names if not os.environ.get(name)]


def _transport(address: str, hosts: Collection[str], on_skipped: OnSkipped) -> Any:
    """Make the input and output of pystac-client that asks through `remote.fetch`."""
    from pystac.link import Link
    from pystac_client.stac_api_io import StacApiIO

    home = {urlsplit(address).hostname or "", *hosts}

    class Transport(StacApiIO):
        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            if urlsplit(href).hostname not in home:
                raise SourceError(
                    f"{remote.redact(address)} sends on to {remote.redact(href)}, which is not "
                    "followed; name its host in hosts if it is right"
                )
            posted = (method or "GET").upper() == "POST"
            return json.dumps(
                remote.fetch_json(
                    href if posted or not parameters else _with_query(href, parameters),
                    method="POST" if posted else "GET",
                    body=parameters if posted else None,
                    headers={"Accept": "application/geo+json, application/json", **(headers or {})},
                    hosts=home,
                )
            )

        def get_pages(
            self,
            url: str,
            method: str | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> Iterator[dict[str, Any]]:
            seen: set[str] = set()
            page = self.read_json(url, method=method, parameters=parameters)
            for _ in range(MAX_PAGES):
                features = page.get("features")
                if not isinstance(features, list):
                    raise SourceError(
                        f"{remote.redact(address)} answers a page without features after "
                        f"{len(seen)} items; try again later"
                    )
                fresh = {str(f.get("id")) for f in features if isinstance(f, dict)} - seen
                if features and not fresh:
                    raise SourceError(
                        f"the pages of {remote.redact(address)} run in circles after {len(seen)} "
                        "items; try again later or ask for a shorter period"
                    )
                seen |= fresh
                yield page
                following = next(
                    (k for k in page.get("links") or () if k.get("rel") == "next"), None
                )
                if not features or following is None:
                    matched = page.get("numberMatched", (page.get("context") or {}).get("matched"))
                    if isinstance(matched, int) and matched > len(seen):
                        on_skipped(
                            Skipped(
                                remote.redact(address),
                                f"counts {matched} items and gave only {len(seen)}",
                            )
                        )
                    return
                page = self.read_json(Link.from_dict(following), parameters=parameters)
            raise SourceError(
                f"{remote.redact(address)} gives more than {MAX_PAGES} pages; "
                "ask for a shorter period or a smaller area"
            )

    return Transport()


def _with_query(href: str, parameters: dict[str, Any]) -> str:
    import requests

    return str(requests.Request("GET", href, params=parameters).prepare().url)


def _period(start: datetime | None, end: datetime | None) -> dict[str, Any]:
    if start is None and end is None:
        return {}
    first, last = (
        ".." if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ") for when in (start, end)
    )
    return {"datetime": f"{first}/{last}"}


def _place(area: BaseGeometry | None) -> dict[str, Any]:
    """Few vertices that surely hold the area: a server need not get an oblast's outline."""
    if area is None:
        return {}
    crossing = _across_the_antimeridian(area)
    if crossing is not None:
        return {"bbox": list(crossing)}
    # The hull widened by twice what simplifying may cut off (degrees).
    hull = area.convex_hull.buffer(0.02).simplify(0.01)
    return {"intersects": mapping(hull)}


def _across_the_antimeridian(area: BaseGeometry) -> Box | None:
    """Box with west > east of an area cut in two at ±180°, None for any other area."""
    west, south, east, north = area.bounds
    if west > -180 or east < 180:
        return None
    parts = [part.bounds for part in getattr(area, "geoms", [area])]
    left = [part[0] for part in parts if part[0] > 0]
    right = [part[2] for part in parts if part[2] < 0]
    return (min(left), south, max(right), north) if left and right else None


def _method(client: Any) -> str | None:
    """Give the better of the methods a service offers to search with."""
    if not client.conforms_to("item_search"):
        return None
    links = client.get_links("search")
    offered = {str(link.extra_fields.get("method", "GET")).upper() for link in links}
    return next((method for method in ("POST", "GET") if method in offered), None)


def _cloud(max_cloud: float | None, client: Any) -> dict[str, Any]:
    """Ask the server where it can; it is checked here in any case."""
    if max_cloud is None or not client.conforms_to("query"):
        return {}
    return {"query": {"eo:cloud_cover": {"lte": max_cloud}}}
