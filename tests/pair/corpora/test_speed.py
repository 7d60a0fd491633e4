"""Timing beside encoding alone: what is reported, on the texts of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.errors import CtkdError
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
