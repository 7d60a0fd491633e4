"""What becomes of a teacher's top candidates when they are written in student tokens: hits, collisions, losses.

SeDi's migration for one aligned text, without logits of the student: the row that predicts the last teacher token of a
group gives K candidates; behind the group's earlier teacher tokens each is re-encoded by the student; piece l belongs
to the student row that predicts the group's student token l. `losses.sedi` does the same in training, in torch.
Source: Wang et al., AAAI-26, token migration; collision rate, counts and masses are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.metrics import ratio
from ctkd_core.errors import AlignmentError, ProjectionError
from ctkd_core.tokenizers.load import as_pair
from ctkd_core.vocabulary.migration import MigrationTable, migration_table

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment
    from ctkd_core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class MigrationReport:
    """One entry for each of n student rows; a row is named by the student token that it predicts.

    token        int64 [n] that token's place in the student's encoding
    group        int64 [n] its group
    teacher_row  int64 [n] place of the teacher token after which the candidates were predicted
    candidates   int64 [n] K
    dropped      int64 [n] candidates that no student tokens can stand for
    written      int64 [n] candidates with a piece for this row; the rest are dropped or end before it
    slots        int64 [n] different student tokens that they land on
    best         int64 [n] student token that the likeliest candidate lands on, -1 where it has no piece here
    top          int64 [n] student token that the likeliest candidate with a piece here lands on: where the target is
                 largest; -1 for rows without any
    gold         int64 [n] the text's own student token

    With log-probabilities of the candidates also, float64 [n], the teacher's probability of

    mass           all K candidates
    dropped_mass   the dropped ones
    collided_mass  those that landed on a student token which a likelier one had hit
    """

    token: NDArray[np.int64]
    group: NDArray[np.int64]
    teacher_row: NDArray[np.int64]
    candidates: NDArray[np.int64]
    dropped: NDArray[np.int64]
    written: NDArray[np.int64]
    slots: NDArray[np.int64]
    best: NDArray[np.int64]
    top: NDArray[np.int64]
    gold: NDArray[np.int64]
    mass: NDArray[np.float64] | None = None
    dropped_mass: NDArray[np.float64] | None = None
    collided_mass: NDArray[np.float64] | None = None

    @property
    def collided(self) -> NDArray[np.int64]:
        """int64 [n]: candidates that landed on a student token which a likelier one had hit."""
        return self.written - self.slots

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool [n]: rows with any candidate; the others learn from the text alone."""
        return np.asarray(self.written > 0)

    @property
    def collision_rate(self) -> float:
        """1 - different slots / written candidates over all rows; 0 where nothing was written."""
        return ratio(self.collided.sum(), self.written.sum())

    @property
    def top1_accuracy(self) -> float:
        """Share of used rows whose best candidate is the text's own token; 0 for no rows."""
        return ratio((self.used & (self.best == self.gold)).sum(), self.used.sum())

    def totals(self) -> dict[str, float]:
        """All rows together: counts of rows and candidates, and the rates.

        With log-probabilities also `mass`, the mean over rows, and `dropped_mass`, `collided_mass`, shares of it.
        """
        masses: dict[str, float] = {}
        if self.mass is not None and self.dropped_mass is not None and self.collided_mass is not None:
            whole = self.mass.sum()
            masses = {
                "mass": ratio(whole, len(self.token)),
                "dropped_mass": ratio(self.dropped_mass.sum(), whole),
                "collided_mass": ratio(self.collided_mass.sum(), whole),
            }
        return {
            "rows": len(self.token),
            "rows_used": int(self.used.sum()),
            "candidates": int(self.candidates.sum()),
            "written": int(self.written.sum()),
            "collided": int(self.collided.sum()),
            "dropped": int(self.dropped.sum()),
            "one_slot_rows": int((self.slots == 1).sum()),
            "migration_collision_rate": self.collision_rate,
            "top1_accuracy": self.top1_accuracy,
            **masses,
        }


