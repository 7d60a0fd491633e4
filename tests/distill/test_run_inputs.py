"""What a run reads: hashes of data, tokenizers and weights, and which of them isn't what the run began with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.distill.comparison.unequal import changed_files
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.further import as_recorded
from ctkd_core.distill.run_inputs import changed_input, inputs_of, noted, refuse_changed_inputs
from ctkd_core.distill.runs import RunStore
from ctkd_core.errors import RunError
from tests.tiny import tiny_byte_level


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as of a model: a tokenizer with its configuration, and weights, which are only hashed here."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tiny_byte_level().backend.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "chat_template": "a"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "transformers_version": "5"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def of_teacher(folder: Path) -> RunConfig:
    return RunConfig(student="smollm2", teacher=str(folder), student_model="scratch", data="bundled")


def test_what_comes_along_has_no_hash_but_for_data() -> None:
    assert [(one.kind, one.whose) for one in inputs_of(RunConfig())] == [("data", "data")]


def test_what_is_not_read_has_no_hash(model: Path) -> None:
    config = of_teacher(model)
    assert [(one.kind, one.whose) for one in inputs_of(config)] == [
        *(("data", "data"), ("tokenizer", "teacher"), ("weights", "teacher"))
    ]
    alone = config.replace(method="sft", eval_samples=0)
    assert not [one for one in inputs_of(alone) if one.kind == "weights"], "nobody asks the teacher"
    cached = config.replace(teacher_cache="rows")
    assert not [one for one in inputs_of(cached) if one.kind == "weights"], "its rows say whose they are"


def rewrite(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


OTHER = tiny_byte_level(420).backend.to_str()
CONFIG = {"eos_token": "<eos>", "chat_template": "b"}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (rewrite("model.safetensors", b"others!"), r"the teacher's weights .*model.* aren't what they were"),
        (rewrite("config.json", b'{"model_type": "gemma"}'), r"the teacher's weights .* aren't what they were"),
        (rewrite("tokenizer_config.json", json.dumps(CONFIG).encode()), r"the teacher's tokenizer .*model.* isn't"),
        (rewrite("tokenizer.json", OTHER.encode()), r"the teacher's tokenizer .* isn't what it was when the run began"),
    ],
)  # fmt: skip
def test_what_was_edited_is_named(model: Path, edit: Callable[[Path], Any], said: str) -> None:
    config = of_teacher(model)
    before = json.loads(json.dumps(noted(config)))
    refuse_changed_inputs(before, config)
    edit(model)
    with pytest.raises(RunError, match=said + r".*; bring the files? back and resume the run, or start a new one"):
        refuse_changed_inputs(before, config)
    assert changed_input({}, config) is None, "a run of an earlier version kept no hashes"


def test_what_says_nothing_about_a_model_may_change(model: Path) -> None:
    config = of_teacher(model)
    before = noted(config)
    (model / "config.json").write_text(json.dumps({"transformers_version": "6", "model_type": "llama"}))
    (model / "README.md").write_text("new")
    refuse_changed_inputs(before, config)


def test_student_and_further_teachers_count(model: Path) -> None:
    further = {"teacher": str(model), "method": "gold"}
    config = RunConfig(student_model="pretrained", student_path=str(model), teachers=[further])
    before = noted(config)
    assert set(before["weights"]) == {"student", "teacher 2"} and set(before["tokenizers"]) == {"teacher 2"}
    (model / "model.safetensors").write_bytes(b"others!")
    found = changed_input(before, config)
    assert found is not None and found.named == "student's weights"


def test_further_teachers_of_an_earlier_version_count_too(tmp_path: Path) -> None:
    entry = {"teacher": "qwen", "method": "uld", "variant": "released", "method_options": {"pairing": "groups"}}
    with as_recorded():
        config = RunConfig(method="sedi", teachers=[entry])
    run = RunStore(tmp_path / "runs").create(config)
    assert [(one.kind, one.whose) for one in inputs_of(run.config)] == [("data", "data"), ("weights", "teacher 2")]
    assert changed_files([run, run]) == []


def test_runs_that_read_different_weights_are_named_where_they_are_compared(tmp_path: Path, model: Path) -> None:
    store = RunStore(tmp_path / "runs")
    runs = []
    for content in (b"weights", b"weights", b"others!"):
        (model / "model.safetensors").write_bytes(content)
        runs.append(store.create(of_teacher(model)))
        (runs[-1].dir / "env.json").write_text(json.dumps(noted(runs[-1].config)))
    assert changed_files(runs[:2]) == []
    (said,) = changed_files(runs)
    assert "model' wasn't the same model in all runs" in said and said.count(runs[2].id) == 1


def test_a_set_that_changed_is_no_file_to_bring_back(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("now")
    before = {name: {"source": "", "fingerprint": "0" * 64} for name in ("data", "eval_data")}
    with pytest.raises(RunError, match=r"eval_data .*own\.jsonl.* bring the file back and resume the run, or start a"):
        refuse_changed_inputs(before | {"data": {}}, RunConfig(data="bundled", eval_data=str(own)))
    with pytest.raises(RunError, match=r"data 'bundled' isn't what it was .*; start a new run"):
        refuse_changed_inputs(before, RunConfig(data="bundled"))
