"""What a run's student has learnt: by domain and class of token, agreement with its teacher, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from ctkd_core.figures.curves import class_curves
from ctkd_core.figures.evaluation import (
    Moments,
    agreement_curves,
    agreement_table,
    counts_text,
    kl_curve,
    length_figure,
    length_table,
    measure_table,
    moments,
    part_dots,
    part_table,
    task_table,
)
from ctkd_core.figures.vocabulary import CLASS_TITLES
from ctkd_core.figures.words import number
from pages.parts.plots import chart
from pages.parts.twin import folded, twin

Rows = Sequence[Mapping[str, Any]]


def evaluation(rows: Rows, frame: Any, key: str = "eval") -> None:
    """Everything that the evaluations of a run found, each figure with its table; nothing where there was none.

    rows: of metrics.jsonl; frame: the same as a table; key: begins the keys of the elements
    """
    classes = any(str(column).startswith("by_class.") for column in frame.columns)
    by_domain = moments(rows, "bits_by_domain", "teacher_bits_by_domain", "bytes_by_domain")
    by_language = moments(rows, "bits_by_language", "teacher_bits_by_language", "bytes_by_language")
    by_class = moments(rows, "bits_by_class", "teacher_bits_by_class", "bytes_by_class").titled(CLASS_TITLES)
    if classes or by_domain.now or by_class.now:
        st.header("Where it has learnt", anchor=False)
        _parts(frame if classes else None, (by_class, by_domain, by_language), key)
    if moments(rows, "agreement").now:
        st.header("Does it say what the teacher says", anchor=False)
        _agreement(rows, key)
    _written(rows, key)


def tasks(found: Mapping[str, Mapping[str, float | None]], key: str = "eval") -> None:
    """Figures of tasks of lm-evaluation-harness, {task: {figure: value}}; nothing where there are none."""
    if found:
        st.header("Tasks", anchor=False)
        st.dataframe(task_table(found), key=f"{key}_tasks", hide_index=True, alt="Figures of tasks of the harness")


def _parts(frame: Any, found: tuple[Moments, Moments, Moments], key: str) -> None:
    shown = [
        (part, f"Bits per byte by {name} (lower is better)", name)
        for part, name in zip(found, ("class of token", "domain", "language"), strict=True)
        if part.now
    ]
    columns = iter(st.columns(max(1, len(shown) + (frame is not None))))
    for part, title, name in shown:
        with next(columns):
            chart(part_dots(part, title), f"{key}_{name}", f"{title}: {_furthest(part)}")
    if frame is not None:
        with next(columns):
            chart(class_curves(frame), f"{key}_loss_class", "Share of the loss by class of token over steps")
    if not shown:
        return
    st.caption(
        "By class: the student's tokens in the smallest stretches of text that both tokenizers cut out, so that both "
        "models are measured on the same bytes; stretches of several classes are “mixed”."
    )
    with folded("As tables"):
        for part, _, name in shown:
            table = part_table(part, name)
            st.dataframe(table, key=f"{key}_{name}_table", hide_index=True, alt=f"Bits per byte by {name}")


def _furthest(found: Moments) -> str:
    """The part that is furthest behind, in words."""
    part = found.parts[0]
    text = f"furthest behind is {part}, {number(found.now[part])}"
    teacher = found.teacher.get(part)
    return text if teacher is None else f"{text} against the teacher's {number(teacher)}"


def _agreement(rows: Rows, key: str) -> None:
    left, right = st.columns(2)
    with left:
        chart(agreement_curves(rows), f"{key}_agreement", "Agreement with the teacher over steps")
    with right:
        chart(kl_curve(rows), f"{key}_kl", "KL of next bytes over steps")
    st.caption(
        "Measured where both models begin a token at the same byte of an answer: the most probable token where both "
        "have one token there, and the probabilities of the next byte, summed over the tokens that begin with it."
    )
    twin(agreement_table(rows), f"{key}_agreement_table", "Agreement with the teacher by step")


def _written(rows: Rows, key: str) -> None:
    """Completions, results by operand length, exposure bias."""
    completions = moments(rows, "completions", "teacher_completions")
    lengths = [
        (
            moments(rows, "arithmetic", "teacher_arithmetic", "arithmetic_counts"),
            ("Right results by digits of the longer operand", "digits", True),
        ),
        (moments(rows, "exposure"), ("Excess error behind its own words (0: none)", "boundaries of the text", False)),
    ]
    lengths = [(found, told) for found, told in lengths if found.now]
    if not completions.now and not lengths:
        return
    st.header("What it writes", anchor=False)
    if text := counts_text(rows):
        st.caption(text)
    if completions.now:
        alt = "Completions against their references"
        st.dataframe(measure_table(completions), key=f"{key}_completions", hide_index=True, alt=alt)
    for column, (found, (title, axis, share)) in zip(st.columns(max(1, len(lengths))), lengths):
        with column:
            chart(length_figure(found, title, axis, share), f"{key}_{axis}", title)
            twin(length_table(found, axis), f"{key}_{axis}_table", title)
