"""Alignments and transport beside other programs: the same two encodings, strings or cost matrices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _comparison import Comparison, Sides  # noqa: E402

PAIR = ("deepseek", "smollm2")
SEED = 0
TOKENS = {"2,048 tokens": 2_048, "32,768 tokens": 32_768}
PATHS = {"512 x 576 tokens": (512, 576), "2,048 x 2,300 tokens": (2_048, 2_300)}
SHORT_PATH = {"256 x 288 tokens": (256, 288)}  # plain loops take a second for it
# Rows of both sides, scalings and mass, as CoT2Align and MultiLevelOT have them.
TRANSPORTS = {"256 x 300 rows": (256, 300, 50, 1.0), "256 x 256 rows": (256, 256, 20, 256.0)}
EPSILON = 0.1


def _encodings(tokens: int) -> tuple[Any, Any]:
    """About `tokens` student tokens of real ASCII text, without what spells special tokens, and the teacher's."""
    from _texts import real_text

    from ctkd_core import load_tokenizer

    student, teacher = (load_tokenizer(name) for name in PAIR)
    # Other programs compare strings of characters, in which a piece of a cut character has no place.
    text = real_text(8 * tokens).encode("ascii", "ignore").decode().replace("<|", "< |")
    whole = student.encode(text)
    text = text[: int(whole.spans[min(tokens, len(whole)) - 1, 1])]
    return student.encode(text), teacher.encode(text)


def _groups(ours: Callable[..., Any], theirs: Callable[..., Callable[[], Any]], read: Any, size: str) -> Sides:
    """An aligner of two encodings beside another; `read` makes groups of what the other returns."""
    a, b = _encodings(TOKENS[size])
    return Sides(lambda: ours(a, b), theirs(a, b), lambda own, other: _apart(own.groups.tolist(), read(other)))


def _apart(own: Any, other: Any) -> Mapping[str, float]:
    """Share of the groups that only one side has."""
    first, second = {tuple(g) for g in own}, {tuple(g) for g in other}
    return {"groups": len(first ^ second) / max(1, len(first | second))}


def _spacy(a: Any, b: Any) -> Callable[[], Any]:
    from spacy_alignments import get_alignments

    own, other = ([token.decode() for token in side.token_bytes] for side in (a, b))
    return lambda: get_alignments(own, other)


def _of_lists(found: Any) -> list[tuple[int, int, int, int]]:
    """Groups of spacy-alignments' lists: neighbours that share a token of the other side belong together."""
    groups: list[list[int]] = []
    for i, others in enumerate(found[0]):
        if groups and others and others[0] < groups[-1][3]:
            groups[-1][1], groups[-1][3] = i + 1, max(groups[-1][3], others[-1] + 1)
        elif others:
            groups.append([i, i + 1, others[0], others[-1] + 1])
    return [tuple(g) for g in groups]  # type: ignore[misc]


def _tokenkit(a: Any, b: Any) -> Callable[[], Any]:
    from _tokenkit import aligned

    return aligned(a, b)


def _trl(a: Any, b: Any) -> Callable[[], Any]:
    from trl.experimental.gold.gold_trainer import ULDLoss

    own, other = a.spans.tolist(), b.spans.tolist()
    return lambda: ULDLoss._align_by_byte_offsets(own, other)


def _of_positions(found: Any) -> list[tuple[int, int, int, int]]:
    return [(s[0], s[-1] + 1, t[0], t[-1] + 1) for s, t in zip(*found)]


def _aligner(name: str) -> Callable[..., Any]:
    def run(a: Any, b: Any) -> Any:
        from ctkd_core.alignment.alm import alm
        from ctkd_core.alignment.gold import gold
        from ctkd_core.alignment.spans import sedi

        return {"sedi": sedi, "gold": gold, "alm": alm}[name](a, b)

    return run


def _strings(size: tuple[int, int]) -> tuple[Any, ...]:
    """Strings of student and teacher, and random entropies of their tokens."""
    from ctkd_core.alignment.costs import content_strings

    n, m = size
    a, b = _encodings(2 * max(size))
    draw = np.random.default_rng(SEED)
    return content_strings(a)[:n], content_strings(b)[:m], draw.gamma(2.0, 0.7, n), draw.gamma(2.0, 0.7, m)


