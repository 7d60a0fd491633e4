"""SeDi's pilot: is what a method makes of the teacher's prediction the text's own next token?

    python -m experiments.analyses.migrated_targets

Two readings of "the teacher's prediction", since the paper doesn't say which it means:

conversion  the teacher is taken to be sure of the text's own next token under its tokenizer: what is measured is the
            conversion alone, and no model is asked
prediction  the teacher's own candidates, on fewer texts: its mistakes count as well

Alignments are those that runs train on: CDM's weights are constant, as no model is asked when data are aligned.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.alignment import align_encodings
from experiments.analyses import targets
from experiments.analyses.intervals import Interval, counted, difference, percent, ratio, verdict
from experiments.analyses.pairs import (
    GEMMA,
    LANGUAGES,
    PAIRS,
    WITH_WEIGHTS,
    Text,
    chosen_texts,
    fingerprints,
    tokenizer,
)
from experiments.analyses.predictions import TOP_K, TextPredictions, text_predictions
from experiments.analyses.records import Anew, Clock, Report, alone, claim, document, kept, table

if TYPE_CHECKING:
    from ctkd_core.tokenizers.encoding import Encoding

NAME = "migrated-targets"
TEXTS = 40  # of each language
ASKED = {"en": 20}  # texts of them that models read; of every language that isn't named:
ASKED_OTHERS = 3
VERSION = 1  # of what is counted; another number counts anew
READINGS = ("conversion", "prediction")
# Methods whose rows are compared one by one: what is claimed is claimed of them.
CLAIMED = ("mined", "cdm", "sedi")
METHODS = {
    "mined": "MinED",
    "mined-released": "MinED as released (DSKD)",
    "cdm": "CDM",
    "cdm-released": "CDM as released",
    "sedi": "SeDi",
    "sedi-characters": "SeDi by characters (paper)",
    "gold": "GOLD, matched tokens",
}
ALIGNMENTS: dict[str, dict[str, Any]] = {
    "mined": {"method": "mined"},
    "mined-released": {"method": "mined", "variant": "released"},
    "cdm": {"method": "cdm"},
    "cdm-released": {"method": "cdm", "variant": "released"},
    "sedi": {"method": "sedi"},
    "sedi-characters": {"method": "sedi", "unit": "char", "empty_spans": "touch"},
    "gold": {"method": "gold"},
}
FIRST = 3  # best candidates that MinED's map is asked for: special tokens alone have no nearest one
PAPER = {"mined": 84.94, "cdm": 88.01, "sedi": 95.27}  # Dolly
SOURCE = "SeDi (Wang et al., AAAI-26), pilot: MinED 84.94, CDM 88.01, SeDi 95.27 on Dolly, LLaMA2 to GPT2"

Counts = dict[str, Any]


def run(experiment: Any, report: Report, again: bool = False) -> dict[str, Any]:  # noqa: ARG001
    """Measure what is missing, or all of it `again`, and return the document of results.json."""
    clock, anew = Clock(), Anew(again)
    texts = chosen_texts(TEXTS)
    asked = read_by_models(texts)
    records = {}
    for pair in PAIRS:
        of_pair = Clock()
        found = {
            reading: kept(NAME, depends(pair, reading, of), make, anew)["texts"]
            for reading, of, make in (
                ("conversion", texts, partial(conversions, *pair, texts)),
                ("prediction", asked, partial(predictions, *pair, asked, anew)),
            )
        }
        records[pair] = found
        report(f"{pair[0]} to {pair[1]}: {of_pair():.0f} s")
    return document(NAME, tables_of(records), claims_of(records), [0], clock())


def read_by_models(texts: Sequence[Text]) -> list[Text]:
    """The first texts of each language, as many as models read."""
    of = {language: [t for t in texts if t.language == language] for language in LANGUAGES}
    return [t for language in LANGUAGES for t in of[language][: ASKED.get(language, ASKED_OTHERS)]]


def depends(pair: tuple[str, str], reading: str, texts: Sequence[Text]) -> dict[str, Any]:
    """What a part of the measurement depends on."""
    return {
        "version": VERSION,
        "pair": pair,
        "fingerprints": fingerprints(pair),
        "alignments": ALIGNMENTS,
        "candidates": [TOP_K, FIRST, targets.SOURCES],
        "reading": reading,
        "texts": [t.text for t in texts],
    }


def conversions(teacher_name: str, student_name: str, texts: Sequence[Text]) -> dict[str, list[Counts]]:
    """One record a text, for a teacher that is sure of the text (see `count`)."""
    student, teacher = tokenizer(student_name), tokenizer(teacher_name)
    sides = [[side.encode(t.text, special_tokens=False) for t in texts] for side in (student, teacher)]
    nearest = targets.near_ids(student, teacher, np.concatenate([e.ids for e in sides[1]]))
    return {
        "texts": [
            {"language": text.language}
            | count(own, other, targets.own_next(own.ids), targets.own_next(other.ids), student, teacher, nearest)
            for text, own, other in zip(texts, *sides)
        ]
    }


def predictions(
    teacher_name: str, student_name: str, texts: Sequence[Text], anew: Anew | None = None
) -> dict[str, list[Counts]]:
    """One record a text, for what the models say (see `count`, `migration`)."""
    student, teacher = tokenizer(student_name), tokenizer(teacher_name)
    body = student_name if student_name in WITH_WEIGHTS else teacher_name
    by_student = text_predictions(body, student_name, texts, anew)
    by_teacher = text_predictions(teacher_name, teacher_name, texts, anew)
    sides = [[side.encode(t.text, special_tokens=False) for t in texts] for side in (student, teacher)]
    wanted = [x.ids[:, :FIRST].ravel() for x in by_teacher] + [e.ids for e in sides[1]]
    nearest = targets.near_ids(student, teacher, np.concatenate(wanted))
    return {
        "texts": [
            {"language": text.language}
            | count(own, other, mine.ids.astype(np.int64), theirs.ids.astype(np.int64), student, teacher, nearest)
            | migration(own, other, theirs, student, teacher)
            for text, own, other, mine, theirs in zip(texts, *sides, by_student, by_teacher)
        ]
    }


def count(
    own: Encoding, other: Encoding, top_s: targets.Ids, top_t: targets.Ids, student: Any, teacher: Any,
    nearest: targets.Ids,
) -> Counts:  # fmt: skip
    """What of one text is counted, for candidates int64 [tokens, K] of both sides.

    rows      student tokens that a row predicts; teacher_tokens of the text
    METHOD    [rows with a target, right ones]
    common    [rows with a target of all CLAIMED methods, right ones of each]
    repaired  right rows of SeDi where wrong ones become the text's own token, but for the last
    """
    by = {name: align_encodings(own, other, **options) for name, options in ALIGNMENTS.items()}
    made = {
        "mined": targets.copied(by["mined"], top_t, nearest),
        "mined-released": targets.copied(by["mined-released"], top_t, nearest, "map"),
        "cdm": targets.contextual(by["cdm"], top_t, top_s, student, teacher),
        "cdm-released": targets.contextual_released(by["cdm-released"], top_t, top_s, student, teacher),
        "sedi": targets.migrated(by["sedi"], top_t, student, teacher),
        "sedi-characters": targets.migrated(by["sedi-characters"], top_t, student, teacher),
        "gold": targets.matched(by["gold"], top_t, student, teacher),
    }
    return {"rows": len(own) - 1, "teacher_tokens": len(other)} | rights(made, own.ids.astype(np.int64))


def migration(own: Encoding, other: Encoding, theirs: TextPredictions, student: Any, teacher: Any) -> Counts:
    """What becomes of all candidates of one text.

    candidates, dropped, written, collided  of SeDi's migration (see `migration_report`)
    matched_mass, mass   probability of the teacher's candidates with an equal student token, and of all of them
    """
    from ctkd_core.pair.logit_metrics import vocabulary_match_rate
    from ctkd_core.pair.migration_report import migration_report
    from ctkd_core.vocabulary.exact import exact_matches

    report = migration_report(align_encodings(own, other, method="sedi"), theirs.ids, student, teacher)
    counts = {name: int(getattr(report, name).sum()) for name in ("candidates", "dropped", "written", "collided")}
    mapped = exact_matches(teacher, student)[0] >= 0
    share = vocabulary_match_rate(theirs.ids, theirs.logprobs, mapped)["vocabulary_match_rate_weighted"]
    mass = float(np.exp(theirs.logprobs.astype(np.float64)).sum())
    return counts | {"mass": mass, "matched_mass": share * mass}


def rights(made: Mapping[str, targets.Ids], gold: targets.Ids) -> Counts:
    """By method [rows with a target, right ones], and "common", "repaired" (see `count`); gold int64 [n]."""
    out: Counts = {name: [int((t >= 0).sum()), int(((t >= 0) & (t == gold)).sum())] for name, t in made.items()}
    common = np.logical_and.reduce([made[name] >= 0 for name in CLAIMED])
    out["common"] = [int(common.sum()), *(int((common & (made[name] == gold)).sum()) for name in CLAIMED)]
    filled = np.flatnonzero(made["sedi"] >= 0)
    wrong_at_end = bool(len(filled)) and bool(made["sedi"][filled[-1]] != gold[filled[-1]])
    out["repaired"] = len(filled) - int(wrong_at_end)
    return out


Records = Mapping[tuple[str, str], Mapping[str, Sequence[Counts]]]


def accuracy(texts: Sequence[Counts], method: str) -> Interval:
    """Right rows among those that the method fills from the teacher."""
    return ratio([t[method][1] for t in texts], [t[method][0] for t in texts])


def repaired(texts: Sequence[Counts]) -> Interval:
    """SeDi's accuracy after the release's repair (see `count`)."""
    return ratio([t["repaired"] for t in texts], [t["sedi"][0] for t in texts])


def gap(texts: Sequence[Counts], method: str, than: str, of_all: bool = False) -> Interval:
    """Accuracy of a method minus another's, at the same texts; `of_all`: rows that aren't filled count as wrong."""
    parts, wholes = ([[t[name][k] for t in texts] for name in (method, than)] for k in (1, 0))
    if of_all:
        wholes = [[t["rows"] for t in texts]] * 2
    return difference(parts[0], wholes[0], parts[1], wholes[1])


def scopes(texts: Sequence[Counts]) -> dict[str, list[Counts]]:
    """The texts that figures are taken over: the paper's language, and all."""
    return {"English": [t for t in texts if t["language"] == "en"], "all languages": list(texts)}


