"""Whether a tokenizer that an address names may be read: somebody else may have written the address.

Names of the catalog are read at once. A path would be read and a hub id downloaded, so the page asks first; what was
chosen in the bar, uploaded, or agreed to once isn't asked about again until the server ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from ctkd_core.errors import short
from ctkd_core.files import home
from ctkd_core.tokenizers.catalog import TOKENIZERS
from pages.parts import state
from pages.parts.launching import REFUSAL, change_button, may_change

MOST = 1_000  # sources that are remembered
_given: dict[str, None] = {}


def give(source: str) -> None:
    """Remember that this machine's user named a source."""
    if may_change():
        _given[source] = None
        while len(_given) > MOST:
            del _given[next(iter(_given))]


def chosen_in_bar(key: str) -> None:
    """What somebody chose or typed in a field of the bar (a callback; an address calls none)."""
    if source := st.session_state.get(key):
        give(str(source))


def missing(sources: Iterable[str]) -> list[str]:
    """Those that nobody agreed to yet."""
    return [source for source in dict.fromkeys(sources) if names_a_file(source) and source not in _given]


def ask(sources: list[str]) -> None:
    """Say what the address names, with a button that agrees and one that goes back to the catalog's pair."""
    for source in sources:
        what = "the file or folder" if _is_local(source) else "the hub's tokenizer"
        st.warning(f"The address names {what} {state.plain(short(source))}.", icon=":material/link:")
    if may_change():
        st.caption("Nothing was read or downloaded yet. Go on if you trust who gave you this address.")
    else:
        st.caption(state.plain(REFUSAL))
    with st.container(horizontal=True):
        change_button("Load it", key="load_named", icon=":material/check:", on_click=_agree, args=(sources,))
        st.button("Use the default pair", key="default_pair", on_click=state.default_pair)


def names_a_file(source: str) -> bool:
    """Whether loading this source would read a file that isn't the catalog's, or ask the hub."""
    name = source.strip()
    return name not in TOKENIZERS and ("/" in name or _is_local(name)) and not _is_upload(name)


def _is_upload(name: str) -> bool:
    """Whether it is a file that was uploaded here."""
    try:
        return Path(name).resolve().is_relative_to((home() / "uploads").resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _is_local(name: str) -> bool:
    if name.startswith(("~", ".", "/")) or "\\" in name or name.endswith(".json"):
        return True
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _agree(sources: list[str]) -> None:
    for source in sources:
        give(source)
