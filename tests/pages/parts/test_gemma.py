"""Gemma on page Start: the terms first, then a tick, then the button; where it's ready, one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ctkd_core.distill.models.gemma import job, prepare
from ctkd_core.tokenizers import assets


def _page() -> None:
    from pages.parts.gemma import second_model

    second_model()


def test_the_terms_are_read_and_accepted_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    monkeypatch.setattr(prepare, "read_terms", lambda: "These are <b>the terms</b>.")
    started: list[bool] = []
    monkeypatch.setattr(job, "start", started.append)
    page = AppTest.from_function(_page).run()
    assert [button.label for button in page.button] == ["Read the terms"]
    page.button[0].click().run()
    assert page.text[0].value == "These are <b>the terms</b>."
    assert page.button(key="gemma_prepare").disabled
    page.checkbox(key="gemma_accepted").check().run()
    assert not page.button(key="gemma_prepare").disabled
    page.button(key="gemma_prepare").click().run()
    assert started == [True]


def test_where_it_is_ready_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "is_prepared", lambda row: True)
    monkeypatch.setattr("pages.parts.gemma.is_prepared", lambda row: True)
    page = AppTest.from_function(_page).run()
    assert "Gemma 3 270M" in page.caption[0].value
    assert not page.button
