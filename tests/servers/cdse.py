"""The Copernicus Data Space in small: a STAC API whose files are had whole, with a token."""

import hashlib
from pathlib import Path
from typing import Any

from servers import stac
from servers.loopback import Answer, Request, Route
from servers.sentinelhub import SentinelHub

SCHEMES = {"s3": {"type": "s3"}, "oidc": {"type": "openIdConnect"}}


def asset(path: Path, number: int = 1, *, home: str = "HOME") -> dict[str, Any]:
    """One file as the catalog of CDSE describes it (item S2C_MSIL2A_20260527T014651)."""
    https = f"{home}/odata/v1/Products({number})/Nodes({path.name})/$value"
    content = path.read_bytes()
    return {
        "href": f"s3://eodata/Sentinel-2/{number}/{path.name}",
        "auth:refs": ["s3"],
        "alternate": {"https": {"href": https, "auth:refs": ["oidc"]}},
        "file:size": len(content),
        "file:checksum": "1620" + hashlib.sha3_256(content).hexdigest(),
    }


def data_space(folder: Path, features: list[dict[str, Any]], tokens: SentinelHub) -> Route:
    """Serve `features`, and the files of `folder` to whoever has one of the `tokens`."""
    api = stac.api(features)

    def route(request: Request) -> Answer:
        if request.path == "/token":
            return tokens(request)
        if not request.path.startswith("/odata/"):
            return api(request)
        if not tokens.knows(request):
            return Answer.of_json({"detail": "Expired signature!"}, 401)
        name = request.path.rpartition("Nodes(")[2].removesuffix(")/$value")
        return Answer(200, (folder / name).read_bytes())

    return route
