"""`make check` asks for known vulnerabilities of the locked packages, where somebody answers."""

import subprocess
import sys
from pathlib import Path

import pytest

from servers.loopback import Answer, Request, serving

HOME = Path(__file__).parents[1]

KNOWN = {
    "id": "PYSEC-2099-1",
    "summary": "eats memory",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "boto"},
            "versions": ["1.0"],
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


def audit(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Audit a lock file of two packages by the advisories of a server."""
    lock = folder / "some.lock"
    hashed = f"--hash=sha256:{'0' * 64}"
    lock.write_text(f"acme==2.0 {hashed}\nboto==1.0 {hashed}\n")
    script, pip_audit = HOME / "tests/judges/audit.sh", Path(sys.executable).parent / "pip-audit"
    options = ("--vulnerability-service", "osv", "--osv-url", url)
    return subprocess.run(
        [script, pip_audit, lock, *options], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_known_vulnerability_fails_the_check_and_is_named(tmp_path):
    def advise(request: Request) -> Answer:
        asked = request.json()
        return Answer.of_json({"vulns": [KNOWN] if asked["package"]["name"] == "boto" else []})

    with serving(advise) as server:
        done = audit(tmp_path, server.url)
        assert len(server.log) == 2
    assert done.returncode == 1
    assert "boto" in done.stdout
    assert "PYSEC-2099-1" in done.stdout
    assert "acme" not in done.stdout


def test_packages_that_nothing_is_known_of_pass(tmp_path):
    with serving(lambda _request: Answer.of_json({})) as server:
        done = audit(tmp_path, server.url)
    assert (done.returncode, done.stdout) == (0, "audit: no known vulnerabilities\n")


@pytest.mark.parametrize("status", [None, 404])
def test_where_nobody_answers_the_check_says_so_and_passes(tmp_path, status):
    with serving(lambda _request: Answer(status)) as server:
        url = server.url if status else "http://127.0.0.1:9"
        done = audit(tmp_path, url)
        assert len(server.log) <= 1
    assert done.returncode == 0
    assert done.stdout.startswith("audit: skipped, no index tells of vulnerabilities here (")
    assert done.stdout.count("\n") == 1
