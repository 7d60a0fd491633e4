"""A path or a hub id in an address: nothing is read before somebody agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.parts import consent, loaders
from tests.homes import own_home
from tests.pages.app import opened, texts
from tests.tiny import saved, tiny_byte_level


@pytest.fixture(autouse=True)
def nothing_agreed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(consent, "_given", {})
    monkeypatch.delenv("CTKD_ALLOW_LAUNCH", raising=False)
    own_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    place = tmp_path / "mine"
    saved(tiny_byte_level(), place)
    (place / "private-name.txt").touch()
    return str(place)


def test_catalog_names_and_misspelled_ones_need_no_question() -> None:
    for name in ("qwen", "deapseek", "![x](y)<script>alert(1)<script>"):
        assert consent.missing([name]) == []
    for name in ("Qwen/Qwen3-4B", "/etc", "~/x", "../x", "..", "x.json", "a\\b", "\0/x"):
        assert consent.missing([name, "qwen", name]) == [name]


def test_an_uploaded_file_needs_none(tmp_path: Path) -> None:
    uploads = tmp_path / "home" / "uploads"
    assert consent.missing([str(uploads / "a-123" / "tokenizer.json")]) == []
    assert consent.missing([str(uploads / ".." / "tokenizer.json")]) != []


@pytest.mark.parametrize("page", ["pair", "align", "vocabulary", "losses", "runs"])
def test_pages_ask_before_they_read(page: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "load_tokenizer", lambda source: pytest.fail(f"loaded {source}"))
    monkeypatch.setattr(loaders, "preflight_checks", lambda config: pytest.fail("looked"))
    more = {"view": "New run"} if page == "runs" else {}
    at = opened(page, agree=False, student=folder, teacher="owner/name", **more)
    assert not at.exception
    said = texts(at)
    assert "The address names the file or folder" in said
    assert "The address names the hub's tokenizer 'owner/name'" in said
    assert {"load_named", "default_pair"} <= {button.key for button in at.button}


@pytest.mark.real
def test_after_the_click_it_is_read_and_not_asked_again(folder: str) -> None:
    at = opened("align", agree=False, student=folder)
    assert "nothing was read" in texts(at).lower()
    at.button(key="load_named").click().run()
    assert not at.exception and not at.error
    assert "The address names" not in texts(at)
    again = opened("align", agree=False, student=folder)
    assert "The address names" not in texts(again)


def test_what_is_typed_in_the_bar_needs_no_question(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent.st, "session_state", {"student": folder, "teacher": None})
    consent.chosen_in_bar("student")
    consent.chosen_in_bar("teacher")
    assert consent.missing([folder]) == []


@pytest.mark.real
def test_a_folder_is_not_listed(folder: str) -> None:
    (Path(folder) / "tokenizer.json").unlink()
    at = opened("align", student=folder)
    (error,) = at.error
    assert "has no tokenizer.json" in error.value.replace("\\", "")
    assert "private" not in error.value


def test_from_another_machine_there_is_no_button(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    at = opened("align", agree=False, student=folder)
    assert at.button(key="load_named").disabled
    assert "change nothing else" in texts(at)
    consent._agree([folder])  # a forged click
    assert consent.missing([folder]) == [folder]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    monkeypatch.setattr(consent, "MOST", 3)
    for k in range(5):
        consent.give(f"/x/{k}")
    assert list(consent._given) == ["/x/2", "/x/3", "/x/4"]
