"""Pair: whether two tokenizers fit together, where they don't, and which method to train with."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import pair_code
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import pair_data as data
from pages.parts import state
from pages.parts.chosen_pair import chosen_pair
from pages.parts.frame import framed
from pages.parts.pair_corpus import corpus_progress
from pages.parts.pair_tabs import details
from pages.parts.pair_verdict import View, export, overview, verdict
from pages.parts.share import share
from pages.parts.uploads import upload_tokenizer


def main() -> None:
    st.title("Pair", anchor=False)
    pair = chosen_pair()
    if pair is None:
        return
    state.tell_unknown(data.CHOICES)
    body(*pair)


def body(student: Tokenizer, teacher: Tokenizer) -> None:
    """The report, and below it the tabs, which rerun by themselves."""
    try:
        with st.spinner("Comparing the vocabularies and measuring the bundled samples", show_time=True):
            report = data.report(student, teacher)
    except CtkdError as fault:
        state.show_error(fault)
        upload_tokenizer()
        return
    view = View(report, student, teacher)
    verdict(view)
    overview(view)
    corpus_progress(view, state.method_names()[0])
    details(view)
    export(view)
    share("pair", pair_code(*state.pair(), state.method_names()[0]))


if framed():
    main()
