"""What is known of the data before a run starts: samples that are cut away, bad records, the highest id."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import ctkd_core
from ctkd_core.distill import checks
from ctkd_core.distill.data import Example
from ctkd_core.distill.models.teachers import planned_teachers
from ctkd_core.distill.preparation import highest_id, looked_at, prepared, split_of, without_answer
from ctkd_core.errors import PreflightError, RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.tiny import tiny_byte_level

LONG = "Read the report with care and answer the question below. " * 4


@pytest.fixture
def mostly_long(tmp_path):
    rows = [{"prompt": f"Case {n}. {LONG * (n < 20)}", "completion": f"{n} cats"} for n in range(24)]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_samples_that_nothing_is_left_of_are_told_before_and_after_the_start(pair, store, mostly_long, capsys):
    config = pair.config(method="sft", data=mostly_long, steps=2)
    found = {c.name: c for c in checks.preflight(config, store.root)}["length"]
    assert (found.ok, found.fatal) == (False, False)
    train = looked_at(config, [load_tokenizer(str(pair.student))]).counts[0]
    long = train - sum(
        e.completion.strip() in {f"{n} cats" for n in range(20, 24)} for e in looked_at(config, []).split.train
    )
    assert found.detail.startswith(
        f"{long} of {train} training samples are cut before their response (long.jsonl, record "
    )
    assert "raise max_length, or set truncation_side=left" in found.detail
    run = ctkd_core.distill(config, store)
    assert found.detail in run.status().warnings
    assert found.detail in run.summary()["warnings"]
    left = config.replace(truncation_side="left")
    found = {c.name: c for c in checks.preflight(left, store.root)}["length"]
    assert found.ok and "lose their beginning at max_length" in found.detail
    run = ctkd_core.distill(left, store)
    assert run.status().warnings == ()
    assert f"{long} of {train} training samples lose their beginning" in capsys.readouterr().out
    assert len(run.metric_rows()) > 0


def test_texts_that_are_cut_at_their_end_are_told(pair, store, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n} cats. {LONG * (n < 20)}"}) + "\n" for n in range(24)))
    config = pair.config(method="sft", data=str(path), max_length=32)
    found = {c.name: c for c in checks.preflight(config, store.root)}["length"]
    assert found.ok
    assert re.search(r"Those of more tokens \(the longest has \d+\) lose their end at max_length 32", found.detail)
    whole = {c.name: c for c in checks.preflight(config.replace(max_length=2000), store.root)}["length"]
    assert whole.detail == "max_length 2000 leaves an answer in every sample."


def test_fields_that_are_not_read_are_told_before_a_run_and_by_it(pair, store, tmp_path):
    rows = [{"prompt": f"{n}?", "chosen": f"{n} cats", "rejected": "no"} for n in range(24)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = pair.config(data=str(tmp_path / "d.jsonl"))
    said = "rejected isn't read (24 records): only the answer that was preferred is learnt."
    found = [c for c in checks.preflight(config, store.root) if c.detail == said]
    assert [(c.name, c.ok, c.fatal) for c in found] == [("field not read", False, False)]
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    assert prepared(config, student, planned_teachers(config, teacher), lambda _: None).warnings == (said,)


def test_held_out_samples_that_are_cut_explain_a_missing_figure(pair, mostly_long):
    config = pair.config(data=mostly_long)
    tokenizer = load_tokenizer(str(pair.student))
    long, short = Example(LONG, " x"), Example("Two?", " x")
    assert without_answer(config, [long, short, long], [tokenizer]) == (long, long)
    assert without_answer(config.replace(truncation_side="left"), [long], [tokenizer]) == ()


def test_every_sample_cut_is_refused_before_anything_is_written(pair, store):
    with pytest.raises(PreflightError, match="max_length 8 cuts every sample before its response"):
        ctkd_core.distill(pair.config(max_length=8), store)
    assert store.list() == []


def test_the_samples_are_those_of_each_teacher_and_faults_have_their_place(pair, monkeypatch):
    config = pair.config(method="gold", teachers=[{"teacher": str(pair.student), "method": "kd"}])
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    said = []
    data = prepared(config, student, planned_teachers(config, teacher), said.append)
    assert len(data.examples) == len(data.split.train) == 44
    assert all(len(example.samples) == 2 for example in data.examples)
    assert said == ["Aligning 44 samples."]
    assert data.warnings == ()
    ids = [int(i) for example in data.examples for i in example.samples[0].student_ids]
    assert data.highest[student.template_key] >= max(ids)

    def broken(*_, **__):
        raise RunError("a strange text.")

    monkeypatch.setattr("ctkd_core.distill.models.teachers.align_all", broken)
    with pytest.raises(RunError, match=r"data\.jsonl, record \d+: a strange text"):
        prepared(config, student, planned_teachers(config, teacher), said.append)


def test_the_highest_id_counts_prompts_answers_and_ends():
    tokenizer = tiny_byte_level(400, 3)
    written = {i: tokenizer.token_bytes(i) for i in range(tokenizer.n_ids) if tokenizer.token_bytes(i).isascii()}
    last = max(i for i, piece in written.items() if tokenizer.encode_pieces([piece]) == [[i]])
    text = written[last].decode()
    assert highest_id(tokenizer, [Example(text, "a")]) == last == highest_id(tokenizer, [Example("a", text)])
    assert highest_id(replace(tokenizer, pad_id=None, eos_id=399), []) == 399
    assert highest_id(replace(tokenizer, pad_id=None, eos_id=None), []) == -1


def test_what_was_seen_is_kept_while_the_file_stays(pair, mostly_long, monkeypatch):
    tokenizers = [load_tokenizer(str(pair.student))]
    config = pair.config(data=mostly_long)
    first = looked_at(config, tokenizers)
    assert looked_at(config.replace(steps=99), tokenizers) is first
    assert looked_at(config.replace(max_length=49), tokenizers) is not first
    with Path(mostly_long).open("a") as file:
        file.write('{"prompt": "new", "completion": "new"}\n')
    assert sum(looked_at(config, tokenizers).counts) == sum(first.counts) + 1


def test_many_samples_are_aligned_once(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    path = tmp_path / "many.jsonl"
    rows = [{"prompt": f"Case {n}?", "completion": f"{n} cats"} for n in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = pair.config(data=str(path), method="cdm")  # whose paths are kept, too
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    said: list[str] = []

    def once():
        said.clear()
        return prepared(config, student, planned_teachers(config, teacher), said.append)

    first = once()
    assert said == ["Aligning 275 samples.", "Aligning 256 of 275 samples."]
    second = once()
    assert said == ["275 samples were aligned before."]
    assert [e.prompt for e in second.examples] == [e.prompt for e in first.examples]
    for a, b in zip(first.examples, second.examples, strict=True):
        (mine,), (theirs,) = a.samples, b.samples
        for name in ("student_ids", "teacher_ids", "groups", "pairs"):
            assert getattr(mine, name).tolist() == getattr(theirs, name).tolist(), name
            assert getattr(mine, name).dtype == getattr(theirs, name).dtype
        assert mine.tokenizers == theirs.tokenizers
        assert (mine.student_response_start, mine.teacher_response_start, mine.truncated) == (
            theirs.student_response_start,
            theirs.teacher_response_start,
            theirs.truncated,
        )
    assert second.highest == first.highest


def test_another_file_can_be_held_out(pair, tmp_path):
    held = tmp_path / "held.jsonl"
    rows = [{"prompt": "What is 0 + 0?", "completion": "0"}, {"prompt": "A new one?", "completion": "Yes."}]
    held.write_text("".join(json.dumps(row) + "\n" for row in rows))
    split = split_of(pair.config(eval_data=str(held)))
    assert {e.question for e in split.held_out} == {"What is 0 + 0?", "A new one?"}
    assert len(split.train) == 47
    assert "What is 0 + 0?" not in {e.question for e in split.train}
    assert split.skipped[0].endswith("its prompt is held out in " + repr(str(held)) + ".")
    share = split_of(pair.config(eval_share=0.5))
    assert (len(share.train), len(share.held_out)) == (24, 24)
