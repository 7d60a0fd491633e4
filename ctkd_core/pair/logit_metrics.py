"""Numbers about a pair on one text that need what the models say: matched candidates, right candidates, collisions.

Rows follow `ctkd_core.lab.evidence`: row i holds the candidates after token i, for token i + 1, likeliest first.
Everything here works on lists of top candidates; no model runs. `vocabulary_match_rate`, `top1_accuracy` and
`migration_collision_rate` are contract names. Two papers show such rates without saying how they were taken: CDM (arXiv
2502.11104, figures 2 and 3) and SeDi's pilot (AAAI-26). `cdm_match_rates` and `sedi_pilot` measure what we understand
by them; compare them among methods here, not with those papers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.metrics import ratio
from ctkd_core.alignment.mined import usable_rows
from ctkd_core.errors import AlignmentError, ProjectionError
from ctkd_core.pair.migration_report import check_candidates, check_sides, migration_report, probabilities
from ctkd_core.tokenizers.load import as_pair
from ctkd_core.vocabulary.contextual import ContextualMap, Rule, contextual_map, sides
from ctkd_core.vocabulary.exact import exact_matches

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection


def vocabulary_match_rate(
    top_ids: NDArray[np.integer], top_logprobs: NDArray[np.floating] | None, mapped: NDArray[np.bool_]
) -> dict[str, float]:
    """Share of the candidates that a vocabulary map has a partner for; 0 for no candidates.

    top_ids int [n, K], top_logprobs float [n, K] natural logarithms, mapped bool [Vt] by teacher id; ids past `mapped`
    (logits padded beyond the tokenizer) have no partner.

    vocabulary_match_rate           mapped candidates / candidates
    vocabulary_match_rate_weighted  probability of mapped candidates / probability of all of them, both summed over
                                    rows; left out where top_logprobs is None

    Raises ProjectionError for arrays of other shapes, negative ids, or log-probabilities that are NaN or above 0.
    """
    ids = check_candidates(top_ids, None, "teacher")
    table = np.asarray(mapped)
    if table.dtype != np.bool_ or table.ndim != 1:
        raise ProjectionError(f"`mapped` is {table.dtype} {list(table.shape)}; give bool [teacher ids].")
    hit = np.append(table, False)[np.minimum(ids, len(table))]
    rates = {"vocabulary_match_rate": ratio(hit.sum(), hit.size)}
    if top_logprobs is not None:
        mass = probabilities(top_logprobs, ids.shape)
        rates["vocabulary_match_rate_weighted"] = ratio(mass[hit].sum(), mass.sum())
    return rates


def mapped_teacher_ids(projection: Projection) -> NDArray[np.bool_]:
    """bool [Vt]: teacher ids that some student token maps to."""
    return np.asarray(projection.column_load() > 0)


def top1_accuracy(alignment: Alignment, top_ids: NDArray[np.integer], student: Tokenizer, teacher: Tokenizer) -> float:
    """Share of student rows whose best teacher candidate, written in student tokens, is the text's own next token.

    top_ids int [teacher tokens, K]; see `migration_report` for which rows there are. 0 for no rows.
    """
    return migration_report(alignment, top_ids, student, teacher).top1_accuracy


def migration_collision_rate(
    alignment: Alignment, top_ids: NDArray[np.integer], student: Tokenizer, teacher: Tokenizer
) -> float:
    """1 - different student tokens hit / candidates written, over all rows of `migration_report`; 0 for no rows."""
    return migration_report(alignment, top_ids, student, teacher).collision_rate


def logit_metrics(
    alignment: Alignment,
    top_ids: NDArray[np.integer],
    top_logprobs: NDArray[np.floating] | None,
    student: Tokenizer,
    teacher: Tokenizer,
    projection: Projection | None = None,
) -> dict[str, float]:
    """All contract metrics of one text that need the teacher's candidates [teacher tokens, K].

    The candidates' partners are those of `projection`, without one the teacher tokens that have an equal student token.
    Keys: `vocabulary_match_rate`, `vocabulary_match_rate_weighted` (not without log-probabilities), `top1_accuracy`,
    `migration_collision_rate`.

    Raises AlignmentError for an alignment of other tokenizers, ProjectionError for arrays of other shapes or a
    projection of other vocabularies.
    """
    student, teacher = as_pair(student, teacher)
    if projection is None:
        mapped = exact_matches(teacher, student)[0] >= 0
    elif (projection.student_fingerprint, projection.teacher_fingerprint) != (student.fingerprint, teacher.fingerprint):
        raise ProjectionError(
            f"the projection wasn't made for {student.name!r} and {teacher.name!r}; build one for this pair."
        )
    else:
        mapped = mapped_teacher_ids(projection)
    report = migration_report(alignment, top_ids, student, teacher)
    return vocabulary_match_rate(top_ids, top_logprobs, mapped) | {
        "top1_accuracy": report.top1_accuracy,
        "migration_collision_rate": report.collision_rate,
    }


def sequence_match_rate(alignment: Alignment) -> dict[str, float]:
    """Our reading of CDM's figure 2: groups whose joined texts are equal once blanks are deleted.

    cdm_sequence_match_rate         share of two-sided groups
    cdm_sequence_match_rate_tokens  share of the student's tokens (special ones don't count) inside such groups
    """
    equal, inside, two_sided = 0, 0, 0
    for number in np.flatnonzero((alignment.sizes > 0).all(axis=1)).tolist():
        two_sided += 1
        texts = {side(number).replace(b" ", b"") for side in (alignment.student_bytes, alignment.teacher_bytes)}
        if len(texts) == 1:
            equal += 1
            inside += int(alignment.sizes[number, 0])
    return {
        "cdm_sequence_match_rate": ratio(equal, two_sided),
        "cdm_sequence_match_rate_tokens": ratio(inside, int((~alignment.student.special).sum())),
    }


def cdm_match_rates(
    alignment: Alignment,
    student_top_ids: NDArray[np.integer],
    teacher_top_ids: NDArray[np.integer],
    teacher_top_logprobs: NDArray[np.floating],
    student: Tokenizer,
    teacher: Tokenizer,
    rule: Rule | None = None,
) -> dict[str, float]:
    """Our reading of CDM's figures 2 and 3 on one text: how much of the sequence and of the vocabulary finds a partner.

    Candidates int [tokens, K] of both sides; a group is represented by the rows after its last tokens, which predict
    the same next text (the released program averages the logits of a group, for which top lists don't suffice).

    cdm_sequence_match_rate*          see `sequence_match_rate`
    cdm_vocabulary_match_rate_static  mean over both passes of the share of candidates with a partner in the static map
    cdm_vocabulary_match_rate         the same with the partners found by string; the released program's log has it
    cdm_vocabulary_match_rate_weighted  teacher probability of its mapped candidates / of all of them
    cdm_vocabulary_match_rate_weighted_static  the same with the static map alone

    Raises AlignmentError for an alignment of other tokenizers, ProjectionError for arrays of other shapes.
    """
    student, teacher = as_pair(student, teacher)
    found, rows = _contextual(alignment, student_top_ids, teacher_top_ids, student, teacher, rule)
    mass = probabilities(teacher_top_logprobs, np.shape(teacher_top_ids))[rows[:, 1]]
    static = (found.forward.static_match_rate + found.backward.static_match_rate) / 2
    return sequence_match_rate(alignment) | {
        "cdm_vocabulary_match_rate_static": static,
        "cdm_vocabulary_match_rate": found.match_rate,
        "cdm_vocabulary_match_rate_weighted": found.forward.weighted_match_rate(mass),
        "cdm_vocabulary_match_rate_weighted_static": found.forward.weighted_match_rate(mass, static=True),
    }


def sedi_pilot(
    alignments: dict[str, Alignment],
    student_top_ids: NDArray[np.integer],
    teacher_top_ids: NDArray[np.integer],
    student: Tokenizer,
    teacher: Tokenizer,
    teacher_to_student: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, float]]:
    """Our form of SeDi's pilot: whether each method's converted best teacher token is the text's own next one.

    alignments          one each under "sedi", "cdm" and "mined", or some of them; candidates int [tokens, K]
    teacher_to_student  int64 [Vt] MinED's map, -1 without a partner (`to_student` of a "nearest" map; without one,
                        equal tokens)

    For each method `top1_accuracy` over the rows that it fills (a best candidate without a partner is wrong), and
    `one_hot_rows`: the share of student tokens, but for the first, that no filled row predicts, so that a target would
    be the text's own token. sedi: rows with migrated candidates. cdm: rows at the ends of groups with any candidate in
    the contextual map. mined: rows of tokens with one accepted partner.

    Raises AlignmentError for another method's name or alignment, ProjectionError for arrays of other shapes.
    """
    student, teacher = as_pair(student, teacher)
    out: dict[str, dict[str, float]] = {}
    for name, alignment in alignments.items():
        check_sides(alignment, student, teacher)
        rows = int((~alignment.student.special[1:]).sum())
        if name == "sedi":
            report = migration_report(alignment, teacher_top_ids, student, teacher)
            filled, right = report.used & (report.token > 0), report.best == report.gold
            hits, count = int((filled & right).sum()), int(filled.sum())
        elif name == "cdm":
            found, at = _contextual(alignment, student_top_ids, teacher_top_ids, student, teacher, None)
            used = found.forward.used
            hits, count = _hits(alignment, at[used, 0], found.forward.target[used, 0])
        elif name == "mined":
            table = exact_matches(teacher, student)[0] if teacher_to_student is None else teacher_to_student
            partner = usable_rows(alignment, "soft", table)
            at_token = np.flatnonzero(partner >= 0)
            best = check_candidates(teacher_top_ids, len(alignment.teacher), "teacher")[partner[at_token], 0]
            hits, count = _hits(alignment, at_token, np.append(table, -1)[np.minimum(best, len(table))])
        else:
            raise AlignmentError(f"the pilot has no method {name!r}; give alignments by 'sedi', 'cdm' or 'mined'.")
        out[name] = {"top1_accuracy": ratio(hits, count), "one_hot_rows": ratio(rows - count, rows)}
    return out


def to_student(projection: Projection) -> NDArray[np.int64]:
    """int64 [Vt]: the student id that weighs most on each teacher id, -1 where none does; of equals the lowest."""
    columns = projection.matrix.tocsc()
    out = np.full(columns.shape[1], -1, dtype=np.int64)
    owner = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    order = np.lexsort((columns.indices, -columns.data, owner))
    first = np.unique(owner[order], return_index=True)
    out[first[0]] = columns.indices[order][first[1]]
    return out


def _contextual(
    alignment: Alignment,
    student_top_ids: NDArray[np.integer],
    teacher_top_ids: NDArray[np.integer],
    student: Tokenizer,
    teacher: Tokenizer,
    rule: Rule | None,
) -> tuple[ContextualMap, NDArray[np.int64]]:
    """The map over the last rows of every two-sided group, and int64 [G, 2] which rows these are."""
    check_sides(alignment, student, teacher)
    own = check_candidates(student_top_ids, len(alignment.student), "student")
    other = check_candidates(teacher_top_ids, len(alignment.teacher), "teacher")
    rows = alignment.groups[(alignment.sizes > 0).all(axis=1)][:, [1, 3]].astype(np.int64) - 1
    return contextual_map(own[rows[:, 0]], other[rows[:, 1]], *sides(student, teacher), rule), rows


def _hits(alignment: Alignment, at: NDArray[np.int64], converted: NDArray[np.int64]) -> tuple[int, int]:
    """How many rows int64 [n] convert to the text's own next token, and how many have a next token at all."""
    inside = at + 1 < len(alignment.student)
    at, converted = at[inside] + 1, converted[inside]
    content = ~alignment.student.special[at]
    return int((content & (converted == alignment.student.ids[at])).sum()), int(content.sum())
