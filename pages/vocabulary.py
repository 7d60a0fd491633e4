"""Vocabulary map: which teacher tokens say what a student token says, for the whole vocabulary and token by token."""

from __future__ import annotations

import streamlit as st

from ctkd_core.lab.code import vocabulary_code
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import map_options
from pages.parts import state
from pages.parts import vocabulary_data as data
from pages.parts.chosen_pair import chosen_pair
from pages.parts.frame import framed
from pages.parts.plots import figures_last
from pages.parts.share import share
from pages.parts.vocabulary_build import Choice, build_panel, choose
from pages.parts.vocabulary_map import View, audit_bars, density_map, verdict
from pages.parts.vocabulary_tabs import details
from pages.parts.vocabulary_token import guidance, look_up


def main() -> None:
    st.title("Vocabulary map", anchor=False)
    pair = chosen_pair()
    if pair is None:
        return
    state.tell_unknown(data.CHOICES)
    first = st.container()  # the verdict, which stands above what it is about
    choice = choose(*pair)
    if choice is None:
        return
    projection = build_panel(choice)
    if projection is not None:
        with first:
            data.keep_window_inside(projection.shape)
            verdict(View(projection, *pair))
        body(data.hold(projection), choice, *pair)
    else:
        _share(choice, None)


@st.fragment
@figures_last()
def body(projection: data.Held, choice: Choice, student: Tokenizer, teacher: Tokenizer) -> None:
    """What there is to see of a map; a click or a look-up reruns only this."""
    view = View(projection.map, student, teacher)
    guidance(view)
    left, middle, right = st.columns([4, 5, 4], gap="medium")
    with left:
        audit_bars(view)
    with right:
        token = look_up(view)
    with middle:
        density_map(view, token)
    details(view, token)
    _share(choice, token)


def _share(choice: Choice, token: int | None) -> None:
    plain = map_options(choice.method, {})
    changed = {name: value for name, value in choice.options.items() if value != plain[name]}
    share("vocabulary", vocabulary_code(*state.pair(), choice.method, "clean", changed, token))


if framed():
    main()
