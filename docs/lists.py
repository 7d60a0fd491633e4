"""Writes the lists of methods, presets and terms, and what experiments found, into the docs: `python docs/lists.py`.

Between a line with `methods: NAME` and the next with `methods: end` stands what this file makes of the rows; a test
compares them. What a list says is changed in the row, in the experiment (whose digest is read), or here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ctkd_core import methods  # noqa: E402
from ctkd_core.distill.config import PRESETS, RUN_OPTIONS, preset_changes  # noqa: E402
from ctkd_core.distill.option_labels import value_text  # noqa: E402
from ctkd_core.figures.evidence import claim_rows, glance_rows, method_rows, ranking_rows, ranking_sentence  # noqa: E402
from ctkd_core.figures.evidence_words import (  # noqa: E402
    MISSED,
    beaten_sentences,
    cpu_sentence,
    in_short,
    missed_sentence,
    not_reproduced,
    overlap_sentences,
    spent_sentence,
)
from ctkd_core.markup.glossary import TERMS  # noqa: E402
from ctkd_core.methods import METHODS, Method  # noqa: E402
from ctkd_core.methods.evidence import KINDS, REGIMES, Condition, Experiment, Table, load  # noqa: E402

_PAGES = ("index.md", "losses.md", "teachers.md", "runs.md", "evidence.md", "glossary.md")
FILES = (
    *(HERE / page for page in _PAGES),
    *(HERE / "methods" / f"{row.name}.md" for row in methods.training() if row.name != "sft"),
    HERE.parent / "mkdocs.yml",
)
STANDING = ("rank", "method", "runs", "mean (95 %)", "chance", "chance (Holm)", "gap closed", "CPU seconds a step")
LOSSES = HERE.parent / "benchmarks" / "results" / "losses.json"
BYTES_GOAL = 1.3  # times the cost of forward KL, which `bytes` was meant to keep to


def overview() -> list[str]:
    """Every method with its page, whose groups it has and trains on, and its idea."""
    rows = [(link(row), aligns(row), trains(row), row.idea) for row in METHODS.values()]
    return table(("method", "alignment", "trains on", "idea"), rows)


def views() -> list[str]:
    """What page Losses shows of each method."""
    rows = [(row.label, row.view_entries, row.view_lost) for row in methods.training() if row.view]
    return table(("method", "entries of a target", "lost"), rows)


def cached() -> list[str]:
    """What a cached teacher gives to each method that asks one."""
    words = {"no": "no", "exact": "exact at any k", "approximate": "near; exact with k = V"}
    rows = []
    for row in methods.training():
        if row.asks_teacher:
            besides = [f"{v}: {', '.join(row.reads_besides(v)).replace('_', ' ')}" for v in row.also_reads]
            if row.hidden_states_if:
                besides.append(f"hidden states where `{row.hidden_states_if}` is above 0")
            elif "hidden_states" in row.outputs:
                besides.append("hidden states")
            rows.append((link(row), words[row.cached_teacher], merged(row), "; ".join(besides) or "-"))
    return table(("method", "cached teacher", "merged rows", "reads besides the rows of the answer"), rows)


def merged(row: Method) -> str:
    """Which variants read one merged row of each group and nothing else of the teacher."""
    if not row.merges:
        return "no"
    rule = methods.load(row.merges)
    defaults = {v: {option.name: option.default for option in row.loss_options_of(v)} for v in row.variants}
    able = [variant for variant, options in defaults.items() if not isinstance(rule(options, variant), str)]
    return "yes" if len(able) == len(row.variants) else ", ".join(able) or "by an option"


def presets() -> list[str]:
    """What each preset sets to something else than its default; blank: the default."""
    sets = {name: preset_changes(name) for name in PRESETS}
    rows = []
    for option in RUN_OPTIONS:
        own = [value_text(changes[option.name]) if option.name in changes else "" for changes in sets.values()]
        if any(own):
            rows.append((f"`{option.name}`", value_text(option.default), *own))
    return table(("option", "default", *(f"`{name}`" for name in PRESETS)), rows)


def navigation() -> list[str]:
    """The pages of the methods, for MkDocs."""
    return [f"      - {row.label}: methods/{row.name}.md" for row in METHODS.values()]


def kinds() -> list[str]:
    """Kinds of pairs and regimes, and what was tried of each."""
    found = load().conditions
    rows = [(kind, meaning, tried([c for _, c in found if c.kind == kind])) for kind, meaning in KINDS.items()]
    return table(("kind of pair", "what it is", "tried on (teacher → student)"), rows)


def regimes() -> list[str]:
    """Regimes, and what was tried of each."""
    found = load().conditions
    rows = [(name, meaning, tried([c for _, c in found if c.regime == name])) for name, meaning in REGIMES.items()]
    return table(("regime", "what it is", "tried on (teacher → student)"), rows)


def tried(conditions: list[Condition]) -> str:
    """The pairs of these settings."""
    return ", ".join(dict.fromkeys(f"{c.teacher} → {c.student}" for c in conditions)) or "never tried"


def findings() -> list[str]:
    """A section for each experiment: the question, what was found in each setting, tables, how to do it again."""
    return [line for experiment in load().experiments for line in section(experiment)]


def short_answers() -> list[str]:
    """The first paragraph of each answer, beside the question that it answers."""
    lines = []
    for experiment in load().experiments:
        if said := in_short(experiment):
            lines.append(f"- [{prose(experiment.title)}](#{anchor(experiment.title)}) {prose(said)}")
    return ["", *(lines or ["Nothing yet."]), ""]


def anchor(title: str) -> str:
    """Where a heading is found on its page."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def section(experiment: Experiment) -> list[str]:
    """One experiment."""
    lines = ["", f"### {experiment.title}", "", experiment.question, ""]
    if experiment.answer:
        lines += [f"**Answer.** {prose(experiment.answer)}", ""]
    for condition in experiment.conditions:
        lines += [f"**{condition.title}** ({condition.kind}, {condition.regime}). {ranking_sentence(condition)}", ""]
        if condition.done:
            measured = f"Measured on {condition.held_out_text}." if condition.held_out_text else ""
            lines += [*standing(condition), *filter(None, (measured, *condition.notes)), ""]
    for each in experiment.tables:
        lines += [f"**{each.title}**", *analysis(each), *([each.note, ""] if each.note else [])]
    needs = f" (needs {', '.join(experiment.needs)})" if experiment.needs else ""
    return [*lines, f"Again: `{experiment.reproduce}`, about {experiment.minutes} minutes on two cores{needs}."]


