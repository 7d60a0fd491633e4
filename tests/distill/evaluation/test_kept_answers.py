"""A teacher's answers on disk: found again for the same question alone, never taken from damage, and bounded."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ctkd_core.distill import evaluate
from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluation import kept_answers
from ctkd_core.distill.evaluation.evaluator import Evaluator
from ctkd_core.distill.evaluation.kept_answers import KeptAnswers, answers_at_start, answers_of
from ctkd_core.distill.teachers.identity import state_fingerprint
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama

EXAMPLES = [Example(f"{a}+7=", f" {a + 7}", kind="sums", question=f"{a}+7=") for a in range(2, 10)]
KEPT = KeptAnswers("weights")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def sides(pair):
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    return student, teacher, llama(student.n_ids, 4), llama(teacher.n_ids, 5)


def items_of(tokenizer, examples=EXAMPLES):
    return [evaluate.encode_scored(e, tokenizer, 64) for e in examples]


def never():
    raise AssertionError("the teacher was asked again")


def test_another_evaluator_gives_the_same_figures_without_asking_the_teacher(pair, sides, monkeypatch):
    student, teacher, model, teacher_model = sides
    config = pair.config(evaluations="classes,completions,arithmetic", sample_tokens=4)
    plain = Evaluator(config, student, teacher, teacher_model, EXAMPLES).figures(model)
    assert Evaluator(config, student, teacher, teacher_model, EXAMPLES, answers=KEPT).figures(model) == plain
    real_bits, real_complete = evaluate.token_bits, evaluate.complete

    def students(real):
        def asked(model, *rest, **more):
            assert model is not teacher_model
            return real(model, *rest, **more)

        return asked

    monkeypatch.setattr(evaluate, "token_bits", students(real_bits))
    monkeypatch.setattr(evaluate, "complete", students(real_complete))
    assert Evaluator(config, student, teacher, teacher_model, EXAMPLES, answers=KEPT).figures(model) == plain
    with pytest.raises(AssertionError):
        Evaluator(config, student, teacher, teacher_model, EXAMPLES[1:], answers=KEPT).figures(model)


def test_bits_are_kept_for_the_same_texts_batch_and_teacher_alone(sides):
    _, teacher, _, model = sides
    items = [*items_of(teacher), evaluate.encode_scored(Example("", ""), teacher, 64)]
    first = KEPT.bits(items, 8, lambda: evaluate.token_bits(model, items, 8))
    again = KEPT.bits(items, 8, never)
    assert len(again) == len(items) and all(np.array_equal(a, b) for a, b in zip(first, again))
    assert KEPT.bits([], 8, list) == KEPT.bits([], 8, list) == []
    other = replace(items[0], start=items[0].start + 1)
    for asked, batch, kept in (
        (items[:-1], 8, KEPT),
        ([other, *items[1:]], 8, KEPT),
        (items, 4, KEPT),
        (items, 8, KeptAnswers("others")),
    ):
        with pytest.raises(AssertionError, match="asked again"):
            kept.bits(asked, batch, never)


def test_texts_are_kept_for_the_same_prompts_ends_and_length_alone(sides):
    _, teacher, _, model = sides
    prompts = [e.prompt for e in EXAMPLES]

    def texts(tokenizer=teacher, prompts=prompts, length=4, batch=16, write=never):
        return KEPT.texts(model, tokenizer, prompts, length, batch, write)

    written = texts(write=lambda: evaluate.complete(model, teacher, prompts, 4))
    assert texts() == texts(batch=8) == written and len(written) == len(prompts)  # both hold all of them
    ended = replace(teacher, end_ids=(*teacher.end_ids, 3))
    for changed in ({"prompts": prompts[1:]}, {"length": 5}, {"tokenizer": ended}, {"batch": 4}):
        with pytest.raises(AssertionError, match="asked again"):
            texts(**changed)


def test_a_students_bits_and_masses_are_kept_by_its_weights(pair, sides, monkeypatch):
    student, teacher, model, teacher_model = sides
    config = pair.config(evaluations="classes,completions", sample_tokens=4)

    def figures(kept):
        return Evaluator(config, student, teacher, teacher_model, EXAMPLES, answers=KEPT).figures(model, kept=kept)

    plain = figures(None)
    assert figures(answers_at_start(model)) == plain and plain["mass_by_class"]
    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "token_bits", lambda *_, **__: never())
        patched.setattr(evaluate, "complete", lambda *_: never())
        assert figures(answers_at_start(model)) == plain
        other = copy.deepcopy(model)
        with torch.no_grad():
            next(other.parameters()).view(-1)[3] += 1e-3
        for kept in (answers_at_start(other), answers_at_start(copy.deepcopy(model).double()), None):
            with pytest.raises(AssertionError, match="asked again"):
                figures(kept)


def test_a_models_state_is_its_configuration_names_shapes_and_values(sides):
    model = copy.deepcopy(sides[2])
    named = state_fingerprint(model)
    assert state_fingerprint(copy.deepcopy(model)) == named
    changed = copy.deepcopy(model)
    changed.config.rope_parameters = {**(changed.config.rope_parameters or {}), "rope_theta": 7.0}
    assert state_fingerprint(changed) != named

    class Adapter:
        def to_dict(self):
            return {"lora_alpha": 16, "target_modules": {"q_proj", "v_proj"}}

    adapted = copy.deepcopy(model)
    adapted.peft_config = {"default": Adapter()}
    assert state_fingerprint(adapted) != named and answers_at_start(adapted) is None
    tied = copy.deepcopy(model)
    tied.lm_head.weight = tied.model.embed_tokens.weight
    untied = copy.deepcopy(tied)
    untied.lm_head.weight = torch.nn.Parameter(tied.lm_head.weight.detach().clone())
    assert state_fingerprint(tied) == state_fingerprint(copy.deepcopy(tied))
    untied.lm_head.weight.data[0, 0] += 1
    assert state_fingerprint(untied) != state_fingerprint(tied)
    half = copy.deepcopy(model).bfloat16()
    assert len({named, state_fingerprint(half), state_fingerprint(half.float())}) == 3


def test_a_student_that_cannot_be_told_is_asked_in_every_run(sides, monkeypatch):
    model = copy.deepcopy(sides[2])
    assert answers_at_start(model) is not None
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    assert answers_at_start(model) is None
    model = copy.deepcopy(sides[2])
    model.config.odd = {0: "a", "1": "b"}
    assert answers_at_start(model) is None
    assert answers_at_start(copy.deepcopy(sides[2]).to("meta")) is None


@pytest.mark.parametrize("damage", ["cut", "a byte", "empty", "a folder", "other bits"])
def test_a_damaged_entry_counts_as_none(sides, damage):
    _, teacher, _, model = sides
    items = items_of(teacher)
    first = KEPT.bits(items, 8, lambda: evaluate.token_bits(model, items, 8))
    (path,) = kept_answers.root().iterdir()
    data = bytearray(path.read_bytes())
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    elif damage == "other bits":  # whole, but of something else
        KeptAnswers("others").bits(items[:2], 8, lambda: evaluate.token_bits(model, items[:2], 8))
        other = next(p for p in kept_answers.root().iterdir() if p != path)
        path.write_bytes(other.read_bytes())
    else:
        data[-3] ^= 1
        path.write_bytes({"cut": data[:-9], "a byte": data, "empty": b""}[damage])
    with pytest.raises(AssertionError, match="asked again"):
        KEPT.bits(items, 8, never)
    again = KEPT.bits(items, 8, lambda: first)
    assert again is first
    if damage != "a folder":  # mended
        assert all(np.array_equal(a, b) for a, b in zip(KEPT.bits(items, 8, never), first))


@pytest.mark.parametrize("kept", [[1, 2], ["one"], {"0": "a", "1": "b"}, "ab", None], ids=repr)
def test_texts_that_are_none_count_as_none(sides, kept):
    _, teacher, _, model = sides
    prompts = ["a", "b"]
    KEPT.texts(model, teacher, prompts, 4, 16, lambda: ["x", "y"])
    (path,) = kept_answers.root().iterdir()
    data = json.dumps(kept).encode()
    path.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
    with pytest.raises(AssertionError, match="asked again"):
        KEPT.texts(model, teacher, prompts, 4, 16, never)


def test_what_isnt_finite_isnt_kept(sides):
    _, teacher, _, _ = sides
    items = items_of(teacher)
    wild = [np.full(len(x.ids) - x.start, np.nan) for x in items]
    assert KEPT.bits(items, 8, lambda: wild) is wild
    assert not kept_answers.root().exists()


def test_the_ones_used_longest_ago_make_room(sides, monkeypatch):
    _, teacher, _, model = sides
    monkeypatch.setattr(kept_answers, "MOST_BYTES", 1)
    for count in (2, 3):
        items = items_of(teacher)[:count]
        KEPT.bits(items, 8, lambda: evaluate.token_bits(model, items, 8))  # noqa: B023
    assert len(list(kept_answers.root().iterdir())) == 1
    assert KEPT.bits(items, 8, never)


def test_where_nothing_can_be_written_the_teacher_answers_all_the_same(sides, home):
    _, teacher, _, model = sides
    (home / "cache").write_text("a file in the way")
    items = items_of(teacher)
    assert len(KEPT.bits(items, 8, lambda: evaluate.token_bits(model, items, 8))) == len(items)


def test_a_teacher_is_its_weights_and_how_it_computes(pair, tmp_path):
    folder = tmp_path / "teacher"
    config = pair.config(teacher_path=str(folder))
    assert answers_of(config, "cpu") is None
    llama(300, 1).save_pretrained(folder)
    of = answers_of(config, "cpu").of
    others = {
        answers_of(pair.config(teacher_path=str(folder), teacher_precision="bf16"), "cpu").of,
        answers_of(config, "cuda:0").of,
    }
    assert len({of, *others}) == 3 and answers_of(config, "cuda:1").of in others
    (folder / "adapter_config.json").write_text('{"lora_alpha": 8}')  # transformers would add them
    adapted = answers_of(config, "cpu").of
    (folder / "adapter_config.json").write_text('{"lora_alpha": 800}')
    assert len({of, adapted, answers_of(config, "cpu").of}) == 3
    (folder / "adapter_config.json").unlink()
    assert answers_of(config, "cpu").of == of
    llama(300, 2).save_pretrained(folder)
    assert answers_of(config, "cpu").of != of


def test_a_home_that_can_only_be_read_still_answers(sides, monkeypatch):
    _, teacher, _, model = sides
    items = items_of(teacher)
    KEPT.bits(items, 8, lambda: evaluate.token_bits(model, items, 8))

    def refused(path):
        raise PermissionError(path)

    monkeypatch.setattr(kept_answers.bounded, "use", refused)
    assert KEPT.bits(items, 8, never)
