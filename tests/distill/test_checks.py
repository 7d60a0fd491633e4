"""Pre-flight: each fault is seen before anything starts, and the figures come from the config."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from ctkd_core.background.processes import process_start
from ctkd_core.background.status import write_status
from ctkd_core.distill import checks, estimate, memory
from ctkd_core.distill.config import PRESETS, RunConfig
from ctkd_core.errors import PreflightError
from tests.tiny import tiny_byte_level


def by_name(config, store):
    return {c.name: c for c in checks.preflight(config, store.root)}


def test_a_good_config_passes_every_check(pair, store):
    found = by_name(pair.config(eval_share=0.25, eval_samples=48), store)
    assert all(c.ok for c in found.values()), found
    assert "36 examples" in found["data"].detail
    assert found["held-out samples"].detail == "Figures are measured on 12 held-out samples."
    assert "<eos>" in found["special tokens"].detail


@pytest.mark.parametrize(
    ("changes", "name", "word"),
    [
        ({"student": "deepseak"}, "student tokenizer", "deepseek"),
        ({"data": "nowhere.jsonl"}, "data", "isn't there"),
        ({"teacher_path": "/no/such/folder"}, "teacher", "no folder"),
        ({"precision": "fp16"}, "precision", "fp32"),
        ({"trainer": {"fp16": True}}, "precision", "fp32"),
        ({"student_model": "pretrained", "student_path": "/no/such/folder"}, "student", "no folder"),
        ({"trainer": {"adam_epsilon": -1}}, "trainer", "epsilon"),
    ],
)
def test_faults_are_named_and_refused(pair, store, changes, name, word):
    config = pair.config(**changes)
    found = by_name(config, store)[name]
    assert not found.ok
    assert word in found.detail
    with pytest.raises(PreflightError, match=word):
        checks.require(config, store.root)


@pytest.mark.parametrize(
    ("changes", "number", "advice"),
    [({"eval_samples": 48}, 4, "Name eval_data, or raise eval_share (to 0.21)."), ({}, 3, "Raise eval_samples.")],
)
def test_few_held_out_samples_are_a_warning(pair, store, changes, number, advice):
    found = by_name(pair.config(**changes), store)["held-out samples"]
    assert (found.ok, found.fatal, found.fix) == (False, False, advice)
    assert found.detail == f"Figures are measured on {number} held-out samples; of so few they say little."
    assert "held-out samples" not in by_name(pair.config(eval_samples=0), store)


def test_an_evaluation_that_no_held_out_sample_serves_is_a_warning(pair, store):
    found = by_name(pair.config(evaluations="all"), store)
    told = {name.removeprefix("evaluation "): c for name, c in found.items() if name.startswith("evaluation ")}
    assert set(told) == {"arithmetic", "exposure"}
    assert not any(c.ok or c.fatal for c in told.values())
    assert told["arithmetic"].detail == "none of the 3 held-out samples is an exercise."
    assert "eval_data" in told["arithmetic"].fix
    assert not [name for name in by_name(pair.config(), store) if name.startswith("evaluation ")]


def test_a_device_that_is_not_here_is_refused(pair, store, monkeypatch):
    monkeypatch.setattr("ctkd_core.distill.devices.cuda_count", lambda: 2)
    found = by_name(pair.config(device="cuda:99"), store)["device"]
    assert not found.ok and found.fatal
    assert "'cuda:99' isn't here" in found.detail and "cpu" in found.fix
    assert by_name(pair.config(device="cuda:1"), store)["device"].ok


def test_a_kind_of_student_model_is_no_tokenizer(pair, store):
    found = by_name(pair.config(student="scratch"), store)["student tokenizer"]
    assert not found.ok
    assert "--student-model" in found.fix


def test_weights_that_are_pickles_are_refused(pair, store, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(pair.teacher, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert not by_name(pair.config(teacher_path=str(folder)), store)["teacher"].ok


def test_a_full_disk_is_seen_before_the_start(pair, store, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 400_000_000))
    found = by_name(pair.config(), store)["disk"]
    assert not found.ok
    assert "0.4 GB free" in found.detail


def test_a_tokenizer_without_an_end_is_a_warning():
    whole, endless = tiny_byte_level(400, 3), replace(tiny_byte_level(340, 1), eos_id=None)
    found = checks._special_tokens(whole, endless)
    assert (found.ok, found.fatal) == (False, False)
    assert "the teacher tokenizer has no end-of-text token" in found.detail
    assert checks._special_tokens(whole, whole).ok


def described(config, store, monkeypatch, available):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))
    return by_name(config, store)["memory"]


@pytest.fixture
def long_data(tmp_path):
    """A file whose longest sample is longer than any max_length here."""
    path = tmp_path / "long.jsonl"
    lines = [json.dumps({"prompt": f"Question {k}", "completion": "word " * 4000}) for k in range(12)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_memory_and_time_are_those_of_samples_no_longer_than_the_data(pair, store, long_data):
    short, cut = pair.config(max_length=4096, batch_size=8), pair.config(max_length=64, batch_size=8)
    of_short, of_cut, of_long = (by_name(c, store) for c in (short, cut, short.replace(data=long_data)))
    assert of_short["memory"].detail.partition("; ")[0] == of_cut["memory"].detail.partition("; ")[0]
    assert f"({8 * 4096:,} positions" in of_long["memory"].detail
    hopeless = by_name(short.replace(data=long_data, batch_size=4096, max_length=131072), store)["memory"]
    assert not hopeless.ok and hopeless.fatal and "logits" in hopeless.detail
    student = by_name(short.replace(on_policy_share=0.5), store)
    assert f"({8 * 4096:,} positions" in student["memory"].detail, "how long its own answers are isn't known"


def test_what_saves_memory_follows_from_the_parts(pair, store, monkeypatch, long_data):
    """Where weights and moments are what a run needs, half a batch saves nothing that is worth naming."""
    heavy = RunConfig(batch_size=2, max_length=32, student_model="transplant", device="cpu")
    needed = estimate.estimate_bytes(heavy)
    assert needed["logits"] < 0.05 * needed["total"]
    found = described(heavy, store, monkeypatch, needed["total"] // 3)
    assert not found.ok and found.fatal
    assert "lora_rank 16 (" in found.fix and "student_model prune with student_layers 15" in found.fix
    assert "teacher_precision bf16" in found.fix and "batch_size" not in found.fix and "teacher_cache" not in found.fix
    wide = heavy.replace(batch_size=64, max_length=512, lora_rank=16, teacher_precision="bf16", data=long_data)
    fits = estimate.estimate_bytes(wide.replace(batch_size=8))["total"]
    found = described(wide, store, monkeypatch, fits + 10**6)
    assert found.fix.startswith("What saves memory: batch_size 8 with accumulation 8 ("), "the largest that fits"
    assert "lora_rank" not in found.fix
    given = {"student_model": "pretrained", "student_path": str(pair.teacher), "method": "uld", "device": "cpu"}
    cached = [s.words for s in memory.savings(heavy.replace(**given), 400, 49_152, 0) if "teacher_cache" in s.words]
    assert cached, "a student that isn't made of the teacher can do without its model"
    assert described(heavy, store, monkeypatch, needed["total"]).ok


def test_memory_that_another_run_holds_is_told(store, monkeypatch):
    config = RunConfig(batch_size=2, max_length=32, device="cpu")
    total = estimate.estimate_bytes(config)["total"]
    run = store.create(config)
    running = {"state": "running", "pid": os.getpid(), "pid_start": process_start(os.getpid())}
    write_status(run.dir, replace(run.status(), **running))
    held = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=int(0.4 * total)))
    monkeypatch.setattr(psutil, "Process", lambda pid: held)
    found = described(config, store, monkeypatch, int(0.7 * total))
    assert found.ok, "what it needs is free when its turn comes"
    assert f"Run {run.id} holds " in found.detail and "which are free when it ends" in found.detail
    elsewhere = described(config.replace(device="mps"), store, monkeypatch, 0)
    assert "holds" not in elsewhere.detail


def test_the_memory_of_a_gpu_is_its_own(store, monkeypatch):
    config = RunConfig(batch_size=2, max_length=32, device="cuda:1", teacher_loading="offload")
    parts = estimate.estimate_bytes(config)
    total = parts["total"]

    def found(free, whole, **changes):
        monkeypatch.setattr(checks, "gpu_memory", lambda device, needed: (int(free), int(whole)))
        return described(config.replace(**changes), store, monkeypatch, 0)

    whole = {"teacher_loading": "device"}
    assert found(total, total, **whole).ok
    assert found(total, total, **whole).detail.endswith(f"; {total / 1e9:.1f} GB are available on cuda:1.")
    warned, refused = found(0.9 * total, 2 * total, **whole), found(0.4 * total, 2 * total, **whole)
    assert (warned.ok, warned.fatal, refused.ok, refused.fatal) == (False, False, False, True)
    assert refused.fix.startswith("What saves memory: ")
    offloaded = found(total - parts["teacher"], total)
    assert offloaded.ok and "The teacher isn't counted" in offloaded.detail
    less = found(0.9 * (total - parts["teacher"]), total).fix
    assert less and "teacher_" not in less, "the teacher needs nothing there"
    run = store.create(config)
    running = {"state": "running", "pid": os.getpid(), "pid_start": process_start(os.getpid())}
    write_status(run.dir, replace(run.status(), **running))
    behind = found(0.4 * total, 2 * total, **whole)
    assert behind.ok and f"Run {run.id} holds a part of it, which is free when it ends" in behind.detail
    assert not found(0.4 * total, 2 * total, **whole, device="cuda:0").ok, "it doesn't wait for that one"
    monkeypatch.setattr(checks, "gpu_memory", lambda device, needed: None)
    assert described(config, store, monkeypatch, 0).detail.endswith("; on the device.")


def test_a_page_does_not_wait_for_the_memory_of_a_gpu(monkeypatch, store):
    told = {"cuda:0": None}
    monkeypatch.setattr(checks, "gpu_memory", lambda device, needed: pytest.fail("waited"))
    monkeypatch.setattr(checks, "asking_memory", lambda device, needed: True)
    monkeypatch.setattr(checks, "told_memory", told.get)
    config = RunConfig(device="cuda")

    def found():
        return checks._memory(config, 129_280, 49_152, store.root, wait=False)

    first = found()
    assert isinstance(first, checks.Pending) and first.ok
    assert first.detail.endswith("; asking what is free on cuda:0.")
    told["cuda:0"] = 1, 2
    assert isinstance(found(), checks.Pending) and not found().ok, "what was told last counts meanwhile"
    monkeypatch.setattr(checks, "asking_memory", lambda device, needed: False)
    monkeypatch.setattr(checks, "gpu_memory", lambda device, needed: (10**12, 10**12))
    assert not isinstance(found(), checks.Pending) and found().ok


def test_lora_learns_a_part_and_needs_less():
    whole, parts = (estimate.estimate_bytes(RunConfig(lora_rank=rank))["student"] for rank in (0, 16))
    frozen = 4 * (106_000_000 + 129_280 * 576)
    assert frozen + 12 * 129_280 * 576 < parts < whole, "embeddings that were moved go on learning"


def test_memory_grows_with_positions_and_vocabulary():
    small, large = RunConfig(batch_size=4), RunConfig(batch_size=8)
    parts = [estimate.estimate_bytes(c) for c in (small, large)]
    assert parts[1]["logits"] == 2 * parts[0]["logits"]
    assert parts[0]["student"] == 16 * (106_000_000 + 129_280 * 576)
    assert parts[0]["total"] == sum(v for k, v in parts[0].items() if k != "total")
    assert estimate.estimate_bytes(RunConfig(method="sft"))["logits"] < parts[1]["logits"]


def test_time_grows_with_steps_and_falls_without_a_teacher():
    quick = PRESETS["quick"]
    base = estimate.estimate_seconds(quick)
    assert estimate.estimate_seconds(quick.replace(steps=2 * quick.steps)) > 1.3 * base
    assert estimate.estimate_seconds(quick.replace(method="sft")) < base
    assert [estimate.estimate_seconds(PRESETS[n]) for n in ("quick", "standard", "transfer")] == sorted(
        estimate.estimate_seconds(p) for name, p in PRESETS.items() if not name.startswith("cross-family")
    )


def test_a_folder_that_cannot_hold_runs_is_refused(pair, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "runs"):
        found = {check.name: check for check in checks.preflight(pair.config(), place)}["disk"]
        assert not found.ok and found.fatal and "isn't a folder" in found.detail and "--runs-dir" in found.fix


def test_a_home_that_cannot_hold_the_locks_of_devices_is_refused(pair, store, tmp_path, monkeypatch):
    assert described_disk(pair, store).ok
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "file" / "home"))
    (tmp_path / "file").write_text("")
    found = described_disk(pair, store)
    assert not found.ok and found.fatal and "isn't a folder" in found.detail and "CTKD_HOME" in found.fix
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "slots").mkdir(parents=True)
    monkeypatch.setattr(checks.os, "access", lambda place, _: place != tmp_path / "home" / "slots")
    assert "can't be written" in described_disk(pair, store).detail


def described_disk(pair, store):
    return checks._disk(pair.config(), 400, store.root)
