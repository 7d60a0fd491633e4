"""Classes of tokens and their audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary.classes import CLASSES, NO_TEXT, audit, most_lost, token_class, token_classes
from ctkd_core.vocabulary.overlap import overlap
from tests.tiny import tiny_byte_level, tiny_metaspace

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"7", "digits_1"),
        (b"42", "digits_2"),
        (b"999", "digits_3"),
        (b"1234", "other"),
        (b" 7", "other"),
        (b" hello", "letters"),
        (b"  hello", "other"),
        (b" ", "whitespace"),
        (b"\r\n\n", "whitespace"),
        (b"?!", "punctuation"),
        (b" ->", "punctuation"),
        ("é".encode(), "multibyte"),
        (b"a\n\xe4\n", "multibyte"),
        ("٣".encode(), "multibyte"),
        (b"x1", "other"),
        (b"\x00", "other"),
    ],
)
def test_token_class(data: bytes, expected: str) -> None:
    assert token_class(data) == expected


def test_every_token_has_one_class_and_holes_have_none() -> None:
    tokenizer = tiny_byte_level()
    codes = token_classes(tokenizer)
    assert (codes.dtype, codes.shape) == (np.int8, (tokenizer.n_ids,))
    assert not codes.flags.writeable
    for token_id, (code, data) in enumerate(zip(codes.tolist(), tokenizer.all_token_bytes())):
        if token_id in tokenizer.special_ids:
            assert CLASSES[code] == "special"
        else:
            assert (code == NO_TEXT) == (not data)
            assert not data or CLASSES[code] == token_class(data)


def test_byte_fallback_is_not_a_second_set_of_digits() -> None:
    tokenizer = tiny_metaspace()
    assert tokenizer.token_bytes(tokenizer.id_of("<0x32>") or 0) == b"2"
    counts = audit(tokenizer, np.zeros(tokenizer.n_ids, dtype=bool))
    plain = sum(tokenizer.id_of(digit) is not None for digit in "0123456789")
    assert counts["digits_1"] == {"total": plain, "matched": 0}


def test_audit_adds_up() -> None:
    tokenizer = tiny_byte_level()
    matched = np.arange(tokenizer.n_ids) % 3 == 0
    counts = audit(tokenizer, matched)
    assert list(counts) == list(CLASSES)
    assert sum(row["total"] for row in counts.values()) == tokenizer.vocab_size
    assert sum(row["matched"] for row in counts.values()) == int((matched & (token_classes(tokenizer) >= 0)).sum())
    assert all(row["matched"] <= row["total"] for row in counts.values())


def test_audit_wants_one_entry_an_id() -> None:
    with pytest.raises(ProjectionError, match=r"shape \[3\].*400 ids"):
        audit(tiny_byte_level(), np.zeros(3, dtype=bool))


@pytest.mark.skipif(not (SHARED / "llama3").is_dir(), reason="needs the shared reference tokenizers")
@pytest.mark.parametrize(("teacher", "found"), [("qwen3", (10, 0, 0)), ("gpt4o", (10, 100, 1000))])
def test_digits_of_llama_3_as_the_x_token_paper_counts_them(teacher: str, found: tuple[int, int, int]) -> None:
    student = load_tokenizer(SHARED / "llama3")
    counts = audit(student, overlap(student, load_tokenizer(SHARED / teacher)).matched("canonical"))
    digits = [counts[f"digits_{n}"] for n in (1, 2, 3)]
    assert [row["total"] for row in digits] == [10, 100, 1000]
    assert tuple(row["matched"] for row in digits) == found


def test_the_class_with_the_most_loss_is_the_one_with_the_smallest_share() -> None:
    def counts(matched: int, total: int) -> dict[str, int]:
        return {"matched": matched, "total": total}

    whole = {"letters": counts(10, 20), "digits_2": counts(0, 100), "digits_3": counts(0, 1000)}
    assert most_lost(whole) == "digits_3", "of equal shares the larger class"
    assert most_lost({**whole, "special": counts(0, 5000), "whitespace": counts(0, 9)}) == "digits_3"
    assert most_lost({"letters": counts(20, 20), "other": counts(0, 0)}) is None
