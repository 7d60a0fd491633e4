"""CDM's contextual vocabulary map: a static map, completed row by row with near strings of the row itself.

A row holds the top candidates of both models for the same next text. A candidate of one model without an equal token
in the other vocabulary may face the nearest of the other model's candidates in the same row. This is done both ways
("dual"): the teacher's candidates look for student tokens, and the student's for teacher tokens.
Source: Chen et al., Findings of ACL 2025 (arXiv 2502.11104). Differs from the released code (`released_contextual`):
a pair holds for its row only, ties go to the likelier target, targets that the static map has given away are banned
(there: other ids of equal number), no pass changes what the next one reads, and id 0 is a token like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError
from ctkd_core.files.sized_cache import MIB, sized_cache
from ctkd_core.vocabulary.exact import exact_matches

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

UNMAPPED = -1
# Released defaults: candidates of a row, and the distance below which two strings may face each other.
TOP_K, THRESHOLD = 100, 0.3


@dataclass(frozen=True)
class Rule:
    """Which strings may face each other.

    threshold  largest edit distance over the sum of both lengths, itself excluded; 0: the static map alone
    ban_taken  a token that the static map gives to another one can't be found by its string
    """

    threshold: float = THRESHOLD
    ban_taken: bool = True


@dataclass(frozen=True, eq=False)
class Side:
    """One vocabulary as a pass needs it.

    strings  what is compared, by id; None: never looked for and never found (special tokens, ids without text)
    static   int64 [V] the other vocabulary's id, -1 without one
    """

    strings: Sequence[str | None]
    static: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.strings) != len(self.static):
            raise ProjectionError(
                f"a vocabulary of {len(self.strings)} strings has a static map of {len(self.static)} entries; "
                "give one entry an id."
            )

    @cached_property
    def named(self) -> NDArray[np.bool_]:
        """bool [V]: ids with a string; kept, a loss asks at every step."""
        return np.fromiter((s is not None for s in self.strings), dtype=np.bool_, count=len(self.strings))


@dataclass(frozen=True, eq=False)
class CandidatePairs:
    """One pass over G rows of K candidates.

    source    int64 [G, K] the candidates
    target    int64 [G, K] the other vocabulary's id, -1 without one
    dynamic   bool [G, K] found by its string rather than by the static map
    distance  float64 [G, K] edit distance over both lengths of dynamic pairs, 0 elsewhere
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    dynamic: NDArray[np.bool_]
    distance: NDArray[np.float64]

    @property
    def mapped(self) -> NDArray[np.bool_]:
        """bool [G, K]: slots with a partner."""
        return np.asarray(self.target >= 0)

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool [G]: rows with a partner for any candidate; a loss drops the others."""
        return np.asarray(self.mapped.any(axis=1))

    @property
    def match_rate(self) -> float:
        """Share of slots with a partner; 0 for no slots."""
        return float(self.mapped.mean()) if self.target.size else 0.0

    @property
    def static_match_rate(self) -> float:
        """Share of slots with a partner by the static map alone; 0 for no slots."""
        return float((self.mapped & ~self.dynamic).mean()) if self.target.size else 0.0

    def weighted_match_rate(self, probabilities: NDArray[np.floating], static: bool = False) -> float:
        """Probability of slots with a partner / of all slots; `static`: by the static map alone; 0 for no slots.

        probabilities float [G, K], those of `source`. Raises ProjectionError for another shape.
        """
        if np.shape(probabilities) != self.source.shape:
            raise ProjectionError(
                f"probabilities are {list(np.shape(probabilities))}, their candidates {list(self.source.shape)}."
            )
        hit = self.mapped & ~self.dynamic if static else self.mapped
        whole = float(np.sum(probabilities))
        return float(np.sum(probabilities, where=hit)) / whole if whole else 0.0


@dataclass(frozen=True, eq=False)
class ContextualMap:
    """Both passes: `forward` from the teacher's candidates to student ids, `backward` the other way."""

    forward: CandidatePairs
    backward: CandidatePairs

    @property
    def match_rate(self) -> float:
        """Mean of both passes' shares of slots with a partner: the rate that the released program logs."""
        return (self.forward.match_rate + self.backward.match_rate) / 2


