"""Tokenizer objects of other libraries, taken wherever the project takes a tokenizer."""

from __future__ import annotations

import gc

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import pre_tokenizers

import ctkd_core as ctkd
from ctkd_core.errors import TokenizerError
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.pair.report import pair_report
from ctkd_core.tokenizers import load
from ctkd_core.tokenizers.load import as_tokenizer
from ctkd_core.vocabulary.store import cached_project
from tests.tiny import tiny_byte_level, tiny_metaspace

TEXT = "In 2024 naïve llamas sold 1234567 units."


def fast(tokenizer, **roles):
    """A fast tokenizer of transformers around a copy of the backend."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Backend.from_str(tokenizer.backend.to_str()), **roles)


def backend(tokenizer):
    return Backend.from_str(tokenizer.backend.to_str())


@pytest.fixture(scope="module")
def pair():
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return fast(tiny_byte_level(400, 3), **roles), backend(tiny_metaspace())


@pytest.mark.parametrize("make", [lambda x: fast(x, bos_token="<bos>"), backend], ids=["fast", "backend"])
def test_objects_do_what_their_files_do(make):
    ours = tiny_byte_level(400, 3)
    given = as_tokenizer(make(ours), "student")
    assert given.fingerprint == ours.fingerprint
    assert given.encode(TEXT, special_tokens=True).ids.tolist() == ours.encode(TEXT, special_tokens=True).ids.tolist()
    assert given.all_token_bytes() == ours.all_token_bytes()
    assert given.kind == ours.kind
    assert given.begins_with_bos


def test_roles_and_template_are_those_of_the_object():
    ours = tiny_byte_level(400, 3)
    given = as_tokenizer(fast(ours, eos_token="<pad>", chat_template="{{ messages[0]['content'] }}!"), "student")
    assert given.eos_id == ours.id_of("<pad>")
    assert given.bos_id is None, "the object names none, whatever the vocabulary has"
    assert given.chat_template == "{{ messages[0]['content'] }}!"
    several = as_tokenizer(fast(ours, chat_template={"default": "a", "tools": "b"}), "student")
    assert several.chat_template == "a"
    assert several.named_templates == {"default": "a", "tools": "b"}
    plain = as_tokenizer(backend(ours), "student")
    assert (plain.bos_id, plain.eos_id, plain.pad_id) == (ours.bos_id, ours.eos_id, ours.pad_id)


def test_the_object_counts_and_not_the_file_that_it_came_from(tmp_path):
    """AutoTokenizer may rewrite a tokenizer.json; what is given is what the object does now."""
    ours = tiny_byte_level(400, 3)
    changed = fast(ours)
    changed.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    given = as_tokenizer(changed, "student")
    assert len(given.encode("2024")) == 4
    assert len(ours.encode("2024")) < 4


def test_an_object_is_converted_once_and_again_when_it_changed():
    given = fast(tiny_byte_level(400, 3))
    first = as_tokenizer(given, "student")
    assert as_tokenizer(given, "teacher") is first
    given.add_tokens(["<new>"])
    second = as_tokenizer(given, "student")
    assert second is not first
    assert second.id_of("<new>") == 400
    assert first.id_of("<new>") is None, "what was converted before stays as it was"
    given.eos_token = "<pad>"
    assert as_tokenizer(given, "student").eos_id == second.id_of("<pad>")


def test_the_object_itself_is_never_changed():
    given = fast(tiny_byte_level(400, 3), pad_token="<pad>")
    given.backend_tokenizer.enable_truncation(4)
    before = given.backend_tokenizer.to_str()
    assert len(as_tokenizer(given, "student").encode(TEXT)) > 4
    assert given.backend_tokenizer.to_str() == before


def test_objects_that_are_gone_are_let_go():
    given = fast(tiny_byte_level(400, 3))
    as_tokenizer(given, "student")
    del given
    gc.collect()
    as_tokenizer(fast(tiny_byte_level(300, 1)), "student")
    gc.collect()
    assert all(held() is not None for held, _, _ in list(load._converted.values())[:-1])
    assert len(load._converted) <= load.KEPT


def test_they_are_taken_wherever_a_tokenizer_is(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    ours = tiny_byte_level(400, 3), tiny_metaspace()
    assert ctkd.load_tokenizer(pair[0]) is as_tokenizer(pair[0], "student")
    for method in ("sedi", "cdm", "gold"):
        expected = ctkd.align(TEXT, student=ours[0], teacher=ours[1], method=method)
        found = ctkd.align(TEXT, student=pair[0], teacher=pair[1], method=method)
        assert found.groups.tolist() == expected.groups.tolist()
    expected = ctkd.project(*ours, method="exact").matrix
    assert (ctkd.project(*pair, method="exact").matrix != expected).nnz == 0
    assert (cached_project(*pair, method="exact").matrix != expected).nnz == 0
    samples = [ctkd.align_sample("Q:", TEXT, *pair)]
    batch = ctkd.collate(samples, *pair)
    assert batch.student is as_tokenizer(pair[0], "student")
    sides = batch.student_ids, batch.teacher_ids, batch.student_labels, batch.teacher_labels
    again = AlignedBatch.from_ids(*sides, student=pair[0], teacher=pair[1])
    assert again.groups.tolist() == batch.groups.tolist()
    report = pair_report(*pair, corpus={"one": [TEXT]})
    assert report.vocabulary["student_size"] == 400
    assert report.corpus["one"]["texts"] == 1


def test_two_objects_without_a_name_are_told_apart(pair):
    assert as_tokenizer(pair[0], "student").name != as_tokenizer(pair[1], "teacher").name


def test_slow_tokenizers_are_refused_with_what_to_do():
    from transformers import PythonBackend

    class Slow(PythonBackend):
        @property
        def vocab_size(self):
            return 1

        def get_vocab(self):
            return {"a": 0}

        def _tokenize(self, text):
            return list(text)

        def _convert_token_to_id(self, token):
            return 0

        def _convert_id_to_token(self, index):
            return "a"

    with pytest.raises(TokenizerError, match=r"teacher is a .*Slow, a slow tokenizer, .*load the fast one"):
        ctkd.align("a", student=tiny_byte_level(), teacher=Slow())
