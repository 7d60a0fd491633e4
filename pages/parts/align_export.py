"""Export of what page Align shows: JSON, CSV and one HTML file that opens offline."""

from __future__ import annotations

import json

import streamlit as st

from ctkd_core.figures.chips_svg import MOST_GROUPS, chips_svg
from ctkd_core.figures.report_alignment import alignment_html
from ctkd_core.figures.tables import groups_csv
from pages.parts.align_panels import View
from pages.parts.component import picture_buttons
from pages.parts.downloads import download, file_name


def export(view: View) -> None:
    """Three buttons; a file is only made when somebody asks for it."""
    a, b = view.a, view.b
    name = file_name(a.method, a.teacher.tokenizer, a.student.tokenizer)
    figure = a.cost is not None
    with st.container(horizontal=True):
        download(
            "Alignment as JSON",
            lambda: json.dumps(a.to_dict(), ensure_ascii=False),
            f"{name}.json",
            "application/json",
            "json",
        )
        download("Groups as CSV", lambda: groups_csv(a, b), f"{name}.csv", "text/csv", "csv")
        label = "Report as HTML (5 MB)" if figure else "Report as HTML"
        download(label, lambda: alignment_html(a, b, view.pinned), f"{name}.html", "text/html", "html")
    picture_buttons(chips_svg(a), name, key="picture")
    st.caption(
        "JSON holds everything that `ctkd align --json` prints. CSV: one row a group; a text that a spreadsheet would "
        "take for a formula gets an apostrophe. HTML: one file that opens offline"
        + (", with the cost figure and the library that draws it." if figure else ".")
        + f" Pictures show the first {MOST_GROUPS} groups; your browser makes the PNG."
    )
