"""Page Evidence, the rest: all settings at a glance, claims, tables of analyses and of runs, how to do it again."""

from __future__ import annotations

import streamlit as st

from ctkd_core.figures.evidence import claim_rows, glance_rows
from ctkd_core.figures.evidence_words import overlap_sentences
from ctkd_core.lab.code import claims_code, experiments_code, glance_code
from ctkd_core.methods.evidence import Claim, Digest, Experiment
from pages.parts import state
from pages.parts.evidence_answers import answer
from pages.parts.share import share
from pages.parts.twin import twin

MARKS = {
    "reproduced": ":green[:material/check_circle:]",
    "contradicted": ":red[:material/cancel:]",
    "undecided": ":orange[:material/help:]",
    "not run": ":gray[:material/hourglass_empty:]",
}


def glance(found: Digest) -> None:
    """Every method in all settings of a kind and regime."""
    rows = glance_rows(found)
    if not rows:
        st.info("No setting has been tried yet.", icon=":material/science:")
        return
    st.caption(
        "In how many settings each method, as it comes, predicts held-out text better than fine-tuning on the same "
        "text (SFT): bits per byte minus SFT's, so less than 0 is better. The settings stand in the tab Methods."
    )
    st.dataframe(
        [{state.plain(k): state.plain(v) for k, v in row.items()} for row in rows],
        key="glance",
        hide_index=True,
        height="content",
        alt="Methods beside fine-tuning by kind of pair and regime",
    )
    if shared := overlap_sentences(found):
        st.caption("Settings of one row that share text aren't independent of each other:")
        st.caption("\n".join(f"- {state.plain(sentence)}" for sentence in shared))
    share("evidence", glance_code())


def claims(found: Digest) -> None:
    """What papers and we say, beside what was found."""
    if not found.claims:
        st.info("No claim has been put to the test yet.", icon=":material/science:")
        return
    counts = {verdict: sum(claim.verdict == verdict for _, claim in found.claims) for verdict in MARKS}
    st.markdown(" · ".join(f"{MARKS[verdict]} {count} {verdict}" for verdict, count in counts.items()))
    asked = st.selectbox("Verdict", ["all", *MARKS], key="verdict", bind="query-params", width=230)
    for verdict in MARKS:
        for experiment, claim in found.claims:
            if claim.verdict == verdict and asked in ("all", verdict):
                _claim(experiment, claim)
    twin(claim_rows(found), "claim_rows", "Claims and verdicts")
    share("evidence", claims_code("" if asked == "all" else asked))


def _claim(experiment: Experiment, claim: Claim) -> None:
    with st.container(border=True):
        st.markdown(f"{MARKS[claim.verdict]} **{claim.verdict}** · {state.plain(claim.claim)}")
        if claim.note:
            st.markdown(f":material/info: {state.plain(claim.note)}")
        st.caption(f"Said by: {state.plain(claim.source)}  \nFound: {state.plain(claim.ours)} · {experiment.name}")


def analyses(found: Digest) -> None:
    """Tables of experiments that train nothing, and further ones of runs."""
    there = [experiment for experiment in found.experiments if experiment.tables]
    if not there:
        st.info("No analysis has been run yet.", icon=":material/science:")
    for experiment in there:
        st.header(state.plain(experiment.title), anchor=False)
        st.caption(state.plain(experiment.question))
        answer(experiment)
        for k, table in enumerate(experiment.tables):
            st.markdown(f"**{state.plain(table.title)}**")
            rows = [dict(zip(table.columns, map(_cell, row))) for row in table.rows]
            st.dataframe(rows, key=f"table_{experiment.name}_{k}", hide_index=True, alt=table.title)
            if table.note:
                st.caption(state.plain(table.note))
        st.code(experiment.reproduce, language=None, wrap_lines=True)
    share("evidence", experiments_code([each.name for each in there], tables=True))


def _cell(value: object) -> str:
    """Columns may mix numbers and words, which a table can't sort or send as they are."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def reproduce(found: Digest) -> None:
    """One line a question, how long it takes, and what the kept results come from."""
    st.markdown(
        "In a checkout of the repository. A stopped command goes on where it was; `AGAIN=1` runs what has a result too "
        "and says both."
    )
    for experiment in found.experiments:
        with st.container(border=True):
            st.markdown(f"**{state.plain(experiment.title)}**")
            st.caption(state.plain(experiment.question))
            st.code(experiment.reproduce, language=None, wrap_lines=True)
            needs = f"; needs {', '.join(experiment.needs)}" if experiment.needs else ""
            made = experiment.environment
            kept = "Never run, or its results aren't kept here."
            if made:
                where = f"{made.get('platform')}, {made.get('device')}, {made.get('cpu_cores')} cores"
                kept = f"Kept results: {where}, Python {made.get('python')}, revision {str(made.get('revision'))[:9]}."
            st.caption(f"About {experiment.minutes} minutes on two cores{needs}.  \n{state.plain(kept)}")
    share("evidence", experiments_code([each.name for each in found.experiments]))
