"""Fixtures: the tiny pair, made once, and a store with a CTKD_HOME (and so a device slot) of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.distill.runs import RunStore
from tests.distill.kit import Pair, make_pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    return RunStore(tmp_path / "runs")
