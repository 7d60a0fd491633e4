"""Figures are drawn last: the rest of a page stands before the browser reads plotly, which holds it up for a second.

A figure's place is kept where the page asks for it, with what it showed before; it is made and sent when everything
else of the run was sent. So texts and tables beside it don't wait for it either.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.parts import late_values, state

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

FORMATS = ("PNG", "SVG")
# What a browser on its first visit needs to fetch and draw a page's own components.
HEAD_START_SECONDS = 1.2
_here = threading.local()


@contextlib.contextmanager
def figures_last(components: bool = False) -> Iterator[None]:
    """Around a page, or as a decorator of a fragment: its figures are drawn when it has ended without a fault.

    components  whether the page has components of our own. Where a session begins with it they get a head start
                before the figures: a browser that reads plotly draws nothing else for more than a second
    """
    outer = getattr(_here, "waiting", None)
    _here.waiting = []
    try:
        yield
        if components and not st.session_state.get("components_sent"):
            st.session_state["components_sent"] = True
            if _here.waiting:
                time.sleep(HEAD_START_SECONDS)
        for place, draw in _here.waiting:
            with place, state.errors_shown():
                draw()
    finally:
        _here.waiting = outer
        late_values.shown()


def toolbar(name: str) -> dict[str, Any]:
    """What plotly's toolbar does: its camera saves the figure under this name, as PNG or SVG as the reader chose."""
    kind = str(st.session_state.get("figure_format") or FORMATS[0]).lower()
    saved = {"format": kind, "filename": name, "scale": 2 if kind == "png" else 1}
    return {"displaylogo": False, "toImageButtonOptions": saved}


def chart(fig: Any, key: str, alt: str, file: str = "") -> None:
    """A figure of plotly, here and at once; `file`: the name under which it is saved, without one its key."""
    st.plotly_chart(fig, key=key, alt=alt, config=toolbar(file or key))


def plot(make: Callable[[], Any], *, key: str, alt: str, **settings: Any) -> None:
    """The figure that `make` gives, here, but after the rest; at once where nobody waits. `settings`: of Streamlit."""

    def draw() -> None:
        st.plotly_chart(make(), key=key, alt=alt, **{"config": toolbar(key)} | settings)

    waiting: list[tuple[DeltaGenerator, Callable[[], None]]] | None = getattr(_here, "waiting", None)
    if waiting is None:
        draw()
    else:
        waiting.append((st.container(), draw))
