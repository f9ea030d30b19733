"""The command line: every fault is one line with its exit code, nothing is half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lesniva import cli, execution, pipeline
from lesniva.errors import InputError, NoDataError
from lesniva.ledger import locked
from scenes import grid, outline

HOME = Path(__file__).parents[1]
AREA = HOME / "aoi" / "lipetsk.geojson"

JOB = """
journey = "composite"
[area]
file = "{area}"
clip = {clip}
[source]
kind = "catalog"
href = "{href}"
[period]
start = {start}
end = {end}
"""


@pytest.fixture
def lesniva(monkeypatch, capsys):
    """Run the command line in this process; give its exit code, output and error lines."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["lesniva", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("lesniva: ")]
        return stopped.value.code, out, told

    return call


def catalog(folder, *, files=True, when="2022-06-05T08:36:00Z"):
    """Write a catalog of one item whose files may be missing."""
    shape = outline(grid(64, 64))
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "one",
        "geometry": json.loads(json.dumps(shape.__geo_interface__)),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when},
        "links": [],
        "assets": {band: {"href": f"./{band}.tif"} for band in ("red", "nir", "scl") if files},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": "./one.json"}]
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "c"}
    (folder / "catalog.json").write_text(json.dumps({**root, "links": links}))
    return folder / "catalog.json"


def job(tmp_path, **changed):
    west, south, east, north = outline(grid(64, 64)).bounds
    values = {
        "area": AREA,
        "clip": [west, south, east, north],
        "href": catalog(tmp_path / "archive"),
        "start": "2022-01-01",
        "end": "2022-12-31",
    } | changed
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(**values))
    return path


def broken_area(tmp_path):
    path = tmp_path / "area.geojson"
    path.write_text("{")
    return path


def empty_catalog(tmp_path):
    path = catalog(tmp_path / "empty")
    path.write_text(json.dumps({**json.loads(path.read_text()), "links": []}))
    return path


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        (lambda _: {"area": "nowhere.geojson"}, 2, "nowhere.geojson"),
        (lambda tmp: {"area": broken_area(tmp)}, 2, "area.geojson"),
        (lambda _: {"href": "nowhere/catalog.json"}, 2, "does not exist"),
        (lambda tmp: {"href": empty_catalog(tmp)}, 4, "no"),
        (lambda _: {"start": "2023-01-01"}, 2, "start 2023-01-01 is after end 2022-12-31"),
        (lambda _: {"clip": [40.0, 53.0, 40.1, 53.1]}, 4, "area"),
        (lambda _: {"clip": [100.0, 10.0, 101.0, 11.0]}, 2, "clip"),
        (lambda _: {}, 5, "none of 1 scenes could be read, the first because: scene one"),
    ],
    ids=[
        "missing area",
        "broken area",
        "missing catalog",
        "empty catalog",
        "dates the wrong way round",
        "area outside the data",
        "clip outside the area",
        "unreadable scene",
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_leaves_nothing(
    lesniva, tmp_path, changed, code, words
):
    file = job(tmp_path, **changed(tmp_path))
    out = tmp_path / "out"
    stopped, _, told = lesniva("run", file, "--out", out, "--scheduler", "synchronous")
    assert stopped == code
    assert len(told) == 1
    assert words in told[0]
    assert [path.name for path in out.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_a_missing_pipeline_file_is_named(lesniva, tmp_path):
    code, _, told = lesniva("run", tmp_path / "no.toml")
    assert code == 2
    assert "no.toml" in told[0]


def test_all_faults_of_a_pipeline_file_come_in_one_line(lesniva, tmp_path):
    file = tmp_path / "job.toml"
    file.write_text('journey = "forest"\n[area]\nfil = "x"\n[grid]\nresolution = "20"\n')
    code, _, told = lesniva("run", file)
    assert code == 2
    assert len(told) == 1
    for part in ("area.fil: unknown key, did you mean file?", "grid.resolution", "source: missing"):
        assert part in told[0]


def test_a_folder_that_cannot_be_made_is_an_environment_fault(lesniva, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, told = lesniva("run", job(tmp_path), "--out", tmp_path / "file" / "out")
    assert code == 7
    assert "cannot write" in told[0]


def test_a_second_run_on_the_same_folder_ends_at_once_with_75(lesniva, tmp_path):
    out = tmp_path / "out"
    with locked(out / ".lesniva"):
        code, _, told = lesniva("run", job(tmp_path), "--out", out)
    assert code == 75
    assert "another run is at work" in told[0]


def test_no_scheduler_at_an_address_is_a_source_error(lesniva, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "CONNECT_SECONDS", 1)
    code, _, told = lesniva(
        "run", job(tmp_path), "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9"
    )
    assert code == 5
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in told[0]


def test_check_opens_no_imagery_and_names_what_is_missing(lesniva, tmp_path):
    code, out, _ = lesniva("check", job(tmp_path))
    assert code == 0
    assert "fine" in out
    code, _, told = lesniva("check", job(tmp_path, href="no/catalog.json", area="no.geojson"))
    assert code == 2
    assert "no.geojson" in told[0]
    assert "no/catalog.json" in told[0]


def test_plan_reads_no_pixel(lesniva, tmp_path):
    # the scene's files do not exist
    code, out, _ = lesniva("plan", job(tmp_path))
    assert code == 0
    for word in ("scenes    1 on 1 days", "grid      utm37n", "blocks", "to read", "time"):
        assert word in out


def test_schema_in_the_repository_is_the_one_of_the_code(lesniva):
    code, out, _ = lesniva("schema")
    assert code == 0
    committed = HOME / "pipelines" / "pipeline.schema.json"
    assert json.loads(out) == json.loads(committed.read_text(encoding="utf-8"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lesniva import cli;"
        "print([name for name in ('numpy', 'pandas', 'dask', 'rasterio', 'numba', 'lightgbm',"
        " 'xarray', 'matplotlib', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_m_lesniva_is_the_command_line(tmp_path):
    asked = [sys.executable, "-m", "lesniva", "status", tmp_path]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("lesniva: no run has ended in ")


def test_an_internal_error_is_one_line_too(lesniva, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("lesniva.pipeline.run", fail)
    code, _, told = lesniva("run", job(tmp_path), "--out", tmp_path / "out")
    assert code == 1
    assert "internal error (ZeroDivisionError: division by zero)" in told[0]


def test_aoi_import_writes_a_checked_area_file(lesniva, tmp_path):
    source = tmp_path / "fields.geojson"
    shape = outline(grid(64, 64))
    feature = {
        "type": "Feature",
        "properties": {"name": "Липецкий район"},
        "geometry": shape.__geo_interface__,
    }
    source.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    code, out, _ = lesniva("aoi", "import", source, "--out", tmp_path / "area.geojson")
    assert code == 0
    assert "Липецкий район" in out
    assert (tmp_path / "area.geojson").exists()


def test_lang_overrules_the_language_that_the_report_opens_in(lesniva, monkeypatch, tmp_path):
    opened = []

    def run(asked, out, scheduler):
        opened.append(asked.report.language)
        raise NoDataError("enough was seen")

    monkeypatch.setattr(pipeline, "run", run)
    file = HOME / "pipelines" / "demo-forest.toml"
    for words in ((), ("--lang", "en"), ("--lang", "ru")):
        assert lesniva("run", file, *words)[0] == NoDataError.exit_code
    assert opened == ["ru", "en", "ru"]
    code, _, told = lesniva("run", job(tmp_path), "--lang", "en")
    assert code == InputError.exit_code
    assert told == ["lesniva: --lang en: journey composite has no report page; leave it out"]
