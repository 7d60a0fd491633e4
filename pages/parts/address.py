"""The address as a whole: several changes in one step of the browser's history, and where a run of the page came from.

Most widgets are bound to the address one by one. What belongs together (a pair; a view of page Runs and what it shows)
must change together: else Back stops between the halves, at the same tokenizer on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def change(values: Mapping[str, str | None]) -> None:
    """Set these parameters, or drop those with None, at once; bound ones too, whose widgets must be set as well."""
    if all(st.query_params.get(key) == value for key, value in values.items()):
        return
    _rewrite(values)
    st.query_params.update({})  # sends what stands there now


def came_back() -> bool:
    """Whether the browser's Back or Forward asked for this run: then the address decides everything."""
    return bool(getattr(get_script_run_ctx(), "is_history_navigation", False))


def arrive(page: str) -> None:
    """Notice a new page, or Back and Forward; at the beginning of every run of a whole page."""
    if st.session_state.get("page_seen") != page or came_back():
        st.session_state["arrival"] = st.session_state.get("arrival", 0) + 1
    st.session_state["page_seen"] = page


def newly_arrived(name: str) -> bool:
    """Whether that happened since `name` asked last: then what it keeps in the session may be another address's."""
    now, key = st.session_state.get("arrival", 0), f"arrival_{name}"
    before = st.session_state.get(key)
    st.session_state[key] = now
    return bool(before != now)


def _rewrite(values: Mapping[str, str | None]) -> None:
    ctx: Any = get_script_run_ctx()
    with ctx.session_state.query_params() as params:
        for key, value in values.items():
            if value is None:
                params.discard_param_no_forward_msg(key)
            else:
                params.set_with_no_forward_msg(key, value)
        params.set_initial_query_params_from_current()  # what widgets begin with, also after Back
