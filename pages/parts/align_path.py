"""The tab Path on page Align: costs and path as a picture, step by step, or where groups end without costs."""

from __future__ import annotations

import streamlit as st

from ctkd_core.figures.dtw import TITLES, dtw_figure, dtw_table
from ctkd_core.figures.groups import staircase, staircase_table
from ctkd_core.figures.path_steps import page_of_group, step_page, step_pages, step_table
from pages.parts.align_panels import View
from pages.parts.align_pinning import group_table, jump, page_that_follows, selectable
from pages.parts.component import path_steps
from pages.parts.terms import small_print
from pages.parts.twin import folded

STEPS = "step by step"
VIEWS = (*TITLES, STEPS)


def path(view: View) -> None:
    """The tab."""
    if view.a.cost is None:
        _ends(view)
        return
    kind = st.segmented_control(
        "Cost",
        VIEWS,
        default="local",
        key="cost",
        required=True,
        bind="query-params",
        help="  \n".join((*TITLES.values(), "Step by step: each cell of the path with what it chose from")),
    )
    if kind == STEPS:
        _steps(view)
    else:
        _picture(view, kind or "local")


def _ends(view: View) -> None:
    """For methods without costs."""
    a, b, group = view.a, view.b, view.pinned
    small_print(
        f"{a.method} searches no cost matrix, so this is where its groups end: on the diagonal both sides have read "
        "the same bytes, and a drift leaves it. Choose cdm or mined as method to see costs and a path."
    )
    others = () if b is None else (b,)
    selectable(
        lambda: staircase(a, group, others),
        "staircase",
        f"Byte position of group ends on both sides, method {a.method}",
    )
    with folded():
        group_table(staircase_table(a, others), "staircase_table", "Byte where each group ends, on both sides")


def _picture(view: View, kind: str) -> None:
    a, group = view.a, view.pinned
    with st.container(key="wide"):
        selectable(lambda: dtw_figure(a, group, kind), f"dtw_{kind}", f"{TITLES[kind]}, with the path of {a.label}")
    surface = a.cost
    constant = surface is not None and surface.student_entropy is None and a.method == "cdm"
    weights = " All entropy weights are constant." if constant else ""
    small_print(
        "Click a cell or the path to pin its group; the window follows it. Orange: the pinned group. At the right the "
        f"whole text.{weights}"
    )
    with folded():
        group_table(dtw_table(a, group), "dtw_table", "The path inside the window, pair by pair")


def _steps(view: View) -> None:
    """A few cells of the path at a time; a long path turns its pages, and a pinned group opens its own."""
    a, group, pages = view.a, view.pinned, step_pages(view.a)
    opens = None if group is None else lambda: page_of_group(a, group)
    page = page_that_follows("steps", pages, (group, a.label), opens)
    data = step_page(a, page)

    def pin(chosen: int | None) -> None:
        st.session_state["steps_follows"] = chosen, a.label  # the page stays where it is
        jump(chosen)

    path_steps(data, group, pin, key="path_steps")
    last = data["first"] + len(data["path"]) - 1
    if pages > 1:
        small_print(
            f"Steps {data['first']:,} to {last:,} of {data['total'] - 1:,} of the path: {pages:,} pages, and a pinned "
            "group opens its own."
        )
    with folded():
        group_table(step_table(a, page), "steps_table", "Each step of the path on this page, and what it chose from")
