"""A run as a document: what comes back of it is what it showed, and nothing comes of one that isn't sound."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ctkd_core.background.status import write_status
from ctkd_core.distill import held_runs
from ctkd_core.distill.evaluation import saved
from ctkd_core.distill.held_runs import HeldRun, hold, write
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.errors import CtkdError, short
from tests.distill.comparison.make import made

EVIL = "</script><b>x</b> \u202e"


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data)).decode()


def through_json(held: HeldRun) -> HeldRun:
    return HeldRun.model_validate_json(held.model_dump_json())


def back(held: HeldRun, root: Path) -> Run:
    write(through_json(held), root / held.id)
    return RunStore(root).get(held.id)


def shown(run: Run) -> dict[str, Any]:
    """What pages and reports read of a run, without where it lies."""
    summary = run.summary(curve=True)
    return {
        "config": run.config.to_dict(),
        "rows": run.metric_rows(),
        "samples": run.samples(),
        "evaluation": saved.kept(run),
        **{key: value for key, value in summary.items() if key != "run_dir"},
    }


def test_what_comes_back_is_what_the_run_showed(tmp_path):
    run = made(RunStore(tmp_path / "here"), 2.0, name=EVIL, answer=EVIL, method="gold", seed=3)
    saved.keep(run, {"bits_per_byte": 2.5, "data": "bundled", "bits_by_domain": {EVIL: 1.0}})
    (run.dir / "env.json").write_text(
        json.dumps({"python": "3", "executable": "/secret/python", "packages": {"a": "1"}})
    )
    write_status(run.dir, replace(run.status(), warnings=("Look out.",), elapsed=12.5))
    again = back(hold(run), tmp_path / "there")
    assert shown(again) == shown(run)
    assert again.environment == {"python": "3", "packages": {"a": "1"}}
    assert again.checkpoints() == [] and not (again.dir / "log.txt").exists()


def test_rows_of_an_earlier_attempt_and_damaged_ones_stay_behind(tmp_path):
    run = made(RunStore(tmp_path / "here"), None)
    with (run.dir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "resume", "step": 2}\nnonsense\n{"kind": "train", "step": 3, "loss": 1.0}\n')
    assert run.metrics_part().damage
    again = back(hold(run), tmp_path / "there")
    assert again.metric_rows() == run.metric_rows()
    assert again.summary()["status"] == "finished"


def test_folders_and_addresses_stay_behind(tmp_path):
    mine = tmp_path / "secret" / "my tokenizer"
    mine.mkdir(parents=True)
    run = made(
        RunStore(tmp_path / "here"),
        student=str(mine),
        teacher="owner/name",
        data=str(tmp_path / "secret" / "rows.jsonl"),
        teacher_server="https://secret.example:8000/v1",
        teacher_server_model="m",
        name="a/b",
    )
    write_status(run.dir, replace(run.status(), state="failed", message=f"Can't read {run.dir}/checkpoints."))
    held = hold(run)
    assert "secret" not in held.model_dump_json() and str(tmp_path) not in held.model_dump_json()
    config = back(held, tmp_path / "there").config
    assert (config.student, config.teacher, config.data) == ("my tokenizer", "owner/name", "rows.jsonl")
    assert (config.name, config.teacher_server) == ("a/b", "https://server")


ADDRESSES = ("http://10.1.2.3:8000/v1", "https://gpu.secret.example/" + "deep/" * 60, "http://10.1.2.4:8000/v1")


def with_servers(store: RunStore, **changes: Any) -> Run:
    """A failed run with a server of its teacher, of a further one, and of its student's text, which tells of them."""
    teachers, base = [{"teacher": "gpt2", "teacher_server": ADDRESSES[1], "teacher_server_model": "m"}], "smollm2"
    writes = {"on_policy_server": ADDRESSES[2], "on_policy_server_model": "m", "on_policy_share": 0.5}
    taught = {"teacher": base, "teacher_server": ADDRESSES[0], "teacher_server_model": "m", "teachers": teachers}
    learns = {"student_model": "pretrained", "student_path": base, "student": base, "lora_rank": 2}
    run = made(store, **{"method": "gold"} | writes | taught | learns | changes)
    said = "; ".join(f"the server {short(address)} gave no answer" for address in ADDRESSES)
    plain = f"at {ADDRESSES[0]}/completions: not valid for 'GPU.secret.example'"
    write_status(run.dir, replace(run.status(), state="failed", message=said, warnings=(plain,)))
    return run


