"""Entry of the browser app: the server behind its guard; each run of the script draws the shared bar and the page.

`streamlit run app.py` (and `ctkd app`) imports this file for the server and runs it as a script for every visitor.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from pages.parts import state, tour
from pages.parts.frame import frame
from pages.parts.guard import Guard, guarded_output
from pages.parts.page_base import PageBase
from pages.parts.share import follow
from pages.parts.topbar import top_bar
from pages.parts.warm import warm_up

TITLES = {"vocabulary": "Vocabulary map"}  # of a page that isn't called as its address
PARTS = Path(__file__).resolve().parent / "pages" / "parts"


def draw() -> None:
    """One run of the script: the page that the address names, inside what all of them share."""
    st.set_page_config(page_icon=str(PARTS / "icon.svg"), layout="wide")
    st.logo(str(PARTS / "logo.svg"), size="large")
    page = st.navigation(
        [
            st.Page(
                file,
                title=TITLES.get(name, name.capitalize()),
                icon=state.ICONS[name],
                url_path=name,
                default=name == "start",
            )
            for name, file in state.PAGES.items()
        ],
        position="top",
    )
    # After the navigation: the document is named for its page.
    st.set_page_config(page_title=f"{page.title} · CTKD Lab")
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
