"""How exact are the alignments: boundaries, bytes that face equal bytes, coverage, without any training.

    python -m experiments.analyses.alignment_error

The truth is where both tokenizers have a boundary at one byte. What errors cost in training is the experiment
`alignment-price`; where it has results, they are put beside the errors here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ctkd_core.alignment import align_encodings
from ctkd_core.errors import AlignmentError
from experiments.analyses.intervals import Interval, counted, difference, percent, ratio, verdict
from experiments.analyses.migrated_targets import TEXTS as ALL_TEXTS
from experiments.analyses.migrated_targets import read_by_models
from experiments.analyses.pairs import LANGUAGES, PAIRS, WITH_WEIGHTS, Text, chosen_texts, fingerprints, tokenizer
from experiments.analyses.predictions import text_predictions
from experiments.analyses.records import Anew, Clock, Report, alone, claim, document, kept, table

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment

NAME = "alignment-error"
TEXTS = 20  # of each language
VERSION = 1  # of what is counted; another number counts anew
METHODS: dict[str, dict[str, Any]] = {
    "SeDi, bytes": {"method": "sedi"},
    "SeDi, characters": {"method": "sedi", "unit": "char", "empty_spans": "touch"},
    "GOLD": {"method": "gold"},
    "GOLD-greedy as released": {"method": "gold-greedy", "variant": "released"},
    "ALM": {"method": "alm"},
    "ALM, by words": {"method": "alm", "chunking": "space"},
    "X-Token": {"method": "xtoken"},
    "X-Token as released": {"method": "xtoken", "variant": "released"},
    "CDM": {"method": "cdm"},
    "CDM as released": {"method": "cdm", "variant": "released"},
    "MinED": {"method": "mined"},
    "MinED as released": {"method": "mined", "variant": "released"},
    "ULD, by index": {"method": "uld"},
}
# Figures: their title, and which counts are divided.
FIGURES = {
    "f1": ("Boundary F1", "common_boundaries", "boundaries"),
    "matched": ("Share of bytes that face equal bytes", "matched_bytes", "bytes"),
    "covered": ("Share of bytes under tokens that face something", "covered_bytes", "bytes"),
}
KEPT = ("common_boundaries", "boundaries", "matched_bytes", "covered_bytes", "bytes")
ENTROPY = "CDM, entropies of both models"

Counts = dict[str, Any]
Records = Mapping[tuple[str, str], Sequence[Counts]]


def run(experiment: Any, report: Report, again: bool = False) -> dict[str, Any]:  # noqa: ARG001
    """Measure what is missing, or all of it `again`, and return the document of results.json."""
    from experiments.analyses.alignment_price import beside

    clock, anew, texts = Clock(), Anew(again), chosen_texts(TEXTS)
    asked = read_by_models(chosen_texts(ALL_TEXTS))
    records, weighted = {}, {}
    for pair in PAIRS:
        of_pair = Clock()
        of_texts, of_asked = depends(pair, "texts", texts), depends(pair, "asked", asked)
        records[pair] = kept(NAME, of_texts, partial(errors, *pair, texts), anew)["texts"]
        weighted[pair] = kept(NAME, of_asked, partial(with_entropies, *pair, asked, anew), anew)["texts"]
        report(f"{pair[0]} to {pair[1]}: {of_pair():.0f} s")
    tables, claims = beside(f1_of(records))
    return document(
        NAME, [*tables_of(records, weighted), *tables], [*claims_of(records, weighted), *claims], [0], clock()
    )


def depends(pair: tuple[str, str], part: str, texts: Sequence[Text]) -> dict[str, Any]:
    """What a part of the measurement, of these texts, depends on."""
    return {
        "version": VERSION,
        "pair": pair,
        "fingerprints": fingerprints(pair),
        "methods": METHODS if part == "texts" else {},
        part: [t.text for t in texts],
    }


def errors(teacher_name: str, student_name: str, texts: Sequence[Text]) -> dict[str, list[Counts]]:
    """One record a text: language, and by method its counts, None where a method refuses the pair."""
    student, teacher = tokenizer(student_name), tokenizer(teacher_name)
    return {"texts": [{"language": t.language} | count(t.text, student, teacher) for t in texts]}


def count(text: str, student: Any, teacher: Any) -> Counts:
    """By method the counts KEPT of one text (see `alignment_counts`), `boundaries` of both sides together."""
    own, other = (side.encode(text, special_tokens=False) for side in (student, teacher))
    found: Counts = {}
    for name, options in METHODS.items():
        try:
            found[name] = counts_of(align_encodings(own, other, **options))
        except AlignmentError:  # made for byte-level tokenizers alone
            found[name] = None
    return found


def counts_of(alignment: Alignment) -> dict[str, int]:
    """The counts KEPT; twice the common boundaries over `boundaries` is F1, so they are doubled here."""
    counts = {name: int(alignment.counts[name]) for name in KEPT}
    return counts | {"common_boundaries": 2 * counts["common_boundaries"]}


def with_entropies(
    teacher_name: str, student_name: str, texts: Sequence[Text], anew: Anew | None = None
) -> dict[str, list[Counts]]:
    """One record a text: counts of CDM with constant weights and with those of both models' entropies."""
    student, teacher = tokenizer(student_name), tokenizer(teacher_name)
    body = student_name if student_name in WITH_WEIGHTS else teacher_name
    rows = zip(
        texts,
        text_predictions(body, student_name, texts, anew),
        text_predictions(teacher_name, teacher_name, texts, anew),
    )
    out = []
    for text, mine, theirs in rows:
        own, other = (side.encode(text.text, special_tokens=False) for side in (student, teacher))
        entropies = {"student_entropy": mine.entropy, "teacher_entropy": theirs.entropy}
        out.append(
            {
                "language": text.language,
                "CDM": counts_of(align_encodings(own, other, method="cdm")),
                ENTROPY: counts_of(align_encodings(own, other, method="cdm", **entropies)),
            }
        )
    return {"texts": out}


