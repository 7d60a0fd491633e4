"""One token of a vocabulary map: its row, the columns of its teacher tokens, and the list of losses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError
from ctkd_core.figures.find_token import find_token, query_for
from ctkd_core.figures.vocabulary import CLASS_TITLES, LABEL_CHARACTERS
from ctkd_core.files.sized_cache import MIB, sized_cache
from ctkd_core.markup.visible import visible_bytes
from ctkd_core.tokenizers.display import token_text
from ctkd_core.vocabulary.classes import CLASSES, NO_TEXT, most_lost, token_classes
from ctkd_core.vocabulary.projection import MATCHED, REASONS

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

MAX_PARTS = 6


def row_table(projection: Projection, student_id: int) -> pd.DataFrame:
    """Where a student token goes: teacher_id, teacher, weight, reason; heaviest first."""
    frame = projection.explain(student_id)
    ids = frame["teacher_id"].tolist()
    shown = [token_text(projection.teacher, k) for k in ids]
    return frame.assign(teacher=shown)[["teacher_id", "teacher", "weight", "reason"]]


def column_table(projection: Projection, teacher_id: int) -> pd.DataFrame:
    """Who points at a teacher token: student_id, student, weight, reason; heaviest first."""
    frame = projection.column(teacher_id)
    ids = frame["student_id"].tolist()
    shown = [token_text(projection.student, k) for k in ids]
    return frame.assign(student=shown)[["student_id", "student", "weight", "reason"]]


def row_sentence(projection: Projection, student_id: int) -> str:
    """What the map does to one student token, in one sentence."""
    frame = projection.explain(student_id)
    if not len(frame):
        return "maps to nothing: its probability has no place in the teacher's vocabulary."
    reason, weight = str(frame["reason"][0]), float(frame["weight"][0])
    best = token_text(projection.teacher, int(frame["teacher_id"][0]))
    if len(frame) == 1:
        return f"is said by one teacher token, {best} (reason: {reason}, weight {weight:.3g})."
    return f"is spread over {len(frame)} teacher tokens, most of it on {best} (reason: {reason}, weight {weight:.3g})."


@dataclass(frozen=True)
class Opening:
    """What of a map is worth a first look: a class of which much is lost, and one of its lost tokens.

    title  of the class; query: what finds the token (`find_token`); sentence: what to look at
    """

    title: str
    query: str
    sentence: str


def opening(projection: Projection, wanted: str = "") -> Opening | None:
    """The class with the most loss and a token of it: `wanted` if it is one of them, else the one with the lowest id.

    Vocabularies begin with what is frequent. None for a map that loses nothing worth a look.
    """
    counts = projection.audit()
    name = most_lost(counts)
    if name is None:
        return None
    lost = lost_ids(projection)
    lost = lost[token_classes(projection.student)[lost] == CLASSES.index(name)]
    ids = lost.tolist()
    try:
        asked = find_token(projection.student, wanted) if wanted else -1
    except ProjectionError:
        asked = -1
    token = asked if asked in ids else ids[0]
    title, total = CLASS_TITLES[name], counts[name]["total"]
    how_many = f"all {total:,}" if len(ids) == total else f"{len(ids):,} of {total:,}"
    shown = token_text(projection.student, token, LABEL_CHARACTERS)
    sentence = (
        f"Most is lost in {title}: {how_many} student tokens have no teacher token that says the same. {shown} is one: "
        "its row says what becomes of it, its column which other tokens end up there."
    )
    return Opening(title, query_for(projection.student, token), sentence)


def token_counts(tokenizer: Tokenizer, texts: Iterable[str]) -> NDArray[np.int64]:
    """int64 [n_ids]: how often each token occurs in `texts`."""
    counts = np.zeros(tokenizer.n_ids, dtype=np.int64)
    for ids in tokenizer.encode_batch(texts):
        counts += np.bincount(np.asarray(ids, dtype=np.int64), minlength=tokenizer.n_ids)
    return counts


def lost_ids(projection: Projection) -> NDArray[np.int64]:
    """Student tokens that no teacher token says alone: int64 ids, ids without text left out."""
    reason = projection.row_reason[: projection.student.n_ids]
    return np.flatnonzero(~np.isin(reason, MATCHED) & (token_classes(projection.student) != NO_TEXT))


def lost_table(projection: Projection, counts: NDArray[np.int64]) -> pd.DataFrame:
    """What `lost_ids` are and what becomes of them, the most frequent first.

    Columns: student_id, student, class, in_samples (from `counts` int64 [n_ids]), becomes, teacher_tokens, weight (of
    the heaviest; 0 for an empty row), reason ("empty" without one).
    """
    import pandas as pd

    ids = lost_ids(projection)
    ids = ids[np.lexsort((ids, -counts[ids]))]
    classes = token_classes(projection.student)
    reason = projection.row_reason[ids]
    fan = projection.fan_out()[ids]
    own = visible_tokens(projection.student)
    becomes, heaviest = _becomes(projection, ids)
    return pd.DataFrame(
        {
            "student_id": ids,
            "student": [own[i] for i in ids.tolist()],
            "class": pd.Categorical(
                [CLASS_TITLES[CLASSES[c]] for c in classes[ids].tolist()], categories=list(CLASS_TITLES.values())
            ),
            "in_samples": counts[ids],
            "becomes": becomes,
            "teacher_tokens": fan,
            "weight": heaviest,
            "reason": [REASONS[r] if r >= 0 else "empty" for r in reason.tolist()],
        }
    )


def _becomes(projection: Projection, ids: NDArray[np.int64]) -> tuple[list[str], NDArray[np.float32]]:
    """Of each row of `ids` its teacher tokens, heaviest first, and the largest weight (0 for an empty row)."""
    matrix, shown = projection.matrix, visible_tokens(projection.teacher)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))
    columns, start = matrix.indices[order].tolist(), matrix.indptr.tolist()
    data = np.append(matrix.data[order], np.float32(0))
    texts = []
    for i in ids.tolist():
        first, end = start[i], start[i + 1]
        parts = [shown[k] for k in columns[first : min(end, first + MAX_PARTS)]]
        texts.append(" │ ".join(parts) + (" …" if end - first > MAX_PARTS else ""))
    filled = np.diff(matrix.indptr)[ids] > 0
    return texts, np.where(filled, data[matrix.indptr[ids]], np.float32(0))


@sized_cache(128 * MIB)
def visible_tokens(tokenizer: Tokenizer) -> list[str]:
    """Every token with visible spaces and bytes, by id. Don't change the list."""
    return [visible_bytes(data) for data in tokenizer.all_token_bytes()]
