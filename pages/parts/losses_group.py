"""The chosen group on page Losses: both predictions, each method's target, and which way it moves the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core.figures.losses import Lab, gradient_figure, gradient_tokens, prediction_figure, target_figure
from ctkd_core.figures.losses import name as view_name
from ctkd_core.figures.losses_tables import direction_words, gradient_table, prediction_table, target_table
from ctkd_core.markup.glossary import explained
from pages.parts import state
from pages.parts.plots import plot
from pages.parts.twin import twin

if TYPE_CHECKING:
    import pandas as pd


def group_panel(lab: Lab, group: int, named: tuple[int, ...]) -> None:
    """Everything about one group, three pictures with their tables."""
    s0, s1, t0, t1 = lab.scene.groups[group]
    with st.container(border=True, key="group_panel"):
        st.markdown(f"**Group {group}** · {state.plain(lab.title(group))}", help=explained("group", "row", "logits"))
        with st.container(horizontal=True, gap="medium"):
            position = _which("Student row that predicts", "student", lab, group, s0, s1)
            row = _which("Teacher row that predicts", "teacher", lab, group, t0, t1)
        if lab.scene.prediction("student", position) is None:
            st.info("Nothing predicts the first token of a text: there is no row to look at.", icon=":material/info:")
            return
        _direction_lines(lab, position, named)
        left, right = st.columns([4, 5], gap="medium")
        with left:
            plot(lambda: prediction_figure(lab, position, row), key="lab_predictions", alt=_predictions_alt(lab, group))
            _twin(prediction_table(lab, position, row), "lab_predictions_table", "Both predictions")
        with right:
            tokens = gradient_tokens(lab, position, named)
            alt = "Which way each method moves the likeliest tokens: bars up raise a logit, bars down lower it"
            plot(lambda: gradient_figure(lab, position, tokens, named), key="lab_gradients", alt=alt)
            _twin(gradient_table(lab, position, tokens), "lab_gradients_table", "Minus the gradient on each token")
            st.caption("A blank place: the gradient on that token wasn't kept; name it under “Tokens to look at”.")
        alt = f"What each method compares in group {group}: its target, from the teacher, and the student"
        plot(lambda: target_figure(lab, group), key="lab_targets", alt=alt)
        _twin(target_table(lab, group), "lab_targets_table", "The target of each method")
        _notes(lab, group)


def _which(label: str, side: str, lab: Lab, group: int, start: int, end: int) -> int:
    """A position of the group on one side; the first unless the reader chooses."""
    if end - start <= 1:
        return start
    ids = lab.scene.student_ids if side == "student" else lab.scene.teacher_ids
    chosen = st.segmented_control(
        label,
        range(start, end),
        default=start,
        format_func=lambda i: lab.text(side, ids[i]),
        key=f"lab_{side}_row_{group}",
        required=True,
        help=explained("row"),
    )
    return start if chosen is None else chosen


def _direction_lines(lab: Lab, position: int, named: tuple[int, ...]) -> None:
    """A sentence for the text's own token and each one that was asked for."""
    prediction = lab.scene.prediction("student", position)
    tokens = dict.fromkeys([*([prediction.token] if prediction else []), *named])
    lines = [
        f"**{state.plain(lab.text('student', token))}**: {state.plain(words)}"
        for token in tokens
        if (words := direction_words(lab, position, token))
    ]
    if lines:
        st.markdown("A step of descent moves " + "; ".join(lines) + ".")


def _predictions_alt(lab: Lab, group: int) -> str:
    return f"Top candidates of teacher and student in group {group}, {lab.title(group)}"


def _twin(table: pd.DataFrame, key: str, alt: str) -> None:
    twin(table, key, alt, height=min(320, 40 + 35 * max(1, len(table))), placeholder="–")


def _notes(lab: Lab, group: int) -> None:
    """What the pictures can't say: hints of single methods, and methods without such a picture."""
    lines = []
    for view in lab.views:
        target = view.target(group)
        if target is not None and target.note:
            lines.append(f"**{state.plain(view_name(view))}**: {state.plain(target.note)}.")
        elif target is None and not view.problem:
            why = "compares nothing token by token here, or has no such picture."
            lines.append(f"**{state.plain(view_name(view))}** {why}")
    if lines:
        st.caption("  \n".join(lines))
