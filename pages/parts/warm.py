"""Prepare what the first alignment needs while the reader still reads the start page."""

from __future__ import annotations

import gc
import threading

import streamlit as st

# Long enough for the first page to be drawn before imports compete with it for the interpreter.
DELAY_SECONDS = 1.5


@st.cache_resource(show_spinner=False)
def warm_up() -> bool:
    """Once a server: load the default pair and the compiled kernels in the background. No streamlit call in there."""
    timer = threading.Timer(DELAY_SECONDS, _prepare_and_keep)
    timer.daemon = True
    timer.start()
    return True


def _prepare_and_keep() -> None:
    try:
        _prepare()
    finally:
        keep_out_of_collections()


def keep_out_of_collections() -> None:
    """Tell the garbage collector that what is loaded by now stays: modules, tables of tokenizers, compiled kernels.

    Streamlit collects garbage after every run of a script and looks at every object for it, which is most of the work
    of an edit when nearly all of them are there for good. What is made later is collected as ever.
    """
    gc.collect()
    gc.freeze()


def _prepare() -> None:
    from ctkd_core import methods
    from ctkd_core.alignment import align
    from ctkd_core.errors import CtkdError
    from ctkd_core.tokenizers.assets import is_installed
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR, TOKENIZERS
    from ctkd_core.tokenizers.load import load_tokenizer

    if not all(is_installed(TOKENIZERS[name]) for name in DEFAULT_PAIR):
        return
    try:
        student, teacher = (load_tokenizer(name) for name in DEFAULT_PAIR)
        for method in methods.aligning():
            align("A few words 🦙 and 201.", student=student, teacher=teacher, method=method.name)
    except CtkdError:
        return  # the page that needs it will say what is wrong
