"""Rank: which teacher suits my student, which student my teacher, or all ordered pairs of several tokenizers."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import rank_code
from pages.parts import rank_choice, state
from pages.parts.frame import framed
from pages.parts.rank_views import export, measured, overview, table
from pages.parts.share import share


def main() -> None:
    st.title("Rank pairs", anchor=False)
    st.markdown(
        "Which teacher suits my student? Every pair is measured on the bundled samples, or on a text or corpus of "
        "yours: what the vocabularies share, how finely both cut texts alike, what can be carried over token by token, "
        "and what to train with. The figures are those of `ctkd rank`."
    )
    state.tell_unknown(rank_choice.CHOICES)
    with state.errors_shown():
        chosen = rank_choice.choice()
        if chosen is not None:
            body(chosen)


def body(chosen: rank_choice.Choice) -> None:
    """The heat map beside the best pair, and the table of all pairs."""
    try:
        rows = measured(chosen)
    except CtkdError as fault:
        state.show_error(fault)
        return
    if not rows:
        return
    overview(rows, chosen)
    table(rows, chosen)
    export(rows, chosen)
    student, teacher = chosen.pair
    share(
        "rank",
        rank_code(
            list(chosen.tokenizers),
            chosen.by,
            student if chosen.side == rank_choice.TEACHERS else None,
            teacher if chosen.side == rank_choice.STUDENTS else None,
            chosen.text,
            *_corpus(chosen),
        ),
    )


def _corpus(chosen: rank_choice.Choice) -> tuple[str, str]:
    """What names the corpus in code, and what is to be said of that."""
    if chosen.corpus is None:
        return "", ""
    return chosen.corpus.place, "The file was uploaded: give its path." if chosen.corpus.is_upload else ""


if framed():
    main()
