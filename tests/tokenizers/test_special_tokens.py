"""Special tokens side by side: roles, what is added by itself, chat markers, and where ids end."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.special_tokens import CHAT, LAST_ID, ROLES, compare, facts
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

TEMPLATE = "{% for m in messages %}<turn>{{ m['content'] }}<end>{% endfor %}"


def with_template(*added: str, template: str = TEMPLATE, **config: object) -> Tokenizer:
    """The tiny byte-level tokenizer with more special tokens and a chat template."""
    document = json.loads(tiny_byte_level().backend.to_str())
    backend = Backend.from_str(json.dumps(document))
    backend.add_special_tokens(list(added))
    return Tokenizer.from_backend(backend, "chatty", config={"chat_template": template, **config})


def row(rows: list[dict], role: str) -> dict:
    return next(r for r in rows if r["role"] == role)


def plain_tokenizer() -> Tokenizer:
    """A tokenizer without any special token."""
    backend = Backend(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer.from_backend(backend, "bare")


def test_every_role_has_one_row_with_ids_and_strings() -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    rows = compare(student, teacher)
    assert [r["role"] for r in rows] == [*ROLES, LAST_ID]
    assert all(list(r) == ["role", "student_id", "student", "teacher_id", "teacher", "note"] for r in rows)
    for role in ROLES:
        found = row(rows, role)
        for side, tokenizer in (("student", student), ("teacher", teacher)):
            token_id = getattr(tokenizer, f"{role}_id")
            assert found[f"{side}_id"] == token_id
            assert found[side] == (None if token_id is None else tokenizer.token(token_id))
    last = row(rows, LAST_ID)
    assert (last["student_id"], last["teacher_id"]) == (student.n_ids - 1, teacher.n_ids - 1)
    assert json.loads(json.dumps(rows)) == rows, "plain data"


def test_bos_on_one_side_is_named() -> None:
    alone = Tokenizer.from_backend(
        Backend.from_str(_without_post_processor(tiny_byte_level())), "silent", config={"bos_token": "<bos>"}
    )
    assert not alone.begins_with_bos
    one = row(compare(tiny_byte_level(), alone), "bos")
    assert "Only the student puts BOS" in one["note"]
    assert "Only the teacher puts BOS" in row(compare(alone, tiny_byte_level()), "bos")["note"]
    assert "Both sides put BOS" in row(compare(tiny_byte_level(), tiny_metaspace()), "bos")["note"]
    assert "Neither side puts BOS" in row(compare(alone, alone), "bos")["note"]


def _without_post_processor(tokenizer: Tokenizer) -> str:
    return json.dumps(json.loads(tokenizer.backend.to_str()) | {"post_processor": None})


def test_eos_that_only_one_side_adds_is_named() -> None:
    assert facts(tiny_wordpiece()).adds_eos  # [SEP]
    assert not facts(tiny_byte_level()).adds_eos
    assert "Only the teacher puts EOS" in row(compare(tiny_byte_level(), tiny_wordpiece()), "eos")["note"]


def test_padding_that_is_missing_or_is_eos() -> None:
    assert row(compare(tiny_byte_level(), tiny_byte_level()), "pad")["note"] == ""
    assert "The teacher has no padding" in row(compare(tiny_byte_level(), tiny_metaspace()), "pad")["note"]
    assert "Neither side has padding" in row(compare(tiny_metaspace(), tiny_metaspace()), "pad")["note"]
    eos_pads = with_template(pad_token="<eos>")
    assert "The student pads with EOS" in row(compare(eos_pads, tiny_byte_level()), "pad")["note"]
    assert "Both sides pad with EOS" in row(compare(eos_pads, eos_pads), "pad")["note"]


def test_unknown_text_matters_only_where_bytes_cannot_be_spelled() -> None:
    note = row(compare(tiny_metaspace(), tiny_wordpiece()), "unk")["note"]
    assert note == "Text that the teacher can't spell becomes [UNK]."


def test_chat_markers_stand_in_one_row_when_both_have_them() -> None:
    a, b = with_template("<turn>", "<end>"), with_template("<end>", template="<end>")
    markers = [r for r in compare(a, b) if r["role"] == CHAT]
    assert [(r["student"], r["teacher"]) for r in markers] == [("<turn>", None), ("<end>", "<end>")]
    assert "no such token" in markers[0]["note"] and markers[1]["note"] == ""
    silent = with_template("<turn>", "<end>", template="{{ messages }}")
    known = [r for r in compare(a, silent) if r["role"] == CHAT]
    assert all("knows this token" in r["note"] for r in known) and len(known) == 2


def test_without_special_tokens_nothing_is_invented() -> None:
    rows = compare(plain_tokenizer(), plain_tokenizer())
    assert [r["role"] for r in rows] == [*ROLES, LAST_ID]
    assert all(r["student"] is None and r["teacher"] is None for r in rows[:-1])
    found = facts(plain_tokenizer())
    assert (found.special, found.adds_bos, found.adds_eos, found.chat) == (0, False, False, False)


def test_holes_below_the_last_id_are_counted() -> None:
    backend = Backend(models.BPE(vocab={"a": 0, "b": 9}, merges=[]))
    holed = Tokenizer.from_backend(backend, "holed")
    assert (facts(holed).tokens, facts(holed).ids, facts(holed).holes) == (2, 10, 8)
    assert "8 ids of the teacher" in row(compare(plain_tokenizer(), holed), LAST_ID)["note"]


@pytest.mark.real
def test_the_default_pair() -> None:
    rows = compare(load_tokenizer("deepseek"), load_tokenizer("smollm2"))
    assert (row(rows, "bos")["student_id"], row(rows, "bos")["teacher"]) == (0, "<|im_start|>")
    assert row(rows, LAST_ID)["student_id"] == 129_279
