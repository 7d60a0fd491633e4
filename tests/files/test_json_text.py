"""JSON values out of a stretch of a file: the same values and faults wherever it is cut, in constant memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import CtkdError
from ctkd_core.files import json_text
from ctkd_core.files.data_files import Record, RecordFile
from ctkd_core.files.json_text import JsonFault, JsonText, NotUtf8, TooLong

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
CHUNKS = st.sampled_from([1, 2, 3, 7, 31])
LONG = 10_000


def read(data: bytes, chunk: int, longest: int = LONG) -> list[Any]:
    """All values of a file with their lines; last what was wrong with it, as line, column and text."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "CHUNK", chunk)
        text = JsonText(io.BytesIO(data), json.JSONDecoder(), longest)
        try:
            while text.sign():
                found.append((text.line, repr(text.value())))
        except JsonFault as fault:
            found.append((fault.line, fault.column, fault.message))
        except NotUtf8 as fault:
            found.append((fault.line, fault.byte, fault.why))
        except TooLong as fault:
            found.append(fault.line)
    return found


@given(values=st.lists(VALUES, max_size=5), indent=st.sampled_from([None, 1]), plain=st.booleans(), chunk=CHUNKS)
def test_values_are_those_of_the_whole_text(values: list[Any], indent: int | None, plain: bool, chunk: int) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=plain) for value in values]
    data = "\n \n".join(texts).encode("utf-8", "replace")
    lines = [1 + data[: len("\n \n".join([*texts[:n], ""]).encode("utf-8", "replace"))].count(b"\n") for n in range(5)]
    expected = [(line, repr(json.loads(text.encode("utf-8", "replace")))) for line, text in zip(lines, texts)]
    assert read(data, chunk) == expected
    assert read(b"\xef\xbb\xbf" + data, chunk) == expected


@given(values=st.lists(VALUES, min_size=1, max_size=3), sign=st.sampled_from(list('{}[],:"\\x0-.e\n')), data=st.data())
def test_a_fault_is_told_where_it_stands(values: list[Any], sign: str, data: st.DataObject) -> None:
    whole = json.dumps(values, indent=data.draw(st.sampled_from([None, 1])))
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = data.draw(
        st.sampled_from([whole[:at], whole[:at] + sign + whole[at:], whole[:at] + sign + whole[at + 1 :]])
    )
    expected: list[Any] = []
    place, decoder = 0, json.JSONDecoder()
    while broken[place:].strip(json_text.BLANKS):
        place = len(broken) - len(broken[place:].lstrip(json_text.BLANKS))
        try:
            value, end = decoder.raw_decode(broken, place)
        except json.JSONDecodeError as fault:
            expected.append((fault.lineno, fault.colno, fault.msg))
            break
        expected.append((1 + broken.count("\n", 0, place), repr(value)))
        place = end
    assert read(broken.encode(), data.draw(CHUNKS)) == expected


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"-Infinity", [(1, "-inf")]),
        (b"12345", [(1, "12345")]),
        (b"1.5e+10", [(1, "15000000000.0")]),
        (b'"\\ud83e\\udd99"', [(1, repr("🦙"))]),
        (b"\xef\xbb\xbf ", []),
        (b'\n"\xff"', [(2, 0xFF, "invalid start byte")]),
        (b'\n\n"\xc3', [(3, 0xC3, "unexpected end of data")]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_what_a_border_may_cut(data: bytes, found: list[Any], chunk: int) -> None:
    assert read(data, chunk) == found


@pytest.mark.parametrize("chunk", [1, 1000])
@pytest.mark.parametrize("data", [b'["' + b"x" * 50 + b'"]', b'"' + b"x" * 50, b"[1, " * 30, b'[1, "\n'])
def test_what_is_wrong_at_the_beginning_isnt_looked_for_to_the_end(
    data: bytes, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "CHUNK", chunk)
    file = io.BytesIO(data + b"x" * 100_000)
    with pytest.raises((JsonFault, TooLong)):
        JsonText(file, json.JSONDecoder(), 40).value()
    assert file.tell() <= max(chunk, 200)


@pytest.mark.parametrize("spread", [False, True])
def test_a_large_file_takes_no_more_memory_than_a_small_one(
    spread: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "CHUNK", 20_000)
    one = json.dumps({"text": "word " * 100, "n": 1}, indent=1)
    peaks = []
    for count in (100, 4_000):
        path = tmp_path / f"{count}.json"
        path.write_text("\n".join([one] * count) if spread else f"[{', '.join([one] * count)}]")
        tracemalloc.start()
        assert sum(isinstance(record, Record) for record in RecordFile(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[-1] < 1_000_000
    assert path.stat().st_size > 2_000_000 and peaks[1] < 1.5 * peaks[0] + 100_000


def test_a_record_that_is_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"n": 1},\n{"text": "' + "x" * 200 + '"}]')
    with pytest.raises(CtkdError, match=r"'a.json' has a record of more than 100 characters.*: record 2\."):
        list(RecordFile(path, longest=100))


def test_a_file_that_is_no_list_and_no_record_after_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"n": 1}\n' + '{"text":\n"' + "x" * 200)
    found = list(RecordFile(path, longest=100))
    assert found[0] == Record(1, 1, {"n": 1}) and len(found) == 3
