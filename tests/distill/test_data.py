"""Data: the bundled set and its generator, the three record forms, the split, bad files."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core.distill import make_data
from ctkd_core.distill.data import BUNDLED_FILE, Reading, load_examples, load_split, named, split_by
from ctkd_core.errors import RunError


def write(path, *records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return str(path)


def test_the_bundled_file_is_what_its_generator_writes():
    rows = [json.loads(line) for line in BUNDLED_FILE.read_text(encoding="utf-8").splitlines()]
    assert rows == list(make_data.generate())


def test_the_bundled_set_is_large_varied_and_has_no_prompt_twice():
    examples = load_examples("bundled")
    assert 2500 <= len(examples) <= 3500
    kinds = Counter(e.kind for e in examples)
    assert set(kinds) == set(make_data.COUNTS)
    assert len({e.prompt for e in examples}) == len(examples)
    digits = {len(word) for e in examples if e.kind == "addition" for word in e.question.split() if word.isdigit()}
    assert digits == {1, 2, 3, 4, 5, 6, 7}


def test_bundled_sums_are_right():
    import re

    sums = [e for e in load_examples("bundled") if e.kind == "addition"]
    for example in sums:
        a, b = map(int, re.findall(r"\d+", example.question))
        assert int(example.completion) == a + b


KEYS = "text prompt completion messages role content kind system instruction input output history chosen rejected label"
NAMES = st.sampled_from([*KEYS.split(), "tools", "question", "answer", "context", "conversation", "preferred_output"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "assistant", "user", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": DOCUMENTS, "content": DOCUMENTS}), max_size=3)


@given(record=DOCUMENTS | st.dictionaries(NAMES, DOCUMENTS) | st.fixed_dictionaries({"messages": MESSAGES}))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_record_is_an_example_or_a_clear_error(tmp_path, record):
    path = write(tmp_path / "d.jsonl", record)
    try:
        examples = load_examples(path)
    except RunError as fault:
        assert "d.jsonl" in str(fault)
    else:
        assert examples
        assert all(example.completion.encode() for example in examples)


@given(data=st.binary(max_size=40) | DOCUMENTS.map(json.dumps) | st.text(alphabet='[]{}",:1ae\\ud8\n ', max_size=40))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_examples_or_a_clear_error(tmp_path, data):
    path = tmp_path / "d.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    for skip in (False, True):
        try:
            assert load_split(str(path), skip=skip).train
        except RunError as fault:
            assert "d.jsonl" in str(fault) and str(fault).isprintable()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[" * 200_000, "line 2 is nested too deeply to read"),
        ('{"text": ' + "1" * 5000 + "}", "line 2 has a number of 5,000 digits"),
    ],
)
def test_a_line_that_no_reader_takes_is_named(tmp_path, line, word):
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(RunError, match=word):
        load_examples(str(tmp_path / "d.jsonl"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (105, "one hundred five"),
        (1234, "one thousand two hundred thirty-four"),
        (9000, "nine thousand"),
    ],
)
def test_numbers_in_words(number, words):
    assert make_data.in_words(number) == words


def test_split_is_stable_disjoint_and_about_a_twelfth():
    split = load_split("bundled")
    assert 200 <= len(split.held_out) <= 300
    assert not {e.prompt for e in split.train} & {e.prompt for e in split.held_out}
    assert split == load_split("bundled")


def test_equal_prompts_stay_on_one_side(tmp_path):
    records = [{"prompt": f"p{i % 5}", "completion": str(i)} for i in range(40)]
    split = load_split(write(tmp_path / "d.jsonl", *records))
    assert not {e.prompt for e in split.train} & {e.prompt for e in split.held_out}
    assert len(split.train) + len(split.held_out) == 40


def test_three_forms_of_records(tmp_path):
    source = write(
        tmp_path / "d.jsonl",
        {"prompt": "Two?", "completion": "2", "kind": "n"},
        {"text": "plain text"},
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
            ]
        },
    )
    pair, text, chat = load_examples(source)
    assert (pair.prompt, pair.completion, pair.kind) == ("Question: Two?\nAnswer:", " 2", "n")
    assert (text.prompt, text.completion) == ("", "plain text")
    assert (chat.prompt, chat.completion) == ("Be short.\nQuestion: Hi\nAnswer:", " Hello")
    assert load_examples(source, "none")[0].prompt == "Two?"


def test_a_system_prompt_stands_before_a_text_prompt(tmp_path):
    asked = {"prompt": "Two?", "completion": "2"}
    source = write(tmp_path / "d.jsonl", asked | {"system": "Be short."}, asked | {"system": "", "prompt": ""})
    with_system, without = load_examples(source)
    assert (with_system.prompt, with_system.completion) == ("Be short.\nQuestion: Two?\nAnswer:", " 2")
    assert (with_system.question, without.prompt, without.completion) == ("Two?", "", "2")
    assert load_examples(source, "none")[0].prompt == "Be short.\nTwo?"
    chat = [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]
    beside = load_examples(write(tmp_path / "m.jsonl", {"system": "Be short.", "messages": chat}))[0]
    assert (beside.prompt, beside.completion) == (with_system.prompt, with_system.completion)
    source = write(tmp_path / "e.jsonl", {"system": "Be short.", "prompt": None, "completion": "2"})
    (alone,) = load_examples(source)
    assert (alone.prompt, alone.completion) == ("Be short.\nAnswer:", " 2")


def test_alpaca_is_a_conversation(tmp_path):
    row = {"instruction": "Add.", "input": "1+1", "output": "2", "system": "Be short.", "history": [["Hi", "Ho"]]}
    source = write(tmp_path / "d.jsonl", row)
    first, second = load_examples(source)
    assert (first.prompt, first.completion) == ("Be short.\nQuestion: Hi\nAnswer:", " Ho")
    assert second.prompt == "Be short.\nQuestion: Hi\nAnswer: Ho\nQuestion: Add.\n1+1\nAnswer:"
    assert (second.completion, second.question) == (" 2", "Add.\n1+1") and second.turn is not None
    assert load_examples(source, turns="last") == [second]


def test_what_is_not_read_is_told_once(tmp_path):
    rows = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(20)]
    rows += [{"prompt": f"{n}!", "completion": "b", "label": n % 2 == 0, "tools": ["f"]} for n in range(3)]
    split = load_split(write(tmp_path / "d.jsonl", *rows, {"text": "t", "system": "s"}))
    assert split.notes == (
        "rejected isn't read (20 records): only the answer that was preferred is learnt.",
        "label isn't read (3 records): completions are learnt whether it is true or false.",
        "tools isn't read (3 records): a text prompt has no place for it; give messages.",
        "system isn't read (1 record): a text has no place for it; give prompt and completion, or messages.",
    )
    assert {e.completion for e in split.examples} == {" yes", " b", "t"}
    assert load_split("bundled").notes == ()


def test_preferences_without_a_prompt_are_told_to_be_learnt_whole(tmp_path):
    rows = [{"chosen": f"Human: {n}? Assistant: yes", "rejected": f"Human: {n}? Assistant: no"} for n in range(20)]
    split = load_split(write(tmp_path / "d.jsonl", *rows, {"text": "t", "answer": "a", "role": "user"}))
    assert split.notes == (
        "rejected isn't read (20 records): only the answer that was preferred is learnt.",
        "chosen has no prompt (20 records): it is learnt whole, with what both answers begin with; give the prompt as "
        "a field of its own.",
        "role isn't read (1 record): a text is learnt whoever says it; give messages.",
        "answer isn't read (1 record): the text beside it is learnt as a whole; leave the text out, or the answer.",
    )
    assert all(e.prompt == "" for e in split.examples)


def test_parquet_and_jsonl_give_the_same(tmp_path):
    rows = [{"prompt": f"é{i}", "completion": "ü"} for i in range(4)]
    pd.DataFrame(rows).to_parquet(tmp_path / "d.parquet")
    assert load_examples(str(tmp_path / "d.parquet")) == load_examples(write(tmp_path / "d.jsonl", *rows))


def test_packed_files_are_read_as_what_they_hold(tmp_path):
    rows = [{"prompt": f"é{i}", "completion": "ü"} for i in range(40)]
    plain, other = write(tmp_path / "d.jsonl", *rows), write(tmp_path / "e.jsonl", *rows[30:])
    for path in (plain, other):
        Path(f"{path}.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    assert load_split(f"{plain}.gz") == load_split(plain)
    assert split_by(f"{plain}.gz", Reading(), f"{other}.gz").held_out == split_by(plain, Reading(), other).held_out
    Path(f"{plain}.gz").write_bytes(gzip.compress(Path(plain).read_bytes())[:-8])
    with pytest.raises(RunError, match=r"data 'd\.jsonl\.gz' can't be read: its gzip data breaks off"):
        load_split(f"{plain}.gz")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"prompt": "a"}\n', "record 1: its keys are prompt; a record needs"),
        (b'{"text": "a"}\n{"prompt": 3, "completion": "x"}\n', "record 2: prompt must be text; got int"),
        (b'{"text": "a"}\n{oops\n', "line 2 isn't JSON"),
        (b'"text"\n', "expected a table"),
        (b"", "holds no examples"),
        (b'{"prompt": "a", "completion": ""}\n', "completion is empty"),
        (b'{"messages": [{"role": "user", "content": "x"}]}\n', "last message must be the assistant's"),
        (b'{"messages": [{"role": "writer", "content": "x"}]}\n', "The only roles are writer"),
        (b'{"text": "\xff"}\n', "isn't UTF-8"),
        (b'{"prompt": "a", "completion": "b"}\n', "at least two"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, content, word):
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunError, match=word):
        load_split(str(path))


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(RunError, match="isn't there"):
        load_split(str(tmp_path / "none.jsonl"))
    (tmp_path / "d.csv").write_text("a,b\n")
    with pytest.raises(RunError, match=r"\.jsonl or \.parquet"):
        load_split(str(tmp_path / "d.csv"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(RunError, match="readable Parquet"):
        load_split(str(tmp_path / "d.parquet"))


def test_half_an_emoji_is_told_with_file_record_and_field(tmp_path):
    path = tmp_path / "half.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "half \\ud83d"}\n')
    with pytest.raises(RunError) as caught:
        load_split(str(path))
    said = "half.jsonl, record 2: completion isn't valid Unicode (lone surrogate U+D83D)"
    assert str(caught.value).startswith(said)


def test_bad_records_are_left_out_and_named_when_asked(tmp_path):
    path = tmp_path / "d.jsonl"
    good = [json.dumps({"prompt": f"p{n}", "completion": str(n)}) for n in range(6)]
    bad = ["{oops", '{"prompt": 3, "completion": "x"}', '{"text": "\\ud83d"}', "[" * 200_000]
    path.write_text("\n".join([*good[:3], *bad, *good[3:]]) + "\n")
    with pytest.raises(RunError, match="line 4 isn't JSON"):
        load_split(str(path))
    split = load_split(str(path), skip=True)
    assert len(split.examples) == 6
    places = ["line 4 isn't JSON", "record 5: prompt must be", "record 6: text isn't valid", "line 7 is nested"]
    assert [word for word, said in zip(places, split.skipped, strict=True) if word not in said] == []
    assert named(split.skipped).startswith("4 records left out: ")
    assert named(split.skipped).endswith("(1 more.)")
    path.write_text("\n".join(bad))
    with pytest.raises(RunError, match=r"holds no examples\. 4 records left out"):
        load_split(str(path), skip=True)


def test_records_without_a_prompt_are_held_out_by_what_they_say(tmp_path):
    rows = [{"prompt": ["", None, " "][n % 3], "completion": f"text {n}"} for n in range(48)]
    split = load_split(write(tmp_path / "d.jsonl", *rows))
    assert (len(split.train), len(split.held_out)) == (44, 4)
    assert {e.prompt for e in split.examples} == {""}
    assert {e.completion for e in split.examples} == {f"text {n}" for n in range(48)}
    same = [{"prompt": "Classify.", "completion": f"text {n}"} for n in range(24)]
    assert len(load_split(write(tmp_path / "e.jsonl", *same)).held_out) == 2
    with pytest.raises(RunError, match="at least two"):
        load_split(write(tmp_path / "f.jsonl", *[same[0]] * 5))


def conversation(*answers, system=False):
    head = [{"role": "system", "content": "Be short."}] if system else []
    turns = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": a}] for n, a in enumerate(answers)]
    return {"messages": head + [message for turn in turns for message in turn]}


def test_each_answer_of_a_conversation_is_an_example(tmp_path):
    source = write(tmp_path / "d.jsonl", conversation("one", "two", system=True))
    first, second = load_examples(source)
    assert (first.prompt, first.completion, first.question) == ("Be short.\nQuestion: q0\nAnswer:", " one", "q0")
    assert second.prompt == "Be short.\nQuestion: q0\nAnswer: one\nQuestion: q1\nAnswer:"
    (last,) = load_examples(source, turns="last")
    assert last == second
    assert [len(e.turn.before) for e in (first, second)] == [2, 4]


def test_turns_of_a_conversation_stay_on_one_side(tmp_path):
    split = load_split(write(tmp_path / "d.jsonl", *(conversation(f"a{n}", f"b{n}") for n in range(24))))
    sides = [{e.completion.strip()[1:] for e in part} for part in (split.train, split.held_out)]
    assert not sides[0] & sides[1]
    assert len(split.examples) == 48


def test_tool_turns_keep_their_role_and_silent_turns_are_not_learnt(tmp_path):
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]
    (example,) = load_examples(write(tmp_path / "d.jsonl", {"messages": messages}))
    assert example.prompt == 'Question: Weather?\nAnswer: [{"name": "look"}]\nTool: rain\nAnswer:'
    assert example.completion == " It rains."
    with pytest.raises(RunError, match="last message must be the assistant's and not empty"):
        load_examples(write(tmp_path / "e.jsonl", {"messages": messages[:3]}))
    with pytest.raises(RunError, match="last message must be"):
        load_examples(write(tmp_path / "f.jsonl", {"messages": [*messages, messages[0]]}), turns="last")
    read = [*messages[:3], messages[3] | {"weight": 0}]
    with pytest.raises(RunError, match="Messages of weight 0 are only read"):
        load_examples(write(tmp_path / "g.jsonl", {"messages": read}))


def test_the_same_data_as_messages_of_a_prompt_and_in_an_array(tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": f"q{n}"}], "completion": [{"role": "assistant", "content": f"a{n}"}]}
        for n in range(4)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "d.parquet")
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=2))
    lines = load_examples(write(tmp_path / "d.jsonl", *rows))
    assert load_examples(str(tmp_path / "d.parquet")) == lines == load_examples(str(tmp_path / "d.json"))
    assert [e.completion for e in lines] == [f" a{n}" for n in range(4)]


def test_what_is_no_file_is_called_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, said in (
        ("/dev/zero", "is no regular file; give a .jsonl"),
        (str(tmp_path), "is a folder; give a .jsonl, .json or .parquet file"),
        ("none.jsonl", f"isn't there (looked in '{tmp_path}'); give 'bundled'"),
    ):
        with pytest.raises(RunError, match=re.escape(said)):
            load_examples(source)


def test_names_of_data_that_isnt_there(tmp_path):
    for source in ("x" * 5000, "a\0b", "~nobody-of-this-name/x.jsonl"):
        with pytest.raises(RunError, match="isn't there") as caught:
            load_split(source)
        assert len(str(caught.value)) < 350 + len(str(Path.cwd()))  # which it names
