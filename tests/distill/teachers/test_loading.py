"""Teachers in other precisions, and what is said where a package is missing."""

from __future__ import annotations

import pytest
import torch

import ctkd_core
from ctkd_core.distill.checks import preflight
from ctkd_core.distill.models.teachers import load_frozen
from ctkd_core.distill.teachers import loading
from ctkd_core.distill.teachers.access import Access
from ctkd_core.errors import RunError


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_weights_have_the_precision(pair, precision, dtype):
    model = load_frozen(str(pair.teacher), access=Access(precision=precision))
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_offloading_is_transformers_own(pair, monkeypatch):
    from transformers import AutoModelForCausalLM

    told = []
    load = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *_, **given: told.append(given) or load(*_, **given)
    )
    model = load_frozen(str(pair.teacher), access=Access(loading="offload"))
    assert not model.training
    assert model(torch.tensor([[5, 6]])).logits.isfinite().all()
    assert told[0]["device_map"] == "auto"


def test_a_run_with_a_teacher_in_bfloat16_is_near_one_in_float32(pair, store):
    entry = {"teacher": str(pair.teacher), "method": "gold", "teacher_precision": "fp16", "weight": 0.5}
    settings = {"method": "gold", "steps": 2, "student_model": "transplant", "teacher_weight": 0.5}
    plain = pair.config(**settings, teachers=[entry | {"teacher_precision": "fp32"}])
    losses = [
        [r["loss"] for r in ctkd_core.distill(config, store).metric_rows() if r["kind"] == "train"]
        for config in (plain, plain.replace(teacher_precision="bf16", teachers=[entry]))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]


def test_eight_bits_need_a_package(pair, monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"'int8' needs the package bitsandbytes.*pip install bitsandbytes"):
        load_frozen(str(pair.teacher), access=Access(precision="int8"))
    assert "accelerate" in loading.missing_for("fp32", "offload")
    checks = {c.name: c for c in preflight(pair.config(teacher_precision="int8"))}
    assert not checks["teacher's precision"].ok


def test_int8_asks_transformers_for_weights_in_eight_bits(monkeypatch):
    monkeypatch.setattr(loading, "missing_for", lambda precision, place: "")
    options = loading.from_pretrained_options("int8", "offload", "cpu")
    assert options["quantization_config"].load_in_8bit
    assert options["quantization_config"].llm_int8_enable_fp32_cpu_offload
    assert options["device_map"] == "auto"
