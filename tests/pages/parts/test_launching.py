"""The one check before whatever changes something: every button of every page that does, and forged clicks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.tokenizers import snapshots
from pages.parts import (
    address,
    attempts,
    launching,
    losses_choice,
    pair_corpus,
    run_form,
    runs_list,
    text_input,
    uploads,
)
from tests.pages.app import opened, texts

PARTS = Path(launching.__file__).parent


@pytest.fixture(autouse=True)
def exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")


def test_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not launching.may_change()
    with pytest.raises(CtkdError, match="--allow-launch"):
        launching.check_may_change()
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    launching.check_may_change()


def test_forged_clicks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks that a browser can ask for although the button is disabled."""
    state: dict[str, object] = {}
    monkeypatch.setattr(st, "session_state", state)
    monkeypatch.setattr(st, "query_params", {})
    monkeypatch.setattr(address, "change", lambda values: None)
    done: list[str] = []
    attempts.attempt("x", lambda: done.append("job"))
    assert "--allow-launch" in str(state["x_problem"])
    monkeypatch.setattr(run_form.loaders, "start", lambda config: done.append("start"))
    run_form._start(None)
    assert "--allow-launch" in str(state["start_problem"])
    monkeypatch.setattr(snapshots, "save_tokenizer", lambda *_: done.append("tokenizer"))
    monkeypatch.setattr(snapshots, "save_text", lambda *_: done.append("text"))

    class File:
        name = "file"

        def getvalue(self) -> bytes:
            done.append("read")
            return b"x"

    state |= {"tokenizer_file": File(), "text_file": File(), "typed": "x", "chip_page": 1}
    uploads._uploaded("tokenizer", uploads._choose)
    assert "--allow-launch" in str(state["tokenizer_problem"])
    text_input._uploaded()
    assert "--allow-launch" in str(state["text_problem"])
    text_input._edited()
    losses_choice._keep()

    class Measurement:
        def cancel(self) -> None:
            done.append("cancel")

    pair_corpus._cancel(Measurement())
    assert "--allow-launch" in str(state["corpus_problem"])
    assert done == []


def test_every_button_that_changes_something_is_drawn_by_the_check() -> None:
    """A new page that draws one without it fails here."""
    words = ("cancel", "resume", "start_run", "archive", "delete", "compute", "ask_models", "build_map", "load_named")
    plain = re.compile(r"st\.button\((?:[^()]|\([^()]*\))*?key=f?\"(\w+)")
    guarded = re.compile(r"change_button\((?:[^()]|\([^()]*\))*?key=f?\"(\w+)")
    drawn: set[str] = set()
    for path in PARTS.glob("*.py"):
        code = path.read_text(encoding="utf-8")
        assert not [key for key in plain.findall(code) if key.startswith(words)], path.name
        drawn |= set(guarded.findall(code))
    assert {word for word in words if not any(key.startswith(word) for key in drawn)} == set()


def test_pages_of_an_exposed_server_show_what_may_not_be_done() -> None:
    at = opened("runs", view="New run")
    assert not at.exception
    assert at.button(key="start_run").disabled
    assert "change nothing else" in texts(at)
    assert runs_list.change_button is launching.change_button
