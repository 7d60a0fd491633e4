"""A tour as it is shown: taken from the address, a box with Back, Next and Leave, a frame around what it is about.

The box stays in view while one scrolls, and each step brings what it is about into view below the box.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from ctkd_core.errors import unknown
from ctkd_core.lab.question import DEFAULT_METHODS
from pages.parts import address, late_values, losses_choice, run_views, state, text_input
from pages.parts.component import tour_look
from pages.parts.tours import TOURS, Step, Tour

PARAMETER = "tour"
STYLE = Path(__file__).parent / "tour.css"


def bound(page: str) -> dict[str, Any]:
    """Parameters that belong to a widget of a page with a tour, each with the widget's default.

    The widget must be told of a change, too, or it would put its own value back.
    """
    # Imported here: every page draws the box of a tour, and few of them need what these files load.
    if page == "align":
        from pages.parts.align_tabs import TABS

        return {**state.DEFAULT_METHODS, "text": text_input.DEFAULT, "tab": TABS[0]}
    if page == "losses":
        from ctkd_core.figures.losses import PARTS

        return {"example": losses_choice.FIRST, "part": PARTS["distil"], "losses": list(DEFAULT_METHODS)}
    from ctkd_core.distill.config import PRESETS

    return {"view": run_views.LIST, "preset": next(iter(PRESETS))}


def link(tour: Tour) -> dict[str, str]:
    """Parameters of a link that begins a tour."""
    return {PARAMETER: tour.name}


def take(page: str) -> None:
    """Set the page up where the address begins a tour; before the bar is drawn. Names what isn't known."""
    asked = st.query_params.get(PARAMETER)
    if asked is None:
        return
    tour, step = _named(asked)
    if tour is None:
        address.change({PARAMETER: None})
        problem = unknown("tour", asked.partition(".")[0][:80], TOURS)
        state.warn_of_unknown([str(problem)])
    elif tour.page != page:
        address.change({PARAMETER: None})  # the reader went to another page: that leaves it
    elif step is None:
        _go(tour, 0)


def box(page: str) -> None:
    """The step that the address names, above the page."""
    tour, step = _named(st.query_params.get(PARAMETER) or "")
    if tour is None or step is None or tour.page != page:
        return
    shown, last = tour.steps[step], len(tour.steps) - 1
    st.html(STYLE)
    st.html(f"<style>{_frame(shown)}</style>")
    with st.container(border=True, key="tour"):
        st.markdown(f"{tour.icon} **{tour.title}** · {step + 1} of {last + 1} · **{shown.title}**  \n{shown.text}")
        with st.container(horizontal=True, gap="small"):
            st.button(
                "Back",
                key="tour_back",
                icon=":material/arrow_back:",
                disabled=not step,
                on_click=_go,
                args=(tour, step - 1),
            )
            if step < last:
                st.button(
                    "Next",
                    key="tour_next",
                    icon=":material/arrow_forward:",
                    type="primary",
                    on_click=_go,
                    args=(tour, step + 1),
                )
            st.button(
                "Leave" if step < last else "Done",
                key="tour_leave",
                icon=":material/close:",
                type="secondary" if step < last else "primary",
                on_click=leave,
            )
            st.caption("It comes back from the menu Help.", width="content")
            tour_look(f"{tour.name}.{step + 1}", shown.look_at, key="tour_look")


def leave() -> None:
    """End the tour; the page stays as it is (a callback)."""
    address.change({PARAMETER: None})


def _named(asked: str) -> tuple[Tour | None, int | None]:
    """The tour and the step of the address; no step without a number that it has."""
    name, _, number = asked.partition(".")
    tour = TOURS.get(name)
    if tour is None or not state.is_number(number) or not 0 < int(number) <= len(tour.steps):
        return tour, None
    return tour, int(number) - 1


def _go(tour: Tour, step: int) -> None:
    """Show one step: what is bound to the address is set in its widget as well."""
    if tour.own_pair:
        state.default_pair()
    wanted, defaults = tour.steps[step].address, bound(tour.page)
    for name, value in wanted.items():
        if name in defaults:
            late_values.put(name, defaults[name] if value is None else value)
    named: dict[str, str | list[str] | None] = {}
    if text := wanted.get("text"):
        named |= text_input.put_sample(text)
    if example := wanted.get("example"):
        named |= losses_choice.put_example(example)
    named |= {name: None if value == defaults.get(name) else value for name, value in wanted.items()}
    address.change(named | {PARAMETER: f"{tour.name}.{step + 1}"})


def _frame(step: Step) -> str:
    return f".st-key-{step.look_at} {{ outline: 3px dashed #D55E00; outline-offset: 4px; border-radius: 6px; }}"
