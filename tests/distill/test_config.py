"""RunConfig: options, presets, files, and errors that name the nearest thing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from ctkd_core.distill.config import PRESET_TITLES, PRESETS, RUN_OPTIONS, RunConfig, preset
from ctkd_core.errors import RunError


def test_every_field_is_described_by_an_option():
    fields = {f.name for f in dataclasses.fields(RunConfig)} - {"method_options", "align_options", "teachers"}
    assert fields == {o.name for o in RUN_OPTIONS}
    assert all(getattr(RunConfig(), o.name) == o.default for o in RUN_OPTIONS)


def test_presets_are_valid_and_titled():
    assert PRESETS["quick"].steps == 40
    assert set(PRESETS) == set(PRESET_TITLES)
    assert {p.student for p in PRESETS.values()} == {"deepseek"}


def test_dict_and_back_is_the_same_config():
    config = RunConfig(method="uld", method_options={"temperature": 1.5}, seed=7)
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))).fingerprint == config.fingerprint
    assert config.replace(seed=8).fingerprint != config.fingerprint


def test_method_options_get_their_defaults_and_types():
    config = RunConfig(method="sedi", method_options={"top_k": "20"})
    assert config.method_options["top_k"] == 20
    assert config.method_options["temperature"] == 2.0


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_files_with_a_preset_beneath(tmp_path, suffix):
    path = tmp_path / f"run.{suffix}"
    text = {
        "yaml": "preset: quick\nmethod: uld\nsteps: 5\n",
        "json": '{"preset": "quick", "method": "uld", "steps": 5}',
    }
    path.write_text(text[suffix])
    config = RunConfig.from_file(path)
    assert (config.method, config.steps) == ("uld", 5)
    assert config.batch_size == PRESETS["quick"].batch_size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"method": "sedy"}, ["unknown method 'sedy'", "'sedi'"]),
        ({"stepz": 4}, ["'stepz'", "'steps'"]),
        ({"method": "sedi", "method_options": {"topk": 3}}, ["'topk'", "'top_k'"]),
        ({"steps": 0}, ["'steps'", "from 1", "got 0"]),
        ({"student_model": "scrach"}, ["'scrach'", "'scratch'"]),
        ({"method": "gold-greedy"}, ["has no loss of its own", "sedi"]),
        ({"preset": "quik"}, ["'quik'", "'quick'"]),
        ({"variant": "released"}, ["variant", "'released'"]),
        ({"student_model": "pretrained"}, ["student_path"]),
        ({"student_path": "x/y"}, ["student_path", "'transplant'"]),
        ({"device": "gpu"}, ["'gpu'", "cuda"]),
        ({"version": 99}, ["version 99"]),
        ({"learning_rate": float("nan")}, ["learning_rate"]),
    ],
)
def test_bad_configs_say_what_is_wrong(data, words):
    with pytest.raises(RunError) as caught:
        RunConfig.from_dict({"method": "sedi"} | data)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("missing.yaml", None, "no config file"),
        ("a.yaml", "steps: [1", "YAML"),
        ("a.json", "{", "JSON"),
        ("a.json", "[1]", "not a table"),
        ("a.toml", "steps = 1", ".yaml"),
    ],
)
def test_bad_files(tmp_path, name, content, word):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=word.replace(".", r"\.")):
        RunConfig.from_file(tmp_path / name)


def test_a_path_as_student_model_means_pretrained():
    config = RunConfig.from_dict({"student_model": "some/model"})
    assert (config.student_model, config.student_path) == ("pretrained", "some/model")


def test_replacing_the_method_keeps_only_options_it_has():
    changed = RunConfig(method="sedi", method_options={"ce_weight": 0.3, "entropy_weight": 2.0}).replace(method="uld")
    assert changed.method_options["ce_weight"] == 0.3
    assert "entropy_weight" not in changed.method_options


def test_configs_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("quick").steps = 3  # type: ignore[misc]


def test_pages_can_import_runs_and_checks_without_torch():
    code = (
        "import sys; import ctkd_core.distill.runs, ctkd_core.distill.config, ctkd_core.distill.checks, "
        "ctkd_core.distill.estimate, ctkd_core.distill.models.teachers; "
        "from ctkd_core.distill import RunStore, preflight; "
        "print([m for m in ('torch', 'transformers', 'streamlit', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
