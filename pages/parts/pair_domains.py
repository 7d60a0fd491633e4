"""The tab Domains on page Pair: how both sides cut the bundled samples and a file of one's own, domain by domain."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.figures.pair_domains import MEASURES, domain_figure, domain_sentence, domain_table, share_columns
from ctkd_core.tokenizers import snapshots
from pages.parts import late_values, state
from pages.parts import pair_data as data
from pages.parts.launching import may_change
from pages.parts.pair_corpus import own_corpus
from pages.parts.pair_slices import slices
from pages.parts.pair_verdict import View
from pages.parts.plots import plot
from pages.parts.selections import clicked
from pages.parts.twin import twin

EXCERPT = 280  # characters of a sample that are shown


def domains(view: View) -> None:
    """Bars of one measure, the card of the chosen domain, and all numbers as a table."""
    method = state.method_names()[0]
    rows = dict(data.domains(view.student, view.teacher, method))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        measure = st.pills(
            "Measure",
            list(MEASURES),
            default=next(iter(MEASURES)),
            key="measure",
            bind="query-params",
            required=True,
            wrap=True,  # beside the others it would be cut where the page is narrow or enlarged
            help="  \n".join(f"**{name}**: {m.meaning}" for name, m in MEASURES.items()),
        )
        rows |= own_corpus(view, method)
        late_values.put_known("domain", rows)
        chosen = st.selectbox(
            "Domain",
            list(rows),
            key="domain",
            bind="query-params",
            on_change=late_values.put_back,
            args=("domain",),
            width=230,
        )
    measure = measure or next(iter(MEASURES))
    left, right = st.columns([7, 4], gap="medium")
    with left:
        _figure(rows, measure, method, chosen)
    with right:
        _card(rows, chosen)
    table = domain_table(rows)
    twin(table, "domain_table", "Every metric of every domain", shares=tuple(share_columns()))
    slices(rows, chosen)
    st.caption("The samples are short texts written for this project: measure your own file before you trust a digit.")


def _figure(rows: dict[str, dict[str, Any]], measure: str, method: str, chosen: str) -> None:
    def selected() -> None:
        if points := clicked("domain_bars"):
            late_values.put("domain", str(points[0][0]))

    plot(
        lambda: domain_figure(rows, measure, method, chosen),
        key="domain_bars",
        on_select=selected,
        selection_mode="points",
        alt=f"{measure} by domain. {domain_sentence(chosen, rows[chosen])}",
    )
    st.caption(MEASURES[measure].meaning)


def _card(rows: dict[str, dict[str, Any]], chosen: str) -> None:
    from ctkd_core.pair.corpus import DOMAINS

    with st.container(border=True, key="domain_card"):
        st.markdown(state.plain(domain_sentence(chosen, rows[chosen])))
        if rows[chosen]["skipped"]:
            skipped = ", ".join(f"{count} {reason}" for reason, count in rows[chosen]["skipped"].items())
            st.caption(f"Skipped: {state.plain(skipped)}")
        if chosen not in DOMAINS:
            return
        text = DOMAINS[chosen][0]
        st.text(text[:EXCERPT] + ("…" if len(text) > EXCERPT else ""))
        if not may_change():  # the link keeps the text
            return
        with state.errors_shown():
            st.page_link(
                state.PAGES["align"],
                label="Look at this text on page Align",
                icon=":material/compare_arrows:",
                query_params={"text": state.OWN, "snapshot": snapshots.save_text(text)},
            )
