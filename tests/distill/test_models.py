"""Students, teachers and the measures taken of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluate import Scored, bits_per_byte, complete, encode_scored, repetition
from ctkd_core.distill.models import students
from ctkd_core.distill.models import teachers as teacher
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama
from tests.tiny import tiny_byte_level, tiny_metaspace


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


@pytest.mark.parametrize("kind", ["missing", "empty", "pickle"])
def test_models_that_cannot_be_loaded(tmp_path, kind):
    folder = tmp_path / "model"
    if kind != "missing":
        folder.mkdir()
    if kind == "pickle":
        llama(50).config.save_pretrained(folder)
        torch.save(llama(50).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(RunError, match="can't be loaded"):
        teacher.load_model(folder, role="teacher")


def test_teacher_source_follows_the_tokenizer(pair):
    assert teacher.teacher_source(pair.config(teacher_path="", teacher="smollm2")) == "bundled"
    assert teacher.teacher_source(pair.config(teacher_path="")) == str(pair.teacher)


def test_bits_per_byte_of_a_uniform_model_is_known(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids)
    model.get_input_embeddings().weight.data.zero_()  # tied: all logits 0
    item = encode_scored(Example("Question: one?\nAnswer:", " 2024 cats"), student, 100)
    tokens = len(item.ids) - item.start
    expected = tokens * math.log2(student.n_ids) / len(b" 2024 cats")
    assert bits_per_byte(model, [item], 8) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_does_not_depend_on_batches(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids, seed=5)
    texts = [(" naïve 🦙", "p"), (" 1", "a longer prompt here"), (" the flag carrier", ""), (" yes", "q?")]
    items = [encode_scored(Example(p, c), student, 100) for c, p in texts]
    one, four = (bits_per_byte(model, items, size) for size in (1, 4))
    assert one == pytest.approx(four, rel=1e-5)
    by_hand = sum(_bits(model, item) for item in items) / sum(x.n_bytes for x in items)
    assert one == pytest.approx(by_hand, rel=1e-5)


def _bits(model, item: Scored) -> float:
    ids = torch.from_numpy(item.ids).long()
    with torch.no_grad():
        log_p = model(ids[None]).logits[0].log_softmax(-1)
    return -sum(float(log_p[i - 1, ids[i]]) for i in range(item.start, len(ids))) / math.log(2)


@pytest.mark.parametrize("tokenizer", [tiny_byte_level(400, 3), tiny_metaspace()], ids=["byte-level", "metaspace"])
def test_all_bytes_of_a_response_are_counted(tokenizer):
    completion = " 日本 2024 naïve"
    assert encode_scored(Example("Question: x\nAnswer:", completion), tokenizer, 100).n_bytes == len(
        completion.encode()
    )


def test_cut_responses_count_only_the_bytes_that_are_scored():
    tokenizer = tiny_byte_level(400, 3)
    example = Example("p", " the flag carrier during the year")
    whole, cut = (encode_scored(example, tokenizer, n) for n in (100, 5))
    spelt = b"".join(tokenizer.token_bytes(int(i)) for i in cut.ids[cut.start :])
    assert cut.n_bytes == len(spelt) < whole.n_bytes
    assert encode_scored(example, tokenizer, 1).n_bytes == 0
    assert math.isnan(bits_per_byte(llama(tokenizer.n_ids), [encode_scored(example, tokenizer, 1)], 2))


def test_completions_do_not_depend_on_their_neighbours(tokenizers):
    student, _ = tokenizers
    model = llama(student.n_ids, seed=8)
    prompts = ["What is 1 + 1?", "The comfort of cats was the flag carrier"]
    together = complete(model, student, prompts, 6)
    assert together == [complete(model, student, [p], 6)[0] for p in prompts]
    assert complete(model, student, [], 6) == []


def test_repetition_counts_repeated_word_pairs():
    assert repetition(["a b c d"]) == 0
    assert repetition(["a b a b a b"]) == pytest.approx(3 / 5)
    assert repetition(["one", ""]) == 0
