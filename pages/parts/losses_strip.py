"""The component of page Losses: groups of tokens with a bar for each method; a click comes back as the chosen group."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@cache
def _component() -> Any:
    return st.components.v2.component(
        "ctkd_losses_strip",
        html='<div class="lab"></div>',
        css=(_HERE / "losses_strip.css").read_text(encoding="utf-8"),
        js=(_HERE / "losses_strip.js").read_text(encoding="utf-8"),
    )


def strip_component(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int], None], key: str) -> None:
    """Mount it with what `ctkd_core.figures.losses.strip` gives; `on_pin` gets the group."""

    def changed() -> None:
        sent = (st.session_state[key] or {}).get("pin") or {}
        group = sent.get("group")
        if isinstance(group, int | float):
            on_pin(int(group))

    _component()(key=key, data=data | {"pinned": pinned}, on_pin_change=changed)
