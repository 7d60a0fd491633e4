"""Every Triton kernel and the losses that use them against their torch twins, in Triton's interpreter on a CPU.

    TRITON_INTERPRET=1 CTKD_TRITON=interpret python -m tests.losses.kernels.gpu_forms

A process of its own, for Triton reads TRITON_INTERPRET when it is imported. The interpreter is slow: sizes are tiny.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ctkd_core import losses, methods
from ctkd_core.losses.engine.deferred import DeferredChunk, RowView
from ctkd_core.losses.engine.engine import Buffers, Term, evaluate
from ctkd_core.losses.kernels.switch import triton_mode
from ctkd_core.losses.parts.divergences import KINDS, FacingRows, divergence, divergence_rule
from ctkd_core.losses.teachers import WeightedTeacher, several
from tests.losses.cases import batch_of, extras, logits_for, same_sides, samples
from tests.losses.test_xtoken import random_map

TEXT = (" 12345 naïve",)  # groups of one to one, one to many and many to one token
FLOAT32, NARROW = torch.float32, (torch.bfloat16, torch.float16)

Check = Callable[[], None]


def logits(*shape: int, dtype: torch.dtype = FLOAT32, seed: int = 0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype)


def close(found: Tensor, expected: Tensor, rtol: float = 1e-5, atol: float = 2e-6) -> None:
    torch.testing.assert_close(found.float(), expected.float(), rtol=rtol, atol=atol, equal_nan=True)


def check_normalisers() -> None:
    from ctkd_core.losses.kernels.gpu.statistics import gathered, normalisers

    for dtype in (FLOAT32, *NARROW):
        whole = logits(2, 4, 5001, dtype=dtype)  # more than one block, no multiple of anything
        whole[0, 1, :50] = -torch.inf
        whole[1, 2] = -torch.inf
        z = whole[:, 1:, 3:]  # rows that begin anywhere
        rows = torch.tensor([0, 5, 2, 2, 4])
        flat = z.reshape(-1, z.shape[-1])[rows].float()
        at = RowView(z).at(rows)
        for found, tau in zip(normalisers(at, z.shape[-1], 0.5, 1.0), (0.5, 1.0)):
            close(found, (flat / tau).logsumexp(1))
        close(normalisers(at, 7, 2.0)[0], (flat[:, :7] / 2).logsumexp(1))
        columns = torch.tensor([4, 4997, 17])
        values, norm = gathered(at, columns, 2.0)
        assert torch.equal(values, flat[:, columns])
        close(norm, (flat[:, columns] / 2).logsumexp(1))
    assert normalisers(RowView(z).at(rows[:0]), 7, 1.0)[0].shape == (0,)
    broken = logits(2, 40)
    broken[1, 3] = torch.nan
    assert normalisers(RowView(broken).at(torch.arange(2)), 40, 1.0)[0].isnan().tolist() == [False, True]


def check_far_rows() -> None:
    """A row behind 2^31 logits, in memory that is never touched between."""
    from ctkd_core.losses.kernels.gpu.maxima import column_maxima
    from ctkd_core.losses.kernels.gpu.statistics import normalisers

    far = 2**31 + 64
    z = torch.empty(far + 33, dtype=torch.float16).as_strided((2, 33), (far, 1))
    z.copy_(logits(2, 33, dtype=torch.float16))
    rows = RowView(z).at(torch.tensor([1, 0, 1]))
    assert rows.offset.tolist() == [far, 0, far]
    close(normalisers(rows, 33, 1.0)[0], z[[1, 0, 1]].float().logsumexp(1))
    close(column_maxima(rows, 33), z.float().amax(0))


def check_maxima() -> None:
    from ctkd_core.losses.kernels.gpu.maxima import column_maxima

    for dtype in (FLOAT32, *NARROW):
        z = logits(37, 301, dtype=dtype)
        z[:, 5] = -torch.inf
        rows = torch.arange(0, 37, 2)
        assert torch.equal(column_maxima(RowView(z).at(rows), 301), z[rows].float().amax(0))


def check_divergences() -> None:
    for kind in KINDS:
        for dtype, every in ((FLOAT32, ((1.0, 1.0), (2.0, 0.5))), (torch.bfloat16, ((2.0, 0.5),))):
            for taus in every:
                s, t = logits(6, 131, dtype=dtype), logits(6, 131, dtype=dtype, seed=1)
                t[2] = s[2]
                s[3, 7] = t[3, 7] = -torch.inf
                t[4, 9] = -torch.inf
                s[5, 11] = -torch.inf  # the teacher's probability is lost there: infinite for some
                compare(lambda z, t=t, kind=kind, taus=taus: divergence(
                    kind, z, t, temperature=taus[0], teacher_temperature=taus[1]
                ), s)  # fmt: skip


def check_large_logits() -> None:
    """Logits whose exponentials float32 can't hold, in passes without a soft-max and behind the compared columns."""
    s, t = logits(4, 70), logits(4, 70, seed=1)
    s[0, 3], s[1, 2], t[2, 5] = 95.0, 150.0, 120.0
    for kind in KINDS:
        compare(lambda z, kind=kind: divergence(kind, z, t), s, 1e-4)  # logits of 150 have steps of 1.5e-5
    chunk = DeferredChunk(slice(0, 4), RowView(s), torch.arange(4), Buffers(s.device, FLOAT32), learns=True)
    for number in range(2):  # a pass each, neither with a soft-max
        chunk.number = number
        assert chunk.gradient is not None
        chunk.gradient.add_(1.0)
    out = torch.zeros(4, 70)
    chunk.write(RowView(out).at(torch.arange(4)))
    close(out, torch.full((4, 70), 2.0))
    wide = logits(1, 3, 8)
    wide[0, 0, 6] = 150.0  # where only the cross-entropy looks
    for kind in ("forward_kl", "reverse_kl"):
        found = []
        for mode in ("interpret", "off"):
            with triton_mode(mode):
                facing = torch.tensor([0, 1])
                kernel = FacingRows(divergence_rule(kind), logits(1, 2, 4, seed=2), facing, (0.5, 1.0), 4)
                term = Term(("d",), (1.0,), torch.ones(2).double() / 2, kernel, scratch=kernel.scratch)
                leaf = wide.clone().requires_grad_()
                out = evaluate(leaf, torch.tensor([0, 1]), [term], FLOAT32)
                out.loss.backward()
                found.append((out.values[0], leaf.grad))
        for one, other in zip(*found):
            close(one, other, rtol=1e-4, atol=1e-6)


