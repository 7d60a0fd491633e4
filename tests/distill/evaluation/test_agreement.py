"""Agreement with the teacher: next bytes against a plain loop over the vocabulary, first choices by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluate import encode_scored
from ctkd_core.distill.evaluation.agreement import (
    NO_BYTE,
    AnswerPredictions,
    agreement,
    answer_predictions,
    byte_kl,
    common_boundaries,
    regrets,
)
from ctkd_core.distill.evaluation.next_bytes import facing, tree_of
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.tokenizers.chat_prompts import ChatPrompt
from tests.distill.kit import llama
from tests.losses.test_bytes import oracle, oracle_loss
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(340, 1)
TEXT = " the 201 cats 日本"


def by_hand(model, tokenizer, item) -> list[list[float]]:
    """The probability of each next byte, and of none, by a loop over every token."""
    ids = torch.from_numpy(item.ids).long()
    with torch.no_grad():
        rows = model(ids[None]).logits[0].double().softmax(-1)
    found = []
    for at in range(item.start, len(ids)):
        masses = [0.0] * 257
        for token, p in enumerate(rows[at - 1].tolist()):
            data = b"" if token >= tokenizer.n_ids or token in tokenizer.special_ids else tokenizer.token_bytes(token)
            masses[data[0] if data else 256] += p
        found.append(masses)
    return found


@pytest.mark.parametrize("tokenizer", [STUDENT, tiny_metaspace()], ids=["byte-level", "byte fallback"])
def test_next_bytes_are_the_sums_over_tokens(tokenizer):
    model = llama(tokenizer.n_ids + 5, seed=2)  # rows beyond the tokenizer's ids spell nothing
    items = [encode_scored(Example("a prompt", text), tokenizer, 100) for text in (TEXT, " x")]
    for found, item in zip(answer_predictions(model, tokenizer, items, 2), items):
        assert found.bytes == pytest.approx(np.array(by_hand(model, tokenizer, item)), abs=1e-6)
        assert found.bytes.sum(1) == pytest.approx(1.0)
    assert tree_of(tokenizer, tokenizer.n_ids).first[tokenizer.eos_id or 0] >= NO_BYTE


def test_kl_is_that_of_the_definition_and_0_for_equal_models():
    rng = np.random.default_rng(0)
    t, s = rng.dirichlet(np.ones(257), 5), rng.dirichlet(np.ones(257), 5)
    expected = [sum(a * math.log2(a / b) for a, b in zip(*rows)) for rows in zip(t.tolist(), s.tolist())]
    assert byte_kl(t, s) == pytest.approx(expected)
    assert byte_kl(t, t) == pytest.approx(0.0)
    sure = np.zeros((1, 257))
    sure[0, 65] = 1.0
    impossible = np.roll(sure, 1, axis=1)
    assert 30 < byte_kl(sure, impossible)[0] < math.inf


def test_a_model_agrees_with_itself():
    model = llama(STUDENT.n_ids, seed=3)
    items = [encode_scored(Example("p", TEXT), STUDENT, 100)]
    one = answer_predictions(model, STUDENT, items, 2)
    found = agreement(one, one, [(items[0], items[0])], (STUDENT, STUDENT))
    assert (found["top1"], found["byte_top1"], found["byte_kl"]) == (1.0, 1.0, 0.0)
    assert found["stretches"] == found["boundaries"] == len(items[0].spans)


def test_only_places_where_both_begin_a_token_count():
    s, t = (encode_scored(Example("p", TEXT), x, 100) for x in (STUDENT, TEACHER))
    at_s, at_t = common_boundaries(s, t)
    starts = set(s.spans[:, 0].tolist()) & set(t.spans[:, 0].tolist())
    assert s.spans[at_s, 0].tolist() == t.spans[at_t, 0].tolist() == sorted(starts)
    assert 6 not in starts, "inside of 201 only the teacher begins a token"


def test_first_choices_are_compared_by_what_they_spell():
    s, t = (encode_scored(Example("p", " the 201"), x, 100) for x in (STUDENT, TEACHER))
    at_s, at_t = common_boundaries(s, t)
    alone = [(i, j) for i, j in zip(at_s, at_t) if s.spans[i, 1] == t.spans[j, 1]]
    assert alone and len(alone) < len(at_s)
    flat = np.full((len(s.spans), 257), 1 / 257)
    best_s = np.array([STUDENT.id_of("A")] * len(s.spans))
    best_t = np.array([TEACHER.id_of("A")] * len(t.spans))
    mine, theirs = AnswerPredictions(best_s, flat), AnswerPredictions(best_t, np.full((len(t.spans), 257), 1 / 257))
    assert agreement([mine], [theirs], [(s, t)], (STUDENT, TEACHER))["top1"] == 1.0
    best_t[alone[0][1]] = TEACHER.id_of("B")
    found = agreement([mine], [theirs], [(s, t)], (STUDENT, TEACHER))
    assert found["top1"] == pytest.approx(1 - 1 / len(alone))
    best_s[alone[0][0]], best_t[alone[0][1]] = STUDENT.eos_id, TEACHER.pad_id  # both end the text
    assert agreement([mine], [theirs], [(s, t)], (STUDENT, TEACHER))["top1"] == 1.0


def test_a_blank_that_belongs_to_the_prompt_is_left_out():
    led = Example("x", "the flag", prompts={STUDENT.fingerprint: ChatPrompt("y", " ", STUDENT.eos_id)})
    s, t = (encode_scored(led, x, 100) for x in (STUDENT, TEACHER))
    assert not s.exact[0]
    at_s, _ = common_boundaries(s, t)
    assert len(at_s) and 0 not in s.spans[at_s, 0]


def test_texts_without_anything_to_compare_give_no_figure():
    item = encode_scored(Example("p", TEXT), STUDENT, 100)
    found = agreement([None], [None], [(item, item)], (STUDENT, STUDENT))
    assert math.isnan(found["top1"]) and math.isnan(found["byte_kl"]) and found["boundaries"] == 0
    assert [len(x) for x in regrets([None], [None], [(item, item)])] == [0]


def both_sides(text: str, models, tokenizers, prompt: str = "a prompt"):
    """What two models say of one answer and of all its bytes, and the answer as each of them reads it."""
    items = tuple(encode_scored(Example(prompt, text), x, 100) for x in tokenizers)
    trees = tuple(tree_of(x, model.config.vocab_size) for x, model in zip(tokenizers, models))
    faced = facing(*items, trees)
    found = []
    for side, (model, tokenizer) in enumerate(zip(models, tokenizers)):
        place = faced.row[:, side].contiguous(), faced.offset[:, side].contiguous()
        found.append(answer_predictions(model, tokenizer, [items[side]], 2, places=[place]))
    return found, items


def of_the_oracle(text: str, models, tokenizers, prompt: str = "a prompt"):
    """Bits of all bytes of an answer together, and what each side says there, from the loops of the loss's tests."""
    batch = collate([align_sample(prompt, text, *tokenizers, ended=False)], *tokenizers)
    sides, logits = [], []
    for model, tokenizer, side in zip(models, tokenizers, ("student", "teacher")):
        ids, labels = (getattr(batch, f"{side}_{what}") for what in ("ids", "labels"))
        with torch.no_grad():
            rows = model(ids).logits.double()
        logits.append(rows)
        sides.append(oracle(rows[0], ids[0].tolist(), labels[0].tolist(), tokenizer))
    learnt = int((batch.student_labels[0, 1:] != -100).sum())
    return float(oracle_loss(*logits, batch)) * learnt / math.log(2), sides


