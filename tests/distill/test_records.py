"""Append-only files: torn lines, attempts that went on, what isn't a figure."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core.distill.headline import headline, held_out_text
from ctkd_core.distill.records import (
    EvalRow,
    RecordWriter,
    ResumeRow,
    Row,
    RowsRead,
    TrainRow,
    current_rows,
    metrics_frame,
    read_part,
)


def test_rows_come_back_and_the_offset_goes_on(tmp_path):
    path = tmp_path / "samples.jsonl"
    writer = RecordWriter(path)
    writer.write({"step": 1, "prompt": "é🦙"})
    first = read_part(path)
    assert first.rows == [{"step": 1, "prompt": "é🦙"}]
    assert (read_part(path, first.end).rows, read_part(path, first.end).end) == ([], first.end)
    writer.write({"step": 2})
    assert read_part(path, first.end) == RowsRead([{"step": 2}], path.stat().st_size)


def test_half_a_line_waits_and_is_ended_by_the_next_writer(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    first = read_part(path)
    assert first == RowsRead([{"step": 1}], len(b'{"step": 1}\n'))
    writer = RecordWriter(path)
    writer.write({"kind": "resume", "step": 1})
    writer.write({"step": 2})
    after = [{"kind": "resume", "step": 1}, {"step": 2}]
    assert read_part(path) == RowsRead([{"step": 1}, *after], path.stat().st_size)
    assert read_part(path, first.end) == RowsRead(after, path.stat().st_size)


def test_a_line_torn_inside_a_character_is_passed_over(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes('{"step": 1}\n{"prompt": "é'.encode()[:-1] + b'\n{"kind": "resume", "step": 1}\n{"step": 3}\n')
    assert read_part(path) == RowsRead([{"step": 1}, {"kind": "resume", "step": 1}, {"step": 3}], path.stat().st_size)


@pytest.mark.parametrize(
    "damaged",
    [
        [1, 2],
        "text",
        None,
        5,
        {"kind": "train", "step": 1},
        {"kind": "train", "step": "1", "loss": 2.0},
        {"kind": "train", "step": 1, "loss": "2.0"},
        {"kind": "train", "step": True, "loss": 2.0},
        {"kind": "train", "step": 1, "loss": 2.0, "terms": [1.0]},
        {"kind": "train", "step": 1, "loss": 2.0, "terms": {"ce": {}}},
        {"kind": "eval", "step": 1},
        {"kind": "eval", "bits_per_byte": 1.0},
        {"kind": "resume"},
        {"kind": ["train"], "step": 1, "loss": 2.0},
        {"step": 10**400},
        {"step": 1, "index": 0, "prompt": None},
        {"step": 1, "time": "noon"},
        {"kind": "train", "step": 1, "loss": 2.0, "diagnostics": {"groups": [1]}},
        {"loss": 1.0},
    ],
)
def test_a_row_of_another_shape_is_passed_over_and_said_to_be_damage(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    good = [
        {"kind": "train", "step": 0, "loss": 5, "more": 1, "later": [1]},
        {"kind": "eval", "step": 0, "bits_per_byte": None},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in (good[0], damaged, good[1])))
    found = read_part(path)
    del good[0]["later"]
    assert (found.rows, found.end) == (good, path.stat().st_size)
    assert found.damage.startswith("line 2: ") and "more" not in found.damage
    start = path.read_bytes().index(b"\n") + 1
    assert read_part(path, start).damage == found.damage, "lines are counted from the beginning of the file"


@pytest.mark.parametrize(
    ("lines", "damage"),
    [
        (["[" * 100_000], "line 1: it is nested too deeply to read"),
        (["junk", '{"kind": "train", "step": 1, "loss": 1}'], "line 1: it isn't whole JSON"),
        (["", '{"step": 1}', "junk"], "line 3: it isn't whole JSON"),
        (
            ["5", "junk", "\x00\x00", '{"kind": "resume", "step": 0}', "{}"],
            "line 1: input should be a valid dictionary",
        ),
        (["junk", "", '{"kind": "resume", "step": 0}'], ""),
        (['{"kind": "of a later version", "step": "x"}', '{"kind": "another", "words": "x"}'], ""),
        ([], ""),
    ],
)
def test_what_counts_as_damage(tmp_path, lines, damage):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in lines) + '{"kind": "train", "st')
    found = read_part(path).damage
    assert found.startswith(damage) and bool(found) == bool(damage)
    assert ("; 1 more" in found) == (lines[-1:] == ["{}"])


NAMES = st.sampled_from(
    [*TrainRow.__annotations__, *EvalRow.__annotations__, *ResumeRow.__annotations__, *Row.__annotations__]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["train", "eval", "resume", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["train", "eval", "resume"]) | VALUES, "step": st.integers(-1, 9) | VALUES},
    optional={"loss": st.floats() | VALUES, "bits_per_byte": st.floats() | VALUES, "terms": VALUES},
)


@given(rows=st.lists(ROWS | VALUES | st.dictionaries(NAMES, VALUES), max_size=8), junk=st.binary(max_size=20))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_of_rows_stops_a_reader(tmp_path, rows, junk):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode() + junk + b"\n")
    found = current_rows(read_part(path).rows)
    assert set(headline(found)) == set(headline([]))
    assert len(metrics_frame(found)) == len(found)


def test_numbers_that_json_lacks_become_null(tmp_path):
    writer = RecordWriter(tmp_path / "m.jsonl")
    writer.write({"loss": float("nan"), "terms": {"kd": float("inf")}, "list": [float("-inf"), 1.0]})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"loss": None, "terms": {"kd": None}, "list": [None, 1.0]}


def test_rows_after_the_checkpoint_of_a_later_attempt_do_not_count():
    rows = [{"kind": "train", "step": s, "loss": s} for s in (1, 2, 3, 4)]
    rows += [{"kind": "resume", "step": 2}, {"kind": "train", "step": 3, "loss": 30}]
    assert [(r["step"], r["loss"]) for r in current_rows(rows)] == [(1, 1), (2, 2), (3, 30)]
    assert current_rows([*rows, {"kind": "resume", "step": -1}]) == []


def test_the_table_has_its_columns_even_when_empty():
    assert list(metrics_frame([]).columns) == ["step", "time", "kind", "loss"]
    frame = metrics_frame([{"kind": "train", "step": 1, "time": 0.0, "loss": 2.0, "terms": {"ce": 1.0}}])
    assert frame.loc[0, "terms.ce"] == 1.0


def test_headline_takes_the_first_and_last_of_each():
    rows = [
        {"kind": "eval", "step": 0, "bits_per_byte": 3.0, "teacher_bits_per_byte": 1.0},
        {"kind": "train", "step": 1, "loss": 5.0},
        {"kind": "train", "step": 2, "loss": 4.0},
        {"kind": "eval", "step": 2, "bits_per_byte": 2.5, "held_out": 48, "held_out_bytes": 3120},
    ]
    assert headline(rows) == {
        "loss_first": 5.0,
        "loss_last": 4.0,
        "bits_per_byte_before": 3.0,
        "bits_per_byte_after": 2.5,
        "teacher_bits_per_byte": 1.0,
        "held_out": 48,
        "held_out_bytes": 3120,
    }
    assert set(headline([]).values()) == {None}


def test_the_text_that_figures_stand_on_in_words():
    assert held_out_text(headline([{"kind": "eval", "step": 0, "held_out": 1, "held_out_bytes": 3120}])) == (
        "1 sample, 3,120 bytes"
    )
    assert held_out_text({"held_out": 48}) == "48 samples", "runs of earlier versions"
    assert held_out_text(headline([])) == ""


def test_half_a_character_in_a_row_stops_no_table(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": 2.0, "prompt": "\\ud800", "student": "\\ud83d\\ude00"}\n')
    (row,) = read_part(path).rows
    assert (row["prompt"], row["student"]) == ("?", "\U0001f600")
    assert len(metrics_frame([row])) == 1
