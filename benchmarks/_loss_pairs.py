"""Losses beside those of other programs: forward and backward to the logits, the same logits, groups and maps.

Each call returns its value and its gradients. 256 student x 300 teacher rows, random logits, no cross-entropy in the
sum; of ours it is computed all the same, since every loss of this package reports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import losses as shared  # noqa: E402
from _comparison import Comparison, Sides  # noqa: E402

SIZES = {
    "2k x 2k": (1, 257, 301, 2_000, 2_304),
    "32k x 49k": (1, 257, 301, 32_000, 49_152),
    "129k x 152k": (1, 257, 301, 129_280, 151_936),
}
shared.SIZES |= SIZES
WIDTHS = {"2k x 2k": (64, 96), "32k x 49k": (576, 768), "129k x 152k": (576, 768)}  # hidden states, for fused heads
# Where memory is measured: the C library keeps what it freed of smaller pieces, so their peak doesn't grow again.
_LARGE = ("129k x 152k",)
BETA = 0.5
SEED = 0
# glibc gives memory back at once by default, and fresh pages cost more than the arithmetic on them.
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def _clear(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        leaf.grad = None


def _step(loss: Callable[[], Any], leaves: Sequence[Any]) -> tuple[float, list[Any]]:
    """Value and gradients of one step in torch."""
    _clear(leaves)
    value = loss()
    value.backward()
    return float(value.detach()), [leaf.grad for leaf in leaves]


def differences(ours: Any, theirs: Any) -> Mapping[str, float]:
    """Relative difference of the values; largest difference of the gradients over their largest entry."""
    (value, gradients), (other, others) = ours, theirs
    others = others if isinstance(others, list) else [others]
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(gradients, others)]
    apart = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
    return {"value": abs(value - other) / abs(other), "gradient": apart}


def _both(ours: Callable[..., Any], theirs: Callable[..., Callable[[], Any]], size: str) -> Sides:
    """Two losses in torch: `ours` of (student, teacher, batch), `theirs` of the same a call without arguments."""
    given = shared.case(size)
    peer = theirs(*given)
    return Sides(
        lambda: _step(lambda: ours(*given), given[:1]),
        lambda: _step(peer, given[:1]),
        differences,
        partial(_clear, given[:1]),
    )


def _ours(name: str, mapped: bool = False, **options: Any) -> Callable[..., Any]:
    def run(student: Any, teacher: Any, batch: Any) -> Any:
        from ctkd_core import losses

        given = {"projection": _map(student.shape[-1], teacher.shape[-1])[0]} if mapped else {}
        return losses.loss(name, student, teacher, batch, ce_weight=0.0, **options, **given).loss

    return run


@lru_cache(maxsize=2)
def _map(vs: int, vt: int) -> tuple[Any, Any]:
    """The vocabulary map and its pairs of equal tokens."""
    return shared.projection(vs, vt)


def _trl_gold(hybrid: bool, student: Any, teacher: Any, batch: Any) -> Callable[[], Any]:
    import _peers

    loss = _peers.trl_gold_loss(_map(student.shape[-1], teacher.shape[-1])[1] if hybrid else None)
    offsets = shared.byte_offsets(student.shape[1], teacher.shape[1])
    return lambda: _peers.trl_gold_step(loss, student, teacher, batch, offsets)


def _uld(student: Any, teacher: Any, _: Any) -> Callable[[], Any]:
    import _peers

    return lambda: _peers.torch_uld(student, teacher)


def _pkl(student: Any, teacher: Any, batch: Any) -> Callable[[], Any]:
    import _peers

    matrix = _map(student.shape[-1], teacher.shape[-1])[0]
    return lambda: _peers.torch_pkl(student, teacher, batch, matrix)


def _hkl(student: Any, teacher: Any, batch: Any) -> Callable[[], Any]:
    import _peers

    from ctkd_core.losses.parts.matched import best_pairs

    pairs = best_pairs(_map(student.shape[-1], teacher.shape[-1])[0], 0.6)
    return lambda: _peers.torch_hkl(student, teacher, batch, pairs)


def _alm(size: str) -> Sides:
    """tokenkit's ALM; ours as it is released there, so that both join the same chunks and divide alike."""
    import _tokenkit
    import torch

    from ctkd_core.losses import alm
    from ctkd_core.losses.parts.chunks import chunks_of

    student, teacher, batch = shared.case(size)
    generator = torch.Generator().manual_seed(SEED)
    masks = tuple((torch.rand(z.shape[-1], generator=generator) < 0.4).float() for z in (student, teacher))
    rule = alm.ChunkRule("binary_ce", _tokenkit.TAU, "merge", _tokenkit.GAMMA, True)

    def ours() -> Any:
        chunks = chunks_of(batch, released=True)
        return alm.alm_objective(student, teacher, batch, chunks, rule, masks, 0.0).loss

    theirs = _tokenkit.alm(student, teacher, batch, masks)
    return Sides(lambda: _step(ours, [student]), theirs, differences, partial(_clear, [student]))


