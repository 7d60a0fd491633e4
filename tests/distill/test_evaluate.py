"""Measures of models: bits per byte, completions, repetition."""

from __future__ import annotations

import math

import pytest
import torch

from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluate import (
    Scored,
    answer_end,
    bits_per_byte,
    complete,
    encode_scored,
    ends_of,
    positions_of,
    repetition,
)
from ctkd_core.tokenizers.chat_prompts import ChatPrompt
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama
from tests.tiny import tiny_byte_level, tiny_metaspace


@pytest.fixture(scope="module")
def tokenizers(pair):
    return load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))


def test_bits_per_byte_of_a_uniform_model_is_known(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids)
    model.get_input_embeddings().weight.data.zero_()  # tied: all logits 0
    item = encode_scored(Example("Question: one?\nAnswer:", " 2024 cats"), student, 100)
    tokens = len(item.ids) - item.start
    expected = tokens * math.log2(student.n_ids) / len(b" 2024 cats")
    assert bits_per_byte(model, [item], 8) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_does_not_depend_on_batches(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids, seed=5)
    texts = [(" naïve 🦙", "p"), (" 1", "a longer prompt here"), (" the flag carrier", ""), (" yes", "q?")]
    items = [encode_scored(Example(p, c), student, 100) for c, p in texts]
    one, four = (bits_per_byte(model, items, size) for size in (1, 4))
    assert one == pytest.approx(four, rel=1e-5)
    by_hand = sum(_bits(model, item) for item in items) / sum(x.n_bytes for x in items)
    assert one == pytest.approx(by_hand, rel=1e-5)


def _bits(model, item: Scored) -> float:
    ids = torch.from_numpy(item.ids).long()
    with torch.no_grad():
        log_p = model(ids[None]).logits[0].log_softmax(-1)
    return -sum(float(log_p[i - 1, ids[i]]) for i in range(item.start, len(ids))) / math.log(2)


@pytest.mark.parametrize("tokenizer", [tiny_byte_level(400, 3), tiny_metaspace()], ids=["byte-level", "metaspace"])
def test_all_bytes_of_a_response_are_counted(tokenizer):
    completion = " 日本 2024 naïve"
    assert encode_scored(Example("Question: x\nAnswer:", completion), tokenizer, 100).n_bytes == len(
        completion.encode()
    )


def test_cut_responses_count_only_the_bytes_that_are_scored():
    tokenizer = tiny_byte_level(400, 3)
    example = Example("p", " the flag carrier during the year")
    whole, cut = (encode_scored(example, tokenizer, n) for n in (100, 5))
    spelt = b"".join(tokenizer.token_bytes(int(i)) for i in cut.ids[cut.start :])
    assert cut.n_bytes == len(spelt) < whole.n_bytes
    assert encode_scored(example, tokenizer, 1).n_bytes == 0
    assert math.isnan(bits_per_byte(llama(tokenizer.n_ids), [encode_scored(example, tokenizer, 1)], 2))


def test_completions_do_not_depend_on_their_neighbours(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids, seed=8)
    prompts = ["What is 1 + 1?", "The comfort of cats was the flag carrier"]
    together = complete(model, student, prompts, 6)
    assert together == [complete(model, student, [p], 6)[0] for p in prompts]
    assert complete(model, student, [], 6) == []


def test_repetition_counts_repeated_word_pairs():
    assert repetition(["a b c d"]) == 0
    assert repetition(["a b a b a b"]) == pytest.approx(3 / 5)
    assert repetition(["one", ""]) == 0


def test_scoring_cut_at_the_left_keeps_the_answer(tokenizers):
    student, _ = tokenizers
    example = Example("a long prompt of many words before the answer", " the flag")
    right, left = (encode_scored(example, student, 8, side) for side in ("right", "left"))
    assert (right.n_bytes, left.n_bytes) == (0, len(" the flag"))
    assert len(left.ids) == 8 and left.ids[0] == student.bos_id
    led = Example("x", "the flag", prompts={student.fingerprint: ChatPrompt("y", " ")})
    assert encode_scored(led, student, 100).n_bytes == len("the flag")


def test_the_log_probability_of_the_end_of_an_answer(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids)
    examples = [Example("Two?", " 2"), Example("One?", " 1")]
    by_hand = []
    for example in examples:
        ids = torch.from_numpy(encode_scored(example, student, 100).ids).long()
        by_hand.append(float(model(ids[None]).logits[0, -1].log_softmax(-1)[student.eos_id].detach()))
    found = answer_end(model, student, examples, 100)
    assert found.given == pytest.approx(max(by_hand), abs=1e-4)
    assert found.other in (student.bos_id, student.pad_id)
    assert answer_end(model, student, [Example("Two?", " 2 " * 50)], 20) is None
    ended = Example("x", "y", prompts={student.fingerprint: ChatPrompt("y", "", found.other)})
    assert answer_end(model, student, [ended], 100).other != found.other
    assert ends_of(student, [ended.prompt_for(student)]) == (student.eos_id, found.other)


def test_prompts_longer_than_the_model_reads_lose_their_beginning(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids)
    assert positions_of(model) == 256
    long = "red cats " * 400
    assert complete(model, student, [long], 8) == complete(model, student, [long[len(long) // 2 :]], 8)
