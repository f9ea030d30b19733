"""Telling others of new alerts: a command or a webhook, tried again, never in a run's way.

What is to be told is kept in an outbox until it has been told: a run that is killed after its
results are published, or whose receiver is down, leaves the message to the next one.
"""

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesniva.errors import CredentialsError, LesnivaError, SourceError
from lesniva.storage import write_json

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Times a message is tried in one run."""

PAUSE_SECONDS = 1.0
"""Before the second try; doubled before each further one."""

TIMEOUT_SECONDS = 15.0
"""How long a receiver may take."""

MOST_WAITING = 50
"""Messages an outbox keeps for a receiver that is down; the oldest go first."""


def put(outbox: Path, name: str, message: Mapping[str, Any]) -> Path:
    """Keep a message until `deliver` has told it.

    Parameters
    ----------
    outbox
        Folder; made if need be.
    name
        Of the message, such as the id of a run; a second one of that name replaces the first.
    message
        JSON values.
    """
    path = outbox / f"{name}.json"
    write_json(path, dict(message))
    for oldest in sorted(outbox.glob("*.json"))[:-MOST_WAITING]:
        oldest.unlink()
    return path


def deliver(
    outbox: Path, *, command: Sequence[str] | None = None, webhook_env: str | None = None
) -> dict[str, str]:
    """Tell what waits in an outbox, oldest first; stop at what cannot be told.

    Parameters
    ----------
    outbox
        Folder that `put` filled; may be missing.
    command
        Program with its arguments; gets the message as JSON on its standard input.
    webhook_env
        Environment variable with an address that the message is posted to as JSON.

    Returns
    -------
    dict
        Name of a message → why it could not be told. It stays in the outbox. Nothing is raised.
    """
    for path in sorted(outbox.glob("*.json")):
        try:
            content = path.read_bytes()
            if command is not None:
                _run(command, content)
            if webhook_env is not None:
                _post(_address(webhook_env), content)
        except (LesnivaError, OSError) as error:
            logger.warning("alerts of run %s are not told: %s", path.stem, error)
            return {path.stem: str(error)}
        path.unlink()
    return {}


def _run(command: Sequence[str], content: bytes) -> None:
    def once() -> None:
        try:
            done = subprocess.run(  # noqa: S603 the user's own command, without a shell
                command, input=content, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"notify.command {command[0]} took more than {TIMEOUT_SECONDS:g} s"
            ) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise SourceError(
                f"notify.command {command[0]} ended with code {done.returncode}: {''.join(said)}"
            )

    _tried(once)


def _address(variable: str) -> str:
    address = os.environ.get(variable, "")
    if not address.startswith(("https://", "http://")):
        raise CredentialsError(
            f"notify.webhook_env: the environment variable {variable} holds no http address; set it"
        )
    return address


def _post(address: str, content: bytes) -> None:
    import requests

    def once() -> None:
        try:
            answer = requests.post(
                address,
                data=content,
                headers={"Content-Type": "application/json"},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # the address is a secret with most services: only the kind of the fault is told
            raise SourceError(f"the webhook does not answer ({type(error).__name__})") from None
        if not answer.ok or answer.is_redirect:
            raise SourceError(f"the webhook answers {answer.status_code}")

    _tried(once)


def _tried(once: Any) -> None:
    import stamina

    for attempt in stamina.retry_context(
        on=SourceError, attempts=ATTEMPTS, wait_initial=PAUSE_SECONDS, wait_jitter=0, timeout=None
    ):
        with attempt:
            once()
