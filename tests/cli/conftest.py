"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.distill.runs import RunStore
from tests.cli.test_main import Ctkd


@pytest.fixture
def ctkd(capsys: pytest.CaptureFixture[str]) -> Ctkd:
    """The command line, in this process."""
    return Ctkd(capsys)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """An empty folder of runs."""
    return RunStore(tmp_path / "runs")
