"""Uploads of a corpus: their bound, the name that their bytes get, and errors that name them as they were given."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import uploads
from ctkd_core.pair.corpora.sources import read_texts


def test_one_that_is_too_large_is_told_what_takes_it() -> None:
    uploads.check_size("a.txt", bytes(uploads.MAX_BYTES), "ctkd rank --corpus FILE")
    with pytest.raises(CtkdError, match=r"a\.txt has 20 MB; .* or use `ctkd rank --corpus FILE`"):
        uploads.check_size("a.txt", bytes(uploads.MAX_BYTES + 1), "ctkd rank --corpus FILE")


@pytest.mark.parametrize("name", ["x" * 5000 + ".JSONL", "../../a/b.jsonl", "a\0b:*?.jsonl"])
def test_only_the_ending_of_a_name_reaches_the_disk(name: str) -> None:
    assert uploads.file_name(name) == "corpus.jsonl"
    assert uploads.file_name(f"{name}.GZ") == "corpus.jsonl.gz"


def test_what_cannot_be_read_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / uploads.file_name("mine.txt")
    path.write_bytes(b"\0\0")
    with pytest.raises(CtkdError, match=r"'mine\.txt'"), uploads.called("mine.txt", path):
        list(read_texts(path))
