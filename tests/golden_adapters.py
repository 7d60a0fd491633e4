"""Replay reference facts: one case without its results in, the same keys computed by the project out.

`replay(family, case)` serves the families in FAMILIES, each by the module of its name in tests/golden; SKIPPED says
which keys are left out and why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from tests.golden.asked import Options

Case = dict[str, Any]

SKIPPED: dict[str, dict[str, str]] = {
    "alignment": {
        "spacy_alignments": "another product's character diff of the surface strings; no method here works that way",
    },
    "xtoken": {"warning": "advice to the reader of the facts, nothing that a program returned"},
}

# Kinds of cases whose options stand among the inputs.
OPTIONS_AMONG_INPUTS = {"generalized_jsd", "merge", "projection_matrix"}


def replay(family: str, case: Case) -> dict[str, Any]:
    """The results of one case, by the keys of its file.

    Raises KeyError for an unknown family, ValueError for an option that nothing reads or that has no such value here.
    """
    if family not in FAMILIES:
        raise KeyError(f"no adapter for the family {family!r} yet; there are {', '.join(FAMILIES)}.")
    options = {part: Options(case[part]) for part in ("options", "config", "params") if part in case}
    if case.get("kind") in OPTIONS_AMONG_INPUTS:
        options["inputs"] = Options(case["inputs"])
    results = FAMILIES[family]({**case, **options})
    for part in options.values():
        part.all_read()
    return results


def _replayed(family: str, case: Case) -> dict[str, Any]:
    """By the module of the family's name, which may bring torch."""
    results: dict[str, Any] = import_module(f"tests.golden.{family}").replay(case)
    return results


_NAMES = "alignment alm cdm cot2align divergences dskd gold_uld mined multilevelot xtoken"
FAMILIES: dict[str, Callable[[Case], dict[str, Any]]] = {name: partial(_replayed, name) for name in _NAMES.split()}
