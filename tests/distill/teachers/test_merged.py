"""A cache of merged rows stands for the live teacher, for the methods and options that it was made for alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ctkd_core
from ctkd_core import methods
from ctkd_core.background.progress import Cancelled
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.teachers import fill as filling
from ctkd_core.distill.teachers.fill import default_folder, fill, plan
from ctkd_core.distill.teachers.kept import KeptTeacher, open_cache
from ctkd_core.distill.teachers.manifest import read_manifest, write_manifest
from ctkd_core.distill.teachers.matching import check_cache
from ctkd_core.errors import RunError
from ctkd_core.losses import loss
from ctkd_core.losses.batch import AlignedBatch
from tests.distill.kit import cache_teacher, save_tokenizer
from tests.distill.teachers.kit import batch_of, live_logits, samples_of, teacher_of
from tests.tiny import tiny_byte_level

# A method, its variant, its options: all that reads one merged row of each group.
ADMITTED = [
    ("sedi", "clean", {"top_k": 12}),
    ("uld", "clean", {"pairing": "groups", "teacher_temperature": 1.6}),
    ("gold", "clean", {}),
    ("gold", "clean", {"temperature": 1.7, "with_eos": True, "hybrid": False}),
    ("gold", "clean", {"merge": "observed", "teacher_temperature": 0.6, "temperature": 1.3}),
    ("gold", "released", {}),
    ("cdm", "clean", {"top_k": 12}),
    ("cdm", "clean", {"top_k": 12, "merge": "last"}),
    ("xtoken-hkl", "clean", {"scaling": "fixed", "ce_weight": 0.0}),
    ("xtoken-hkl", "clean", {"scaling": "fixed", "temperature": 0.4, "reverse": True}),
    ("xtoken-hkl", "released", {"temperature": 1.7}),
]


@pytest.fixture(scope="module")
def merged(pair, tmp_path_factory):
    """A function of a run's config: the folder of its merged rows, with every token; each is filled once."""
    made: dict[str, Path] = {}

    def folder_of(config: RunConfig, k: int = 0) -> Path:
        key = json.dumps([config.method, config.variant, config.method_options, k], default=str)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("merged") / "cache"
            cache_teacher(config, made[key], k=k, dtype="float32", rows="merged")
        return made[key]

    return folder_of


@pytest.fixture(scope="module")
def coarse(tmp_path_factory) -> dict[str, object]:
    """Of a config: a student with longer tokens than the teacher's, and data where groups have several of these."""
    folder = tmp_path_factory.mktemp("coarse")
    save_tokenizer(tiny_byte_level(600, 5), folder)
    words = ["flag", "students", "carrier", "text", "learn", "cats"]
    rows = [
        {"prompt": f"What is {a}?", "completion": f"{201 + a} the {words[a % 6]} 2024 students flag {words[a % 5]}"}
        for a in range(28)
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"student": str(folder), "data": str(data)}


def asked(pair, method: str, variant: str = "clean", options: dict[str, object] | None = None, **more) -> RunConfig:
    return pair.config(method=method, variant=variant, method_options=options or {}, **more)


