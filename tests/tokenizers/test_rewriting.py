"""Tokenizers that rewrite a text before cutting it: every byte belongs to the token that was made of it."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers

import ctkd_core as ctkd
from ctkd_core.tokenizers.rewriting import LARGEST, clusters
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_wordpiece

NFC, PLAIN = tiny_byte_level(nfc=True), tiny_byte_level()


def letters(normaliser: Any, words: tuple[str, ...] = (), **model: Any) -> Tokenizer:
    """A vocabulary of single letters (and `words`) behind a normaliser; blanks are the mark U+2581."""
    alphabet = "▁abcdefghijklmnopqrstuvwxyzàéäß'\"`.0123456789½⁄"
    vocabulary = {token: k for k, token in enumerate(["<unk>", *alphabet, *words])}
    merges = [(word[:k], word[k]) for word in words for k in range(1, len(word)) if word[: k + 1] in vocabulary]
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", **model))
    if normaliser is not None:
        backend.normalizer = normaliser
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Metaspace(prepend_scheme="never")
    return Tokenizer.from_backend(backend, "letters", source="tests", licence="none")


def pieces(text: str, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """What each token spells and the text it covers."""
    encoding, data = tokenizer.encode(text), text.encode()
    return [(b.decode(), data[s:e].decode()) for b, (s, e) in zip(encoding.token_bytes, encoding.spans.tolist())]


@pytest.mark.parametrize(
    "text", ["cafe\u0301 noir", "Vie\u0323\u0302t Nam", "\u1112\u1161\u11ab\u1100\u1173\u11af 2024"]
)
@pytest.mark.parametrize("method", ["gold", "alm", "sedi"])
def test_composed_marks_stay_with_their_letter(text: str, method: str) -> None:
    for student, teacher in ((NFC, PLAIN), (PLAIN, NFC)):
        found = ctkd.align(text, student=student, teacher=teacher, method=method)
        composed, plain = (found.student, found.teacher) if student is NFC else (found.teacher, found.student)
        assert len(composed.uncovered) == len(plain.uncovered) == 0
        for s0, s1, t0, t1 in found.groups.tolist():
            s, t = found.student.spans[s0:s1], found.teacher.spans[t0:t1]
            assert (s.min(), s.max()) == (t.min(), t.max())
            covered = text.encode()[s.min() : s.max()].decode()
            assert not unicodedata.combining(covered[0])


@pytest.mark.parametrize(
    ("normaliser", "text", "expected"),
    [
        # One character becomes two: both cover the whole of it, and no boundary lies inside.
        (normalizers.NFKC(), "aﬁb", [("a", "a"), ("f", "ﬁ"), ("i", "ﬁ"), ("b", "b")]),
        (normalizers.Replace("ß", "ss"), "aßb", [("a", "a"), ("s", "ß"), ("s", "ß"), ("b", "b")]),
        # Two become one, or nothing.
        (normalizers.Replace("``", '"'), "a``b", [("a", "a"), ('"', "``"), ("b", "b")]),
        (normalizers.NFC(), "e\u0301b", [("é", "e\u0301"), ("b", "b")]),
        (normalizers.Replace("´", ""), "a´b", [("a", "a"), ("b", "b")]),
        # One becomes another one.
        (normalizers.Lowercase(), "aÄb", [("a", "a"), ("ä", "Ä"), ("b", "b")]),
        (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "àb", [("a", "à"), ("b", "b")]),
        (normalizers.Strip(), "  ab ", [("a", "a"), ("b", "b")]),
        # A blank that is put before the text covers nothing.
        (normalizers.Prepend("▁"), "ab", [(" ", ""), ("a", "a"), ("b", "b")]),
    ],
)
def test_a_token_covers_what_it_was_made_of(normaliser: Any, text: str, expected: list[tuple[str, str]]) -> None:
    assert pieces(text, letters(normaliser)) == expected


QUOTES = normalizers.Replace("``", '"')


@pytest.mark.parametrize(
    ("normaliser", "cut", "text", "expected"),
    [
        # What the vocabulary lacks: marks of a letter that it has, and part of what became of a character.
        (QUOTES, None, "``e\u0301b", [('"', "``"), ("e", "e"), ("<unk>", "\u0301"), ("b", "b")]),
        (
            normalizers.Sequence([normalizers.NFKC(), QUOTES]),
            None,
            "№``b",
            [("<unk>", "№"), ("o", "№"), ('"', "``"), ("b", "b")],
        ),
        # A cut into words that puts a blank before each, and one that drops blanks which the normaliser wrote.
        (
            QUOTES,
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
            "a\t``b",
            [(" ", ""), ("a", "a"), (" ", ""), ('"', "``"), ("b", "b")],
        ),
        (
            normalizers.Sequence([QUOTES, normalizers.Replace("№", "n o")]),
            pre_tokenizers.WhitespaceSplit(),
            "№ ``b",
            [("n", "№"), ("o", "№"), ('"', "``"), ("b", "b")],
        ),
    ],
)
def test_a_change_is_followed_beside_what_was_left_out_or_added(
    normaliser: Any, cut: Any, text: str, expected: list[tuple[str, str]]
) -> None:
    backend = Backend.from_str(letters(normaliser).backend.to_str())
    if cut is not None:
        backend.pre_tokenizer = cut
    assert pieces(text, Tokenizer.from_backend(backend, "letters")) == expected


def test_marks_are_composed_before_bytes_are_written_as_letters() -> None:
    backend = Backend.from_str(PLAIN.backend.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), QUOTES, normalizers.ByteLevel()])
    backend.pre_tokenizer = None
    encoding = Tokenizer.from_backend(backend, "normalises to bytes").encode("cafe\u0301``")
    assert not len(encoding.uncovered)
    assert encoding.spans[-1].tolist() == [6, 8]


def test_blanks_that_only_a_texts_ends_lose_stay_inside_it() -> None:
    backend = Backend.from_str(PLAIN.backend.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFC()])
    encoding = Tokenizer.from_backend(backend, "strips").encode("a  \u0301q\u0307\u0323")
    q = len("a  \u0301".encode())
    assert {tuple(span) for span in encoding.spans.tolist() if span[0] >= q} == {(q, q + 5)}, "the marks change places"


def test_a_word_made_of_an_expanded_character_covers_it_and_its_neighbours() -> None:
    tokenizer = letters(normalizers.NFKC(), words=("fi", "fis", "fish"))
    assert pieces("a ﬁsh", tokenizer)[-1] == ("fish", "ﬁsh")
    assert pieces("oﬁ", letters(normalizers.NFKC(), words=("of",))) == [("of", "oﬁ"), ("i", "ﬁ")]


def test_no_group_ends_inside_an_expanded_character() -> None:
    student = letters(normalizers.NFKC(), words=("of",))
    found = ctkd.align("oﬁb", student=student, teacher=letters(normalizers.NFKC()), method="gold")
    assert [found.student_bytes(g) for g in range(len(found))] == [b"ofi", b"b"]
    assert [found.teacher_bytes(g) for g in range(len(found))] == [b"ofi", b"b"]


@pytest.mark.parametrize(
    ("change", "token", "text"),
    [
        ({"continuing_subword_prefix": "##"}, "##ab", "ab"),
        ({"continuing_subword_prefix": "@@"}, "@@ab", "ab"),
        ({"end_of_word_suffix": "</w>"}, "ab</w>", "ab"),
        ({}, "▁ab", " ab"),
        ({}, "<0x41>", "<0x41>"),
        ({"byte_fallback": True}, "<0x41>", "A"),
        ({}, "ab</w>", "ab</w>"),
        ({}, "##ab", "##ab"),
    ],
)
def test_marks_are_no_text_where_the_model_has_them(change: dict[str, Any], token: str, text: str) -> None:
    document = json.loads(letters(None).backend.to_str())
    document["model"] |= {"type": "WordPiece" if change.get("continuing_subword_prefix") == "##" else "BPE", **change}
    if document["model"]["type"] == "WordPiece":
        document["model"] = {
            "type": "WordPiece",
            "unk_token": "<unk>",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": document["model"]["vocab"],
        }
    document["model"]["vocab"][token] = index = len(document["model"]["vocab"])
    tokenizer = Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "marked", source="tests")
    assert tokenizer.token_bytes(index) == text.encode()


@pytest.mark.parametrize("where", ["metaspace", "replace"])
def test_another_space_mark_than_sentencepiece_has_is_read(where: str) -> None:
    document = json.loads(letters(None).backend.to_str())
    document["model"]["vocab"] |= {"_": 900, "_a": 901}
    document["model"]["merges"] = [["_", "a"]]
    if where == "metaspace":
        own = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": True}
        document |= {"pre_tokenizer": own, "decoder": own}
    else:
        document["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "_"}
        document["pre_tokenizer"] = None
        document["decoder"] = {"type": "Replace", "pattern": {"String": "_"}, "content": " "}
    tokenizer = Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "other-mark", source="tests")
    assert pieces("b a", tokenizer) == [("b", "b"), (" a", " a")]


texts = st.text(st.sampled_from("ab e\u0301\u0323\u0302ﬁ½ßÄ\u1112\u1161\u11ab\n.日"), max_size=25)


@given(texts)
def test_clusters_make_up_the_text(text: str) -> None:
    for normalise in (NFC.normalise, tiny_wordpiece().normalise, letters(normalizers.NFKC()).normalise):
        for largest in LARGEST:
            found = clusters(text, normalise, largest)
            assert "".join(text[c.first : c.last] for c in found) == text
            assert b"".join(text.encode()[c.start : c.end] for c in found) == text.encode()


@given(texts)
def test_every_byte_of_a_composed_text_belongs_to_a_token(text: str) -> None:
    encoding = NFC.encode(text)
    assert len(encoding.uncovered) == 0
    assert b"".join(encoding.token_bytes) == unicodedata.normalize("NFC", text).encode()
    spans = encoding.spans
    assert (np.diff(spans, axis=0) >= 0).all()
