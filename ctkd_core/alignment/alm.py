"""ALM: chunks of text that end where both tokenizers have a token boundary, for comparing likelihoods chunk by chunk.

plain   the smallest chunks: every byte boundary that both sides have
space   a chunk ends only where both next tokens begin with a space
bias    a chunk ends only where the teacher expects a boundary: the probability that a space, newline, tab or special
        token follows its last token exceeds a threshold; otherwise it is merged with the chunk that follows
Source: Minixhofer et al., arXiv 2503.20083, and tokenkit at bcacdef4 (there: "unconstrained", "space" and
"merge_by_space_prob"). Differs (variant "clean"): chunks are cut at bytes of the text, not at lengths of token strings,
and what the released program drops is kept and flagged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.boundaries import boundary_groups, bytes_at, left_over_note, placed, text_positions
from ctkd_core.alignment.components import check_same_text, coverage_notes
from ctkd_core.alignment.released import tokenkit
from ctkd_core.errors import AlignmentError, unknown
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

CHUNKINGS = ("plain", "space", "bias")
# Paper section 4 and released code: a boundary that the teacher gives less than this merges its chunk with the next.
SPACE_THRESHOLD = 0.1
# First bytes of tokens that begin a new pretoken (released code).
BOUNDARY_BYTES = (b" ", b"\n", b"\t")


def alm(
    student: Encoding,
    teacher: Encoding,
    *,
    variant: str = "clean",
    chunking: str = "plain",
    space_threshold: float = SPACE_THRESHOLD,
    teacher_space_probability: Any = None,
) -> Alignment:
    """Chunks by `chunking`; `flags` says whose two sides spell the same bytes.

    teacher_space_probability  float [n_teacher], for chunking "bias": entry i is the probability that what follows
                               teacher token i begins with a boundary (`space_probability` makes it from logits).
                               Without it nothing is merged, and a note says so

    `released` walks over lengths of token strings and drops chunks that differ and what follows the last one: those
    tokens face nothing here. Raises AlignmentError for two different texts or wrong probabilities.
    """
    if chunking not in CHUNKINGS:
        raise unknown("value of 'chunking'", chunking, CHUNKINGS, AlignmentError)
    check_same_text(student, teacher)
    given = _probabilities(teacher_space_probability, teacher)
    groups, notes = _released(student, teacher, chunking) if variant == "released" else _clean(student, teacher)
    if chunking == "space":  # the released walk has merged already, but special tokens divide its chunks
        groups = merged_chunks(groups, _before_spaces(groups, student, teacher))
    elif chunking == "bias" and given is not None:
        last = np.maximum(groups[:, 3] - 1, 0)
        groups = merged_chunks(groups, given[last] > space_threshold if len(groups) else np.zeros(0, dtype=np.bool_))
    elif chunking == "bias":
        notes = (
            *notes,
            "Nothing is merged: chunking 'bias' needs to know how likely the teacher expects a space after each token, "
            "which takes its logits.",
        )
    alignment = Alignment(
        student=student,
        teacher=teacher,
        method="alm",
        groups=groups,
        variant=variant,
        options={"chunking": chunking, "space_threshold": space_threshold},
        notes=(*coverage_notes(student, teacher), *notes),
    )
    return _flagged(alignment)


def merged_chunks(groups: NDArray[np.int32], may_end: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Groups int32 [G', 4]: chunks joined with those that follow until one may end; the last may always end.

    may_end bool [G]. One-sided groups (tokens that face nothing) and special tokens are never taken in.
    """
    if not len(groups):
        return groups
    alone = (groups[:, 0] == groups[:, 1]) | (groups[:, 2] == groups[:, 3])
    gap = (groups[1:, [0, 2]] != groups[:-1, [1, 3]]).any(axis=1)
    ends = np.flatnonzero(may_end | alone | np.append(alone[1:] | gap, True))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return np.stack([groups[starts, 0], groups[ends, 1], groups[starts, 2], groups[ends, 3]], axis=1).astype(np.int32)


