"""Texts from packages: paragraphs, languages, pieces, whole pages held out; packages are folders made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import texts

RUSSIAN = "Это приложение показывает, сколько места занято на диске, и помогает освободить его."
GERMAN = "Mit dieser Anwendung sehen Sie, wie viel Platz auf der Platte belegt ist und was sich löschen lässt."


def test_paragraphs_without_what_is_set_aside() -> None:
    page = (
        "<html><head><style>p {}</style></head><body><p>One <b>bold</b>\n  word &amp; more.</p><pre><p>code</p></pre>"
        "<table><tr><td><p>cell</p></td></tr></table><p></p><p>Two.</p></body>"
    )
    assert texts.paragraphs(page) == ["One bold word & more.", "Two."]
    assert texts.paragraphs("<page><info><p>meta</p></info><p>Mallard <app>Files</app>.</p><p>open") == [
        "Mallard Files."
    ]
    assert texts.paragraphs("") == []


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (RUSSIAN, "ru", True),
        (GERMAN, "ru", False),
        ("Откройте Settings and choose the Network panel to see it.", "ru", False),
        (GERMAN, "de", True),
        ("This paragraph was never translated by anybody.", "de", False),
        ("디스크의 공간을 얼마나 쓰는지 보여 줍니다.", "ko", True),
        ("これはディスクの使用量を表示します。", "ja", True),
        ("这个程序显示磁盘的使用情况。", "zh_CN", True),
        ("This shows how much space is used.", "en", True),
        ("Ça montre l'espace.", "en", False),
        ("1234 5678", "ru", False),
    ],
)
def test_languages_by_letters_and_words(text: str, language: str, expected: bool) -> None:
    assert texts.in_language(text, language) is expected


def test_pieces_are_cut_between_words() -> None:
    words = "one two three four five six seven"
    found = list(texts.pieces(words, 13))
    assert found == ["one two three", "four five six", "seven"]
    assert all(len(piece) <= 13 for piece in found)
    assert list(texts.pieces("one two three abc", 13)) == ["one two three"]  # a scrap is left out
    assert list(texts.pieces("x" * 50, 20)) == ["x" * 20, "x" * 20, "x" * 10]  # no blank: between characters
    assert next(iter(texts.pieces(f"{'y' * 50} z", 20))) == "y" * 20  # a word longer than a text is cut


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked help with 40 pages and a manual in two languages."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    root = texts.folder() / "packages"
    help_pages = root / texts.DESKTOP / "usr/share/help/ru"
    help_pages.mkdir(parents=True)
    for k in range(40):
        body = (
            f"<page><p>{RUSSIAN} Страница {k} говорит об этом.</p><p>Not translated, so it is left out here at all.</p>"
        )
        (help_pages / f"page{k}.page").write_text(body, encoding="utf-8")
    for package in texts.SYSTEM["de"]:
        folder = root / package / "usr/share/doc"
        folder.mkdir(parents=True)
        (folder / "ch01.de.html").write_text(f"<p>{GERMAN} In {package}.</p>", encoding="utf-8")
        (folder / "ch01.fr.html").write_text(f"<p>{GERMAN} Falsche Sprache.</p>", encoding="utf-8")
    return root


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_whole_pages_are_held_out(packages: Path) -> None:
    train, held = (lines(path) for path in texts.fetch("ru", "desktop", 200))
    assert train and held
    assert len(train) + len(held) == 40
    assert not {one["text"] for one in train} & {one["text"] for one in held}
    assert {one["source"] for one in train} == {texts.DESKTOP}
    assert all("Not translated" not in one["text"] for one in (*train, *held))


def test_the_same_files_every_time_and_none_is_made_twice(packages: Path) -> None:
    paths = texts.fetch("ru", "desktop", 60)
    before = [path.read_bytes() for path in paths]
    assert all(len(one["text"]) <= 60 for path in paths for one in lines(path))
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert texts.fetch("ru", "desktop", 60) == paths
    assert [path.stat().st_mtime_ns for path in paths] == stamps
    for path in paths:
        path.unlink()
    texts.fetch("ru", "desktop", 60)
    assert [path.read_bytes() for path in paths] == before


def test_files_of_another_language_are_passed_over(packages: Path) -> None:
    found = [one["text"] for path in texts.fetch("de", "system", 200) for one in lines(path)]
    assert found and not any("Falsche" in text for text in found)


@pytest.mark.parametrize(("language", "domain"), [("xx", "desktop"), ("ru", "web"), ("", "")])
def test_unknown_texts(language: str, domain: str) -> None:
    with pytest.raises(texts.TextsError, match="there is no text"):
        texts.fetch(language, domain)


def test_without_apt_it_says_where_text_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setattr(texts.shutil, "which", lambda _: None)
    with pytest.raises(texts.TextsError, match="Debian packages"):
        texts.unpacked("debian-faq")


def test_a_package_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setattr(texts.shutil, "which", lambda _: "apt-get")
    answer = type("Done", (), {"returncode": 100, "stdout": "", "stderr": "E: Unable to locate package"})()
    monkeypatch.setattr(texts.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(texts.TextsError, match="Unable to locate"):
        texts.unpacked("no-such-package")
    assert not (texts.folder() / "packages" / "no-such-package").exists()
