"""Whether pages may change something on this machine: only its user may ask for that.

The one check before every start, cancel, archive, delete, upload, background job, download and reading of a path.
"""

from __future__ import annotations

import os
from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError

REFUSAL = (
    "This app can be reached from other machines, so pages don't start runs and change nothing else on this one. Start "
    "it with `ctkd app --allow-launch` (or set CTKD_ALLOW_LAUNCH=1), or use `ctkd` on the machine itself."
)


class NotAllowedError(CtkdError):
    """Something that only this machine's user may do."""


def may_change() -> bool:
    """CTKD_ALLOW_LAUNCH where it is set (`ctkd app` sets it), else whether the server listens on loopback only."""
    given = os.environ.get("CTKD_ALLOW_LAUNCH")
    if given is not None:
        return given == "1"
    from ctkd_core.background.addresses import is_loopback

    return is_loopback(st.get_option("server.address") or "")


def check_may_change() -> None:
    """Raise NotAllowedError where `may_change` is false: buttons are disabled then, but a click can be forged."""
    if not may_change():
        raise NotAllowedError(REFUSAL)


def change_button(label: str, **settings: Any) -> bool:
    """`st.button` for what changes something: disabled where pages may not, with the reason as its help."""
    if not may_change():
        settings |= {"disabled": True, "help": REFUSAL}
    return st.button(label, **settings)
