"""Evidence: which method for which kind of pair, tried; claims of papers beside what was found; how to do it again."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.methods.evidence import Digest, load
from pages.parts import state
from pages.parts.evidence_answers import answers
from pages.parts.evidence_claims import analyses, claims, glance, reproduce
from pages.parts.evidence_standing import standing
from pages.parts.frame import framed

TABS = {
    "Methods": standing,
    "Answers": answers,
    "At a glance": glance,
    "Claims": claims,
    "Analyses": analyses,
    "Do it again": reproduce,
}
RULE = (
    "Decided means: at least three seeds, and a difference at equal seeds whose 95 % interval leaves 0 out and that is "
    "more than rounding. "
    "Everything else is undecided, and said so. With three seeds the probability of chance can't fall below 0.25: "
    "take such a verdict as a lead. Each verdict is of one comparison, not corrected for how many there are: of twenty "
    "without any effect one would be decided. Holm's correction for the methods of a setting stands beside. All seeds "
    "are measured on the same held-out text unless a setting says otherwise: intervals cover other draws and orders of "
    "the training text, not other held-out text."
)


def main() -> None:
    st.title("Evidence", anchor=False)
    st.markdown(
        "Which method suits which kind of pair, as far as it was tried. Every figure comes from runs that are kept "
        f"with their seeds, versions and machines; none was typed. {RULE}"
    )
    try:
        found = load()
    except CtkdError as fault:
        state.show_error(fault)
        return
    if not found.experiments:
        st.info("No experiment comes with this installation.", icon=":material/science:")
        st.markdown("In a checkout of the repository, this runs the small ones and writes the evidence anew:")
        st.code("make evidence", language=None, wrap_lines=True)
        return
    body(found)


def body(found: Digest) -> None:
    """The tabs; only the open one is drawn, and the address holds it."""
    earlier = st.query_params.get("part")  # what older addresses call it; page Losses has a part of its own
    if earlier in TABS and "section" not in st.query_params:
        st.session_state["section"] = earlier
        del st.query_params["part"]
    tabs = st.tabs(list(TABS), key="section", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, TABS.values()):
        if tab.open:
            with tab, state.errors_shown():
                draw(found)


if framed():
    main()