def _libraries(size: str) -> Sides:
    """CDM's cheapest path beside a matrix by rapidfuzz and a path by tslearn: strings and weights in, cost out."""
    from dtw import with_libraries

    from ctkd_core.alignment.cheapest_path import dtw
    from ctkd_core.alignment.costs import token_costs, weights

    s, t, h_s, h_t = _strings(PATHS[size])
    ws, wt = weights(h_s), weights(h_t)
    return Sides(
        lambda: dtw(token_costs(s, t, ws, wt))[0][-1].after,
        lambda: with_libraries(s, t, ws, wt),
        lambda own, other: {"value": abs(own - other) / other},
    )


def _released(size: str) -> Sides:
    """CDM's cheapest path beside its published algorithm, a cell at a time."""
    from _released_cdm import released_cdm

    from ctkd_core.alignment.cheapest_path import dtw
    from ctkd_core.alignment.costs import token_costs, weights

    s, t, h_s, h_t = _strings(SHORT_PATH[size])
    given = (s, t, h_s.tolist(), h_t.tolist())

    def compare(own: Any, other: Any) -> Mapping[str, float]:
        same = [tuple(pair) for pair in own[1].tolist()] == other[1]
        return {"value": abs(own[0][-1].after - other[0]) / other[0], "path": float(not same)}

    return Sides(lambda: dtw(token_costs(s, t, weights(h_s), weights(h_t))), lambda: released_cdm(*given), compare)


def _transport(size: str) -> Sides:
    """Entropic transport, forward and backward to the costs; POT's in the log domain, in torch.

    Two sizes of CoT2Align's and MultiLevelOT's kind: uniform marginals, or ones for as many rows on both sides. POT
    scales columns before rows and ours rows before columns, so POT gets the transposed problem.
    """
    import ot
    import torch
    from _loss_pairs import differences

    from ctkd_core.losses.parts.transport import sinkhorn_plan, transport_cost

    n, m, iterations, mass = TRANSPORTS[size]
    generator = torch.Generator().manual_seed(SEED)
    x, y = (torch.nn.functional.normalize(torch.randn(k, 64, generator=generator), dim=1) for k in (n, m))
    cost = (1.0 - x @ y.T).requires_grad_()
    a, b = torch.full((n,), mass / n), torch.full((m,), mass / m)

    def step(plan: Callable[[], Any]) -> tuple[float, Any]:
        cost.grad = None
        value = transport_cost(plan(), cost)
        value.backward()
        return float(value.detach()), [cost.grad]

    def theirs() -> Any:
        options = {"method": "sinkhorn_log", "numItermax": iterations, "stopThr": 0.0, "warn": False}
        return ot.sinkhorn(b, a, cost.T, EPSILON, **options).T

    def ours() -> Any:
        return sinkhorn_plan(cost, EPSILON, iterations, a.log(), b.log())

    return Sides(lambda: step(ours), lambda: step(theirs), differences)


def _text(name: str, peer: str, needs: str, ours: str, theirs: Any, read: Any, note: str = "") -> Comparison:
    make = partial(_groups, _aligner(ours), theirs, read)
    return Comparison(name, "alignment", peer, needs, tuple(TOKENS), make, note=note)


GIVEN = "both encodings at hand"
COMPARISONS = (
    _text("Groups by overlap (SeDi)", "spacy-alignments", "spacy-alignments", "sedi", _spacy, _of_lists,
          "it compares characters of strings, ours spans of bytes; both encodings at hand"),
    _text("Groups between common ends (GOLD)", "TRL", "trl", "gold", _trl, _of_positions, GIVEN),
    _text("Chunks (ALM)", "tokenkit", "tokenkit", "alm", _tokenkit, list, GIVEN),
    Comparison("Cheapest path (CDM)", "alignment", "rapidfuzz and tslearn", "tslearn", tuple(PATHS), _libraries),
    Comparison("Cheapest path (CDM)", "alignment", "the published loops in Python", "", tuple(SHORT_PATH), _released),
    Comparison("Transport (CoT2Align)", "transport", "POT", "pot", ("256 x 300 rows",), _transport),
    Comparison("Transport (MultiLevelOT)", "transport", "POT", "pot", ("256 x 256 rows",), _transport),
)  # fmt: skip
