"""The folder of a trained student, opened with the usual tools."""

from __future__ import annotations

import json
import re

import pytest
import tokenizers
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import ctkd_core
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.evaluation.harness import _reader
from ctkd_core.distill.models.students import scratch
from ctkd_core.distill.training.card import card
from ctkd_core.distill.training.export import save_student, stored_dtype
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace

TEXTS = ["the red flag", "<bos>What is 12 + 3?<|turn|> naïve 🦙<eos>", ""]


def with_turns() -> Tokenizer:
    """A tokenizer with special tokens that have no role, and a chat template."""
    plain = tiny_byte_level(400, 3)
    backend = tokenizers.Tokenizer.from_str(plain.backend.to_str())
    backend.add_special_tokens(["<|turn|>", "<tool>", "<file>"])
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    template = "{% for m in messages %}{{ m.content }}<|turn|>{% endfor %}"
    return Tokenizer.from_backend(backend, "turns", config=roles | {"chat_template": template})


def test_the_student_opens_as_it_was(tmp_path):
    ours = with_turns()
    model = scratch(ours, 16, 1, 64, 0).eval()
    model.add_module("loss_state", torch.nn.Linear(2, 2))
    turn = ours.backend.token_to_id("<|turn|>")
    assert save_student(model, ours, tmp_path / "student", "# A card\n", ends=[turn]) == ""
    assert "loss_state" in model._modules
    found = AutoTokenizer.from_pretrained(tmp_path / "student")
    for text in TEXTS:
        assert found(text, add_special_tokens=False)["input_ids"] == ours.encode(text).ids.tolist()
        assert found(text)["input_ids"] == ours.encode(text, special_tokens=True).ids.tolist()
    assert set(found.all_special_ids) == set(ours.special_ids)
    assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (ours.bos_id, ours.eos_id, ours.pad_id)
    assert found.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi<|turn|>"
    again = ctkd_core.load_tokenizer(str(tmp_path / "student"))
    assert (again.fingerprint, again.special_ids) == (ours.fingerprint, ours.special_ids)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path / "student").eval()
    ids = torch.tensor([ours.encode("the flag").ids.tolist()])
    torch.testing.assert_close(reopened(ids).logits, model(ids).logits)
    assert GenerationConfig.from_pretrained(tmp_path / "student").eos_token_id == [ours.eos_id, turn]
    assert (tmp_path / "student" / "README.md").read_text() == "# A card\n"


def qwen2(vocabulary: int) -> Qwen2ForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, num_key_value_heads=2, **sizes))


def test_a_class_that_autotokenizer_takes_for_the_model_is_told(tmp_path):
    ours = tiny_metaspace()  # of words with a mark, where a qwen2 has bytes
    said = save_student(qwen2(ours.n_ids), ours, tmp_path / "student", "# A card\n")
    assert said.startswith("AutoTokenizer takes a Qwen2Tokenizer for every qwen2")
    assert (tmp_path / "student" / "README.md").read_text() == f"# A card\n\n## Tokenizer\n\n{said}\n"
    found = PreTrainedTokenizerFast.from_pretrained(tmp_path / "student")  # what it says to do instead
    for text in TEXTS:
        assert found(text, add_special_tokens=False)["input_ids"] == ours.encode(text).ids.tolist()


def test_a_run_warns_of_it_and_the_harness_reads_the_right_tokens(pair, store, tmp_path):
    ours = ctkd_core.load_tokenizer(str(pair.student))  # digits by threes, of a qwen2 one by one
    qwen2(ours.n_ids).save_pretrained(tmp_path / "body")
    given = {"student_model": "pretrained", "student_path": str(tmp_path / "body"), "method": "sft"}
    run = ctkd_core.distill(pair.config(**given, steps=1, sample_prompts=0), store)
    assert any("Qwen2Tokenizer" in warning for warning in run.status().warnings)
    folder = run.dir / "checkpoints" / "student"
    pytest.importorskip("lm_eval")
    reader = _reader(AutoModelForCausalLM.from_pretrained(folder), folder, 1)
    assert reader.tok_encode("1234567", add_special_tokens=False) == ours.encode("1234567").ids.tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_type_of_the_weights_is_kept(tmp_path, dtype):
    ours = tiny_byte_level(400, 3)
    model = scratch(ours, 16, 1, 64, 0)
    save_student(model, ours, tmp_path / "student", dtype=dtype)
    assert stored_dtype(str(tmp_path / "student")) == dtype
    assert str(AutoModelForCausalLM.from_pretrained(tmp_path / "student").dtype) == f"torch.{dtype}"
    assert model.dtype == torch.float32
    assert stored_dtype("scratch") == stored_dtype(str(tmp_path)) == "float32"


def test_the_card_says_what_the_student_is_made_of(pair, store):
    given = {"method": "gold", "steps": 1, "sample_prompts": 0, "name": "a <b> | c"}
    run = ctkd_core.distill(pair.config(**given), store)
    text = (run.dir / "checkpoints" / "student" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert "method `gold`" in text
    assert "# a \\<b\\> \\| c" in text
    bits = run.summary()["metrics"]["bits_per_byte_after"]
    assert f"| bits per byte of held-out text after | {bits:.4f} |" in text
    assert re.search(r"\| held-out text \| 3 samples, \d+ bytes \|", text)
    assert "its licence is told where it comes from" in text
    assert str(pair.teacher.parent) not in text  # folders of this machine are nobody's business
    shown = json.loads(text.partition("```json\n")[2].partition("\n```")[0])
    assert shown["method"] == "gold"


def test_a_card_with_backticks_stays_a_card(pair):
    config = pair.config(name="```\n# no", trainer={"project": "````"})
    sides = dict.fromkeys(("student", "teacher"), tiny_byte_level(400, 3))
    text = card(config, sides, {}, {"run": "x"})
    assert text.rstrip().endswith("`````")


def test_the_cards_config_is_the_same_run_again_without_places_of_this_machine(pair):
    at = {"teacher_server": "http://gpu.internal:8000/v1", "teacher_server_model": "m"}
    further = {"teacher": str(pair.teacher), "teacher_path": "/home/me/big_one", "method": "uld"} | at
    config = pair.config(
        method="uld",
        name="my_run <1>",
        data="/home/me/my_data.jsonl",
        eval_data="/home/me/held_out.jsonl",
        teacher_cache="/home/me/rows_of_it",
        teachers=[further],
        trainer={"logging_dir": "/home/me/logs_1", "fsdp_config": {"file": "~/fsdp_1.json"}},
    )
    text = card(config, dict.fromkeys(("student", "teacher"), tiny_byte_level(400, 3)), {}, {})
    assert "/home/me" not in text and "gpu.internal" not in text and str(pair.teacher.parent) not in text
    shown = RunConfig.from_dict(json.loads(text.partition("```json\n")[2].partition("\n```")[0]))
    assert (shown.name, shown.data, shown.eval_data) == ("my_run <1>", "my_data.jsonl", "held_out.jsonl")
    assert (shown.teacher_cache, shown.teachers[0]["teacher_path"]) == ("rows_of_it", "big_one")
    assert shown.trainer == {"logging_dir": "logs_1", "fsdp_config": {"file": "fsdp_1.json"}}


@pytest.mark.parametrize("data", ["bundled", "bundled:languages"])
def test_the_card_names_the_licence_of_bundled_data(pair, data):
    text = card(pair.config(data=data), dict.fromkeys(("student", "teacher"), tiny_byte_level(400, 3)), {}, {})
    assert f"- data: {data}, CC0-1.0\n" in text
