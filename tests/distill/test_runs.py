"""RunStore: folders, ids, immutability, comparison; no worker is started here."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.further import as_recorded
from ctkd_core.distill.records import RecordWriter
from ctkd_core.distill.runs import RunStore, new_run_id
from ctkd_core.distill.status import RunStatus
from ctkd_core.errors import RunError
from ctkd_core.files import documents, to_json
from tests import anything


def test_ids_sort_by_time():
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [i[:19] for i in ids] == sorted(i[:19] for i in ids)


def test_newest_first_and_found_by_either_end(store):
    runs = [store.create(RunConfig(seed=s)) for s in range(3)]
    assert [r.id for r in store.list()] == sorted((r.id for r in runs), reverse=True)
    assert store.get(runs[1].id).config.seed == runs[1].config.seed
    assert store.get(runs[2].id[-5:]).id == runs[2].id
    with pytest.raises(RunError, match="fits 3 runs"):
        store.get(runs[0].id[:4])
    with pytest.raises(RunError, match="unknown run 'zzz'"):
        store.get("zzz")


def test_an_empty_store_says_how_to_begin(tmp_path):
    store = RunStore(tmp_path / "none")
    assert store.list() == []
    with pytest.raises(RunError, match="ctkd distill"):
        store.get("x")


def test_a_changed_config_is_refused(store):
    run = store.create(RunConfig(steps=5))
    path = run.dir / "config.json"
    assert path.stat().st_mode & 0o222 == 0
    data = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps(data | {"steps": 6}))
    with pytest.raises(RunError, match="was changed after the run was created"):
        _ = store.get(run.id).config


def test_summary_has_the_keys_of_the_command_line(store):
    summary = store.create(RunConfig(name="first")).summary()
    assert {"run_id", "run_dir", "status", "step", "steps", "method", "student", "teacher", "metrics"} <= set(summary)
    assert (summary["status"], summary["step"], summary["name"]) == ("queued", 0, "first")
    json.dumps(summary)


def test_folders_that_are_not_runs_are_passed_over(store):
    run = store.create(RunConfig())
    (store.root / "notes").mkdir()
    (store.root / "file.txt").write_text("x")
    assert [r.id for r in store.list()] == [run.id]


def test_a_running_run_is_not_removed(store):
    run = store.create(RunConfig())
    write_status(run.dir, RunStatus(state="running", pid=os.getpid()))
    with pytest.raises(RunError, match="cancel it before"):
        store.remove(run.id)
    write_status(run.dir, RunStatus(state="finished"))
    store.remove(run.id)
    assert store.list() == []


def test_cancelling_what_never_started_and_what_has_ended(store):
    run = store.create(RunConfig())
    assert run.cancel().state == "cancelled"
    with pytest.raises(RunError, match="is cancelled"):
        run.cancel()
    with pytest.raises(RunError, match="resume it"):
        store.launch(run)


def test_finished_and_running_runs_are_not_resumed(store):
    run = store.create(RunConfig())
    write_status(run.dir, replace(run.status(), state="finished", step=40))
    with pytest.raises(RunError, match="finished after 40 steps"):
        run.resume()
    write_status(run.dir, RunStatus(state="running", pid=os.getpid()))
    with pytest.raises(RunError, match="cancel it before resuming"):
        run.resume()


# Options that have no effect, as earlier versions kept them: not read by the variant, or idle by another option.
WITHOUT_EFFECT = [
    ({"method": "uld", "variant": "released"}, {"pairing": "groups", "temperature": 1.5}, "pairing"),
    ({"method": "cdm", "variant": "released"}, {"merge": "last"}, "merge"),
    ({"method": "kd"}, {"skew": 0.3, "divergence": "forward_kl"}, "skew"),
    ({"method": "xtoken-pkl"}, {"ce_weight": 0.25}, "ce_weight"),
]


def kept_before(store, config, options):
    """A run as an earlier version wrote it."""
    run = store.create(RunConfig(**config, steps=5))
    with as_recorded():
        older = run.config.replace(method_options=options)
    path = run.dir / "config.json"
    path.chmod(0o644)
    path.write_text(json.dumps(older.to_dict() | {"fingerprint": older.fingerprint}))
    return RunStore(store.root).get(run.id)


@pytest.mark.parametrize(("config", "options", "idle"), WITHOUT_EFFECT, ids=lambda x: x if isinstance(x, str) else "")
def test_a_run_with_options_without_effect_opens_and_says_why_it_cannot_go_on(store, config, options, idle):
    run, other = kept_before(store, config, options), store.create(RunConfig(method="sft"))
    write_status(run.dir, replace(run.status(), state="cancelled"))
    assert run.config.method_options[idle] == options[idle]
    row = next(one.summary() for one in store.list() if one.id == run.id)
    assert (row["status"], row["method"], row["steps"]) == ("cancelled", config["method"], 5)
    assert f"method_options.{idle}" in store.compare([run.id, other.id])["differences"]
    with pytest.raises(RunError, match=rf"can't go on with this version: .*'{idle}'.* no effect"):
        run.resume()
    assert run.status().state == "cancelled"
    copied = run.config.with_effect()
    assert copied.problem() == ""
    assert copied.method_options[idle] != options[idle]
    assert all(copied.method_options[name] == value for name, value in options.items() if name != idle)
    with pytest.raises(RunError, match="no effect"):
        RunConfig.from_file(run.dir / "config.json")


def test_a_further_teacher_with_options_without_effect_is_read_too(store):
    entry = {"teacher": "qwen", "method": "uld", "variant": "released", "method_options": {"pairing": "groups"}}
    with as_recorded():
        config = RunConfig(method="sedi", teachers=[entry])
    run = store.create(config)
    assert run.config.teachers[0]["method_options"]["pairing"] == "groups"
    assert "entry 1 of teachers" in run.config.problem()
    assert run.config.with_effect().teachers[0]["method_options"]["pairing"] == "positional"


def test_comparison_names_what_differs_and_by_how_much(store):
    configs = [RunConfig(method="sft"), RunConfig(method="sedi", seed=3)]
    runs = [store.create(c) for c in configs]
    for run, bits in zip(runs, (2.0, 1.5)):
        RecordWriter(run.dir / "metrics.jsonl").write({"kind": "eval", "step": 9, "bits_per_byte": bits})
    compared = store.compare([r.id for r in runs])
    assert compared["differences"]["method"] == ["sft", "sedi"]
    assert compared["differences"]["seed"] == [0, 3]
    assert "steps" not in compared["differences"]
    assert compared["deltas"] == {runs[0].id: 0.0, runs[1].id: -0.5}
    with pytest.raises(RunError, match="at least two"):
        store.compare([runs[0].id])


def test_checkpoints_that_were_not_finished_do_not_count(store):
    run = store.create(RunConfig())
    for step, state in ((10, '{"global_step": 10}'), (20, '{"glob'), (30, None)):
        folder = run.dir / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):  # as older versions left them, no manifest
            (folder / name).write_bytes(b"x")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert run.checkpoints() == [10]
    (run.dir / "checkpoints" / "checkpoint-10" / "optimizer.pt").unlink()
    assert run.checkpoints() == [], "without the optimizer's state it would end elsewhere"


def test_log_tail_of_a_long_log(store):
    run = store.create(RunConfig())
    assert run.log_tail() == ""
    (run.dir / "log.txt").write_text("\n".join(f"line {i}" for i in range(5000)))
    assert run.log_tail(2) == "line 4998\nline 4999"


def test_a_store_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(RunError, match="choose another --runs-dir"):
        RunStore(blocked / "runs").create(RunConfig())


def test_of_an_environment_whatever_is_of_another_type_is_missing(store):
    from ctkd_core.distill.environment import Environment, describe
    from tests.tiny import tiny_byte_level

    run = store.create(RunConfig())
    whole = json.loads(json.dumps(describe(run.config, "cpu", tiny_byte_level(), tiny_byte_level()), default=str))
    (run.dir / "env.json").write_text(json.dumps(whole))
    assert run.environment == whole
    for content in anything.contents(whole):
        (run.dir / "env.json").write_bytes(content)
        found = run.environment
        to_json(found)
        assert documents.misfits(Environment, found) == [], content[:200]
        if content.startswith(b'{"time"'):
            assert len(found) >= len(whole) - 1, "the rest stays"
