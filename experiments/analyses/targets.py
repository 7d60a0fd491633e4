"""What each method makes of a teacher's candidates: the student token that a row's target is largest on.

SeDi's pilot asks how often that is the text's own next token. Row i predicts token i + 1; candidates come as ids int
[tokens, K], likeliest first, and a target is largest on the first of them that the method can write in student tokens.
Entries of the result belong to the student token that is predicted: int64 [student tokens], -1 where the method makes
no target out of the teacher, so that the student learns the text's own token there or nothing.

The rows that count as SeDi's, CDM's and MinED's, and how they convert a candidate, are those of the losses here
(`losses/parts/migrate.py`, `losses/parts/slots.py`, `losses/parts/mined_rows.py`), but for two things: a CDM group
stands for its last rows, which predict the same text, where the loss averages all of them; and MinED's probabilities
that fall on one student token aren't added up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.mined import usable_rows
from ctkd_core.alignment.released.cdm import alignment_lists, merge_groups
from ctkd_core.pair.migration_report import migration_report
from ctkd_core.vocabulary.contextual import contextual_map, sides
from ctkd_core.vocabulary.exact import exact_matches, ids_by_bytes
from ctkd_core.vocabulary.nearest import nearest
from ctkd_core.vocabulary.released import contextual as released

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment
    from ctkd_core.tokenizers.tokenizer import Tokenizer

SOURCES = 10  # candidates that look for a partner by string; with more a target is hardly ever largest on one of them

Ids = NDArray[np.int64]


def migrated(alignment: Alignment, teacher_top: NDArray[np.integer], student: Tokenizer, teacher: Tokenizer) -> Ids:
    """SeDi: each candidate re-encoded behind the group's earlier teacher tokens, piece by piece."""
    report = migration_report(alignment, teacher_top, student, teacher)
    out = _nothing(alignment)
    out[report.token] = report.top
    return _predicted(out)


def contextual(
    alignment: Alignment,
    teacher_top: NDArray[np.integer],
    student_top: NDArray[np.integer],
    student: Tokenizer,
    teacher: Tokenizer,
) -> Ids:
    """CDM: at the end of each group the equal token, or the nearest spelling among the student's candidates."""
    rows = _ends(alignment)
    found = contextual_map(
        np.asarray(student_top, dtype=np.int64)[rows[:, 0]],
        np.asarray(teacher_top, dtype=np.int64)[rows[:, 1], :SOURCES],
        *sides(student, teacher),
    )
    return _after(alignment, rows[:, 0], _first(found.forward.target))


def contextual_released(
    alignment: Alignment,
    teacher_top: NDArray[np.integer],
    student_top: NDArray[np.integer],
    student: Tokenizer,
    teacher: Tokenizer,
) -> Ids:
    """CDM's released program: lists that may overlap, equal vocabulary strings, pairs that hold for the whole text.

    Where groups share a row, the later one counts.
    """
    assert alignment.pairs is not None
    n, m = len(alignment.student), len(alignment.teacher)
    of_student, of_teacher = alignment_lists(alignment.pairs, n, m)
    groups = [group for group in merge_groups(of_teacher) if group]
    rows = np.array([[max(g), max(j for i in g for j in of_student[i])] for g in groups], dtype=np.int64).reshape(-1, 2)
    top_s = np.asarray(student_top, dtype=np.int64)[rows[:, 0]]
    top_t = np.asarray(teacher_top, dtype=np.int64)[rows[:, 1], :SOURCES]
    found = released.complete_rows(top_t, top_s, _equal_strings(student, teacher), _decoded(teacher), _decoded(student))
    return _after(alignment, rows[:, 0], _first(np.where(found.target == released.UNMAPPED, -1, found.target)))