def best(own, facing_side):
    """The symbol that a side expects most, None for anything of which not both sides speak."""
    (mine, ends), (others, _) = own, facing_side
    shares = {c: float(p) for c, p in mine.items() if c in others}
    rest = float(sum(p for c, p in mine.items() if c not in others)) + float(ends)
    return max(shares, key=shares.__getitem__) if shares and max(shares.values()) > rest else None


@pytest.mark.parametrize("sides", [(STUDENT, TEACHER), (TEACHER, STUDENT), (STUDENT, tiny_metaspace())], ids=str)
def test_at_every_byte_both_say_what_the_oracle_of_the_loss_says(sides):
    models = [llama(tokenizer.n_ids + 5, seed=seed) for seed, tokenizer in enumerate(sides)]
    (mine, theirs), items = both_sides(TEXT, models, sides)
    found = agreement(mine, theirs, [items], sides)
    bits, (own, other) = of_the_oracle(TEXT, models, sides)
    assert found["bytes"] == len(own) == len(other) == len(TEXT.encode()), "the three digits of 201, and all of 日本"
    assert found["next_byte_kl"] == pytest.approx(bits / found["bytes"], rel=1e-4)
    pairs = list(zip(own.values(), other.values()))  # in the order of the text
    alike = [best(a, b) == best(b, a) for a, b in pairs]
    assert found["next_byte_top1"] == pytest.approx(sum(alike) / len(alike))
    assert found["boundaries"] < found["bytes"]


def test_at_every_byte_a_model_agrees_with_itself_and_only_there_where_it_was_asked():
    model = llama(STUDENT.n_ids, seed=3)
    (mine, theirs), items = both_sides(TEXT, [model, model], [STUDENT, STUDENT])
    found = agreement(mine, theirs, [items], (STUDENT, STUDENT))
    assert (found["next_byte_top1"], found["next_byte_kl"]) == (1.0, 0.0)
    plain = answer_predictions(model, STUDENT, [items[0]], 2)
    without = agreement(plain, plain, [items], (STUDENT, STUDENT))
    assert set(found) - set(without) == {"next_byte_kl", "next_byte_top1", "bytes"}
    assert {name: found[name] for name in without} == without


def test_text_that_one_side_cannot_spell_or_writes_otherwise_has_no_common_bytes():
    """The uncased tokenizer spells `the` for `The`, and nothing for 日本."""
    sides = STUDENT, tiny_wordpiece()
    models = [llama(tokenizer.n_ids, seed=seed) for seed, tokenizer in enumerate(sides)]
    (mine, theirs), items = both_sides("The(201", models, sides)
    found = agreement(mine, theirs, [items], sides)
    assert found["bytes"] == len("(201")
    (mine, theirs), items = both_sides("日本", models, sides)
    nothing = agreement(mine, theirs, [items], sides)
    assert nothing["bytes"] == 0 and math.isnan(nothing["next_byte_kl"]) and math.isnan(nothing["next_byte_top1"])
