"""The forest journey on a small simulated archive: incremental, resumable, whole."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from geopandas.testing import assert_geodataframe_equal
from rio_cogeo.cogeo import cog_validate

import small
from lesniva import config, demo, pipeline, publish, synthetic
from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.errors import InputError, LockedError, SourceError
from lesniva.execution import SYNCHRONOUS
from lesniva.ledger import locked

pytestmark = pytest.mark.slow

OUTPUTS = Path(__file__).parents[1] / "docs" / "outputs.md"
AREA = Path(__file__).parents[1] / "aoi" / "lipetsk.geojson"
BANDS = ("nir", "red", "nir08", "swir22")


@pytest.fixture(scope="module", autouse=True)
def _small_pictures():
    with pytest.MonkeyPatch.context() as patched:
        small.draw_pictures_small(patched)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    synthetic.write_forest_archive(
        folder,
        size=256,
        start="2020-01-01",
        end="2022-12-31",
        scenes_per_month=dict.fromkeys(range(4, 11), 3),
        bands=BANDS,
    )
    return folder


def job_file(folder, archive, *, end="2022-12-31", **changed):
    """Write a pipeline file over a small archive."""
    values = {"block": 128, "history_end": "2021-12-31", "area": AREA} | changed
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.toml"
    path.write_text(
        f"""
        journey = "forest"
        [area]
        file = "{values["area"]}"
        clip = [39.674, 52.4785, 39.7115, 52.501]
        [source]
        kind = "catalog"
        href = "{archive / "catalog.json"}"
        [period]
        start = 2020-01-01
        end = {end}
        [grid]
        block = {values["block"]}
        [forest]
        cover = "{archive / "forest_cover.tif"}"
        [monitor]
        history_end = {values["history_end"]}
        [report]
        close_ups = 5
        """
    )
    return path


def run(file, out, scheduler=SYNCHRONOUS):
    return pipeline.run(config.read(file), out, scheduler=scheduler)


def rasters(out):
    """Pixels of all rasters by name."""
    pixels = {}
    for path in sorted((out / "rasters").glob("*.tif")):
        with rasterio.open(path) as file:
            pixels[path.name] = file.read(1)
    return pixels


def assert_same(out, other, *, history=True):
    """Compare results; `history` includes the ids and events that depend on earlier runs."""
    mine, theirs = rasters(out), rasters(other)
    assert mine.keys() == theirs.keys()
    for name, pixels in mine.items():
        np.testing.assert_array_equal(pixels, theirs[name], err_msg=name)
    alerts = [gpd.read_file(folder / "alerts.geojson") for folder in (out, other)]
    if not history:
        alerts = [each.drop(columns=["alert_id", "id", "event"]) for each in alerts]
    mine, theirs = (
        each.sort_values(["date_max", "lon", "lat"], ignore_index=True) for each in alerts
    )
    assert_geodataframe_equal(mine, theirs)


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    """One run over everything."""
    folder = tmp_path_factory.mktemp("whole")
    report = run(job_file(folder, archive), folder / "out")
    assert report.exit_code == 0
    return folder / "out"


def test_every_result_says_that_it_is_synthetic(whole):
    assert json.loads((whole / "run.json").read_text())["attribution"] == SYNTHETIC_NOTICE
    assert SYNTHETIC_NOTICE in (whole / "alerts.geojson").read_text()
    assert SYNTHETIC_NOTICE in (whole / "stac" / "collection.json").read_text()
    for path in (whole / "rasters").glob("*.tif"):
        with rasterio.open(path) as file:
            assert file.tags()["TIFFTAG_COPYRIGHT"] == SYNTHETIC_NOTICE


def test_rasters_are_valid_cogs_of_one_grid(whole):
    shapes = set()
    for path in (whole / "rasters").glob("*.tif"):
        assert cog_validate(path, strict=True, quiet=True)[0], path
        with rasterio.open(path) as file:
            shapes.add((file.shape, file.transform))
    assert len(shapes) == 1


def test_alerts_are_found_where_and_after_something_happened(archive, whole):
    events = gpd.read_file(archive / "truth" / "events.gpkg")
    alerts = gpd.read_file(whole / "alerts.geojson")
    verdict = demo.judge(events, alerts, since="2021-12-31")
    assert len(verdict.events) >= 2
    assert verdict.events["found"].mean() >= 0.5
    assert (verdict.events["seen_after"].dropna() >= 0).all()


def test_outputs_are_whole_by_their_manifest(whole):
    assert publish.verify(whole) == []


def test_a_second_run_without_new_scenes_writes_nothing(archive, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    report = run(job_file(whole.parent, archive), whole)
    assert report.nothing_new
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    changed = [path.name for path in after if after[path] != before.get(path)]
    assert [name for name in changed if not name.endswith("lock")] == []


def test_a_damaged_result_is_published_again(archive, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "rasters" / "status.tif").write_bytes(b"")
    assert not run(job_file(tmp_path, archive), out).nothing_new
    assert_same(out, whole, history=False)
    assert publish.verify(out) == []


def test_three_runs_over_growing_time_equal_one_run_over_all(archive, whole, tmp_path):
    out = tmp_path / "out"
    for end in ("2022-05-31", "2022-08-31", "2022-12-31"):
        report = run(job_file(tmp_path, archive, end=end), out)
    assert_same(out, whole, history=False)
    assert report.results["days"] > 0
    run_json = json.loads((out / "run.json").read_text())
    assert run_json["results"]["events"].keys() <= {
        "new", "grown", "promoted", "merged", "split", "closed", "reviewed",
    }  # fmt: skip


def write_verdict(out, alert, columns):
    """Write into the table of verdicts, as a reviewer does in QGIS."""
    with closing(sqlite3.connect(out / "lesniva.gpkg")) as edited, edited:
        edited.execute(f"UPDATE verdicts SET {columns} WHERE alert_id = ?", (alert,))  # noqa: S608


def test_a_verdict_written_in_the_geopackage_is_honoured_and_survives(archive, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    judged = gpd.read_file(out / "alerts.geojson")["alert_id"][0]
    write_verdict(out, judged, "verdict = 'false', reviewer = 'Иванова'")
    report = run(job_file(tmp_path, archive), out)
    assert report.results["events"] == {"reviewed": 1}
    told = gpd.read_file(out / "alerts.geojson").set_index("alert_id")["review_status"]
    assert told[judged] == "false"
    assert (told.drop(judged) == "unreviewed").all()
    form = publish.read_table(out / "lesniva.gpkg", "verdicts").set_index("alert_id")
    assert form.loc[judged, ["verdict", "reviewer"]].tolist() == ["false", "Иванова"]
    assert run(job_file(tmp_path, archive), out).nothing_new


def test_a_misspelt_verdict_is_named_once_on_the_page_and_fails_no_run(archive, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    judged = gpd.read_file(out / "alerts.geojson")["alert_id"][0]
    write_verdict(out, judged, "verdict = 'flase', comment = 'видел сам'")
    report = run(job_file(tmp_path, archive), out)
    assert (report.exit_code, report.nothing_new) == (0, False)
    said = f"verdict of alert {judged} is 'flase'"
    assert said in (out / "report" / "index.html").read_text()
    assert said in json.loads((out / "run.json").read_text())["results"]["warnings"][0]
    form = publish.read_table(out / "lesniva.gpkg", "verdicts").set_index("alert_id")
    assert form.loc[judged, ["verdict", "comment"]].tolist() == ["flase", "видел сам"]
    again = run(job_file(tmp_path, archive), out)
    assert (again.exit_code, again.nothing_new) == (0, True)
    assert any(said in line for line in again.lines())


def test_blocks_leave_no_seam(archive, whole, tmp_path):
    out = tmp_path / "out"
    run(job_file(tmp_path, archive, block=64), out)
    assert_same(out, whole)


def test_every_column_of_the_geopackage_has_a_title_and_stands_in_the_docs(whole):
    path = whole / "lesniva.gpkg"
    layers = set(pyogrio.list_layers(path)[:, 0]) - {"layer_styles"}
    columns = {name for layer in layers for name in pyogrio.read_info(path, layer=layer)["fields"]}
    assert columns - set(publish.field_titles("ru")) == set()
    told = set(re.findall(r"\w+", OUTPUTS.read_text(encoding="utf-8")))
    assert layers | columns <= told


def test_dask_workers_give_the_same_as_one_process(archive, whole, tmp_path):
    out = tmp_path / "out"
    run(job_file(tmp_path, archive), out, scheduler=None)
    assert_same(out, whole)


def test_scenes_without_red_are_shown_by_the_index_that_is_watched(tmp_path):
    catalog = small.write_archive(tmp_path / "archive", bands=("nir", "nir08", "swir22"))
    cover = catalog.parent / "forest_cover.tif"
    report = run(small.write_job(tmp_path, catalog, cover=cover), tmp_path / "out")
    assert report.exit_code == 0
    assert {"nbr.tif", "ndvi.tif"} & rasters(tmp_path / "out").keys() == {"nbr.tif"}
    assert publish.verify(tmp_path / "out") == []


def test_an_unreadable_scene_is_named_and_the_rest_goes_on(archive, tmp_path):
    broken = tmp_path / "archive"
    shutil.copytree(archive, broken)
    victim = min(path for path in (broken / "scenes").iterdir() if "_202207" in path.name)
    (victim / "nir08.tif").write_bytes((victim / "nir08.tif").read_bytes()[:500])
    report = run(job_file(tmp_path, broken), tmp_path / "out")
    assert report.exit_code == 3
    assert victim.name in report.faults
    assert publish.verify(tmp_path / "out") == []
    assert (
        victim.name in json.loads((tmp_path / "out" / "run.json").read_text())["results"]["faults"]
    )


def test_an_archive_without_a_readable_scene_is_a_source_error(archive, tmp_path):
    broken = tmp_path / "archive"
    shutil.copytree(archive, broken)
    for path in broken.glob("scenes/*/scl.tif"):
        path.write_text("<html>gone</html>")
    with pytest.raises(SourceError, match=r"none of .* scenes could be read, the first because"):
        run(job_file(tmp_path, broken), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_state_of_another_method_is_refused_by_name(archive, whole, tmp_path):
    with pytest.raises(InputError, match=r"history_end: 2021-12-31 → 2021-06-30"):
        run(job_file(tmp_path, archive, history_end="2021-06-30"), whole)


def test_a_second_run_on_the_same_folder_is_refused(archive, tmp_path):
    out = tmp_path / "out"
    with locked(out / ".lesniva"), pytest.raises(LockedError, match="another run is at work"):
        run(job_file(tmp_path, archive), out)
