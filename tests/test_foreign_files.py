"""Files of others are opened as what they must be, however they call themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr

import lesniva
from lesniva import aoi, weather
from lesniva.aoi import vector
from lesniva.errors import InputError
from lesniva.sources import catalog, remote
from lesniva.sources.query import BrokenItemError

HOUSE = Path(lesniva.__file__).parent

MUST_SAY = {
    ("rasterio", "open"): "driver",
    ("memory", "open"): "driver",
    ("xr", "open_dataset"): "engine",
}
"""What opens files by their content unless it is told what they are → the argument that tells."""

NEVER = {("gpd", "read_file"), ("geopandas", "read_file"), ("fiona", "open"), ("pickle", "load")}
"""What cannot be told; `aoi.read_vector` looks at suffix, content and size first."""

OWN = {"demo.py"}
"""Reads only what it has just written."""


def calls() -> Iterator[tuple[str, tuple[str, str], set[str]]]:
    for path in sorted(HOUSE.rglob("*.py")):
        if path.name in OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                name = owner.id if isinstance(owner, ast.Name) else ""
                where = f"{path.relative_to(HOUSE)}:{node.lineno}"
                arguments = {word.arg or "**" for word in node.keywords}
                yield where, (name, node.func.attr), arguments


def test_no_file_is_opened_by_guessing_what_it_is():
    found = list(calls())
    assert sum(call in MUST_SAY for _, call, _ in found) >= 10
    guessing = [
        where
        for where, call, arguments in found
        if call in NEVER or (call in MUST_SAY and not arguments & {MUST_SAY[call], "**"})
    ]
    assert guessing == []


def test_a_virtual_vector_file_is_not_opened_whatever_its_name(tmp_path):
    virtual = '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/vsicurl/http://127.0.0.1:9/a'
    for suffix in vector.SIGNATURES:
        path = tmp_path / f"parcels{suffix}"
        path.write_text(virtual)
        with pytest.raises(InputError, match="its content is not"):
            aoi.read_vector(path, "parcel file")


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_vector_file_of_too_many_features_is_refused_before_it_is_read(
    tmp_path, monkeypatch, suffix
):
    path = tmp_path / f"parcels{suffix}"
    shapes = gpd.GeoDataFrame({"id": [1, 2, 3]}, geometry=[shapely.box(0, 0, 1, 1)] * 3, crs=4326)
    shapes.to_parquet(path) if suffix == ".parquet" else shapes.to_file(path)
    assert len(aoi.read_vector(path, "parcel file")[0]) == 3
    monkeypatch.setattr(vector, "MAX_VERTICES", 2)
    with pytest.raises(InputError, match="3 features; split it below 2"):
        aoi.read_vector(path, "parcel file")


def test_a_small_weather_file_that_claims_a_world_is_refused_before_it_is_read(
    tmp_path, monkeypatch
):
    days = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.ones((10, 8, 8), np.float32)
    grid = {"time": days, "lat": np.arange(8.0), "lon": np.arange(8.0)}
    data = xr.Dataset({"t2m": (("time", "lat", "lon"), values, {"units": "K"})}, coords=grid)
    data.to_netcdf(tmp_path / "era.nc")
    monkeypatch.setattr(weather, "MAX_VALUES", 100)
    shapes = gpd.GeoDataFrame({"adm_id": ["a"]}, geometry=[shapely.box(1, 1, 5, 5)], crs=4326)
    with pytest.raises(InputError, match="claims 640 values, more than 100"):
        weather.read(tmp_path / "era.nc", shapes)


@pytest.mark.parametrize(
    ("base", "href", "found"),
    [
        ("s3://forest/a/catalog.json", "./x/x.json", "s3://forest/a/x/x.json"),
        ("s3://forest/a/x/x.json", "../y/red.tif", "s3://forest/a/y/red.tif"),
        ("s3://forest/a/x.json", "/b/red.tif", "s3://forest/b/red.tif"),
        ("s3://forest/a/x.json", "s3://eodata/b/red.jp2", "s3://eodata/b/red.jp2"),
    ],
)
def test_addresses_in_a_bucket_are_relative_to_each_other(base, href, found):
    assert catalog.absolute(href, base) == found


@pytest.mark.parametrize(
    "href",
    ["//other/red.tif", "s3://other/red.tif", "https://forest/red.tif", "http://169.254.169.254/x"],
)
def test_a_bucket_leads_to_no_other_bucket_and_no_host_of_its_name(href):
    with pytest.raises(BrokenItemError, match="host that is not allowed"):
        catalog.absolute(href, "s3://forest/a/catalog.json")


def test_a_bucket_named_in_the_source_is_allowed():
    assert remote.refusal("s3://other/red.tif", ["other"]) is None
