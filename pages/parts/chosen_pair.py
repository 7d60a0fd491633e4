"""The pair that the address names, for pages that show one: both tokenizers, or what is wrong and the ways out."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import consent, loaders, state
from pages.parts.uploads import upload_tokenizer


def chosen_pair() -> tuple[Tokenizer, Tokenizer] | None:
    """Student and teacher; None when one can't or may not be loaded: then the reason is shown, and how to go on."""
    if unasked := consent.missing(state.pair()):
        consent.ask(unasked)
        return None
    try:
        return loaders.tokenizers()
    except TokenizerError as fault:
        state.show_error(fault)
        st.button("Use the default pair", key="default_pair", on_click=state.default_pair)
        upload_tokenizer()
        return None
