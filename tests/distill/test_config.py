"""RunConfig: options, presets, files, and errors that name the nearest thing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core.distill.config import (
    PRESET_TITLES,
    PRESETS,
    RUN_OPTIONS,
    RunConfig,
    json_schema,
    preset,
    preset_changes,
)
from ctkd_core.distill.further import FurtherTeacher
from ctkd_core.distill.runs import Run
from ctkd_core.distill.settings import fields_of
from ctkd_core.distill.sources.bundled import NAMES
from ctkd_core.errors import CtkdError, RunError

RECORDED = json.loads((Path(__file__).parent / "recorded_configs.json").read_text(encoding="utf-8"))


def test_every_field_is_described_by_an_option():
    fields = {f.name for f in dataclasses.fields(RunConfig)} - {
        "method_options",
        "align_options",
        "state_learning_rates",
        "teachers",
        "trainer",
    }
    assert fields == {o.name for o in RUN_OPTIONS}
    assert all(getattr(RunConfig(), o.name) == o.default for o in RUN_OPTIONS)
    assert all(o.help for o in RUN_OPTIONS)


def test_the_schema_says_of_a_field_what_its_option_says():
    schema = json_schema()
    for option in RUN_OPTIONS:
        said = dict(schema["properties"][option.name])
        assert said.pop("advanced", False) is option.advanced
        assert said == option.schema()
    assert set(schema["properties"]) == {*fields_of(RunConfig), "version", "preset"}
    assert schema["additionalProperties"] is False
    teacher = schema["properties"]["teachers"]["items"]
    assert teacher["required"] == ["teacher"]
    assert teacher["properties"]["weight"]["maximum"] == 1000
    json.dumps(schema, allow_nan=False)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: f"{r['method']}-{r['name'] or r['student_model']}")
def test_configs_of_earlier_runs_are_read_as_they_were(tmp_path, recorded):
    """Recorded from run folders of an earlier version: content, order of the keys and fingerprint stay."""
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    config = Run(tmp_path).config
    assert config.fingerprint == recorded["fingerprint"]
    again = json.loads(json.dumps(config.to_dict())) | {"fingerprint": config.fingerprint}
    assert list(again.items()) == list(recorded.items())


def test_a_changed_config_of_a_run_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(RECORDED[0] | {"steps": 41}))
    with pytest.raises(RunError, match="was changed after the run was created"):
        _ = Run(tmp_path).config


def test_presets_are_valid_and_titled():
    assert PRESETS["quick"].steps == 40
    assert set(PRESETS) == set(PRESET_TITLES)
    assert {p.student for name, p in PRESETS.items() if not name.startswith("cross-family")} == {"deepseek"}
    across, back = PRESETS["cross-family"], PRESETS["cross-family-reverse"]
    assert (across.teacher, across.student, across.student_path) == ("gemma3-270m", "smollm2", "smollm2")
    assert (back.teacher, back.student, back.student_path) == ("smollm2", "gemma3-270m", "gemma3-270m")


def test_what_a_preset_sets_makes_it_of_the_defaults():
    assert preset_changes("quick") == {"batch_size": 6, "save_student": False}
    for name, chosen in PRESETS.items():
        assert RunConfig(**preset_changes(name), name=name) == chosen


def test_a_tokenizer_is_no_kind_of_student_model():
    with pytest.raises(RunError, match=r"'deepseek' is a tokenizer: that is the option student \(-s\)"):
        RunConfig.from_dict({"student_model": "deepseek"})


def test_held_out_samples_come_from_one_place():
    assert RunConfig(eval_share=0.5).to_dict()["eval_share"] == 0.5
    assert not {"eval_share", "eval_data"} & set(RunConfig().to_dict())  # older configs keep their fingerprints
    with pytest.raises(RunError, match="eval_share takes a share of the data and eval_data another file"):
        RunConfig(eval_share=0.5, eval_data="bundled:code")


def test_bundled_sets_are_named_wherever_data_is():
    (help_text,) = (option.help for option in RUN_OPTIONS if option.name == "data")
    assert all(name in help_text for name in NAMES if name != "bundled:tasks")
    assert json_schema()["properties"]["data"]["description"] == help_text


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
    assert preset("quick").steps == 40
    assert dataclasses.replace(preset("quick"), steps=3).steps == 3


def test_every_wrong_value_is_named_at_once():
    with pytest.raises(RunError) as caught:
        RunConfig(steps=0, seed="x", method_options={"topk": 3})
    for word in ("'steps' takes a whole number from 1", "'seed'", "got 'x'", "'top_k'"):
        assert word in str(caught.value)


def test_constructor_names_the_nearest_option():
    with pytest.raises(RunError, match="unknown option of a run 'stepz'; did you mean 'steps'"):
        RunConfig(stepz=4)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**320, max_value=10**330)  # larger than any float
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "cuda:1", "uld", "gold", "released", "quick", "1", "x/y", "a\0b"])
)
KEYS = st.sampled_from([*fields_of(RunConfig), *fields_of(FurtherTeacher), "version", "preset", "fingerprint"])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(document=DOCUMENTS | st.dictionaries(KEYS, DOCUMENTS, max_size=3))
def test_any_document_is_a_config_or_a_clear_error(document):
    try:
        config = RunConfig.from_dict(document)
    except CtkdError as fault:
        assert str(fault)
        return
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.fingerprint == config.fingerprint


@given(entry=DOCUMENTS | st.dictionaries(st.sampled_from(list(fields_of(FurtherTeacher))), DOCUMENTS, max_size=4))
def test_any_further_teacher_is_one_or_a_clear_error(entry):
    for teachers in (entry, [entry], [{"teacher": "qwen"}, entry]):
        try:
            config = RunConfig(method="kd", teachers=teachers)
        except CtkdError as fault:
            assert str(fault)
        else:
            assert all(FurtherTeacher(**table).to_dict() == table for table in config.teachers)


@given(text=st.text(max_size=60) | DOCUMENTS.map(json.dumps) | st.binary(max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_config_or_a_clear_error(tmp_path, text):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    for name in ("c.json", "c.yaml"):
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(RunError):
            RunConfig.from_file(tmp_path / name)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_file_nested_too_deeply(tmp_path, name):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(RunError, match="nested too deeply"):
        RunConfig.from_file(tmp_path / name)


def test_keys_that_are_no_names_are_refused():
    with pytest.raises(RunError, match="unknown option of a run 5"):
        RunConfig.from_dict({5: 1})


def test_pages_can_import_runs_and_checks_without_torch():
    code = (
        "import sys; import ctkd_core.distill.runs, ctkd_core.distill.config, ctkd_core.distill.checks, "
        "ctkd_core.distill.estimate, ctkd_core.distill.models.teachers; "
        "from ctkd_core.distill import RunStore, preflight; "
        "print([m for m in ('torch', 'transformers', 'streamlit', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("what", ["config.json", ""])
def test_the_config_of_a_run_is_the_same_run_again(pair, store, what):
    run = store.create(pair.config(method="uld", method_options={"temperature": 1.5}, name="first"))
    again = RunConfig.from_file(run.dir / what)
    assert again == run.config
    assert again.fingerprint == run.config.fingerprint
    (run.dir / "bom.json").write_text(
        "\ufeff" + (run.dir / "config.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert RunConfig.from_file(run.dir / "bom.json") == run.config


LONG = "0x" + "f" * 6000


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("c.yaml", "on: 5", "unknown option of a run True"),
        ("c.yaml", "steps: 4\nmethod: uld\nsteps: 5", "the key 'steps' stands twice, in lines 1 and 3"),
        ("c.yaml", "method_options: {beta: 1, beta: 1}", "the key 'beta' stands twice"),
        ("c.json", '{"steps": 4, "steps": 5}', "the key 'steps' stands twice"),
        ("c.yaml", "1: 5", "unknown option of a run 1"),
        ("c.yaml", "method_options: {on: 1}", "method_options must be a table of options"),
        ("c.yaml", "teachers: [{teacher: qwen, on: 1}]", "unknown key of entry 1 of teachers True"),
        ("c.yaml", "preset: [1]", r"unknown preset \[1\]"),
        ("c.yaml", "preset: {a: b}", "unknown preset {'a': 'b'}"),
        ("c.yaml", f"steps: {LONG}", "steps.*got a number of about 7,22"),
        ("c.yaml", f"preset: {LONG}", "unknown preset a number of about 7,22"),
        ("c.yaml", f"version: {LONG}", "format version a number of about 7,22"),
        ("c.yaml", f"teacher: {LONG}", "teacher.*a number of about 7,22"),
        ("c.yaml", f"method_options: {LONG}", "a number of about 7,22"),
        ("c.yaml", "steps: " + "1" * 5000, "number of thousands of digits"),
        ("c.json", '{"steps": ' + "1" * 5000 + "}", "number of thousands of digits"),
        ("c.yaml", "seed: 2020-13-45", "YAML"),
        ("c.yaml", "? [1, 2]\n: 3", "YAML|unknown option"),
        ("c.yaml", "steps: !!python/object/apply:os.getcwd []", "YAML"),
        ("c.yaml", "&a steps: *a", "YAML|unknown|steps"),
        ("c.yaml", "a: &a [*a]", "nested too deeply"),
        ("c.json", "[" * 200_000, "nested too deeply"),
        ("c.yaml", "[" * 200_000, "nested too deeply"),
        ("c.json", '{"steps": ' + "[" * 50 + "]" * 50 + "}", "nested too deeply"),
        ("c.yaml", 'name: "a\\0b"\nstepz\x1b[31m: 1', "YAML|stepz"),
        ("c.yaml", '"step\\e[31m": 1', "unknown option of a run 'step.x1b"),
        ("c.yaml", "steps: " + "x" * 100_000, "steps"),
        ("c.json", json.dumps({"x" * 100_000: 1}), "unknown option of a run"),
        ("c.yaml", "device: " + "x" * 100_000, "device"),
        ("c.yaml", "student_path: " + "x" * 100_000, "student_path"),
    ],
)
def test_hostile_files_get_one_short_sentence(tmp_path, name, text, word):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=word) as caught:
        RunConfig.from_file(tmp_path / name)
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()


def test_aliases_that_multiply_are_no_burden(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(RunError, match="unknown option of a run 'a0'"):
        RunConfig.from_file(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("\n".join([*lines, "steps: *a11"]))
    with pytest.raises(RunError):
        RunConfig.from_file(tmp_path / "c.yaml")


@pytest.mark.parametrize("value", ["x\0y", "x" * 5000, "~nobody-of-this-name/m"])
@pytest.mark.parametrize("name", ["data", "teacher", "student", "teacher_path"])
def test_names_that_no_file_can_have_are_findings(pair, store, name, value):
    from ctkd_core.distill.checks import preflight

    bad = [c for c in preflight(pair.config(**{name: value}), store.root) if not c.ok]
    assert bad
    assert all(len(c.detail) < 700 and c.detail.isprintable() for c in bad)


@pytest.mark.parametrize(
    "changes",
    [{"name": "a\udcffb"}, {"data": "\udcff.jsonl"}, {"method_options": {"top_k": 8}, "name": "\ud800"}],
)
def test_bytes_that_are_not_utf8_are_refused_before_a_folder_is_made(store, changes):
    with pytest.raises(RunError, match="isn't valid Unicode text; write it in UTF-8") as caught:
        store.create(RunConfig(**changes))
    assert str(caught.value).isprintable() and not store.root.exists()


@pytest.mark.parametrize(("name", "said"), [("x" * 201, "201 characters"), ("latest", "'latest'")])
def test_a_name_that_only_an_earlier_run_may_have(store, name, said):
    from ctkd_core.distill.checks import preflight

    (check,) = [c for c in preflight(RunConfig(name=name, data="nowhere.jsonl"), store.root) if c.name == "name"]
    assert not check.ok and check.fatal and said in check.detail
    with pytest.raises(RunError, match=said):
        store.create(RunConfig(name=name))
    assert not store.root.exists()
    run = store.create(RunConfig())
    config = RunConfig(name=name)
    (run.dir / "config.json").chmod(0o644)
    (run.dir / "config.json").write_text(json.dumps(config.to_dict() | {"fingerprint": config.fingerprint}))
    assert run.summary()["name"] == name and run.config.problem() == ""
