"""The trained projection: equal to the fixed one at first, right gradients, float32 throughout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.learnable import LEARNING_RATE, LearnableProjection
from ctkd_core.vocabulary.projection import Projection
from tests.tiny import tiny_byte_level
from tests.vocabulary.test_matches import byte_level


@pytest.fixture(scope="module")
def fixed() -> Projection:
    return project(tiny_byte_level(), tiny_byte_level(320, 1))


def probabilities(n: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.softmax(3 * torch.randn(n, width, generator=torch.Generator().manual_seed(0), dtype=dtype), dim=1)


def test_it_begins_as_the_fixed_map(fixed: Projection) -> None:
    module = LearnableProjection(fixed)
    p = probabilities(5, fixed.shape[0])
    torch.testing.assert_close(module(p), torch.from_numpy(p.numpy() @ fixed.matrix), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(module.weights(), torch.from_numpy(fixed.matrix.data), rtol=1e-6, atol=1e-8)
    assert module.logits.dtype == module(p).dtype == torch.float32
    columns = torch.tensor([7, 3, 300])
    torch.testing.assert_close(module(p, columns), module(p)[:, columns])
    with pytest.raises(ProjectionError, match="asked for twice"):
        module(p, torch.tensor([7, 7]))


def test_identical_tokenizers_change_nothing() -> None:
    tokenizer = tiny_byte_level()
    module = LearnableProjection(project(tokenizer, tokenizer))
    p = probabilities(3, tokenizer.n_ids)
    torch.testing.assert_close(module(p), p, rtol=0, atol=0)


def test_gradients_in_float64() -> None:
    tiny = project(byte_level(["ab", "abc", "aa"], []), byte_level([], []))
    module = LearnableProjection(tiny).double()
    p = probabilities(2, tiny.shape[0], torch.float64).requires_grad_(True)
    columns = torch.tensor([tiny.teacher.id_of(c) or 0 for c in "abcd"])

    def run(a: torch.Tensor, logits: torch.Tensor, some: torch.Tensor | None) -> torch.Tensor:
        return torch.func.functional_call(module, {"logits": logits}, (a, some))

    assert torch.autograd.gradcheck(lambda a, x: run(a, x, columns), (p, module.logits), fast_mode=True)
    assert torch.autograd.gradcheck(lambda a, x: run(a, x, None), (p, module.logits), fast_mode=True)


def test_learning_keeps_rows_and_pattern(fixed: Projection) -> None:
    module = LearnableProjection(fixed)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    p = probabilities(64, fixed.shape[0])
    index = fixed.teacher.id_of("1")
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = -module(p)[:, index].mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    learned = module.to_projection()
    assert (learned.matrix.indices == fixed.matrix.indices).all()
    assert (learned.matrix.indptr == fixed.matrix.indptr).all()
    assert (learned.reason == fixed.reason).all()
    assert learned.row_sum_error < 1e-5
    assert learned.column_load()[index] == fixed.column_load()[index]
    assert learned.matrix[:, [index]].sum() > fixed.matrix[:, [index]].sum()
    assert learned.options["learned"] is True
    assert not np.shares_memory(learned.matrix.data, fixed.matrix.data)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_under_autocast_and_for_half_inputs(fixed: Projection, dtype: torch.dtype) -> None:
    module = LearnableProjection(fixed)
    p = probabilities(4, fixed.shape[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = module(p)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, module(p), rtol=0, atol=0)
    half = p.to(dtype).requires_grad_(True)
    out = module(half)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == dtype


def test_saved_and_loaded_states_agree(fixed: Projection) -> None:
    module, other = LearnableProjection(fixed), LearnableProjection(fixed)
    with torch.no_grad():
        module.logits += torch.randn(module.logits.shape, generator=torch.Generator().manual_seed(1))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.weights(), module.weights())


def test_another_width_is_refused(fixed: Projection) -> None:
    with pytest.raises(ProjectionError, match=r"the projection takes \[n, 400\]"):
        LearnableProjection(fixed)(torch.ones(2, 401))
    wide = LearnableProjection(fixed.widen(512, 384))
    assert wide(probabilities(2, 512)).shape == (2, 384)
