"""`ctkd evidence`: what experiments found, as page Evidence shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output, UsageError, names_of
from ctkd_core.cli.display import facts, styled, table
from ctkd_core.errors import unknown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.methods.evidence import Condition, Difference, Digest, Experiment, Interval, Tried

PARTS = ("answers", "glance", "settings", "claims", "analyses", "experiments")
VERDICTS = ("reproduced", "contradicted", "undecided", "not run")
# Columns of a ranking that a terminal shows, but for the one that names the baseline; --json holds every figure.
_RANKING = ("rank", "method", "runs", "mean (95 %)", "chance", "chance (Holm)", "gap closed", "seconds a step")
_NOTHING = "No experiment comes with this installation; in a checkout, `make evidence` runs the small ones."


def run(
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="PART",
            help="What to show: answers, glance, settings, claims, analyses or experiments (how to do them again); may "
            "be repeated. Without it what fits the other flags.",
            autocompletion=names_of(PARTS),
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="KIND", help="Settings of this kind of pair.", autocompletion=complete.kinds_of_pairs
        ),
    ] = None,
    regime: Annotated[
        str | None,
        typer.Option(
            "--regime", metavar="REGIME", help="Settings of this regime.", autocompletion=complete.evidence_regimes
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="Settings that tried this method, and its own rows at a glance.",
            autocompletion=complete.training_methods,
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            metavar="NAME",
            help="What this experiment found, with its rankings.",
            autocompletion=complete.experiments,
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option("--condition", metavar="NAME", help="The settings of this name, with their rankings."),
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option(
            "--verdict",
            metavar="VERDICT",
            help="Claims with this verdict: reproduced, contradicted, undecided or 'not run'.",
            autocompletion=names_of(VERDICTS),
        ),
    ] = None,
) -> Output:
    """The evidence that comes with the package; --json has every ranking of the settings that are shown."""
    from ctkd_core import methods
    from ctkd_core.methods.evidence import KINDS, REGIMES, load

    for what, given, known in (
        ("kind of pair", kind, KINDS),
        ("regime", regime, REGIMES),
        ("verdict", verdict, VERDICTS),
        *(("part", name, PARTS) for name in part or ()),
    ):
        if given is not None and given not in known:
            raise unknown(what, given, known, UsageError)
    if method is not None:
        methods.get(method)
    if verdict is not None and any((kind, regime, condition, method)):
        raise UsageError("--verdict is of claims, which --kind, --regime, --condition and --method don't narrow.")
    whole = load()
    if experiment is not None and experiment not in {each.name for each in whole.experiments}:
        raise unknown("experiment", experiment, [each.name for each in whole.experiments], UsageError)
    names = {found.name for each, found in whole.conditions if experiment in (None, each.name)}
    if condition is not None and condition not in names:
        raise unknown("condition", condition, names, UsageError)

    def wanted(found: Condition) -> bool:
        return (
            kind in (None, found.kind)
            and regime in (None, found.regime)
            and condition in (None, found.name)
            and (method is None or any(tried.method == method for tried in found.done))
        )

    narrowed = _narrowed(whole, experiment, wanted)
    parts = part or (["claims"] if verdict else _parts(experiment is not None, any((kind, regime, condition, method))))
    data = {name: _MADE[name](narrowed) for name in PARTS if name in parts}
    if method is not None and "glance" in data:
        data["glance"] = [row for row in data["glance"] if row["method"] == method]
    if verdict is not None and "claims" in data:
        data["claims"] = [row for row in data["claims"] if row["verdict"] == verdict]
    rankings = experiment is not None or condition is not None
    return Output(lambda: data, lambda: _view(data, narrowed, rankings) if whole.experiments else [_NOTHING])


def _parts(one_experiment: bool, some_settings: bool) -> list[str]:
    """What is shown where no part is named: all of one experiment; of some settings what is told by setting."""
    if one_experiment:
        return ["settings"] if some_settings else ["answers", "settings", "claims", "analyses"]
    return ["glance", "settings"] if some_settings else ["glance", "settings", "claims"]


def _narrowed(found: Digest, experiment: str | None, wanted: Callable[[Condition], bool]) -> Digest:
    """The evidence of one experiment or of all, with the settings that are wanted."""
    kept = [
        each.model_copy(update={"conditions": [one for one in each.conditions if wanted(one)]})
        for each in found.experiments
        if experiment in (None, each.name)
    ]
    # A setting that several experiments share is told by the one that is asked for alone.
    return found.model_copy(update={"experiments": kept} | ({} if experiment is None else {"shared": []}))


def _answers(found: Digest) -> list[dict[str, Any]]:
    return [
        {"experiment": each.name, "title": each.title, "question": each.question, "answer": each.answer}
        for each in found.experiments
    ]


def _glance(found: Digest) -> list[dict[str, Any]]:
    from ctkd_core.figures.evidence import glances

    return [asdict(row) for row in glances(found)]


def _settings(found: Digest) -> list[dict[str, Any]]:
    return [_setting(experiment, condition) for experiment, condition in found.conditions]


_SAME = (
    *("title", "kind", "regime", "student", "teacher", "student_model", "figure", "higher_is_better", "baseline"),
    *("steps", "batch_size", "learning_rate", "samples", "train", "held_out", "held_out_text", "start"),
    *("teacher_value", "notes"),
)


def _setting(experiment: Experiment, condition: Condition) -> dict[str, Any]:
    from ctkd_core.figures.evidence import ranking_sentence

    return {
        "experiment": experiment.name,
        "condition": condition.name,
        **{name: getattr(condition, name) for name in _SAME},
        "found": ranking_sentence(condition),
        "methods": [_tried(tried) for tried in condition.done],
        "reproduce": experiment.reproduce,
    }


def _tried(tried: Tried) -> dict[str, Any]:
    same = ("rank", "label", "title", "method", "options", "missing", "gap_closed")
    means = ("value", "best", "equal")
    gaps = ("to_baseline", "to_best", "against_next", "best_to_baseline", "equal_to_baseline")
    return {
        **{name: getattr(tried, name) for name in (*same, "seconds_per_step", "cpu_seconds_per_step")},
        "seeds": [run.seed for run in tried.runs],
        **{name: _mean(getattr(tried, name)) for name in means},
        **{name: _gap(getattr(tried, name)) for name in gaps},
        "domains": {
            name: {"value": _mean(own.value), "to_baseline": _gap(own.to_baseline)}
            for name, own in tried.domains.items()
        },
    }


def _mean(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {name: getattr(found, name) for name in ("n", "mean", "low", "high")}


def _gap(found: Difference | None) -> dict[str, Any] | None:
    mean = _mean(found)
    if found is None or mean is None:
        return None
    return mean | {"probability": found.probability, "adjusted": found.adjusted, "decided": found.decided}


def _claims(found: Digest) -> list[dict[str, Any]]:
    from ctkd_core.figures.evidence import claim_rows

    return list(claim_rows(found))


def _analyses(found: Digest) -> list[dict[str, Any]]:
    return [
        {"experiment": each.name, "title": t.title, "columns": t.columns, "rows": t.rows, "note": t.note}
        for each in found.experiments
        for t in each.tables
    ]


def _experiments(found: Digest) -> list[dict[str, Any]]:
    names = ("name", "title", "question", "minutes", "needs", "reproduce", "environment")
    return [{name: getattr(each, name) for name in names} for each in found.experiments]


_MADE: dict[str, Callable[[Digest], list[dict[str, Any]]]] = {
    "answers": _answers,
    "glance": _glance,
    "settings": _settings,
    "claims": _claims,
    "analyses": _analyses,
    "experiments": _experiments,
}


def _view(data: dict[str, list[dict[str, Any]]], found: Digest, rankings: bool) -> Iterator[RenderableType]:
    for part, rows in data.items():
        yield styled(_TITLES[part], "bold")
        if not rows:
            yield _none(found)
        elif part == "answers":
            for row in rows:
                yield styled(f"{row['experiment']}: {row['title']}", "cyan")
                yield row["answer"] or "Nobody has written an answer yet."
        elif part == "glance":
            yield from _glance_view(rows)
        elif part == "settings" and rankings:
            for experiment, condition in found.conditions:
                yield from _ranking_view(experiment, condition)
        elif part == "settings":
            names = ("experiment", "condition", "kind", "regime", "title", "found")
            yield table(names, [[row[name] for name in names] for row in rows])
            yield "`ctkd evidence --experiment NAME` shows the rankings."
        elif part == "claims":
            columns = ("verdict", "claim", "found", "source", "experiment")
            yield table(columns, [[row[name] for name in columns] for row in rows])
        elif part == "analyses":
            yield from _analyses_view(rows)
        else:
            yield table(
                ["experiment", "question", "minutes", "again, in a checkout"],
                [[row["name"], row["question"], row["minutes"], row["reproduce"]] for row in rows],
            )


def _none(found: Digest) -> str:
    """Why a part has nothing to show."""
    waiting = [each for each in found.experiments if any(not condition.done for condition in each.conditions)]
    if not waiting or len(waiting) < len([each for each in found.experiments if each.conditions]):
        return "nothing that was asked for"
    commands = ", ".join(f"`make evidence NAME={each.name}`" for each in waiting)
    return f"not run yet; in a checkout, {commands} runs it."


_TITLES = {
    "answers": "Answers",
    "glance": "At a glance",
    "settings": "Settings",
    "claims": "Claims",
    "analyses": "Analyses",
    "experiments": "Experiments",
}


def _glance_view(rows: Sequence[dict[str, Any]]) -> Iterator[RenderableType]:
    from ctkd_core.figures.evidence import Glance, glance_row

    shown = [glance_row(Glance(**row)) for row in rows]
    yield table(list(shown[0]), [list(row.values()) for row in shown])
    yield "Bits per byte of held-out text minus those of fine-tuning on the same text: below 0 is better."


def _ranking_view(experiment: Experiment, condition: Condition) -> Iterator[RenderableType]:
    from ctkd_core.figures.evidence import ranking_rows, ranking_sentence

    rows = ranking_rows(condition)
    against = next(name for name in rows[0] if name.startswith("minus ") and name != "minus the best")
    names = (*_RANKING[:4], against, *_RANKING[4:])
    measured = f", measured on {condition.held_out_text}" if condition.held_out_text else ""
    yield facts(
        [
            (f"{experiment.name} {condition.name}", f"{condition.title} ({condition.kind}, {condition.regime})"),
            ("  models", f"teacher {condition.teacher}, student {condition.student} ({condition.student_model})"),
            ("  training", f"{condition.steps} steps of {condition.batch_size}{measured}"),
            ("  found", ranking_sentence(condition)),
            *(("  note", note) for note in condition.notes),
            ("  again", f"{experiment.reproduce} (in a checkout)"),
        ]
    )
    yield table(names, [[row[name] for name in names] for row in rows])


def _analyses_view(rows: Iterable[dict[str, Any]]) -> Iterator[RenderableType]:
    for row in rows:
        yield f"{row['experiment']}: {row['title']}"
        yield table(row["columns"], row["rows"])
        if row["note"]:
            yield row["note"]