def boundary_tokens(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """bool [n_ids]: ids that begin a new pretoken: their first byte is a space, newline or tab, or they are special."""
    table = np.fromiter((b[:1] in BOUNDARY_BYTES for b in tokenizer.all_token_bytes()), np.bool_, tokenizer.n_ids)
    table[list(tokenizer.special_ids)] = True
    return table


def log_space_probability(logits: Any, boundary: Any) -> NDArray[np.float64]:
    """float64 [n]: log of the probability, by each row of logits [n, V], of the ids in `boundary` (bool, at most V).

    Row i has read token i, so its entry belongs to token i. Ids beyond `boundary` (padded logits) count as none.
    Raises AlignmentError for shapes that do not fit.
    """
    rows, chosen = np.asarray(logits), np.asarray(boundary, dtype=np.bool_)
    if rows.ndim != 2 or chosen.ndim != 1 or len(chosen) > rows.shape[1]:
        raise AlignmentError(
            f"logits must be [tokens, vocabulary] and boundary [at most vocabulary]; got {rows.shape} and "
            f"{chosen.shape}."
        )
    rows = rows.astype(np.float64)
    return _logsumexp(rows[:, : len(chosen)][:, chosen]) - _logsumexp(rows)


def _logsumexp(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    top = rows.max(axis=1, keepdims=True, initial=-np.inf)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(rows - safe).sum(axis=1)) + safe[:, 0])


def _clean(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    groups, left_over = boundary_groups(student, teacher)
    return groups, left_over_note(left_over)


def _released(student: Encoding, teacher: Encoding, chunking: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    s_at, t_at = text_positions(student), text_positions(teacher)
    s, t = bytes_at(student, s_at), bytes_at(teacher, t_at)
    s_space, t_space = ([b.startswith(b" ") for b in side] for side in (s, t))

    def at_spaces(i: int, j: int) -> bool:
        return (i == len(s) or s_space[i]) and (j == len(t) or t_space[j])

    lists = tokenkit.byte_walk(s, t, at_spaces if chunking == "space" else None)
    groups = _with_dropped(lists, len(s), len(t))
    mine, other = (int((groups[:, k] == groups[:, k + 1]).sum()) for k in (2, 0))
    dropped = f"The released program drops {mine} student and {other} teacher tokens: their bytes do not meet."
    return placed(groups, s_at, t_at, student, teacher), (dropped,) if mine or other else ()


def _with_dropped(lists: tokenkit.Groups, n: int, m: int) -> NDArray[np.int32]:
    """The groups of a walk over n and m tokens; each token that none of them holds becomes a one-sided group."""
    rows, i, j = [], 0, 0
    for mine, other in [*lists, ([n], [m])]:
        rows += [[k, k + 1, j, j] for k in range(i, mine[0])]
        rows += [[mine[0], mine[0], k, k + 1] for k in range(j, other[0])]
        i, j = mine[-1] + 1, other[-1] + 1
        rows.append([mine[0], i, other[0], j])
    return np.array(rows[:-1], dtype=np.int32).reshape(-1, 4)


def _before_spaces(groups: NDArray[np.int32], student: Encoding, teacher: Encoding) -> NDArray[np.bool_]:
    """bool [G]: groups whose next student token and next teacher token both begin with a space."""
    after = []
    for encoding, column in ((student, 1), (teacher, 3)):
        space = np.array([b.startswith(b" ") for b in encoding.token_bytes] + [True], dtype=np.bool_)
        after.append(space[groups[:, column]])
    return np.asarray(after[0] & after[1])


def _probabilities(given: Any, teacher: Encoding) -> NDArray[np.float64] | None:
    if given is None:
        return None
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (len(teacher),):
        raise AlignmentError(
            f"teacher_space_probability must hold one number for each of the {len(teacher)} teacher tokens; its shape "
            f"is {list(values.shape)}."
        )
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1 + 1e-6)))
    if len(wrong):
        raise AlignmentError(
            f"teacher_space_probability must lie between 0 and 1; token {int(wrong[0])} has {values[wrong[0]]}."
        )
    return values


def _flagged(alignment: Alignment) -> Alignment:
    from ctkd_core.alignment.metrics import texts_equal

    return replace(alignment, flags=texts_equal(alignment))
