"""A run, or several compared, as one HTML file that opens offline: curves as SVG, figures, samples, config, sources.

There is no script in it, its own policy lets nothing be loaded from elsewhere, and every text of a run is escaped:
names, samples and messages are strangers' words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ctkd_core import methods
from ctkd_core.distill.addresses import with_stand_ins, without_addresses
from ctkd_core.distill.comparison.curves import AXES, Band, band, known_axes, line_of
from ctkd_core.distill.comparison.figures import DEFAULT, figures_of, limits_of
from ctkd_core.distill.comparison.kinds import servers_numbered, table_of
from ctkd_core.distill.comparison.samples import side_by_side
from ctkd_core.distill.comparison.table import INTERVALS_NOTE, Comparison, compare
from ctkd_core.distill.config_file import flat
from ctkd_core.distill.option_labels import value_text
from ctkd_core.distill.records import current_rows
from ctkd_core.distill.runs import Run
from ctkd_core.figures.comparison import interval, ranking
from ctkd_core.figures.html_file import html_file
from ctkd_core.markup.blocks import facts, note, table, text
from ctkd_core.markup.colours import BLUE, CATEGORICAL, GREY, VERMILLION
from ctkd_core.markup.curves import Curve, curves_svg
from ctkd_core.markup.quantities import duration
from ctkd_core.markup.visible import shorten

MOST_SAMPLES = 40  # prompts
MOST_TEXT = 2_000  # characters of one answer
MOST_KINDS = 40  # curves of one picture
DASHES = ("", "6 3", "2 3", "8 3 2 3")

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.wide{overflow-x:auto}
.ctkd svg{max-width:100%;height:auto;margin:8px 16px 8px 0}
.ctkd td pre{margin:0;max-width:30em}
"""


def run_html(run: Run) -> str:
    """One run. Raises RunError for a damaged one."""
    title = without_addresses(run.config.name, run.config.to_dict()) or run.id
    return html_file(title, [f"<h1>{text(title)}</h1>", *run_parts(run)], _STYLE)


def run_parts(run: Run) -> list[str]:
    """The blocks of `run_html` below its title, as HTML. Raises RunError."""
    config, found, status = run.config, run.metrics_part(), run.status()
    options = config.to_dict()
    rows = current_rows(found.rows)
    return [
        facts(
            {
                "run": run.id,
                "state": f"{status.state}, step {status.step:,} of {config.steps:,}",
                "method": f"{config.method} ({config.variant})",
                "teacher → student": f"{config.teacher} → {config.student}, {config.student_model} student",
                "time": duration(status.seconds),
                "message": without_addresses(status.message, options),
            }
        ),
        *(note(without_addresses(sentence, options)) for sentence in (*status.warnings, found.damage) if sentence),
        "<h2>Figures</h2>",
        table(("figure", "value"), figures_of(run).items()),
        "<h2>Curves</h2>",
        _run_curves(rows),
        _samples({"student": run}),
        "<h2>Config</h2>",
        _options(config.every_option()),
        _environments([run]),
        _sources([config.method]),
    ]


def comparison_html(runs: Sequence[Run], figure: str = DEFAULT, baseline: str | None = None) -> str:
    """Several runs compared by a figure. Raises RunError for a damaged run, an unknown figure or baseline."""
    found = compare(runs, figure, baseline)
    title = f"<h1>{len(runs)} runs of {len(found.rows)} kinds</h1>"
    return html_file(f"{len(runs)} runs compared", [title, *comparison_parts(runs, found)], _STYLE)


def comparison_parts(runs: Sequence[Run], found: Comparison, curves: str = "") -> list[str]:
    """The blocks of `comparison_html` below its title, as HTML.

    found: what `compare` makes of the runs; curves: HTML that stands in the place of the curves as SVG.
    """
    figure = found.figure
    shown = [row.kind for row in found.rows[:MOST_KINDS]]
    return [
        f"<h2>{text(figure)}</h2>",
        '<div class="wide">',
        _ranking(found),
        "</div>",
        note(INTERVALS_NOTE),
        *map(note, found.notes),
        "<h2>All figures</h2>",
        '<div class="wide">',
        _all_figures(found),
        "</div>",
        "<h2>Curves</h2>",
        note("Means over seeds; the bands are 95 % intervals (Student's) of the mean at each point."),
        curves or _band_curves({kind.label: [run.metric_rows() for run in kind.runs] for kind in shown}),
        _samples({kind.label: kind.runs[0] for kind in shown}, "of each kind's first seed"),
        "<h2>What differs</h2>",
        '<div class="wide">',
        _differing(found),
        "</div>",
        "<h2>Runs</h2>",
        table(
            ("kind", "seed", "run", "state", "steps"),
            [
                (row.kind.label, seed, run.id, run.status().state, run.status().step)
                for row in found.rows
                for seed, run in sorted(row.kind.by_seed.items())
            ],
        ),
        "<h2>Config of the first kind</h2>",
        note("What the other kinds have instead stands under “What differs”."),
        _options(found.rows[0].kind.config.every_option()),
        _environments(runs),
        _sources([row.kind.config.method for row in found.rows]),
    ]


