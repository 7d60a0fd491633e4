"""Ordered pairs of several tokenizers side by side: which teacher suits my student, which student my teacher.

For each pair the figures that decide, measured on the same texts: what the vocabularies share, how finely the two cut
texts alike, how much of what the teacher says has a token of the student, the verdict on numbers, and what to train
with. The figures are those of `pair.report`; common boundaries and the share of the teacher's tokens are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError, unknown
from ctkd_core.pair.advice import advise
from ctkd_core.pair.corpus import Text, measure_plainly, why_unread
from ctkd_core.pair.report import facts_of
from ctkd_core.tokenizers.load import as_tokenizer
from ctkd_core.vocabulary.overlap import WAYS, overlap

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MOST_PAIRS = 2000
METHOD = "sedi"  # its groups spell equal bytes, so the figures are those of the tokenizers, not of a method


@dataclass(frozen=True)
class RankedPair:
    """One ordered pair.

    canonical           shared canonical forms over those of the smaller vocabulary
    boundaries          F1 of the places at which the two end a token: 1 where all tokens end alike
    equal_tokens        of the student's tokens in the texts, the share that face one teacher token with the same bytes
    teacher_whole       of the teacher's tokens in the texts, the share that is one token of the student (same bytes)
    tokens              student tokens a teacher token: the student's cost of the same text
    numbers             "P-KL" where tokens of numbers are missing from the common ones, else "H-KL" (X-Token's audit)
    same_tokenizer      whether both are one tokenizer
    method              what the advice recommends
    options             run options, with dotted names, that the advice recommends with it; mostly none
    confidence          how near experiments came to this pair ("tried on this pair", ...); "" where that isn't known
    skipped             texts that weren't measured, {reason: count}
    """

    student: str
    teacher: str
    canonical: float
    boundaries: float
    equal_tokens: float
    teacher_whole: float
    tokens: float
    numbers: str
    same_tokenizer: bool
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    confidence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, an entry of `ctkd rank --json`."""
        return asdict(self)


# What pairs can be ordered by, and whether the larger figure comes first.
ORDERS = {"boundaries": True, "canonical": True, "equal_tokens": True, "teacher_whole": True, "tokens": False}


def rank_pairs(
    tokenizers: Sequence[Tokenizer],
    student: Tokenizer | None = None,
    teacher: Tokenizer | None = None,
    texts: Iterable[Text] | None = None,
    by: str = "boundaries",
    progress: Progress | None = None,
) -> list[RankedPair]:
    """The pairs, best first: `student` with each teacher, each student with `teacher`, or all ordered pairs.

    texts     what is measured on; None: the bundled samples of all domains
    by        one of ORDERS
    progress  gets the share done and a sentence, and may raise to cancel

    What isn't a text, or is refused by a side, is left out and counted (`RankedPair.skipped`); long texts are cut as
    `corpus.measure` cuts them. Tokenizers of one name are told apart by where they come from (`Tokenizer.source`).

    Raises CtkdError for an unknown order, for both sides fixed, fewer than two tokenizers, more than 2,000 pairs, and
    where a pair has no text to be measured on.
    """
    if by not in ORDERS:
        raise unknown("order of pairs", by, ORDERS)
    pairs = pairs_of(tokenizers, student, teacher)
    shown = names_of([side for pair in pairs for side in pair])
    corpus = _samples() if texts is None else list(texts)
    if all(why_unread(text) for text in corpus):
        reasons = Counter(map(why_unread, corpus))
        raise CtkdError(f"there is no text to measure pairs on ({_listed(reasons) or 'nothing was given'}).")
    found = []
    for place, (own, other) in enumerate(pairs):
        names = shown[id(own)], shown[id(other)]
        if progress:
            progress(place / len(pairs), f"{names[0]} with {names[1]}")
        found.append(rank_pair(own, other, corpus, names))
    if progress:
        progress(1.0, "ranked")
    return ordered(found, by)


def ordered(rows: Iterable[RankedPair], by: str) -> list[RankedPair]:
    """Pairs with the best first. Raises CtkdError for an unknown order."""
    if by not in ORDERS:
        raise unknown("order of pairs", by, ORDERS)
    return sorted(rows, key=lambda row: (-1 if ORDERS[by] else 1) * getattr(row, by))


def matrix(rows: Sequence[RankedPair], figure: str) -> tuple[list[str], list[str], list[list[float | None]]]:
    """Students, teachers, and a figure of each pair [student][teacher]; None where there's no such pair.

    Raises CtkdError for an unknown figure.
    """
    if figure not in ORDERS:
        raise unknown("figure of pairs", figure, ORDERS)
    students, teachers = (list(dict.fromkeys(getattr(row, side) for row in rows)) for side in ("student", "teacher"))
    known = {(row.student, row.teacher): float(getattr(row, figure)) for row in rows}
    students, teachers = sorted(students), sorted(teachers)
    return students, teachers, [[known.get((one, other)) for other in teachers] for one in students]


def pairs_of(
    tokenizers: Sequence[Tokenizer], student: Tokenizer | None = None, teacher: Tokenizer | None = None
) -> list[tuple[Tokenizer, Tokenizer]]:
    """The (student, teacher) pairs that `rank_pairs` measures, in its order. Raises CtkdError as it does."""
    if student is not None and teacher is not None:
        raise CtkdError("a ranking fixes one side; give a student or a teacher, or neither for all pairs.")
    others = [as_tokenizer(one, "tokenizer") for one in tokenizers]
    given = student if student is not None else teacher
    fixed = None if given is None else as_tokenizer(given, "tokenizer")
    if fixed is not None:
        others = [one for one in others if one is not fixed]
        pairs = [(fixed, one) if student is not None else (one, fixed) for one in others]
    else:
        pairs = [(one, other) for one in others for other in others if one is not other]
    if not pairs:
        raise CtkdError("a ranking needs at least two tokenizers.")
    if len(pairs) > MOST_PAIRS:
        raise CtkdError(f"{len(others)} tokenizers make {len(pairs):,} pairs; at most {MOST_PAIRS:,}.")
    return pairs


def names_of(tokenizers: Iterable[Tokenizer]) -> dict[int, str]:
    """A name for each tokenizer, with where it comes from, or else a number, where several have one name."""
    unique = {id(one): one for one in tokenizers}
    names = {key: one.name for key, one in unique.items()}
    same = Counter(names.values())
    names = {
        key: f"{name} ({unique[key].source})" if same[name] > 1 and unique[key].source else name
        for key, name in names.items()
    }
    same, seen = Counter(names.values()), Counter[str]()
    for key, name in names.items():
        if same[name] > 1:
            seen[name] += 1
            names[key] = f"{name} ({seen[name]})"
    return names


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.items())


