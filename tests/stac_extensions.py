"""What the extensions that our STAC items name demand of their fields, read from their texts.

pystac carries the schemas of the core and would fetch those of extensions. These stand in for them
offline: the same fields, types and patterns, and like them no field with the prefix beside.
"""

from typing import Any

from pystac.validation import RegisteredValidator

from lesniva.publish.stac import EXTENSIONS

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}


def _numbers(*sizes: int) -> dict[str, Any]:
    lengths = [{"minItems": size, "maxItems": size} for size in sizes]
    return {"type": "array", "items": NUMBER, "anyOf": lengths}


CLASS = {
    "type": "object",
    "required": ["value", "name"],
    "additionalProperties": False,
    "properties": {
        "value": {"type": "integer"},
        "name": {"type": "string", "pattern": "^[0-9A-Za-z_-]+$"},
        "title": TEXT,
        "description": TEXT,
        "color_hint": {"type": "string", "pattern": "^[0-9A-Fa-f]{6}$"},
        "nodata": {"type": "boolean"},
        "percentage": NUMBER,
        "count": COUNT,
    },
}

FIELDS: dict[str, dict[str, Any]] = {
    "proj": {
        "code": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9]+:[A-Za-z0-9.]+$"},
        "wkt2": {"type": ["string", "null"]},
        "shape": {"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2},
        "transform": _numbers(6, 9),
    },
    "raster": {
        "sampling": {"enum": ["area", "point"]},
        "spatial_resolution": {"type": "number", "exclusiveMinimum": 0},
        "scale": NUMBER,
        "offset": NUMBER,
    },
    "processing": {
        "level": TEXT,
        "software": {"type": "object", "minProperties": 1, "additionalProperties": TEXT},
    },
    "classification": {
        "classes": {"type": "array", "items": CLASS, "minItems": 1, "uniqueItems": True}
    },
    # a multihash: code of SHA-256, length, digest
    "file": {"size": COUNT, "checksum": {"type": "string", "pattern": "^1220[0-9a-f]{64}$"}},
}


def _schema(address: str, prefix: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "object",
        "properties": {f"{prefix}:{name}": rule for name, rule in FIELDS[prefix].items()},
        "patternProperties": {f"^(?!{prefix}:)": {}},
        "additionalProperties": False,
    }
    named = {"type": "array", "contains": {"const": address}}
    assets = {
        "type": "object",
        "additionalProperties": {
            "allOf": [fields, {"properties": {"bands": {"type": "array", "items": fields}}}]
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": address,
        "type": "object",
        "required": ["stac_extensions", "assets"],
        "properties": {"stac_extensions": named, "properties": fields, "assets": assets},
    }


def know_extensions() -> None:
    """Give pystac's validator the rules, so that ``validate()`` asks for no address."""
    prefixes = {"projection": "proj"}
    for name, address in EXTENSIONS.items():
        schema = _schema(address, prefixes.get(name, name))
        RegisteredValidator.get_validator().schema_cache[address] = schema
