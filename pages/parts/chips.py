"""The token component: paired chips with ribbons, drawn in the browser; a click comes back as the pinned group."""

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
        "ctkd_token_chips",
        html='<div class="ctkd"></div>',
        css=(_HERE / "chips.css").read_text(encoding="utf-8"),
        js=(_HERE / "chips.js").read_text(encoding="utf-8"),
    )


def token_chips(data: dict[str, Any], pinned: int | None, on_pin: Callable[[int | None], None], key: str) -> None:
    """Mount the component with a page of `ctkd_core.figures.chips.chip_page`; `on_pin` gets the group or None."""

    def changed() -> None:
        sent = (st.session_state[key] or {}).get("pin") or {}
        group = sent.get("group")
        on_pin(int(group) if isinstance(group, int | float) else None)

    _component()(key=key, data=data | {"pinned": pinned}, on_pin_change=changed)
