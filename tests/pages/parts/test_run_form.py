"""The form of a run: a preset that is about a pair of its own offers it, and what it doesn't wait for."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from ctkd_core.distill.checks import Check, Pending
from pages.parts.run_form import _look_again


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


def _checked() -> None:
    import streamlit as st

    from ctkd_core.distill.config import RunConfig
    from pages.parts.run_form import _preflight

    st.session_state["ready"] = _preflight(RunConfig(device="cuda"))


@pytest.mark.parametrize(
    ("ok", "fatal", "ready"), [(True, True, True), (True, False, True), (False, False, True), (False, True, False)]
)
def test_only_a_check_that_is_fatal_stands_in_the_way(monkeypatch, ok: bool, fatal: bool, ready: bool) -> None:
    found = [Check("of one kind", ok, "so it is", fatal=fatal), Check("of another", True, "so it is")]
    monkeypatch.setattr("pages.parts.loaders.preflight_checks", lambda config: found)
    page = AppTest.from_function(_checked).run()
    assert page.session_state["ready"] is ready
    assert page.expander[0].label == f"Pre-flight: {1 + ok} of 2 checks passed"


def test_the_list_is_drawn_anew_when_a_gpu_has_told_its_memory(monkeypatch) -> None:
    asked = [True]
    monkeypatch.setattr("pages.parts.run_form.asking_memory", lambda device: asked[0])

    def checks(config):
        return [(Pending if asked[0] else Check)("memory", True, "asking" if asked[0] else "9 GB are available")]

    monkeypatch.setattr("pages.parts.loaders.preflight_checks", checks)
    page = AppTest.from_function(_checked).run()
    assert "asking" in page.markdown[0].value
    asked[0] = False
    page.run()
    assert "9 GB are available" in page.markdown[0].value
    drawn = []
    monkeypatch.setattr("streamlit.rerun", lambda: drawn.append(True))
    _look_again("cuda", pending=False)
    assert not drawn
    _look_again("cuda", pending=True)
    assert drawn