def compare(function: Callable[[Tensor], Tensor], z: Tensor, atol: float = 1e-5) -> None:
    """Rows' values and their weighted gradient with the kernels against without; `atol` of the gradient in float32."""
    found = []
    for mode in ("interpret", "off"):
        with triton_mode(mode):
            leaf = z.clone().requires_grad_()
            values = function(leaf)
            weight = torch.arange(1.0, len(values) + 1)
            (gradient,) = torch.autograd.grad((values * weight).sum(), [leaf])
            finite = values.detach().isfinite()
            found.append((values.detach(), gradient[finite]))
    own = {"rtol": 1e-4, "atol": atol} if z.dtype == FLOAT32 else {"rtol": 1e-2, "atol": 1e-3}
    close(found[0][0], found[1][0], rtol=1e-5, atol=3e-6)
    close(found[0][1], found[1][1], **own)


def check_rows_that_face_nothing() -> None:
    """Masked rows, columns beyond the compared ones, and a gradient of zero where no row is."""
    s, t = logits(1, 9, 70), logits(1, 5, 80, seed=1)
    rows, facing = torch.tensor([1, 2, 4, 7]), torch.tensor([3, -1, 0, 3])
    for kind in ("forward_kl", "jsd"):
        found = []
        for mode in ("interpret", "off"):
            with triton_mode(mode):
                kernel = FacingRows(divergence_rule(kind), t, facing, (2.0, 1.0), 61)
                term = Term(("d",), (0.7,), (facing >= 0).double() / 3, kernel, scratch=kernel.scratch)
                leaf = s.clone().requires_grad_()
                out = evaluate(leaf, rows, [term], FLOAT32)
                out.loss.backward()
                found.append((out.loss.detach(), out.values[0], leaf.grad))
        for one, other in zip(*found):
            close(one, other)
        assert not found[0][2][0, [0, 2, 3, 5, 6, 8]].any()
        assert not found[0][2][0, :, 61:].any()