def _samples() -> list[Text]:
    from ctkd_core.tokenizers.domain_texts import DOMAINS

    return [text for texts in DOMAINS.values() for text in texts]


def rank_pair(
    student: Tokenizer,
    teacher: Tokenizer,
    texts: Sequence[Text] | None = None,
    names: tuple[str, str] | None = None,
) -> RankedPair:
    """One pair, on the bundled samples or on `texts`; `names`: what both sides are called.

    Raises CtkdError where no text can be measured.
    """
    corpus = _samples() if texts is None else texts
    names = names or (student.name, teacher.name)
    shared = overlap(student, teacher)
    metrics: Mapping[str, Any] = measure_plainly(student, teacher, corpus, METHOD)
    if not metrics["texts"]:
        raise CtkdError(f"{names[0]} with {names[1]}: no text can be measured ({_listed(metrics['skipped'])}).")
    facts = facts_of(student, teacher, shared, {"texts": metrics})
    advice = advise(facts)
    tokens = metrics["student_tokens"] + metrics["teacher_tokens"]
    return RankedPair(
        student=names[0],
        teacher=names[1],
        canonical=facts["overlap"][WAYS[1]],
        # A group of this method ends wherever both sides end a token, so groups count the common places.
        boundaries=2 * metrics["n_groups"] / tokens if tokens else 0.0,
        equal_tokens=metrics["student_tokens_1_1"],
        teacher_whole=metrics["teacher_whole"],
        tokens=metrics["student_tokens"] / metrics["teacher_tokens"] if metrics["teacher_tokens"] else 0.0,
        numbers=advice.verdict,
        same_tokenizer=facts["same_tokenizer"],
        method=advice.method,
        options=advice.options,
        skipped=metrics["skipped"],
        confidence=advice.confidence,
    )
