"""Bits per byte by domain and class: both models over the same bytes, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluate import encode_scored, token_bits
from ctkd_core.distill.evaluation import text_bits
from ctkd_core.distill.evaluation.text_bits import (
    OTHER_DOMAINS,
    bits_by_class,
    bits_by_domain,
    common_cuts,
    domains_of,
    stretch_of,
)
from tests.distill.kit import llama
from tests.tiny import tiny_byte_level, tiny_metaspace

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(340, 1)


def read(text: str, tokenizer, prompt: str = "p"):
    return encode_scored(Example(prompt, text), tokenizer, 100)


def test_cuts_are_where_no_side_has_a_token_across():
    one = np.array([[0, 1], [1, 4], [4, 6]])
    other = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]])
    assert common_cuts([one, other]).tolist() == [0, 1, 4, 6]
    assert common_cuts([one]).tolist() == [0, 1, 4, 6]
    overlapping = np.array([[0, 3], [2, 6]])
    assert common_cuts([overlapping]).tolist() == [0, 6]
    empty = np.array([[0, 2], [2, 2], [2, 6]])
    assert common_cuts([one, empty]).tolist() == [0, 6]
    assert stretch_of(one, np.array([1, 4])).tolist() == [-1, 0, 1]


def test_one_number_as_one_token_and_as_three_is_one_stretch():
    item, other = read(" the 201 é", STUDENT), read(" the 201 é", TEACHER)
    assert len(other.ids) > len(item.ids)
    bits, teacher_bits = np.arange(len(item.spans), dtype=float), np.ones(len(other.spans))
    tables, sizes = bits_by_class(STUDENT, [item], [bits], [([other], [teacher_bits])])
    assert sum(sizes.values()) == len(" the 201 é".encode())
    place = [i for i, span in enumerate(item.spans.tolist()) if span[1] - span[0] == 3 and span[0] == 5]
    assert len(place) == 1, "201 is one token of the student"
    assert sizes["digits_3"] == 3
    assert tables[0]["digits_3"] == pytest.approx(place[0] / 3)
    assert tables[1]["digits_3"] == pytest.approx(1.0)  # three tokens with a bit each, over three bytes
    for table, own in ((tables[0], bits), (tables[1], teacher_bits)):
        assert sum(table[name] * sizes[name] for name in sizes) == pytest.approx(own.sum())


def test_parts_add_up_to_the_whole_for_unlike_tokenizers():
    other = tiny_metaspace()
    texts = [" naïve 2024 日本 👩‍🚀", " def add(a, b):\n    return a + 12", " x"]
    items, others = [read(t, STUDENT) for t in texts], [read(t, other) for t in texts]
    model, second = llama(STUDENT.n_ids, 3), llama(other.n_ids, 4)
    bits, other_bits = token_bits(model, items, 2), token_bits(second, others, 2)
    tables, sizes = bits_by_class(STUDENT, items, bits, [(others, other_bits)])
    assert {"digits_1", "letters", "multibyte"} <= set(sizes)
    assert sum(sizes.values()) == sum(len(t.encode()) for t in texts)
    for table, own in ((tables[0], bits), (tables[1], other_bits)):
        assert sum(table[k] * sizes[k] for k in sizes) == pytest.approx(sum(float(x.sum()) for x in own))


def test_domains_weigh_their_bytes():
    examples = [
        Example("p", " the flag", kind="flags"),
        Example("p", " cats", kind="flags"),
        Example("p", " 1", kind=""),
        Example("p", " 日本", kind="  [b]x[/b]\x1b[31m "),
    ]
    domains = domains_of(example.kind for example in examples)
    assert domains[0] == domains[1] == "flags" and domains[2] == ""
    assert "\x1b" not in domains[3]
    items = [encode_scored(e, STUDENT, 100) for e in examples]
    bits = token_bits(llama(STUDENT.n_ids, 5), items, 4)
    found, sizes = bits_by_domain(domains, items, bits)
    assert set(found) == {domains[0], domains[3]}
    assert sizes["flags"] == len(b" the flag cats")
    assert found["flags"] == pytest.approx(float(bits[0].sum() + bits[1].sum()) / sizes["flags"])


def test_rare_domains_are_one(monkeypatch):
    monkeypatch.setattr(text_bits, "MOST_DOMAINS", 2)
    names = domains_of(("a", "a", "b", "b", "c"))
    assert names == ["a", "a", "b", "b", OTHER_DOMAINS]


def test_bits_of_tokens_are_those_of_the_rows():
    item = read(" the flag carrier 201", STUDENT)
    model = llama(STUDENT.n_ids, 6)
    ids = torch.from_numpy(item.ids).long()
    with torch.no_grad():
        log_p = model(ids[None]).logits[0].log_softmax(-1)
    by_hand = [-float(log_p[i - 1, ids[i]]) / math.log(2) for i in range(item.start, len(ids))]
    (found,) = token_bits(model, [item], 8)
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert len(found) == len(item.spans)
