"""Files to take along, which are only made when somebody asks for one."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

ICON = ":material/download:"


def download(
    label: str,
    make: Callable[[], str | bytes],
    file: str,
    mime: str,
    key: str,
    icon: str = ICON,
    help: str | None = None,
) -> None:
    """A button; a click calls `make`, and the page isn't drawn again."""
    st.download_button(label, make, file, mime, key=key, on_click="ignore", icon=icon, help=help)


def file_name(*parts: str) -> str:
    """A name for a file, without an ending: letters and digits of the parts, dashes for everything else."""
    return "".join(c if c.isalnum() else "-" for c in "-".join(parts))