def migration_report(
    alignment: Alignment,
    top_ids: NDArray[np.integer],
    student: Tokenizer,
    teacher: Tokenizer,
    top_logprobs: NDArray[np.floating] | None = None,
) -> MigrationReport:
    """Migrate the teacher's candidates along an alignment by spans ("sedi", or any with groups of equal text).

    top_ids       int [teacher tokens, K]: row j holds the candidates for teacher token j + 1, likeliest first; ids past
                  the tokenizer (padded logits) are dropped
    top_logprobs  float [teacher tokens, K] their natural logarithms of probability; without them no masses

    Rows exist for the student tokens of two-sided groups whose last teacher token has a token before it. Raises
    AlignmentError for an alignment of other tokenizers, ProjectionError for candidates of another shape and for
    log-probabilities that are NaN or above 0.
    """
    student, teacher = as_pair(student, teacher)
    check_sides(alignment, student, teacher)
    ids = check_candidates(top_ids, len(alignment.teacher), "teacher")
    chances = None if top_logprobs is None else probabilities(top_logprobs, ids.shape)
    groups = alignment.groups.astype(np.int64)
    kept = np.flatnonzero((groups[:, 1] > groups[:, 0]) & (groups[:, 3] > groups[:, 2]) & (groups[:, 3] >= 2))
    rows = groups[kept, 3] - 2
    flat, start, length = _pieces(migration_table(student, teacher), alignment, groups[kept], ids[rows])
    sizes = groups[kept, 1] - groups[kept, 0]
    owner = np.repeat(np.arange(len(kept)), sizes)
    piece = np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]
    written = piece[:, None] < length[owner]
    slots = np.where(written, np.append(flat, -1)[np.where(written, start[owner] + piece[:, None], -1)], -1)
    token = groups[kept, 0][owner] + piece
    first = _first_of_equals(slots)
    masses = {} if chances is None else _masses(chances[rows], owner, length == 0, written & ~first)
    return MigrationReport(
        token=token,
        group=kept[owner],
        teacher_row=rows[owner],
        candidates=np.full(len(owner), ids.shape[1], dtype=np.int64),
        dropped=(length == 0).sum(axis=1)[owner],
        written=written.sum(axis=1),
        slots=first.sum(axis=1),
        best=slots[:, 0],
        top=np.take_along_axis(slots, written.argmax(axis=1)[:, None], axis=1)[:, 0],
        gold=alignment.student.ids[token].astype(np.int64),
        **masses,
    )


def check_sides(alignment: Alignment, student: Tokenizer, teacher: Tokenizer) -> None:
    """Raises AlignmentError unless the alignment is of these two tokenizers, student first."""
    found = alignment.student.tokenizer, alignment.teacher.tokenizer
    if found != (student.name, teacher.name):
        raise AlignmentError(
            f"the alignment is of {found[0]!r} and {found[1]!r}, but the tokenizers given are {student.name!r} and "
            f"{teacher.name!r}; give those of the alignment, student first."
        )


def check_candidates(top_ids: Any, rows: int | None, whose: str) -> NDArray[np.int64]:
    """Candidates as int64 [rows, K], K at least 1; any number of rows for None.

    Raises ProjectionError for another shape, numbers that aren't ids, and negative ids.
    """
    ids = np.asarray(top_ids)
    fits = ids.ndim == 2 and ids.shape[1] > 0 and rows in (None, len(ids))
    if not fits or not np.issubdtype(ids.dtype, np.integer):
        raise ProjectionError(
            f"the {whose}'s candidates are {ids.dtype} {list(ids.shape)}; give ids, int "
            f"[{'rows' if rows is None else rows}, K] with K at least 1, one row a token."
        )
    if ids.size and int(ids.min()) < 0:
        raise ProjectionError(f"the {whose}'s candidates hold id {int(ids.min())}; ids start at 0.")
    return ids.astype(np.int64)


def probabilities(logprobs: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """exp(logprobs) float64 for candidates of `shape`.

    Raises ProjectionError for another shape, and for values that are NaN or above 0.
    """
    values = np.asarray(logprobs, dtype=np.float64)
    if values.shape != tuple(shape):
        raise ProjectionError(f"log-probabilities are {list(values.shape)}, their candidates {list(shape)}.")
    if not (values <= 1e-4).all():  # rounding of half precision may pass 0 by a hair
        worst = values[~(values <= 1e-4)][0]
        raise ProjectionError(f"log-probabilities hold {worst:g}; natural logarithms of probabilities are at most 0.")
    return np.exp(np.minimum(values, 0.0))


def _pieces(
    table: MigrationTable, alignment: Alignment, groups: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pieces of every candidate: flat int64 [n], start and length int64 [G, K]."""
    known = ids < len(table.whole.start)  # the head of a model may be wider than its tokenizer
    safe = np.where(known, ids, 0)
    start, length = table.whole.start[safe], np.where(known, table.whole.length[safe], 0)
    flat = table.whole.flat
    behind = np.flatnonzero(groups[:, 3] - groups[:, 2] > 1)
    if len(behind):
        spelled = table.teacher.all_token_bytes()
        taught = alignment.teacher.ids
        prefixes = [b"".join([spelled[i] for i in taught[t0 : t1 - 1]]) for _, _, t0, t1 in groups[behind].tolist()]
        own = table.prefixed(prefixes, ids[behind])
        start[behind], length[behind] = own.start + len(flat), own.length
        flat = np.concatenate([flat, own.flat])
    return flat, start, length


def _masses(
    chances: NDArray[np.float64], owner: NDArray[np.int64], dropped: NDArray[np.bool_], collided: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Sums of chances float64 [G, K]: dropped bool [G, K] by group, collided bool [n, K] by row of group int64 [n]."""
    return {
        "mass": chances.sum(axis=1)[owner],
        "dropped_mass": (chances * dropped).sum(axis=1)[owner],
        "collided_mass": (chances[owner] * collided).sum(axis=1),
    }


def _first_of_equals(slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [n, K]: entries that no earlier one of their row [n, K] equals, -1 left out."""
    order = np.argsort(slots, axis=1, kind="stable")
    ordered = np.take_along_axis(slots, order, axis=1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first
