"""Sentences with terms: what comes in stays text, and each term is a button that holds its meaning."""

from __future__ import annotations

import re

from ctkd_core.markup.hover import marked
from ctkd_core.markup.visible import one_line
from tests.markup.page import NASTY, harmless


def test_untrusted_text_stays_text() -> None:
    page = harmless(marked(NASTY))
    assert one_line(NASTY) in page.text


def test_each_term_is_a_button_with_its_meaning() -> None:
    html = marked("Boundary F1 of <b>groups</b>, of groups")
    assert html.count("<button") == 2
    assert "Boundary F1<span" in html and "groups<span" in html
    assert "&lt;b&gt;" in html
    assert "1 is exact." in html
    assert (
        re.sub(r"<span class=\"meaning\">.*?</span>|<[^>]+>", "", html)
        == "Boundary F1 of &lt;b&gt;groups&lt;/b&gt;, of groups"
    )
