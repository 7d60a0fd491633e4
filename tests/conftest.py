"""Test-wide settings: no hub, and a CTKD_HOME beside the checkout (conversions are cached once in it)."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CTKD_HOME"] = os.environ.get("CTKD_TEST_HOME", str(Path(__file__).resolve().parents[1] / ".ctkd" / "tests"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that spin while they wait slow a loaded machine down many times over, and tests run side by side: one each.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from ctkd_core.background import lifecycle
from ctkd_core.tokenizers import assets, catalog, child
from tests import forked

# The first call of a compiled kernel takes a second, later ones microseconds. Every run draws other examples;
# whoever changes a kernel or a parser draws many: `pytest --hypothesis-profile thorough tests/alignment`.
settings.register_profile("ctkd", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ctkd")


FORKS = pytest.StashKey[forked.Servers]()
ANEW = lifecycle.start_detached, child.subprocess


def pytest_configure(config: pytest.Config) -> None:
    """What tests start is forked, by one process for all of pytest's."""
    if forked.FOLDER not in os.environ and sys.platform.startswith("linux"):
        config.stash[FORKS] = forked.Servers()
        if config.args_source is pytest.Config.ArgsSource.TESTPATHS:  # of all tests, the slow ones ask at once
            forked.begin()
    if forked.FOLDER in os.environ:
        lifecycle.start_detached, child.subprocess = forked.start_detached, forked.Subprocess


def pytest_unconfigure(config: pytest.Config) -> None:
    """The end of the processes that fork."""
    if FORKS in config.stash:
        config.stash[FORKS].close()


@pytest.fixture
def started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started as they are in use."""
    monkeypatch.setattr(lifecycle, "start_detached", ANEW[0])
    monkeypatch.setattr(child, "subprocess", ANEW[1])


def pytest_collection_finish() -> None:
    """Thousands of collected tests and their modules stay to the end: the garbage collector needn't walk them."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first: started last, one such test would run alone while the other processes wait.

    Each of several processes begins with a part of the list, as many tests each: slow ones head the first part, those
    in the browser the second, so that mostly one process starts a server and a browser.
    """

    def is_slow(item: pytest.Item) -> bool:
        return item.get_closest_marker("slow") is not None

    browser = sorted((item for item in items if item.get_closest_marker("browser")), key=is_slow, reverse=True)
    others = sorted((item for item in items if not item.get_closest_marker("browser")), key=is_slow, reverse=True)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    second = len(items) // processes if processes > 1 else 0
    items[:] = [*others[:second], *browser, *others[second:]]
    wanting = [item for item in items if item.get_closest_marker("gemma")]
    if wanting and not assets.is_prepared(catalog.TOKENIZERS[catalog.GEMMA]):
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs `ctkd prepare gemma --accept-terms`"))
