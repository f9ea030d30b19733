"""Static catalogs: a ``catalog.json`` with its items, an item collection, or one item.

The files are read as plain JSON and only what matches the question becomes a `pystac.Item`: link
by link resolution takes seconds where this takes tenths. An item that cannot be read, lies about
its files or leads to a host that was not allowed is named and left out; the rest goes on.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pystac
import pystac.errors

from lesniva import storage
from lesniva.conventions import ASSET_KEYS
from lesniva.errors import InputError, NoDataError, SourceError
from lesniva.sources import query, remote

logger = logging.getLogger(__name__)

MAX_DOCUMENTS = 200_000
"""A catalog with more files than this is taken for a circle of links."""

INDEX = "items.json"
"""Name of the item collection that `archive.index` writes into a folder of scenes."""

READERS = 8
"""Documents of a remote catalog asked for at a time."""


@dataclass(frozen=True)
class Skipped:
    """An item that was left out."""

    where: str
    """Its id, file or address."""
    why: str
    """One line."""


OnSkipped = Callable[[Skipped], None]
"""What to do with an item that is left out; `list.append` collects a report."""


def log_skipped(skipped: Skipped) -> None:
    """Name an item that is left out in the log."""
    logger.warning("left out %s: %s", skipped.where, skipped.why)


def items(
    href: str,
    *,
    where: query.Query,
    hosts: Collection[str] = (),
    on_skipped: OnSkipped = log_skipped,
) -> list[pystac.Item]:
    """Search a static catalog.

    Parameters
    ----------
    href
        Path, http or s3 address of a catalog, collection, item collection or item; or a folder that
        holds ``catalog.json``, ``collection.json`` or the `INDEX` of an indexed archive.
    where
        Which items are wanted.
    hosts
        Hosts that assets may lead to, besides the catalog's own and the known providers.
    on_skipped
        Told of every item that is left out because something is wrong with it.

    Returns
    -------
    list of pystac.Item
        Rising in time, asset addresses absolute, each id once.

    Raises
    ------
    InputError
        The local file does not exist or is no STAC.
    SourceError
        The remote catalog cannot be reached or is no STAC.
    NoDataError
        The catalog is empty, or nothing in it matches.
    """
    start = _start(href)
    return select(
        _features(start, hosts, on_skipped),
        where=where,
        name=_shown(start),
        hosts=hosts,
        on_skipped=on_skipped,
    )


def select(
    found: Iterator[tuple[str, Any]],
    *,
    where: query.Query,
    name: str,
    hosts: Collection[str] = (),
    on_skipped: OnSkipped = log_skipped,
) -> list[pystac.Item]:
    """Turn the features that match into items; the common end of every kind of search.

    Parameters
    ----------
    found
        Pairs of the address a feature was read from and the feature (a decoded JSON value).
    where
        Which items are wanted.
    name
        What to call the source in messages.
    hosts, on_skipped
        As in `items`.

    Raises
    ------
    NoDataError
        Nothing matches; the message counts what failed which condition.
    """
    chosen: dict[str, tuple[datetime, pystac.Item]] = {}
    missed: Counter[str] = Counter()
    for base, feature in found:
        try:
            condition = query.missed_condition(feature, where)
            if condition is None:
                item = to_item(feature, base, hosts)
                chosen.setdefault(item.id, (query.sensed(feature), item))
        except query.BrokenItemError as error:
            on_skipped(Skipped(_label(feature, base), str(error)))
            condition = "damage"
        missed[condition or "nothing"] += 1
    if not chosen:
        raise NoDataError(_nothing(name, missed))
    return [item for _, item in sorted(chosen.values(), key=lambda pair: (pair[0], pair[1].id))]


def to_item(feature: dict[str, Any], base: str, hosts: Collection[str] = ()) -> pystac.Item:
    """Make an item of a decoded feature, with absolute and allowed addresses.

    Parameters
    ----------
    feature
        A STAC item as decoded JSON; it is used up.
    base
        Path or address the feature was read from; relative addresses start there.
    hosts
        Hosts that assets may lead to, besides that of `base` and the known providers.

    Returns
    -------
    pystac.Item
        Not migrated: fields stay where the provider put them. Assets that are no bands are dropped
        where their address is not allowed.

    Raises
    ------
    BrokenItemError
        The feature is no valid item, or a band's address is not allowed.
    """
    try:
        item = pystac.Item.from_dict(feature, preserve_dict=False, migrate=False)
    except (KeyError, TypeError, ValueError, AttributeError, pystac.errors.STACError) as error:
        raise query.BrokenItemError(f"is no valid STAC item ({error!r})") from None
    if item.datetime is None:
        item.datetime = query.sensed(feature)
    for key, asset in list(item.assets.items()):
        try:
            asset.href = absolute(asset.href, base, hosts)
        except query.BrokenItemError as error:
            if key in _BAND_OF:
                raise query.BrokenItemError(f"{key}: {error}") from None
            del item.assets[key]
    own = _own_address(item, base)
    item.clear_links()
    if own is not None:
        # what is made of a scene says so by this address
        item.add_link(pystac.Link(pystac.RelType.SELF, own, pystac.MediaType.GEOJSON))
    return item


def _own_address(item: pystac.Item, base: str) -> str | None:
    """Address of an item: what it says itself, or its file where that has the item's name."""
    said = item.get_self_href()
    if said is not None and remote.is_remote(said):
        return said
    return base if PurePosixPath(urlsplit(base).path).stem == item.id else None


