"""The tabs on page Losses. Only the open one computes."""

from __future__ import annotations

import streamlit as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.figures.losses import Lab
from ctkd_core.figures.losses_tables import groups_table, terms_table
from ctkd_core.lab.estimate import Sizes, cost, memory
from ctkd_core.lab.question import Choice
from pages.parts import carry, run_views, state

TABS = ("Methods", "Values", "Groups", "Memory and time")
WIDTHS = {"float32": 4, "bfloat16": 2}


def details(lab: Lab | None, choices: list[Choice], vocabularies: tuple[int, int]) -> None:
    """The tabs; without a computed scene only those that need none."""
    tabs = st.tabs(TABS, key="lab_tab", on_change="rerun", bind="query-params")
    draws = (
        lambda: _methods(choices),
        lambda: _values(lab),
        lambda: _groups(lab),
        lambda: _estimate(choices, vocabularies),
    )
    for tab, draw in zip(tabs, draws):
        if tab.open:
            with tab:
                draw()


def _methods(choices: list[Choice]) -> None:
    for choice in choices:
        with st.container(border=True, key=f"card_{choice.method}"):
            _card(choice)


def _card(choice: Choice) -> None:
    row = methods.get(choice.method)
    source = state.plain(row.paper)
    st.markdown(f"**{state.plain(row.title)}**")
    st.caption(state.plain(row.idea))
    st.markdown(rf"$\displaystyle {row.formula}$")  # not st.latex: its block scrolls, out of a keyboard's reach
    st.markdown(f"**Cannot see:** {state.plain(row.cannot_see)}")
    if row.groups_note:
        st.markdown(f"**Groups:** {state.plain(row.groups_note)}")
    if row.variant_note:
        st.markdown(f"**Paper and code:** {state.plain(row.variant_note)}")
    st.caption(f"Source: [{source}]({row.url})" if row.url else f"Source: {source}")
    changed = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in choice.options)
    st.page_link(
        state.PAGES["runs"],
        label=f"Use {row.name} in a run" + (f" ({state.plain(changed)})" if changed else ""),
        icon=":material/model_training:",
        query_params={"view": run_views.FORM, carry.PARAMETER: carry.packed(choice)},
    )


def _values(lab: Lab | None) -> None:
    if lab is None:
        st.caption("Nothing is computed yet.")
        return
    st.dataframe(terms_table(lab), key="terms", hide_index=True, alt="Loss, its terms and diagnostics by method")
    st.caption(
        "Terms are means before they are weighted. Losses of different methods have different scales: compare shares "
        "and directions, not values."
    )
    for view in lab.views:
        for note in view.notes:
            st.caption(f"**{view.method}**: {state.plain(note)}")


def _groups(lab: Lab | None) -> None:
    if lab is None:
        st.caption("Nothing is computed yet.")
        return
    st.dataframe(groups_table(lab), key="lab_groups", hide_index=True, alt="Value and share of the loss of each group")
    st.caption(
        "Groups are byte-exact. A method whose own groups are larger has their value shared out by student tokens."
    )


def _estimate(choices: list[Choice], vocabularies: tuple[int, int]) -> None:
    names = (
        "Samples in a batch",
        "Student tokens a sample",
        "Teacher tokens a sample",
        "Student logits",
        "Teacher logits",
    )
    keys = ("e_batch", "e_student", "e_teacher", "e_vs", "e_vt")
    starts = (8, 512, 560, *vocabularies)
    values = []
    cells = st.columns(6, vertical_alignment="bottom")
    for cell, label, key, start in zip(cells, names, keys, starts):
        with cell:
            values.append(
                int(
                    st.number_input(label, min_value=1, max_value=10_000_000, value=start, key=key, bind="query-params")
                )
            )
    with cells[-1]:
        dtype = st.selectbox("Logits in", list(WIDTHS), key="e_dtype", bind="query-params")
    try:
        sizes = Sizes(*values, width=WIDTHS[dtype])
        costs = {choice.method: cost(choice.method, sizes) for choice in choices}
    except CtkdError as fault:
        state.show_error(fault)
        return
    table = [
        {
            "method": method,
            "logits of both": memory(found.logits),
            "student gradient": memory(found.gradient),
            "beyond that": "not measured" if found.extra is None else memory(found.extra),
            "memory in all": memory(found.total) + (" at least" if found.extra is None else ""),
            "a step of the loss": "not measured" if found.seconds is None else f"about {found.seconds:.2g} s",
        }
        for method, found in costs.items()
    ]
    st.table(table, border="horizontal", alt="Estimated memory and time of one loss step by method")
    device = next((found.device for found in costs.values() if found.device), "")
    st.caption(
        "An estimate of the loss alone, forward and backward to the logits, without the models. Logits and gradient "
        "are counted; the rest is scaled from measured figures"
        + (
            f" ({state.plain(device)}); a GPU is many times faster."
            if device
            else ": there are none for these methods."
        )
    )
