"""Estimates: what is counted, what is scaled, and that the package's figures are those that were measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.lab.estimate import COSTS, Sizes, cost, memory

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_costs_count_logits_and_scale_what_was_measured(tmp_path):
    file = tmp_path / "losses.json"
    reference = Sizes(1, 257, 301, 128_256, 151_936)
    cases = {"gold": {"seconds": 1.0, "extra_mib": 225.71}, "forward-kl": {"seconds": 3.0, "extra_mib": 0}}
    sizes = {key: value for key, value in vars(reference).items() if key != "width"}
    file.write_text(json.dumps({"device": "two cores", "sizes": sizes, "cases": cases}))
    found = cost("gold", reference, file)
    assert found.logits == 4 * (257 * 128_256 + 301 * 151_936)
    assert found.gradient == 4 * 257 * 128_256
    assert found.extra == pytest.approx(100 * 2**20, rel=1e-3)  # what is left of the measured memory
    assert (found.seconds, found.device) == (pytest.approx(1.0), "two cores")
    twice = cost("gold", replace(reference, batch=2), file)
    assert twice.seconds == pytest.approx(2.0)
    assert twice.extra == found.extra
    assert twice.total == twice.logits + twice.gradient + twice.extra
    assert cost("gold", replace(reference, width=2), file).logits == found.logits // 2
    assert cost("kd", reference, file).seconds == pytest.approx(3.0), "another case stands for it"
    assert cost("alm", reference, file).seconds is None
    assert cost("gold", reference, tmp_path / "none.json").extra is None
    with pytest.raises(CtkdError, match="student length must be at least 1; got 0"):
        Sizes(1, 0, 1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"cases": []},
        {"cases": {"gold": {"seconds": 1.0}}},
        {"cases": {"gold": {"seconds": "1", "extra_mib": 2}}},
        {"cases": {"gold": {"seconds": -1, "extra_mib": 2}}},
        {"sizes": {"batch": 1}},
        {"sizes": dict.fromkeys(("batch", "student_length", "teacher_length", "student_vocab", "teacher_vocab"), 0)},
        {"device": None},
    ],
    ids=str,
)
def test_damaged_figures_count_as_none(tmp_path, change):
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(json.loads(COSTS.read_text(encoding="utf-8")) | change))
    found = cost("gold", Sizes(1, 257, 301, 128_256, 151_936), file)
    assert found.extra is None and found.seconds is None and found.gradient > 0


def test_memory_in_words():
    assert [memory(n) for n in (10, 200 * 2**20, 3 * 2**30)] == ["under 50 MiB", "200 MiB", "3.0 GiB"]


def test_the_packages_figures_are_those_that_were_measured(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    spec = importlib.util.spec_from_file_location("measuring_losses", BENCHMARKS / "losses.py")
    assert spec and spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    results = json.loads((BENCHMARKS / "results" / "losses.json").read_text(encoding="utf-8"))
    same = json.loads(COSTS.read_text(encoding="utf-8")) == program.costs_document(results)
    assert same, f"{COSTS.name} isn't what was measured: run `python benchmarks/losses.py --costs`"
    assert {row.cost_of or row.name for row in methods.training()} <= set(program.NAMES)


@pytest.mark.parametrize("row", methods.training(), ids=lambda row: row.name)
def test_a_case_that_stands_for_a_method_was_measured(row):
    known = json.loads(COSTS.read_text(encoding="utf-8"))["cases"]
    assert not row.cost_of or row.cost_of in known, (
        f"the row of {row.name!r} has cost_of={row.cost_of!r}, which is not among the measured cases {sorted(known)}"
    )
    found = cost(row.name, Sizes(1, 257, 301, 128_256, 151_936))
    assert (found.seconds is None) == ((row.cost_of or row.name) not in known)
