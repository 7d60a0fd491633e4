"""Export of what page Align shows: JSON, CSV and one HTML file that opens offline."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from ctkd_core.figures.chips_svg import MOST_GROUPS, chips_svg
from ctkd_core.figures.report_alignment import alignment_html
from ctkd_core.figures.tables import groups_csv
from pages.parts.align_panels import View
from pages.parts.component import picture_buttons


def export(view: View) -> None:
    """Three buttons; a file is only made when somebody asks for it."""
    a, b = view.a, view.b
    shared: dict[str, Any] = {"on_click": "ignore", "icon": ":material/download:"}
    name = "".join(c if c.isalnum() else "-" for c in f"{a.method}-{a.teacher.tokenizer}-{a.student.tokenizer}")
    figure = a.cost is not None
    with st.container(horizontal=True):
        document = lambda: json.dumps(a.to_dict(), ensure_ascii=False)  # noqa: E731
        st.download_button("Alignment as JSON", document, f"{name}.json", "application/json", key="json", **shared)
        rows = lambda: groups_csv(a, b)  # noqa: E731
        st.download_button("Groups as CSV", rows, f"{name}.csv", "text/csv", key="csv", **shared)
        page = lambda: alignment_html(a, b, view.pinned)  # noqa: E731
        label = "Report as HTML (5 MB)" if figure else "Report as HTML"
        st.download_button(label, page, f"{name}.html", "text/html", key="html", **shared)
    picture_buttons(chips_svg(a), name, key="picture")
    st.caption(
        "JSON holds everything that `ctkd align --json` prints. CSV: one row a group; a text that a spreadsheet would "
        "take for a formula gets an apostrophe. HTML: one file that opens offline"
        + (", with the cost figure and the library that draws it." if figure else ".")
        + f" Pictures show the first {MOST_GROUPS} groups; your browser makes the PNG."
    )
