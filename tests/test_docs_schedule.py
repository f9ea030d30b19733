"""The examples for timers do as the page says, taken from it word for word."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "how-to-schedule.md").read_text(encoding="utf-8")
HOME = "/srv/lesniva"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def install(home: Path, code: int) -> None:
    """Put a stand-in where the page has the program: it tells its arguments and ends as told."""
    program = home / ".venv" / "bin" / "lesniva"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@"\necho a log line >&2\nexit {code}\n')
    program.chmod(0o755)
    (home / "log").mkdir()


@pytest.mark.parametrize("code", [0, 1, 3, 75])
def test_lines_for_cron_start_the_run_keep_the_log_and_tell_of_trouble_only(tmp_path, code):
    install(tmp_path, code)
    quiet, telling = examples("cron")
    for line in (quiet, telling):
        minute, hour, *days = line.split(maxsplit=5)[:5]
        assert 0 <= int(minute) < 60
        assert 0 <= int(hour) < 24
        assert days == ["*", "*", "*"]
        # cron takes a bare % for the end of the command
        assert "%" not in line
    said = [
        subprocess.run(
            ["/bin/sh", "-c", line.split(maxsplit=5)[5].replace(HOME, str(tmp_path))],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for line in (quiet, telling)
    ]
    trouble = "" if code in (0, 75) else f"forest alerts: exit code {code}\n"
    assert said == ["", trouble]
    log = (tmp_path / "log" / "forest.log").read_text().splitlines()
    assert log == ["run pipelines/forest.toml", "a log line"] * 2


def units() -> dict[str, str]:
    service, timer = examples("ini")
    return {"lesniva-forest.service": service, "lesniva-forest.timer": timer}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_units_for_systemd_are_valid_as_they_are_written(tmp_path):
    install(tmp_path, 0)
    for name, text in units().items():
        (tmp_path / name).write_text(text.replace(HOME, str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units())],
        capture_output=True,
        text=True,
        check=False,
    )
    # it also speaks of other units of this machine
    ours = [line for line in done.stderr.splitlines() if "lesniva" in line]
    assert ours == []
    assert done.returncode == 0


def test_service_is_started_anew_only_for_what_waiting_may_mend():
    service = units()["lesniva-forest.service"]
    prevented = re.search(r"^RestartPreventExitStatus=(.*)$", service, re.MULTILINE)
    assert prevented is not None
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    retried = listed - {int(code) for code in prevented[1].split()} - {0, 75, 130}
    assert retried == {5}
    assert "SuccessExitStatus=75" in service
