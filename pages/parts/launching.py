"""Whether pages may start runs: a run is a process on this machine, so only this machine's user may ask for one."""

from __future__ import annotations

import os

import streamlit as st

REFUSAL = (
    "This app can be reached from other machines, so pages don't start runs. Start it with `ctkd app --allow-launch` "
    "(or set CTKD_ALLOW_LAUNCH=1), or use `ctkd distill` on the machine itself."
)


def may_launch() -> bool:
    """CTKD_ALLOW_LAUNCH where it is set (`ctkd app` sets it), else whether the server listens on loopback only."""
    given = os.environ.get("CTKD_ALLOW_LAUNCH")
    if given is not None:
        return given == "1"
    from ctkd_core.background.addresses import is_loopback

    return is_loopback(st.get_option("server.address") or "")