def figure(texts: Sequence[Counts], method: str, name: str) -> Interval:
    """A figure of a method over texts; NaN where it refuses them."""
    _, part, whole = FIGURES[name]
    of = [t[method] for t in texts if t[method] is not None]
    return ratio([c[part] for c in of], [c[whole] for c in of])


def gap(texts: Sequence[Counts], method: str, than: str, name: str = "f1") -> Interval:
    """A figure of a method minus another's, at the texts that both take."""
    _, part, whole = FIGURES[name]
    both = [(t[method], t[than]) for t in texts if t[method] is not None and t[than] is not None]
    return difference(
        [a[part] for a, _ in both], [a[whole] for a, _ in both], [b[part] for _, b in both], [b[whole] for _, b in both]
    )


def f1_of(records: Records) -> dict[tuple[str, str, str, str], float]:
    """Boundary F1 by teacher, student, language and method."""
    return {
        (*pair, language, method): figure([t for t in texts if t["language"] == language], method, "f1").value
        for pair, texts in records.items()
        for language in LANGUAGES
        for method in METHODS
    }


def tables_of(records: Records, weighted: Records) -> list[dict[str, Any]]:
    """All tables of results.json that need no training."""
    found = [
        table(
            f"{title}, by pair",
            ["teacher", "student", *METHODS],
            [[*pair, *(percent(figure(texts, m, name)) for m in METHODS)] for pair, texts in records.items()],
            "Percent, with 95 % bootstrap intervals over texts of six languages; - where a method takes byte-level "
            "tokenizers only.",
        )
        for name, (title, _, _) in FIGURES.items()
    ]
    for name in ("f1", "matched"):
        found.append(
            table(
                f"{FIGURES[name][0]}, by language",
                ["language", *METHODS],
                [[language, *(percent(figure(_in(records, language, m, name), m, name)) for m in METHODS)]
                 for language in LANGUAGES],
                "All pairs together, one whose figure is the same in both directions once. Percent, with 95 % "
                "bootstrap intervals over texts, each with its counts of all pairs.",
            )
        )  # fmt: skip
    found.append(
        table(
            "Do entropies help CDM's path?",
            ["teacher", "student", "constant weights", "entropies of both models", "difference"],
            [[*pair, *(percent(figure(texts, m, "f1")) for m in ("CDM", ENTROPY)), percent(gap(texts, ENTROPY, "CDM"))]
             for pair, texts in weighted.items()],
            "Boundary F1, percent, on the texts that models read. A student without weights of its own reads with its "
            "teacher's body, the embeddings moved to its tokenizer.",
        )
    )  # fmt: skip
    return found


def once(records: Records, methods: Sequence[str], name: str) -> list[Sequence[Counts]]:
    """The records of each pair, without a pair that has the same counts of `methods` as its reverse has."""
    _, part, whole = FIGURES[name]

    def counts(pair: tuple[str, str]) -> list[Any]:
        return [t[m] and (t[m][part], t[m][whole]) for t in records[pair] for m in methods]

    found: dict[tuple[str, str], Sequence[Counts]] = {}
    for pair, texts in records.items():
        reverse = (pair[1], pair[0])
        if reverse not in found or counts(reverse) != counts(pair):
            found[pair] = texts
    return list(found.values())


def _in(records: Records, language: str, method: str, name: str) -> list[Counts]:
    """A method's counts of each text in a language, added over the pairs: what the pairs say of one text goes together.

    Without the pairs that the method refuses; None where it refuses all.
    """
    _, part, whole = FIGURES[name]
    found = []
    for text in zip(*once(records, [method], name), strict=True):  # the same texts in each pair
        if text[0]["language"] != language:
            continue
        of = [record[method] for record in text if record[method] is not None]
        found.append({method: {key: sum(c[key] for c in of) for key in (part, whole)} if of else None})
    return found


def claims_of(records: Records, weighted: Records) -> list[dict[str, str]]:
    """Each claim with its verdict, by the rule of `intervals.verdict` on boundary F1.

    Two directions of one pair count once where the figure doesn't depend on the direction.
    """
    found = []
    for text, source, method, than, of in (
        ("Entropy weights make the path of time warping more exact.", "CDM, abstract", ENTROPY, "CDM", weighted),
        ("Time warping aligns more exactly than pairs by index.", "CDM, MinED", "CDM", "ULD, by index", records),
        ("Byte offsets align more exactly than time warping.", "SeDi, GOLD", "SeDi, bytes", "CDM", records),
        ("Byte offsets align more exactly than growing text buffers.", "TRL, since June 2026", "GOLD",
         "GOLD-greedy as released", records),
        ("Characters as spans lose boundaries that bytes keep.", "ours", "SeDi, bytes", "SeDi, characters", records),
    ):  # fmt: skip
        signs = [gap(texts, method, than).sign for texts in once(of, [method, than], "f1")]
        found.append(claim(text, source, f"boundary F1 larger {counted(signs)}", verdict(signs)))
    return found


if __name__ == "__main__":
    sys.exit(alone(NAME, run))
