"""A real server and a real Chromium for the end-to-end tests; both end with the session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.homes import own_home
from tests.patience import PATIENCE, is_healthy, wait_for

PATIENCE_MS = 1000 * PATIENCE
VIEWPORT = {"width": 1440, "height": 1000}
ROOT = Path(__file__).resolve().parents[2]
# The shell is Chromium without the window that nobody sees here: a page costs a quarter less.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """The server's: with the test folder's conversions and runs of its own."""
    return own_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def server(tmp_path_factory, home) -> Iterator[str]:
    """The app on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"CTKD_HOME": str(home)},
        )
        try:
            address = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                assert process.poll() is None, f"the server ended: {log.read_text()[-2000:]}"
                return is_healthy(address)

            wait_for(answers, what="an answer of the server")
            yield address
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser():
    """Chromium; without it the tests skip."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def patient(browser, **settings: Any):
    """A context that waits patiently and draws no animations: placeholders that pulse cost more than the pages."""
    context = browser.new_context(**{"viewport": VIEWPORT, "reduced_motion": "reduce"} | settings)
    context.set_default_timeout(PATIENCE_MS)
    return context


@pytest.fixture
def new_context(browser):
    """Makes contexts for tests that need one of their own: offline, dark."""
    made = []

    def make(**settings: Any):
        made.append(patient(browser, **settings))
        return made[-1]

    yield make
    for context in made:
        context.close()


@pytest.fixture(scope="session")
def context(browser):
    """One context for the pages of all tests: the app's scripts, several megabytes, are fetched once."""
    context = patient(browser)
    yield context
    context.close()


@pytest.fixture
def page(context):
    """A fresh page, and so a session of its own on the server; its errors fail the test. It leaves nothing behind."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    yield page
    page.close()
    context.clear_cookies()
    assert faults == []


def settled(page) -> None:
    """Wait until no script of the page runs: a click while the page is being drawn anew may be lost.

    The widget alone isn't enough: it is shown a moment after a script has begun.
    """
    page.wait_for_selector(".stApp[data-test-script-state=notRunning]")
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached")
