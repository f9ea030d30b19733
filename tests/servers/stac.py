"""A STAC API: landing page, item search with token paging, and the signature service of blobs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from servers.loopback import Answer, Request, Route

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]


def api(
    features: list[dict[str, Any]],
    *,
    page: int = 100,
    signature_lasts: float = 2700,
    methods: tuple[str, ...] = ("GET", "POST"),
) -> Route:
    """Serve `features`, `page` at a time; the conditions asked for are not applied."""
    signatures = iter(range(10_000))

    def route(request: Request) -> Answer:
        home = f"http://{request.headers['host']}"
        if request.path == "/":
            links = [
                {"rel": "self", "href": home + "/", "type": "application/json"},
                {"rel": "root", "href": home + "/", "type": "application/json"},
            ]
            search = {"rel": "search", "href": home + "/search", "type": "application/geo+json"}
            links += [{**search, "method": method} for method in methods]
            landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "stub", "description": "-"}
            return Answer.of_json({**landing, "conformsTo": CONFORMS, "links": links})
        if request.path == "/search":
            if request.method not in methods:
                return Answer(405)
            posted = request.method == "POST"
            asked = request.json() if posted else {k: v[0] for k, v in request.query.items()}
            first = int(asked.get("token", 0))
            links = []
            if first + page < len(features) and not posted:
                query = urlencode({**asked, "token": first + page})
                links = [{"rel": "next", "href": f"{home}/search?{query}", "method": "GET"}]
            elif first + page < len(features):
                body = {"token": str(first + page)}
                following = {"rel": "next", "href": home + "/search", "method": "POST"}
                links = [{**following, "merge": True, "body": body}]
            text = json.dumps(features[first : first + page]).replace("HOME", home)
            return Answer.of_json(
                {
                    "type": "FeatureCollection",
                    "numberMatched": len(features),
                    "features": json.loads(text),
                    "links": links,
                }
            )
        if request.path.startswith("/sas/"):
            ends = datetime.now(UTC) + timedelta(seconds=signature_lasts)
            token = f"sig=secret{next(signatures)}"
            return Answer.of_json({"token": token, "msft:expiry": ends.isoformat()})
        return Answer(404)

    return route
