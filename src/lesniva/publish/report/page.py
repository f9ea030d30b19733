"""The file of a report: template, styles, scripts and values put together."""

import base64
import hashlib
import html
import json
import re
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from lesniva.publish.fields import Language
from lesniva.publish.report.words import WORDS
from lesniva.storage import write_text

STYLES = ("vendor/leaflet/leaflet.css", "vendor/uplot/uPlot.min.css", "assets/page.css")

SCRIPTS = (
    "vendor/leaflet/leaflet.js",
    "vendor/uplot/uPlot.iife.min.js",
    "assets/page.js",
    "assets/table.js",
    "assets/map.js",
    "assets/chart.js",
    "assets/run.js",
)
"""In the order they need each other; those of the journey come last."""

JOURNEYS = {
    "forest": ("assets/forest.js",),
    "harvest": ("assets/season.js", "assets/harvest.js"),
}


def write_page(
    path: Path, *, journey: str, title: str, language: Language, values: Mapping[str, Any]
) -> None:
    """Write the page of a run, whole or not at all.

    Nothing in it is fetched: its content security policy lets only these very scripts run, and only
    images that it carries show.

    Parameters
    ----------
    path
        HTML file.
    journey
        One of `JOURNEYS`: its scripts know what to make of the values.
    title
        Of the window, in the language the page opens in.
    language
        The page opens in this one; a switch in it gives the other.
    values
        What the script is told: plain values, no NaN. Texts may hold anything.
    """
    scripts = [_asset(name) for name in (*SCRIPTS, *JOURNEYS[journey])]
    told = {**values, "journey": journey, "language": language, "words": WORDS}
    page = string.Template(_asset("assets/page.html")).substitute(
        language=language,
        title=html.escape(title),
        policy=_policy(scripts),
        styles="\n".join(_without_files(_asset(name)) for name in STYLES),
        data=_json(told),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    write_text(path, page)


def _asset(name: str) -> str:
    return files("lesniva.publish.report").joinpath(name).read_text(encoding="utf-8")


def _without_files(style: str) -> str:
    """Leaflet's style names pictures of parts that the page does not use."""
    return re.sub(r"url\(images/[^)]*\)", "none", style)


def _policy(scripts: Sequence[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    trusted = " ".join(f"'sha256-{base64.b64encode(each).decode('ascii')}'" for each in digests)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src {trusted}"
    )


def _json(values: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, whatever its texts hold."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