def standing(condition: Condition) -> list[str]:
    """The ranking of one setting."""
    rows = [row for row in ranking_rows(condition) if row["mean (95 %)"] != "–"]
    against = next(name for name in rows[0] if name.startswith("minus ") and name != "minus the best")
    names = (*STANDING[:4], against, *STANDING[4:6], "minus the best", f"best look, {against}", *STANDING[6:])
    return table(names, [tuple(cell(row[name]) for name in names) for row in rows])


def analysis(found: Table) -> list[str]:
    """The table of an analysis."""
    return table(tuple(map(cell, found.columns)), [tuple(map(cell, row)) for row in found.rows])


def glance() -> list[str]:
    """Every method beside fine-tuning, by kind of pair and regime."""
    rows = glance_rows(load())
    return table(tuple(rows[0]), [tuple(map(cell, row.values())) for row in rows]) if rows else ["", "Nothing yet.", ""]


def tried_beside(name: str) -> list[str]:
    """What experiments found of one method."""
    rows = method_rows(load(), name)
    if not rows:
        return ["", "No experiment has trained it beside fine-tuning.", ""]
    return table(tuple(rows[0]), [tuple(map(cell, row.values())) for row in rows])


def verdicts() -> list[str]:
    """Every claim beside what was found."""
    names = ("claim", "source", "found", "verdict")
    rows = [
        tuple(cell(row[name] if name != "verdict" else verdict_with_note(row)) for name in names)
        for row in claim_rows(load())
    ]
    return table(names, rows) if rows else ["", "No claim has been put to the test yet.", ""]


def verdict_with_note(row: dict[str, str]) -> str:
    """A verdict, and beside it what to know of it."""
    return f"{row['verdict']}. {row['note']}" if row["note"] else row["verdict"]


def missed() -> list[str]:
    """Claims that didn't reproduce, in words: verdict by verdict, question by question."""
    found, lines = load(), []
    for verdict in MISSED:
        lines += ["", f"**{verdict.capitalize()}**: {missed_sentence(found, verdict)}", ""]
        for experiment, claims in not_reproduced(found, verdict):
            lines.append(f"- {experiment.title}")
            for claim in claims:
                parts = (claim.claim, f"({claim.source}.)", f"Found: {claim.ours}.", claim.note)
                lines.append(f"    - {prose(' '.join(filter(None, parts)))}")
    return [*lines, ""]


def spent() -> list[str]:
    """What all runs took."""
    return ["", spent_sentence(load()), ""]


def cpu() -> list[str]:
    """How steady CPU seconds are; a part of an item of a list."""
    return [f"  {cpu_sentence(load())}"]