def tables_of(records: Records) -> list[dict[str, Any]]:
    """All tables of results.json."""
    found = []
    for reading, means in (
        ("conversion", "the teacher is taken to be sure of the text's own next token: conversion alone"),
        ("prediction", "the teacher's own best candidates, mistakes included"),
    ):
        rows = [
            (pair, scope, texts) for scope in scopes([]) for pair, of in records.items()
            for texts in [scopes(of[reading])[scope]]
        ]  # fmt: skip
        found.append(
            table(
                f"Top-1 accuracy of converted targets, {reading}",
                ["texts", "teacher", "student", *METHODS.values()],
                [[scope, *pair, *(percent(accuracy(texts, m)) for m in METHODS)] for pair, scope, texts in rows],
                "Percent of the rows that a method fills from the teacher, 95 % bootstrap interval over texts; "
                f"{means}.",
            )
        )
        found.append(
            table(
                f"The same with every row, {reading}",
                [
                    "texts",
                    "teacher",
                    "student",
                    *(
                        f"{METHODS[m]}: {what}"
                        for m in CLAIMED
                        for what in ("filled", "filled and right", "right or not filled")
                    ),
                    *(f"{METHODS[m]}: common rows" for m in CLAIMED),
                    "SeDi with the release's repair",
                ],
                [[scope, *pair, *_every_row(texts)] for pair, scope, texts in rows],
                "Percent of all rows. Filled: with a target out of the teacher. Right or not filled: rows without one "
                "count as right, because what the student learns there is the text's own token. Common rows: accuracy "
                "where all three have a target. Repair: of the rows that SeDi fills, wrong ones replaced by the text's "
                "own token, but for the last of a text, as the release does: by construction at most one row of each "
                "text stays wrong, so this says nothing of the conversion.",
            )
        )
    found.append(
        table(
            "By language: SeDi's migration",
            ["teacher", "student", "language", "conversion right", "prediction right", "candidates that collide",
             "candidates dropped", "student tokens a teacher token"],
            [[*pair, language, *_migration(by_language(of["conversion"])[language], asked)]
             for pair, of in records.items() for language, asked in by_language(of["prediction"]).items()],
            f"Percent, with 95 % bootstrap intervals over texts; {TOP_K} candidates a row. Collide: they land on a "
            "student token that a likelier one had hit.",
        )
    )  # fmt: skip
    found.append(
        table(
            "By language: teacher probability on tokens that both vocabularies have (GOLD's matched part)",
            ["teacher", "student", "language", "matched mass"],
            [[*pair, language, percent(ratio([t["matched_mass"] for t in texts], [t["mass"] for t in texts]))]
             for pair, of in records.items() for language, texts in by_language(of["prediction"]).items()],
            f"Percent of the probability of the {TOP_K} best candidates of every teacher row.",
        )
    )  # fmt: skip
    return found


