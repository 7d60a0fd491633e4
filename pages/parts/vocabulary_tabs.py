"""The tabs on page Vocabulary map. Only the open one computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core.figures.vocabulary import window_figure, window_table
from ctkd_core.figures.vocabulary_bars import (
    audit_table,
    columns_figure,
    columns_table,
    fan_out_figure,
    fan_out_table,
    off_rows_table,
    reasons_figure,
    reasons_table,
    row_sum_figure,
    row_sum_table,
    row_sums,
)
from ctkd_core.figures.vocabulary_graph import MAX_NODES, graph_figure, graph_table, neighbourhood
from ctkd_core.vocabulary.density import MAX_WINDOW, Window, cells
from pages.parts import address, late_values, state
from pages.parts import vocabulary_data as data
from pages.parts.downloads import download, file_name
from pages.parts.plots import plot
from pages.parts.selections import chosen_row, clicked
from pages.parts.terms import columns
from pages.parts.twin import folded
from pages.parts.vocabulary_map import View
from pages.parts.vocabulary_token import COLUMNS, show_token

if TYPE_CHECKING:
    import pandas as pd

TABS = ("Window", "Neighbours", "Lost", "Rows and columns", "Reasons", "Export")
SELECTABLE_ROWS = 1000  # longer tables are sent piece by piece, and then rows can't be chosen
FIELDS = {
    "window_row": ("first student position", "row"),
    "window_rows": ("student positions", "row_count"),
    "window_column": ("first teacher position", "column"),
    "window_columns": ("teacher positions", "column_count"),
}


def details(view: View, token: int | None) -> None:
    """The tabs; which one is open stands in the address."""
    if address.newly_arrived("panel"):
        named = st.query_params.get("panel")
        if named in TABS or address.came_back():
            late_values.put("panel", named if named in TABS else TABS[0])
    tabs = st.tabs(TABS, key="panel", on_change=_opened)
    for tab, draw in zip(tabs, (_window, _neighbours, _lost, _rows_and_columns, _reasons, _export)):
        if tab.open:
            with tab, state.errors_shown():
                draw(view, token)


def _opened() -> None:
    if not late_values.put_back("panel"):
        data.open_panel(st.session_state["panel"])


def _window(view: View, token: int | None) -> None:
    window = view.window(token)
    compact = _window_fields(view, window)
    rows, columns = view.orders
    found = cells(view.map, rows, columns, window, compact=compact)
    n, m = found.weights.shape
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Next tokens",
            key="next_tokens",
            icon=":material/arrow_downward:",
            on_click=data.set_window,
            args=(
                Window(found.next_row, window.row_count, window.column, window.column_count).clamped(*view.map.shape),
            ),
            disabled=found.next_row >= view.map.shape[0],
            help="Move the window to the first student position after the last one shown",
        )
        st.button(
            "Back to the token",
            key="window_back",
            icon=":material/my_location:",
            on_click=data.set_window,
            args=(None,),
            disabled=data.window() is None,
        )
        st.caption(
            f"{found.rows_with_entries:,} student tokens of this window have entries in it"
            + (f"; {n} are shown (at most {MAX_WINDOW} a side)." if found.rows_with_entries > n else ".")
        )
    if not n or not m:
        st.info(
            "The map has no entry in this window. Draw a box in the density, or widen the numbers.",
            icon=":material/grid_off:",
        )
        return

    def selected() -> None:
        if points := clicked("cells_figure"):
            kept = view.window(token)
            show_token(view, int(points[0][0]))
            data.set_window(kept)

    plot(
        lambda: window_figure(found, view.student, view.teacher, token),
        key="cells_figure",
        on_select=selected,
        selection_mode="points",
        alt=f"Weights of {n} student tokens on {m} teacher tokens",
    )
    with folded():
        _table(view, window_table(found, view.map), "cells_table", "Entries of the map in this window")


def _window_fields(view: View, window: Window) -> bool:
    """Four numbers for those who don't draw boxes, and whether empty rows and columns are left out."""
    limits = {"row": view.map.shape[0] - 1, "row_count": view.map.shape[0]}
    limits |= {"column": view.map.shape[1] - 1, "column_count": view.map.shape[1]}

    def moved(key: str) -> None:
        is_late = late_values.put_back(key)
        for other in FIELDS:
            late_values.put_back(other)  # a number that was chosen doesn't bring back what the others held before
        if is_late:
            return
        values = {name: int(st.session_state[key] or 0) for key, (_, name) in FIELDS.items()}
        chosen = Window(**values).clamped(*view.map.shape)
        if chosen != window:  # a tab that is opened again sends what its fields show, which nobody chose
            data.set_window(chosen)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        for key, (label, name) in FIELDS.items():
            late_values.put(key, getattr(window, name))
            low = 1 if name.endswith("count") else 0
            high = max(low, limits[name])
            st.number_input(label, low, high, key=key, step=1, on_change=moved, args=(key,), width=190)
        return st.toggle(
            "leave out empty rows and columns",
            value=True,
            key="compact",
            persist_state="session",
            help="A map has about one entry a row: neighbouring ids hardly ever share a column.",
        )


