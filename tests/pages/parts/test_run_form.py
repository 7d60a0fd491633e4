"""The form of a run: a preset that is about a pair of its own offers it."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def _page(name: str) -> None:
    from ctkd_core.distill.config import PRESETS
    from pages.parts.run_form import _own_pair

    _own_pair(PRESETS[name])


def test_the_cross_family_preset_offers_its_pair() -> None:
    page = AppTest.from_function(_page, args=("cross-family",)).run()
    assert [button.label for button in page.button] == ["Use its pair: gemma3-270m → smollm2"]
    page.button[0].click().run()
    assert (page.session_state["student"], page.session_state["teacher"]) == ("smollm2", "gemma3-270m")
    assert not page.button


def test_other_presets_go_with_any_pair() -> None:
    assert not AppTest.from_function(_page, args=("quick",)).run().button
