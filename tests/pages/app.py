"""Helpers for AppTest: the app on a page with an address, its figures, its messages."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from tests.patience import PATIENCE

APP = str(Path(__file__).resolve().parents[2] / "app.py")


def opened(page: str = "align", agree: bool = True, **params: str) -> AppTest:
    """The app after its first run on `page` with these query parameters; raises nothing itself.

    Where the page asks whether a path in the address may be read, the answer is yes if `agree`.
    """
    at = AppTest.from_file(APP, default_timeout=PATIENCE)
    for key, value in params.items():
        at.query_params[key] = value
    if page != "start":
        at.switch_page(f"pages/{page}.py")
    at.run()
    if agree and any(button.key == "load_named" for button in at.button):
        at.button(key="load_named").click().run()
    return at


def figures(at: AppTest) -> dict[str, dict[str, Any]]:
    """Plotly figures on the page by their title, in one line."""
    found = {}
    for element in at.get("plotly_chart"):
        spec = json.loads(element.proto.spec)
        found[spec["layout"]["title"]["text"].replace("<br>", " ")] = spec
    return found


def texts(at: AppTest) -> str:
    """Everything that is written on the page."""
    headings = (at.title, at.header, at.subheader)
    kinds = (at.markdown, at.caption, at.error, at.warning, at.success, at.info, at.text, *headings)
    return "\n".join([*(str(element.value) for kind in kinds for element in kind), texts_of_html(at)])


def texts_of_html(at: AppTest) -> str:
    """What is written in blocks of HTML, without their tags and what a hover would show."""
    found = (
        re.sub(r"<style>.*?</style>|<span class=\"meaning\">.*?</span>|<[^>]+>", "", e.proto.body, flags=re.DOTALL)
        for e in at.get("html")
    )
    return html.unescape("\n".join(found))


def components(at: AppTest) -> dict[str, dict[str, Any]]:
    """What each component of our own was given, by its key."""
    return {e.proto.id.rsplit("-", 1)[-1]: json.loads(e.proto.json) for e in at.get("bidi_component")}


def chips(at: AppTest) -> dict[str, Any]:
    """What the token component was given."""
    return components(at)["chips"]