def graded(config: RunConfig, batch: AlignedBatch, teacher_logits: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The loss of a student with fixed random logits, and its gradient."""
    assert batch.student is not None
    generator = torch.Generator().manual_seed(3)
    student = 2 * torch.randn(*batch.student_ids.shape, batch.student.n_ids, generator=generator)
    student.requires_grad_()
    options = dict(teacher_of(config).options)
    out = loss(config.method, student, teacher_logits, batch, config.variant, **options)
    out.loss.backward()
    assert student.grad is not None
    return float(out.loss.detach()), student.grad


def stands_for(config: RunConfig, folder: Path, batch: AlignedBatch) -> KeptTeacher:
    kept_config = config.replace(teacher_cache=str(folder))
    return open_cache(kept_config, teacher_of(kept_config), samples_of(config, len(batch)))


@pytest.mark.parametrize(
    ("method", "variant", "options", "pad"),
    [*((*each, "right") for each in ADMITTED), *((*each, "left") for each in (ADMITTED[2], ADMITTED[6], ADMITTED[8]))],
)
def test_with_the_whole_vocabulary_loss_and_gradient_are_the_live_ones(
    pair, coarse, merged, method, variant, options, pad
):
    config = asked(pair, method, variant, options, **coarse)
    batch = batch_of(config, 6, pad)
    several = batch.groups[:, 4] - batch.groups[:, 3] > 1
    assert several.any(), "some group has several of the teacher's tokens"
    kept = stands_for(config, merged(config), batch)
    right = batch_of(config, 6)
    live = live_logits(config, right)
    if pad == "left":  # what is at the right moves to the left's places
        moved = torch.zeros_like(live)
        moved[batch.teacher_attention > 0] = live[right.teacher_attention > 0]
        live = moved
    value, gradient = graded(config, batch, live)
    own_value, own_gradient = graded(config, batch, kept.logits(batch))
    assert own_value == pytest.approx(value, rel=2e-6)
    assert float((own_gradient - gradient).norm() / gradient.norm()) < 1e-5


def test_every_method_that_says_so_is_tried_and_no_other():
    able = {row.name for row in methods.training() if row.merges}
    assert able == {method for method, _, _ in ADMITTED}


@pytest.mark.parametrize(("method", "variant", "options"), [ADMITTED[0], ADMITTED[2], ADMITTED[6], ADMITTED[8]])
def test_with_few_tokens_the_loss_is_near(pair, coarse, merged, method, variant, options):
    config = asked(pair, method, variant, options, **coarse)
    batch = batch_of(config, 6)
    value, _ = graded(config, batch, live_logits(config, batch))
    kept = stands_for(config, merged(config, k=32), batch)
    assert graded(config, batch, kept.logits(batch))[0] == pytest.approx(value, rel=0.05)


def test_size_is_told_beforehand_and_is_smaller(pair, coarse, tmp_path):
    config = asked(pair, "gold", **coarse)
    planned, tokens = plan(config, k=8, rows="merged"), plan(config, k=8)
    assert planned.rows < tokens.rows
    assert default_folder(planned) != default_folder(tokens)
    manifest = fill(planned, tmp_path / "cache")
    assert (manifest.samples, manifest.rows) == (len(planned.readings), planned.rows)
    assert planned.bytes <= manifest.bytes <= planned.bytes + 512 * len(manifest.parts)
    assert manifest.kept.rows == "merged"
    made = manifest.kept.merged
    assert made is not None
    assert (made.rule, made.temperature, made.alignment) == ("bayesian", 1.0, "gold (clean) groups=bytes")


def rows_in(folder: Path) -> set[bytes]:
    return {row.tobytes() for path in folder.glob("*.rows.npy") for row in np.load(path, allow_pickle=False)}


def test_what_was_stopped_goes_on_and_damage_is_mended(pair, coarse, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "PART_SECONDS", 0.0)  # a part a batch
    config = asked(pair, "gold", **coarse)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    cache_teacher(config, whole, k=8, rows="merged")

    def stop(_, sentence):
        if sentence.startswith("Reading 16"):
            raise Cancelled

    with pytest.raises(Cancelled):
        cache_teacher(config, parted, k=8, rows="merged", progress=stop)
    assert not read_manifest(parted).complete
    own = config.replace(teacher_cache=str(parted))
    with pytest.raises(RunError, match="isn't complete"):
        check_cache(own, teacher_of(own))
    cache_teacher(config, parted, k=8, rows="merged")
    assert rows_in(parted) == rows_in(whole)
    path = parted / "part-00001.rows.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="SHA-256 differs"):
        open_cache(own, teacher_of(own), [])
    cache_teacher(config, parted, k=8, rows="merged")
    assert rows_in(parted) == rows_in(whole)


@pytest.mark.parametrize(
    ("method", "variant", "options", "words"),
    [
        ("alm", "clean", {}, "it reads more of the teacher than one merged row"),
        ("bytes", "clean", {}, "it reads more of the teacher than one merged row"),
        ("mined", "clean", {}, "it reads more of the teacher than one merged row"),
        ("multilevel_ot", "clean", {}, "it reads more of the teacher than one merged row"),
        ("xtoken-pkl", "clean", {}, "it reads more of the teacher than one merged row"),
        ("sft", "clean", {}, "it asks no teacher"),
        ("uld", "clean", {}, "compares rows by their index"),
        ("uld", "released", {}, "compares rows by their index"),
        ("cdm", "clean", {"realign": True}, "aligns anew"),
        ("cdm", "released", {}, "slips of the released program"),
    ],
)
def test_methods_that_read_more_are_refused(pair, method, variant, options, words):
    with pytest.raises(RunError, match=rf"can't be taught by merged rows: .*{words}.*--rows answer"):
        plan(asked(pair, method, variant, options), rows="merged")


def test_scores_of_several_teachers_are_refused(pair):
    config = asked(pair, "gold", teachers=[{"teacher": str(pair.teacher), "method": "sedi"}], teacher_mix="select")
    with pytest.raises(RunError, match="teacher_mix 'select' scores teachers"):
        plan(config, rows="merged")
    assert plan(config.replace(teacher_mix="static"), number=2, rows="merged").merged.rule == "predicting"


def test_a_server_cannot_merge(pair):
    served = {"teacher_server": "http://localhost:9/v1", "teacher_server_model": "tiny"}
    with pytest.raises(RunError, match="rows are merged whole"):
        plan(asked(pair, "gold", **served), rows="merged")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"method": "alm"},
            r"keeps merged rows alone, but method 'alm' .* it reads more of the teacher than one merged row",
        ),
        ({"method": "sedi"}, r"the alignment was 'gold \(clean\) groups=bytes' and is 'sedi \(clean\)"),
        ({"variant": "released"}, r"the alignment was .* is 'gold \(released\)'"),
        ({"align_options": {"groups": "dtw"}}, r"and is 'gold \(clean\) groups=dtw' now"),
        ({"method_options": {"merge": "observed"}}, "the loss reads the row at a group's first token"),
        ({"method_options": {"temperature": 2.0}}, "the teacher's temperature was 1 and is 2 now"),
        ({"student": "smollm2"}, "the student's tokenizer was .* and is 'smollm2' .* now"),
    ],
)
def test_runs_of_something_else_are_refused(pair, coarse, merged, changes, words):
    config = asked(pair, "gold", **coarse)
    folder = merged(config, k=32)
    other = config.replace(teacher_cache=str(folder), **changes)
    with pytest.raises(RunError, match=words):
        check_cache(other, teacher_of(other))


def test_a_cache_that_nobody_should_finish_for_a_run_is_refused_for_that(pair, coarse, tmp_path):
    config = asked(pair, "gold", **coarse)
    folder = tmp_path / "cache"
    write_manifest(folder, replace(cache_teacher(config, folder, k=8, rows="merged"), complete=False))
    for changes, words in (({"method": "alm"}, "keeps merged rows alone"), ({}, "isn't complete")):
        other = config.replace(teacher_cache=str(folder), **changes)
        with pytest.raises(RunError, match=words):
            check_cache(other, teacher_of(other))


def test_options_that_change_no_row_are_free(pair, coarse, merged):
    config = asked(pair, "gold", **coarse)
    folder = str(merged(config, k=32))
    free = config.replace(teacher_cache=folder, method_options={"beta": 0.1, "with_eos": True, "ce_weight": 0.2})
    assert check_cache(free, teacher_of(free)).kept.merged
    sedi = asked(pair, "sedi", options={"top_k": 12}, **coarse)
    uld = asked(pair, "uld", options={"pairing": "groups"}, **coarse).replace(teacher_cache=str(merged(sedi)))
    assert check_cache(uld, teacher_of(uld)).kept.merged, "the same row of the same groups"


def test_another_folder_is_wanted_for_other_rows(pair, coarse, tmp_path):
    config = asked(pair, "gold", **coarse)
    cache_teacher(config, tmp_path / "cache", k=8, rows="merged")
    with pytest.raises(RunError, match=r"rows 'merged', and 8 of 340 tokens as float16, rows 'answer' are wanted"):
        cache_teacher(config, tmp_path / "cache", k=8)
    with pytest.raises(RunError, match="the teacher's temperature was 1 and is 3 now"):
        cache_teacher(config.replace(method_options={"temperature": 3.0}), tmp_path / "cache", k=8, rows="merged")


def test_groups_that_were_not_merged_are_not_found(pair, coarse, merged):
    config = asked(pair, "gold", **coarse)
    own = config.replace(teacher_cache=str(merged(config, k=32)))
    sample = samples_of(config, 1)[0]
    first = sample.groups[:1].copy()
    first[0, [1, 3]] = sample.groups[1, [1, 3]]
    joined = replace(sample, groups=np.concatenate([first, sample.groups[2:]]))
    with pytest.raises(RunError, match="lacks 1 of 2 samples"):
        open_cache(own, teacher_of(own), [sample, joined])


@pytest.mark.parametrize("method", ["sedi", "gold"])
def test_a_run_trains_from_merged_rows(pair, coarse, merged, store, monkeypatch, method):
    config = asked(pair, method, **coarse, steps=3, batch_size=2, accumulation=2)
    folder = merged(config)
    live = ctkd_core.distill(config, store)
    monkeypatch.setattr("ctkd_core.distill.models.teachers.load_model", lambda *_, **__: pytest.fail("loaded"))
    cached = ctkd_core.distill(config.replace(teacher_cache=str(folder)), store)
    rows = [[r for r in run.metric_rows() if r["kind"] == "train"] for run in (live, cached)]
    assert [r["loss"] for r in rows[1]] == pytest.approx([r["loss"] for r in rows[0]], rel=1e-5)
    bits = [run.summary()["metrics"]["teacher_bits_per_byte"] for run in (live, cached)]
    assert bits[1] == pytest.approx(bits[0], rel=1e-5)


def test_a_method_that_asks_no_teacher_takes_any_cache(pair, coarse, merged):
    gold = asked(pair, "gold", **coarse)
    config = asked(pair, "sft", **coarse, teacher_cache=str(merged(gold, k=32)))
    assert open_cache(config, teacher_of(config), samples_of(config)).figures.scored
