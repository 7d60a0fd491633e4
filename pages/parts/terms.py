"""Terms of art explained where they stand: sentences whose terms open under mouse and keyboard, and the whole list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from ctkd_core.markup import glossary
from ctkd_core.markup.hover import marked


def small_print(sentence: str) -> None:
    """A sentence in small print; terms in it explain themselves."""
    st.html(marked(sentence))


@st.dialog("Glossary", width="large")
def glossary_dialog() -> None:
    """Every term with its meaning; a field narrows the list."""
    asked = st.text_input("Find a term", key="find_term", placeholder="row, P-KL, boundary ...").strip().lower()
    shown = [term for term in glossary.TERMS if asked in f"{' '.join(term.names)} {term.meaning}".lower()]
    lines = [f"**{', '.join(term.names)}**  \n{term.meaning}." for term in shown]
    st.markdown("\n\n".join(lines) or "No term has that in its name or meaning.")


def columns(names: Iterable[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a table's columns: those given, and for each other one whose name has a term what it means."""
    meant = {name: glossary.explained_in(name.replace("_", " ")) for name in map(str, names)}
    found = {name: st.column_config.Column(help=help_) for name, help_ in meant.items() if help_}
    return found | dict(given or {})
