"""Vector files that people bring: opened by what they are, refused by name."""

import warnings
from pathlib import Path

import geopandas as gpd
import shapely

from lesniva.aoi.area import MAX_VERTICES
from lesniva.errors import InputError

SIGNATURES = {
    ".geojson": ("GeoJSON", (b"{",)),
    ".json": ("GeoJSON", (b"{",)),
    ".gpkg": ("GPKG", (b"SQLite format 3\x00",)),
    ".shp": ("ESRI Shapefile", (b"\x00\x00\x27\x0a",)),
    ".parquet": ("GeoParquet", (b"PAR1",)),
}
"""Driver and first bytes by suffix. GDAL goes by content: a file that only pretends to be one of
these could be a virtual format that reads other files or the network."""


def read_vector(
    path: Path, what: str, *, layer: str | None = None, encoding: str | None = None
) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Read a layer of a file that people bring.

    Parameters
    ----------
    path
        GeoJSON, GeoPackage, Shapefile or GeoParquet, in any CRS.
    what
        Name of the file's part, for messages, such as "boundary file".
    layer
        Layer to read, where the file has several.
    encoding
        Encoding of a Shapefile's texts where it does not tell; old Russian ones are cp1251.

    Returns
    -------
    tuple of GeoDataFrame and list of str
        The features in EPSG:4326 as they are, none mended; and what the reader warned of.

    Raises
    ------
    InputError
        Missing, another format, several layers to choose from, no features, no CRS, texts in
        another encoding, or more than a million vertices.
    """
    import pyogrio

    driver = _checked_driver(path, what)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if driver == "GeoParquet":
                table = _read_parquet(path, what)
            else:
                layer = _chosen_layer(path, what, layer)
                info = pyogrio.read_info(path, layer=layer)
                if info["driver"] != driver:
                    raise InputError(
                        f"{what} {path}: it is {info['driver']}, not {driver}; convert it"
                    )
                _demand_few(info["features"], path, what)
                table = pyogrio.read_dataframe(
                    path, layer=layer, encoding=encoding, on_invalid="fix"
                )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise InputError(f"{what} {path}: cannot be read ({first_line(error)})") from error
        except UnicodeDecodeError as error:
            raise InputError(
                f"{what} {path}: its texts are not in {error.encoding};"
                " say which encoding, such as cp1251"
            ) from error
    if not isinstance(table, gpd.GeoDataFrame) or table.empty:
        raise InputError(f"{what} {path}: no features with geometry; choose another layer")
    if table.crs is None:
        raise InputError(f"{what} {path}: it does not say its CRS; add one (a Shapefile's .prj)")
    vertices = int(shapely.get_num_coordinates(table.geometry.array).sum())
    if vertices > MAX_VERTICES:
        raise InputError(f"{what} {path}: {vertices} vertices; simplify below {MAX_VERTICES}")
    notices = [f"the reader says: {first_line(warning.message)}" for warning in caught]
    return table.to_crs("EPSG:4326"), notices


def _read_parquet(path: Path, what: str) -> gpd.GeoDataFrame:
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    try:
        _demand_few(read_metadata(path).num_rows, path, what)
        return gpd.read_parquet(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{what} {path}: cannot be read ({first_line(error)})") from error


def _demand_few(features: int, path: Path, what: str) -> None:
    """Refuse what would not fit before it is read; a feature has a vertex at least."""
    if features > MAX_VERTICES:
        raise InputError(f"{what} {path}: {features} features; split it below {MAX_VERTICES}")


def _checked_driver(path: Path, what: str) -> str:
    if path.suffix.lower() not in SIGNATURES:
        raise InputError(
            f"{what} {path}: {path.suffix or 'no suffix'} is not read;"
            " give .geojson, .gpkg, .shp or .parquet (unpack archives first)"
        )
    driver, signatures = SIGNATURES[path.suffix.lower()]
    try:
        with path.open("rb") as file:
            head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from error
    if not head.startswith(signatures):
        raise InputError(f"{what} {path}: its content is not {driver}; convert it")
    return driver


def _chosen_layer(path: Path, what: str, layer: str | None) -> str:
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if layer is not None and layer not in layers:
        raise InputError(
            f"{what} {path}: no layer {layer!r} with geometry; it has {', '.join(layers)}"
        )
    if layer is None and len(layers) != 1:
        raise InputError(f"{what} {path}: {len(layers)} layers; choose one: {', '.join(layers)}")
    return layer or layers[0]


def first_line(message: object) -> str:
    """First line of what a library says."""
    return (str(message).splitlines() or [""])[0]
