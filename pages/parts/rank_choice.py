"""What page Rank ranks: the tokenizers, whether one side is fixed, and the figure that orders the pairs."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from ctkd_core.errors import TokenizerError
from ctkd_core.figures.pair_ranking import FIGURES
from ctkd_core.lab import saved_views
from ctkd_core.lab.code import NamedText
from ctkd_core.pair.corpora.counting import Text
from ctkd_core.tokenizers.assets import is_installed, is_prepared
from ctkd_core.tokenizers.catalog import TOKENIZERS
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.sources import folders_unlisted
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import consent, late_values, state
from pages.parts.attempts import show_problem
from pages.parts.launching import may_change
from pages.parts.rank_corpus import OwnCorpus, rank_corpus
from pages.parts.text_input import forget_text, named, text_input
from pages.parts.uploads import tokenizer_file

# What the address holds is what the fields show.
TEACHERS, STUDENTS, ALL = SIDES = ("teachers for the student", "students for the teacher", "all pairs")
SAMPLES, TEXT, CORPUS = ON = ("the bundled samples", "one text", saved_views.CORPUS)
BY = {one.name: key for key, one in FIGURES.items()}
CHOICES = {  # what the address may say, and what each of it names
    "side": ("side to fix", SIDES),
    "rank_by": ("figure to rank by", tuple(BY)),
    saved_views.MEASURED_ON: ("what to measure on", ON),
}
MOST = 24  # tokenizers


@dataclass(frozen=True, eq=False)
class Choice:
    """Loaded tokenizers by source, one of SIDES, one of FIGURES, and the pair of the bar above (sources).

    text, corpus: what is measured on; neither: the bundled samples
    """

    tokenizers: dict[str, Tokenizer]
    side: str
    by: str
    pair: tuple[str, str]
    text: NamedText | None = None
    corpus: OwnCorpus | None = None

    @property
    def texts(self) -> tuple[Text, ...] | None:
        """What is measured; None for the bundled samples."""
        if self.corpus is not None:
            return self.corpus.sample.texts
        return None if self.text is None else (self.text.text,)


def choice() -> Choice | None:
    """The controls and what they say; None when something may not be loaded yet, or too little is chosen."""
    side = st.segmented_control(
        "Rank",
        SIDES,
        default=TEACHERS,
        key="side",
        bind="query-params",
        required=True,
    )
    names = _tokenizers()
    by = st.pills(
        "Order by",
        list(BY),
        default=next(iter(BY)),
        key="rank_by",  # "by" is page Evidence's
        bind="query-params",
        required=True,
        wrap=True,
        help="  \n".join(f"**{one.name}**: {one.meaning}" for one in FIGURES.values()),
    )
    on = _measured_on()
    text = named(text_input("Text to measure on", tokenizers=False)) if on == TEXT else None
    corpus = rank_corpus() if on == CORPUS else None
    side, by = side or TEACHERS, by or next(iter(BY))
    student, teacher = state.pair()
    fixed = {TEACHERS: [student], STUDENTS: [teacher]}.get(side, [])
    sources = list(dict.fromkeys([*fixed, *names]))
    if unasked := consent.missing(sources):
        consent.ask(unasked)
        return None
    if len(sources) < 2:
        st.info("Choose at least two tokenizers.", icon=":material/touch_app:")
        return None
    if text is not None and not text.text:
        st.info("There is no text yet. Type one above, or upload a file.", icon=":material/edit_note:")
        return None
    if on == CORPUS and corpus is None:
        return None
    loaded = _loaded(sources)
    if len(loaded) < 2 or any(source not in loaded for source in fixed):
        return None
    return Choice(loaded, side, BY[by], (student, teacher), text, corpus)


def _measured_on() -> str:
    """One of ON."""
    return (
        st.segmented_control(
            "Measure on",
            ON,
            default=SAMPLES,
            key=saved_views.MEASURED_ON,
            bind="query-params",
            required=True,
            on_change=forget_text,
            help="The samples are short texts of many kinds; a text or a corpus of your own says how the pairs cut "
            "what you train on.",
        )
        or SAMPLES
    )


def _tokenizers() -> list[str]:
    here = [row.name for row in TOKENIZERS.values() if (is_prepared(row) if row.on_request else is_installed(row))]
    _take_upload()
    current = st.session_state.get("ranked") or st.query_params.get_all("ranked")
    options = list(dict.fromkeys([*TOKENIZERS, *current]))
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    with left:
        chosen = st.multiselect(
            "Tokenizers",
            options,
            default=here,
            key="ranked",
            bind="query-params",
            accept_new_options=True,
            max_selections=MOST,
            on_change=_agreed,
            help="Choose, or type a hub id, a folder, or the path of a tokenizer.json.",
        )
    with right, st.popover("Upload a tokenizer.json", icon=":material/upload_file:", disabled=not may_change()):
        tokenizer_file("ranked", _take)
        st.caption("It is added to the list. Its text is never executed; a child process reads it first.")
    show_problem("ranked")
    return list(chosen)


def _loaded(sources: list[str]) -> dict[str, Tokenizer]:
    """The tokenizers; one that can't be loaded is told and left out."""
    found = {}
    with folders_unlisted(), st.spinner("Loading tokenizers; a first conversion takes some seconds", show_time=True):
        for source in sources:
            try:
                found[source] = load_tokenizer(source)
            except TokenizerError as fault:
                state.show_error(fault)
    return found


def _agreed() -> None:
    """What somebody chose or typed in this field needs no question; an address calls no callback."""
    if late_values.put_back("ranked"):
        return
    for source in st.session_state.get("ranked") or ():
        consent.give(str(source))


def _take(source: str) -> None:
    st.session_state["ranked_upload"] = source


def _take_upload() -> None:
    """Add an uploaded file to the chosen ones; before their field is drawn."""
    source = st.session_state.pop("ranked_upload", None)
    if source is not None:
        before = st.session_state.get("ranked") or []
        late_values.put("ranked", list(dict.fromkeys([*before, source])))
