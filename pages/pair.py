"""Pair: whether two tokenizers fit together, where they don't, and which method to train with."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state
from pages.parts import pair_data as data
from pages.parts.frame import framed
from pages.parts.pair_corpus import corpus_progress
from pages.parts.pair_tabs import details
from pages.parts.pair_verdict import View, export, overview, verdict
from pages.parts.uploads import upload_tokenizer


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
    body(student, teacher)


def body(student: Tokenizer, teacher: Tokenizer) -> None:
    """The report, and below it the tabs, which rerun by themselves."""
    try:
        with st.spinner("Comparing the vocabularies and measuring the bundled samples", show_time=True):
            report = data.report(student, teacher)
    except CtkdError as fault:
        st.error(state.plain(str(fault)), icon=":material/error:")
        upload_tokenizer()
        return
    view = View(report, student, teacher)
    verdict(view)
    overview(view)
    corpus_progress(view, state.method_names()[0])
    details(view)
    export(view)


if framed():
    main()
