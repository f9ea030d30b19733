"""A headless Chromium for tests: Debian's, driven by Playwright without a download of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser; skip, with the reason, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: `make judges` installs Debian's")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Open a file as a double click does; fail on complaints of the page and on any request."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale="ru")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "blob:", path.as_uri()))
            else complaints.append(request.url)
        ),
    )
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []
