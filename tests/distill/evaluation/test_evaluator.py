"""All evaluations of one student: what each adds to the row, the teacher asked once, and nothing without a teacher."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ctkd_core.distill import evaluate, on_policy
from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluation import evaluator as evaluator_module
from ctkd_core.distill.evaluation.evaluator import Evaluator
from ctkd_core.distill.records import _unsound
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama

EXAMPLES = [Example(f"{a}+7=", f" {a + 7}", kind="sums", question=f"{a}+7=") for a in range(2, 16)]


@pytest.fixture(scope="module")
def sides(pair):
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    return student, teacher, llama(student.n_ids, 4), llama(teacher.n_ids, 5)


def test_every_evaluation_gives_figures_that_the_file_takes(pair, sides):
    student, teacher, model, teacher_model = sides
    config = pair.config(evaluations="all", sample_tokens=6)
    asked: list[int] = []
    far: list[str] = []
    evaluator = Evaluator(
        config, student, teacher, teacher_model, EXAMPLES, lambda: asked.append(len(far)), progress=far.append
    )
    found = evaluator.figures(model)
    assert asked == [*range(1, len(far) + 1)], "each time how far it is, then whether somebody wants to stop"
    assert far[:4] == [f"{n} of 14 samples read by the {who}" for who in ("student", "teacher") for n in (8, 14)]
    assert {f"14 of 14 samples answered by the {who}" for who in ("student", "teacher")} <= set(far)
    items = [evaluate.encode_scored(e, student, config.max_length) for e in EXAMPLES]
    assert found["bits_per_byte"] == pytest.approx(evaluate.bits_per_byte(model, items, 8))
    assert found["held_out_bytes"] == sum(item.n_bytes for item in items)
    assert found["bits_by_domain"] == {"sums": pytest.approx(found["bits_per_byte"])}
    assert found["teacher_bits_by_domain"]["sums"] == pytest.approx(found["teacher_bits_per_byte"])
    weights = found["bytes_by_class"]
    assert set(found["mass_by_class"]) and all(0 < mass <= 1 for mass in found["mass_by_class"].values())
    whole = sum(found["bits_by_class"][name] * weights[name] for name in weights) / sum(weights.values())
    assert whole == pytest.approx(found["bits_per_byte"])
    assert 0 <= found["agreement"]["top1"] <= 1 and found["agreement"]["byte_kl"] > 0
    assert found["completions"]["texts"] == found["held_out"] == len(EXAMPLES)
    assert found["arithmetic_counts"] == {"1": 8, "2": 6} and set(found["teacher_arithmetic"]) == {"1", "2"}
    assert found["exposure"]["1"] > -100 and found["exposure_texts"] == len(EXAMPLES)
    assert _unsound(found | {"kind": "eval", "step": 3}) is None
    assert asked, "somebody may want to stop"
    assert evaluator.figures(model) == found


def test_a_language_beside_a_domain_has_figures_of_its_own(pair, sides):
    student, teacher, model, teacher_model = sides
    examples = [replace(e, language="de" if k % 3 else "fr") for k, e in enumerate(EXAMPLES)]
    found = Evaluator(pair.config(evaluations="classes"), student, teacher, teacher_model, examples).figures(model)
    bits, sizes = found["bits_by_language"], found["bytes_by_language"]
    assert set(bits) == set(found["teacher_bits_by_language"]) == {"de", "fr"}
    whole = sum(bits[name] * sizes[name] for name in bits) / sum(sizes.values())
    assert whole == pytest.approx(found["bits_by_domain"]["sums"])
    assert _unsound(found | {"kind": "eval", "step": 3}) is None


def test_the_teacher_is_asked_for_fixed_texts_once(pair, sides, monkeypatch):
    student, teacher, model, teacher_model = sides
    seen: list[str] = []
    real_bits, real_complete = evaluate.token_bits, evaluate.complete

    def bits(model, *rest, **more):
        seen.append("teacher" if model is teacher_model else "student")
        return real_bits(model, *rest, **more)

    def complete(model, *rest):
        seen.append("teacher writes" if model is teacher_model else "student writes")
        return real_complete(model, *rest)

    monkeypatch.setattr(evaluate, "token_bits", bits)
    monkeypatch.setattr(evaluate, "complete", complete)
    evaluator = Evaluator(pair.config(sample_tokens=2), student, teacher, teacher_model, EXAMPLES)
    for _ in range(2):
        evaluator.figures(model, "classes,completions")
    assert {name: seen.count(name) for name in seen} == {
        "student": 2, "teacher": 1, "student writes": 2, "teacher writes": 1,
    }  # fmt: skip


def test_without_a_teacher_only_the_students_figures_are_there(pair, sides):
    student, teacher, model, _ = sides
    found = Evaluator(pair.config(evaluations="all", sample_tokens=2), student, teacher, None, EXAMPLES).figures(model)
    assert {"bits_per_byte", "bits_by_class", "completions", "arithmetic"} <= set(found)
    assert not [key for key in found if key.startswith("teacher") or key in ("agreement", "exposure")]


def test_a_student_that_is_the_teacher_agrees_and_has_no_excess_error(pair, sides):
    _, teacher, _, teacher_model = sides
    same = llama(teacher.n_ids, 5)
    evaluator = Evaluator(pair.config(sample_tokens=6), teacher, teacher, teacher_model, EXAMPLES)
    found = evaluator.figures(same, "agreement,exposure")
    assert found["agreement"]["top1"] == 1.0
    assert found["agreement"]["byte_kl"] == pytest.approx(0.0, abs=1e-6)
    assert "exposure" not in found, "there is no error that could be in excess"


def test_texts_without_prompts_are_not_written_to(pair, sides):
    student, teacher, model, teacher_model = sides
    texts = [Example("", "the flag carrier 2024")]
    found = Evaluator(pair.config(evaluations="all"), student, teacher, teacher_model, texts).figures(model)
    assert "bits_by_domain" not in found and "completions" not in found and "exposure" not in found
    nothing = Evaluator(pair.config(evaluations="all"), student, teacher, teacher_model, []).figures(model)
    assert math.isnan(nothing["bits_per_byte"]) and nothing["held_out"] == 0


def test_an_evaluation_without_figures_is_named_with_the_reason(pair, sides):
    student, teacher, model, teacher_model = sides

    def notes(examples, teacher_model=teacher_model, **changes):
        config = pair.config(evaluations="all", sample_tokens=6, **changes)
        evaluator = Evaluator(config, student, teacher, teacher_model, examples)
        return evaluator.notes(evaluator.figures(model))

    assert notes(EXAMPLES) == {}
    sentences = [Example(f"Who is {k}?", " a flag") for k in range(5)]
    found = notes(sentences)
    assert found["arithmetic"] == "arithmetic: none of the 5 held-out samples is an exercise."
    assert not {"classes", "agreement", "completions"} & set(found)
    texts = notes([Example("", "the flag carrier 2024"), Example("", "a cat")])
    assert list(texts) == ["completions", "arithmetic", "exposure"]
    assert texts["completions"] == "completions: none of the 2 held-out samples has a prompt."
    few = notes(EXAMPLES, eval_completions=2)
    assert few == {"exposure": "exposure: only 2 held-out samples with a prompt can be answered; a figure takes 4."}
    alone = notes(EXAMPLES, None)
    assert list(alone) == ["agreement", "exposure"] and "the teacher isn't loaded" in alone["agreement"]
    cut = notes([Example("q w e r t z u i o p", " a flag")] * 5, max_length=8)
    assert {"classes", "agreement"} <= set(cut) and "5 held-out samples" in cut["classes"]


def test_prompts_longer_than_the_models_positions_lose_their_beginning(pair, sides, monkeypatch):
    student, teacher, model, teacher_model = sides
    lengths: list[int] = []
    real = on_policy.generate

    def generate(model, tokenizer, prompts, *rest):
        lengths.extend(map(len, prompts))
        return real(model, tokenizer, prompts, *rest)

    monkeypatch.setattr(on_policy, "generate", generate)
    config = pair.config(sample_tokens=6, max_length=250)
    long = [Example("q w e r t z u i o p " * 40, " red"), *EXAMPLES[:4]]
    Evaluator(config, student, teacher, teacher_model, long).figures(model, "exposure")
    assert len(lengths) == 10
    assert max(lengths) == 256 - 6


def test_models_that_are_compared_in_blocks_agree_as_much(pair, sides, monkeypatch):
    student, teacher, model, teacher_model = sides
    evaluator = Evaluator(pair.config(), student, teacher, teacher_model, [Example("", ""), *EXAMPLES])
    whole = evaluator.figures(model, "agreement")["agreement"]
    assert whole["bytes"] >= whole["boundaries"] > 0 and whole["next_byte_kl"] > 0
    monkeypatch.setattr(evaluator_module, "BYTES_AT_ONCE", 5)
    assert evaluator.figures(model, "agreement")["agreement"] == pytest.approx(whole, rel=1e-5)
    nothing = Evaluator(pair.config(), student, teacher, teacher_model, []).figures(model, "agreement")
    assert nothing["agreement"]["boundaries"] == 0
