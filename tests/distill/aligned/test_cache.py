"""Aligned samples on disk: the same back, or none; never more bytes than allowed."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from ctkd_core.distill.aligned import cache
from ctkd_core.distill.aligned.work import AlignmentSetup, align_examples
from ctkd_core.distill.data import Example
from ctkd_core.distill.models.teachers import LiveTeacher
from ctkd_core.tokenizers.chat_prompts import ChatPrompt
from tests import anything
from tests.tiny import tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(340, 1)
EXAMPLES = [Example(f"What is {n}?", f" {n} cats and a flag", where=f"record {n}") for n in range(12)]


def job(method: str = "sedi", **changes: object) -> AlignmentSetup:
    settings = {"max_length": 24, "truncation_side": "right"} | changes
    return AlignmentSetup(STUDENT, (LiveTeacher(TEACHER, None, method), LiveTeacher(STUDENT, None, "cdm")), **settings)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))


def kept(work: AlignmentSetup) -> tuple[str, list]:
    samples = align_examples(work, EXAMPLES, lambda sentence: None)
    key = cache.key_of(work, EXAMPLES)
    cache.write(key, samples)
    return key, samples


def test_what_was_kept_comes_back_with_the_samples_that_were_cut_away():
    work = job(max_length=12)
    key, samples = kept(work)
    samples[3] = None
    cache.write(key, samples)
    found = cache.read(key, work)
    assert [s is None for s in found] == [s is None for s in samples]
    for mine, theirs in zip(samples, found, strict=True):
        for a, b in zip(mine or (), theirs or (), strict=True):
            assert np.array_equal(a.groups, b.groups)
            assert np.array_equal(a.student_ids, b.student_ids)
            assert (a.pairs is None) == (b.pairs is None)
            assert a.pairs is None or np.array_equal(a.pairs, b.pairs)
            assert (a.truncated, a.tokenizers) == (b.truncated, b.tokenizers)


@pytest.mark.parametrize("damage", ["flipped", "short", "pickled", "about", "gone"])
def test_a_damaged_entry_counts_as_none(damage):
    work = job()
    key, _ = kept(work)
    arrays, about = cache.root() / key / cache.ARRAYS, cache.root() / key / cache.ABOUT
    data = bytearray(arrays.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
        arrays.write_bytes(data)
    elif damage == "short":
        arrays.write_bytes(data[:100])
    elif damage == "pickled":  # with the right hash: nothing is unpickled all the same
        np.savez(arrays, kept=np.array([{}], dtype=object))
        import hashlib

        about.write_text(json.dumps({"sha256": hashlib.sha256(arrays.read_bytes()).hexdigest()}))
    elif damage == "about":
        about.write_text("[]")
    else:
        arrays.unlink()
    assert cache.read(key, work) is None


def test_an_entry_with_anything_in_its_note_is_whole_or_none():
    work = job()
    key, samples = kept(work)
    about = cache.root() / key / cache.ABOUT
    whole = json.loads(about.read_text())
    for content in anything.contents(whole):
        about.write_bytes(content)
        found = cache.read(key, work)
        assert found is None or (len(found) == len(samples) and json.loads(content)["sha256"] == whole["sha256"])


def test_the_name_says_all_that_the_samples_depend_on():
    names = {
        cache.key_of(work, examples)
        for work, examples in (
            (job(), EXAMPLES),
            (job("gold"), EXAMPLES),
            (job(max_length=25), EXAMPLES),
            (job(truncation_side="left"), EXAMPLES),
            (job(), EXAMPLES[1:]),
            (job(), [Example("What is 0?", " 0 dogs"), *EXAMPLES[1:]]),
        )
    }
    assert len(names) == 6
    assert cache.key_of(job(), EXAMPLES) == cache.key_of(job(), [Example(e.prompt, e.completion) for e in EXAMPLES])


def test_what_was_used_longest_ago_makes_room(monkeypatch):
    first, second = job(), job(max_length=25)
    keys = [kept(work)[0] for work in (first, second)]
    for age, key in zip((100, 200), keys):
        os.utime(cache.root() / key, (age, age))
    assert cache.read(keys[0], first) is not None  # used again
    sizes = sum(file.stat().st_size for key in keys for file in (cache.root() / key).iterdir())
    monkeypatch.setattr(cache, "MOST_BYTES", sizes + 20)
    third, _ = kept(job(max_length=26))
    assert {folder.name for folder in cache.root().iterdir()} == {keys[0], third}


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    key, samples = kept(job())
    assert len(samples) == 12
    assert cache.read(key, job()) is None


def test_the_name_says_who_reads_what_and_by_which_template():
    other = tiny_byte_level(360, 2)
    teachers = tuple(LiveTeacher(tokenizer, None, "sedi") for tokenizer in (TEACHER, STUDENT, other))
    work = AlignmentSetup(STUDENT, teachers, 24, "right")
    a, b = ChatPrompt("<a>"), ChatPrompt("<b>")

    def read(*prompts: ChatPrompt) -> list[Example]:
        told = {t.fingerprint: p for t, p in zip((STUDENT, TEACHER, other), prompts, strict=True)}
        return [Example("What?", " this", prompts=told)]

    assert len({cache.key_of(work, read(*prompts)) for prompts in ((a, a, b), (a, b, a), (a, b, b))}) == 3
    spoken = replace(work, student=replace(STUDENT, chat_template="{{ messages }}"))
    assert cache.key_of(spoken, EXAMPLES) != cache.key_of(work, EXAMPLES)
