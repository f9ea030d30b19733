"""Messages are told once, in order, and none is lost while the receiver is down."""

import json
import logging
import sys
import time
from pathlib import Path

import pytest

from lesniva import notify
from servers.loopback import Answer, Fault, serving

VARIABLE = "LESNIVA_TEST_WEBHOOK"

KEEP = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(notify, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def receiver(monkeypatch):
    with serving(lambda _request: Answer(204)) as server:
        monkeypatch.setenv(VARIABLE, f"{server.url}/hook/canary-secret-4242")
        yield server


def test_nothing_to_tell_asks_nobody(tmp_path, receiver):
    assert notify.deliver(tmp_path / "outbox", webhook_env=VARIABLE) == {}
    assert receiver.log == []


def test_messages_are_told_oldest_first_and_once(tmp_path, receiver):
    for day in ("2024-05-02", "2024-05-01"):
        notify.put(tmp_path, day, {"last_day": day, "job": "лес"})
    for _ in range(2):
        assert notify.deliver(tmp_path, webhook_env=VARIABLE) == {}
    assert [request.json()["last_day"] for request in receiver.log] == ["2024-05-01", "2024-05-02"]
    assert receiver.log[0].json()["job"] == "лес"
    assert receiver.log[0].headers["content-type"] == "application/json"


def test_command_gets_the_message_on_its_standard_input(tmp_path):
    told = tmp_path / "told.json"
    notify.put(tmp_path / "outbox", "a", {"alerts": [1, 2]})
    command = [sys.executable, "-c", KEEP, str(told)]
    assert notify.deliver(tmp_path / "outbox", command=command) == {}
    assert json.loads(told.read_text()) == {"alerts": [1, 2]}


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=429), Fault(reset=True)], ids=["500", "429", "reset"]
)
def test_receiver_that_fails_once_is_asked_again(tmp_path, receiver, fault):
    receiver.faults.append(fault)
    notify.put(tmp_path, "a", {})
    assert notify.deliver(tmp_path, webhook_env=VARIABLE) == {}
    assert len(receiver.log) == 2


def test_receiver_that_is_down_keeps_its_messages_and_nobody_waiting(tmp_path, receiver, caplog):
    receiver.always = lambda _request: Fault(status=503)
    for name in ("a", "b"):
        notify.put(tmp_path, name, {"name": name})
    with caplog.at_level(logging.WARNING, logger="lesniva"):
        faults = notify.deliver(tmp_path, webhook_env=VARIABLE)
    assert faults == {"a": "the webhook answers 503"}
    assert len(receiver.log) == notify.ATTEMPTS
    receiver.always = lambda _request: None
    assert notify.deliver(tmp_path, webhook_env=VARIABLE) == {}
    assert [request.json()["name"] for request in receiver.log[-2:]] == ["a", "b"]


def test_receiver_that_never_answers_is_given_up(tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.2)
    receiver.always = lambda _request: Fault(stall=1.0)
    notify.put(tmp_path, "a", {})
    started = time.monotonic()
    faults = notify.deliver(tmp_path, webhook_env=VARIABLE)
    assert faults == {"a": "the webhook does not answer (ReadTimeout)"}
    assert time.monotonic() - started < 5


def test_address_of_a_webhook_is_never_told(tmp_path, receiver, caplog):
    receiver.always = lambda _request: Fault(reset=True)
    notify.put(tmp_path, "a", {})
    with caplog.at_level(logging.DEBUG, logger="lesniva"):
        faults = notify.deliver(tmp_path, webhook_env=VARIABLE)
    told = caplog.text + str(faults) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert faults
    assert "canary" not in told


def test_redirect_is_not_followed(tmp_path, receiver):
    receiver.always = lambda _request: Fault(status=302, headers={"Location": "http://127.0.0.1:9"})
    notify.put(tmp_path, "a", {})
    assert notify.deliver(tmp_path, webhook_env=VARIABLE) == {"a": "the webhook answers 302"}


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "example.org"])
def test_variable_without_an_address_is_named(tmp_path, monkeypatch, address):
    monkeypatch.setenv(VARIABLE, address)
    notify.put(tmp_path, "a", {})
    faults = notify.deliver(tmp_path, webhook_env=VARIABLE)
    told = f"notify.webhook_env: the environment variable {VARIABLE} holds no http address; set it"
    assert faults == {"a": told}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["no-such-program-here"], "No such file"),
        (
            [sys.executable, "-c", "import sys; sys.exit('no room')"],
            "ended with code 1: no room",
        ),
        ([sys.executable, "-c", "import time; time.sleep(9)"], "took more than 0.5 s"),
    ],
    ids=["missing", "failing", "hanging"],
)
def test_command_that_fails_is_told_with_its_reason(tmp_path, monkeypatch, command, told):
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.5 if "sleep" in command[-1] else 15.0)
    monkeypatch.setattr(notify, "ATTEMPTS", 2)
    notify.put(tmp_path, "a", {})
    assert told in notify.deliver(tmp_path, command=command)["a"]


def test_outbox_of_a_receiver_that_is_gone_stays_small(tmp_path):
    for number in range(notify.MOST_WAITING + 5):
        notify.put(tmp_path, f"{number:04d}", {})
    names = sorted(path.stem for path in tmp_path.glob("*.json"))
    assert names == [f"{number:04d}" for number in range(5, notify.MOST_WAITING + 5)]


def test_same_message_put_twice_is_told_once(tmp_path: Path, receiver):
    notify.put(tmp_path, "a", {"run_id": "killed"})
    notify.put(tmp_path, "a", {"run_id": "again"})
    notify.deliver(tmp_path, webhook_env=VARIABLE)
    assert [request.json()["run_id"] for request in receiver.log] == ["again"]