def _run_curves(rows: list[dict[str, Any]]) -> str:
    losses = [("loss", "loss")] + [
        (key, key.removeprefix("terms."))
        for key in dict.fromkeys(key for row in rows for key in flat(row))
        if key.startswith("terms.")
    ]
    curves = [  # behind the last colour they begin anew, each with another dash than before
        Curve(label, *line_of(rows, key), _colour(k), DASHES[(k + k // len(CATEGORICAL)) % len(DASHES)])
        for k, (key, label) in enumerate(losses)
    ]
    x, bits = line_of(rows, "bits_per_byte", kind="eval")
    _, teacher = line_of(rows, "teacher_bits_per_byte", kind="eval")
    level = np.full(len(x), teacher[0] if len(teacher) else np.nan)
    drawn = [
        curves_svg("Training loss and its terms", curves),
        curves_svg(
            "Bits per byte on held-out text",
            [Curve("student", x, bits, VERMILLION), Curve("teacher", x, level, GREY, "4 3")],
        ),
        curves_svg("Learning rate", [Curve("learning rate", *line_of(rows, "learning_rate"), BLUE)]),
        curves_svg("Gradient norm", [Curve("gradient norm", *line_of(rows, "gradient_norm"), BLUE)]),
    ]
    return "".join(drawn) or note("No step was trained.")


def _band_curves(kinds: Mapping[str, list[list[dict[str, Any]]]]) -> str:
    every = [rows for runs in kinds.values() for rows in runs]
    drawn = []
    for axis in known_axes(every) if every else []:
        for column, kind, title in (("loss", "train", "Training loss"), (DEFAULT, "eval", "Bits per byte, held out")):
            found = {label: band([line_of(rows, column, axis, kind) for rows in runs]) for label, runs in kinds.items()}
            drawn.append(curves_svg(f"{title} over {AXES[axis]}", _as_curves(found), AXES[axis]))
    legend = "".join(
        f'<span style="color:{escape(_colour(k))}">■</span> {text(label)}&ensp;' for k, label in enumerate(kinds)
    )
    return f"<p>{legend}</p>" + "".join(drawn)


def _as_curves(bands: Mapping[str, Band | None]) -> list[Curve]:
    # The legend stands above all pictures: labels in each would lie over one another.
    return [
        Curve("", found.x, found.mean, _colour(k), DASHES[k // len(CATEGORICAL) % len(DASHES)], found.low, found.high)
        for k, found in enumerate(bands.values())
        if found is not None
    ]


def _colour(k: int) -> str:
    return CATEGORICAL[k % len(CATEGORICAL)]


def _ranking(found: Comparison) -> str:
    rows = ranking(found)
    return table(tuple(rows[0]), [tuple(row.values()) for row in rows]) if rows else ""


def _all_figures(found: Comparison) -> str:
    labels = [row.kind.label for row in found.rows]
    rows = [
        (name, *(interval(row.figures.get(name), limits=limits_of(name)) for row in found.rows)) for name in found.names
    ]
    return table(("figure", *labels), rows)


def _differing(found: Comparison) -> str:
    tables = servers_numbered([table_of(row.kind.runs[0]) for row in found.rows])
    configs = [row.kind.config for row in found.rows]
    # A config as a table leaves some options out at their default.
    values = {
        key: [value_text(table.get(key, getattr(config, key, "–"))) for config, table in zip(configs, tables)]
        for key in dict.fromkeys(key for options in tables for key in options)
    }
    rows = [(key, *texts) for key, texts in values.items() if len(set(texts)) > 1]
    return table(("option", *(row.kind.label for row in found.rows)), rows) if rows else note("Nothing but the seed.")


def _samples(runs: Mapping[str, Run], which: str = "") -> str:
    rows = side_by_side(runs)[:MOST_SAMPLES]
    if not rows:
        return ""
    head = ("prompt", "reference", "teacher", *runs)
    cells = "".join(
        "<tr>" + "".join(f"<td><pre>{_answer(row.get(key))}</pre></td>" for key in head) + "</tr>" for row in rows
    )
    names = "".join(f"<th>{text(key)}</th>" for key in head)
    said = note(f"Completions of held-out prompts at the last step{f', {which}' if which else ''}.")
    return (
        f'<h2>Samples</h2>{said}<div class="wide"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{cells}</tbody></table></div>"
    )


def _answer(value: Any) -> str:
    if not isinstance(value, str):
        return "–"
    # Lines stay lines; `text` spells out what can't be printed and keeps bidirectional text inside.
    return "\n".join(text(line) for line in shorten(value, MOST_TEXT).split("\n"))


def _options(config: dict[str, Any]) -> str:
    """The options of a config as a table, without addresses of servers; a sweep may have put one into the name."""
    shown = with_stand_ins(config) | {"name": without_addresses(config["name"], config)}
    return table(("option", "value"), [(key, value_text(value)) for key, value in flat(shown).items()], code=("value",))


def _environments(runs: Iterable[Run]) -> str:
    alike: dict[str, list[str]] = {}  # ids of the runs that share one
    tables: dict[str, dict[str, str]] = {}
    for run in runs:
        plain = {
            key: str(value)
            for key, value in flat(run.environment).items()
            if key.rpartition(".")[2] not in ("time", "executable", "config_fingerprint")
        }
        if plain:
            key = repr(sorted(plain.items()))
            tables[key] = plain
            alike.setdefault(key, []).append(run.id)
    if not tables:
        return ""
    found = list(tables.values())
    shared = {key: value for key, value in found[0].items() if all(each.get(key) == value for each in found)}
    rows = [
        (key, *(each.get(key, "–") for each in found))
        for key in dict.fromkeys(key for each in found for key in each)
        if key not in shared
    ]
    head = "<h2>Environment</h2>" + table(("environment", "value"), shared.items(), code=("value",))
    if not rows:
        return head
    differing = table(("environment", *(", ".join(ids) for ids in alike.values())), rows)
    return head + note("What differs by run:") + f'<div class="wide">{differing}</div>'


def _sources(names: Iterable[str]) -> str:
    rows = [methods.get(name) for name in dict.fromkeys(names)]
    return "<h2>Sources of the methods</h2>" + table(
        ("method", "source", "address"), [(row.title, row.paper, row.url) for row in rows]
    )
