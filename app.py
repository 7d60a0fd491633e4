"""Entry of the browser app: the server behind its guard; each run of the script draws the shared bar and the page.

`streamlit run app.py` (and `ctkd app`) imports this file for the server and runs it as a script for every visitor.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from pages.parts import tour
from pages.parts.frame import frame
from pages.parts.guard import Guard, guarded_output
from pages.parts.page_base import PageBase
from pages.parts.share import follow
from pages.parts.terms import terms_style
from pages.parts.topbar import top_bar
from pages.parts.warm import warm_up

PARTS = Path(__file__).resolve().parent / "pages" / "parts"


def draw() -> None:
    """One run of the script: the page that the address names, inside what all of them share."""
    st.set_page_config(page_icon=str(PARTS / "icon.svg"), layout="wide")
    st.logo(str(PARTS / "logo.svg"), size="large")
    page = st.navigation(
        [
            st.Page("pages/start.py", title="Start", icon=":material/home:", default=True),
            st.Page("pages/pair.py", title="Pair", icon=":material/join_inner:", url_path="pair"),
            st.Page("pages/rank.py", title="Rank", icon=":material/leaderboard:", url_path="rank"),
            st.Page("pages/align.py", title="Align", icon=":material/compare_arrows:", url_path="align"),
            st.Page("pages/vocabulary.py", title="Vocabulary map", icon=":material/grid_on:", url_path="vocabulary"),
            st.Page("pages/losses.py", title="Losses", icon=":material/ssid_chart:", url_path="losses"),
            st.Page("pages/evidence.py", title="Evidence", icon=":material/science:", url_path="evidence"),
            st.Page("pages/runs.py", title="Runs", icon=":material/monitoring:", url_path="runs"),
        ],
        position="top",
    )
    # After the navigation: the document is named for its page.
    st.set_page_config(page_title=f"{page.title} · CTKD Lab")
    st.html(PARTS / "narrow.css")
    terms_style()
    warm_up()
    follow()
    top_bar(page.url_path)
    tour.box(page.url_path or "start")
    with frame():
        page.run()


if __name__ == "__main__":
    draw()
else:
    app = st.App(__file__, lifespan=guarded_output, middleware=[Middleware(Guard), Middleware(PageBase)])
