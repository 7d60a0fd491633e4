"""Figures are drawn when the rest of a page has been sent, in their places."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import plots
from tests.patience import PATIENCE


def page() -> None:
    import plotly.graph_objects as go
    import streamlit as st

    from ctkd_core.errors import CtkdError
    from pages.parts.plots import figures_last, plot

    order = st.session_state.setdefault("order", [])

    def figure(name: str) -> go.Figure:
        order.append(name)
        if name == "faulty":
            raise CtkdError("there is nothing to draw")
        return go.Figure(layout={"title": {"text": name}})

    @st.fragment
    @figures_last()
    def inner() -> None:
        plot(lambda: figure("inner"), key="inner", alt="inner")
        order.append("text of the fragment")
        st.button("again", key="again")

    with figures_last():
        plot(lambda: figure("faulty"), key="faulty", alt="faulty")
        plot(lambda: figure("outer"), key="outer", alt="outer")
        inner()
        order.append("text of the page")
    plot(lambda: figure("after"), key="after", alt="after")
    order.append("end")


def test_figures_follow_the_rest_and_stand_where_they_were_asked_for() -> None:
    at = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not at.exception
    assert at.session_state["order"] == [
        *("text of the fragment", "inner", "text of the page", "faulty", "outer", "after", "end")
    ]
    assert [element.value for element in at.error] == ["there is nothing to draw"]
    assert [element.proto.id.split("-")[-1] for element in at.get("plotly_chart")] == ["outer", "inner", "after"]


def page_with_components() -> None:
    import plotly.graph_objects as go
    import streamlit as st

    from pages.parts.plots import figures_last, plot

    shown = st.toggle("figure", value=st.session_state.setdefault("at_first", True))
    with figures_last(components=True):
        if shown:
            plot(go.Figure, key="figure", alt="figure")


@pytest.mark.parametrize("at_first", [True, False])
def test_components_get_a_head_start_where_a_session_begins_with_a_figure(
    at_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(plots, "time", SimpleNamespace(sleep=slept.append))
    at = AppTest.from_function(page_with_components, default_timeout=PATIENCE)
    at.session_state["at_first"] = at_first
    at.run()
    assert len(slept) == at_first
    at.toggle[0].set_value(not at_first).run().toggle[0].set_value(True).run()
    assert len(at.get("plotly_chart")) == 1 and len(slept) == at_first


def test_a_page_that_ends_with_a_fault_leaves_no_figures_for_the_next() -> None:
    with pytest.raises(ZeroDivisionError), plots.figures_last():
        plots._here.waiting.append((None, lambda: pytest.fail("drawn after a fault")))  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert plots._here.waiting is None