def copied(
    alignment: Alignment, teacher_top: NDArray[np.integer], teacher_to_student: Ids, accept: str = "soft"
) -> Ids:
    """MinED: where one token faces one accepted token, its row through the map, teacher_to_student int64 [Vt]."""
    partner = usable_rows(alignment, accept, teacher_to_student)
    at = np.flatnonzero(partner >= 0)
    top = np.asarray(teacher_top, dtype=np.int64)[partner[at]]
    table = np.append(teacher_to_student, -1)
    return _after(alignment, at, _first(table[np.minimum(top, len(table) - 1)]))


def near_ids(student: Tokenizer, teacher: Tokenizer, wanted: NDArray[np.integer]) -> Ids:
    """int64 [teacher ids]: FuseLLM's map for the `wanted` ids [n], as `losses.mined` has it for all; elsewhere -1.

    Only looking up what turns up takes seconds where the whole map of a large vocabulary takes minutes.
    """
    exact = exact_matches(teacher, student)[0]
    spelled, plain = teacher.all_token_bytes(), ids_by_bytes(student)
    looking = [
        i for i in np.unique(wanted).tolist()
        if i < len(spelled) and exact[i] < 0 and spelled[i] and i not in teacher.special_ids
    ]  # fmt: skip
    written = [(data, i) for i, data in enumerate(student.all_token_bytes()) if data and i not in student.special_ids]
    offered = [(data, i) for data, i in written if plain[data] == i]
    found = nearest([spelled[i] for i in looking], [data for data, _ in offered], "first").target
    out = np.full(teacher.n_ids, -1, dtype=np.int64)
    at = np.unique(wanted[wanted < len(out)])
    out[at] = exact[at]
    out[looking] = [offered[k][1] if k >= 0 else -1 for k in found.tolist()]
    return out


def matched(alignment: Alignment, teacher_top: NDArray[np.integer], student: Tokenizer, teacher: Tokenizer) -> Ids:
    """GOLD's named part: at the end of each group the equal token, without any other rule."""
    rows = _ends(alignment)
    table = np.append(exact_matches(teacher, student)[0], -1)
    top = np.asarray(teacher_top, dtype=np.int64)[rows[:, 1]]
    return _after(alignment, rows[:, 0], _first(table[np.minimum(top, len(table) - 1)]))


def own_next(ids: NDArray[np.integer]) -> Ids:
    """int64 [n, 1]: candidates of a model that is sure of the text's own next token; the last row has its own."""
    return np.append(ids[1:], ids[-1:])[:, None].astype(np.int64)


def _nothing(alignment: Alignment) -> Ids:
    return np.full(len(alignment.student), -1, dtype=np.int64)


def _predicted(out: Ids) -> Ids:
    out[:1] = -1  # nothing before the first token predicts it
    return out


def _ends(alignment: Alignment) -> Ids:
    """int64 [G, 2]: the last tokens of both sides of every two-sided group."""
    return alignment.groups[(alignment.sizes > 0).all(axis=1)][:, [1, 3]].astype(np.int64) - 1


def _after(alignment: Alignment, at: Ids, targets: Ids) -> Ids:
    """Targets of the rows at student tokens `at`, which predict the tokens after them."""
    out = _nothing(alignment)
    inside = at + 1 < len(out)
    out[at[inside] + 1] = targets[inside]
    return out


def _first(partners: Ids) -> Ids:
    """int64 [G]: the first of [G, K] that isn't -1; -1 for none."""
    if not partners.size:
        return np.full(len(partners), -1, dtype=np.int64)
    return np.take_along_axis(partners, (partners >= 0).argmax(axis=1)[:, None], axis=1)[:, 0]


@lru_cache(maxsize=4)
def _equal_strings(student: Tokenizer, teacher: Tokenizer) -> Ids:
    """int64 [Vt]: the student id of an equal vocabulary string, 0 for none, as the released program has it."""
    found = exact_matches(teacher, student, "raw")[0]
    return np.where(found < 0, released.UNMAPPED, found)


@lru_cache(maxsize=8)
def _decoded(tokenizer: Tokenizer) -> list[str]:
    return [piece.decode("utf-8", "replace") for piece in tokenizer.all_token_bytes()]
