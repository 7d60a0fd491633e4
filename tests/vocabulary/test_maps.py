"""Vocabulary maps: exact and pieces, on tiny tokenizers."""

from __future__ import annotations

import numpy as np
import pytest

import ctkd_core as ctkd
from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import MAPS, REASONS, project
from ctkd_core.vocabulary.projection import from_entries
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

PAIRS = [
    (tiny_byte_level(), tiny_byte_level(320, 1)),
    (tiny_byte_level(320, 1), tiny_byte_level()),
    (tiny_byte_level(), tiny_metaspace()),
    (tiny_metaspace(), tiny_byte_level()),
    (tiny_byte_level(), tiny_wordpiece()),
    (tiny_wordpiece(), tiny_metaspace()),
]


@pytest.fixture(params=PAIRS, ids=lambda p: f"{p[0].name}>{p[1].name}")
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, Tokenizer]:
    return request.param


@pytest.mark.parametrize("method", MAPS)
def test_rows_sum_to_one_or_are_empty(pair: tuple[Tokenizer, Tokenizer], method: str) -> None:
    projection = project(*pair, method=method)
    assert projection.shape == (pair[0].n_ids, pair[1].n_ids)
    assert projection.matrix.dtype == np.float32
    assert projection.reason.dtype == np.uint8
    assert len(projection.reason) == projection.matrix.nnz
    sums = np.asarray(projection.matrix.sum(axis=1)).ravel()
    filled = np.diff(projection.matrix.indptr) > 0
    assert np.allclose(sums[filled], 1, atol=1e-6)
    assert (sums[~filled] == 0).all()
    assert (projection.matrix.data > 0).all()
    assert projection.row_sum_error < 1e-6
    counts = projection.rows()
    assert sum(counts.values()) == pair[0].n_ids
    assert counts["empty"] == int((~filled).sum())


def test_exact_entries_have_equal_bytes(pair: tuple[Tokenizer, Tokenizer]) -> None:
    student, teacher = pair
    projection = project(student, teacher, method="exact")
    of_teacher = {b for i, b in enumerate(teacher.all_token_bytes()) if i not in teacher.special_ids}
    for index, spelled in enumerate(student.all_token_bytes()):
        row = projection.explain(index)
        if index in student.special_ids:
            assert set(row["reason"]) <= {"role"}
        elif index in student.doubles:
            assert row.empty
        elif spelled in of_teacher:
            assert row["teacher_bytes"].tolist() == [spelled]
            assert row["weight"].tolist() == [1.0]
        else:
            assert row.empty


def test_pieces_spell_the_student_token(pair: tuple[Tokenizer, Tokenizer]) -> None:
    student, teacher = pair
    projection = project(student, teacher, weights="mean", top_k=0)
    counts = projection.rows()
    if teacher.kind != "wordpiece":  # every byte can be written
        assert counts["empty"] <= len(student.special_ids)
        for index in np.flatnonzero(projection.row_reason == REASONS.index("pieces")).tolist():
            (pieces,) = teacher.encode_pieces([student.token_bytes(index)])
            row = projection.explain(index)
            assert sorted(row["teacher_id"]) == sorted(set(pieces))
            for teacher_id, weight in zip(row["teacher_id"], row["weight"]):
                assert weight == pytest.approx(pieces.count(teacher_id) / len(pieces))


def test_half_characters_map_through_bytes() -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    half = next(i for i, b in enumerate(student.all_token_bytes()) if b == b" \xf0\x9f")
    row = project(student, teacher).explain(half)
    assert sorted(row["teacher_token"]) == ["<0x9F>", "<0xF0>", "▁"]
    assert not any("\ufffd" in token for token in row["teacher_token"])


def test_a_token_prefers_the_plain_letter_to_its_byte_fallback() -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    letter = student.id_of("a")
    assert letter is not None
    assert project(student, teacher, method="exact").explain(letter)["teacher_token"].tolist() == ["a"]


def test_a_number_in_pieces_of_equal_weight() -> None:
    student, teacher = tiny_byte_level(), tiny_byte_level(320, 1)
    projection = project(student, teacher, weights="mean")
    spelled = student.all_token_bytes()
    number = next(b for b in (b"201", b"20", b"567") if b in spelled)
    row = projection.explain(spelled.index(number))
    assert b"".join(sorted(row["teacher_bytes"])) == bytes(sorted(number))
    assert np.allclose(row["weight"], 1 / len(number))


def test_geometric_weights() -> None:
    student, teacher = tiny_byte_level(), tiny_byte_level(320, 1)
    projection = project(student, teacher)
    spelled = student.all_token_bytes()
    number = next(b for b in (b"201", b"567", b"20") if b in spelled)
    row = projection.explain(spelled.index(number))
    raw = [0.9 * 0.1**i for i in range(len(number))]
    assert row["weight"].tolist() == pytest.approx([w / sum(raw) for w in raw])
    assert row["teacher_bytes"].iloc[0] == number[:1]


def test_special_tokens_map_by_role_only() -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    projection = project(student, teacher)
    assert student.eos_id is not None
    row = projection.explain(student.eos_id)
    assert row[["teacher_token", "reason"]].to_numpy().tolist() == [["</s>", "role"]]
    assert student.pad_id is not None
    assert projection.explain(student.pad_id).empty  # the teacher has no padding


def test_unwritable_tokens_have_empty_rows() -> None:
    student, teacher = tiny_byte_level(), tiny_wordpiece()
    projection = project(student, teacher)
    assert teacher.unk_id not in projection.matrix.indices
    half = student.all_token_bytes().index(b" \xf0\x9f")
    assert projection.explain(half).empty


def test_identical_vocabularies_give_the_identity() -> None:
    tokenizer = tiny_byte_level()
    projection = ctkd.project(tokenizer, tokenizer)
    assert projection.matrix.diagonal().sum() == projection.matrix.nnz == tokenizer.n_ids
    assert projection.student_fingerprint == projection.teacher_fingerprint == tokenizer.fingerprint


def test_from_entries_adds_up_and_keeps_reasons_aligned() -> None:
    rows, columns = np.array([2, 0, 2, 2]), np.array([1, 3, 0, 1])
    matrix, reasons = from_entries(rows, columns, np.array([1.0, 5, 1, 2]), np.array([2, 0, 2, 2], np.uint8), (3, 4))
    assert matrix.toarray().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0.25, 0.75, 0, 0]]
    assert reasons.tolist() == [0, 2, 2]


def test_unknown_names() -> None:
    student = tiny_byte_level()
    with pytest.raises(ProjectionError, match="did you mean 'pieces'"):
        project(student, student, method="piece")
    with pytest.raises(ProjectionError, match="did you mean 'weights'"):
        project(student, student, weight="mean")
    with pytest.raises(ProjectionError, match="unknown value of 'weights' 'meen'"):
        project(student, student, weights="meen")
    with pytest.raises(ProjectionError, match="student token id -1 is out of range"):
        project(student, student).explain(-1)


def test_forms_show_what_no_paper_names_only_when_asked() -> None:
    """Options that a paper's rules don't have, and that the released tools alone use, are among the advanced ones."""
    beside = [o for row in MAPS.values() for o in row.options if "not in the paper's rules" in o.source]
    assert {o.name for o in beside} >= {"reverse", "similar", "scale_slot"}
    assert all(o.advanced and not o.default for o in beside)
