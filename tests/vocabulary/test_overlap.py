"""Overlap of two vocabularies counted three ways, against counting with plain sets."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from ctkd_core.errors import CtkdError
from ctkd_core.tokenizers.canonical import canonical, canonical_table
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary.overlap import WAYS, overlap
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"
TINY = [tiny_byte_level(), tiny_byte_level(320, 1), tiny_metaspace(), tiny_wordpiece()]


def _plain(tokenizer: Tokenizer) -> set[int]:
    return {i for i in range(tokenizer.n_ids) if tokenizer.token(i) and i not in tokenizer.special_ids}


@pytest.mark.parametrize(("student", "teacher"), list(product(TINY, TINY)), ids=lambda t: t.name)
def test_counts_are_those_of_sets(student: Tokenizer, teacher: Tokenizer) -> None:
    found = overlap(student, teacher)
    raw = [{t.token(i) for i in range(t.n_ids) if t.token(i)} for t in (student, teacher)]
    spelled = [{t.token_bytes(i) for i in _plain(t)} for t in (student, teacher)]
    forms = [{form for form in canonical_table(t) if form} for t in (student, teacher)]
    assert found.raw == len(raw[0] & raw[1])
    assert found.bytes == len(spelled[0] & spelled[1])
    assert found.canonical == len(forms[0] & forms[1])
    for token_id in _plain(student):
        assert found.student_matched["bytes"][token_id] == (student.token_bytes(token_id) in spelled[1])
        form = canonical(student.token(token_id), student.kind)
        assert found.student_matched["canonical"][token_id] == (form in forms[1])
    assert found.shares["canonical"].smaller == len(forms[0] & forms[1]) / min(map(len, forms))


@pytest.mark.parametrize("tokenizer", TINY, ids=lambda t: t.name)
def test_a_vocabulary_shares_everything_with_itself(tokenizer: Tokenizer) -> None:
    found = overlap(tokenizer, tokenizer)
    for way in WAYS:
        shares = found.shares[way]
        assert (shares.student, shares.teacher, shares.smaller) == (1, 1, 1)
    assert found.raw == tokenizer.vocab_size


@pytest.mark.parametrize(("student", "teacher"), [(TINY[0], TINY[2]), (TINY[3], TINY[1])], ids=lambda t: t.name)
def test_the_other_way_round_counts_the_same(student: Tokenizer, teacher: Tokenizer) -> None:
    there, back = overlap(student, teacher), overlap(teacher, student)
    for way in WAYS:
        assert there.shares[way].count == back.shares[way].count
        assert there.shares[way].smaller == back.shares[way].smaller
        assert there.shares[way].student == back.shares[way].teacher
        assert (there.teacher_matched[way] == back.student_matched[way]).all()


def test_texts_with_the_same_characters_in_memory_are_two() -> None:
    """Python keeps "GY" as the bytes 47 59, and "\u5947" as the same two: their hashes are equal."""
    assert hash("GY") == hash("\u5947"), "else this tests nothing"
    student, teacher = (
        Tokenizer.from_backend(
            Backend(models.WordPiece({"[UNK]": 0, word: 1}, unk_token="[UNK]")), word, source="tests", licence="none"
        )
        for word in ("GY", "\u5947")
    )
    found = overlap(student, teacher)
    assert not any(found.student_matched[way][1] or found.teacher_matched[way][1] for way in WAYS)


def test_markers_hide_what_is_shared_from_raw_strings_only() -> None:
    student, teacher = TINY[0], TINY[2]
    found = overlap(student, teacher)
    the = next(i for i in _plain(student) if student.token(i) == "Ġthe")
    assert teacher.id_of("▁the") is not None
    assert [bool(found.student_matched[way][the]) for way in WAYS] == [False, True, True]
    assert (student.eos_id, teacher.eos_id) != (None, None)
    assert found.matched("canonical")[student.eos_id or 0], "EOS matches EOS by its role"


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(CtkdError, match="did you mean 'canonical'"):
        overlap(TINY[0], TINY[1]).matched("canonic")


@pytest.mark.skipif(not (SHARED / "llama3").is_dir(), reason="needs the shared reference tokenizers")
@pytest.mark.parametrize(
    ("teacher", "published"), [("qwen3", 0.848), ("gemma3", 0.674)], ids=["Llama 3 x Qwen3", "Llama 3 x Gemma 3"]
)
def test_overlap_with_llama_3_is_as_published(teacher: str, published: float) -> None:
    found = overlap(load_tokenizer(SHARED / "llama3"), load_tokenizer(SHARED / teacher))
    assert found.shares["canonical"].smaller == pytest.approx(published, abs=0.01)