def check_against_autograd() -> None:
    """Cross-entropy and forward KL as plain formulas."""
    batch = batch_of(samples(TEXT))
    s, t = logits_for(batch)
    batch, t = same_sides(batch, t)
    with triton_mode("interpret"):
        (found,) = torch.autograd.grad(losses.loss("kd", s, t, batch, temperature=2.0).loss, [s])
    n = batch.student.n_ids
    learnt = batch.student_labels[:, 1:] != -100
    z, q = s[:, :-1][learnt], t[:, :-1][learnt]
    ce = torch.nn.functional.cross_entropy(z, batch.student_labels[:, 1:][learnt])
    kl = torch.nn.functional.kl_div(
        (z[:, :n] / 2).log_softmax(-1), (q[:, :n] / 2).log_softmax(-1), reduction="batchmean", log_target=True
    )
    (expected,) = torch.autograd.grad(0.5 * ce + 0.5 * kl, [s])
    close(found, expected, rtol=1e-4, atol=1e-7)


def check_chunk() -> None:
    """All that a chunk may be told, at once: it writes what `Chunk` would have added up."""
    z, index = logits(7, 53, dtype=torch.bfloat16), torch.tensor([5, 0, 3])
    buffers = Buffers(z.device, FLOAT32)
    chunk = DeferredChunk(slice(0, 3), RowView(z), index, buffers, learns=True)
    picked = torch.tensor([[3, 50, 3], [0, 1, 2], [9, 9, 9]])
    values = logits(3, 3, seed=2)
    own = torch.tensor([0.3, -0.2, 0.1])
    expected = torch.zeros(3, 53)
    p = [(z[index].float() / tau).softmax(1) for tau in (1.0, 2.0, 3.0)]
    for number, (tau, row) in enumerate(zip((1.0, 2.0, 3.0), p)):  # three temperatures: two passes
        chunk.number = number
        chunk.add_softmax(own, tau)
        expected += own[:, None] * row * (1.0 if number == 0 else 0.5)
    chunk.add_softmax(torch.tensor([1.0, 2.0, 4.0]), 2.0, torch.tensor([1, 1, 0]))
    expected += 0.5 * torch.tensor([4.0, 3.0, 0.0])[:, None] * p[1]
    chunk.add_at(picked, values)
    expected.scatter_add_(1, picked, 0.5 * values)
    chunk.add_at(picked[:, 0], values[:, 0], torch.tensor([2, 2, 0]))
    expected.index_put_((torch.tensor([2, 2, 0]), picked[:, 0]), 0.5 * values[:, 0], accumulate=True)
    assert chunk.gradient is not None
    chunk.gradient.add_(1.0)
    expected += 0.5
    chunk.number = 0
    chunk.add_at(picked[:, :1], values[:, :1])  # one column a row: within the pass
    expected.scatter_add_(1, picked[:, :1], values[:, :1])
    out = torch.ones(7, 53)
    chunk.write(RowView(out).at(index), scale=0.5, factor=2.0, add=True)
    close(out[index], 1.0 + 2.0 * expected, rtol=1e-4, atol=1e-5)
    assert (out[[1, 2, 4, 6]] == 1.0).all()
    close(chunk.at(picked), z[index].float().gather(1, picked))
    close(chunk.at(picked[:, 0], torch.tensor([2, 2, 0])), z[index].float()[torch.tensor([2, 2, 0]), picked[:, 0]])


