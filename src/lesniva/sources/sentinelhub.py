"""Sentinel Hub and CDSE: accounts, tokens, rate limits, and the search of their catalog.

The package sentinelhub builds the requests and understands the answers; our `remote.fetch` carries
them. Its own transport (3.12) retries 429 without end, fails on a ``Retry-After`` that is a date,
never renews a refused token, keeps bad answers in its cache for ever, follows redirects of the
token request with the secret in its body, and prints secret and token into the debug log.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pystac

from lesniva.errors import CredentialsError, InputError, LesnivaError, SourceError
from lesniva.sources import catalog, remote
from lesniva.sources.catalog import OnSkipped
from lesniva.sources.query import Query

SERVICES = {
    "sentinel-hub": (
        "https://services.sentinel-hub.com",
        "https://services.sentinel-hub.com/auth/realms/main/protocol/openid-connect/token",
    ),
    "cdse": (
        "https://sh.dataspace.copernicus.eu",
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
    ),
}
"""Name of a service → its address and the address of its tokens."""

COLLECTION = "sentinel-2-l2a"

MILLISECONDS = 0.001
"""Both services give ``Retry-After`` in milliseconds."""

RENEW_BEFORE = 120.0
"""Seconds before its end at which a token is renewed (half its life when that is less)."""

PAGE = 100
MAX_ITEMS = 100_000
"""More items than this in one search are taken for a circle."""


@dataclass(frozen=True)
class Account:
    """Who asks which service. Stays in its process: it cannot be pickled into a task."""

    base_url: str
    token_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    requests_per_minute: float = 300.0
    """Limit of the account; a CDSE general user has 300."""
    units_per_minute: float = 300.0
    """Processing units a minute; a CDSE general user has 300."""
    user: str = field(default="", repr=False)
    """Name of a person, who has a password and lets a public client act; without secret then."""
    password: str = field(default="", repr=False)

    @property
    def grant(self) -> dict[str, str]:
        """What a token is asked for with (RFC 6749, sections 4.3 and 4.4)."""
        if self.user:
            return {
                "grant_type": "password",
                "client_id": self.client_id,
                "username": self.user,
                "password": self.password,
            }
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials stay in their process; make the account where it is used")


def account(
    service: str = "cdse",
    *,
    token_url: str | None = None,
    profile: str | None = None,
    requests_per_minute: float = 300.0,
    units_per_minute: float = 300.0,
) -> Account:
    """Collect the credentials of a service.

    They come from the environment (``SH_CLIENT_ID``, ``SH_CLIENT_SECRET``), else from a profile of
    the configuration file of the package sentinelhub, if there is one. Nothing is written.

    Parameters
    ----------
    service
        A name of `SERVICES`, or the address of another deployment.
    token_url
        Where the deployment gives out tokens; known for `SERVICES`.
    profile
        Section of the configuration file; ``SH_PROFILE`` or ``default-profile`` when not given.
    requests_per_minute, units_per_minute
        Limits of the account.

    Raises
    ------
    CredentialsError
        There are none, in neither place.
    InputError
        An address is missing or not encrypted.
    """
    base, known_token_url = SERVICES.get(service, (service, None))
    tokens = token_url or known_token_url
    if tokens is None:
        raise InputError(
            f"service {service!r} needs a token_url; or use one of {', '.join(SERVICES)}"
        )
    for address in (base, tokens):
        demand_encryption(address)
    client_id = os.environ.get("SH_CLIENT_ID", "")
    secret = os.environ.get("SH_CLIENT_SECRET", "")
    if not (client_id and secret):
        client_id, secret = _from_profile(profile)
    if not (client_id and secret):
        raise CredentialsError(
            f"no credentials for {remote.redact(base)}: set SH_CLIENT_ID and SH_CLIENT_SECRET in "
            "the environment, or make a profile with `sentinelhub.config`"
        )
    return Account(base, tokens, client_id, secret, requests_per_minute, units_per_minute)


class Limiter:
    """Spaces requests so that neither requests nor processing units exceed their rate."""

    def __init__(self, requests_per_minute: float, units_per_minute: float) -> None:
        self._seconds_per_request = 60.0 / requests_per_minute
        self._seconds_per_unit = 60.0 / units_per_minute
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, units: float = 0.0) -> None:
        """Sleep until a request that costs so many units may be sent."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + max(self._seconds_per_request, units * self._seconds_per_unit)
        time.sleep(start - now)


