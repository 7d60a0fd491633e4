"""Students with some layers of a model."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ctkd_core.distill.models.pruning import kept_layers, prune
from ctkd_core.distill.models.students import build_student
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer


@pytest.mark.parametrize(
    ("total", "kept", "which"),
    [(30, 6, [0, 6, 12, 17, 23, 29]), (5, 5, [0, 1, 2, 3, 4]), (7, 2, [0, 6]), (4, 1, [0]), (12, 3, [0, 6, 11])],
)
def test_first_and_last_stay_and_the_others_are_spread(total, kept, which):
    assert kept_layers(total, kept) == which


def deep(vocabulary: int = 50, layers: int = 5) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, **shape)).eval()


def test_a_pruned_model_is_the_source_without_the_other_layers(tmp_path):
    source = deep()
    pruned, chosen = prune(source, 3)
    assert chosen == [0, 2, 4]
    ids = torch.tensor([[3, 4, 5]])
    del source.model.layers[3], source.model.layers[1]
    torch.testing.assert_close(pruned(ids).logits, source(ids, use_cache=False).logits)
    assert [layer.self_attn.layer_idx for layer in pruned.model.layers] == [0, 1, 2]
    pruned.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path)
    assert again.config.num_hidden_layers == 3
    torch.testing.assert_close(again(ids).logits, pruned(ids).logits)
    assert pruned.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (1, 6)


def test_settings_of_each_layer_go_with_their_layers():
    source = deep()
    source.config.windows, source.config.of_none = [8, 7, 6, 5, 4], [1, 2]
    pruned, _ = prune(source, 3)
    assert (pruned.config.windows, pruned.config.of_none) == ([8, 6, 4], [1, 2])
    assert source.config.windows == [8, 7, 6, 5, 4]


def test_more_layers_than_there_are():
    with pytest.raises(RunError, match="the model has 5 layers"):
        prune(deep(), 6)


def test_a_pruned_teacher_moves_to_the_students_tokenizer(pair, tmp_path):
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    source = deep(teacher.n_ids)
    config = pair.config(student_model="prune", student_layers=2)
    moved = build_student(config, student, teacher, source)
    assert (moved.config.num_hidden_layers, moved.config.vocab_size) == (2, student.n_ids)
    same = build_student(config, teacher, teacher, source)
    torch.testing.assert_close(same.get_input_embeddings().weight, source.get_input_embeddings().weight)
    source.save_pretrained(tmp_path)
    own = build_student(
        pair.config(student_model="prune", student_path=str(tmp_path), student_layers=1), teacher, teacher
    )
    assert own.config.num_hidden_layers == 1
