"""Clicks that change something and may fail: what one runs into is kept in the session until the next drawing shows it.

`name` keeps the clicks of a page apart.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ctkd_core.errors import CtkdError
from pages.parts import state
from pages.parts.launching import check_may_change


def attempt(name: str, action: Callable[[], object], prefix: str = "") -> None:
    """Do what a click asks for, if pages may; a CtkdError or OSError becomes the sentence of `show_problem`."""
    try:
        check_may_change()
        action()
    except (CtkdError, OSError) as fault:
        st.session_state[f"{name}_problem"] = prefix + str(fault)


def show_problem(name: str) -> bool:
    """Say once what the last click ran into; whether it did."""
    problem = st.session_state.pop(f"{name}_problem", "")
    if problem:
        state.show_error(problem)
    return bool(problem)
