"""The tabs on page Align: groups, stacked methods, path over its costs, graph, metrics, disagreements, export."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.alignment.kinds import KIND_STYLES, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.alignment.metrics import kind_counts
from ctkd_core.figures.graph import component, component_figure, component_table
from ctkd_core.figures.groups import size_histogram
from ctkd_core.figures.metrics import logit_table, metric_heat, metric_table
from ctkd_core.figures.tables import agreement_sentence, disagreements, groups_of_kinds, page_of_row, shown_groups
from ctkd_core.markup.glossary import explained
from pages.parts import late_values, loaders, state
from pages.parts.align_export import export
from pages.parts.align_panels import EVERY_METHOD_CHARACTERS, View
from pages.parts.align_path import path
from pages.parts.align_pinning import ROWS, group_table, page_that_follows, selectable
from pages.parts.align_stack import stack
from pages.parts.plots import plot
from pages.parts.terms import small_print
from pages.parts.twin import folded

# Groups come first because a table is quick: loading plotly holds the browser up by 0.9 s, the chips with it.
TABS = ("Groups", "Methods", "Path", "Graph", "Metrics", "Disagreements", "Export")


def details(view: View) -> None:
    """The tabs; only the open one computes."""
    tabs = st.tabs(TABS, key="tab", on_change=late_values.put_back, args=("tab",), bind="query-params")
    for tab, draw in zip(tabs, (_groups, stack, path, _graph, _metrics, _disagreements, export)):
        if tab.open:
            with tab, state.errors_shown():
                draw(view)


def _graph(view: View) -> None:
    if not len(view.a):
        st.info("There is no group to draw.", icon=":material/hub:")
        return
    group = view.pinned
    if group is None:
        st.caption("No group is pinned; this is the beginning of the text.")
    found = component(view.a, group or 0)
    alt = f"Tokens of groups {found.first} to {found.last - 1} of {view.a.label} and what joins them"
    with st.container(key="wide"):
        selectable(lambda: component_figure(view.a, found), "graph", alt)
    hidden = f" {found.hidden:,} tokens had no room." if found.hidden else ""
    st.caption(f"Squares: teacher tokens; circles: student tokens; an orange rim: the pinned group.{hidden}")
    with folded():
        group_table(component_table(view.a, found), "graph_table", "What joins these tokens")


def _groups(view: View) -> None:
    counts = kind_counts(view.a)
    names = {kind: KIND_STYLES[kind].name for kind in counts}
    if marked := int(view.a.unequal.sum()):
        counts, names = counts | {UNEQUAL: marked}, names | {UNEQUAL: UNEQUAL}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        kinds = st.pills(
            "Kinds",
            list(counts),
            selection_mode="multi",
            key="kinds",
            wrap=True,
            format_func=lambda kind: f"{names.get(kind, kind)} ({counts.get(kind, 0)})",
            label_visibility="collapsed",
            help=f"{UNEQUAL}: {UNEQUAL_MEANING}",
        )
        whole = st.toggle("one long table", key="whole_table", help="To sort or search all rows; else pages that turn")
    groups = groups_of_kinds(view.a, [kind for kind in kinds if kind in names])
    settings: dict[str, Any] = {
        "column_config": {
            "mark": st.column_config.TextColumn(UNEQUAL, help=UNEQUAL_MEANING, width="small"),
            "same_text": st.column_config.CheckboxColumn("same text"),
            "kind": st.column_config.TextColumn("kind", help=explained("group")),
            "student_tokens": st.column_config.NumberColumn("student tokens"),
            "teacher_tokens": st.column_config.NumberColumn("teacher tokens"),
        }
    }
    alt = f"Groups of {view.a.label}: kind, texts, tokens and bytes"
    if whole or len(groups) <= ROWS:
        table = loaders.group_rows(view.a, view.b).iloc[groups] if whole else shown_groups(view.a, view.b, groups)
        group_table(table, "group_table", alt, **settings)
        return
    pages, now = page_of_row(groups.tolist(), view.pinned, ROWS)
    opens = None if view.pinned is None and not kinds else lambda: now
    place = st.empty()
    page = page_that_follows("group", pages, (view.pinned, tuple(kinds)), opens)
    part = groups[page * ROWS : (page + 1) * ROWS]
    rows = part.tolist()
    if view.pinned in rows:
        settings["selection_default"] = {"selection": {"rows": [rows.index(view.pinned)]}}
    key = f"group_table_{page}_{view.pinned if view.pinned in rows else ''}"
    with place:
        group_table(shown_groups(view.a, view.b, part), key, alt, **settings)


def _metrics(view: View) -> None:
    found = view.every_method()
    rates = {name: one.metrics() for name, one in found.items()}
    truth = loaders.truth(view.student, view.teacher, view.a.student.text).metrics()
    if len(view.a.student.text) > EVERY_METHOD_CHARACTERS:
        st.caption("The text is long, so only the two chosen methods are measured.")
    left, right = st.columns([5, 4], gap="medium")
    with left:
        plot(lambda: metric_heat(rates, truth), key="bars", alt="Main rates of every method")
    with right:
        plot(lambda: size_histogram(view.a), key="sizes", alt="Number of groups by size and kind")
    alt = "All metrics of every method"
    small_print("Boundary F1 of 1 is the truth; a super-group hides what is inside it.")
    st.dataframe(metric_table(rates, truth), key="rates", hide_index=True, alt=alt)
    _logit_metrics(view)


def _logit_metrics(view: View) -> None:
    """What the bundled teacher's candidates add to the numbers of the two chosen methods."""
    if view.evidence is None:
        st.caption("Ask the models for the rates that need logits: matched candidates, top-1 accuracy, collisions.")
        return
    found = {one.label: loaders.logit_rates(one, view.evidence, view.student, view.teacher) for one in view.shown}
    st.markdown(f"**With the teacher's {view.evidence.teacher_top_ids.shape[1]} best candidates of every row**")
    st.dataframe(logit_table(found), key="logit_rates", hide_index=True, alt="Metrics that rest on logits")


def _disagreements(view: View) -> None:
    a, b, found = view.a, view.b, view.found
    if b is None or found is None:
        st.info("Both methods are the same; choose another one under “compared with”.", icon=":material/call_split:")
        return
    names = a.label, b.label
    if not len(found.differing):
        st.success(f"{names[0]} and {names[1]} make the same groups on this text.", icon=":material/check_circle:")
        return
    small_print(f"{agreement_sentence(found)} Each bracket is a group, student ~ teacher; │ parts its tokens.")
    table = disagreements(a, b, found.differing)
    group_table(table, "difference_table", f"Stretches where {names[0]} and {names[1]} differ")
