"""The terms, out of the page that brings them."""

from __future__ import annotations

import pytest

from ctkd_core.distill.models.gemma import terms
from ctkd_core.errors import CtkdError
from tests.distill.models.gemma.fakes import PAGE, SENTENCE


def test_the_text_is_what_the_page_says_and_no_more() -> None:
    text = terms.text_of(PAGE)
    paragraphs = text.split("\n\n")
    assert paragraphs[:4] == ["Gemma Terms of Use", "Last modified: a day", SENTENCE, "More of it."]
    assert len(paragraphs) == 203
    assert not any(word in text for word in ("Sign in", "Footer", "alert", "p {}"))


def test_a_page_without_terms_is_no_page_to_accept() -> None:
    with pytest.raises(CtkdError, match=r"can't be read; see https://ai.google.dev/gemma/terms"):
        terms.text_of(b"<html><body><p>Moved.</p></body></html>")