def assets(item: pystac.Item) -> dict[str, str]:
    """Give the files of an item's bands.

    Parameters
    ----------
    item
        An item of any provider (see `conventions.ASSET_KEYS`).

    Returns
    -------
    dict
        Band name of `conventions.BANDS` → absolute path or address; bands without a file are
        absent. Where a band comes in several sizes, the finest native one.
    """
    return {
        band: item.assets[key].href
        for band, keys in ASSET_KEYS.items()
        for key in [next((key for key in keys if key in item.assets), None)]
        if key is not None
    }


def absolute(href: str, base: str, hosts: Collection[str] = ()) -> str:
    """Make the address of a file absolute and check that it may be opened.

    Parameters
    ----------
    href
        As written in a catalog: a path or an address, relative or absolute; ``zip:path!member``
        for a file in a zip.
    base
        Path or address of the document it is written in.
    hosts
        Hosts allowed besides that of `base` and the known providers.

    Raises
    ------
    BrokenItemError
        A remote document points at a local file, an address has a scheme that is none of ours, is
        a GDAL virtual path, or leads to a host that is not allowed.
    """
    if href.lstrip().startswith("/vsi") or "\0" in href:
        raise query.BrokenItemError(f"address {href[:80]!r} is refused (virtual path)")
    scheme = urlsplit(href).scheme
    if remote.is_remote(base):
        if scheme in ("file", "zip"):
            raise query.BrokenItemError("a remote catalog points at a local file, refused")
        href = _joined(base, href)
        hosts = {*hosts, remote.place_of(base)}
    elif not scheme:
        return os.path.normpath(Path(base).parent / href)
    elif scheme == "file":
        return unquote(urlsplit(href).path)
    elif scheme == "zip":
        path, _, member = href.removeprefix("zip:").removeprefix("//").partition("!")
        return f"zip://{os.path.normpath(Path(base).parent / path)}!{member}"
    if not remote.is_remote(href):
        raise query.BrokenItemError(f"address {href[:80]!r} is of an unknown kind")
    reason = remote.refusal(href, hosts)
    if reason is not None:
        raise query.BrokenItemError(reason)
    return href


def _joined(base: str, href: str) -> str:
    """`urljoin`, which does not know that addresses of S3 are relative to each other."""
    if not base.startswith("s3://") or urlsplit(href).scheme:
        return urljoin(base, href)
    return "s3" + urljoin("http" + base.removeprefix("s3"), href).removeprefix("http")


_BAND_OF = {key: band for band, keys in ASSET_KEYS.items() for key in keys}


def _start(href: str) -> str:
    """Address of the document to begin with."""
    if href.startswith("s3://") and not href.endswith((".json", ".geojson")):
        return f"{href.rstrip('/')}/catalog.json"
    if remote.is_remote(href):
        return href
    path = Path(href).expanduser()
    if path.is_dir():
        names = ("catalog.json", "collection.json", INDEX)
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise InputError(
                f"{path} holds none of {', '.join(names)}; "
                "give a catalog, or index the folder first (lesniva archive index)"
            )
        path = found
    if not path.is_file():
        raise InputError(f"catalog {path} does not exist; check the path in the pipeline file")
    return str(path.resolve())


