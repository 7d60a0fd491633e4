"""All that a report about a pair of tokenizers tells: the pair, texts under several methods, and the vocabulary map.

`figures.report_pair` makes one HTML file of it, `ctkd report` and page Pair hand that out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.alignment import align_encodings
from ctkd_core.alignment.metrics import Agreement, agreement
from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import AlignmentError, CtkdError
from ctkd_core.pair.corpus import Text
from ctkd_core.pair.report import PairReport, pair_report
from ctkd_core.tokenizers.load import as_pair
from ctkd_core.tokenizers.sample_texts import TEXTS
from ctkd_core.vocabulary.build import is_quick
from ctkd_core.vocabulary.store import cached, cached_project

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

TRUTH = "sedi"  # byte-exact groups: what every method is measured against
# One of each kind, not all: by bytes, by common ends, by cost, by position. A new method has its place here only if it
# is of another kind.
METHODS = (TRUTH, "gold", "cdm", "uld")
SAMPLES = ("prose", "numbers")
FULL_MAP, QUICK_MAP = "pieces", "exact"
MOST_TEXTS, MOST_METHODS = 12, 8
MOST_CHARACTERS = 50_000  # of one text; a corpus may have as many as it likes


@dataclass(frozen=True, eq=False)
class TextReport:
    """One text under several methods, without options, as their variant "clean".

    alignments  by method, in the order they were asked for; the first one is what the others are compared with
    truth       the byte-exact groups
    agreements  of the first method with each of the others
    """

    name: str
    alignments: dict[str, Alignment]
    truth: Alignment
    agreements: dict[str, Agreement]

    @property
    def first(self) -> Alignment:
        """The alignment that the others are compared with."""
        return next(iter(self.alignments.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: characters, metrics of each method, places at which each differs from the first."""
        return {
            "name": self.name,
            "characters": len(self.first.student.text),
            "methods": {name: one.metrics() for name, one in self.alignments.items()},
            "disagreements": {name: len(found.differing) for name, found in self.agreements.items()},
        }


@dataclass(frozen=True, eq=False)
class FullReport:
    """The report on a pair, its texts, and its vocabulary map."""

    pair: PairReport
    student: Tokenizer
    teacher: Tokenizer
    texts: tuple[TextReport, ...]
    projection: Projection

    def to_dict(self) -> dict[str, Any]:
        """Plain data: that of `PairReport.to_dict`, `texts`, and `map` with its method, rows by reason and audit."""
        found = self.projection
        return self.pair.to_dict() | {
            "texts": [text.to_dict() for text in self.texts],
            "map": {"method": found.method, "rows": found.rows(), "classes": found.audit()},
        }


def full_report(
    student: Tokenizer,
    teacher: Tokenizer,
    texts: Mapping[str, str] | None = None,
    names: Sequence[str] = METHODS,
    corpus: Mapping[str, Iterable[Text]] | None = None,
    vocabulary_map: str = "",
    progress: Progress | None = None,
    *,
    workers: int | None = 1,
    keep: bool = False,
) -> FullReport:
    """Measure everything that the report tells.

    texts           by name (default: bundled samples); names: methods that align them
    corpus          texts by domain; workers, keep: as `pair_report` takes them (default: the bundled ones, one process)
    vocabulary_map  a name of `vocabulary.MAPS`; "" for `pieces` where it is kept or quick to build, else `exact`
    progress        gets the share done and a sentence, and may raise to cancel

    Raises AlignmentError for unknown methods and those without an alignment, CtkdError for too many texts or methods
    and for a text that is empty or too long, and what `pair_report` and `project` raise.
    """
    student, teacher = as_pair(student, teacher)
    report = progress or silent
    given = {name: TEXTS[name].text for name in SAMPLES} if texts is None else dict(texts)
    chosen = check_methods(names)
    check_texts(given)
    pair = pair_report(
        student, teacher, corpus, workers, lambda share, sentence: report(0.5 * share, sentence), keep=keep
    )
    kind = vocabulary_map or usual_map(student, teacher)
    report(0.5, f"building the map {kind!r}")
    projection = cached_project(student, teacher, kind)
    found = []
    for place, (name, text) in enumerate(given.items()):
        report(0.7 + 0.3 * place / max(1, len(given)), f"aligning {name!r}")
        found.append(_text_report(name, text, student, teacher, chosen))
    report(1.0, "measured")
    return FullReport(pair, student, teacher, tuple(found), projection)


def usual_map(student: Tokenizer, teacher: Tokenizer) -> str:
    """The map that a report shows when none is named: the one that says most, where nobody has to wait for it."""
    there = cached(student, teacher, FULL_MAP) is not None
    return FULL_MAP if there or is_quick(student, teacher, FULL_MAP) else QUICK_MAP


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """The methods, each once. Raises AlignmentError for none, too many, unknown ones and those that don't align."""
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        methods.aligner(name, AlignmentError)
    if not 0 < len(chosen) <= MOST_METHODS:
        raise AlignmentError(f"a report takes 1 to {MOST_METHODS} methods; got {len(chosen)}.")
    return chosen


def check_texts(texts: Mapping[str, str]) -> None:
    """Raise CtkdError for too many texts, and for one that is empty or too long."""
    if len(texts) > MOST_TEXTS:
        raise CtkdError(f"a report takes at most {MOST_TEXTS} texts; got {len(texts)}. Give more of them as a corpus.")
    for name, text in texts.items():
        if not text:
            raise CtkdError(f"text {name!r} is empty; there is nothing to align.")
        if len(text) > MOST_CHARACTERS:
            raise CtkdError(
                f"text {name!r} has {len(text):,} characters; a report draws at most {MOST_CHARACTERS:,} of one. Cut "
                "it, or give it as a corpus, which is measured and not drawn."
            )


def _text_report(name: str, text: str, student: Tokenizer, teacher: Tokenizer, chosen: tuple[str, ...]) -> TextReport:
    sides = student.encode(text, special_tokens=False), teacher.encode(text, special_tokens=False)
    found = {method: align_encodings(*sides, method=method) for method in dict.fromkeys((*chosen, TRUTH))}
    shown = {method: found[method] for method in chosen}
    first, *others = shown.values()
    compared = {other.method: agreement(first, other) for other in others}
    return TextReport(name, shown, found[TRUTH], compared)
