"""Align: one text under two tokenizers, which tokens face which, and what methods make of it."""

from __future__ import annotations

import contextlib

import streamlit as st

from ctkd_core.alignment import Alignment
from ctkd_core.alignment.metrics import LARGE_GROUP, agreement, health
from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import align_code
from ctkd_core.lab.question import Choice
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state
from pages.parts.align_models import asked, models_panel
from pages.parts.align_options import chosen_methods
from pages.parts.align_panels import View, card, health_panel, picture
from pages.parts.align_tabs import details
from pages.parts.chosen_pair import chosen_pair
from pages.parts.frame import framed
from pages.parts.plots import figures_last
from pages.parts.share import share
from pages.parts.text_input import named, reset_text, text_input

LONG_CHARACTERS = 100_000
LEVELS = {
    "ok": (st.success, ":material/check_circle:"),
    "warn": (st.warning, ":material/info:"),
    "bad": (st.error, ":material/dangerous:"),
}


def main() -> None:
    st.title("Align", anchor=False)
    if pair := chosen_pair():
        body(*pair)


@st.fragment
@figures_last(components=True)
def body(student: Tokenizer, teacher: Tokenizer) -> None:
    """Text and panels; an edit or a click reruns only this."""
    first = st.container()  # the verdict, which stands above what it is about
    text = text_input()
    if not text:
        st.info("There is no text yet. Type one above, or start from a sample.", icon=":material/edit_note:")
        st.button("Use the sample text", key="reset_text", on_click=reset_text)
        return
    chosen = chosen_methods()
    evidence = asked(text, student, teacher)
    try:
        with waiting(text):
            a, b = (loaders.aligned(student, teacher, one, text, evidence) for one in chosen)
    except CtkdError as fault:
        state.show_error(fault)
        st.button("Use the sample text", key="reset_text", on_click=reset_text)
        return
    other = b if chosen[0] != chosen[1] else None
    with first:
        state.drop_unknown_group(len(a))
        verdict(a)
    view = View(a, other, agreement(a, other) if other is not None else None, student, teacher, evidence)
    picture(view)
    left, right = st.columns([6, 4], gap="small")
    with left:
        card(view)
    with right:
        health_panel(view)
    models_panel(text, student, teacher)
    details(view)
    options = [Choice(one.method, one.variant, one.options) for one in dict.fromkeys(chosen)]
    share("align", align_code(*state.pair(), named(text), options, evidence is not None, view.pinned))


def waiting(text: str) -> contextlib.AbstractContextManager[object]:
    """A spinner with the time for texts that take seconds; short ones are done before it could be drawn."""
    if len(text) < LONG_CHARACTERS:
        return contextlib.nullcontext()
    return st.spinner(f"Aligning {len(text):,} characters", show_time=True)


def verdict(alignment: Alignment) -> None:
    """One sentence about the alignment by the rule of `health`, and what else a reader must know."""
    state_of = health(alignment)
    show, icon = LEVELS[state_of.level]
    sentence = f"**{alignment.label}, {state_of.verdict}**: {state.plain(state_of.sentence)}."
    if state_of.verdict == "wrong":
        sentence += "  \nSome tokens face another place of the text: a loss would teach them what belongs elsewhere."
    if state_of.largest_group > LARGE_GROUP:
        sentence += "  \nA super-group isn't aligned inside: a loss would compare it as one lump. Try another method."
    show(sentence, icon=icon)
    notes = dict.fromkeys([*alignment.student.notes, *alignment.teacher.notes, *alignment.notes])
    if notes:
        st.caption("  \n".join(map(state.plain, notes)))


if framed():
    main()
