"""`ctkd losses`: the methods that train, with the options of their losses; with a text, what each makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core import methods
from ctkd_core.cli import complete
from ctkd_core.cli.common import (
    MethodOptions,
    Output,
    Student,
    Teacher,
    UsageError,
    load_pair,
    parse_assignments,
    parse_method_options,
    read_text,
)
from ctkd_core.cli.display import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.figures.losses import Lab
    from ctkd_core.lab.question import Choice


def run(
    student: Student = None,
    teacher: Teacher = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text", metavar="STR", help="A sentence that the student learns: the losses on it are computed."
        ),
    ] = None,
    context: Annotated[
        str, typer.Option("--context", metavar="STR", help="What both models read before it and nobody learns.")
    ] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="A method; repeat it for up to four.",
            autocompletion=complete.training_methods,
        ),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", metavar="METHOD=V", help="clean or released, of one method.")
    ] = None,
    option: MethodOptions = None,
    token: Annotated[
        list[str] | None,
        typer.Option("--token", metavar="STR", help="A student token whose gradient is wanted (or #643); repeatable."),
    ] = None,
) -> Output:
    """Without --text the rows of the methods table that have a loss; with it what the lab answers."""
    if text is not None:
        return _of_text(student, teacher, context, text, method, variant, option, token)
    asked = {"-s": student, "-t": teacher, "--context": context, "-m": method, "--variant": variant, "-o": option}
    if alone := [name for name, value in (asked | {"--token": token}).items() if value]:
        raise UsageError(f"{alone[0]} goes with --text: give the sentence whose losses you want.")
    rows = methods.training()
    return Output(lambda: [_row(row) for row in rows], lambda: [_table(rows)])


def _of_text(
    student: str | None,
    teacher: str | None,
    context: str,
    text: str,
    method: list[str] | None,
    variant: list[str] | None,
    option: list[str] | None,
    token: list[str] | None,
) -> Output:
    """The losses of one text, group by group."""
    from ctkd_core.cli.progress import Bar
    from ctkd_core.figures.find_token import find_token
    from ctkd_core.figures.losses import Lab
    from ctkd_core.lab.question import DEFAULT_METHODS, Question, answered

    choices = _choices(method or list(DEFAULT_METHODS), variant, option)
    whole = read_text(text, None, None)
    ours, theirs = load_pair(student, teacher)
    named = tuple(dict.fromkeys(find_token(ours, word) for word in token or ()))
    question = Question(ours, theirs, context, whole, named)
    with Bar(1) as bar:
        answer = answered(question, choices, bar.update)
    assert answer.scene is not None
    lab = Lab(answer.scene, tuple(answer.views[choice] for choice in choices), ours, theirs)
    return Output(lambda: _document(lab), lambda: _answer(lab))


def _choices(names: list[str], variant: list[str] | None, option: list[str] | None) -> list[Choice]:
    """The methods with variants and options, all checked before tokenizers are loaded."""
    from ctkd_core.errors import LossInputError
    from ctkd_core.lab.question import MAX_METHODS, Choice

    chosen = list(dict.fromkeys(names))
    if len(chosen) > MAX_METHODS:
        raise UsageError(f"at most {MAX_METHODS} methods are computed at once; got {len(chosen)}.")
    variants = {key.replace("_", "-"): value for key, value in parse_assignments(variant).items()}
    by_name = {name.replace("_", "-"): name for name in chosen}
    if unknown := [name for name in variants if name not in by_name]:
        raise UsageError(f"--variant names {unknown[0]!r}, which isn't one of the methods {', '.join(chosen)}.")
    given = parse_method_options(option, chosen)
    found = []
    for name in chosen:
        row = methods.get(name, LossInputError)
        if not row.can_train:
            raise LossInputError(
                f"method {name!r} has no loss; choose from {', '.join(r.name for r in methods.training())}."
            )
        which = variants.get(name.replace("_", "-"), "clean")
        row.check_variant(which, LossInputError)
        resolved = row.resolve_loss(given[name], LossInputError, which)
        defaults = {o.name: o.default for o in row.loss_options_of(which)}
        changed = tuple(sorted((k, v) for k, v in resolved.items() if v != defaults[k]))
        found.append(Choice(row.name, which, changed))
    return found


def _document(lab: Lab) -> dict[str, Any]:
    scene = lab.scene
    return {
        "student": scene.student,
        "teacher": scene.teacher,
        "context": scene.context,
        "text": scene.text,
        "groups": [list(group) for group in scene.groups],
        "student_ids": list(scene.student_ids),
        "teacher_ids": list(scene.teacher_ids),
        "methods": {
            view.method: {
                "variant": view.variant,
                "options": view.options,
                "problem": view.problem,
                "loss": view.loss,
                "distil_loss": view.distil_loss,
                "terms": view.terms,
                "diagnostics": view.diagnostics,
                "whole": list(view.whole),
                "distil": list(view.distil),
            }
            for view in lab.views
        },
        "notes": list(scene.notes),
    }


def _answer(lab: Lab) -> list[RenderableType]:
    from ctkd_core.figures.losses_tables import groups_table, problems, terms_table

    parts: list[RenderableType] = [
        table([str(name) for name in frame.columns], frame.values.tolist())
        for frame in (terms_table(lab), groups_table(lab))
    ]
    parts += [f"{name} has nothing to show: {why}" for name, why in problems(lab.views)]
    return [*parts, *(f"note: {note}" for note in lab.scene.notes)]


def _row(row: methods.Method) -> dict[str, Any]:
    full = row.to_dict()
    keys = ("name", "title", "paper", "url", "formula", "cannot_see", "needs", "variants", "variant_note")
    return {key: full[key] for key in keys} | {"options": full["loss_options"]}


def _table(rows: list[methods.Method]) -> RenderableType:
    return table(
        ["loss", "option", "default", "takes", "meaning"],
        [
            [row.name if i == 0 else "", *cells]
            for row in rows
            for i, cells in enumerate(
                [[o.name, o.default_text(), o.expected(), o.about()] for o in row.loss_options]
                or [["-", "-", "-", "no options"]]
            )
        ],
    )
