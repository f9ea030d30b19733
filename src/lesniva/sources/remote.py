"""Asking servers: retries with a limit, time-outs, size caps, no surprise hosts, no secrets shown.

Everything a provider answers passes through `fetch`. Its rules:

- a request is tried again after 429, 5xx, a cut connection or a time-out, `attempts` times at
  most; ``Retry-After`` is honoured as whole seconds, decimals or a date (milliseconds where the
  provider means that); who asks for more than `PATIENCE` has run out of quota;
- a redirect is followed within the host it came from, otherwise only to hosts named beforehand, and
  then without the ``Authorization`` header;
- an answer larger than `max_bytes` is dropped while it arrives;
- error messages carry addresses without their query (`redact`), never headers or bodies sent.
"""

import io
import ipaddress
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import stamina

from lesniva.errors import CredentialsError, SourceError

logger = logging.getLogger(__name__)

ATTEMPTS = 6
"""Tries of one request before the source counts as unreachable."""

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two bytes."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds between two tries, doubled each time."""

PATIENCE = 900.0
"""A server that asks to wait longer has no passing fault: the quota is used up."""

MAX_JSON_BYTES = 50_000_000
"""No page of a catalog is larger."""

KNOWN_HOSTS = frozenset(
    {
        "earth-search.aws.element84.com",
        "sentinel-cogs.s3.us-west-2.amazonaws.com",
        "e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com",
        "planetarycomputer.microsoft.com",
        "sentinel2l2a01.blob.core.windows.net",
        "stac.dataspace.copernicus.eu",
        "eodata.dataspace.copernicus.eu",
        "download.dataspace.copernicus.eu",
        "zipper.dataspace.copernicus.eu",
        "identity.dataspace.copernicus.eu",
        "sh.dataspace.copernicus.eu",
        "services.sentinel-hub.com",
    }
)
"""Hosts of the providers this toolkit knows; any other must be named in the source's `hosts`."""

KNOWN_BUCKETS = frozenset({"eodata"})
"""S3 buckets an asset may stand in."""

LOQUACIOUS = frozenset(
    {
        "aiobotocore",
        "botocore",
        "oauthlib",
        "pystac_client",
        "rasterio",
        "requests",
        "requests_oauthlib",
        "s3fs",
        "sentinelhub",
        "urllib3",
    }
)
"""Libraries whose logs show what passes through them: addresses with signatures, tokens, forms."""

OF_TASKS = "lesniva.execution"
"""Our own logger that tells what foreign exceptions say."""

_SECRET = re.compile(
    r"""(?ix)
    (
        ["']? \b [\w-]* (?:secret|token|password|signature|sig|credential) [\w-]* ["']?
        \s* [=:] \s* ["']?
    )
    [^\s&'",;}]+
    """
)
"""What follows the name of a secret, as ``name=value``, ``name: value`` or in JSON."""

_GUARDING = threading.Lock()
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SESSIONS = threading.local()


class UnreachableError(SourceError):
    """The server did not answer, however often it was asked."""


class RefusedError(CredentialsError):
    """The server does not let this account in; `status` is its answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _TryAgainError(Exception):
    """One try failed in a way that may pass; `wait` seconds were asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    *,
    method: str = "GET",
    body: Any = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    hosts: Collection[str] = (),
    attempts: int = ATTEMPTS,
    timeout: tuple[float, float] | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    into: Path | None = None,
    retry_after_unit: float = 1.0,
    accept: Callable[[bytes], bool] = lambda _content: True,
    before: Callable[[], None] = lambda: None,
) -> requests.Response:
    """Send one request until it is answered or the tries are used up.

    Parameters
    ----------
    url
        Where to.
    method, body, form, headers
        The request; `body` goes out as JSON, `form` URL-encoded. Secrets belong in `form` and
        `headers`, which are never shown.
    hosts
        Hosts a redirect may lead to besides the first one.
    attempts
        Tries at most.
    timeout
        Seconds to connect and between two bytes; `TIMEOUT` when not given.
    max_bytes
        Largest answer taken.
    into
        File that the body goes to instead of memory; written anew at every try.
    retry_after_unit
        Seconds in one step of a ``Retry-After`` number (Sentinel Hub: 0.001).
    accept
        Looks at the body of a good answer (empty when it went to a file); False counts as a fault
        that may pass.
    before
        Called before every try: the place of a rate limit.

    Returns
    -------
    requests.Response
        A 2xx answer whose body is complete.

    Raises
    ------
    SourceError
        Not reached, or a redirect elsewhere, or refused for good (4xx).
    CredentialsError
        401, 402, 403, or a wait beyond `PATIENCE`.
    """
    where = redact(url)

    def again(error: Exception) -> bool | float:
        if not isinstance(error, _TryAgainError):
            return False
        logger.info("%s: %s, trying again", where, error)
        return True if error.wait is None else error.wait

    try:
        for attempt in stamina.retry_context(
            on=again,
            attempts=attempts,
            timeout=None,
            wait_initial=FIRST_WAIT,
            wait_max=LONGEST_WAIT,
            wait_jitter=FIRST_WAIT,
        ):
            with attempt:
                before()
                return _once(
                    url,
                    hosts={*hosts, urlsplit(url).hostname or ""},
                    max_bytes=max_bytes,
                    into=into,
                    retry_after_unit=retry_after_unit,
                    accept=accept,
                    sending={
                        "method": method,
                        "json": body,
                        "data": form,
                        "headers": dict(headers or {}),
                        "timeout": timeout or TIMEOUT,
                    },
                )
    except _TryAgainError as error:
        raise UnreachableError(
            f"{where} cannot be reached: {error} after {attempts} tries; "
            "check the network or try again later"
        ) from None
    raise AssertionError("stamina either returns or raises")


