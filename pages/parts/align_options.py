"""Variants and options of the two methods that are compared; the address bar holds what isn't at its default."""

from __future__ import annotations

import streamlit as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.methods.row import Method
from pages.parts import state
from pages.parts.forms import changed_fields
from pages.parts.loaders import Chosen
from pages.parts.text_input import note


def chosen_methods() -> tuple[Chosen, Chosen]:
    """Draw both popovers and the sample's note; method A and the one it is compared with, variants and options."""
    a, b = state.method_names()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        chosen = _choose(methods.get(a), "a"), _choose(methods.get(b), "b")
        if hint := note():
            st.caption(f"Look for: {state.plain(hint)}", width="content")
    return chosen


def _choose(row: Method, side: str) -> Chosen:
    if not row.align_options and len(row.variants) < 2:
        return Chosen(row.name)
    key = f"{side}_{row.name}"
    known = {"variant": row.variants} | {o.name: o.choices for o in row.align_options if o.kind == "choice"}
    state.tell_unknown({f"{key}_{name}": (f"{name} of {row.name!r}", choices) for name, choices in known.items()})
    word = row.name if side == "a" else f"{row.name} (compared)"
    with st.popover(f"Options of {word}", icon=":material/tune:"):
        variant, changed = changed_fields(row, key, 1, row.align_options_of)
    try:
        row.resolve_align(dict(changed), CtkdError, variant)
    except CtkdError as fault:
        state.show_error(fault)
        changed = ()
    return Chosen(row.name, variant, changed)
