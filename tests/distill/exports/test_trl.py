"""Configs as TRL scripts: their names in TRL, and one step of theirs on the CPU beside our loss."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ctkd_core.distill.config import RUN_OPTIONS
from ctkd_core.distill.exports import trl
from ctkd_core.distill.exports.folder import NOT_WRITTEN, TARGETS, training_data, write
from ctkd_core.errors import RunError
from tests.distill.kit import save_tokenizer
from tests.tiny import tiny_metaspace

CASES = {
    "gold": {"method": "gold", "method_options": {"merge": "observed", "empty_samples": "count"}},
    "gold-bayesian": {"method": "gold", "method_options": {"beta": 0.2, "temperature": 2.0}},
    "gold-plain": {"method": "gold", "method_options": {"hybrid": False, "ce_weight": 0.0, "with_eos": True}},
    "gold-fixed": {"method": "gold", "method_options": {"weights": "fixed", "matched_weight": 0.3}},
    "uld": {"method": "uld", "method_options": {"ce_weight": 0.25}},
    "uld-released": {"method": "uld", "variant": "released"},
}


@pytest.mark.parametrize("name", list(CASES))
def test_every_option_is_one_of_trls(pair, name):
    gold = pytest.importorskip("trl.experimental.gold")
    options, notes = trl.settings(pair.config(**CASES[name]))
    made = gold.GOLDConfig(output_dir="unused", **options)
    # transformers turns "none" into no integrations
    assert {key: getattr(made, key) for key in options} == options | {"report_to": []}
    assert notes


def test_options_carry_their_values(pair):
    options, _ = trl.settings(pair.config(**CASES["gold-fixed"], on_policy_share=0.5, accumulation=2, warmup=0.25))
    expected = {
        "uld_hybrid_matched_weight": 0.3,
        "uld_hybrid_unmatched_weight": 1.0,
        "uld_crossentropy_weight": 0.5,
        "uld_token_merge_strategy": "bayesian",
        "lmbda": 0.5,
        "gradient_accumulation_steps": 2,
        "warmup_steps": 3,
        "max_steps": 12,
    }
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "uld", "method_options": {"top_k": 5}}, "top_k is 5"),
        ({"method": "uld", "method_options": {"pairing": "groups"}}, "pairing is 'groups'"),
        ({"method": "gold", "align_options": {"groups": "dtw"}}, "groups is 'dtw'"),
        ({"method": "sedi"}, "has no method 'sedi'"),
        ({"method": "xtoken-pkl"}, "--to nemo-rl"),
    ],
)
def test_what_trl_has_not_is_refused(pair, tmp_path, given, sentence):
    with pytest.raises(RunError, match=sentence):
        write(pair.config(**given), "trl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pair_that_trls_gold_cannot_align_is_refused(pair, tmp_path):
    """TRL's own answer to the exported tokenizer is asked, too."""
    utils = pytest.importorskip("trl.experimental.utils")
    from transformers import AutoTokenizer

    save_tokenizer(tiny_metaspace(), tmp_path / "marked")
    config = pair.config(method="gold", teacher=str(tmp_path / "marked"))
    with pytest.raises(RunError, match=r"byte-level tokenizers only, and the teacher's, .*, is none.*method 'uld'"):
        write(config, "trl", tmp_path / "gold", student=False)
    write(config.replace(method="uld", method_options={}), "trl", tmp_path / "uld", student=False)
    both = [AutoTokenizer.from_pretrained(tmp_path / "uld" / f"{side}-tokenizer") for side in ("student", "teacher")]
    assert [utils.is_byte_level_tokenizer(each.backend_tokenizer) for each in both] == [True, False]


def test_the_readme_says_how_it_is_started_and_with_which_versions(pair, tmp_path, monkeypatch):
    pinned = (Path(__file__).parents[3] / "constraints.txt").read_text("utf-8").splitlines()
    assert {f"{name}=={version}" for name, version in trl.TESTED.items()} <= set(pinned)
    monkeypatch.chdir(pair.teacher.parent)
    config = pair.config(method="uld", teacher_path="teacher", student_model="pretrained", student_path="student")
    found = write(config, "trl", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "python train_trl.py" in readme and f"torch=={trl.TESTED['torch']}" in readme
    assert "- `student-tokenizer`" in readme
    script = (tmp_path / "out" / "train_trl.py").read_text()
    assert f"TEACHER = {str(pair.teacher)!r}" in script, "wherever it is started"
    assert [note for note in found.notes if f"The student is the folder {str(pair.student)!r} of this machine" in note]
    assert str(tmp_path) not in readme


def test_a_full_folder_is_left_alone(pair, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="isn't an empty folder"):
        write(pair.config(method="uld"), "trl", tmp_path)


def test_text_of_a_config_becomes_no_code(pair, tmp_path):
    name = 'a"""\nraise SystemExit("code")\n"""'
    (tmp_path / "x").mkdir()
    config = pair.config(method="uld", name=name, student_model="pretrained", student_path=name)
    files, _ = trl.contents(config, config.student_path)
    compiled = compile(files[trl.SCRIPT], "script", "exec")
    assert name in compiled.co_consts


@pytest.mark.parametrize("name", list(CASES))
def test_one_step_of_trl_has_our_loss(pair, tmp_path, name):
    pytest.importorskip("trl.experimental.gold")
    import torch

    import ctkd_core
    from ctkd_core import methods
    from ctkd_core.losses.batch import AlignedBatch
    from ctkd_core.tokenizers.load import load_tokenizer

    config = pair.config(**CASES[name], max_length=64)
    found = write(config, "trl", tmp_path / "out")
    assert {"train_trl.py", "train.jsonl", "student", "README.md"} <= set(found.files)
    trainer = runpy.run_path(str(tmp_path / "out" / "train_trl.py"))["trainer"](disable_tqdm=True)
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._prepare_inputs(batch)
    heard: dict[str, dict] = {}
    loss_of = trainer.uld_loss_fn

    class Listening:
        use_extended_uld = loss_of.use_extended_uld

        def __call__(self, **given):
            heard.update(given)
            return loss_of(**given)

    trainer.uld_loss_fn = Listening()
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, inputs)
    ours = ctkd_core.loss(
        config.method,
        heard["student_logits"].float(),
        heard["teacher_logits"].float(),
        AlignedBatch.from_ids(
            student=load_tokenizer(str(pair.student)),
            teacher=load_tokenizer(str(pair.teacher)),
            student_ids=heard["student_input_ids"],
            teacher_ids=heard["teacher_input_ids"],
            student_labels=heard["student_labels"],
            teacher_labels=heard["teacher_labels"],
            student_attention=inputs["attention_mask"],
            teacher_attention=up_to_the_last(heard["teacher_labels"] != -100),
            method=config.method,
        ),
        variant=config.variant,
        **{o.name: config.method_options[o.name] for o in methods.get(config.method).loss_options_of(config.variant)},
    )
    assert float(ours.loss) == pytest.approx(float(theirs), abs=1e-4)
    assert float(theirs) > 0.1
    if name == "gold":  # and the script trains
        trainer.uld_loss_fn = loss_of
        trainer.args.max_steps = 1
        assert trainer.train().training_loss > 0.0
        assert Path(trainer.args.output_dir) == tmp_path / "out" / "out"


