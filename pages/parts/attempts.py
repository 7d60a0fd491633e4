"""Clicks that change something and may fail: what one runs into is kept in the session until the next drawing shows it.

`name` keeps the clicks of a page apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def attempt_once(name: str, action: Callable[[], Any], then: Callable[[Any], object]) -> None:
    """`attempt` for a button that leads away from its form: done once, until the form is drawn again (`drawn_again`).

    The second click of a double click comes in when the first has done what it asks for, and ends it before it has led
    away; so `then` does that each time, with what `action` gave, or None where that was cut short, too.
    """

    def first() -> None:
        key = f"{name}_done"
        if key not in st.session_state:
            st.session_state[key] = None
            try:
                st.session_state[key] = action()
            except (CtkdError, OSError):
                del st.session_state[key]
                raise
        then(st.session_state[key])

    attempt(name, first)


def drawn_again(name: str) -> None:
    """Let a button of `attempt_once` act again: where its form is drawn."""
    st.session_state.pop(f"{name}_done", None)


def show_problem(name: str) -> bool:
    """Say once what the last click ran into; whether it did."""
    problem = st.session_state.pop(f"{name}_problem", "")
    if problem:
        state.show_error(problem)
    return bool(problem)
