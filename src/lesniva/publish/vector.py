"""Vector and table files: GeoJSON, GeoPackage, GeoParquet, CSV.

A frame may hold strings, numbers (nullable ones too), booleans, dates and times. Columns of
``datetime64`` without a time zone are dates when they hold whole days only, else UTC times; those
with a time zone are UTC times. Lists are joined by ``"; "``. A frame without rows gives a valid
file with all its columns, so give its columns their dtypes.
"""

import datetime as dt
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.storage import whole_file, write_text

GEOPACKAGE_VERSION = "1.3"
"""GDAL's own default (1.4) makes QGIS 3.22 and GDAL 3.6 complain."""

GEOJSON_DECIMALS = 7
"""About a centimetre."""

SQLITE_MAGIC = b"SQLite format 3\0"

GEOMETRY = "geom"
"""Name of the geometry column of a GeoPackage."""

ALIAS_KEY = b"GDAL:OGR:alternative_name"
"""Arrow field metadata from which GDAL makes the alias of a column."""


def write_geojson(
    path: Path, frame: gpd.GeoDataFrame, *, id_column: str, metadata: Mapping[str, Any]
) -> None:
    """Write features by RFC 7946.

    Longitude and latitude with seven decimals, right-hand rule, cut at the antimeridian; dates as
    ISO 8601 text.

    Parameters
    ----------
    path
        Final name, ``.geojson``.
    frame
        Features in any CRS (it must be known).
    id_column
        Column whose values become the ``id`` member of the features; it stays a property too.
    metadata
        Attribution and the like; becomes the foreign member ``metadata`` of the collection.

    Raises
    ------
    ValueError
        The CRS of the frame is unknown.
    EnvironmentFaultError
        The file cannot be written; an earlier one of that name is untouched.
    """
    lines = ",\n".join(
        json.dumps(feature, ensure_ascii=False, allow_nan=False)
        for feature in geojson_features(frame, id_column=id_column)
    )
    about = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
    write_text(
        path,
        f'{{"type": "FeatureCollection",\n"metadata": {about},\n"features": [\n{lines}\n]}}\n',
    )


def geojson_features(frame: gpd.GeoDataFrame, *, id_column: str) -> list[dict[str, Any]]:
    """Features of a frame as RFC 7946 wants them (see `write_geojson`), as Python objects."""
    buffer = io.BytesIO()
    pyogrio.write_arrow(
        arrow_table(frame),
        buffer,
        driver="GeoJSON",
        layer="features",
        geometry_name=GEOMETRY,
        geometry_type="Unknown",
        crs=_crs(frame),
        RFC7946="YES",
        COORDINATE_PRECISION=str(GEOJSON_DECIMALS),
    )
    features: list[dict[str, Any]] = json.loads(buffer.getvalue())["features"]
    # GDAL can set the id itself, but then takes the column out of the properties, and people
    # filter by it.
    return [
        {"type": "Feature", "id": feature["properties"][id_column], **feature}
        for feature in features
    ]


