"""Alerts in a real PostGIS, started for these tests on loopback."""

import datetime as dt
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import pandas as pd
import psycopg
import pytest
import shapely
from shapely.geometry import box
from typer.testing import CliRunner

from lesniva import cli, publish
from lesniva.errors import EnvironmentFaultError, InputError

BIN = Path("/usr/lib/postgresql/15/bin")
EXTENSION = Path("/usr/share/postgresql/15/extension/postgis.control")

pytestmark = pytest.mark.skipif(
    not ((BIN / "postgres").exists() and EXTENSION.exists() and hasattr(os, "geteuid")),
    reason="PostGIS is not installed (postgresql-15-postgis-3 of Debian: make judges)",
)


def as_postgres(*command, folder):
    """Run a program of PostgreSQL, which refuses to run as root."""
    before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*before, *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def server():
    """A database on loopback, gone afterwards."""
    # not below pytest's own folder, which other users may not enter
    folder = Path(tempfile.mkdtemp(prefix="lesniva-postgis-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    as_postgres(BIN / "initdb", "-D", data, "-A", "trust", "--no-sync", folder=folder)
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    log = folder / "log"
    as_postgres(BIN / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start", folder=folder)
    try:
        owner = "postgres" if os.geteuid() == 0 else os.environ["USER"]
        yield f"postgresql://{owner}@127.0.0.1:{port}/postgres"
    finally:
        as_postgres(BIN / "pg_ctl", "-D", data, "-m", "immediate", "stop", folder=folder)
        time.sleep(0.1)
        shutil.rmtree(folder)


@pytest.fixture
def database(server):
    """An empty database."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS lesniva WITH (FORCE)")
        connection.execute("CREATE DATABASE lesniva")
    return server.removesuffix("postgres") + "lesniva"


def alerts(**changed):
    columns = {
        "alert_id": ["a", "b"],
        "status": ["low", "confirmed"],
        "confirmed_on": pd.to_datetime([None, "2026-06-10"]),
        "area_ha": [1.5, 3.25],
        "n_obs": [2, 5],
    } | changed
    count = len(columns["alert_id"])
    shapes = [box(39.6 + 0.1 * n, 52.4, 39.65 + 0.1 * n, 52.45) for n in range(count)]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")


def upsert(database, frame, job="forest", **options):
    return publish.upsert(database, frame, table="alerts", key=["alert_id"], job=job, **options)


def rows(database, what="alert_id, status, is_open", where="true"):
    with psycopg.connect(database) as connection:
        asked = f"SELECT {what} FROM alerts WHERE {where} ORDER BY 1"  # noqa: S608 of this test
        return connection.execute(asked).fetchall()


def test_what_was_published_is_in_the_database_with_its_shape_and_dates(database):
    assert upsert(database, alerts()) == 2
    (first, second) = rows(database, "alert_id, area_ha, n_obs, confirmed_on, ST_AsText(geom)")
    assert first[:4] == ("a", 1.5, 2, None)
    assert second[:4] == ("b", 3.25, 5, dt.date(2026, 6, 10))
    assert shapely.from_wkt(second[4]).equals(alerts().geometry[1])
    assert rows(database, "DISTINCT ST_SRID(geom), GeometryType(geom)") == [(4326, "MULTIPOLYGON")]


def test_a_second_time_changes_rows_and_makes_none(database):
    upsert(database, alerts())
    upsert(database, alerts(status=["confirmed", "confirmed"]))
    assert rows(database) == [("a", "confirmed", True), ("b", "confirmed", True)]


def test_an_alert_that_is_gone_stays_on_record_as_closed(database):
    upsert(database, alerts())
    upsert(database, alerts().iloc[1:])
    assert rows(database) == [("a", "low", False), ("b", "confirmed", True)]


def test_jobs_that_share_a_table_do_not_close_each_others_alerts(database):
    upsert(database, alerts())
    upsert(database, alerts(alert_id=["c", "d"]), job="other")
    assert rows(database, "alert_id, job", "is_open") == [
        ("a", "forest"),
        ("b", "forest"),
        ("c", "other"),
        ("d", "other"),
    ]


def test_a_column_that_is_new_is_added_and_described(database):
    upsert(database, alerts())
    upsert(
        database,
        alerts(cause=["fire", None]),
        titles=publish.field_titles("ru"),
        comment="Contains modified Copernicus Sentinel data 2026",
    )
    assert rows(database, "alert_id, cause") == [("a", "fire"), ("b", None)]
    with psycopg.connect(database) as connection:
        asked = "SELECT obj_description('alerts'::regclass)"
        assert "Copernicus" in connection.execute(asked).fetchone()[0]
        asked = (
            "SELECT col_description('alerts'::regclass, attnum) FROM pg_attribute "
            "WHERE attrelid = 'alerts'::regclass AND attname = 'area_ha'"
        )
        assert connection.execute(asked).fetchone()[0] == "площадь, га"


def test_nothing_changes_when_a_row_cannot_be_written(database):
    upsert(database, alerts())
    with pytest.raises(InputError, match="n_obs"):
        upsert(database, alerts(n_obs=["many", "few"]))
    assert rows(database) == [("a", "low", True), ("b", "confirmed", True)]
    with pytest.raises(InputError, match="alert_id twice"):
        upsert(database, alerts(alert_id=["a", "a"]))


def test_faults_are_one_line_without_the_password(server):
    port = server.rpartition(":")[2].partition("/")[0]
    for dsn in (
        f"postgresql://nobody:s3cret@127.0.0.1:{port}/nowhere",
        "postgresql://nobody:s3cret@127.0.0.1:1/lesniva",
        "nonsense with s3cret",
    ):
        with pytest.raises(EnvironmentFaultError) as told:
            upsert(dsn, alerts())
        assert "s3cret" not in str(told.value)
        assert "\n" not in str(told.value)


def test_the_command_publishes_a_whole_folder_and_refuses_a_damaged_one(database, tmp_path):
    publish.write_geoparquet(tmp_path / "alerts.parquet", alerts())
    (tmp_path / "run.json").write_text('{"config": {"name": "night"}, "attribution": "SYNTHETIC"}')
    publish.write_manifest(tmp_path)
    command = ["publish", str(tmp_path)]
    runner = CliRunner()
    done = runner.invoke(cli.app, command, env={"LESNIVA_POSTGIS": database})
    assert done.exit_code == 0, done.output
    assert "alerts: 2 rows" in done.output
    assert rows(database, "alert_id, job") == [("a", "night"), ("b", "night")]
    (tmp_path / "alerts.parquet").write_bytes(b"PAR1")
    done = runner.invoke(cli.app, command, env={"LESNIVA_POSTGIS": database})
    assert isinstance(done.exception, EnvironmentFaultError)
    done = runner.invoke(cli.app, ["publish", str(tmp_path)], env={"LESNIVA_POSTGIS": ""})
    assert isinstance(done.exception, InputError)
