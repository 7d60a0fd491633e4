"""Students: transplanted, from scratch, pretrained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ctkd_core.distill.models import students
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama
from tests.tiny import tiny_byte_level


@pytest.fixture(scope="module")
def tokenizers(pair):
    return load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))


@pytest.mark.parametrize("tied", [True, False])
def test_transplant_copies_exact_matches_and_averages_pieces(tokenizers, tied):
    student, source = tokenizers
    model = llama(source.n_ids, seed=3, tied=tied)
    moved = students.transplant(model, student, source)
    table, rows = model.get_input_embeddings().weight, moved.get_input_embeddings().weight
    assert rows.shape == (student.n_ids, 32)
    by_bytes = {b: i for i, b in enumerate(source.all_token_bytes()) if i not in source.special_ids}
    exact = averaged = 0
    for index, spelling in enumerate(student.all_token_bytes()):
        if index in student.special_ids or not spelling:
            continue
        (pieces,) = source.encode_pieces([spelling])
        if spelling in by_bytes:
            torch.testing.assert_close(rows[index], table[by_bytes[spelling]])
            exact += 1
        else:
            torch.testing.assert_close(rows[index], table[pieces].mean(dim=0))
            averaged += 1
    assert exact > 250
    assert averaged > 20
    torch.testing.assert_close(rows[student.eos_id], table[source.eos_id])
    head = moved.get_output_embeddings().weight
    assert (head is rows) == tied
    assert moved.config.eos_token_id == student.eos_id


def test_transplant_to_the_same_tokenizer_is_the_same_model(tokenizers):
    _, source = tokenizers
    model = llama(source.n_ids)
    moved = students.transplant(model, source, source)
    ids = torch.tensor([[5, 9, 30, 200]])
    torch.testing.assert_close(moved(ids).logits, model(ids).logits)
    assert moved.get_input_embeddings().weight is not model.get_input_embeddings().weight


def test_transplant_leaves_the_teacher_alone(tokenizers):
    student, source = tokenizers
    model = llama(source.n_ids).requires_grad_(False)
    before = model.get_input_embeddings().weight.clone()
    moved = students.transplant(model, student, source)
    assert all(p.requires_grad for p in moved.parameters())
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(before, model.get_input_embeddings().weight)


def test_a_teacher_with_another_tokenizer_is_refused(tokenizers):
    student, source = tokenizers
    with pytest.raises(RunError, match="isn't the tokenizer of that model"):
        students.transplant(llama(100), student, source)


def test_scratch_students_are_the_same_for_the_same_seed(pair):
    student = tiny_byte_level(400, 3)
    one, same, other = (students.scratch(student, 32, 1, 64, seed) for seed in (1, 1, 2))
    weights = [m.get_input_embeddings().weight for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].shape == (student.n_ids, 32)


def test_pretrained_students_must_have_a_row_for_each_token(pair, tokenizers):
    student, source = tokenizers
    config = pair.config(student_model="pretrained", student_path=str(pair.teacher))
    with pytest.raises(RunError, match="embedding rows"):
        students.build_student(config, student, source)
    fitting = replace(config, student=str(pair.teacher))
    assert students.build_student(fitting, source, source).num_parameters() > 0


def test_transplant_by_equal_or_nearest_tokens_alone(tokenizers):
    student, source = tokenizers
    model = llama(source.n_ids, seed=3)
    table = model.get_input_embeddings().weight
    by_bytes = {b: i for i, b in enumerate(source.all_token_bytes()) if i not in source.special_ids}
    exact, nearest = (
        students.transplant(model, student, source, way).get_input_embeddings().weight for way in ("exact", "nearest")
    )
    lacking = 0
    for index, spelling in enumerate(student.all_token_bytes()):
        if index in student.special_ids or not spelling:
            continue
        if spelling in by_bytes:
            torch.testing.assert_close(exact[index], table[by_bytes[spelling]])
            torch.testing.assert_close(nearest[index], table[by_bytes[spelling]])
            continue
        lacking += 1
        torch.testing.assert_close(exact[index], table.mean(dim=0))
        assert (nearest[index] == table).all(dim=1).any()
    assert lacking > 20


@pytest.mark.parametrize(("before", "wanted"), [(True, "untied"), (False, "tied"), (True, "tied"), (False, "untied")])
def test_transplanted_embeddings_are_tied_or_not(tokenizers, tmp_path, before, wanted):
    student, source = tokenizers
    moved = students.transplant(llama(source.n_ids, tied=before), student, source, tie=wanted)
    moved.save_pretrained(tmp_path)
    again = type(moved).from_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 30]])
    torch.testing.assert_close(again(ids).logits, moved(ids).logits)
    for model in (moved, again):
        head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert (head.data_ptr() == table.data_ptr()) == (wanted == "tied")
