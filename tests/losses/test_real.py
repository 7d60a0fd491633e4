"""The real pair: DeepSeek's tokenizer for the student, SmolLM2's for the teacher, random logits."""

from __future__ import annotations

import pytest
import torch

from ctkd_core import losses
from ctkd_core.errors import TokenizerError
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary.migration import migration_table
from tests.losses import twins

pytestmark = pytest.mark.real

TEXTS = [
    " It is 12346, because 🦙 llamas count to 12346 and naïve façades don't.",
    "\n\ndef add(a, b):\n    return a + b  # 東京都庁\n",
]


@pytest.fixture(scope="module")
def pair():
    try:
        return load_tokenizer("deepseek"), load_tokenizer("smollm2")
    except TokenizerError as missing:
        pytest.skip(f"needs the packages that bring DeepSeek's and SmolLM2's tokenizers: {missing}")


@pytest.fixture(scope="module")
def batch(pair):
    return collate([align_sample("Question: what is 12345 + 1?\nAnswer:", text, *pair) for text in TEXTS], *pair)


def test_almost_every_teacher_token_can_be_written(pair):
    student, teacher = pair
    table = migration_table(student, teacher)
    assert (table.whole.length == 0).sum() <= len(teacher.special_ids)
    exact = (table.whole.length == 1).mean()
    assert 0.8 < exact < 0.95
    for word in (" the", "\n", " naïve", "7"):
        (ids,) = teacher.encode_pieces([word])
        assert b"".join(student.token_bytes(i) for t in ids for i in table.whole[t]) == word.encode()


def test_groups_cover_the_response(batch, pair):
    student, teacher = pair
    for b, text in enumerate(TEXTS):
        mine = batch.groups[batch.groups[:, 0] == b].tolist()
        ids = [int(i) for _, s0, s1, _, _ in mine[:-1] for i in batch.student_ids[b, s0:s1]]
        spelled = b"".join(student.token_bytes(i) for i in ids)
        assert spelled == text.encode()
        assert batch.student_ids[b, mine[-1][1]] == student.eos_id
        assert batch.teacher_ids[b, mine[-1][3]] == teacher.eos_id


@pytest.mark.parametrize("name", ["sft", "uld", "sedi"])
def test_losses_against_their_twins(name, pair):
    student, teacher = pair
    batch = collate([align_sample("Q", " sold 12345 naïve 🦙", *pair), align_sample("Q", " x", *pair)], *pair)
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(*batch.student_ids.shape, student.n_ids, generator=generator) * 2
    t = torch.randn(*batch.teacher_ids.shape, teacher.n_ids, generator=generator) * 3
    s.requires_grad_()
    out = losses.loss(name, s, t, batch, **{"omega": 1.0} if name == "sedi" else {})
    out.loss.backward()
    z = s.detach().double().requires_grad_()
    expected = {
        "sft": lambda: twins.sft(z, batch),
        "uld": lambda: twins.uld(z, t.double(), batch),
        "sedi": lambda: twins.sedi(z, t.double(), batch, 1.0),
    }[name]()
    expected.backward()
    # float32 against float64 over rows of 129k entries: how far apart depends on the processor (4e-6 was seen)
    assert float(out.loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-5)
    error = (s.grad - z.grad).norm() / z.grad.norm()
    assert error < 1e-4
