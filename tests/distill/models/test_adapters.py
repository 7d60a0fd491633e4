"""LoRA beside frozen weights: what learns, resuming, merging."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from ctkd_core.background import attempt
from ctkd_core.distill import worker
from ctkd_core.distill.models.adapters import add_adapters
from ctkd_core.errors import RunError
from tests.distill.kit import llama


def test_adapters_learn_and_a_transplanted_students_embeddings_too(pair):
    model = llama(60)
    found = add_adapters(model, pair.config(student_model="transplant", lora_rank=2))
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in learns if "lora_" not in name} == {"model.embed_tokens.weight"}
    assert len(learns) == 1 + 2 * 7  # q, k, v, o, gate, up, down
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_()
    before = model(ids).logits
    merged = found.merged()
    torch.testing.assert_close(merged(ids).logits, before, rtol=1e-4, atol=1e-4)
    assert set(merged.state_dict()) == set(llama(60).state_dict())


def test_the_matrices_alone_open_with_peft_beside_the_same_weights(pair, tmp_path):
    from peft import PeftModel

    model = llama(60)
    found = add_adapters(model, pair.config(lora_rank=2, lora_targets="q_proj,down_proj"))
    model.add_module("loss_state", torch.nn.Linear(2, 2))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_()
    found.save(tmp_path / "adapter")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in (tmp_path / "adapter").iterdir()}
    ids = torch.tensor([[5, 6, 7]])
    opened = PeftModel.from_pretrained(llama(60), tmp_path / "adapter").eval()
    torch.testing.assert_close(opened(ids).logits, model.eval()(ids).logits)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as tensors:
        assert sorted(tensors.keys()) == sorted(
            f"base_model.model.model.layers.0.{module}.lora_{side}.weight"
            for module in ("self_attn.q_proj", "mlp.down_proj")
            for side in "AB"
        )


def test_without_peft_the_package_is_named(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RunError, match=r"install `ctkd-lab\[lora\]`, or set lora_rank to 0"):
        add_adapters(llama(60), pair.config(lora_rank=2))


def test_no_rank_no_adapters_and_no_such_target(pair):
    model = llama(60)
    assert add_adapters(model, pair.config()) is None
    with pytest.raises(RunError, match="lora_targets 'nowhere' doesn't fit"):
        add_adapters(model, pair.config(lora_rank=2, lora_targets="nowhere"))


def stopped_at(run, step: int) -> bool:
    return any(row.get("step") == step for row in run.metric_rows())


def test_a_run_with_adapters_resumes_and_keeps_a_merged_student(pair, store):
    given = {"lora_rank": 2, "method": "sedi", "student_model": "transplant", "steps": 4, "save_every": 1}
    config = pair.config(**given, eval_samples=0, sample_prompts=0)
    whole, run = store.create(config), store.create(config)
    assert worker.execute(whole, lambda: False) == attempt.FINISHED, whole.status().message
    assert worker.execute(run, lambda: stopped_at(run, 2)) == attempt.CANCELLED, run.status().message
    again = replace(run.status(), state="queued", attempt=2, pid=None)
    (run.dir / "status.json").write_text(json.dumps(again.to_dict()))
    assert worker.execute(run, lambda: False) == attempt.FINISHED, run.status().message
    curves = [[r["loss"] for r in x.metric_rows() if r["kind"] == "train"] for x in (whole, run)]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    students = [AutoModelForCausalLM.from_pretrained(x.dir / "checkpoints" / "student") for x in (whole, run)]
    one, two = (model.state_dict() for model in students)
    assert not [name for name in one if "lora" in name or "base_layer" in name]
    learnt = "model.layers.0.self_attn.q_proj.weight"
    before = AutoModelForCausalLM.from_pretrained(pair.teacher).state_dict()[learnt]
    assert not torch.allclose(one[learnt], before, rtol=1e-3)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)