def test_the_loss_of_a_step_is_the_mean_of_its_batches(pair, tmp_path):
    pytest.importorskip("trl.experimental.gold")
    write(pair.config(**CASES["gold"], max_length=64, steps=1, accumulation=3), "trl", tmp_path / "out")
    trainer = runpy.run_path(str(tmp_path / "out" / "train_trl.py"))["trainer"](disable_tqdm=True)
    losses: list[float] = []
    loss_of = trainer.compute_loss

    def listening(*given, **more):
        found = loss_of(*given, **more)
        losses.append(float(found))
        return found

    trainer.compute_loss = listening
    assert trainer.train().training_loss == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert len(losses) == 3


def up_to_the_last(learnt):
    """Masks [B, T] of everything up to the last learnt token: what TRL pads stands behind it."""
    return learnt.flip(1).cumsum(1).flip(1).bool()


def test_no_held_out_prompt_is_trained_on(pair, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"prompt": "What is 0 + 0?", "completion": "0"}) + "\n")
    lines = training_data(pair.config(method="uld", eval_data=str(own))).splitlines()
    assert len(lines) == 47
    assert not any("What is 0 + 0?" in line for line in lines)
    assert len(training_data(pair.config(method="uld", eval_share=0.5)).splitlines()) == 24


def test_the_notes_name_what_is_not_written(pair, tmp_path):
    plain = write(pair.config(method="uld"), "trl", tmp_path / "plain", student=False)
    given = {"trainer": {"max_grad_norm": 0.5}, "lora_rank": 2, "teacher_cache": str(tmp_path / "cache")}
    found = write(pair.config(method="uld", **given), "trl", tmp_path / "more", student=False)
    more = [note for note in found.notes if note not in plain.notes]
    assert [name for note in more for name in ("max_grad_norm", "lora_rank 2", "teacher_cache") if name in note] == [
        "max_grad_norm", "lora_rank 2", "teacher_cache",
    ]  # fmt: skip
    assert all(note in (tmp_path / "more" / "README.md").read_text() for note in more)


# What a target is told, what shaped the data and the student that are written, and what names or shows the run here.
WRITTEN = """student teacher method variant student_model student_path student_layers embedding_rows tie_embeddings
teacher_path data template chat_template learnt_turns skip_bad_records steps batch_size accumulation learning_rate
warmup weight_decay max_length seed eval_share on_policy_share on_policy_temperature on_policy_top_p
on_policy_max_new_tokens hidden_size layers device"""
# Of LoRA, of servers, and of further teachers, which are refused.
OF_OTHERS = """lora_alpha lora_dropout lora_targets teacher_server_model teacher_server_k teacher_weight teacher_mix
teacher_score teacher_alpha on_policy_server_model on_policy_refresh"""
SHOWN = "eval_completions sample_prompts sample_tokens keep_checkpoints save_student name"


def test_every_option_of_a_run_is_written_or_noted():
    told = [name for names in (WRITTEN, OF_OTHERS, SHOWN) for name in names.split()]
    assert sorted([*told, *NOT_WRITTEN]) == sorted(
        {option.name for option in RUN_OPTIONS} | {"trainer", "state_learning_rates"}
    )


@pytest.mark.parametrize(("method", "target"), [("uld", "trl"), ("xtoken-pkl", "nemo-rl")])
def test_what_a_target_cannot_do_is_in_its_readme(pair, tmp_path, method, target):
    given = {"teacher_precision": "bf16", "teacher_loading": "offload", "precision": "fp16", "truncation_side": "left"}
    if method == "uld":
        given |= {"warmup_from_zero": True, "save_dtype": "float16"}
    found = write(pair.config(method=method, **given), target, tmp_path / "out", student=False)
    readme = (tmp_path / "out" / "README.md").read_text()
    for name, value in given.items():
        noted = f"{name} '{value}' isn't written" if isinstance(value, str) else f"{name} {value} isn't written"
        assert (noted in readme) == (name not in TARGETS[target].writes), noted
    assert len(set(found.notes)) == len(found.notes)
    plain = trl.settings(pair.config(method="uld"))[1]
    assert any("first step learns nothing" in note for note in plain)
