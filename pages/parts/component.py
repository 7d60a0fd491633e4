"""Components of our own: groups of tokens drawn in the browser, a click on one comes back as the pinned group; and
what only a browser can do: save a picture, bring a thing into view.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@cache
def _component(file: str, root: str) -> Any:
    style = _HERE / f"{file}.css"
    return st.components.v2.component(
        f"ctkd_{file}",
        html=f'<div class="{root}"></div>',
        css=style.read_text(encoding="utf-8") if style.is_file() else None,
        js=(_HERE / f"{file}.js").read_text(encoding="utf-8"),
    )


def _mount(
    file: str, root: str, data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str
) -> None:
    def changed() -> None:
        sent = (st.session_state[key] or {}).get("pin") or {}
        group = sent.get("group")
        on_pin(int(group) if isinstance(group, int | float) else None)

    _component(file, root)(key=key, data=data | {"pinned": pinned}, on_pin_change=changed)


def token_chips(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str) -> None:
    """Paired chips with ribbons: a page of `ctkd_core.figures.chips.chip_page`; `on_pin` gets the group or None."""
    _mount("chips", "ctkd", data, pinned, on_pin, key)


def path_steps(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str) -> None:
    """The path cell by cell, played in the browser: a page of `ctkd_core.figures.path_steps.step_page`."""
    _mount("path_steps", "steps", data, pinned, on_pin, key)


def token_stack(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str) -> None:
    """Several methods under one text: a page of `ctkd_core.figures.stack.stack_page`; `on_pin` gets a group."""
    _mount("token_stack", "stack", data, pinned, on_pin, key)


def losses_strip(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str) -> None:
    """Groups with a bar for each method: what `ctkd_core.figures.losses.strip` gives; `on_pin` gets the group."""
    _mount("losses_strip", "lab", data, pinned, on_pin, key)


def picture_buttons(svg: str, name: str, key: str) -> None:
    """Two buttons that save a picture as SVG and as PNG, which the browser makes; `name`: of the file, no ending."""
    _component("picture", "picture")(key=key, data={"svg": svg, "name": name})


def tour_look(step: str, look_at: str, key: str) -> None:
    """Shows nothing: brings the element with the key `look_at` into view, once for each `step`."""
    _component("tour_look", "look")(key=key, data={"step": step, "look_at": look_at})
