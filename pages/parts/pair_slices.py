"""Below the domains on page Pair: the chosen one told apart by script, class of token and field, with intervals."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.figures.pair_slices import (
    DOMAIN,
    RATES,
    share_titles,
    slice_figure,
    slice_sentence,
    slice_table,
    title_of,
    ways_of,
)
from pages.parts import late_values, state
from pages.parts.plots import plot

INTERVALS = (
    "Bars are 95 % intervals over texts: what the rate could be on other texts drawn as these were. There is none with "
    "fewer than 20 texts, so the bundled samples have none: measure a file of your own."
)


def slices(rows: dict[str, dict[str, Any]], chosen: str) -> None:
    """Dots of one rate with their intervals, and all rates as a table that sorts."""
    ways = ways_of(rows, chosen)
    titles = {title_of(way): way for way in ways}
    st.subheader("Told apart, with intervals", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        late_values.put_known("slice_by", titles)
        by = st.selectbox("By", list(titles), key="slice_by", bind="query-params", width=280)
        rate = st.pills(
            "Rate",
            list(RATES),
            default=next(iter(RATES)),
            key="slice_rate",
            bind="query-params",
            required=True,
            wrap=True,
        )
    way, rate = titles.get(by or "", DOMAIN), rate or next(iter(RATES))
    parts = ways[way]
    said = slice_sentence(parts, way, rate)
    plot(lambda: slice_figure(parts, way, rate, chosen), key="slice_dots", alt=said)
    st.caption(f"{state.plain(said[:1].upper() + said[1:])} {RATES[rate].meaning} {INTERVALS}")
    percents = {name: st.column_config.NumberColumn(format="percent") for name in share_titles(parts)}
    st.dataframe(
        slice_table(parts, way),
        key="slice_table",
        hide_index=True,
        placeholder="–",
        alt=f"Every rate with its interval by {title_of(way)}. {said}",
        column_config=percents,
    )