def test_messages_name_no_server(tmp_path):
    held = hold(with_servers(RunStore(tmp_path), name=f"gold, teacher_server {ADDRESSES[0]}"))
    said = held.model_dump_json()
    assert not [part for part in ("10.1.2", "secret", "deep/") if part in said]
    assert held.message.count("the server 'https://server' gave no answer") == 3
    assert held.config["name"] == "gold, teacher_server https://server"


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("bundled:code", "bundled:code"),
        ("hf:owner/name/config@split", "hf:owner/name/config@split"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("~/x/t.json", "t.json"),
        ("../x/", "x"),
        ("C:\\Users\\me\\t.json", "t.json"),
        ("a/b/c/d.jsonl", "d.jsonl"),
        ("/", "/"),
    ],
)
def test_of_a_path_the_last_part_goes_along(source, left):
    assert held_runs.without_folders(source) == left


def test_only_runs_that_have_ended_go_along(tmp_path):
    run = made(RunStore(tmp_path))
    write_status(run.dir, replace(run.status(), state="queued"))
    with pytest.raises(CtkdError, match="when it has ended"):
        hold(run)
    (run.dir / "status.json").write_text("[]")
    assert "damaged" in held_runs.why_it_stays(run)
    with pytest.raises(CtkdError, match="damaged"):
        hold(run)


def test_a_run_that_failed_before_its_first_step_goes_along(tmp_path):
    run = made(RunStore(tmp_path / "here"), None, steps=1)
    (run.dir / "metrics.jsonl").write_text("")
    write_status(run.dir, replace(run.status(), state="failed", step=0))
    assert back(hold(run), tmp_path / "there").status().state == "failed"


def test_a_run_with_too_many_rows_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(held_runs, "MOST_FILE", 100)
    with pytest.raises(CtkdError, match="Take its report"):
        hold(made(RunStore(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": {"metrics.jsonl": "?"}}, "can't be unpacked"),
        ({"files": {"metrics.jsonl": packed(b"x" * 100)[:20]}}, "can't be unpacked|breaks off"),
        ({"files": {"metrics.jsonl": packed(b"nonsense\n")}}, "metrics.jsonl of run .* isn't sound: line 1"),
        ({"files": {"metrics.jsonl": packed(b'{"kind": "train", "step": 1, "loss": "<b>"}\n')}}, "isn't sound"),
        ({"files": {"samples.jsonl": packed(b'{"step": 1, "prompt": []}\n')}}, "samples.jsonl of run .* isn't sound"),
        ({"files": {"evaluation.json": packed(b'{"data": "\\ud800"}')}}, "isn't text"),
        ({"config": {"method": "nothing"}}, "this version can't read"),
        ({"config": {"steps": "x"}}, "this version can't read"),
        ({"config": {"version": []}}, "can't read|are none"),
        ({"environment": {"a": "x" * 300_000}}, "200,000 may be there"),
    ],
)
def test_what_is_not_sound_is_refused(tmp_path, changes, said):
    held = hold(made(RunStore(tmp_path / "here")))
    with pytest.raises(CtkdError, match=said):
        write(through_json(held.model_copy(update=changes)), tmp_path / "there" / held.id)


def test_what_unpacks_to_more_than_there_is_room_for_is_refused(tmp_path):
    held = hold(made(RunStore(tmp_path / "here")))
    bomb = held.model_copy(update={"files": {"metrics.jsonl": packed(b"\n" * 30_000_000)}})
    assert len(bomb.files["metrics.jsonl"]) < 100_000
    with pytest.raises(CtkdError, match="larger than the 20,000,000 bytes"):
        write(bomb, tmp_path / "there" / held.id)
    with pytest.raises(CtkdError, match="larger than the 10 bytes"):
        write(held, tmp_path / "there" / held.id, room=10)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../../x"},
        {"id": "20260101-000000-000-abcde/"},
        {"state": "running"},
        {"state": "damaged"},
        {"step": -1},
        {"seconds": "1"},
        {"files": {"../x": ""}},
        {"files": {"log.txt": ""}},
        {"warnings": ["x"] * 51},
    ],
)
def test_a_document_of_another_shape_is_refused(tmp_path, changes):
    document = hold(made(RunStore(tmp_path))).model_dump(mode="json") | changes
    with pytest.raises(ValidationError):
        HeldRun.model_validate_json(json.dumps(document))
