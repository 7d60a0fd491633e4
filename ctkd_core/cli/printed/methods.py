"""Documents about methods and what their losses make of a text."""

from __future__ import annotations

from typing import Any

from ctkd_core.cli.printed.base import Number, Printed, Region


class NamedMethod(Printed):
    """A method: where it comes from, what it does, and its variants."""

    name: str
    title: str
    paper: str
    url: str
    formula: str
    cannot_see: str
    needs: list[str]
    variants: list[str]
    variant_note: str


class MethodRow(NamedMethod):
    """A row of the methods table; options are JSON schemas by name."""

    idea: str
    asks_teacher: bool
    aligns: bool
    trains: bool
    same_tokenizer: bool
    align_options: dict[str, dict[str, Any]]
    loss_options: dict[str, dict[str, Any]]


class LossRow(NamedMethod):
    """A method that trains; `options` of its loss are JSON schemas by name."""

    options: dict[str, dict[str, Any]]


class LossOfText(Printed):
    """What a method makes of a text. `problem`: why it has nothing to show.

    distil_loss    the loss without its cross-entropy on the text
    whole, distil  the value of each group, of either
    """

    variant: str
    options: dict[str, Any]
    problem: str
    loss: Number
    distil_loss: Number
    terms: dict[str, Number]
    diagnostics: dict[str, Number]
    whole: list[Number]
    distil: list[Number]


class LossesOfText(Printed):
    """The losses of a sentence; ids of everything that both models read, groups of the text, methods by name."""

    student: str
    teacher: str
    context: str
    text: str
    groups: list[Region]
    student_ids: list[int]
    teacher_ids: list[int]
    methods: dict[str, LossOfText]
    notes: list[str]