def write_geopackage(
    path: Path,
    layers: Mapping[str, pd.DataFrame],
    *,
    when: dt.datetime,
    attribution: str,
    styles: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> None:
    """Write several layers and tables into one GeoPackage 1.3.

    Parameters
    ----------
    path
        Final name, ``.gpkg``; a file of that name is replaced, so that what a reviewer wrote into
        it has to be read before (`read_table`).
    layers
        Name → features (each in its own CRS) or table. Polygons are stored as multipolygons; so is
        a layer of features without rows.
    when
        Stands as the time of the last change, so that the file depends on its content alone.
    attribution
        Goes into the metadata of the file.
    styles
        Name of a layer → QML, embedded as its default style.
    aliases
        Name of a column → title for people, in all layers that have it.
    descriptions
        Name of a layer → one sentence.

    Raises
    ------
    ValueError
        No layers, or the CRS of a layer is unknown.
    EnvironmentFaultError
        The file cannot be written; an earlier one of that name is untouched.
    """
    if not layers:
        raise ValueError(f"{path.name} got no layers; give at least one, it may have no rows")
    frames = dict(layers)
    if styles:
        frames["layer_styles"] = _style_table(frames, styles, when)
    with whole_file(path) as temporary, _disk_faults(path):
        for name, frame in frames.items():
            _append_layer(
                temporary,
                name,
                frame,
                aliases or {},
                (descriptions or {}).get(name, ""),
                attribution,
            )
        _freeze_times(temporary, when)


def read_table(path: Path, layer: str) -> pd.DataFrame | None:
    """Read one layer of a GeoPackage, for what a reviewer wrote into it to live on.

    Parameters
    ----------
    path
        A GeoPackage of an earlier run.
    layer
        Its name.

    Returns
    -------
    DataFrame or GeoDataFrame or None
        None where there is no such file or layer yet.

    Raises
    ------
    InputError
        The file is there and is no GeoPackage.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise InputError(f"{path} is no GeoPackage; restore it, or remove it to start anew")
    # GDAL would leave an .aux.xml beside a file that it has only read
    pyogrio.set_gdal_config_options({"GDAL_PAM_ENABLED": False})
    try:
        if layer not in pyogrio.list_layers(path)[:, 0]:
            return None
        table: pd.DataFrame = pyogrio.read_dataframe(path, layer=layer)
    finally:
        pyogrio.set_gdal_config_options({"GDAL_PAM_ENABLED": None})
    return table


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (DataSourceError, DataLayerError, FeatureError, sqlite3.OperationalError) as error:
        raise EnvironmentFaultError(
            f"cannot write {path}: {error}; free some space or choose another folder"
        ) from error


def _append_layer(
    path: Path,
    name: str,
    frame: pd.DataFrame,
    aliases: Mapping[str, str],
    description: str,
    attribution: str,
) -> None:
    options: dict[str, Any] = {"DESCRIPTION": description, "IDENTIFIER": name}
    if isinstance(frame, gpd.GeoDataFrame):
        options |= {
            "geometry_name": GEOMETRY,
            "geometry_type": _geometry_type(frame),
            "crs": _crs(frame),
        }
    if name == "layer_styles":
        # QGIS looks for this column by name when it edits a style.
        options["FID"] = "id"
    new = not path.exists()
    pyogrio.write_arrow(
        arrow_table(frame, aliases=aliases, multi=True),
        path,
        driver="GPKG",
        layer=name,
        append=not new,
        **({"VERSION": GEOPACKAGE_VERSION} if new else {}),
        **({"dataset_metadata": {"ATTRIBUTION": attribution}} if new else {}),
        **options,
    )


def _geometry_type(frame: gpd.GeoDataFrame) -> str:
    """Name the narrowest type that holds all shapes; without any, that of alerts and districts."""
    kinds = set(frame.geometry.geom_type.dropna()) or {"Polygon"}
    if kinds <= {"Polygon", "MultiPolygon"}:
        return "MultiPolygon"
    return kinds.pop() if len(kinds) == 1 else "Unknown"


def arrow_table(
    frame: pd.DataFrame,
    *,
    aliases: Mapping[str, str] | None = None,
    multi: bool = False,
) -> pa.Table:
    """Columns in the types that every format below has; geometries as WKB in column ``geom``.

    Parameters
    ----------
    frame
        Features or table; the index is dropped.
    aliases
        Name of a column → title for people.
    multi
        Turn polygons into multipolygons.
    """
    features = isinstance(frame, gpd.GeoDataFrame)
    table = frame.drop(columns=frame.geometry.name) if features else frame
    columns = {str(name): _arrow_array(table[name]) for name in table.columns}
    if features:
        shapes = frame.geometry.to_numpy()
        columns[GEOMETRY] = pa.array(
            shapely.to_wkb(_multi(shapes) if multi else shapes), pa.binary()
        )
    schema = pa.schema(
        pa.field(name, column.type, metadata=_alias(aliases or {}, name))
        for name, column in columns.items()
    )
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def _alias(aliases: Mapping[str, str], name: str) -> dict[bytes, bytes] | None:
    return {ALIAS_KEY: aliases[name].encode()} if name in aliases else None


def _arrow_array(column: "pd.Series[Any]") -> pa.Array:
    if pd.api.types.is_datetime64_any_dtype(column):
        return _arrow_times(column)
    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object).map(_joined, na_action="ignore")
    array = pa.Array.from_pandas(column)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _arrow_times(column: "pd.Series[Any]") -> pa.Array:
    if column.dt.tz is not None:
        return pa.Array.from_pandas(column.dt.tz_convert("UTC")).cast(pa.timestamp("ms", "UTC"))
    if (column.dropna() == column.dropna().dt.normalize()).all():
        return pa.Array.from_pandas(column).cast(pa.date32())
    return pa.Array.from_pandas(column.dt.tz_localize("UTC")).cast(pa.timestamp("ms", "UTC"))


def _joined(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _multi(shapes: Any) -> list[Any]:
    return [
        shapely.MultiPolygon([shape]) if isinstance(shape, shapely.Polygon) else shape
        for shape in shapes
    ]


def _crs(frame: gpd.GeoDataFrame) -> str:
    if frame.crs is None:
        raise ValueError("features without a CRS cannot be published; call set_crs() before")
    code = frame.crs.to_epsg()
    return f"EPSG:{code}" if code else str(frame.crs.to_wkt())


def _style_table(
    layers: Mapping[str, pd.DataFrame],
    styles: Mapping[str, str],
    when: dt.datetime,
) -> pd.DataFrame:
    """Make the table in which QGIS keeps styles inside a GeoPackage."""
    rows = [
        {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": name,
            "f_geometry_column": GEOMETRY if isinstance(layers[name], gpd.GeoDataFrame) else "",
            "styleName": name,
            "styleQML": qml,
            "styleSLD": "",
            "useAsDefault": True,
            "description": "",
            "owner": "",
            "ui": "",
            "update_time": pd.Timestamp(when),
        }
        for name, qml in styles.items()
    ]
    return pd.DataFrame(rows)


def _freeze_times(path: Path, when: dt.datetime) -> None:
    """Replace the clock's time, the only thing in the file that differs from run to run."""
    stamp = f"{when:%Y-%m-%dT%H:%M:%S}.000Z"
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE gpkg_contents SET last_change = ?", (stamp,))
        database.execute("UPDATE gpkg_metadata_reference SET timestamp = ?", (stamp,))
        database.commit()
        database.execute("VACUUM")


def write_geoparquet(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Write features as GeoParquet 1.1 (WKB, with a bbox column to read parts by), for analysts."""
    with whole_file(path) as temporary:
        frame.to_parquet(
            temporary,
            index=False,
            compression="zstd",
            geometry_encoding="WKB",
            schema_version="1.1.0",
            write_covering_bbox=True,
        )


def write_csv(path: Path, frame: pd.DataFrame, *, decimals: int = 4) -> None:
    """Write a table as CSV: UTF-8 with a mark that Excel understands, ISO dates, decimal points.

    Geometries are left out; lists are joined by ``"; "``; missing values are empty.
    """
    features = isinstance(frame, gpd.GeoDataFrame)
    table = frame.drop(columns=frame.geometry.name) if features else frame
    columns = arrow_table(pd.DataFrame(table)).to_pandas(types_mapper=pd.ArrowDtype)
    text = columns.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n")
    write_text(path, f"\N{ZERO WIDTH NO-BREAK SPACE}{text}")
