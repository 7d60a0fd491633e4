"""Dynamic time warping over token strings (CDM; `mined.py` uses the same search without weights).

D(i, j) = Lev(s_i, t_j) ws_i wt_j + min(D(i-1, j-1), D(i, j-1), D(i-1, j)); ties go to the diagonal, then teacher - 1,
then student - 1. Source: Chen et al., Findings of ACL 2025 (arXiv 2502.11104) and its released code. Differs: groups
are the connected components of the path (the released lists are in `released/cdm.py`); long texts are cut where both
tokenizers have a byte boundary in common, so that the cost stays linear.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.cheapest_path import Block, common_cuts, dtw
from ctkd_core.alignment.components import (
    check_same_text,
    content_positions,
    coverage_notes,
    to_positions,
)
from ctkd_core.alignment.costs import (
    CONSTANT_WEIGHT,
    TokenCosts,
    content_strings,
    released_free_pairs,
    token_costs,
    weights,
)
from ctkd_core.alignment.surface import DtwSurface
from ctkd_core.errors import AlignmentError
from ctkd_core.tokenizers.encoding import Encoding


def cdm(
    student: Encoding,
    teacher: Encoding,
    *,
    variant: str = "clean",
    integer_weights: bool = True,
    window: int = 0,
    student_entropy: Any = None,
    teacher_entropy: Any = None,
    special_pairs: Iterable[tuple[str, str]] = (),
) -> Alignment:
    """Entropy-weighted DTW over the tokens that aren't special.

    student_entropy, teacher_entropy: [n] in nats, one per token of the encoding; None makes that side's weights one
    constant. `window`: longest stretch in tokens searched at once; 0 searches the whole text as long as it has at
    most 4,096 x 4,096 cells. `special_pairs`: (student string, teacher string) that cost nothing besides.

    `pairs` holds the path, `groups` its connected components, `cost` the surface. Raises AlignmentError for two
    different texts, entropies of the wrong length, or a text without common boundaries that is too long for a band.
    """
    check_same_text(student, teacher)
    released = variant == "released"
    integer = integer_weights or released
    s_at, t_at = positions(student), positions(teacher)
    h_s = _entropies(student_entropy, student, "student")
    h_t = _entropies(teacher_entropy, teacher, "teacher")
    free = [*special_pairs, *(released_free_pairs() if released else ())]
    costs = token_costs(
        content_strings(student, released),
        content_strings(teacher, released),
        _side_weights(h_s, s_at, len(student), integer),
        _side_weights(h_t, t_at, len(teacher), integer),
        [(u.replace(" ", ""), v.replace(" ", "")) for u, v in free],
    )
    notes = list(coverage_notes(student, teacher))
    notes += _weight_notes(h_s, h_t)
    if released:
        notes.append(
            "The released program merges rows that share an alignment list, and its groups may overlap; the groups "
            "here are the connected components of its path."
        )
    blocks, groups, pairs = warp(student, teacher, costs, window)
    return Alignment(
        student=student,
        teacher=teacher,
        method="cdm",
        groups=groups,
        pairs=pairs,
        cost=DtwSurface(costs, blocks, s_at, t_at, _float32(h_s), _float32(h_t)),
        variant=variant,
        options={"integer_weights": integer_weights, "window": window},
        notes=(*notes, *search_notes(blocks)),
    )


def warp(
    student: Encoding, teacher: Encoding, costs: TokenCosts, window: int, ties: str = "teacher"
) -> tuple[tuple[Block, ...], NDArray[np.int32], NDArray[np.int32]]:
    """Search the tokens that aren't special, in stretches where the text is too long for one search.

    costs: of all tokens; window: longest stretch in tokens (0: the whole text up to 4,096 x 4,096 cells); ties: see
    `dtw`. Returns the stretches, the groups int32 [G, 4] and the pairs of the path int32 [P, 2], both in positions of
    the encodings.
    """
    s_at, t_at = positions(student), positions(teacher)
    n, m = len(s_at), len(t_at)
    blocks: tuple[Block, ...] = ()
    pairs, groups = np.zeros((0, 2), dtype=np.int32), _one_sided(n, m)
    if n and m:
        cuts = common_cuts(student.spans[s_at], teacher.spans[t_at], window)
        blocks, pairs = dtw(costs.take(s_at, t_at), cuts, ties)
        groups = path_groups(pairs)
    placed = np.stack([s_at[pairs[:, 0]], t_at[pairs[:, 1]]], axis=1).astype(np.int32)
    return blocks, to_positions(groups, content_positions(student), content_positions(teacher)), placed


def path_groups(pairs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Groups int32 [G, 4]: connected components of a path's pairs [P, 2], its runs without a diagonal step."""
    if not len(pairs):
        return np.zeros((0, 4), dtype=np.int32)
    diagonal = np.flatnonzero((np.diff(pairs, axis=0) == 1).all(axis=1)) + 1
    first, last = np.concatenate([[0], diagonal]), np.concatenate([diagonal, [len(pairs)]]) - 1
    return np.stack([pairs[first, 0], pairs[last, 0] + 1, pairs[first, 1], pairs[last, 1] + 1], axis=1).astype(np.int32)


