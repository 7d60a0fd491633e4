"""Corpora in files: paragraphs and records, every wrong form, and pieces that together are the whole."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import sources
from ctkd_core.pair.corpora.counting import Skipped
from ctkd_core.pair.corpora.sources import paragraphs, read_texts


def packed_bytes(content: bytes) -> bytes:
    """Without the time, so that tests have the same names in all processes."""
    return gzip.compress(content, mtime=0)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\ufeffone\ntwo\r\n\r\n\n  \nthree\n\n")
    assert list(read_texts(path)) == ["one\ntwo", "three"]


def test_records(tmp_path: Path) -> None:
    records = [
        {"text": "a"},
        {"prompt": "2+2", "completion": "4"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
        {"text": 5},
        [1],
        {"messages": [{"role": "user"}]},
    ]
    path = write(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, records)))
    assert list(read_texts(path)) == [
        "a",
        "2+2\n4",
        "hi\nho",
        Skipped("no text, prompt/completion or messages in the record"),
        Skipped("not a record with text, prompt/completion or messages"),
        Skipped("messages without content"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "", "corpus 'a.txt' is empty; there is nothing to measure"),
        ("a.txt", "\n \n", "corpus 'a.txt' holds no text to measure (only blank lines)"),
        ("a.txt", b"ab\0\1\2", "corpus 'a.txt' is binary or UTF-16, not UTF-8 text"),
        ("a.txt", "half".encode("utf-16"), "corpus 'a.txt' is binary or UTF-16"),
        ("a.txt", b"fine\n\ncaf\xe9\n", "corpus 'a.txt' isn't UTF-8 text in line 3: byte 0xe9"),
        ("a.csv", "a,b", "corpus 'a.csv' ends in '.csv'; give a file that ends in .txt, .md, .jsonl, .ndjson"),
        ("a", "text", "corpus 'a' ends in 'nothing'"),
        ("a.txt.gz", b"\x1f\x8b\x08", "corpus 'a.txt.gz' can't be read: its gzip data breaks off"),
        ("a.txt.gz", packed_bytes(b"a\n\n" * 5000)[:-8], "can't read corpus 'a.txt.gz': its gzip data breaks off"),
        ("a.txt.gz", packed_bytes(b"fine\n\ncaf\xe9\n"), "corpus 'a.txt.gz' isn't UTF-8 text in line 3: byte 0xe9"),
        ("a.pdf.gz", packed_bytes(b"x"), "corpus 'a.pdf.gz' ends in '.gz'; unpack it first, then give a file"),
        ("a.txt.xz", b"\xfd7zXZ", "corpus 'a.txt.xz' ends in '.xz'; unpack it first, then give a file that ends"),
        ("a.txt", b"\x1f\x8b\x08", "corpus 'a.txt' is compressed (gzip); unpack it first"),
        ("a.jsonl", "plain text\n", "corpus 'a.jsonl', line 1 isn't JSON: Expecting value at column 1"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "corpus 'a.jsonl', line 2 isn't JSON"),
        ("a.jsonl", '{"a": 1}\n{"b": 2}\n[]', "holds no text to measure (no text, prompt/completion or messages in"),
        ("a.jsonl", '{"text": ""}', "corpus 'a.jsonl' holds no text to measure"),
        ("a.jsonl", "[" * 100_000, "corpus 'a.jsonl', line 1 is nested too deeply to read"),
    ],
)
def test_wrong_files_get_a_sentence(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(CtkdError) as caught:
        list(read_texts(path))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_packed_files_are_one_piece_with_the_same_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 1000)
    monkeypatch.setattr(sources, "MAX_PARAGRAPH", 600)
    texts = [f"{n} é東🦙" * (n % 90 + 1) for n in range(300)]
    content = "\n\n".join(texts) if kind == "txt" else "\n".join(json.dumps({"text": text}) for text in texts)
    plain = write(tmp_path, f"a.{kind}", content)
    packed = write(tmp_path, f"a.{kind}.gz", packed_bytes(content.encode()))
    assert len(read_texts(plain).pieces()) > 1 == len(read_texts(packed).pieces())
    assert list(read_texts(packed)) == list(read_texts(plain))
    assert read_texts(packed).pieces()[0].beginning(500) is None
    size = plain.stat().st_size
    assert [read_texts(path).unpacked(size) for path in (plain, packed)] == [size, size]
    assert read_texts(packed).unpacked(size - 9) == size - 8


def test_missing_files_and_folders_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CtkdError, match=r"no corpus file .*none.txt"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CtkdError, match=r"'folder\.txt' is a folder without a file that ends in"):
        read_texts(tmp_path / "folder.txt")


def test_huge_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.txt", "x" * 250 + "\n\nend")
    monkeypatch.setattr(sources, "MAX_PARAGRAPH", 100)
    assert list(map(len, read_texts(path))) == [100, 100, 50, 3]  # type: ignore[arg-type]
    monkeypatch.setattr(sources, "MAX_RECORD", 100)
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n' + json.dumps({"text": "x" * 200}))
    with pytest.raises(CtkdError, match=r"'a.jsonl', line 2 is longer than 100 characters; give one record a line"):
        list(read_texts(path))


def test_long_lines_are_cut_between_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_PARAGRAPH", 10)
    path = write(tmp_path, "a.txt", "aé東🦙" * 20)
    assert "".join(map(str, read_texts(path))) == "aé東🦙" * 20


def test_a_line_of_broken_bytes_is_read_no_further_than_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_PARAGRAPH", 10)
    data = b"\x80" * 1000
    file = io.BytesIO(data)
    with pytest.raises(CtkdError, match="isn't UTF-8 text in line 1"):
        sources._Lines(file, write(tmp_path, "a.txt", data)).take()
    assert file.tell() <= 13


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "three\n\nfour")
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", "z.jsonl", '{"text": "two"}')
    write(tmp_path / "a", "a.md", "one")
    write(tmp_path, "notes.csv", "not, read")
    write(tmp_path, ".hidden.txt", "not read")
    write(tmp_path, "c.txt.gz", packed_bytes(b"five\n\nsix"))
    write(tmp_path, "d.jsonl.gz", packed_bytes(b'{"text": "seven"}'))
    corpus = read_texts(tmp_path)
    assert list(corpus) == ["one", "two", "three", "four", "five", "six", "seven"]
    assert len(corpus.pieces()) == 1, "small files are counted together"


# pieces


@given(
    lines=st.lists(st.sampled_from(["", "a", "bb", "ä b", " ", "c" * 9, "\r"]), min_size=1, max_size=30),
    size=st.integers(8, 40),
)
@example(lines=["bb", "", "ccccccccc", "bb", "bb", "", "a"], size=8)  # a blank line behind the end of a range
def test_ranges_of_a_text_file_have_every_line_once(lines: list[str], size: int, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes("\n".join(lines).encode())
    length = path.stat().st_size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "WINDOW", 8)
        found = [text for at in range(0, max(length, 1), size) for text in paragraphs(path, at, at + size)]
    whole = list(paragraphs(path))
    assert "\n".join(found).split() == "\n".join(whole).split()
    cut = [text for text in whole if len(text.encode()) >= 8]
    assert [text for text in found if text in whole and text not in cut] == [t for t in whole if t not in cut] or cut


def test_paragraphs_at_borders_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WINDOW", 40)
    path = write(tmp_path, "a.txt", "\n\n".join(f"paragraph {n}\nof two lines" for n in range(30)))
    whole = list(paragraphs(path))
    for size in (40, 41, 57, 333):
        ends = range(0, path.stat().st_size, size)
        assert [text for at in ends for text in paragraphs(path, at, at + size)] == whole


def test_a_file_without_blank_lines_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WINDOW", 10)
    lines = [f"line {n}" for n in range(40)]
    path = write(tmp_path, "a.txt", "\n".join(lines))
    found = [list(paragraphs(path, at, at + 50)) for at in range(0, path.stat().st_size, 50)]
    assert [len(texts) for texts in found[:-1]] == [1] * (len(found) - 1), "what is left at the end is no piece"
    assert "\n".join(text for texts in found for text in texts).split("\n") == lines


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_pieces_of_records_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rows = [{"text": f"text {n} ä", "language": "de" if n % 3 else "en"} for n in range(50)]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text(
            "\ufeff" + "\n".join(json.dumps(row, ensure_ascii=False) + ("\n" * (n % 2)) for n, row in enumerate(rows))
        )
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    monkeypatch.setattr(sources, "LEAST_PIECE", 100)
    monkeypatch.setattr(sources, "MOST_PIECE", 100)
    pieces = read_texts(path).pieces()
    assert len(pieces) > 5
    found = [document for piece in pieces for document in piece.documents(["language", "none"])]
    assert [d.text for d in found] == [row["text"] for row in rows]
    assert [d.values for d in found] == [(row["language"], "not given") for row in rows]
    assert len({piece.key for piece in pieces}) == len(pieces)


def test_a_broken_line_is_named_by_its_number_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 60)
    path = write(tmp_path, "a.jsonl", "\n".join(['{"text": "fine"}'] * 30 + ["{", '{"text": "fine"}']))
    assert len(read_texts(path).pieces()) > 3
    with pytest.raises(CtkdError, match=r"'a\.jsonl', line 31 isn't JSON"):
        list(read_texts(path))


def test_one_object_over_several_lines_is_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 10)
    for content in (json.dumps([{"text": "a"}, {"text": "b"}]), '{\n"text": "a"\n}\n{"text": "b"}'):
        path = write(tmp_path, "a.json", content)
        assert len(read_texts(path).pieces()) == 1
        assert list(read_texts(path)) == ["a", "b"]


def test_a_file_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one")
    (piece,) = read_texts(path).pieces()
    path.write_text("another")
    with pytest.raises(CtkdError, match="has changed while it was measured"):
        list(piece.documents())


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_file_that_changes_while_a_piece_is_read_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, '{"text": "one"}\n\n{"text": "two"}\n')
    (piece,) = read_texts(path).pieces()
    documents = piece.documents()
    next(documents)
    os.utime(path, ns=(0, 1))
    with pytest.raises(CtkdError, match="has changed while it was measured"):
        list(documents)


def test_a_file_of_the_same_size_and_time_is_another_one(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one")
    os.utime(path, ns=(5, 5))
    (before,) = read_texts(path).pieces()
    other = write(tmp_path, "b.txt", "two")
    os.utime(other, ns=(5, 5))
    other.replace(path)
    (after,) = read_texts(path).pieces()
    assert before.key != after.key
    with pytest.raises(CtkdError, match="has changed while it was measured"):
        list(before.documents())


def test_a_file_that_is_named_by_its_content_may_be_written_again(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\n\ntwo")
    (before,) = read_texts(path, by_content=True).pieces()
    documents = before.documents()
    next(documents)
    other = write(tmp_path, "b.txt", "one\n\ntwo")
    other.replace(path)
    assert [text for text, _ in documents] == ["two"]
    assert [text for text, _ in before.documents()] == ["one", "two"]
    assert [piece.key for piece in read_texts(path, by_content=True).pieces()] == [before.key]


def test_a_piece_has_a_beginning_where_it_can_be_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WINDOW", 20)
    text = tmp_path / "a.txt"
    text.write_text("\n\n".join(f"paragraph {n}" for n in range(100)))
    (piece,) = read_texts(text).pieces()
    first = piece.beginning(100)
    assert first is not None and first.weight == 100
    found, whole = [document.text for document in first.documents()], list(read_texts(text))
    assert 0 < len(found) < 20 and found == whole[: len(found)]
    assert piece.beginning(10_000) is piece
    (tmp_path / "b.json").write_text(json.dumps([{"text": "some words"}] * 100))
    (array,) = read_texts(tmp_path / "b.json").pieces()
    assert array.beginning(100) is None, "read as a whole"
    (both,) = read_texts(tmp_path).pieces()
    few = both.beginning(100)
    assert few is not None and few.parts[0].path == str(text), "the first of several files"