def _every_row(texts: Sequence[Counts]) -> list[str]:
    rows = [t["rows"] for t in texts]
    cells = []
    for method in CLAIMED:
        filled, right = ([t[method][k] for t in texts] for k in (0, 1))
        with_text = [r + n - f for r, n, f in zip(right, rows, filled)]
        cells += [percent(ratio(part, rows)) for part in (filled, right, with_text)]
    common = [t["common"] for t in texts]
    cells += [percent(ratio([c[k] for c in common], [c[0] for c in common])) for k in (1, 2, 3)]
    return [*cells, percent(repaired(texts))]


def _migration(texts: Sequence[Counts], asked: Sequence[Counts]) -> list[str]:
    return [
        percent(accuracy(texts, "sedi")),
        percent(accuracy(asked, "sedi")),
        percent(collisions(asked)),
        percent(ratio([t["dropped"] for t in asked], [t["candidates"] for t in asked])),
        f"{sum(t['rows'] + 1 for t in texts) / max(1, sum(t['teacher_tokens'] for t in texts)):.2f}",
    ]


def collisions(texts: Sequence[Counts]) -> Interval:
    """Candidates that land on a student token which a likelier one had hit, of all that were written."""
    return ratio([t["collided"] for t in texts], [t["written"] for t in texts])


