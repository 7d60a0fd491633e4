"""Timing beside encoding alone: what is reported, on the texts of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import speed as timing
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.sources import read_texts
from ctkd_core.pair.corpora.speed import speed
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace


def test_both_speeds_and_their_ratio(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(CORPUS[:3]))
    said: list[str] = []
    counting = Counting(tiny_byte_level(), tiny_metaspace())
    found = speed(counting, {"a": read_texts(path)}, 1, lambda _, sentence: said.append(sentence), rounds=1)
    assert (found["workers"], found["rounds"], found["texts"]) == (1, 1, 3)
    assert found["bytes"] == sum(len(text.encode()) for text in CORPUS[:3])
    assert found["share"] == pytest.approx(found["encode_batch"]["seconds"] / found["seconds"])
    assert found["bytes_per_second"] == pytest.approx(found["bytes"] / found["seconds"])
    assert said == ["timing", "timing"]
    (tmp_path / "empty.jsonl").write_text('{"text": ""}')
    with pytest.raises(CtkdError, match="no text to time"):
        speed(counting, {"a": read_texts(tmp_path / "empty.jsonl")}, 1)


def test_what_is_timed_is_bounded_and_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST", 100)
    monkeypatch.setattr(timing, "PLACES", 4)
    pieces = []
    for n in range(20):
        path = tmp_path / f"{n:02}.txt"
        path.write_text(f"{n:02} " + "é" * 200)
        pieces += read_texts(path).pieces()
    found = timing._some(pieces)
    assert sum(len(text.encode()) for text in found) <= 100
    assert [text[:2] for text in found] == ["00", "05", "10", "15"]


def test_chosen_places_without_text_are_no_corpus_without_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PLACES", 1)
    (tmp_path / "a.jsonl").write_text('{"text": ""}')
    (tmp_path / "b.txt").write_text("text")
    assert timing._some([*read_texts(tmp_path / "a.jsonl").pieces(), *read_texts(tmp_path / "b.txt").pieces()]) == [
        "text"
    ]
