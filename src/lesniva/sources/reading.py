"""Opening files of other machines with GDAL, and trying again in a way that helps.

GDAL keeps what it learnt about an address for the life of the process, failures too: after one 503
the same process never asks again, however often the read is repeated. ``rasterio.cache`` could
forget it, but only from rasterio 1.5 on. `retry_options` is the way that works everywhere: with
``CPL_VSIL_CURL_NON_CACHED`` naming the address, GDAL drops what it knows of it, right before and
after the read, and every other file keeps its cache.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import rasterio
from rasterio.errors import RasterioError

from lesniva.errors import UnreadableSceneError
from lesniva.sources import remote, stac

T = TypeVar("T")

DRIVERS = {".jp2": "JP2OpenJPEG"}
"""GDAL driver by suffix, GTiff for any other: a text file named .tif must not be a VRT."""

MAX_PIXELS = 20_000 * 20_000
"""No Sentinel-2 band has more; a file that says so is not read."""

ATTEMPTS = 4
"""Tries of one read, on top of GDAL's own tries of one request."""

FIRST_WAIT = 0.5
"""Seconds before the second read, doubled each time."""


def gdal_env(href: str = "") -> dict[str, str]:
    """Give the GDAL options files of a source are read with: plain values, none of them secret.

    Parameters
    ----------
    href
        Name or address of the source; CDSE needs options of its own.

    Returns
    -------
    dict
        For ``rasterio.Env``. Requests that fail with 429 or 5xx are repeated by GDAL itself;
        nothing is listed around a file that is opened; the authorization is not carried to another
        host by a redirect.

    Raises
    ------
    CredentialsError
        The source needs keys in the environment and there are none.
    """
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_TIMEOUT": "60",
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
        "GDAL_HTTP_LOW_SPEED_TIME": "20",
        "GDAL_HTTP_MAX_RETRY": "3",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        # it would write headers past all logs
        "CPL_CURL_VERBOSE": "NO",
        "CPL_VSIL_CURL_AUTHORIZATION_HEADER_ALLOWED_IF_REDIRECT": "NO",
        **stac.s3_options(href),
    }


def retry_options(href: str) -> dict[str, str]:
    """Give the GDAL options that make a repeated read of this address ask the server anew.

    Parameters
    ----------
    href
        As it was opened, with its signature if it has one.

    Returns
    -------
    dict
        To be laid over `gdal_env`; empty for a local file.

    Notes
    -----
    Measured with GDAL 3.10 against a faulty server: after 403, 404, 429, 503, a reset, a time-out,
    an HTML page or a zeroed header the next read with these options succeeds, without them none
    does.
    """
    if href.startswith("/vsis3/"):
        return {"CPL_VSIL_CURL_NON_CACHED": href}
    return {"CPL_VSIL_CURL_NON_CACHED": f"/vsicurl/{href}"} if remote.is_remote(href) else {}


def address(href: str) -> str:
    """Give what to open right now: the address with its signature, when it is safe to open.

    To be called right before every opening: signatures end. GDAL follows redirects anywhere; so a
    host that is not well known is first asked, once a process and file, whether it answers itself.

    Parameters
    ----------
    href
        Path or address.

    Raises
    ------
    UnreadableSceneError
        The server sends readers to another host.
    SourceError
        The signature cannot be had.
    """
    remote.guard_logs()
    parts = urlsplit(href)
    if parts.scheme == "s3":
        # by its scheme rasterio would have boto3, where that is installed, look for keys elsewhere
        return f"/vsis3/{parts.netloc}{parts.path}"
    if parts.scheme in ("http", "https") and parts.hostname not in remote.KNOWN_HOSTS:
        elsewhere = _elsewhere(href)
        if elsewhere is not None:
            raise UnreadableSceneError(
                f"{remote.redact(href)} sends readers to {remote.redact(elsewhere)}, refused; "
                "use a catalog with the final addresses"
            )
    return stac.sign(href)


@lru_cache(maxsize=100_000)
def _elsewhere(href: str) -> str | None:
    return remote.redirect_elsewhere(href)


def read(
    href: str,
    work: Callable[[Any], T],
    *,
    options: Mapping[str, str] | None = None,
    attempts: int = ATTEMPTS,
    addressed: Callable[[str], str] = address,
    driver: str | None = None,
) -> T:
    """Open a file and work on it; when either fails, forget what GDAL knows and try again.

    Parameters
    ----------
    href
        Path or address.
    work
        Gets the open `rasterio.DatasetReader`; it may be called several times.
    options
        GDAL options on top of `gdal_env`.
    attempts
        Tries at most; local files are tried once.
    addressed
        Gives what to open, anew for every try.
    driver
        The one GDAL driver it may be opened with; as the name says when not given.

    Returns
    -------
    object
        What `work` returned.

    Raises
    ------
    UnreadableSceneError
        The last try failed as the ones before it, or the file is of another format, or too large.
    """
    # whoever gives the address: GDAL logs it with its signature
    remote.guard_logs()
    tries = attempts if remote.is_remote(href) else 1
    reason = ""
    for number in range(tries):
        if number:
            time.sleep(FIRST_WAIT * 2 ** (number - 1))
        opened = addressed(href)
        again = retry_options(opened) if number else {}
        try:
            with (
                rasterio.Env(**{**gdal_env(), **(options or {}), **again}),
                rasterio.open(opened, driver=driver or driver_of(href)) as file,
            ):
                if file.width * file.height > MAX_PIXELS:
                    raise UnreadableSceneError(
                        f"{_shown(href)} claims {file.width} × {file.height} pixels; "
                        "no Sentinel-2 band is that large"
                    )
                return work(file)
        except (RasterioError, OSError) as error:
            reason = remote.redact_text(str(error.__cause__ or error))
    raise UnreadableSceneError(
        f"{_shown(href)} cannot be read ({reason}); fetch it again or leave the scene out"
    )


def driver_of(href: str) -> str:
    """Give the one GDAL driver a file may be opened with.

    >>> driver_of("https://host.org/Products(1)/Nodes(T37UDB_B04_10m.jp2)/$value")
    'JP2OpenJPEG'
    """
    path = urlsplit(href).path.removesuffix("/$value").rstrip(")")
    return DRIVERS.get(PurePosixPath(path).suffix.lower(), "GTiff")


def _shown(href: str) -> str:
    return remote.redact(href) if remote.is_remote(href) else str(PurePosixPath(href))