def _heads(peer: str, size: str) -> Sides:
    """Generalised JSD of two models with one vocabulary, from hidden states and output heads: no logits are kept."""
    import _peers
    import torch

    from ctkd_core import losses
    from ctkd_core.losses.engine.fused import HeadLogits

    _, ts, _, vs, _ = SIZES[size]
    own, other = WIDTHS[size]
    batch = _same(ts, vs)
    generator = torch.Generator().manual_seed(SEED)
    hidden, head, t_hidden, t_head = (
        torch.randn(*shape, generator=generator) * scale
        for shape, scale in (((1, ts, own), 1.0), ((vs, own), 0.05), ((1, ts, other), 1.0), ((vs, other), 0.05))
    )
    leaves = [hidden.requires_grad_(), head.requires_grad_()]

    def ours() -> Any:
        student, teacher = HeadLogits(hidden, head), HeadLogits(t_hidden, t_head)
        return losses.loss("kd", student, teacher, batch, ce_weight=0.0, divergence="jsd", beta=BETA).loss

    def theirs() -> Any:
        rows, t_rows = hidden[:, :-1], t_hidden[:, :-1]
        if peer == "trl":
            return _peers.trl_distillation(rows, head, t_rows, t_head, BETA)
        return _peers.liger_jsd(rows, head, t_rows, t_head, batch.student_ids[0, 1:], BETA)

    return Sides(lambda: _step(ours, leaves), lambda: _step(theirs, leaves), differences, partial(_clear, leaves))


def _gkd(size: str) -> Sides:
    """The same divergence from logits."""
    import _peers
    import torch

    from ctkd_core import losses

    _, ts, _, vs, _ = SIZES[size]
    batch, generator = _same(ts, vs), torch.Generator().manual_seed(SEED)
    student = (torch.randn(1, ts, vs, generator=generator) * 2).requires_grad_()
    teacher = torch.randn(1, ts, vs, generator=generator) * 3

    def ours() -> Any:
        return losses.loss("kd", student, teacher, batch, ce_weight=0.0, divergence="jsd", beta=BETA).loss

    def theirs() -> Any:
        return _peers.trl_gkd(student[:, :-1], teacher[:, :-1], batch.student_ids[:, 1:], BETA)

    return Sides(
        lambda: _step(ours, [student]), lambda: _step(theirs, [student]), differences, partial(_clear, [student])
    )


def _same(length: int, vocabulary: int) -> Any:
    """A batch of one sample whose two sides are the same random tokens."""
    from ctkd_core.losses.batch import AlignedSample, collate

    ids = np.random.default_rng(SEED).integers(0, vocabulary, length).astype(np.int32)
    groups = np.array([[i, i + 1, i, i + 1] for i in range(1, length)], dtype=np.int32)
    return collate([AlignedSample(ids, ids, 1, 1, groups)])


def _loss(name: str, peer: str, needs: str, make: Callable[[str], Sides], **more: Any) -> Comparison:
    given = {"sizes": tuple(SIZES), "memory": _LARGE} | more
    return Comparison(name=name, kind="loss", peer=peer, needs=needs, make=make, **given)


GOLD = {"merge": "observed", "with_eos": True}  # TRL's defaults of these
_KEPT = {"sizes": _LARGE, "setting": KEPT, "memory": ()}
_GOLD = partial(_both, _ours("gold", mapped=True, **GOLD), partial(_trl_gold, True))
_GROUPS = partial(_both, _ours("gold", hybrid=False, **GOLD), partial(_trl_gold, False))
PLAIN = "plain torch"
COMPARISONS = (
    _loss("GOLD", "TRL", "trl", _GOLD),
    _loss("GOLD", "TRL, freed memory kept", "trl", _GOLD, **_KEPT),
    _loss("ULD on groups", "TRL", "trl", _GROUPS),
    _loss("ULD on groups", "TRL, freed memory kept", "trl", _GROUPS, **_KEPT),
    _loss("ULD", PLAIN, "", partial(_both, _ours("uld"), _uld)),
    _loss("JSD from hidden states", "TRL's DistillationTrainer", "trl", partial(_heads, "trl")),
    _loss(
        "JSD from hidden states", "Liger, chunked", "liger", partial(_heads, "liger"),
        note="Liger computes cross-entropy through the same heads, too",
    ),
    _loss("JSD from logits", "TRL's GKDTrainer", "trl", _gkd),
    _loss("ALM", "tokenkit", "tokenkit", _alm, note="tokenkit's is compiled by JAX beforehand"),
    _loss(
        "X-Token P-KL", "NeMo-RL's algorithm in plain torch", "",
        partial(_both, _ours("xtoken-pkl", mapped=True, scaling="fixed"), _pkl),
    ),
    _loss(
        "X-Token H-KL", "NeMo-RL's algorithm in plain torch", "",
        partial(_both, _ours("xtoken-hkl", mapped=True, scaling="fixed"), _hkl),
    ),
)  # fmt: skip
