"""A pair of tokenizers as one HTML file that opens from disk: advice, vocabularies, map, texts, runs, figures.

Every text in it is a stranger's: tokens, samples, names. They are escaped, what can't be printed is spelled out, and
the file's policy (`figures.interactive`) lets no script run but its own two.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.alignment.display import legend, token_rows
from ctkd_core.alignment.metrics import health
from ctkd_core.distill.comparison.curves import AXES, band, known_axes, line_of
from ctkd_core.distill.comparison.figures import DEFAULT
from ctkd_core.distill.comparison.table import compare
from ctkd_core.distill.runs import RunStore
from ctkd_core.errors import RunError
from ctkd_core.figures import evidence as evidence_figures
from ctkd_core.figures.comparison import band_curves
from ctkd_core.figures.interactive import Figures, document
from ctkd_core.figures.metrics import metric_heat, metric_table
from ctkd_core.figures.pair import (
    class_figure,
    class_sentence,
    class_table,
    length_figure,
    length_sentence,
    overlap_figure,
    overlap_table,
)
from ctkd_core.figures.pair_domains import MEASURES, domain_figure, domain_table, share_columns
from ctkd_core.figures.pair_special import fact_table, role_notes, role_table
from ctkd_core.figures.report_runs import MOST_KINDS, comparison_parts, run_parts
from ctkd_core.figures.tables import agreement_sentence, disagreements, health_table
from ctkd_core.figures.vocabulary_bars import (
    audit_figure,
    audit_table,
    map_sentence,
    reasons_figure,
    row_sum_figure,
    row_sums,
)
from ctkd_core.lab.code import Code, NamedText, report_code
from ctkd_core.markup.blocks import Html, facts, note, table, text
from ctkd_core.markup.numbers import percent
from ctkd_core.markup.visible import counted, shorten
from ctkd_core.methods.evidence import load
from ctkd_core.pair.evidence import settings
from ctkd_core.pair.report import doubles_notes
from ctkd_core.tokenizers.domain_texts import DOMAINS
from ctkd_core.tokenizers.sample_texts import TEXTS
from ctkd_core.vocabulary.display import examples
from ctkd_core.vocabulary.overlap import overlap

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.distill.runs import Run
    from ctkd_core.pair.full_report import FullReport, TextReport

MOST_GROUPS = 300  # of a text that are drawn
MOST_QUOTED = 4_000  # characters
MOST_DISAGREEMENTS = 40  # of two methods on one text
MOST_STRETCH = 600  # characters of what a method makes of one
MANY = 9  # columns of a table
MOST_SETTINGS = 6  # of experiments
MOST_SOURCE = 200  # characters of the name of a tokenizer
SHOWN_MEASURES = ("tokens per word", "tokens in 1-1 groups", "kinds of groups")
SECTIONS = {
    "advice": "Advice",
    "vocabularies": "Vocabularies",
    "map": "Vocabulary map",
    "domains": "Texts by domain",
    "texts": "Texts and disagreements",
    "runs": "Runs compared",
    "again": "Do it again",
}


def pair_html(
    found: FullReport,
    runs: Sequence[Run] = (),
    sources: tuple[str, str] | None = None,
    corpus: Mapping[str, str] | None = None,
) -> str:
    """The whole file. `runs`: finished runs of the pair, compared by bits per byte, or one alone.

    For the code at the end: sources, what `load_tokenizer` takes for student and teacher (default: their names);
    corpus, the files, folders or sets of the hub that were measured, by domain. Raises RunError for a damaged run.
    """
    student, teacher = found.pair.student, found.pair.teacher
    figures = Figures()
    blocks = {
        "advice": _advice(found, figures),
        "vocabularies": _vocabularies(found, figures),
        "map": _map(found, figures),
        "domains": _domains(found, figures),
        "texts": [part for one in found.texts for part in _text(one, figures)],
        "runs": _runs(runs, figures),
        "again": _again(found, runs, sources or (student, teacher), corpus),
    }
    names = [(key, SECTIONS[key]) for key, parts in blocks.items() if parts]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title in names)
    parts = [
        f"<h1>{text(teacher, MOST_SOURCE)} → {text(student, MOST_SOURCE)}</h1>",
        note("Teacher → student. What the two tokenizers share, where they part, and what to train with."),
        f"<nav>{links}</nav>",
    ]
    for key, title in names:
        parts += [f'<h2 id="{key}">{title}</h2>', *blocks[key]]
    return document(f"{teacher} → {student}", parts, figures)


def _advice(found: FullReport, figures: Figures) -> list[str]:
    advice, same = found.pair.advice, found.pair.vocabulary["same_tokenizer"]
    row = methods.METHODS.get(advice.method)
    options = ", ".join(f"{name} = {value}" for name, value in advice.options.items())
    parts = [
        '<div class="advice">',
        f"<h3>Train with {text(advice.method)}{text(f', {options}' if options else '')}</h3>",
        f"<p>{text('One tokenizer on both sides.' if same else f'The rule alone says {advice.verdict}.')}"
        f"{text(f' {row.title}: {row.idea}' if row else '')}</p>",
        _items("Why", advice.because),
        _items("Look out for", advice.warnings),
        _items("What experiments found", [each.sentence for each in advice.evidence]),
        _items(f"Where {advice.method} loses", [each.sentence for each in advice.counter]),
        note(f"{advice.confidence[:1].upper()}{advice.confidence[1:]}; kind of the pair: {advice.kind}.")
        if advice.confidence
        else "",
        "</div>",
    ]
    there = settings(load(), advice.kind, found.student.name, found.teacher.name) if advice.confidence else []
    for name, condition in there[:MOST_SETTINGS]:
        said = evidence_figures.ranking_sentence(condition)
        parts += [
            f"<h3>{text(condition.title)}</h3>",
            note(
                f"{condition.kind}, {condition.regime}: teacher {condition.teacher}, student {condition.student}. "
                f"Experiment {name}. {said}"
            ),
            figures.block(evidence_figures.ranking_figure(condition, "difference"), said, f"evidence-{name}"),
            _rows([_short_row(row) for row in evidence_figures.ranking_rows(condition)]),
            *map(note, condition.notes),
        ]
    if len(there) > MOST_SETTINGS:
        parts.append(note(f"{counted(len(there) - MOST_SETTINGS, 'more setting')}: page Evidence shows all."))
    return parts


def _short_row(row: dict[str, str]) -> dict[str, str]:
    """A row of the ranking without what page Evidence has besides: a sheet of paper holds no more."""
    left_out = ("minus the best", "chance of the order", "gap closed", "best look", "at equal", "CPU seconds")
    return {name: value for name, value in row.items() if not name.startswith(left_out)}


def _vocabularies(found: FullReport, figures: Figures) -> list[str]:
    report, shared = found.pair, overlap(found.student, found.teacher)
    own = report.vocabulary
    said = length_sentence(found.student, found.teacher)
    return [
        facts(
            {
                "teacher": f"{report.teacher}: {own['teacher_size']:,} tokens",
                "student": f"{report.student}: {own['student_size']:,} tokens",
            }
        ),
        figures.block(overlap_figure(shared), "Tokens that the two vocabularies share", "overlap"),
        _frame(overlap_table(shared), ("share of student", "share of teacher", "share of the smaller")),
        figures.block(class_figure(report), f"Shared tokens by class: {class_sentence(report)}", "classes"),
        _frame(class_table(report), code=("missing, for example",)),
        *map(note, doubles_notes(own)),
        figures.block(length_figure(found.student, found.teacher), said, "lengths"),
        note(said),
        "<h3>Special tokens</h3>",
        _frame(role_table(report.special_tokens), code=("student", "teacher")),
        *(note(f"{role}: {words}") for role, words in role_notes(report.special_tokens)),
        _frame(fact_table(found.student, found.teacher)),
    ]


def _map(found: FullReport, figures: Figures) -> list[str]:
    projection, audit = found.projection, found.projection.audit()
    sums = row_sums(projection)
    options = ", ".join(f"{name} = {value}" for name, value in projection.options.items())
    return [
        note(f"Map “{projection.method}”{f' ({options})' if options else ''}: {map_sentence(projection)}"),
        figures.block(audit_figure(audit), "Student tokens that one teacher token says alone, by class", "audit"),
        _frame(audit_table(audit), ("share",)),
        figures.block(reasons_figure(projection), "Rows of the map by reason", "reasons"),
        figures.block(row_sum_figure(sums), sums.sentence, "row-sums"),
        note(sums.sentence),
        "<h3>Examples of each reason</h3>",
        _wide(
            table(
                ("student id", "student token", "teacher tokens", "reason"),
                examples(projection),
                ("student token", "teacher tokens"),
            )
        ),
    ]


def _domains(found: FullReport, figures: Figures) -> list[str]:
    rows = found.pair.corpus
    parts = []
    for name in SHOWN_MEASURES:
        parts.append(figures.block(domain_figure(rows, name, found.pair.method), f"{name} by domain", name))
        parts.append(note(MEASURES[name].meaning))
    return [*parts, _by_domain(domain_table(rows))]


def _by_domain(frame: pd.DataFrame) -> str:
    """Metrics as rows and domains as columns: the other way round no sheet of paper is wide enough."""
    shares = share_columns()
    rows = [
        (name, *(_cell(value, name in shares) for value in frame[name])) for name in frame.columns if name != "domain"
    ]
    return _wide(table(("metric", *map(str, frame["domain"])), rows), len(frame) + 1)


def _text(one: TextReport, figures: Figures) -> list[str]:
    first = one.first
    quoted = "\n".join(text(line) for line in shorten(first.student.text, MOST_QUOTED).split("\n"))
    rates = {name: found.metrics() for name, found in one.alignments.items()}
    parts = [
        f"<h3>{text(one.name, MOST_SOURCE)}</h3>",
        f"<pre>{quoted}</pre>",
        f"<p>{text(f'{first.label}: {health(first).sentence}.')}</p>",
        legend(first),
        token_rows(first, MOST_GROUPS),
        *map(note, dict.fromkeys([*first.notes, *first.student.notes, *first.teacher.notes])),
        _frame(health_table(one.alignments.values(), rates.values())),
        figures.block(metric_heat(rates, one.truth.metrics()), f"Rates of every method on {one.name}", one.name),
        _frame(metric_table(rates, one.truth.metrics())),
    ]
    for name, compared in one.agreements.items():
        count = len(compared.differing)
        parts.append(f"<h3>{text(first.label)} and {text(name)}</h3>")
        if not count:
            parts.append(note("They make the same groups on this text."))
            continue
        more = f" The first {MOST_DISAGREEMENTS} are listed." if count > MOST_DISAGREEMENTS else ""
        parts.append(
            note(
                f"{agreement_sentence(compared)} Each bracket is a group, student ~ teacher; │ parts its tokens.{more}"
            )
        )
        listed = disagreements(first, one.alignments[name], compared.differing, MOST_DISAGREEMENTS)
        cells = [
            (row[0], *(Html(f"<code>{text(each, MOST_STRETCH)}</code>") for each in row[1:])) for row in listed.values
        ]
        parts.append(_wide(table(tuple(map(str, listed.columns)), cells)))
    return parts


def _runs(runs: Sequence[Run], figures: Figures) -> list[str]:
    if not runs:
        return []
    if len(runs) == 1:
        return _lower(run_parts(runs[0]))
    try:
        found = compare(runs, DEFAULT)
    except RunError as fault:  # none of them was evaluated
        return [note(str(fault))]
    shown = {row.kind.label: [run.metric_rows() for run in row.kind.runs] for row in found.rows[:MOST_KINDS]}
    axis = (known_axes([rows for each in shown.values() for rows in each]) or ["step"])[0]
    drawn = []
    for column, kind, title in (("loss", "train", "Training loss"), (DEFAULT, "eval", "Bits per byte, held out")):
        bands = {label: band([line_of(rows, column, axis, kind) for rows in each]) for label, each in shown.items()}
        fig = band_curves(bands, title, AXES[axis])
        drawn.append(figures.block(fig, f"{title} of each kind of runs", title))
    return _lower(comparison_parts(runs, found, "".join(drawn)))


def _lower(parts: Sequence[str]) -> list[str]:
    """The headings of a report of its own, one level lower; texts of runs are escaped, so no heading is theirs."""
    return [part.replace("<h2>", "<h3>").replace("</h2>", "</h3>") for part in parts]


def _again(
    found: FullReport, runs: Sequence[Run], sources: tuple[str, str], corpus: Mapping[str, str] | None
) -> list[str]:
    texts = [NamedText(one.first.student.text, one.name if _is_sample(one) else "") for one in found.texts]
    names = list(found.texts[0].alignments) if found.texts else []
    folder = next((str(run.dir.parent) for run in runs), "")
    usual = Path(folder) == RunStore().root
    ids = [run.id for run in runs]
    code: Code = report_code(*sources, names, texts, found.projection.method, ids, "" if usual else folder, corpus)
    parts = ["<h3>Python</h3>", _code(code.python)]
    parts += ["<h3>Command line</h3>", _code(code.cli)] if code.cli else []
    if not corpus and list(found.pair.corpus) != list(DOMAINS):
        domains = ", ".join(found.pair.corpus)
        parts.append(
            note(
                f"Both measure the bundled samples. This report measured {domains}: give the command these files "
                "again, each as --corpus NAME=FILE."
            )
        )
    return [*parts, note(code.note)] if code.note else parts


def _is_sample(one: TextReport) -> bool:
    return one.name in TEXTS and TEXTS[one.name].text == one.first.student.text


def _code(lines: str) -> str:
    return "<pre><code>" + "\n".join(text(line) for line in lines.split("\n")) + "</code></pre>"


def _items(title: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return f"<h3>{title}</h3><ul>{''.join(f'<li>{text(sentence)}</li>' for sentence in sentences)}</ul>"


def _rows(rows: Sequence[dict[str, Any]]) -> str:
    return _wide(table(tuple(rows[0]), [tuple(row.values()) for row in rows]), len(rows[0])) if rows else ""


def _frame(frame: pd.DataFrame, shares: Collection[str] = (), code: Collection[str] = ()) -> str:
    """A table of `figures`; columns that are `shares` as percentages."""
    names = [str(name) for name in frame.columns]
    rows = [
        [_cell(value, name in shares) for name, value in zip(names, row)]
        for row in frame.itertuples(index=False, name=None)
    ]
    return _wide(table(names, rows, code), len(names))


def _cell(value: Any, share: bool) -> Any:
    if isinstance(value, str):
        return value
    if value is None or str(value) in ("<NA>", "nan", "None"):
        return "–"
    if share and math.isfinite(value):
        return percent(float(value))
    return value


def _wide(block: str, columns: int = 0) -> str:
    """A table that scrolls where it is too wide; one of many columns gets smaller on paper."""
    return f'<div class="wide{" many" if columns > MANY else ""}">{block}</div>'
