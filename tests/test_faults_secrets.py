"""No secret of the environment is in anything that a run writes, sends or says."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from lesniva import config, execution, pipeline
from small import draw_pictures_small, write_archive, write_job

CANARIES = {
    "SH_CLIENT_ID": "canary-client-Qz7W",
    "SH_CLIENT_SECRET": "canary-secret-Qz7W",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-key-Qz7W",
    "AWS_SESSION_TOKEN": "canary-aws-token-Qz7W",
    "LESNIVA_TEST_WEBHOOK": "http://127.0.0.1:9/canary-hook-Qz7W",
}

SIGNED = "https://user:canary-word-Qz7W@host.org/a.tif?sig=canary-signature-Qz7W"
"""Address in the words of a library that nobody expected to fail."""

END = b"Qz7W"
"""What they all end with: a part of a secret is too much, too."""


@pytest.mark.slow
def test_secrets_are_in_no_task_no_log_and_no_file(tmp_path, monkeypatch, caplog, capfd):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lesniva.notify.PAUSE_SECONDS", 0.01)
    draw_pictures_small(monkeypatch)
    catalog = write_archive(tmp_path / "archive")
    file = write_job(
        tmp_path,
        catalog,
        cover=catalog.parent / "forest_cover.tif",
        end="2022-06-15",
        more='[notify]\nwebhook_env = "LESNIVA_TEST_WEBHOOK"',
    )
    job = config.read(file)
    unlucky = max(block.key for block in pipeline.place.place_of(job).blocks)
    sent: list[bytes] = []
    attempt = execution._attempt

    def tapped(key: str, function: Any, arguments: Any) -> Any:
        sent.append(pickle.dumps((key, function, arguments)))
        if (function.__name__, key) == ("read_new", unlucky):
            raise RuntimeError(f"asked {SIGNED} with Authorization: Bearer canary-bearer-Qz7W")
        done = attempt(key, function, arguments)
        sent.append(pickle.dumps(done))
        return done

    monkeypatch.setattr(execution, "_attempt", tapped)
    with caplog.at_level(logging.DEBUG):
        report = pipeline.run(job, tmp_path / "out", scheduler=execution.SYNCHRONOUS)
    assert report.not_told, "the webhook was not tried"
    assert report.faults == {
        unlucky: "RuntimeError: asked https://host.org/a.tif with Authorization: Bearer ***"
    }
    assert "Traceback" in caplog.text
    told = "".join((caplog.text, *capfd.readouterr(), repr(report), str(report.told())))
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(sent) > 20
    assert len(written) > 20
    for place in (told.encode(), *sent, *written):
        assert b"canary" not in place
    for place in (told.encode(), *sent):
        assert END not in place


def test_debug_run_that_fails_shows_no_secret_in_its_traceback(tmp_path, monkeypatch, caplog):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    def fail(**_: Any) -> None:
        raise ZeroDivisionError(f"asked with {len(os.environ)} variables")

    with caplog.at_level(logging.DEBUG):
        done = execution.run_tasks(None, fail, {"a": {"out": Path("x")}}, title="Fail")
    assert "Traceback" in caplog.text
    assert "canary" not in caplog.text + str(done)
    assert END.decode() not in caplog.text + str(done)
