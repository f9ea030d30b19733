"""Sentinel Hub in small: tokens, catalog, Process and Statistical API, and their limits."""

import io
import re
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from servers.loopback import Answer, Request

SECRET = "canary-secret-wQzK"  # noqa: S105 (to be looked for; the end is in no number)
TOKEN = "canary-token"  # noqa: S105


def truth(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What the made sensor sees at pixel centres: DN, 0 west of easting 300,500."""
    number = sum(map(ord, band))
    classes = band in ("SCL", "CLP")
    dn = (x // 10 * 3 + y // 10 * 5 + number) % (12 if classes else 4000)
    dn = dn if classes else np.maximum(dn, 1)
    return np.where(x < 300_500, 0, dn).astype(np.uint8 if classes else np.uint16)


@dataclass
class SentinelHub:
    """Callable as a route; what it is to do wrong is set on it."""

    features: list[dict[str, Any]] = field(default_factory=list)
    page: int = 100
    lifetime: float = 3600.0
    per_minute: float = 1e9
    """Requests a minute; beyond, 429."""
    empty: bool = False
    """Answer with pictures of nothing."""
    stats: Callable[[dict[str, Any]], Any] = lambda _payload: {"status": "OK", "data": []}
    tokens: dict[str, float] = field(default_factory=dict)
    units: float = 0.0
    _sent: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._give_token(request)
        with self._lock:
            now = time.monotonic()
            if not self.knows(request):
                return Answer.of_json({"error": {"message": "expired"}}, 401)
            self._sent = [at for at in self._sent if at > now - 1.0]
            if len(self._sent) >= self.per_minute / 60:
                return Answer(429, b"", {"Retry-After": "200"})
            self._sent.append(now)
        answers = {
            "/api/v1/catalog/1.0.0/search": self._search,
            "/api/v1/process": self._process,
            "/api/v1/statistics": lambda asked: Answer.of_json(self.stats(asked)),
        }
        return answers[request.path](request.json())

    def knows(self, request: Request) -> bool:
        """Whether a request carries a token that is good now."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.get(bearer, 0.0) > time.monotonic()

    def revoke(self) -> None:
        self.tokens.clear()

    def _give_token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if SECRET not in (form.get("client_secret"), form.get("password")):
            return Answer.of_json({"error": "invalid_client"}, 401)
        token = f"{TOKEN}-{len(self.tokens)}-{time.monotonic_ns()}"
        self.tokens[token] = time.monotonic() + self.lifetime
        return Answer.of_json({"access_token": token, "expires_in": self.lifetime})

    def _search(self, asked: dict[str, Any]) -> Answer:
        first = int(asked.get("next", 0))
        context: dict[str, Any] = {"limit": self.page}
        if first + self.page < len(self.features):
            context["next"] = first + self.page
        page = self.features[first : first + self.page]
        return Answer.of_json({"type": "FeatureCollection", "features": page, "context": context})

    def _process(self, asked: dict[str, Any]) -> Answer:
        width, height = asked["output"]["width"], asked["output"]["height"]
        if max(width, height) > 2500:
            return Answer.of_json({"error": {"message": "too large"}}, 400)
        left, bottom, right, top = asked["input"]["bounds"]["bbox"]
        epsg = int(asked["input"]["bounds"]["properties"]["crs"].rpartition("/")[2])
        transform = rasterio.transform.from_bounds(left, bottom, right, top, width, height)
        columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        x, y = transform * (columns, rows)
        script = asked["evalscript"]
        names = re.findall(r'"(\w+)"', re.search(r"bands: \[(.*?)\], units", script)[1])[:-1]
        groups = {"bands": [], "classes": []}
        for name in names:
            groups["classes" if name in ("SCL", "CLP") else "bands"].append(truth(name, x, y))
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for response in asked["output"]["responses"]:
                pixels = np.stack(groups[response["identifier"]])
                content = geotiff(pixels * (not self.empty), epsg, transform)
                add(archive, f"{response['identifier']}.tif", content)
        units = height * width / 512**2 * len(names) / 3
        with self._lock:
            self.units += units
        spent = {"x-processingunits-spent": str(units), "Content-Type": "application/x-tar"}
        return Answer(200, tar.getvalue(), spent)


def geotiff(pixels: np.ndarray, epsg: int, transform: rasterio.Affine) -> bytes:
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype.name,
            crs=f"EPSG:{epsg}",
            transform=transform,
            compress="deflate",
        ) as file:
            file.write(pixels)
        return bytes(memory.read())


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
