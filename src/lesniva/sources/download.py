"""Whole files of the Copernicus Data Space, fetched with the token of an account.

CDSE keeps its files in an S3 store, which takes keys and gives windows (`stac.s3_options`). Whoever
has no keys may take each file whole over https with a token. GDAL is kept out of that: it has one
token for all hosts and never renews it. A file is fetched to the disk, compared with the size and
the checksum its item states, read there, and deleted.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pystac

from lesniva import storage
from lesniva.errors import CredentialsError, EnvironmentFaultError, UnreadableSceneError
from lesniva.sources import reading, remote, sentinelhub

T = TypeVar("T")

FILE_HOSTS = frozenset({"download.dataspace.copernicus.eu", "zipper.dataspace.copernicus.eu"})
"""Hosts that the token of a CDSE account goes to, besides the account's own."""

PUBLIC_CLIENT = "cdse-public"
"""The client through which CDSE lets a user name and password ask for a token."""

MAX_BYTES = 1_000_000_000
"""No file of a band is larger."""

MULTIHASHES = {"1220": "sha256", "1620": "sha3_256"}
"""How a ``file:checksum`` begins → name of the function in `hashlib` (multihash table)."""


def account() -> sentinelhub.Account | None:
    """Collect the credentials that CDSE gives out whole files for.

    Returns
    -------
    Account or None
        Of the user whose name and password are in the environment (``CDSE_USERNAME``,
        ``CDSE_PASSWORD``), else of the OAuth client that `sentinelhub.account` finds; None when
        there is neither.
    """
    user, password = os.environ.get("CDSE_USERNAME", ""), os.environ.get("CDSE_PASSWORD", "")
    base, tokens = sentinelhub.SERVICES["cdse"]
    if user and password:
        return sentinelhub.Account(base, tokens, PUBLIC_CLIENT, "", user=user, password=password)
    try:
        return sentinelhub.account("cdse")
    except CredentialsError:
        return None


def read(
    item: pystac.Item,
    asset: pystac.Asset,
    work: Callable[[Any], T],
    *,
    service: sentinelhub.Service,
    folder: Path,
) -> T:
    """Fetch a file whole, work on it, and delete it.

    Parameters
    ----------
    item, asset
        The file, one of the item's assets, with an ``https`` alternate for which the item names an
        OpenID Connect scheme (STAC extensions alternate-assets and authentication).
    work
        Gets the open `rasterio.DatasetReader`.
    service
        Whose token is sent.
    folder
        Where the file stands meanwhile; what a killed process leaves is removed by the next pull.

    Returns
    -------
    object
        What `work` returned.

    Raises
    ------
    UnreadableSceneError
        The item offers no such address, or one the token must not go to, or what comes is not what
        the item states.
    CredentialsError
        The account is refused.
    EnvironmentFaultError
        The file cannot be written.
    """
    href = _address(item, asset, service.account)
    driver = reading.driver_of(href)
    path = folder / f"download{storage.TEMPORARY}{uuid.uuid4().hex[:8]}"
    size = asset.extra_fields.get("file:size")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        service.fetch(
            href,
            into=path,
            hosts=FILE_HOSTS,
            max_bytes=min(size, MAX_BYTES) if isinstance(size, int) else MAX_BYTES,
            accept=lambda _content: _whole(path, asset.extra_fields),
        )
        return reading.read(str(path), work, driver=driver)
    except remote.UnreachableError as error:
        raise UnreadableSceneError(str(error)) from None
    except OSError as error:
        raise EnvironmentFaultError(
            f"cannot write {path}: {error.strerror or error}; free some space"
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _address(item: pystac.Item, asset: pystac.Asset, who: sentinelhub.Account) -> str:
    """Address of a file that a token opens, if it may go there."""
    schemes = item.properties.get("auth:schemes") or {}
    for other in (asset.extra_fields.get("alternate") or {}).values():
        kinds = {(schemes.get(name) or {}).get("type") for name in other.get("auth:refs") or ()}
        href = str(other.get("href"))
        if urlsplit(href).scheme not in ("http", "https") or "openIdConnect" not in kinds:
            continue
        own = {urlsplit(who.base_url).hostname, *FILE_HOSTS}
        if urlsplit(href).hostname not in own:
            raise UnreadableSceneError(
                f"scene {item.id} leads to {remote.redact(href)}, where the account's token is not "
                "sent; use a catalog of CDSE"
            )
        sentinelhub.demand_encryption(href)
        return href
    raise UnreadableSceneError(
        f"scene {item.id} offers no file that a token opens; give S3 keys or another source"
    )


def _whole(path: Path, stated: Mapping[str, Any]) -> bool:
    """Compare a file with the size and checksum that its asset states."""
    if path.stat().st_size != stated.get("file:size", path.stat().st_size):
        return False
    checksum = str(stated.get("file:checksum", ""))
    name = MULTIHASHES.get(checksum[:4])
    if name is None:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest() == checksum[4:]