def contextual_map(
    student_top: NDArray[np.integer],
    teacher_top: NDArray[np.integer],
    student: Side,
    teacher: Side,
    rule: Rule | None = None,
) -> ContextualMap:
    """Both passes over the top candidates of G rows, student_top int [G, K], teacher_top int [G, L], likeliest first.

    Ids past a vocabulary (logits padded beyond the tokenizer) map to nothing. Raises ProjectionError for lists of
    another shape, negative ids, static maps that point past the other vocabulary, or a threshold outside 0 .. 1.
    """
    rule = Rule() if rule is None else rule
    if not 0 <= rule.threshold <= 1:
        raise ProjectionError(f"threshold is {rule.threshold}; edit distance over both lengths lies in 0 .. 1.")
    own, other = _checked(student_top, "student"), _checked(teacher_top, "teacher")
    if len(own) != len(other):
        raise ProjectionError(
            f"{len(own)} student rows face {len(other)} teacher rows; give one row of each a group of the alignment."
        )
    for side, whose, width in ((student, "student", len(teacher.static)), (teacher, "teacher", len(student.static))):
        if len(side.static) and int(side.static.max()) >= width:
            raise ProjectionError(
                f"the {whose}'s static map points at id {int(side.static.max())}, but the other vocabulary has {width}."
            )
    return ContextualMap(one_pass(other, own, teacher, student, rule), one_pass(own, other, student, teacher, rule))


def one_pass(
    source_top: NDArray[np.int64], target_top: NDArray[np.int64], source: Side, target: Side, rule: Rule
) -> CandidatePairs:
    """Partners of source_top int64 [G, K], from the static map or among target_top int64 [G, L] of the same row."""
    mapped = _look_up(source.static, source_top, UNMAPPED)
    dynamic, distance = np.zeros(mapped.shape, dtype=np.bool_), np.zeros(mapped.shape)
    seeks = (mapped < 0) & _look_up(_with_string(source), source_top, False)
    free = _with_string(target)
    if rule.ban_taken:
        free[source.static[source.static >= 0]] = False
    offered = _look_up(free, target_top, False)
    for row in np.flatnonzero(seeks.any(axis=1) & offered.any(axis=1)) if rule.threshold > 0 else ():
        places, candidates = np.flatnonzero(seeks[row]), target_top[row][offered[row]]
        table = distances(_strings(source, source_top[row, places]), _strings(target, candidates))
        best = table.argmin(axis=1)  # the first of equals, so the likelier one
        least = table[np.arange(len(places)), best]
        near = least < rule.threshold
        mapped[row, places[near]], distance[row, places[near]] = candidates[best[near]], least[near]
        dynamic[row, places[near]] = True
    return CandidatePairs(source_top, mapped, dynamic, distance)


def distances(left: Sequence[str], right: Sequence[str]) -> NDArray[np.float64]:
    """Edit distances float64 [a, b] over the sum of both lengths; 0 for two empty strings."""
    from ctkd_core.alignment.costs import edit_distances

    total = np.add.outer([len(x) for x in left], [len(x) for x in right])
    return edit_distances(left, right) / np.maximum(total, 1)


@sized_cache(128 * MIB)
def sides(student: Tokenizer, teacher: Tokenizer) -> tuple[Side, Side]:
    """Student and teacher as `contextual_map` wants them: the exact map by bytes each way, EOS to EOS; kept.

    Strings are those that CDM aligns by: what a token adds to a text, blanks deleted, cut characters as their bytes.
    """
    return (
        Side(_compared(student), exact_matches(student, teacher)[0]),
        Side(_compared(teacher), exact_matches(teacher, student)[0]),
    )


def _compared(tokenizer: Tokenizer) -> list[str | None]:
    special = tokenizer.special_ids
    return [
        None if i in special or not data else data.decode("utf-8", "surrogateescape").replace(" ", "")
        for i, data in enumerate(tokenizer.all_token_bytes())
    ]


def _checked(top: NDArray[np.integer], whose: str) -> NDArray[np.int64]:
    ids = np.asarray(top)
    if ids.ndim != 2 or not (np.issubdtype(ids.dtype, np.integer) or ids.size == 0):
        raise ProjectionError(f"the {whose}'s candidates are {ids.dtype} {list(ids.shape)}; give ids, int [rows, K].")
    if ids.size and int(ids.min()) < 0:
        raise ProjectionError(f"the {whose}'s candidates hold id {int(ids.min())}; ids start at 0.")
    return ids.astype(np.int64)


def _look_up(table: NDArray[Any], ids: NDArray[np.int64], missing: int) -> NDArray[Any]:
    """table[ids], `missing` for ids past the table."""
    padded = np.append(table, np.array([missing], dtype=table.dtype))
    return padded[np.minimum(ids, len(table))]


def _with_string(side: Side) -> NDArray[np.bool_]:
    return side.named.copy()


def _strings(side: Side, ids: NDArray[np.int64]) -> list[str]:
    return [side.strings[i] or "" for i in ids.tolist()]