def check_sorted_rest() -> None:
    from ctkd_core.losses.kernels.gpu.paired import gaps

    p, q = logits(4, 37).softmax(1), logits(4, 29, seed=1).softmax(1)
    for limit in (None, 5, 33):
        values, inner, signs = gaps(p, q, True, limit)
        leaf = p.clone().requires_grad_()
        k = limit or 37
        a, b = leaf.sort(dim=1, descending=True).values, q.sort(dim=1, descending=True).values
        gap = (a - torch.nn.functional.pad(b, (0, 8)))[:, :k] if k <= 37 else None
        expected = gap.abs().sum(1)
        (slope,) = torch.autograd.grad(expected.sum(), [leaf])
        close(values, expected.detach())
        assert torch.equal(signs.float(), slope)
        close(inner, (slope * p).sum(1))
    values, _, signs = gaps(p[:, :0], q, True)
    close(values, q.sum(1))
    assert signs.shape == (4, 0)


def check_counted_rest() -> None:
    from ctkd_core.losses.kernels import buckets
    from ctkd_core.losses.kernels.gpu import ranks
    from ctkd_core.losses.kernels.gpu.paired import gaps

    pairs = {
        "apart": (logits(4, 3000) * 3, logits(4, 2000, seed=1) * 4),
        "wider": (logits(4, 2000) * 4, logits(4, 3000, seed=1) * 3),
        "rounded": (logits(4, 3000).bfloat16().float(), logits(4, 3000, seed=1).bfloat16().float() * 2),
        "zeros": (logits(4, 3000), logits(4, 2500, seed=1)),
    }
    pairs["zeros"][0][:, 90:] = -torch.inf
    pairs["zeros"][1][2:, 70:] = -torch.inf
    sorted_ones = 0
    for name, (z, w) in pairs.items():
        p, q = z.softmax(1), w.softmax(1)
        for limit in (None, 1, 50, 2500):
            counts = torch.zeros(2, 4, ranks.SPAN, dtype=torch.int32)
            for side, rows in enumerate((p, q)):
                bucket = (rows.view(torch.int32) + buckets.ROUND_UP) >> buckets.SHIFT
                counts[side].scatter_add_(1, bucket.long(), torch.ones_like(bucket))
            expected, inner, signs = gaps(p, q, True, limit)
            again = counts.clone()
            found = ranks.counted_gaps(p, q, counts, True, limit or 3000)
            if found is None:
                sorted_ones += 1
                continue
            close(found[0], expected)
            close(found[1], inner)
            if name != "rounded":  # equal entries may change places
                assert torch.equal(found[2] * (p > 0), signs * (p > 0))
            close((found[2] * p).sum(1), inner)
            bare = ranks.counted_gaps(p, q, again, False, limit or 3000)
            assert bare is not None
            assert torch.equal(bare[0], found[0])
    assert sorted_ones < 4, "most were left to sorting"
    p = (logits(2, 5000) * 3).softmax(1)
    bucket = (p.view(torch.int32) + buckets.ROUND_UP) >> buckets.SHIFT
    counts = torch.zeros(2, 2, ranks.SPAN, dtype=torch.int32)
    counts.scatter_add_(2, bucket.long().expand(2, 2, 5000), torch.ones(2, 2, 5000, dtype=torch.int32))
    assert ranks.counted_gaps(p, p.flip(1).contiguous(), counts, True, 5000) is None


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "kd": ("kd", {"temperature": 2.0}),
    "kd, tvd": ("kd", {"divergence": "tvd"}),
    "kd, top 5": ("kd", {"top_k": 5}),
    "uld": ("uld", {"temperature": 1.5}),
    "uld, groups": ("uld", {"pairing": "groups", "top_k": 9}),
    "gold": ("gold", {"temperature": 1.5, "teacher_temperature": 0.8}),
    "gold, observed, forward": ("gold", {"merge": "observed", "beta": 0.0}),
    "gold, reverse": ("gold", {"beta": 1.0, "with_eos": True}),
    "gold, not hybrid": ("gold", {"hybrid": False}),
    "xtoken-pkl": ("xtoken-pkl", {"top_k": 100, "temperature": 1.5}),
    "xtoken-pkl, reverse": ("xtoken-pkl", {"top_k": 50, "reverse": True, "scaling": "fixed"}),
    "xtoken-pkl, chain": ("xtoken-pkl", {"merge": "chain"}),
    "xtoken-hkl": ("xtoken-hkl", {"temperature": 1.5}),
    "xtoken-hkl, reverse": ("xtoken-hkl", {"reverse": True, "common": "strict", "tail_k": 7, "scaling": "fixed"}),
    "sedi": ("sedi", {}),
    "alm": ("alm", {"debias": "none"}),
    "alm, boundaries": ("alm", {}),
    "bytes": ("bytes", {}),
    "cdm": ("cdm", {}),
}


