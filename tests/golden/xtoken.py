"""Replay of tests/golden/xtoken.json: alignments, projection matrices and losses, each in a file of its own."""

from __future__ import annotations

import importlib
from typing import Any

_FILES = {"alignment": "alignment", "projection_matrix": "maps", "loss": "losses"}


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    return importlib.import_module(f"tests.golden.xtoken_{_FILES[case['kind']]}").replay(case)
