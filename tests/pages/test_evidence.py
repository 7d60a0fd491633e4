"""Page Evidence: rankings, one run, claims, analyses, how to do it again, and what it says where there is nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.methods.evidence import EvidenceError, store
from ctkd_core.pair.evidence import LEAST_SEEDS
from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
from experiments import digest
from experiments import standing as looks
from pages.parts import late_values, pair_verdict
from tests.experiments import made
from tests.pages.app import figures, opened, texts

pytestmark = pytest.mark.real
VALUES = {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.4, 1: 1.5, 2: 1.6}}
ANALYSIS = "title: Where targets go\nquestion: Where?\nminutes: 1\nanalysis: looking\nneeds: [gemma]\n"
FOUND = {
    "tables": [
        {"title": "Six pairs", "columns": ["pair", "top-1"], "rows": [["a", 0.5], ["b", None]], "note": "By us."}
    ],
    "claims": [{"claim": "SeDi is ahead.", "source": "SeDi, table 1", "ours": "0.95", "verdict": "reproduced"}],
    "environment": {},
}


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the page read what these results give."""

    def use(values: dict[str, dict[int, float]] | None) -> None:
        found = []
        if values is not None:
            runs = made.experiment(tmp_path, monkeypatch)
            made.write(runs, made.results(values))
            (tmp_path / "other").mkdir()
            (tmp_path / "other" / "experiment.yaml").write_text(ANALYSIS, encoding="utf-8")
            (tmp_path / "other" / "results.json").write_text(json.dumps(FOUND), encoding="utf-8")
            found = [runs, digest.definition.load("other")]
        document = digest.build(found)
        monkeypatch.setattr(store, "read", lambda *_: document)
        store.load.cache_clear()

    yield use
    store.load.cache_clear()


def test_the_packaged_evidence_opens() -> None:
    at = opened("evidence")
    assert not at.exception and not at.error
    assert at.query_params == {}


def test_it_opens_where_the_pair_above_was_tried_most() -> None:
    student, teacher = "smollm2", "gemma3-270m"
    own = [(e, c) for e, c in store.load().conditions if (c.student, c.teacher) == (student, teacher)]
    most = max(sum(len(method.runs) for method in c.methods) for _, c in own)
    at = opened("evidence", student=student, teacher=teacher)
    assert at.selectbox(key="kind").value == "cross-family"
    shown = at.selectbox(key="setting").value
    assert any(
        sum(len(method.runs) for method in c.methods) == most and shown == f"{c.title} · {e.name}" for e, c in own
    )
    told = len({(c.title, c.kind, c.regime) for _, c in own})  # some are told by two experiments
    assert f"was tried in {told} settings: cross-family, few samples (" in at.success[0].value


