"""Replay the reference facts in tests/golden/: integers and texts agree exactly, floats to the file's tolerance.

`options/` has further facts, whose cases set options that the first ones leave at their defaults; `edges/` has small
ones where something is empty, missing or cut off.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest

from tests import golden_adapters

FOLDER = Path(__file__).parent
RESULTS = ("output", "outputs", "own_computation_of_paper_formulas")
ROW_RESULTS = {"student_groups", "teacher_groups", "groups", "pairs_s0_s1_t0_t1_correct"}


def _all_cases():
    for file in sorted(FOLDER.rglob("*.json")):
        if file.stem not in golden_adapters.FAMILIES:
            continue
        data = json.loads(file.read_text(encoding="utf-8"))
        for case in data.get("cases", []) + data.get("span_only_cases", []):
            name = case.get("id") or case.get("name")
            yield pytest.param(file.stem, data, case, id=f"{file.stem}-{name}")


def _recorded(case):
    out = {}
    for key in RESULTS:
        if isinstance(case.get(key), dict):
            out |= case[key]
    if "rows" in case:
        out["rows"] = [{k: v for k, v in row.items() if k in ROW_RESULTS} for row in case["rows"]]
    return out


def _question(case):
    case = copy.deepcopy({k: v for k, v in case.items() if k not in RESULTS})
    for row in case.get("rows", []):
        for key in ROW_RESULTS & set(row):
            del row[key]
    return case


def _tolerance(data, case):
    given = case.get("tolerance", data.get("meta", {}).get("tolerance", data.get("tolerance")))
    relative, absolute = 1e-5, 1e-7
    if isinstance(given, dict):
        relative, absolute = float(given.get("rtol", relative)), float(given.get("atol", absolute))
    elif isinstance(given, (int, float)):
        relative = absolute = float(given)
    # facts recorded with six decimals can't be compared more finely than that
    return max(relative, 1e-6), max(absolute, 2e-6)


def _same(recorded, computed, tolerance) -> bool:
    if isinstance(recorded, dict):
        if set(recorded) == {"error"}:
            return isinstance(computed, dict) and "error" in computed
        return isinstance(computed, dict) and all(
            k in computed and _same(v, computed[k], tolerance) for k, v in recorded.items()
        )
    if isinstance(recorded, list):
        return (
            isinstance(computed, (list, tuple))
            and len(recorded) == len(computed)
            and all(_same(a, b, tolerance) for a, b in zip(recorded, computed))
        )
    if isinstance(recorded, float) and isinstance(computed, (int, float)) and not isinstance(computed, bool):
        relative, absolute = tolerance
        both_nan = math.isnan(recorded) and math.isnan(computed)
        return both_nan or abs(recorded - computed) <= absolute + relative * abs(recorded)
    return recorded == computed


@pytest.mark.parametrize(("family", "data", "case"), list(_all_cases()))
def test_the_project_returns_what_the_reference_returned(family, data, case):
    wanted = {k: v for k, v in _recorded(case).items() if k not in golden_adapters.SKIPPED.get(family, {})}
    if not wanted:
        pytest.skip(f"every result: {set(golden_adapters.SKIPPED[family].values())}")
    computed = golden_adapters.replay(family, _question(case))
    for key, value in wanted.items():
        assert key in computed, f"{key} isn't computed"
        assert _same(value, computed[key], _tolerance(data, case)), f"{key}: {value} recorded, {computed[key]} computed"


CASES = [param.values for param in _all_cases()]
WITH_OPTIONS = [
    (family, part, case) for family, _, case in CASES for part in ("options", "config", "params") if part in case
]


@pytest.mark.parametrize("family", sorted({family for family, *_ in WITH_OPTIONS}))
def test_an_option_that_nothing_reads_is_refused(family):
    """Silence about one is how a wrong number passes."""
    part, case = next((part, case) for own, part, case in WITH_OPTIONS if own == family)
    question = _question(case)
    question[part]["an_option_of_tomorrow"] = 1
    with pytest.raises(ValueError, match="nothing here reads an_option_of_tomorrow"):
        golden_adapters.replay(family, question)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("alm", "alm_diff_fn", "hellinger"),
        ("alm", "distill_chunk_sizes", [1, 0]),
        ("alm", "chunk_kind", "unbiased"),
        ("dskd", "label_smoothing", 0.1),
        ("multilevelot", "f", 3),
        ("cot2align", "marginals", "by entropy"),
        ("mined", "vocab_align_type", "fuzzy"),
    ],
)
def test_an_unknown_value_is_refused(family, name, value):
    question = next(_question(case) for own, part, case in WITH_OPTIONS if own == family and name in case[part])
    question["options"][name] = value
    with pytest.raises(ValueError, match=name):
        golden_adapters.replay(family, question)


@pytest.mark.parametrize("mode", ["", "append_space", "merge_by_space_prob+append_space"])
def test_chunks_of_which_none_counts_have_no_mean(mode):
    """The public code divides 0 by 0."""
    question = next(_question(case) for family, _, case in CASES if family == "alm")
    question["options"]["alm_mode"] = mode
    question["inputs"]["teacher_loss_mask"] = [0] * len(question["inputs"]["teacher_ids"])
    computed = golden_adapters.replay("alm", question)
    assert math.isnan(computed["loss"])
    assert not any(computed["naive_chunk_mask"])


def test_an_answer_without_labels_has_no_distances():
    question = next(_question(case) for family, _, case in CASES if family == "multilevelot")
    question["options"]["skip_student_eos"] = True
    question["inputs"]["student_labels"] = [[-100] * len(row) for row in question["inputs"]["student_labels"]]
    computed = golden_adapters.replay("multilevelot", question)
    assert set(computed["answer_size_student"]) == {0}
    assert {part["weighted"] for part in computed["per_example"]} == {0.0}


def test_comparison_sees_differences():
    exact = (1e-5, 1e-7)
    assert _same({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-6], "b": 3}, exact)
    assert not _same({"a": [1, 2.0]}, {"a": [1, 2.1]}, exact)
    assert not _same([1], [1, 2], exact)
    assert not _same({"error": "X"}, [[0]], exact)
    assert not _same(True, False, exact)


def test_an_unknown_family_says_which_there_are():
    with pytest.raises(KeyError, match=r"no adapter for the family 'nothing' yet; there are alignment, alm, cdm"):
        golden_adapters.replay("nothing", {})


def test_every_skipped_key_has_a_reason():
    for family, keys in golden_adapters.SKIPPED.items():
        assert family in golden_adapters.FAMILIES
        assert all(len(reason) > 20 for reason in keys.values())
