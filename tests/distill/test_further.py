"""Runs with several teachers: configs, pre-flight, training, what each loss learns."""

from __future__ import annotations

import json

import pytest

import ctkd_core
from ctkd_core.distill.checks import preflight
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.estimate import estimate_bytes, estimate_seconds
from ctkd_core.errors import LossInputError, PreflightError, RunError
from tests.distill.kit import llama, save_tokenizer
from tests.tiny import tiny_byte_level


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A teacher with the student's tokenizer."""
    folder = tmp_path_factory.mktemp("own")
    tokenizer = tiny_byte_level(400, 3)
    save_tokenizer(tokenizer, folder)
    llama(tokenizer.n_ids, seed=5).save_pretrained(folder)
    return str(folder)


def test_old_configs_keep_their_fingerprint():
    data = RunConfig().to_dict()
    assert not [key for key in data if key.startswith(("on_policy", "teacher_m", "teacher_s", "teacher_a", "teachers"))]
    changed = RunConfig(on_policy_share=0.5).to_dict()
    assert changed["on_policy_share"] == 0.5
    assert "on_policy_top_p" not in changed


def test_a_config_with_teachers_survives_its_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("method: kd\nteacher_mix: adaptive\nteachers:\n  - {teacher: qwen, method: gold, weight: 0.8}\n")
    config = RunConfig.from_file(path)
    (entry,) = config.teachers
    assert (entry["teacher"], entry["weight"], entry["method_options"]["merge"]) == ("qwen", 0.8, "bayesian")
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.fingerprint == config.fingerprint
    assert config.replace(teachers=()).fingerprint != config.fingerprint


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ("qwen", "a list of tables"),
        (["qwen"], "entry 1 of teachers must be a table"),
        ([{"method": "gold"}], "entry 1 of teachers must be a table that names its tokenizer"),
        ([{"teacher": "qwen", "methd": "gold"}], "did you mean 'method'"),
        ([{"teacher": "qwen"}, {"teacher": "qwen", "method": "golf"}], "entry 2 of teachers: .*did you mean 'gold'"),
        ([{"teacher": "qwen", "method": "sft"}], "'sft' can't ask a further teacher"),
        ([{"teacher": "qwen", "weight": -1}], "weight.* takes a number from 0"),
        ([{"teacher": "qwen", "method_options": {"bet": 1}}], "did you mean 'beta'"),
        ([{"teacher": "qwen", "method_options": None}], "method_options must be a table of options"),
        ([{"teacher": "qwen", "align_options": [1]}], "align_options must be a table of options"),
        ([{"teacher": "qwen", "teacher_path": 5}], "teacher_path must be a text; got 5"),
        ([{"teacher": "qwen", "name": 7}], "name must be a text"),
    ],
)
def test_bad_entries_say_what_is_wrong(teachers, words):
    with pytest.raises(RunError, match=words):
        RunConfig(method="gold", teachers=teachers)


def test_teachers_that_all_weigh_nothing_are_refused():
    with pytest.raises(RunError, match="all teachers weigh 0"):
        RunConfig(method="gold", teacher_weight=0, teachers=[{"teacher": "qwen", "weight": 0}])


@pytest.mark.parametrize("value", [None, "x", [1]])
def test_options_of_the_first_teacher_are_a_table(value):
    with pytest.raises(RunError, match="method_options must be a table of options"):
        RunConfig(method="gold", method_options=value)


def test_sft_has_no_further_teachers():
    with pytest.raises(RunError, match="method 'sft' asks no teacher; with further teachers"):
        RunConfig(method="sft", teachers=[{"teacher": "qwen"}])


@pytest.mark.parametrize("mix", ["static", "adaptive", "select"])
def test_a_same_tokenizer_teacher_beside_another(pair, store, own, mix):
    entry = {"teacher": own, "method": "kd", "weight": 0.3, "name": "own"}
    config = pair.config(method="sedi", steps=12, teachers=[entry], teacher_mix=mix, teacher_weight=0.7)
    run = ctkd_core.distill(config, store)
    rows = [r for r in run.metric_rows() if r["kind"] == "train"]
    weights = [[v for k, v in r["diagnostics"].items() if k.endswith(".weight")] for r in rows]
    assert all(len(w) == 2 and sum(w) == pytest.approx(1.0) for w in weights)
    if mix == "static":
        assert weights[0] == [0.7, 0.3]
        assert {"own.forward_kl", "own.ce"} <= rows[0]["terms"].keys()
    if mix == "select":
        assert all(set(w) == {0.0, 1.0} for w in weights)
    losses = [r["loss"] for r in rows]
    if mix != "select":  # there the losses of two teachers take turns
        assert sum(losses[-4:]) < sum(losses[:4])


def test_two_losses_that_learn_and_own_words_together(pair, store):
    entry = {"teacher": str(pair.teacher), "method": "sedi", "weight": 0.5}
    config = pair.config(
        method="sedi", steps=6, save_every=6, teachers=[entry], teacher_weight=0.5, on_policy_share=0.5,
        on_policy_max_new_tokens=4,
    )  # fmt: skip
    run = ctkd_core.distill(config, store)
    from safetensors import safe_open

    with safe_open(run.dir / "checkpoints" / "checkpoint-6" / "model.safetensors", "pt") as file:
        names = {k.partition(".")[0] for k in file.keys()}  # noqa: SIM118
    assert {"loss_state", "loss_state_2"} <= names
    with safe_open(run.dir / "checkpoints" / "student" / "model.safetensors", "pt") as file:
        assert not [k for k in file.keys() if "loss_state" in k]  # noqa: SIM118


def test_preflight_looks_at_every_teacher(pair, own, store):
    entries = [{"teacher": own, "method": "kd"}, {"teacher": str(pair.teacher), "method": "kd"}]
    checks = {c.name: c for c in preflight(pair.config(method="gold", teachers=entries, on_policy_share=0.5))}
    assert checks["one tokenizer (teacher 2)"].ok
    assert not checks["one tokenizer (teacher 3)"].ok
    assert checks["teacher 2"].ok
    assert not checks["on-policy"].fatal
    with pytest.raises(PreflightError, match=r"one tokenizer.*Choose a method for different tokenizers"):
        ctkd_core.distill(pair.config(method="kd"), store)
    lost = pair.config(teachers=[{"teacher": own, "teacher_path": "./nowhere"}])
    assert not next(c for c in preflight(lost) if c.name == "teacher 2").ok


def test_estimates_grow_with_teachers_and_writing(pair, own):
    plain = pair.config(method="gold")
    more = pair.config(method="gold", teachers=[{"teacher": own}])
    assert estimate_bytes(more)["total"] > estimate_bytes(plain)["total"]
    assert estimate_seconds(more) > estimate_seconds(plain)
    assert estimate_seconds(pair.config(method="gold", on_policy_share=1.0)) > estimate_seconds(plain)


def test_a_teacher_that_does_not_fit_its_tokenizer(pair, store, own):
    entry = {"teacher": own, "teacher_path": str(pair.teacher), "method": "kd"}
    with pytest.raises((RunError, LossInputError), match="embedding rows but its tokenizer"):
        ctkd_core.distill(pair.config(teachers=[entry]), store)
