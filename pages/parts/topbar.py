"""The bar above every page: teacher, swap, student, and the methods. A page gets what it reads.

On page Losses the methods are the first two of those it shows. A run has a pair and a method of its own: another choice
opens the form of a new run with everything else as in that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core import methods
from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
from pages.parts import address, consent, late_values, losses_choice, run_views, state, tour
from pages.parts.help_menu import help_menu

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.methods.row import Method

_SOURCE_HELP = "Choose one, or type a hub id, a folder, or the path of a tokenizer.json. Uploads: page Align."
_DEFAULTS = {"student": DEFAULT_PAIR[0], "teacher": DEFAULT_PAIR[1], **state.DEFAULT_METHODS}
_LABELS = {"student": "Student", "teacher": "Teacher", "method": "Method", "against": "compared with"}
_METHODS = {"align": ("method", "against"), "pair": ("method",)}  # pages that read them
_RUN_HELP = "What this run was made with. Another choice opens a new run with everything else as in this one."


def top_bar(page: str) -> None:
    """Draw the bar of the page with this path ("" for Start); its values live in the address."""
    address.arrive(page)
    tour.take(page or "start")
    state.take_linked_pair()
    if page == "align":
        state.take_linked_method()
    known = methods.training() if page in ("losses", "runs") else methods.aligning()
    # The navigation takes the methods of page Align along, also those that can't train: no reason to complain.
    names = methods.METHODS if page in ("losses", "runs") else [row.name for row in known]
    state.tell_unknown(
        {"method": ("method", names), "text": ("sample text", state.TEXT_NAMES), "against": ("method", names)}
    )
    config = None
    if page == "runs":
        run_views.take_its_pair()
        config = run_views.shown_config()
    with st.container(key="bar"):
        teacher, swap, student, method, against, helping = st.columns(
            [4.5, 3, 4.5, 3, 3.2, 2.2], vertical_alignment="bottom", gap="small"
        )
    _source(teacher, "teacher", config)
    with swap:
        st.button(
            "Swap",
            key="swap",
            icon=":material/swap_horiz:",
            on_click=_swap_and_begin if config else state.swap_pair,
            shortcut="Alt+S",
            width="stretch",
            wrap=False,
            help="Exchange teacher and student",
        )
    _source(student, "student", config)
    with helping:
        help_menu()
    for key, cell in (("method", method), ("against", against)):
        if key in _METHODS.get(page, ()):
            _method(cell, key, known)
    if page == "losses":
        losses_choice.method_bar(method, against)
    if config:
        _method_of_run(method, config, known)


def _source(cell: DeltaGenerator, key: str, config: RunConfig | None) -> None:
    current = st.session_state.get(key) or st.query_params.get(key) or _DEFAULTS[key]
    options = state.sources(current)
    with cell:
        st.selectbox(
            _LABELS[key],
            options,
            index=options.index(_DEFAULTS[key]),
            key=key,
            bind="query-params",
            accept_new_options=True,
            help=_RUN_HELP if config else _SOURCE_HELP,
            on_change=_chosen,
            args=(key, config is not None),
        )


def _chosen(key: str, above_a_run: bool) -> None:
    if late_values.put_back(key):
        return
    consent.chosen_in_bar(key)
    if above_a_run:
        run_views.begin_from_shown()


def _method(cell: DeltaGenerator, key: str, known: list[Method]) -> None:
    names = [row.name for row in known]
    ideas = "  \n".join(f"**{row.name}**: {row.idea}" for row in known)
    default = names.index(_DEFAULTS[key])
    with cell:
        st.selectbox(
            _LABELS[key],
            names,
            index=default,
            key=key,
            bind="query-params",
            help=ideas,
            on_change=late_values.put_back,
            args=(key,),
        )


def _method_of_run(cell: DeltaGenerator, config: RunConfig, known: list[Method]) -> None:
    def changed() -> None:
        if late_values.put_back("run_method"):
            return
        run_views.begin_from_shown(method=st.session_state["run_method"])

    late_values.put("run_method", config.method)
    with cell:
        st.selectbox("Method", [row.name for row in known], key="run_method", on_change=changed, help=_RUN_HELP)


def _swap_and_begin() -> None:
    state.swap_pair()
    run_views.begin_from_shown()
