"""The tabs on page Align: groups, path over its costs, metrics, disagreements. Only the open one computes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core import methods
from ctkd_core.figures.dtw import TITLES, dtw_overview, dtw_window
from ctkd_core.figures.groups import size_histogram, staircase
from ctkd_core.figures.metrics import metric_bars, metric_table
from ctkd_core.figures.tables import disagreements, kind_counts
from pages.parts import loaders, state
from pages.parts.align_panels import View

if TYPE_CHECKING:
    import pandas as pd

PLOT = {"displaylogo": False}
# Groups come first because a table is quick: loading plotly holds the browser up by 0.9 s, the chips with it.
TABS = ("Groups", "Path", "Metrics", "Disagreements")


def details(view: View) -> None:
    """The tabs; only the open one computes."""
    tabs = st.tabs(TABS, key="tab", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, (_groups, _path, _metrics, _disagreements)):
        if tab.open:
            with tab, state.errors_shown():
                draw(view)


def _path(view: View) -> None:
    a, b, group = view.a, view.b, view.pinned
    if a.cost is None:
        st.caption(
            f"{a.method} searches no cost matrix, so this is where its groups end. Choose cdm as method to see one."
        )
        fig = staircase(a, group, () if b is None else (b,))
        _selectable(fig, "staircase", f"Byte position of group ends on both sides, method {a.method}")
        return
    kind = st.segmented_control(
        "Cost", list(TITLES), default="local", key="cost", required=True, help="  \n".join(TITLES.values())
    )
    left, right = st.columns([5, 3], gap="medium")
    with left, state.errors_shown():
        fig = dtw_window(a, group, kind or "local")
        _selectable(fig, f"dtw_{kind}", f"{TITLES[kind or 'local']}, with the path of {a.method}")
    with right, state.errors_shown():
        _selectable(dtw_overview(a, group, kind or "local"), f"overview_{kind}", "The whole cost matrix with the path")
        st.caption(
            "Click a cell or the path to pin its group; the window on the left follows. Orange: the pinned group."
        )


def _selectable(fig: object, key: str, alt: str) -> None:
    def selected() -> None:
        points = st.session_state[key]["selection"]["points"]
        data = next((p["customdata"] for p in points if p.get("customdata") is not None), None)
        if data is not None:
            first = data[0] if isinstance(data, list) else next(iter(data.values())) if isinstance(data, dict) else data
            _jump(int(first))

    st.plotly_chart(fig, key=key, on_select=selected, selection_mode="points", alt=alt, config=PLOT)


def _groups(view: View) -> None:
    counts = kind_counts(view.a)
    kinds = st.pills(
        "Kinds",
        list(counts),
        selection_mode="multi",
        key="kinds",
        format_func=lambda kind: f"{kind} ({counts.get(kind, 0)})",
        label_visibility="collapsed",
    )
    table = loaders.group_rows(view.a, view.b)
    shown = table[table["kind"].isin(kinds)] if kinds else table
    _selectable_table(
        shown,
        "group_table",
        f"Groups of {view.a.method}: kind, texts, tokens and bytes",
        column_config={
            "same_text": st.column_config.CheckboxColumn("same text"),
            "student_tokens": st.column_config.NumberColumn("student tokens"),
            "teacher_tokens": st.column_config.NumberColumn("teacher tokens"),
        },
    )
    shared: dict[str, Any] = {"on_click": "ignore", "icon": ":material/download:"}
    with st.container(horizontal=True):
        # the files are only made when somebody asks for them
        document = lambda: json.dumps(view.a.to_dict(), ensure_ascii=False)  # noqa: E731
        st.download_button("Groups as JSON", document, "groups.json", "application/json", key="json", **shared)
        rows = lambda: shown.to_csv(index=False)  # noqa: E731
        st.download_button("Groups as CSV", rows, "groups.csv", "text/csv", key="csv", **shared)


def _selectable_table(table: pd.DataFrame, key: str, alt: str, **settings: Any) -> None:
    """A table whose column `group` is pinned when a row is chosen."""
    groups = table["group"].tolist()

    def selected() -> None:
        chosen = st.session_state[key]["selection"]["rows"]
        if chosen and chosen[0] < len(groups):
            _jump(groups[chosen[0]])

    st.dataframe(
        table,
        key=key,
        on_select=selected,
        selection_mode="single-row",
        hide_index=True,
        height=360,
        alt=alt,
        **settings,
    )


def _metrics(view: View) -> None:
    text = view.a.student.text
    rates = {m.name: loaders.rates(view.student, view.teacher, m.name, text) for m in methods.aligning()}
    truth = rates["sedi"]  # its default compares bytes: the components of span overlap
    left, right = st.columns([4, 4], gap="medium")
    with left:
        st.plotly_chart(metric_bars(rates, truth), key="bars", alt="Main rates of every method", config=PLOT)
        sizes = size_histogram(view.a)
        st.plotly_chart(sizes, key="sizes", alt="Number of groups by size and kind", config=PLOT)
    with right:
        st.dataframe(
            metric_table(rates, truth), key="rates", hide_index=True, height=420, alt="All metrics of every method"
        )


def _disagreements(view: View) -> None:
    a, b, found = view.a, view.b, view.found
    if b is None or found is None:
        st.info("Both methods are the same; choose another one under “compared with”.", icon=":material/call_split:")
        return
    if not len(found.differing):
        st.success(f"{a.method} and {b.method} make the same groups on this text.", icon=":material/check_circle:")
        return
    st.caption(
        f"{len(found.differing)} stretches differ. Boundary F1 {found.boundary_f1:.3f}; {100 * found.share:.1f} % of "
        f"student tokens lie outside them. student ~ teacher in every pair."
    )
    table = disagreements(a, b, found.differing)
    _selectable_table(table, "difference_table", f"Stretches where {a.method} and {b.method} differ")


def _jump(group: int) -> None:
    """Pin a group and let the picture turn to its page."""
    state.pin(group)
    st.session_state.pop("chip_page", None)