class Service:
    """One account at work: its token, its limiter, and the client that asks."""

    def __init__(self, who: Account) -> None:
        self.account = who
        self.limiter = Limiter(who.requests_per_minute, who.units_per_minute)
        self._token = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()

    def send(
        self,
        request: Any,
        *,
        units: float = 0.0,
        max_bytes: int = remote.MAX_JSON_BYTES,
        accept: Callable[[bytes], bool] = remote.is_json,
    ) -> Any:
        """Send a request of the package sentinelhub as `fetch` does.

        Parameters
        ----------
        request
            A ``sentinelhub.DownloadRequest``.
        units
            What it will cost, for the limiter.
        max_bytes, accept
            As in `remote.fetch`; an answer must be JSON when nothing else is said.

        Returns
        -------
        sentinelhub.download.models.DownloadResponse
            Body and headers, not decoded.

        Raises
        ------
        SourceError, CredentialsError
            As `fetch`.
        """
        from sentinelhub.download.models import DownloadResponse

        response = self.fetch(
            request.url,
            method=request.request_type.value,
            body=request.post_values,
            headers=request.headers,
            max_bytes=max_bytes,
            retry_after_unit=MILLISECONDS,
            accept=accept,
            before=lambda: self.limiter.wait(units),
        )
        return DownloadResponse.from_response(response, request)

    def fetch(self, url: str, **request: Any) -> Any:
        """`remote.fetch` with the account's token; a refused token is renewed once.

        Raises
        ------
        SourceError, CredentialsError
            As `remote.fetch`; CredentialsError when a fresh token is refused, too.
        """
        token = self.token()
        for tries_left in (1, 0):
            headers = {**request.get("headers", {}), "Authorization": f"Bearer {token}"}
            try:
                return remote.fetch(url, **{**request, "headers": headers})
            except remote.RefusedError as error:
                if error.status != 401 or not tries_left:
                    raise
                token = self.token(refused=token)
        raise AssertionError("the second refusal is raised")

    def token(self, refused: str = "") -> str:
        """Give a token that is good for a while; `refused` is one that is not, whatever it says.

        The age is counted on this machine's own monotonic clock, so that a wrong wall clock does
        no harm.
        """
        with self._lock:
            if time.monotonic() >= self._renew_at or self._token == refused:
                asked = time.monotonic()
                answer = remote.fetch_json(
                    self.account.token_url,
                    method="POST",
                    form=self.account.grant,
                    retry_after_unit=MILLISECONDS,
                )
                try:
                    self._token, lasts = str(answer["access_token"]), float(answer["expires_in"])
                except (KeyError, TypeError, ValueError):
                    raise SourceError(
                        f"{remote.redact(self.account.token_url)} gave no token; check token_url"
                    ) from None
                self._renew_at = asked + lasts - min(RENEW_BEFORE, lasts / 2)
            return self._token

    def client(self) -> Any:
        """Make a download client of the package sentinelhub that sends through this service."""
        from sentinelhub.download.sentinelhub_client import SentinelHubDownloadClient

        send = self.send

        class Client(SentinelHubDownloadClient):
            def _execute_download(self, request: Any) -> Any:
                return send(request)

        return Client(config=self.config())

    def config(self) -> Any:
        """Make the package's configuration: addresses only, no credentials, no file."""
        from sentinelhub.config import SHConfig

        base = self.account.base_url
        return SHConfig(use_defaults=True, sh_base_url=base, sh_token_url=self.account.token_url)

    def collection(self) -> Any:
        """Make the package's data collection for this deployment, else it would go to its own."""
        from sentinelhub.data_collections import DataCollection

        name = f"LESNIVA_S2_L2A_{urlsplit(self.account.base_url).netloc}"
        if hasattr(DataCollection, name):
            return DataCollection[name]
        return DataCollection.SENTINEL2_L2A.define_from(name, service_url=self.account.base_url)


def search(
    service: Service,
    *,
    where: Query,
    on_skipped: OnSkipped = catalog.log_skipped,
) -> list[pystac.Item]:
    """Search the catalog of a service for scenes; their pixels come by `process.pull`.

    Parameters
    ----------
    service
        Whom to ask.
    where
        Which scenes are wanted; period and place must be given.
    on_skipped
        Told of every item that is left out because something is wrong with it.

    Returns
    -------
    list of pystac.Item
        Rising in time, without files.

    Raises
    ------
    InputError
        Period or place are missing.
    SourceError, CredentialsError, NoDataError
        As for every source.
    """
    from sentinelhub.api.catalog import SentinelHubCatalog
    from sentinelhub.constants import CRS
    from sentinelhub.geometry import BBox

    if where.start is None or where.end is None or where.area is None:
        raise InputError("a search of Sentinel Hub needs start, end and an area")
    api = SentinelHubCatalog(config=service.config())
    api.client = service.client()
    found = api.search(
        service.collection(),
        time=(where.start.replace(microsecond=0), where.end.replace(microsecond=0)),
        bbox=BBox(where.area.bounds, crs=CRS.WGS84),
        filter=None if where.max_cloud is None else f"eo:cloud_cover <= {where.max_cloud:g}",
        limit=PAGE,
    )
    base = service.account.base_url
    features = _guarded(found, base)
    return catalog.select(features, where=where, name=remote.redact(base), on_skipped=on_skipped)


def _guarded(found: Any, base: str) -> Iterator[tuple[str, Any]]:
    """Pass features on until the pages run in circles or make no sense."""
    seen: set[str] = set()
    repeated = 0
    try:
        for feature in found:
            name = str(feature.get("id")) if isinstance(feature, dict) else ""
            repeated = repeated + 1 if name in seen else 0
            seen.add(name)
            if repeated >= PAGE or len(seen) > MAX_ITEMS:
                raise SourceError(
                    f"the pages of {remote.redact(base)} run in circles after {len(seen)} items; "
                    "try again later"
                )
            yield base, feature
    except LesnivaError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(
            f"{remote.redact(base)} answers a page without features ({type(error).__name__}); "
            "try again later"
        ) from None


def demand_encryption(address: str) -> None:
    """Refuse an address that credentials would travel to in the open (InputError)."""
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE):
        return
    raise InputError(f"{remote.redact(address)!r} is no https address; credentials go nowhere else")


_THIS_MACHINE: Collection[str] = ("127.0.0.1", "::1", "localhost")


def _from_profile(profile: str | None) -> tuple[str, str]:
    """Read a profile of the package's configuration file, which is not made when it is missing."""
    from sentinelhub.config import SHConfig

    if not Path(SHConfig.get_config_location()).is_file():
        return "", ""
    try:
        config = SHConfig(profile)
    except (KeyError, ValueError, TypeError) as error:
        raise CredentialsError(
            f"profile {profile or 'default-profile'} of {SHConfig.get_config_location()} cannot be "
            f"read ({type(error).__name__}); name one that is in it"
        ) from None
    return config.sh_client_id, config.sh_client_secret
