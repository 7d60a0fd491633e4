"""Data files: every way in which people keep records, and what is said of those that can't be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctkd_core.errors import CtkdError, RunError
from ctkd_core.files import packed
from ctkd_core.files.data_files import MAX_DEPTH, Record, RecordFile, Unreadable, deeper_than

ROWS = [{"prompt": f"é{i}", "completion": "ü\U0001f999"} for i in range(3)]


def packed_bytes(content: bytes) -> bytes:
    """Without the time, so that tests have the same names in all processes."""
    return gzip.compress(content, mtime=0)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path) -> list[Any]:
    return [record.value for record in RecordFile(path) if isinstance(record, Record)]


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
MANY = "".join(f'{{"text": "{n} {n * 7919 % 10007}"}}\n' for n in range(4000)).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("A.JSONL", LINES),
        ("a.json", LINES),
        ("a.jsonl", "\ufeff" + LINES),
        ("a.jsonl", LINES.replace("\n", "\r\n")),
        ("a.jsonl", "\n\n" + LINES.replace("\n", "\n\n \n")),
        ("a.jsonl", LINES.rstrip("\n")),
        ("a.json", json.dumps(ROWS)),
        ("a.JSON", "\ufeff\n " + json.dumps(ROWS, indent=2) + "\n\n"),
        ("a.jsonl", json.dumps(ROWS, indent=1)),
        ("a.json", "\n".join(json.dumps(row, indent=4) for row in ROWS)),
        # Windows files that were put together, old line ends, objects without line ends.
        ("a.jsonl", "\ufeff" + LINES.replace("\n", "\r\n\ufeff")),
        ("a.json", "\n".join("\ufeff" + json.dumps(row, indent=4) for row in ROWS)),
        ("a.jsonl", LINES.replace("\n", "\r")),
        ("a.jsonl", LINES.replace("\n", "")),
        ("a.jsonl.gz", packed_bytes(LINES.encode())),
        ("A.NDJSON.GZ", packed_bytes(LINES.encode("utf-8-sig"))),
        ("a.json.gz", packed_bytes(json.dumps(ROWS, indent=1).encode())),
        ("a.json.gz", packed_bytes("\n".join(json.dumps(row, indent=4) for row in ROWS).encode())),
        # Packed files that were put together, with zeros behind them as tapes have.
        ("a.jsonl.gz", packed_bytes(LINES[:9].encode()) + packed_bytes(LINES[9:].encode()) + bytes(20)),
    ],
)
def test_the_same_records_in_every_form(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert values(written(tmp_path, name, content)) == ROWS


def test_parquet_has_nulls_and_plain_lists(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": None, "name": "x"}]
    frame = pd.DataFrame(
        {"prompt": ["a", None], "weight": [1.0, np.nan], "messages": [messages, None], "tags": [np.array(["x"]), None]}
    )
    frame.to_parquet(tmp_path / "a.PARQUET")
    first, second = values(tmp_path / "a.PARQUET")
    assert first["messages"] == [{"role": "user", "content": "a"}, {"role": "assistant", "name": "x"}]
    assert (first["prompt"], first["tags"], first["weight"]) == ("a", ["x"], 1.0)
    assert (second["prompt"], second["messages"], second["tags"]) == (None, None, None)


def test_columns_of_parquet_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    texts = pa.array(["a", "b"])
    pq.write_table(pa.table({"text": texts, "at": pa.array([1, 2**30], pa.date32())}), tmp_path / "a.parquet")
    with pytest.raises(CtkdError, match=r"'a\.parquet' has values in column 'at' that can't be read \(.*\); mend it"):
        list(RecordFile(tmp_path / "a.parquet"))
    assert len(list(RecordFile(tmp_path / "a.parquet").part(0, 1, columns=("text",)))) == 2
    pq.write_table(pa.Table.from_arrays([texts, texts], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(CtkdError, match=r"'a\.parquet' has the column 'text' twice; keep one of them"):
        list(RecordFile(tmp_path / "a.parquet"))


def test_maps_of_parquet_are_tables(tmp_path: Path) -> None:
    texts = pa.map_(pa.string(), pa.string())
    said = [[("role", "user"), ("content", "a"), ("name", None)], [("role", "assistant"), ("content", "b")]]
    columns = {
        "messages": pa.array([said, None, []], pa.list_(texts)),
        "tools": pa.array(
            [[{"f": [("x", [1]), ("x", [2])]}], None, []],
            pa.list_(pa.struct([("f", pa.map_(pa.string(), pa.list_(pa.int8())))])),
        ),
        "numbers": pa.array([[(1, "x")], None, []], pa.map_(pa.int64(), pa.string())),
        "views": pa.array([[("k", "v")], None, []], pa.map_(pa.string_view(), pa.string_view())),
        "codes": pa.array([[("k", "v")], None, []], pa.map_(pa.dictionary(pa.int8(), pa.string()), pa.string())),
        "map<": pa.array(["a", None, "b"], pa.string()),
        "table": pa.array([[("k", None), ("l", "v")], None, []], texts),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first, second, third = values(tmp_path / "a.parquet")
    assert first == {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "tools": [{"f": {"x": [2]}}],
        "numbers": [(1, "x")],
        "views": {"k": "v"},
        "codes": {"k": "v"},
        "map<": "a",
        "table": {"l": "v"},
    }
    assert list(second.values()) == [None] * 7 and list(third.values()) == [[], [], {}, {}, {}, "b", {}]
    assert [r.value for r in RecordFile(tmp_path / "a.parquet").part(0, 1, columns=("table",))] == [
        {"table": first["table"]},
        {"table": None},
        {"table": {}},
    ]


def test_a_text_that_begins_like_another_kind_of_file_is_a_text(tmp_path: Path) -> None:
    (record,) = RecordFile(written(tmp_path, "a.jsonl", "PAR1"))
    assert isinstance(record, Unreadable) and "isn't JSON" in record.fault


def test_what_is_broken_behind_the_first_record_is_a_fault_of_its_line(tmp_path: Path) -> None:
    bad, good = RecordFile(written(tmp_path, "a.jsonl", '{"a": 1}{oops\n{"a": 2}\n'))
    assert isinstance(bad, Unreadable) and isinstance(good, Record)
    assert good.value == {"a": 2}


def test_numbers_of_records_and_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert [record.place for record in RecordFile(path)] == ["record 1", "record 2 (line 3)"]
    path = written(tmp_path, "a.json", '[\n{"a": 1},\n{"a": 2}]')
    assert [(r.number, r.line) for r in RecordFile(path)] == [(1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{oops", "isn't JSON: Expecting property name"),
        (b'{"text": "\xff"}', "isn't UTF-8 text: byte 0xff (invalid start byte); save the file as UTF-8"),
        (b"[" * 200_000, "is nested too deeply to read"),
        (b'{"a":' * 200_000, "is nested too deeply to read"),
        (b"[" * (MAX_DEPTH + 5) + b"]" * (MAX_DEPTH + 5), "is nested too deeply to read"),
        (b'{"text": ' + b"1" * 5000 + b"}", "has a number of 5,000 digits"),
        (b'{"text": "a", "b": {"c": 1}, "text": "b"}', "has the key 'text' twice; keep one of them"),
        (b'{"a\\u001b": 1, "a\\u001b": 2}', "has the key 'a<U+001B>' twice"),
        (b'{"text": "' + b"x" * 300 + b'"}', "is longer than 100 characters; give one record a line"),
        (b'{"text": "' + "é".encode() * 5000 + b'"}', "is longer than 100 characters"),
    ],
)
def test_one_bad_line_is_told_and_the_others_are_read(tmp_path: Path, line: bytes, fault: str) -> None:
    longest = 100 if "longer" in fault else 16_000_000
    path = written(tmp_path, "a.jsonl", b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    one, bad, three = RecordFile(path, longest=longest)
    assert (one, three) == (Record(1, 1, {"n": 1}), Record(3, 3, {"n": 3}))
    assert isinstance(bad, Unreadable) and bad.place == "line 2"
    assert bad.fault.startswith(fault.split(":")[0]) and fault in bad.fault


def test_a_key_that_stands_twice_in_a_part_of_a_record_spoils_nothing(tmp_path: Path) -> None:
    content = '{"text": "a", "meta": {"b": 1, "b": 2}}\n[{"b": 1, "b": 2}]\n{"n": 3}\n'
    assert values(written(tmp_path, "a.jsonl", content)) == [{"text": "a", "meta": {"b": 2}}, [{"b": 2}], {"n": 3}]
    one, bad, three = RecordFile(written(tmp_path, "a.json", '[{"n": 1}, {"n": 2, "n": 2}, {"n": 3}]'))
    assert isinstance(bad, Unreadable) and "has the key 'n' twice" in bad.fault
    assert [r.value for r in (one, three) if isinstance(r, Record)] == [{"n": 1}, {"n": 3}]


def test_a_long_number_in_an_array_spoils_its_record_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '[{"n": 1}, {"n": ' + "9" * 5000 + '}, {"n": 3}]')
    one, bad, three = RecordFile(path)
    assert isinstance(bad, Unreadable) and "5,000 digits" in bad.fault
    assert [r.value for r in (one, three) if isinstance(r, Record)] == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '[{"a": 1}, {"b"', "isn't JSON in line 1, in record 2"),
        ("a.json", '[{"a": 1} {"b": 2}]', "lacks a comma behind record 1"),
        ("a.json", '[{"a": 1}', "breaks off or lacks a comma behind record 1"),
        ("a.json", '[{"a": 1}]\n[{"a": 2}]', "goes on in line 2 behind its list"),
        ("a.json", "[" * 200_000, "line 1 is nested too deeply to read"),
        ("a.json", b'[{"a": "\xff"}]', "isn't UTF-8 text near line 1: byte 0xff"),
        ("a.jsonl", "", "is empty; it holds no examples"),
        ("a.jsonl", "\ufeff", "is empty"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "is binary or UTF-16"),
        ("a.jsonl", b'{"a": 1}{"a": 2}{oops', "isn't JSON in line 1, in record 3"),
        ("a.jsonl", packed_bytes(LINES.encode()), "is compressed (gzip); unpack it first"),
        ("a.jsonl", b"PAR1\x15\0", "is a Parquet file; give it the ending .parquet"),
        ("a.jsonl.bz2", b"BZh9", "ends in '.bz2'; unpack it first, then use .jsonl"),
        ("a.parquet.gz", packed_bytes(b"PAR1"), "ends in '.gz'; unpack it first, then use .jsonl"),
        ("a.gz", packed_bytes(LINES.encode()), "ends in '.gz'; unpack it first, then use .jsonl"),
        ("a.jsonl.gz", LINES, "can't be read: it isn't gzip data, as its ending .gz says"),
        ("a.jsonl.gz", b"", "is empty; it holds no examples"),
        ("a.jsonl.gz", packed_bytes(b""), "is empty; it holds no examples"),
        ("a.jsonl.gz", packed_bytes(MANY)[:-9], "can't be read: its gzip data breaks off; copy or pack it again"),
        ("a.json.gz", packed_bytes(b"[" + MANY)[:-9], "can't be read: its gzip data breaks off"),
        ("a.jsonl.gz", packed_bytes(MANY)[:-8] + bytes(8), "can't be read: its gzip data is damaged (CRC check"),
        ("a.jsonl.gz", packed_bytes(MANY)[:10] + b"\xff" * 90, "can't be read: its gzip data is damaged (Error -3"),
        ("a.jsonl.gz", packed_bytes(MANY) + b"more", "can't be read: its gzip data is damaged (Not a gzipped file"),
        ("a.jsonl.gz", packed_bytes('{"a": 1}'.encode("utf-16")), "is binary or UTF-16"),
        ("a.csv", "a,b", "ends in '.csv'; use .jsonl or .parquet"),
        ("a.jsonl", POINTER, "is only a pointer of Git LFS to the file; fetch that with `git lfs pull`"),
        ("a.jsonl.gz", POINTER, "is only a pointer of Git LFS to the file"),
        ("a.parquet", POINTER, "is only a pointer of Git LFS to the file"),
        ("a.parquet", b"PAR1 but not really", "isn't a readable Parquet file"),
        ("a.parquet", b"", "isn't a readable Parquet file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(RunError) as caught:
        list(RecordFile(path, "corpus", RunError))
    assert str(caught.value).startswith(f"corpus '{name}'") and said in str(caught.value)


def test_what_unpacks_to_too_much_is_told_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MOST_UNPACKED", 2_000_000)
    path = written(tmp_path, "a.jsonl.gz", packed_bytes(b'{"text": "' + b"x" * 20_000_000 + b'"}\n'))
    with pytest.raises(CtkdError, match=r"'a\.jsonl\.gz' can't be read: it unpacks to more than 0 GB; unpack it first"):
        list(RecordFile(path))
    assert packed.size(path, 1000) == 1001


def test_no_part_of_a_packed_file_is_read_alone(tmp_path: Path) -> None:
    assert RecordFile(written(tmp_path, "a.jsonl", LINES)).has_lines
    assert not RecordFile(written(tmp_path, "a.jsonl.gz", packed_bytes(LINES.encode()))).has_lines


def test_every_cut_and_every_changed_byte_of_a_parquet_file_is_told_or_read(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "good.parquet")
    good = (tmp_path / "good.parquet").read_bytes()
    path = tmp_path / "bad.parquet"
    broken = [good[:n] for n in range(0, len(good), 97)]
    broken += [good[:n] + bytes([good[n] ^ 0xFF]) + good[n + 1 :] for n in range(0, len(good), 61)]
    told = 0
    for data in broken:
        path.write_bytes(data)
        try:
            list(RecordFile(path))
        except CtkdError as fault:
            told += 1
            assert len(str(fault)) < 400 and str(fault).isprintable()
    assert told >= len(good) // 97


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CtkdError, match="no data file"):
        RecordFile(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(CtkdError, match="is a folder"):
        RecordFile(tmp_path / "folder.jsonl")


def test_names_cannot_write_to_a_terminal(tmp_path: Path) -> None:
    path = written(tmp_path, "a\x1b[31m.csv", "x")
    with pytest.raises(CtkdError) as caught:
        RecordFile(path)
    assert "\x1b" not in str(caught.value) and "<U+001B>" in str(caught.value)


def test_depth_of_what_repeats_and_of_what_holds_itself() -> None:
    shared: Any = "x"
    for _ in range(50):
        shared = [shared, shared]  # 2 to the power of 50 texts, but 50 lists
    assert not deeper_than(shared, 60)
    assert deeper_than(shared, 40)
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert deeper_than(endless, 1000)
    assert not deeper_than("text", 0)
