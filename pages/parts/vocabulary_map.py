"""The upper part of page Vocabulary map: the verdict, what each class gets, and the density of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from ctkd_core.figures.vocabulary import density_figure, density_table
from ctkd_core.figures.vocabulary_bars import audit_figure, audit_table, identity_sentence, map_sentence
from ctkd_core.markup.glossary import explained
from ctkd_core.pair.advice import VERDICTS
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import Projection
from ctkd_core.vocabulary.density import ORDERS, WEIGHTS, IdOrder, Window, around, order_of, window_of_box
from pages.parts import state
from pages.parts import vocabulary_data as data
from pages.parts.plots import plot
from pages.parts.terms import small_print
from pages.parts.twin import folded, twin

MOUSE = ("click", "box")  # not both: plotly takes no clicks while it draws boxes


@dataclass(frozen=True)
class View:
    """What the page shows."""

    map: Projection
    student: Tokenizer
    teacher: Tokenizer

    @property
    def order(self) -> str:
        """The order of both sides."""
        return st.session_state.get("order") or ORDERS[0]

    @property
    def orders(self) -> tuple[IdOrder, IdOrder]:
        """Student and teacher ids in that order."""
        return order_of(self.student, self.order), order_of(self.teacher, self.order)

    def window(self, token: int | None) -> Window:
        """The window of the address; else around the looked-up token, else the beginning."""
        found = data.window()
        if found is not None:
            return found.clamped(*self.map.shape)
        return around(self.map, 0 if token is None else token, self.orders[0])


def verdict(view: View) -> None:
    """Which loss the vocabularies ask for, by which rule, and what this map does."""
    found = data.advice(view.student, view.teacher)
    because = [state.plain(sentence) for sentence in found.because]
    sentence, rule = st.columns([9, 1.4], vertical_alignment="center", gap="small")
    with sentence:
        st.info(
            f"By the vocabularies alone, **{found.verdict}** suits this pair: {VERDICTS[found.verdict]}. "
            f"{because[0]}  \nThis map: {map_sentence(view.map)}",
            icon=":material/gavel:",
        )
    with rule, st.popover("The rule", icon=":material/help:", width="stretch"):
        st.markdown("\n".join(f"- {sentence}" for sentence in because))
        for warning in found.warnings:
            st.caption(f":material/warning: {state.plain(warning)}")
        st.caption(
            "The rule is X-Token's audit; page Pair has all its figures, and what experiments found.",
            help=explained("P-KL", "canonical form"),
        )
    if view.student.fingerprint == view.teacher.fingerprint:
        st.success(identity_sentence(view.map), icon=":material/done_all:")


def audit_bars(view: View) -> None:
    """Matched and total of each class, as bars and as a table."""
    audit = view.map.audit()
    said = ", ".join(f"{name} {counts['matched']} of {counts['total']}" for name, counts in audit.items())
    plot(lambda: audit_figure(audit), key="audit", alt=f"Student tokens matched by class: {said}")
    twin(audit_table(audit), "audit_table", "Student tokens matched by class", shares=("share",))


def density_map(view: View, token: int | None) -> None:
    """The whole matrix in bins; a click or a drawn box moves the window."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Order", ORDERS, key="order", bind="query-params", on_change=_reordered, width=150)
        weight = st.selectbox(
            "Colour",
            WEIGHTS,
            key="cells",
            bind="query-params",
            width=150,
            help="entries: how many; mass: their weights added up",
        )
        mouse = st.segmented_control(
            "Mouse",
            MOUSE,
            default=MOUSE[0],
            key="mouse",
            required=True,
            persist_state="session",
            help="click: a bin becomes the window, dragging zooms the picture. box: drag a box to make it the window.",
        )
    rows, columns = view.orders
    found = data.binned(view.map, view.order, weight)
    names = (view.student.name, view.teacher.name)
    window = view.window(token)
    key = f"density_{mouse}"  # another mode, another element: no old box lies over it

    def selected() -> None:
        chosen = st.session_state[key]["selection"]
        picked = _box(chosen) or _point(chosen)
        if picked is not None:
            data.set_window(window_of_box(found, *picked))
            data.open_panel("Window")

    plot(
        lambda: density_figure(found, rows, columns, window, names, boxes=mouse == "box"),
        key=key,
        on_select=selected,
        selection_mode="box" if mouse == "box" else "points",
        alt=f"Density of the map, {view.map.shape[0]} student ids by {view.map.shape[1]} teacher ids, "
        f"{view.map.matrix.nnz} entries; the frame is the window below",
    )
    small_print("Click a bin or draw a box: the tab Window shows its tokens. By keyboard: the numbers in that tab.")
    with folded("The fullest bins as a table"):
        st.dataframe(
            density_table(found, rows, columns),
            key="density_table",
            hide_index=True,
            height=260,
            alt="The fullest bins of the density",
        )


def _reordered() -> None:
    # Positions mean something else now: let the window follow the token again.
    data.set_window(None)


def _box(selection: Any) -> tuple[float, float, float, float] | None:
    boxes = selection.get("box") or []
    if not boxes or len(boxes[0].get("x", ())) < 2 or len(boxes[0].get("y", ())) < 2:
        return None
    (x0, x1), (y0, y1) = sorted(boxes[0]["x"][:2]), sorted(boxes[0]["y"][:2])
    return y0, y1, x0, x1


def _point(selection: Any) -> tuple[float, float, float, float] | None:
    points = selection.get("points") or []
    if not points:
        return None
    x, y = float(points[0]["x"]), float(points[0]["y"])
    return y, y, x, x
