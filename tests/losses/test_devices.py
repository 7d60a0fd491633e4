"""Losses keep to the device of their logits; checked on a pretended one (`device_forms.py`), so no GPU is needed."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests import forked
from tests.losses.cases import FORMS
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    command = [sys.executable, "-m", "tests.losses.device_forms"]
    done = forked.run(command, env=os.environ, timeout=PATIENCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("form", FORMS)
def test_no_tensor_of_another_device(found: dict[str, str], form: str) -> None:
    assert found[form] == "", found[form]
