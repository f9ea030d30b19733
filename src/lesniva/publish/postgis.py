"""Published features into PostGIS: rows are known by their key, and a second time changes them.

Needs the extra ``postgis`` (psycopg). The whole of a call is one transaction.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pyarrow as pa

from lesniva.errors import EnvironmentFaultError, InputError
from lesniva.publish.fields import field_titles
from lesniva.publish.manifest import RUN, verify
from lesniva.publish.vector import GEOMETRY, arrow_table

if TYPE_CHECKING:
    from psycopg import Connection

SRID = 4326

OWN = {"job": "text", "is_open": "boolean"}
"""Columns we add: the job that a row is of, and whether its last results still have it."""

STAGE = "lesniva_stage"
"""Temporary table that rows come through."""


KEYS = {"alerts": ("alert_id",), "forecast": ("forecast_id", "year", "cutoff")}
"""Features of an output folder → columns that tell their rows apart."""


def publish_folder(folder: Path, dsn: str) -> dict[str, int]:
    """Write the alerts or forecasts of an output folder into tables of the same name.

    Parameters
    ----------
    folder
        Output folder of a run; it must be whole.
    dsn
        As for `upsert`.

    Returns
    -------
    dict
        Table → rows written.

    Raises
    ------
    InputError
        The folder has neither alerts nor a forecast.
    EnvironmentFaultError
        The folder is not whole, or as `upsert`.
    """
    faults = verify(folder)
    if faults:
        raise EnvironmentFaultError(
            f"{folder} is not whole: {'; '.join(faults)}; run the job again to publish it anew"
        )
    there = {name: folder / f"{name}.parquet" for name in KEYS}
    there = {name: path for name, path in there.items() if path.exists()}
    if not there:
        raise InputError(
            f"{folder} has neither alerts nor a forecast; name the folder of such a job"
        )
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    return {
        name: upsert(
            dsn,
            gpd.read_parquet(path),
            table=name,
            key=KEYS[name],
            job=run["config"]["name"],
            titles=field_titles("ru"),
            comment=run["attribution"],
        )
        for name, path in there.items()
    }


def upsert(
    dsn: str,
    frame: gpd.GeoDataFrame,
    *,
    table: str,
    key: Sequence[str],
    job: str,
    titles: Mapping[str, str] | None = None,
    comment: str = "",
) -> int:
    """Write features into a table of a PostGIS database, in place of their former selves.

    The table is made when it is not there, and gets columns that are new. Rows of the job that the
    features no longer have stay, with ``is_open`` false.

    Parameters
    ----------
    dsn
        Connection string or address of libpq; what it leaves out comes from ``PG…`` variables and
        ``~/.pgpass``.
    frame
        Polygons in any CRS; stored as multipolygons in longitude and latitude (EPSG:4326).
    table
        Its name, of letters, digits and ``_``; ``schema.table`` names the schema too.
    key
        Columns that tell rows apart.
    job
        Name of the job; several may share a table.
    titles
        Column → title for people; become comments of the columns.
    comment
        Attribution; becomes the comment of the table.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        A key occurs twice in the features, or the table has a column of another type.
    EnvironmentFaultError
        psycopg is missing, the database cannot be reached, has no PostGIS, or refuses.
    """
    if frame.duplicated(list(key)).any():
        raise InputError(f"{table} has a {' and '.join(key)} twice; publish the folder anew")
    rows = arrow_table(frame.to_crs(SRID), multi=True)
    columns = {field.name: _sql_type(field.type) for field in rows.schema}
    with _connected(dsn) as connection:
        _prepare(connection, table, columns, key)
        _describe(connection, table, titles or {}, columns, comment)
        _fill_stage(connection, rows, columns)
        _merge(connection, table, columns, key, job)
    return int(rows.num_rows)


@contextmanager
def _connected(dsn: str) -> Iterator["Connection[Any]"]:
    """Connect for one transaction; what the server says becomes one line without secrets."""
    try:
        import psycopg
    except ImportError as error:
        raise EnvironmentFaultError(
            "PostGIS needs the package psycopg; install lesniva[postgis]"
        ) from error
    try:
        with psycopg.connect(dsn, connect_timeout=20, application_name="lesniva") as connection:
            yield connection
    except psycopg.errors.DatatypeMismatch as error:
        raise InputError(f"PostGIS: {_line(error)}; rename the old table, or drop it") from error
    except psycopg.ProgrammingError as error:
        # a connection string that libpq cannot read is told with the string in it
        known = error.sqlstate is not None
        reason = _line(error) if known else "the connection string is not understood"
        raise EnvironmentFaultError(
            f"PostGIS refuses: {reason}; check the database and the rights of its user"
        ) from error
    except psycopg.Error as error:
        raise EnvironmentFaultError(
            f"PostGIS cannot be used: {_line(error)}; check LESNIVA_POSTGIS and the server"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind):
        return "double precision"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamptz"
    return "bytea" if pa.types.is_binary(kind) else "text"


def _named(table: str) -> Any:
    from psycopg import sql

    return sql.Identifier(*table.split("."))


def _prepare(
    connection: "Connection[Any]", table: str, columns: Mapping[str, str], key: Sequence[str]
) -> None:
    """Make the table, or give it the columns that it lacks."""
    from psycopg import sql

    connection.execute("SET LOCAL client_min_messages = warning")
    connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    listed = {**columns, **OWN, GEOMETRY: f"geometry(MultiPolygon, {SRID})"}
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    parts = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in listed.items()
    ]
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
            _named(table), sql.SQL(", ").join(parts), keys
        )
    )
    for part in parts:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {}").format(_named(table), part)
        )
    index = sql.Identifier(f"{table.rpartition('.')[2]}_{GEOMETRY}_idx")
    connection.execute(
        sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING gist ({})").format(
            index, _named(table), sql.Identifier(GEOMETRY)
        )
    )


def _describe(
    connection: "Connection[Any]",
    table: str,
    titles: Mapping[str, str],
    columns: Mapping[str, str],
    comment: str,
) -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(_named(table), sql.Literal(comment))
    )
    for column in columns:
        if column in titles:
            connection.execute(
                sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                    _named(table), sql.Identifier(column), sql.Literal(titles[column])
                )
            )


def _fill_stage(connection: "Connection[Any]", rows: pa.Table, columns: Mapping[str, str]) -> None:
    from psycopg import sql

    parts = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in columns.items()
    ]
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            sql.Identifier(STAGE), sql.SQL(", ").join(parts)
        )
    )
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(STAGE), names)
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows.to_pylist():
            # a missing number is NULL, whatever the frame had for it
            copy.write_row([None if value != value else value for value in row.values()])  # noqa: PLR0124


def _merge(
    connection: "Connection[Any]",
    table: str,
    columns: Mapping[str, str],
    key: Sequence[str],
    job: str,
) -> None:
    from psycopg import sql

    names = [*columns, *OWN]
    values = [
        sql.SQL("ST_GeomFromWKB({}, {})").format(sql.Identifier(name), sql.Literal(SRID))
        if name == GEOMETRY
        else sql.Identifier(name)
        for name in columns
    ]
    changed = [
        sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name))
        for name in names
        if name not in key
    ]
    connection.execute(
        sql.SQL("UPDATE {} SET is_open = false WHERE job = {}").format(
            _named(table), sql.Literal(job)
        )
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {} ({}) SELECT {}, {}, true FROM {} ON CONFLICT ({}) DO UPDATE SET {}"
        ).format(
            _named(table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(values),
            sql.Literal(job),
            sql.Identifier(STAGE),
            sql.SQL(", ").join(map(sql.Identifier, key)),
            sql.SQL(", ").join(changed),
        )
    )