def check_loss(
    name: str, options: dict[str, Any], dtype: torch.dtype, apart: bool = False, lowest: float | None = None
) -> None:
    """Value, terms, groups, figures and gradient with the kernels against without; `lowest`: a logit of the teacher's
    for every second token that the text hasn't."""
    batch = batch_of(samples(TEXT))
    s, t = logits_for(batch)
    s, t = s.detach().to(dtype).requires_grad_(), t.to(dtype)
    if methods.get(name).same_tokenizer:
        batch, t = same_sides(batch, t)
    if apart:
        t = t.mT.contiguous().mT
    if lowest is not None:
        t[..., [i for i in range(3, t.shape[-1], 2) if i not in batch.teacher_ids]] = lowest
    found = []
    for mode in ("interpret", "off"):
        with triton_mode(mode):
            out = losses.loss(name, s, t, batch, **options, **extras(name, batch))
            (gradient,) = torch.autograd.grad(out.loss, [s], retain_graph=True)
            (again,) = torch.autograd.grad(2 * out.loss, [s])  # computed anew
            found.append((out, gradient))
            close(again, 2 * gradient, rtol=1e-2 if dtype != FLOAT32 else 1e-5, atol=1e-3 if dtype != FLOAT32 else 1e-6)
    (own, gradient), (twin, expected) = found
    close(own.loss.detach(), twin.loss.detach())
    close(own.per_group, twin.per_group, rtol=1e-4, atol=3e-5)
    assert own.terms.keys() == twin.terms.keys()
    for key, value in twin.terms.items():
        close(own.terms[key], value, rtol=1e-4, atol=1e-5)
    for key, value in twin.diagnostics.items():
        close(torch.tensor(own.diagnostics[key]), torch.tensor(value), rtol=1e-4, atol=1e-5)
    bound = (
        {"rtol": 1e-3, "atol": 1e-7} if dtype == FLOAT32 else {"rtol": 0.02, "atol": float(expected.abs().max()) / 64}
    )
    close(by_logits(gradient, s), by_logits(expected, s), **bound)