def overlaps() -> list[str]:
    """Which settings share text."""
    found = overlap_sentences(load())
    if not found:
        return ["", "No two settings of a row share their text.", ""]
    warning = "Settings of one row that share text aren't independent of each other:"
    return ["", warning, "", *(f"- {sentence}" for sentence in found), ""]


def bytes_cost() -> list[str]:
    """What a step of `bytes` costs beside forward KL, from the benchmark of the losses."""
    rows = json.loads(LOSSES.read_text(encoding="utf-8"))["rows"]
    times = next(r["times_forward_kl"] for r in rows if r["size"] == "large" and r["case"] == "bytes")
    verdict = "is kept" if times["median"] <= BYTES_GOAL else "is missed"
    return [
        "",
        f"The goal for its cost, at most {BYTES_GOAL:g} times forward KL, {verdict}: {times['median']:.2f} times "
        f"(median of {times['pairs']} turns, {times['min']:.2f} to {times['max']:.2f}) on two CPU cores, forward and "
        "backward to the logits (`benchmarks/losses.py`).",
        "",
    ]


def bytes_losses() -> list[str]:
    """Where `bytes` as it comes is behind another method, and where nothing is decided against fine-tuning."""
    first, *behind = beaten_sentences(load(), "bytes") or ["Never tried."]
    goal = "is missed" if behind else "is kept"
    lines = ["", f"The goal to be best, or undecided from the best, in every setting {goal}. {first}", ""]
    lines += [f"- {sentence}" for sentence in behind]
    open_ = [row for row in method_rows(load(), "bytes") if row["as"] == "Bytes" and row["found"] == "undecided"]
    lines += ["", "Undecided against fine-tuning:", ""]
    lines += [f"- {row['setting']}: {row['minus SFT (95 %)']}, {row['seeds']} seeds" for row in open_] or ["- nowhere"]
    return [*lines, ""]


def glossary() -> list[str]:
    """Every term with its meaning."""
    return table(("term", "meaning"), [(", ".join(f"**{name}**" for name in t.names), t.meaning) for t in TERMS])


def prose(text: str) -> str:
    """`text` in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)


def cell(value: object) -> str:
    """A value in a table: nothing of it ends the cell."""
    text = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


LISTS: dict[str, Callable[[], list[str]]] = {
    "overview": overview,
    "views": views,
    "cached": cached,
    "presets": presets,
    "navigation": navigation,
    "kinds": kinds,
    "regimes": regimes,
    "short answers": short_answers,
    "findings": findings,
    "verdicts": verdicts,
    "glance": glance,
    "overlaps": overlaps,
    "not reproduced": missed,
    "spent": spent,
    "cpu seconds": cpu,
    "cost of bytes": bytes_cost,
    "losses of bytes": bytes_losses,
    "glossary": glossary,
}
LISTS |= {f"tried {row.name}": partial(tried_beside, row.name) for row in methods.training() if row.name != "sft"}


def link(row: Method) -> str:
    """The short name, leading to the method's page."""
    return f"[{row.label}](methods/{row.name}.md)"


def aligns(row: Method) -> str:
    """Whose alignment a method has."""
    if row.alignment_of:
        return f"{METHODS[row.alignment_of].label}'s"
    return "its own" if row.can_align else "-"


def trains(row: Method) -> str:
    """Whose groups a method trains on."""
    if not row.can_train:
        return "-"
    return f"{METHODS[row.groups_of].label}'s groups" if row.groups_of else "its own groups"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table, with the blank lines that it needs around it."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
    return ["", *lines, ""]


def written(text: str) -> str:
    """`text` with every list as the rows have it now. Raises ValueError for a list that isn't known or doesn't end."""
    found: list[str] = []
    inside = ""
    for line in text.splitlines():
        _, marked, name = line.partition("methods: ")
        name = name.removesuffix("-->").strip()
        if marked and line.lstrip().startswith(("<!--", "#")):
            if (name == "end") != bool(inside) or name not in {*LISTS, "end"}:
                raise ValueError(
                    f"the mark {line.strip()!r} stands in the wrong place, or names no list of {[*LISTS]}."
                )
            found.append(line)
            inside = "" if inside else name
            if inside:
                found += LISTS[inside]()
        elif not inside:
            found.append(line)
    if inside:
        raise ValueError(f"the list {inside!r} has no end.")
    return "\n".join(found) + "\n"


def main() -> None:
    """Write the files anew, and name those that changed; none where one is missing. Raises SystemExit for that."""
    missing = [path for path in FILES if not path.exists()]
    if missing:
        said = ", ".join(str(path.relative_to(HERE.parent)) for path in missing)
        raise SystemExit(f"{said}: missing. The page of a method is written by hand, before its lists.")
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