def positions(encoding: Encoding) -> NDArray[np.int64]:
    """Positions of the tokens that aren't special, int64 [k]."""
    at = content_positions(encoding)
    return np.arange(len(encoding)) if at is None else at


def _entropies(given: Any, encoding: Encoding, side: str) -> NDArray[np.float64] | None:
    if given is None:
        return None
    h = np.asarray(given, dtype=np.float64)
    if h.shape != (len(encoding),):
        raise AlignmentError(
            f"{side}_entropy needs one value per token, {len(encoding)} for {encoding.tokenizer}; "
            f"got the shape {list(h.shape)}."
        )
    content = h[~encoding.special]
    if not np.isfinite(content).all():
        k = int(np.flatnonzero(~np.isfinite(h) & ~encoding.special)[0])
        raise AlignmentError(f"{side}_entropy must be finite; token {k} has {h[k]}.")
    return h


def _side_weights(
    h: NDArray[np.float64] | None, at: NDArray[np.int64], count: int, integer: bool
) -> NDArray[np.float64]:
    """Weights [count] of all tokens; special ones take no part in the scale and keep the constant."""
    out = np.full(count, CONSTANT_WEIGHT)
    if h is not None:
        out[at] = weights(h[at], integer)
    return out


def _weight_notes(h_s: NDArray[np.float64] | None, h_t: NDArray[np.float64] | None) -> list[str]:
    if h_s is None and h_t is None:
        return [f"No logits given: every entropy weight is the constant {CONSTANT_WEIGHT:g}; the path is plain DTW."]
    if h_s is None or h_t is None:
        side = "student" if h_s is None else "teacher"
        return [f"No {side} logits given: all {side} weights are the constant {CONSTANT_WEIGHT:g}."]
    return []


def search_notes(blocks: tuple[Block, ...]) -> list[str]:
    """Sentences on how a long text was searched, and how exact that is."""
    notes = []
    if len(blocks) > 1:
        notes.append(
            f"The text is long: the path was searched in {len(blocks)} stretches that end at byte boundaries common to "
            "both tokenizers. It is the cheapest of the paths through those; one that is free to miss them may cost "
            "less."
        )
    banded = sum(block.banded for block in blocks)
    if banded:
        notes.append(f"{banded} of {len(blocks)} stretches were searched only in a band around their diagonal.")
    return notes


def _one_sided(n: int, m: int) -> NDArray[np.int32]:
    groups = np.zeros((n + m, 4), dtype=np.int32)
    groups[:n, 0], groups[:n, 1] = np.arange(n), np.arange(1, n + 1)
    groups[n:, 2], groups[n:, 3] = np.arange(m), np.arange(1, m + 1)
    groups[n:, :2] = n
    return groups


def _float32(h: NDArray[np.float64] | None) -> NDArray[np.float32] | None:
    return None if h is None else h.astype(np.float32)
