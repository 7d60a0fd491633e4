"""The rule that recommends a method: its thresholds, its sentences, what it does with what isn't known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.pair.advice import CRITICAL, CRITICAL_SHARE, LEAST_OVERLAP, advise
from ctkd_core.vocabulary.classes import CLASSES

ALL = frozenset({"sft", "uld", "sedi", "xtoken-pkl", "xtoken-hkl", "gold", "alm", "kd"})
HERE = frozenset({"sft", "uld", "sedi"})


def classes(two: int = 0, three: int = 0, total: bool = True) -> dict[str, dict[str, int]]:
    """An audit like Llama 3's, with `two` of 100 and `three` of 1,000 numbers matched."""
    row = {name: {"total": 50, "matched": 50} for name in CLASSES}
    return row | {
        "digits_1": {"total": 10, "matched": 10},
        "digits_2": {"total": 100 * total, "matched": two},
        "digits_3": {"total": 1000 * total, "matched": three},
    }


def domain(**given: Any) -> dict[str, Any]:
    row = {"student_tokens": 100, "teacher_tokens": 100, "student_tokens_1_1": 1.0, "n_groups": 100}
    return row | {"text_match_rate": 1.0} | given


def test_missing_numbers_mean_p_kl() -> None:
    found = advise({"classes": classes(0, 0), "overlap": {"canonical": 0.854}}, ALL)
    assert (found.method, found.family, found.verdict) == ("xtoken-pkl", "xtoken-pkl", "P-KL")
    assert "2-digit numbers 0 of 100, 3-digit numbers 0 of 1,000, 1-digit numbers 10 of 10" in found.because[0]
    assert "35.30" in found.because[1]
    assert "85.4 %" in found.because[2]
    assert len(found.because) == 3
    assert found.warnings == ()


def test_shared_numbers_mean_h_kl() -> None:
    found = advise({"classes": classes(100, 1000), "overlap": {"canonical": 0.8}}, ALL)
    assert (found.method, found.verdict) == ("xtoken-hkl", "H-KL")
    assert "39.18" in " ".join(found.because)
    assert advise({"classes": classes(100, 1000)}, {"gold", "sedi"}).method == "gold"


def test_a_student_that_splits_numbers_has_none_to_lose() -> None:
    found = advise({"classes": classes(total=False)}, ALL)
    assert found.verdict == "H-KL"
    assert "no tokens of several digits" in " ".join(found.because)


@given(st.sampled_from(CRITICAL), st.integers(0, 1000))
def test_one_critical_class_decides(name: str, matched: int) -> None:
    counts = classes(100, 1000) | {name: {"total": 1000, "matched": matched}}
    assert advise({"classes": counts}).verdict == ("P-KL" if matched / 1000 < CRITICAL_SHARE else "H-KL")


@given(st.sampled_from([c for c in CLASSES if c not in CRITICAL]))
def test_other_classes_do_not_decide(name: str) -> None:
    assert advise({"classes": classes(100, 1000) | {name: {"total": 9, "matched": 0}}}).verdict == "H-KL"


def test_little_overlap_leads_to_methods_without_a_map() -> None:
    found = advise({"classes": classes(), "overlap": {"canonical": LEAST_OVERLAP - 0.01}}, ALL)
    assert (found.method, found.family) == ("alm", "alm")
    assert "only 48.8 %" in " ".join(found.because)
    assert advise({"classes": classes(), "overlap": {"canonical": LEAST_OVERLAP}}, ALL).family == "xtoken-pkl"


def test_what_cannot_be_trained_here_is_said() -> None:
    found = advise({"classes": classes(), "overlap": {"canonical": 0.9}}, HERE)
    assert (found.method, found.family) == ("sedi", "xtoken-pkl")
    assert "favours X-Token" in found.because[-1]
    assert "can't be trained here yet; SeDi can" in found.because[-1]
    assert "ULD" in advise({"classes": classes()}, {"uld"}).because[-1]
    assert advise({"classes": classes()}, ()).method == "sft"


def test_equal_tokenizers_need_no_map() -> None:
    facts = {"classes": classes(100, 1000), "same_tokenizer": True, "overlap": {"canonical": 1.0}}
    found = advise(facts | {"domains": {"a": domain()}}, HERE)
    assert (found.verdict, found.method, found.warnings) == ("H-KL", "sedi", ())
    assert "forward KL" in found.because[0]
    assert advise({"classes": classes(), "same_tokenizer": True}, HERE).verdict == "H-KL"


def test_the_table_of_methods_says_what_can_train() -> None:
    for counts in (classes(), classes(100, 1000)):
        for facts in ({}, {"same_tokenizer": True}, {"overlap": {"canonical": 0.1}}):
            assert methods.get(advise({"classes": counts} | facts).method).can_train


def test_warnings_name_the_domains_and_figures() -> None:
    domains = {
        "english": domain(),
        "hindi": domain(student_tokens_1_1=0.12, teacher_tokens=250),
        "emoji": domain(text_match_rate=0.9),
        "nothing": domain(student_tokens=0, student_tokens_1_1=0.0),
    }
    found = advise({"classes": classes(100, 1000), "domains": domains, "special_tokens": ["Mind BOS."]})
    alone, few, ratio, differing, special = found.warnings
    assert "70.7 % of the student's tokens face one teacher token" in alone
    assert "in: hindi 12.0 %." in few
    assert "in: hindi 2.5." in ratio
    assert "emoji 10.0 %" in differing
    assert special == "Mind BOS."


def test_numbers_of_the_teacher_that_the_student_lacks() -> None:
    facts = {"classes": classes(total=False), "teacher_classes": classes(0, 0)}
    assert any("1,100 multi-digit tokens" in sentence for sentence in advise(facts).warnings)
    assert advise(facts | {"teacher_classes": classes(100, 1000)}).warnings == ()


def test_advice_is_plain_data() -> None:
    found = advise({"classes": classes()}).to_dict()
    rule = {"method", "family", "verdict", "because", "warnings"}
    assert set(found) == rule | {"kind", "evidence", "confidence", "options", "counter"}
    assert (found["kind"], found["evidence"], found["confidence"]) == ("", [], "")
    assert isinstance(found["because"], list)


@pytest.mark.parametrize("facts", [{}, {"classes": None}])
def test_without_the_audit_there_is_no_advice(facts: dict[str, Any]) -> None:
    with pytest.raises(CtkdError, match=r"needs the class audit .* give facts\['classes'\]"):
        advise(facts)


def test_every_method_that_is_named_can_be_trained() -> None:
    from ctkd_core.pair import advice

    named = {*advice._SAME, *advice._PROJECT, *advice._HYBRID, *advice._GROUPS, *advice._LAST}
    gone = named - {row.name for row in methods.training()}
    assert not gone, f"the orders of preference in ctkd_core/pair/advice.py name {sorted(gone)}, which don't train"