def by_logits(gradient: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Gradients by their logits, then by size: of equal entries of a row either may have a rank, and its sign."""
    found, order = gradient.sort(dim=-1)
    return found.gather(-1, z.detach().gather(-1, order).argsort(dim=-1, stable=True))


def check_teacher_that_kernels_cannot_read() -> None:
    """The student's logits are read in their place, the teacher's in torch, for their columns lie apart."""
    for name in ("kd", "uld", "gold", "xtoken-pkl", "xtoken-hkl"):
        check_loss(name, {}, FLOAT32, apart=True)


def check_counted(name: str, dtype: torch.dtype) -> None:
    """Counting ranks in rows so short that they would be sorted, with a map that leaves columns without a partner."""
    from ctkd_core.losses.kernels import buckets
    from ctkd_core.losses.kernels.gpu import ranks

    fewest, counted, calls = buckets.FEWEST, ranks.counted_gaps, []
    buckets.FEWEST = 0
    ranks.counted_gaps = lambda *given: calls.append(counted(*given)) or calls[-1]
    try:
        method, options = FORMS[name]
        more = {"projection": random_map()} if method == "xtoken-hkl" else {}
        check_loss(method, options | more, dtype)
    finally:
        buckets.FEWEST, ranks.counted_gaps = fewest, counted
    assert any(found is not None for found in calls), "no row was counted"


def check_teacher_that_rules_tokens_out() -> None:
    """Probabilities of 0, whose logarithm counts for nothing."""
    check_loss("xtoken-hkl", {}, FLOAT32, lowest=-torch.inf)
    check_loss("xtoken-hkl", {"scaling": "fixed"}, FLOAT32, lowest=-torch.inf)
    check_loss("gold", {}, FLOAT32, lowest=-torch.inf)
    check_loss("uld", {}, FLOAT32, lowest=-torch.inf)
    check_loss("xtoken-pkl", {}, FLOAT32, lowest=-torch.inf)
    check_loss("alm", {"debias": "append"}, FLOAT32, lowest=-torch.inf)
    check_loss("alm", {"debias": "append"}, FLOAT32, lowest=-200.0)


def check_empty() -> None:
    """A batch without groups, and one without learnt tokens."""
    batch = batch_of(samples(TEXT))
    s, t = logits_for(batch)
    for name in ("gold", "xtoken-pkl", "xtoken-hkl"):
        for given in (
            replace(batch, groups=batch.groups[:0]),
            replace(batch, student_labels=torch.full_like(batch.student_labels, -100)),
        ):
            found = []
            for mode in ("interpret", "off"):
                with triton_mode(mode):
                    loss = losses.loss(name, s, t, given).loss
                    found.append((loss.detach(), torch.autograd.grad(loss, [s])[0]))
            close(found[0][0], found[1][0])
            close(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)


def check_several_teachers() -> None:
    """A gradient that two losses share."""
    batch = batch_of(samples(TEXT))
    s, t = logits_for(batch)
    found = []
    for mode in ("interpret", "off"):
        with triton_mode(mode):
            loss = _several(s, t, batch)
            found.append((loss.detach(), torch.autograd.grad(loss, [s])[0]))
    close(found[0][0], found[1][0])
    close(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)


def _several(s: Tensor, t: Tensor, batch: Any) -> Tensor:
    options = {"scaling": "fixed"}
    first = WeightedTeacher("gold", t, batch, weight=0.3)
    return several([first, WeightedTeacher("xtoken-pkl", t, batch, weight=0.7, options=options)], s).loss


CHECKS: dict[str, Check] = {
    "normalisers": check_normalisers,
    "rows behind 2^31 logits": check_far_rows,
    "column maxima": check_maxima,
    "divergences": check_divergences,
    "large logits": check_large_logits,
    "rows that face nothing": check_rows_that_face_nothing,
    "against autograd": check_against_autograd,
    "chunk": check_chunk,
    "sorted rest": check_sorted_rest,
    "counted rest": check_counted_rest,
    "a teacher that kernels can't read": check_teacher_that_kernels_cannot_read,
    "a teacher that rules tokens out": check_teacher_that_rules_tokens_out,
    "empty batches": check_empty,
    "several teachers": check_several_teachers,
    **{name: lambda form=form: check_loss(*form, FLOAT32) for name, form in FORMS.items()},
    **{
        f"{name}, counted": lambda name=name: check_counted(name, FLOAT32)
        for name in ("uld", "uld, groups", "gold", "gold, not hybrid", "xtoken-hkl", "xtoken-hkl, reverse")
    },
    "uld, bfloat16, counted": lambda: check_counted("uld", torch.bfloat16),
    **{
        f"{name}, bfloat16": lambda name=name: check_loss(*FORMS[name], torch.bfloat16)
        for name in ("kd", "gold", "xtoken-pkl", "xtoken-hkl", "sedi")
    },
}


def spare_the_interpreter() -> None:
    """Have it put its functions into Triton's language once for each launch: half of its time went into doing so again
    for every call of a helper inside a kernel, where they are in place already."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched: set[tuple[bool, bool]] = set()

    def patch_once(fn: Any) -> Any:
        seen = [value for value in fn.__globals__.values() if value is tl or value is tl.core]
        which = (tl in seen, tl.core in seen)
        if which in patched:
            return interpreter._LangPatchScope()
        patched.add(which)
        return patch(fn)

    def launch_anew(self: Any, *args: Any, **options: Any) -> Any:
        patched.clear()
        return launch(self, *args, **options)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = patch_once, launch_anew


def main() -> None:
    """Print what went wrong with each check, "" where nothing did, as JSON."""
    spare_the_interpreter()
    found = {}
    for name, check in CHECKS.items():
        try:
            check()
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
