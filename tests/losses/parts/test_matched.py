"""Which tokens of two vocabularies a loss takes for the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from ctkd_core import losses
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.parts.columns import entries_of
from ctkd_core.losses.parts.matched import SameObject, best_pairs, matched_ids, one_to_one
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import project
from tests.tiny import tiny_byte_level, tiny_metaspace

FALLBACK, PLAIN = tiny_metaspace(), tiny_byte_level()


def id_of(tokenizer: Tokenizer, text: str) -> int:
    (written,) = tokenizer.encode_pieces([text])
    assert len(written) == 1
    return written[0]


@pytest.mark.parametrize(("student", "teacher"), [(FALLBACK, PLAIN), (PLAIN, FALLBACK), (FALLBACK, FALLBACK)])
def test_the_tokens_that_are_written_are_matched(student: Tokenizer, teacher: Tokenizer) -> None:
    batch = collate([align_sample("a", " 1", student, teacher)], student, teacher)
    ids = matched_ids(None, batch, (student.n_ids, teacher.n_ids))
    pairs = dict(zip(ids.student.tolist(), ids.teacher.tolist()))
    for text in ("1", "a", " ", "."):
        assert pairs[id_of(student, text)] == id_of(teacher, text)
    assert not set(pairs) & set(student.doubles)
    assert not set(pairs.values()) & set(teacher.doubles)
    rest = set(ids.student_rest.tolist())
    assert rest | set(pairs) == set(range(student.n_ids))


@pytest.mark.parametrize("method", ["exact", "pieces", "nearest"])
def test_a_map_brings_no_doubles_into_a_loss(method: str) -> None:
    projection = project(FALLBACK, PLAIN, method=method)
    for pairs in (one_to_one(projection), best_pairs(projection, 0.6)):
        found = dict(pairs.tolist())
        assert not set(found) & set(FALLBACK.doubles)
        assert found[id_of(FALLBACK, "1")] == id_of(PLAIN, "1")


def test_a_map_that_points_at_a_double_has_no_pair_there() -> None:
    projection = project(PLAIN, FALLBACK, method="exact")
    digit, double = id_of(PLAIN, "1"), FALLBACK.id_of("<0x31>")
    matrix = projection.matrix.tolil()
    matrix[digit] = 0
    matrix[digit, double] = 1.0
    changed = replace(projection, matrix=matrix.tocsr())
    for pairs in (one_to_one(changed), best_pairs(changed, 0.6)):
        found = dict(pairs.tolist())
        assert digit not in found
        assert found[id_of(PLAIN, "a")] == id_of(FALLBACK, "a")


def test_gold_teaches_the_digit_and_not_its_byte() -> None:
    """A teacher that is sure of "1" moves the student towards "1" and leaves "<0x31>" alone."""
    import torch

    batch = collate([align_sample("a", "11", FALLBACK, PLAIN, method="gold")], FALLBACK, PLAIN)
    mine = torch.zeros(*batch.student_ids.shape, FALLBACK.n_ids, requires_grad=True)
    theirs = torch.zeros(*batch.teacher_ids.shape, PLAIN.n_ids)
    theirs[..., id_of(PLAIN, "1")] = 20.0
    losses.loss("gold", mine, theirs, batch).loss.backward()
    digit, byte = id_of(FALLBACK, "1"), FALLBACK.id_of("<0x31>")
    rows = batch.student_labels[0, 1:] != -100
    gradient = mine.grad[0, :-1][rows][0]
    assert gradient[digit] < -0.1
    assert gradient[byte] >= 0


def _map() -> sp.csr_matrix:
    return sp.csr_matrix(np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0, 0.5, 0.5]]))


def test_entries_follow_a_matrix_that_is_changed() -> None:
    matrix = _map()
    first = entries_of(matrix, (3, 3), "cpu", torch.float32)
    assert entries_of(matrix, (3, 3), "cpu", torch.float32) is first, "looked through once"
    matrix.data *= 0.5
    assert float(entries_of(matrix, (3, 3), "cpu", torch.float32).weight.sum()) == pytest.approx(1.5)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("change", ["swapped weights", "moved entry", "dropped entry"])
def test_changes_that_keep_the_sum_are_seen(form: str, change: str) -> None:
    matrix = _map().asformat(form)
    before = SameObject(matrix)
    assert before == SameObject(matrix)
    if change == "swapped weights":
        low, high = np.flatnonzero(matrix.data == 0.25)[0], np.flatnonzero(matrix.data == 0.75)[0]
        matrix.data[[low, high]] = matrix.data[[high, low]]
    elif change == "moved entry":
        places = matrix.row if form == "coo" else matrix.indices
        places[0] = (places[0] + 1) % 3
    else:
        matrix.data[-1] = 0.0
        matrix.eliminate_zeros()
    assert before != SameObject(matrix)
    assert SameObject(_map()) != SameObject(_map()), "another object is another map"