def by_language(texts: Sequence[Counts]) -> dict[str, list[Counts]]:
    """The records of each language."""
    found: dict[str, list[Counts]] = {}
    for text in texts:
        found.setdefault(text["language"], []).append(text)
    return found


def claims_of(records: Records) -> list[dict[str, str]]:
    """Each claim with its verdict, by the rule of `intervals.verdict`."""
    found = []
    for reading in READINGS:
        for scope, of_all in (("English", False), ("English", True), ("all languages", True)):
            of = [scopes(texts[reading])[scope] for texts in records.values()]
            where = "of all rows" if of_all else "of the rows that it fills"
            for better, than in (("cdm", "mined"), ("sedi", "cdm")):
                signs = [gap(texts, better, than, of_all).sign for texts in of]
                found.append(
                    claim(
                        f"{METHODS[better]} makes more right targets than {METHODS[than]} "
                        f"({where}; {reading}, {scope}).",
                        SOURCE,
                        f"larger {counted(signs)}",
                        verdict(signs),
                    )
                )
        english = [scopes(texts[reading])["English"] for texts in records.values()]
        found.append(
            _published(
                f"SeDi's targets are right on 95 % of the rows and more ({reading}, English).",
                [accuracy(texts, "sedi") for texts in english],
            )
        )
    pair = (GEMMA, "smollm2")
    if pair in records:
        found.append(_collision_claim(by_language(records[pair]["prediction"])))
    return found


def _published(text: str, found: Sequence[Interval]) -> dict[str, str]:
    """Whether a figure reaches the least of the published ones: pair by pair with the whole interval, or not at all."""
    least = PAPER["sedi"] / 100
    signs = [int(interval.low >= least) - int(interval.high < least) for interval in found]
    return claim(
        text,
        "SeDi, pilot: 95.27 to 98.01 on five test sets",
        f"the whole interval at 95.27 % or above on {signs.count(1)} of {len(signs)} pairs, below on "
        f"{signs.count(-1)}, open on {signs.count(0)}; "
        f"values from {100 * min(a.value for a in found):.1f} to {100 * max(a.value for a in found):.1f} %",
        verdict(signs),
    )


def _collision_claim(languages: Mapping[str, Sequence[Counts]]) -> dict[str, str]:
    russian, english = collisions(languages["ru"]), collisions(languages["en"])
    sign = int(russian.low > english.high) - int(russian.high < english.low)
    return claim(
        "Where the student cuts Cyrillic nearly into bytes (Gemma to SmolLM2, Russian), more of SeDi's candidates "
        "collide than in English.",
        "ours, an earlier look: 60 % in Russian",
        f"Russian {percent(russian)} %, English {percent(english)} %",
        verdict([sign]),
    )


if __name__ == "__main__":
    sys.exit(alone(NAME, run))
