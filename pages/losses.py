"""Losses: what each method makes of one text, group by group, and which way it moves the student's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core.figures.losses import PARTS, Lab, largest_group, strip
from ctkd_core.figures.losses_tables import finding, opening, problems
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.code import losses_code
from ctkd_core.lab.question import Answer, Choice, Question
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import late_values, state
from pages.parts import losses_choice as choosing
from pages.parts.chosen_pair import chosen_pair
from pages.parts.component import losses_strip
from pages.parts.frame import framed
from pages.parts.losses_group import group_panel
from pages.parts.losses_job import job_panel
from pages.parts.losses_tabs import details
from pages.parts.plots import figures_last
from pages.parts.share import share

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

PART_HELP = (
    "Distillation only leaves out the cross-entropy on the text, which raises the text's own tokens under every method."
)


def main() -> None:
    st.title("Losses", anchor=False)
    if pair := chosen_pair():
        body(*pair)


@st.fragment
@figures_last()
def body(student: Tokenizer, teacher: Tokenizer) -> None:
    """Everything on the page; a click or an edit reruns only this."""
    choosing.redraw_bar()
    first = st.container()  # what comes of it, in a sentence above the controls
    context, text = choosing.text_choice()
    choices = choosing.method_choice(student, teacher)
    question = Question(student, teacher, context, text, choosing.named_tokens(student))
    if problem := loss_lab.problem(question):
        state.show_error(problem[:1].upper() + problem[1:])
        with st.container(horizontal=True):
            st.button("Use the default pair", key="default_pair", on_click=state.default_pair)
            st.button("Use the first example", key="reset_example", on_click=choosing.reset)
        details(None, choices, (student.n_ids, teacher.n_ids))
        return
    answer = loss_lab.ask(question, choices)
    job_panel(question, choices, answer)
    lab = picture(question, choices, answer, first)
    details(lab, choices, (student.n_ids, teacher.n_ids))
    share("losses", losses_code(*state.pair(), context, text, choices, question.named) if choices else None)


def picture(question: Question, choices: list[Choice], answer: Answer, first: DeltaGenerator) -> Lab | None:
    """The groups with their bars and the chosen one; None while nothing is computed."""
    views = tuple(answer.views[choice] for choice in choices if choice in answer.views)
    if answer.scene is None or not views:
        return None
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        shown = st.segmented_control(
            "Part of the loss",
            list(PARTS.values()),
            default=PARTS["distil"],
            key="part",
            required=True,
            bind="query-params",
            on_change=late_values.put_back,
            args=("part",),
            label_visibility="collapsed",
            help=PART_HELP,
        )
        if hint := choosing.note():
            st.caption(f"Look for: {state.plain(hint)}", width="content")
    part = next((name for name, words in PARTS.items() if words == shown), "distil")
    lab = Lab(answer.scene, views, question.student, question.teacher, part)
    for name, why in problems(views):
        st.warning(f"**{state.plain(name)}** has nothing to show: {state.plain(why)}", icon=":material/block:")
    state.drop_unknown_group(len(answer.scene.groups))
    pinned = state.pinned()
    largest = largest_group(lab)
    chosen = pinned if pinned is not None or largest is None else largest[0]
    losses_strip(strip(lab), chosen, state.pin, key="strip")
    st.caption(state.plain(" ".join(answer.scene.notes)) + (" Stored example." if answer.stored else ""))
    if chosen is None or chosen >= len(answer.scene.groups):
        st.caption("Choose a group above: what both models say there, and what each method makes of it.")
        return lab
    said = opening(lab, *largest) if largest is not None and pinned is None else finding(lab, chosen)
    if said:
        first.info(state.plain(said), icon=":material/trending_up:")
    group_panel(lab, chosen, question.named)
    return lab


if framed():
    main()
