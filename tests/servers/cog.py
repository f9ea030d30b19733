"""A server of files that understands byte ranges, as object stores do."""

import re
from pathlib import Path

from servers.loopback import Answer, Request, Route


def files(folder: Path) -> Route:
    """Serve the files below `folder`."""

    def route(request: Request) -> Answer:
        path = folder / request.path.lstrip("/")
        if not path.is_file():
            return Answer(404)
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        common = {"Accept-Ranges": "bytes", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if request.method == "HEAD":
            return Answer(200, b"", {**common, "Content-Length": str(len(content))})
        if asked is None:
            return Answer(200, content, common)
        first = int(asked[1])
        last = min(int(asked[2] or len(content) - 1), len(content) - 1)
        if first >= len(content):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        part = f"bytes {first}-{last}/{len(content)}"
        return Answer(206, content[first : last + 1], {**common, "Content-Range": part})

    return route
