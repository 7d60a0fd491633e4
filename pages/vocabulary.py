"""Vocabulary map: which teacher tokens say what a student token says, for the whole vocabulary and token by token."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state
from pages.parts import vocabulary_data as data
from pages.parts.frame import framed
from pages.parts.uploads import upload_tokenizer
from pages.parts.vocabulary_build import build_panel, choose
from pages.parts.vocabulary_map import View, audit_bars, density_map, verdict
from pages.parts.vocabulary_tabs import details
from pages.parts.vocabulary_token import look_up


def main() -> None:
    try:
        student, teacher = loaders.tokenizers()
    except TokenizerError as fault:
        st.error(state.plain(str(fault)), icon=":material/error:")
        st.button("Use the default pair", key="default_pair", on_click=state.default_pair)
        upload_tokenizer()
        return
    for problem in data.url_problems():
        st.warning(f"The address names something unknown: {state.plain(problem)}", icon=":material/link_off:")
    choice = choose(student, teacher)
    if choice is None:
        return
    projection = build_panel(choice)
    if projection is not None:
        body(data.hold(projection), student, teacher)


@st.fragment
def body(projection: data.Held, student: Tokenizer, teacher: Tokenizer) -> None:
    """What there is to see of a map; a click or a look-up reruns only this."""
    view = View(projection.map, student, teacher)
    verdict(view)
    left, middle, right = st.columns([4, 5, 4], gap="medium")
    with left:
        audit_bars(view)
    with right:
        token = look_up(view)
    with middle:
        density_map(view, token)
    details(view, token)


if framed():
    main()
