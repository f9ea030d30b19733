"""What a scheduler and an administrator see: reports, logs, status, messages, going back."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lesniva import cli, ledger
from servers.loopback import Answer, Fault, serving
from small import draw_pictures_small, write_archive, write_job

WEBHOOK = "LESNIVA_TEST_WEBHOOK"
MORE = f'[notify]\nwebhook_env = "{WEBHOOK}"\n[alerts]\nmin_area_ha = 0.04'


@pytest.fixture(scope="module", autouse=True)
def _small_pictures():
    with pytest.MonkeyPatch.context() as patched:
        draw_pictures_small(patched)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    catalog = write_archive(folder / "archive")
    return folder, catalog


def job(files, folder: Path, **changed) -> Path:
    home, catalog = files
    return write_job(folder, catalog, cover=home / "archive" / "forest_cover.tif", **changed)


@pytest.fixture
def lesniva(monkeypatch, capsys):
    """Run the command line in this process; give its exit code, output and errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["lesniva", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def receiver():
    with serving(lambda _request: Answer(204)) as server:
        yield server


@pytest.fixture(scope="module")
def told(files, receiver, tmp_path_factory):
    """A run with a report, log lines and a message, as a scheduler would start it."""
    folder = tmp_path_factory.mktemp("told")
    file = job(files, folder, end="2022-06-15", more=MORE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(WEBHOOK, receiver.url)
        words = ["run", str(file), "--out", str(folder / "out"), "--scheduler", "synchronous"]
        patched.setattr(sys, "argv", ["lesniva", *words, "--json", "--log", "json"])
        with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as stopped:
                cli.main()
    assert stopped.value.code == 0, (folder / "err.txt").read_text()
    return folder


def test_report_is_the_only_thing_on_stdout(told):
    report = json.loads((told / "out.txt").read_text())
    assert report["outcome"] == "done"
    assert report["exit_code"] == 0
    assert report["faults"] == report["not_told"] == {}
    run = json.loads((told / "out" / "run.json").read_text())
    assert report["run_id"] == run["run_id"]
    assert report["results"].items() <= run["results"].items()


def test_every_log_line_is_an_object_with_the_run_and_there_is_no_bar(told):
    lines = [json.loads(line) for line in (told / "err.txt").read_text().splitlines()]
    report = json.loads((told / "out.txt").read_text())
    assert len(lines) >= 9
    assert {line["run"] for line in lines} == {report["run_id"]}
    assert "\x1b" not in (told / "err.txt").read_text()


def test_new_alerts_are_told_once(told, receiver):
    (message,) = [request.json() for request in receiver.log]
    report = json.loads((told / "out.txt").read_text())
    assert message["run_id"] == report["run_id"]
    assert message["synthetic"] is True
    assert len(message["alerts"]) == report["results"]["events"]["new"] > 0
    assert {alert["event"] for alert in message["alerts"]} == {"new"}
    assert not list((told / "out" / ".lesniva" / "outbox").iterdir())


def test_status_tells_run_lag_and_disk(told, lesniva):
    code, out, _ = lesniva("status", told / "out")
    assert code == 0
    assert "done, 0." in out
    assert "no run is at work" in out
    code, out, _ = lesniva("status", told / "out", "--json")
    standing = json.loads(out)
    run = json.loads((told / "out" / "run.json").read_text())
    assert standing["run_id"] == run["run_id"]
    assert standing["last_day"] == run["results"]["last_day"]
    assert standing["lag_days"] == 0
    assert standing["kept_runs"] == [run["run_id"]]
    assert standing["bytes"] > 100_000


def test_status_counts_the_days_from_the_results_to_the_newest_scene(told, lesniva, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    run = json.loads((out / "run.json").read_text())
    run["config"]["period"]["end"] = "2022-07-31"
    run["results"]["faults"] = {"utm37n/0001_0002": "the worker died"}
    (out / "run.json").write_text(json.dumps(run))
    code, told_json, _ = lesniva("status", out, "--json")
    assert code == 3
    standing = json.loads(told_json)
    assert standing["newest_day"].startswith("2022-07")
    assert 30 < standing["lag_days"] < 90
    run["config"]["source"]["href"] = str(tmp_path / "gone" / "catalog.json")
    (out / "run.json").write_text(json.dumps(run))
    code, out_text, _ = lesniva("status", out)
    assert "the source cannot be asked: " in out_text
    assert "not done  utm37n/0001_0002: the worker died" in out_text


def test_status_knows_of_a_run_at_work_and_of_one_that_died(told, lesniva, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    book = ledger.Ledger(out / ".lesniva")
    ledger._repository(book).create_branch(
        ledger.RUN, ledger._repository(book).lookup_branch(ledger.MAIN)
    )
    assert "a run died in the middle" in lesniva("status", out)[1]
    with ledger.locked(out / ".lesniva"):
        assert "a run is at work" in lesniva("status", out)[1]


def test_status_of_a_folder_without_a_run_is_no_data(lesniva, tmp_path):
    code, out, err = lesniva("status", tmp_path)
    assert (code, out) == (4, "")
    assert "no run has ended in" in err


def test_failure_is_a_report_too(lesniva, tmp_path):
    code, out, err = lesniva("run", tmp_path / "none.toml", "--json")
    report = json.loads(out)
    assert code == report["exit_code"] == 2
    assert report["outcome"] == "failed"
    assert report["error"] in err


@pytest.mark.slow
def test_job_goes_back_to_a_run_and_on_from_there_to_the_same_results(
    files, told, receiver, lesniva, tmp_path, monkeypatch
):
    monkeypatch.setenv(WEBHOOK, receiver.url)
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    before = json.loads((out / "run.json").read_text())["run_id"]
    file = job(files, tmp_path, end="2022-07-31", more=MORE)
    asked = ("run", file, "--out", out, "--scheduler", "synchronous", "--json")

    # the receiver is down: the run does not care, and the message waits
    receiver.always = lambda _request: Fault(status=404)
    monkeypatch.setattr("lesniva.notify.PAUSE_SECONDS", 0.01)
    code, report, _ = lesniva(*asked)
    first = json.loads(report)
    assert code == 0
    assert {"new", "promoted"} & first["results"]["events"].keys()
    assert list(first["not_told"].values()) == ["the webhook answers 404"]
    alerts = (out / "alerts.geojson").read_bytes()

    # nothing new the next night, but the message goes out
    receiver.always = lambda _request: None
    before_log = len(receiver.log)
    code, report, _ = lesniva(*asked)
    assert (code, json.loads(report)["outcome"]) == (0, "nothing new")
    assert len(receiver.log) == before_log + 1

    code, said, _ = lesniva("rollback", out, "--to", before)
    assert (code, f"back at {before}" in said) == (0, True)
    assert f"now       back at {before}; the next run" in lesniva("status", out)[1]
    code, report, _ = lesniva(*asked)
    assert json.loads(report)["results"] == first["results"]
    assert (out / "alerts.geojson").read_bytes() == alerts


def test_going_back_to_what_is_not_there_is_refused(told, lesniva, tmp_path):
    code, _, err = lesniva("rollback", told / "out", "--to", "never")
    assert code == 2
    assert "run never is not kept in" in err
    code, _, err = lesniva("rollback", tmp_path, "--to", "never")
    assert code == 2
    assert "holds no state of a forest job" in err


# ── doctor ────────────────────────────────────────────────────────────────────────────────────


def test_doctor_tells_versions_disk_and_that_credentials_are_there_but_not_which(
    lesniva, tmp_path, monkeypatch
):
    monkeypatch.setenv("SH_CLIENT_SECRET", "canary-secret-4242")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    code, out, err = lesniva("doctor", "--dir", tmp_path)
    assert (code, err) == (0, "")
    assert "gdal (rasterio)" in out
    assert "projections right" in out
    assert "can be written and locked" in out
    assert "SH_CLIENT_SECRET is set" in out
    assert "AWS_ACCESS_KEY_ID is not set" in out
    assert "4242" not in out
    assert not list(tmp_path.iterdir())


def test_doctor_names_all_that_is_wrong_and_still_tells_the_rest(lesniva, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("pyogrio.list_drivers", lambda: {"GPKG": "rw"})
    code, out, err = lesniva("doctor", "--dir", tmp_path / "file")
    assert code == 7
    assert "versions" in out
    assert "disk: " in err
    assert "drivers: GDAL lacks GeoJSON" in err


def test_doctor_minds_a_full_disk(lesniva, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    code, _, err = lesniva("doctor", "--dir", tmp_path)
    assert code == 7
    assert "0.0 GB free, want 2 or more" in err