def fetch_json(url: str, **request: Any) -> Any:
    """`fetch` an answer that must be JSON; anything else counts as a fault that may pass."""
    response = fetch(url, accept=is_json, **{"headers": {"Accept": "application/json"}, **request})
    return json.loads(response.content)


def redact(url: str) -> str:
    """Address without user, password, query and fragment: what may be shown and logged.

    >>> redact("https://me:word@host.org/a.tif?sig=abc")
    'https://host.org/a.tif'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def redact_text(text: str) -> str:
    """Cut tokens, passwords and the queries of addresses out of a foreign message."""
    text = re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+", r"\1 ***", text)
    text = _SECRET.sub(r"\1***", text)
    text = re.sub(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", lambda found: redact(found[0]), text)
    return re.sub(r"(\S)\?[^\s'\"<>]*=[^\s'\"<>]*", r"\1", text)


def guard_logs() -> None:
    """Keep secrets out of this process's logs, whichever library writes them and at any level.

    Libraries write whole addresses, headers and forms into their debug logs. Loggers come and go
    with them, so that the records are cleaned where they are made: those of `LOQUACIOUS` and
    `OF_TASKS` wholly, the tracebacks of all. Every run and every way to a server passes here before
    it has a secret at hand; once or often is the same.
    """
    with _GUARDING:
        factory = logging.getLogRecordFactory()
        if not isinstance(factory, _WithoutSecrets):
            logging.setLogRecordFactory(_WithoutSecrets(factory))
    # Says only that something was tried again; `fetch` says what.
    logging.getLogger("stamina").addFilter(_silent)


@dataclass(frozen=True)
class _WithoutSecrets:
    """Makes log records as another factory does, and cleans them."""

    make: Callable[..., logging.LogRecord]

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        if record.name.partition(".")[0] in LOQUACIOUS or record.name == OF_TASKS:
            record.msg, record.args = redact_text(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        return record


def is_remote(href: str) -> bool:
    """Whether an address leads off this machine's disks."""
    return href.startswith(("http://", "https://", "s3://"))


def refusal(href: str, hosts: Collection[str]) -> str | None:
    """Why a remote address must not be opened; None when it may.

    Parameters
    ----------
    href
        ``http``, ``https`` or ``s3`` address.
    hosts
        Hosts and buckets allowed besides `KNOWN_HOSTS` and `KNOWN_BUCKETS`. Plain http and
        addresses of private networks are allowed only when named here.
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    if host in hosts or place_of(href) in hosts:
        return None
    if parts.scheme == "s3":
        known = host in KNOWN_BUCKETS
    else:
        known = parts.scheme == "https" and host in KNOWN_HOSTS and not _is_address(host)
    if known:
        return None
    return f"{redact(href)} is on a host that is not allowed; add it as hosts = [{host!r}]"


def place_of(href: str) -> str:
    """Host of an address, or ``s3://bucket``: a bucket's name says nothing of a host's."""
    parts = urlsplit(href)
    return f"s3://{parts.hostname}" if parts.scheme == "s3" else parts.hostname or ""


def redirect_elsewhere(url: str) -> str | None:
    """Ask where a server would send whoever opens an address, for readers that follow blindly.

    Parameters
    ----------
    url
        ``http`` or ``https`` address.

    Returns
    -------
    str or None
        The address on another host it redirects to; None when it answers itself, or not at all.
    """
    try:
        with _session().head(url, allow_redirects=False, timeout=TIMEOUT) as response:
            status, location = response.status_code, response.headers.get("Location", "")
    except requests.RequestException:
        return None
    target = urljoin(url, location)
    moved = status in _REDIRECTS and urlsplit(target).hostname != urlsplit(url).hostname
    return target if moved else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def retry_after(stated: str | None, unit: float = 1.0) -> float | None:
    """Seconds a ``Retry-After`` header asks for (number or HTTP date).

    Parameters
    ----------
    stated
        The header's value; None when there was none.
    unit
        Seconds in one step of a number. A number that makes under 0.05 s in that unit is taken as
        seconds: proxies in front of Sentinel Hub answer so.
    """
    if stated is None:
        return None
    try:
        number = float(stated)
    except ValueError:
        pass
    else:
        seconds = number * unit
        if unit < 1 and 0 < seconds < 0.05:
            seconds = number
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(stated)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


