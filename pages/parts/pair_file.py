"""The report on the pair as one HTML file: made when somebody asks for it, with the texts and runs that are at hand."""

from __future__ import annotations

import streamlit as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.pair.full_report import METHODS, MOST_CHARACTERS, SAMPLES, full_report
from ctkd_core.tokenizers.sample_texts import TEXTS
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state
from pages.parts.downloads import download

HELP = (
    "One file that opens from disk, without a network: advice with its evidence, vocabularies, map, texts with "
    "disagreements, and the finished runs of this pair. It takes some seconds."
)


def report_button(student: Tokenizer, teacher: Tokenizer) -> None:
    """A download that computes the report on a click."""
    sources, texts = state.pair(), _texts()
    names = tuple(dict.fromkeys((METHODS[0], *_chosen(), *METHODS)))

    def made() -> bytes:
        from ctkd_core.figures.report_pair import pair_html

        try:
            found = full_report(student, teacher, texts, names)
            runs = loaders.store().finished_of(*sources)
            return pair_html(found, runs, sources).encode("utf-8", "replace")
        except CtkdError as fault:  # the file says it: a download has no other place to tell
            return f"The report couldn't be made: {fault}\n".encode("utf-8", "replace")

    download(
        "Report as HTML (5 MB)",
        made,
        "pair.html",
        "text/html",
        "pair_html",
        icon=":material/description:",
        help=HELP,
    )


def _texts() -> dict[str, str]:
    """The samples, and the text that was typed on page Align."""
    found = {name: TEXTS[name].text for name in SAMPLES}
    own = str(st.session_state.get("typed") or "")
    if 0 < len(own) <= MOST_CHARACTERS and all(own != text.text for text in TEXTS.values()):
        found["own text"] = own
    return found


def _chosen() -> list[str]:
    """The methods of the bar that align."""
    able = [row.name for row in methods.aligning()]
    return [name for name in state.method_names() if name in able]