def _neighbours(view: View, token: int | None) -> None:
    if token is None:
        st.info("Look up a student token first: its neighbours are drawn here.", icon=":material/hub:")
        return
    found = neighbourhood(view.map, token)
    if found.graph.number_of_edges() == 0:
        st.info("This token maps to nothing, so it has no neighbours.", icon=":material/hub:")
        return

    def selected() -> None:
        ids = (int(values[0]) for values in clicked("graph"))
        chosen = next((k for k in ids if k >= 0), None)
        if chosen is not None:
            show_token(view, chosen)

    plot(
        lambda: graph_figure(found, view.map),
        key="graph",
        on_select=selected,
        selection_mode="points",
        alt=f"Student token {token}, its teacher tokens, and other student tokens that point at them",
    )
    more = f" {found.hidden:,} more had no room (at most {MAX_NODES} tokens are drawn)." if found.hidden else ""
    st.caption(f"Click a student token to look it up.{more}")
    with folded():
        _table(view, graph_table(found, view.map), "graph_table", "Entries among these tokens")


def _lost(view: View, token: int | None) -> None:
    del token
    with st.container(horizontal=True, vertical_alignment="bottom"):
        domain = st.selectbox("Count occurrences in", data.domains(), key="lost_in", width=220)
    table = data.lost(view.map, domain)
    if not len(table):
        st.success("Every student token is said by one teacher token; nothing is lost.", icon=":material/done_all:")
        return
    counts = table["class"].value_counts()
    classes = st.pills(
        "Classes",
        [name for name in counts.index if counts[name]],
        selection_mode="multi",
        key="lost_classes",
        format_func=lambda name: f"{name} ({counts.get(name, 0):,})",
        label_visibility="collapsed",
    )
    shown = table[table["class"].isin(classes)] if classes else table
    seen = int((shown["in_samples"] > 0).sum())
    st.caption(
        f"{len(shown):,} student tokens that no teacher token says alone; {seen:,} of them occur in these samples. "
        "Click a heading to sort."
    )
    _table(
        view,
        shown,
        "lost_table",
        "Student tokens that no teacher token says alone, and what becomes of them",
        height=420,
    )
    download("The list as CSV", lambda: shown.to_csv(index=False), "lost_tokens.csv", "text/csv", "lost_csv")


def _rows_and_columns(view: View, token: int | None) -> None:
    del token
    sums = row_sums(view.map)
    (st.warning if len(sums.off) else st.success)(sums.sentence, icon=":material/functions:")
    if len(sums.off):
        with st.expander("Rows that don't sum to 1", expanded=True):
            _table(view, off_rows_table(sums, view.map), "off_rows", "Rows that don't sum to 1")
    left, middle, right = st.columns(3, gap="medium")
    for cell, name, make, table, alt in (
        (left, "row_mass", lambda: row_sum_figure(sums), row_sum_table(sums), "Student tokens by the sum of their row"),
        (
            middle,
            "fan_out",
            lambda: fan_out_figure(view.map),
            fan_out_table(view.map),
            "Student tokens by their fan-out",
        ),
        (
            right,
            "columns",
            lambda: columns_figure(view.map),
            columns_table(view.map, 200),
            "Teacher tokens with the most student tokens",
        ),
    ):
        with cell:
            plot(make, key=name, alt=alt)
            with folded():
                _table(view, table, f"{name}_table", alt)


def _reasons(view: View, token: int | None) -> None:
    del token
    left, right = st.columns([6, 4], gap="medium")
    with left:
        alt = "Share of student tokens by the reason of their row, for each class"
        plot(lambda: reasons_figure(view.map), key="reasons", alt=alt)
    with right:
        _table(view, reasons_table(view.map), "reasons_table", "Rows by reason and class")
        st.caption(
            "exact: equal bytes · role: BOS to BOS and the like · canonical: equal apart from space marks · pieces: "
            "the teacher's cut · nearest: least edit distance · empty: nothing. A row counts by its heaviest entry."
        )


def _export(view: View, token: int | None) -> None:
    from ctkd_core.vocabulary.archive import exported, zipped

    del token
    name = file_name(view.student.name, view.teacher.name, view.map.method)
    with st.container(horizontal=True):
        download(
            "Map: safetensors and manifest (zip)", lambda: zipped(view.map), f"{name}.zip", "application/zip", "map_zip"
        )
        download(
            "For NeMo-RL and TRL (safetensors)",
            lambda: exported(view.map, "nemo-rl", ".safetensors"),
            f"{name}-dense.safetensors",
            "application/octet-stream",
            "map_dense",
        )
        download(
            "Class audit (CSV)",
            lambda: audit_table(view.map.audit()).to_csv(index=False),
            f"{name}-audit.csv",
            "text/csv",
            "audit_csv",
        )
    st.caption(
        "The manifest holds the method, its options, the hashes of both tokenizers and of the numbers; "
        "`ctkd_core.vocabulary.store.load` reads the unzipped folder. The dense file has `indices` and `likelihoods`."
    )


def _table(view: View, table: pd.DataFrame, key: str, alt: str, height: int = 300) -> None:
    """A table; choosing a row of a short one looks its student token up."""
    shared: dict[str, Any] = {"key": key, "hide_index": True, "alt": alt}
    shared["height"] = min(height, 38 + 35 * max(1, len(table)))
    shared["column_config"] = columns(table.columns, COLUMNS)
    if "student_id" not in table or len(table) > SELECTABLE_ROWS:
        st.dataframe(table, lazy=len(table) > SELECTABLE_ROWS or None, **shared)
        return
    ids = table["student_id"].tolist()

    def selected() -> None:
        if (chosen := chosen_row(key, ids)) is not None:
            show_token(view, chosen)

    st.dataframe(table, on_select=selected, selection_mode="single-row", **shared)
