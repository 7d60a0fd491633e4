"""Texts and tokenizers behind a URL: bad input is refused with what is wrong, ids can't leave their folder."""

from __future__ import annotations

import pytest

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.load import load_tokenizer
from tests.tiny import tiny_byte_level


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))


def test_a_text_comes_back_as_it_was():
    text = "naïve\r\n🦙\ttab\n"
    name = snapshots.save_text(text)
    assert snapshots.load_text(name) == text
    assert snapshots.save_text(text) == name


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"other"])
def test_a_damaged_text_is_refused(damage, tmp_path):
    name = snapshots.save_text("a text")
    (tmp_path / "snapshots" / f"{name}.txt").write_bytes(damage)
    with pytest.raises(CtkdError, match="is damaged: it isn't what was saved"):
        snapshots.load_text(name)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0123456789abcdef", "x" * 400])
def test_unknown_ids_are_refused(name):
    with pytest.raises(CtkdError, match="there is no saved text"):
        snapshots.load_text(name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\xff", r"not valid UTF-8: byte 0xff at position 3"),
        (b"", r"is empty"),
        (b"a" * 1_000_001, r"has 1,000,001 bytes; the limit is 1,000,000"),
    ],
)
def test_bad_files_are_named(data, message):
    with pytest.raises(CtkdError, match=message):
        snapshots.decode_text(data, "x.txt")


def test_text_without_utf8_form_is_refused():
    with pytest.raises(CtkdError, match="lone surrogate at character 1"):
        snapshots.save_text("a\ud800")


def test_an_uploaded_tokenizer_becomes_a_source():
    original = tiny_byte_level()
    path = snapshots.save_tokenizer(original.backend.to_str().encode(), "../my tokenizer.json")
    assert path.parent.parent.name == "uploads"
    assert load_tokenizer(str(path)).encode("201 cats").ids.tolist() == original.encode("201 cats").ids.tolist()


@pytest.mark.parametrize("data", [b"{", b"not json", b"{}", b"\xff\xfe"])
def test_a_corrupt_tokenizer_is_refused_and_not_kept(data, tmp_path):
    with pytest.raises(TokenizerError):
        snapshots.save_tokenizer(data, "tokenizer.json")
    assert not list(tmp_path.glob("uploads/**/tokenizer.json"))
