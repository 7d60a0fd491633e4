"""Canonical forms of tokens: markers, bytes, punctuation, roles; equal forms for equal texts of different kinds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.canonical import canonical, canonical_bytes, canonical_table
from ctkd_core.tokenizers.token_bytes import KINDS, byte_alphabet
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

TINY = [tiny_byte_level, tiny_metaspace, tiny_wordpiece]


@pytest.mark.parametrize(
    ("token", "kind", "form"),
    [
        ("Ġthe", "byte-level", " the"),
        ("▁the", "sentencepiece", " the"),
        (" the", "other", " the"),
        ("Ċ", "byte-level", "\n"),
        ("<0x0A>", "sentencepiece", "\n"),
        ("\\n", "byte-level", "\\n"),
        ("\n", "other", "\n"),
        ("<0x41>", "sentencepiece", "A"),
        ("<0x41>", "byte-level", "<0x41>"),
        ("Ġ.", "byte-level", "."),
        ("▁->", "sentencepiece", "->"),
        ("Ġ.a", "byte-level", " .a"),
        ("Ġ", "byte-level", " "),
        ("ĠĠ.", "byte-level", "  ."),
        ("Ã©", "byte-level", "é"),
        ("é", "sentencepiece", "é"),
        ("##ing", "wordpiece", "ing"),
        ("_a", "byte-level", "_a"),
        ("ĉ", "byte-level", "\t"),
        ("", "byte-level", ""),
    ],
)
def test_what_a_token_says(token: str, kind: str, form: str) -> None:
    assert canonical(token, kind) == form


@given(st.binary(max_size=8))
def test_a_byte_level_token_says_its_bytes(data: bytes) -> None:
    token = "".join(byte_alphabet()[byte] for byte in data)
    form = canonical(token, "byte-level")
    assert form == canonical_bytes(data)
    assert form.encode("utf-8", "surrogateescape") in (data, data[1:]), "only a space is set aside"


@given(st.text(max_size=8), st.sampled_from(KINDS))
def test_a_form_is_its_own_form(token: str, kind: str) -> None:
    form = canonical(token, kind)
    assert canonical(form, "other") == form


@given(st.binary(max_size=6))
def test_a_form_of_broken_bytes_is_its_own_form(data: bytes) -> None:
    form = canonical_bytes(data)
    assert canonical(form, "other") == form


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_different_bytes_have_different_forms_but_for_the_named_rules(a: bytes, b: bytes) -> None:
    if canonical_bytes(a) == canonical_bytes(b) and a != b:
        spaced = {a.removeprefix(b" "), b.removeprefix(b" ")}
        assert len(spaced) == 1


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TokenizerError, match="unknown kind of tokenizer 'bytelevel'; did you mean 'byte-level'"):
        canonical("a", "bytelevel")


def test_a_surrogate_that_stands_for_no_byte_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83E, which stands for no byte"):
        canonical("a\ud83e", "other")


@pytest.mark.parametrize("tiny", TINY)
def test_the_table_agrees_with_the_function(tiny: Callable[[], Tokenizer]) -> None:
    tokenizer = tiny()
    table = canonical_table(tokenizer)
    assert len(table) == tokenizer.n_ids
    assert canonical_table(tokenizer) is table, "kept"
    for token_id, form in enumerate(table):
        if token_id not in tokenizer.special_ids:
            assert form == canonical(tokenizer.token(token_id), tokenizer.kind)


def test_roles_have_one_form_in_every_tokenizer() -> None:
    a, b = tiny_byte_level(), tiny_metaspace()
    assert (a.token(a.eos_id or 0), b.token(b.eos_id or 0)) == ("<eos>", "</s>")
    assert canonical_table(a)[a.eos_id or 0] == canonical_table(b)[b.eos_id or 0]
    assert canonical_table(a)[a.bos_id or 0] != canonical_table(a)[a.eos_id or 0]
    assert canonical_table(a)[a.eos_id or 0] not in {canonical(t, "other") for t in ("eos", "<eos>", "</s>")}