def _features(
    start: str, hosts: Collection[str], on_skipped: OnSkipped
) -> Iterator[tuple[str, Any]]:
    """All features of a catalog with the address each was read from, in no promised order."""
    document = _root(start, hosts)
    waiting, seen = [(start, document)], {start}
    with ThreadPoolExecutor(READERS) as readers:
        while waiting:
            links: list[str] = []
            for base, document in waiting:
                if document.get("type") == "Feature":
                    yield base, document
                elif document.get("type") == "FeatureCollection":
                    yield from ((base, feature) for feature in document.get("features") or ())
                else:
                    links += _links(document, base, hosts, on_skipped)
            fresh = [link for link in dict.fromkeys(links) if link not in seen]
            seen.update(fresh)
            if len(seen) > MAX_DOCUMENTS:
                raise SourceError(
                    f"catalog {remote.redact(start)} has more than {MAX_DOCUMENTS} documents; "
                    "its links seem to run in circles"
                )
            read = partial(_document, hosts=hosts)
            # Threads help where documents come over a network; from a disk they only stand in line.
            documents = (readers.map if remote.is_remote(start) else map)(read, fresh)
            waiting = []
            for link, (content, fault) in zip(fresh, documents, strict=True):
                if fault is None:
                    waiting.append((link, content))
                else:
                    on_skipped(Skipped(_shown(link), fault))


def _root(start: str, hosts: Collection[str]) -> dict[str, Any]:
    document, fault = _document(start, hosts)
    wrong = SourceError if remote.is_remote(start) else InputError
    if fault is not None:
        raise wrong(f"catalog {_shown(start)}: {fault}; check the file")
    if "conformsTo" in document:
        raise InputError(f'{_shown(start)} is a STAC API; write kind = "stac" for it')
    if document.get("type") not in ("Catalog", "Collection", "FeatureCollection", "Feature"):
        raise wrong(
            f"{_shown(start)} is no STAC catalog (type is {document.get('type')!r}); "
            "give a catalog.json, an item collection or an item"
        )
    return document


def _document(href: str, hosts: Collection[str]) -> tuple[dict[str, Any], str | None]:
    """Read one JSON document; the second value says what is wrong with it."""
    try:
        if href.startswith("s3://"):
            content = json.loads(_object(href))
        elif remote.is_remote(href):
            content = remote.fetch_json(href, hosts=hosts)
        else:
            content = json.loads(Path(href).read_bytes())
    except remote.UnreachableError:
        raise
    except (SourceError, InputError) as error:
        return {}, str(error)
    except OSError as error:
        return {}, f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        return {}, "is no JSON (damaged or half-written)"
    return (content, None) if isinstance(content, dict) else ({}, "is no STAC (no JSON object)")


def _object(href: str) -> bytes:
    with storage.object_store(href) as (files, path):
        content: bytes = files.cat_file(path, start=0, end=remote.MAX_JSON_BYTES + 1)
    if len(content) > remote.MAX_JSON_BYTES:
        raise SourceError(f"{href} is larger than any page of a catalog")
    return content


def _links(
    document: dict[str, Any], base: str, hosts: Collection[str], on_skipped: OnSkipped
) -> list[str]:
    found = []
    for link in document.get("links") or ():
        if isinstance(link, dict) and link.get("rel") in ("item", "child"):
            try:
                found.append(absolute(str(link.get("href")), base, hosts))
            except query.BrokenItemError as error:
                on_skipped(Skipped(f"a link of {_shown(base)}", str(error)))
    return found


def _shown(href: str) -> str:
    return remote.redact(href) if remote.is_remote(href) else href


def _label(feature: Any, base: str) -> str:
    name = feature.get("id") if isinstance(feature, dict) else None
    return str(name) if name else _shown(base)


def _nothing(name: str, missed: Counter[str]) -> str:
    total = missed.total()
    if total == 0:
        return f"{name} gave no items; check the period, the area and, if it is yours, the catalog"
    told = ", ".join(f"{number} by {condition}" for condition, number in missed.most_common())
    return (
        f"none of the {total} items of {name} matches ({told} left out); "
        "widen the period, the area or the filters"
    )
