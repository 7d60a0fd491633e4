"""Page Evidence, answers: each question answered in words, what didn't reproduce, and what the runs took."""

from __future__ import annotations

import streamlit as st

from ctkd_core.figures.evidence_words import MISSED, cpu_sentence, missed_sentence, not_reproduced, spent_sentence
from ctkd_core.lab.code import answers_code
from ctkd_core.methods.evidence import Claim, Digest, Experiment
from pages.parts import state
from pages.parts.share import share


def answers(found: Digest) -> None:
    """Every question with its answer, then the claims that didn't reproduce."""
    there = [experiment for experiment in found.experiments if experiment.answer]
    if not there:
        st.info("No question has an answer yet.", icon=":material/science:")
    for experiment in there:
        with st.container(border=True):
            st.markdown(f"**{state.plain(experiment.title)}**")
            st.caption(state.plain(experiment.question))
            answer(experiment)
    st.header("What did not reproduce", anchor=False)
    for verdict in MISSED:
        st.markdown(f"**{verdict.capitalize()}**: {state.plain(missed_sentence(found, verdict))}")
        for experiment, claims in not_reproduced(found, verdict):
            with st.expander(f"{state.plain(experiment.title)} ({len(claims)})"):
                st.markdown("\n".join(_missed(claim) for claim in claims))
    st.header("What it took", anchor=False)
    st.markdown(state.plain(f"{spent_sentence(found)} {cpu_sentence(found)}"))
    share("evidence", answers_code())


def answer(experiment: Experiment) -> None:
    """The answer to a question, a paragraph after another; nothing where there is none."""
    for paragraph in filter(None, experiment.answer.split("\n\n")):
        st.markdown(state.plain(paragraph))


def _missed(claim: Claim) -> str:
    """A claim as an item of a list."""
    parts = (claim.claim, f"({claim.source}.)", f"Found: {claim.ours}.", claim.note)
    return f"- {state.plain(' '.join(filter(None, parts)))}"