def _once(
    url: str,
    *,
    hosts: Collection[str],
    max_bytes: int,
    into: Path | None,
    retry_after_unit: float,
    accept: Callable[[bytes], bool],
    sending: dict[str, Any],
) -> requests.Response:
    try:
        response = _follow(url, hosts, sending)
        with response:
            _judge(response, redact(url), retry_after_unit)
            _take(response, max_bytes, into, redact(url))
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _TryAgainError(_reason(error)) from None
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        raise _TryAgainError("the answer was cut") from None
    except requests.RequestException as error:
        raise SourceError(
            f"{redact(url)} cannot be asked: {redact_text(str(error))}; check the address"
        ) from None
    if not accept(response.content):
        raise _TryAgainError("the answer makes no sense")
    return response


def _follow(url: str, hosts: Collection[str], sending: dict[str, Any]) -> requests.Response:
    """Send, following redirects by hand: `requests` would follow them anywhere."""
    first = urlsplit(url)
    for _ in range(5):
        response = _session().request(url=url, allow_redirects=False, stream=True, **sending)
        if response.status_code not in _REDIRECTS:
            return response
        target = urljoin(url, response.headers.get("Location", ""))
        response.close()
        host = urlsplit(target).hostname or ""
        downgraded = first.scheme == "https" and urlsplit(target).scheme != "https"
        if host not in hosts or downgraded or sending["method"] != "GET":
            raise SourceError(
                f"{redact(url)} redirects to {redact(target)}, which is not followed; "
                "give the final address, or name its host in hosts"
            )
        if urlsplit(target).netloc != first.netloc:
            kept = {k: v for k, v in sending["headers"].items() if k.lower() != "authorization"}
            sending = {**sending, "headers": kept}
        url = target
    raise SourceError(f"{redact(url)} redirects in circles; check the address")


def _judge(response: requests.Response, where: str, unit: float) -> None:
    status = response.status_code
    if status < 300:
        return
    if status in _TRANSIENT:
        wait = retry_after(response.headers.get("Retry-After"), unit)
        if wait is not None and wait > PATIENCE:
            raise RefusedError(
                f"{where} asks to wait {wait / 60:.0f} minutes (HTTP {status}): the quota is used "
                "up; run again then",
                status,
            )
        raise _TryAgainError(f"HTTP {status}", wait)
    detail = _detail(response)
    if status in (401, 402, 403):
        raise RefusedError(
            f"{where} refuses (HTTP {status}{detail}); check the credentials, their rights and "
            "the quota of the account",
            status,
        )
    raise SourceError(f"{where} answers HTTP {status}{detail}; check the address and the request")


def _detail(response: requests.Response) -> str:
    """Quote the provider's own words about a refusal, shortened and without secrets."""
    try:
        text = next(response.iter_content(2000), b"").decode("utf-8", "replace")
    except requests.RequestException:
        return ""
    text = redact_text(" ".join(text.split()))
    if not text or text.startswith("<"):
        return ""
    return f": {text[:200]}"


def _take(response: requests.Response, max_bytes: int, into: Path | None, where: str) -> None:
    """Read the body up to a limit and leave it in the response, or in a file."""
    size = 0
    with io.BytesIO() if into is None else into.open("wb") as sink:
        for piece in response.iter_content(1 << 16):
            size += sink.write(piece)
            if size > max_bytes:
                raise SourceError(
                    f"{where} answers with more than {max_bytes / 1e6:.0f} MB; "
                    "ask for less or check the address"
                )
        content = sink.getvalue() if isinstance(sink, io.BytesIO) else b""
    response._content = content  # noqa: SLF001 (requests offers no capped read)


def _session() -> requests.Session:
    """One connection pool a thread; `requests` does not promise more."""
    if not hasattr(_SESSIONS, "session"):
        _SESSIONS.session = requests.Session()
        guard_logs()
    session: requests.Session = _SESSIONS.session
    return session


def _silent(_record: logging.LogRecord) -> bool:
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if "NameResolution" in str(error):
        return "the host's name is unknown"
    return "the connection failed"


def is_json(content: bytes) -> bool:
    """Tell whether a body is JSON, and not the word of an error that came with status 200."""
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return not (isinstance(value, dict) and "error" in value and "type" not in value)