def test_a_ranking_with_its_run_and_tables(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", student="qwen")
    assert not at.exception and not at.error
    said = texts(at).replace("\\", "")
    assert "ALM comes first: -0.1 (-0.1 to -0.1) against SFT, n = 3, chance 0.25. Decided." in said
    assert "The pair above, smollm2 → qwen, was never tried" in said
    assert "Chance (Holm) can decide nothing here: with 1 difference and 3 seeds" in said
    assert at.selectbox(key="kind").value == "tokenizer transfer"
    assert at.selectbox(key="regime").value == "few samples"
    assert set(figures(at)) == {"bits per byte (lower is better), minus SFT", "bits per byte (lower is better), seed 0"}
    assert any("minus SFT" in table.value.columns for table in at.dataframe)
    assert any(code.value == "make evidence NAME=made AGAIN=1" for code in at.code)
    at.selectbox(key="tried").select("SFT, seed 2").run()
    assert "bits per byte (lower is better), seed 2" in figures(at)
    assert "run-sft-2" in texts(at)


def test_the_pair_above_was_tried(evidence: Any) -> None:
    evidence(VALUES)
    assert "was tried in 1 setting: tokenizer transfer, few samples." in opened("evidence").success[0].value


def test_a_measure_without_values_is_said(evidence: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LEAST_LOOKS", 99)
    evidence(VALUES)
    at = opened("evidence", by="equal seconds")
    assert not any("minus SFT" in title for title in figures(at)), "an axis without a point says nothing"
    assert "No run of this setting has a value to show" in at.info[0].value and "four looks" in at.info[0].value
    at.segmented_control(key="by").set_value("difference").run()
    assert not at.info and any("minus SFT" in title for title in figures(at))


def test_settings_of_the_pair_above_are_told_in_the_order_of_their_runs() -> None:
    of_pair = [c for _, c in store.load().conditions if (c.student, c.teacher) == DEFAULT_PAIR]
    of_pair.sort(key=lambda c: -sum(len(method.runs) for method in c.methods))
    kinds = Counter(f"{k}, {r}" for _, k, r in dict.fromkeys((c.title, c.kind, c.regime) for c in of_pair))
    told = "; ".join(f"{name} ({count})" for name, count in kinds.most_common())
    assert told in opened("evidence").success[0].value, "in any other order they change places with each start"


def test_never_tried_is_said(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", kind="cross-family")
    assert "Never tried" in at.info[0].value
    at.selectbox(key="kind").select("tokenizer transfer").run()
    assert not at.info
    assert at.selectbox(key="regime").value == "few samples"
    at.selectbox(key="regime").select("long run").run()
    assert "Never tried" in at.info[0].value


def test_a_kind_keeps_its_regime_though_the_one_before_is_late(evidence: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 3600)
    evidence(VALUES)
    at = opened("evidence", regime="long run")
    at.selectbox(key="kind").select("cross-family").run()
    at.selectbox(key="kind").select("tokenizer transfer").run()
    assert at.selectbox(key="regime").value == "few samples"
    at.selectbox(key="regime").select("long run").run()
    assert at.selectbox(key="regime").value == "few samples" and not at.info


def test_fields_show_the_setting_and_the_run_of_another_regime() -> None:
    at = opened("evidence")
    names = at.selectbox(key="setting").options
    at.selectbox(key="setting").select_index(
        names.index(next(n for n in names if n.startswith("bytes-variants")))
    ).run()
    at.selectbox(key="tried").select("Bytes (positions common), seed 0").run()
    at.selectbox(key="regime").select("fresh text").run()
    for key in ("setting", "tried"):
        field = at.selectbox(key=key)
        assert field.format_func(field.value) == field.options[0]
        assert field.proto.set_value, f"a browser would go on showing the {key} of the other regime"


def test_a_setting_that_the_address_names_is_shown_for_every_pair() -> None:
    at = opened("evidence")
    at.selectbox(key="setting").select_index(1).run()
    at.selectbox(key="tried").select_index(1).run()
    chosen = {key: at.query_params[key] for key in ("setting", "tried")}
    other = {"student": "smollm2", "teacher": "gemma3-270m"}
    assert opened("evidence", **other).selectbox(key="kind").value != at.selectbox(key="kind").value
    again = opened("evidence", **other, **chosen)
    assert {key: again.selectbox(key=key).value for key in chosen} == chosen
    assert again.selectbox(key="kind").value == at.selectbox(key="kind").value


def test_a_run_is_chosen_with_its_setting() -> None:
    """Another pair may open another setting first; the address would name a run that it doesn't have."""
    at = opened("evidence")
    shown = at.selectbox(key="setting").value
    at.selectbox(key="tried").select_index(1).run()
    assert at.query_params["setting"] == shown


def test_the_address_brings_the_view_back(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", by="value", tried="SFT, seed 1")
    assert set(figures(at)) == {"bits per byte (lower is better)", "bits per byte (lower is better), seed 1"}


def test_what_the_address_names_and_nobody_tried_is_told() -> None:
    at = opened("evidence", kind="cousins", regime="few sample", setting="a setting of an earlier version")
    assert not at.exception
    told = [warning.value for warning in at.warning]
    assert [word in said for word, said in zip(("cousins", "few sample", "earlier version"), told)] == [True] * 3
    at = opened("evidence")
    at.selectbox(key="setting").select_index(1).run()
    assert not at.warning


def test_claims_and_verdicts(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", section="Claims")
    said = texts(at).replace("\\", "")
    assert "**reproduced** · ALM is ahead." in said
    assert "Said by: SeDi, table 1" in said
    at.selectbox(key="verdict").select("contradicted").run()
    assert "ALM is ahead" not in texts(at)


def test_answers_what_did_not_reproduce_and_what_it_took(evidence: Any, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "answer.md").write_text("*ALM* is {word few alm sft}.\n\nBeware of one.", encoding="utf-8")
    evidence({"sft": VALUES["alm"], "alm": VALUES["sft"]})
    at = opened("evidence", section="Answers")
    assert not at.exception
    said = texts(at)
    assert r"\*ALM\* is decidedly worse" in said  # what a file says is no markup
    assert "Beware of one" in said
    assert "1 of 2 claims" in said.replace("\\", "") and "ALM is ahead" in said
    assert "budget set beforehand was 6 hours" in said.replace("\\", "")
    assert "Beware of one" in texts(opened("evidence"))  # at the head of the setting


def test_a_note_stands_beside_the_verdict(evidence: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = FOUND | {"claims": [FOUND["claims"][0] | {"note": "Small models <b>only</b>."}]}
    monkeypatch.setattr("tests.pages.test_evidence.FOUND", noted)
    evidence(VALUES)
    assert "Small models" in texts(opened("evidence", section="Claims"))


def test_all_settings_at_a_glance(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", section="At a glance")
    table = at.dataframe[0].value
    assert not at.exception and list(table["method"]) == ["ALM"] and list(table["settings"]) == ["1"]


def test_analyses_and_how_to_do_it_again(evidence: Any) -> None:
    evidence(VALUES)
    at = opened("evidence", section="Analyses")
    (table,) = [element.value for element in at.dataframe]
    assert table.iloc[1].tolist() == ["b", "–"]
    at = opened("evidence", section="Do it again")
    commands = ["make evidence NAME=made AGAIN=1", "make evidence NAME=other AGAIN=1"]
    assert [code.value for code in at.code if code.language not in ("python", "bash")] == commands
    assert [code.value for code in at.code if code.language == "bash"] == ["ctkd evidence --part experiments"]
    assert "needs gemma" in texts(at)


def test_without_evidence_it_says_how_to_get_some(evidence: Any) -> None:
    evidence(None)
    at = opened("evidence")
    assert "No experiment comes with this installation" in at.info[0].value
    assert at.code[0].value == "make evidence"


@pytest.mark.parametrize("part", ["Methods", "Answers", "At a glance", "Claims", "Analyses", "Do it again"])
def test_experiments_without_runs(evidence: Any, part: str) -> None:
    evidence({})
    at = opened("evidence", section=part)
    assert not at.exception and not at.error


def test_the_rules_say_what_the_code_asks_for() -> None:
    assert f"at every one of {LEAST_SEEDS}" in pair_verdict.RULE
    assert "in bits per byte, better than the rule's method" in pair_verdict.RULE
    said = texts(opened("evidence"))
    assert "not corrected for how many there are" in said
    assert "the same held-out text" in said


def test_damaged_evidence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise EvidenceError("the evidence isn't whole JSON.")

    monkeypatch.setattr(store, "read", fails)
    store.load.cache_clear()
    at = opened("evidence")
    store.load.cache_clear()
    assert "isn't whole JSON" in at.error[0].value


def test_an_older_address_opens_its_tab():
    at = opened("evidence", part="Claims")
    assert not at.exception
    assert at.session_state["section"] == "Claims"
    assert "part" not in at.query_params
