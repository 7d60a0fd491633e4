"""Where teachers come from, and models that can't be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ctkd_core.distill.models import teachers as teacher
from ctkd_core.distill.models.prepared import prepared_folder
from ctkd_core.distill.teachers.access import Access
from ctkd_core.errors import RunError
from tests.distill.kit import llama


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


def changed(**values: object):
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "incomplete metadata"),
        (changed(num_hidden_layers=2), "weights that its config names are missing.*layers.1"),
        (changed(intermediate_size=65), "another shape: model.layers.0.mlp"),
        (changed(hidden_size="x"), "expected int"),
        (changed(num_attention_heads=7), "not a multiple"),
    ],
)
def test_damaged_models_are_told_and_nothing_is_made_up(tmp_path, damage, said):
    llama(50).save_pretrained(tmp_path)
    teacher.load_model(tmp_path)
    damage(tmp_path)
    with pytest.raises(RunError, match=rf"the student .* can't be loaded: .*{said}"):
        teacher.load_model(tmp_path, role="student")


def test_what_to_do_about_a_damaged_model_depends_on_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    run = tmp_path / "run"
    kept, own = run / "checkpoints" / "student", tmp_path / "student"
    for folder in (prepared_folder(), kept, own):
        llama(50).save_pretrained(folder)
        cut(folder)
    (run / "config.json").write_text("{}")
    for source, said in (
        ("bundled", r"It is damaged: remove this folder, then run `ctkd prepare`\."),
        (kept, "It is what a run kept, and is damaged: put its files back, or run the run again"),
        (own, "Give a folder or hub id of a causal language model"),
    ):
        with pytest.raises(RunError, match=rf"can't be loaded: .*incomplete metadata.*\. {said}"):
            teacher.load_model(source)


def test_a_sound_model_that_a_machine_cannot_load_so_is_not_called_damaged(tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise RuntimeError("None of the available devices are supported by the bitsandbytes version you have installed")

    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    llama(50).save_pretrained(prepared_folder())
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", cannot)
    with pytest.raises(RunError, match=r"bitsandbytes version.* Leave teacher_precision and teacher_loading at their"):
        teacher.load_frozen("bundled", access=Access(loading="offload"))


def test_a_damaged_model_in_a_folder_that_is_called_memory_is_told(tmp_path):
    folder = tmp_path / "memory"
    llama(50).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"can't be loaded: .*memory"):
        teacher.load_model(folder)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 1 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_no_damage(tmp_path, monkeypatch, fault):
    def full(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)
    with pytest.raises(type(fault)):
        teacher.load_model(tmp_path)


def test_teacher_source_follows_the_tokenizer(pair):
    assert teacher.teacher_source(pair.config(teacher_path="", teacher="smollm2")) == "bundled"
    assert teacher.teacher_source(pair.config(teacher_path="")) == str(pair.teacher)
