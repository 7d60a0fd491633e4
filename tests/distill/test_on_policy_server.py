"""A server writes the student's text: which weights it has, what it is asked, resuming, and servers that fail.

The server is a stand-in with vLLM's paths and fields; vLLM itself isn't run here.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace

import pytest
import torch

import ctkd_core
from ctkd_core.background import attempt
from ctkd_core.background.progress import Cancelled
from ctkd_core.distill import on_policy_server as module
from ctkd_core.distill import worker
from ctkd_core.distill.models.adapters import add_adapters
from ctkd_core.distill.models.teachers import load_frozen
from ctkd_core.distill.on_policy import Sampling, generate
from ctkd_core.distill.on_policy_access import KEY
from ctkd_core.distill.teachers.access import KEY as TEACHERS_KEY
from ctkd_core.distill.teachers.client import Server
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama, save_tokenizer
from tests.distill.student_server import BASE, standing_in
from tests.tiny import tiny_byte_level

SETTINGS = Sampling(share=1.0, temperature=1.0, top_p=1.0, max_new_tokens=6, max_length=48, seed=3)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A folder with a student's weights and tokenizer."""
    folder = tmp_path_factory.mktemp("student")
    tokenizer = tiny_byte_level(400, 3)
    save_tokenizer(tokenizer, folder)
    llama(tokenizer.n_ids, seed=7).save_pretrained(folder)
    return folder


@pytest.fixture
def server(student):
    with standing_in(load_frozen(str(student)), load_tokenizer(str(student))) as found:
        yield found


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(module, "TRIES", 2)


def config_of(pair, student, server, **changes):
    made = {"student_model": "pretrained", "student_path": str(student), "lora_rank": 2, "save_student": False}
    writes = {"on_policy_share": 1.0, "on_policy_max_new_tokens": 4}
    asks = {"on_policy_server": server.address, "on_policy_server_model": BASE}
    rest = {"method": "gold", "steps": 5, "eval_samples": 0, "sample_prompts": 0}
    return pair.config(**made | writes | asks | rest | changes)


def train_rows(run):
    return [r for r in run.metric_rows() if r["kind"] == "train"]


def questions(server):
    """What was asked for completions, without the run's name."""
    return sorted(
        json.dumps(q | {"model": q["model"].rpartition("-")[2]}, sort_keys=True) for q in server.of("completions")
    )


def again(run):
    (run.dir / "status.json").write_text(
        json.dumps(replace(run.status(), state="queued", attempt=run.status().attempt + 1, pid=None).to_dict())
    )
    return worker.execute(run, lambda: False)


def test_the_adapter_is_loaded_every_few_steps_and_unloaded(pair, student, server, store):
    run = ctkd_core.distill(config_of(pair, student, server, on_policy_refresh=2, accumulation=2), store)
    assert server.loads == ["+check", "-check", "+0", "-0", "+2", "-2", "+4", "-4"]
    assert not server.adapters
    assert not (run.dir / "on_policy").exists()
    order = [q["model"].rpartition("-")[2] for q in server.of("completions")]
    assert order == ["0"] * 16 + ["2"] * 16 + ["4"] * 8
    assert all(row["diagnostics"]["on_policy"] == 1 for row in train_rows(run))
    assert [row["diagnostics"]["on_policy_kept"] > 0 for row in train_rows(run)] == [True] * 5


def test_what_is_asked_are_the_datas_prompts_and_the_same_seed_asks_the_same(pair, student, server, store):
    config = config_of(pair, student, server, steps=2)
    first = ctkd_core.distill(config, store)
    asked, tokenizer = questions(server), load_tokenizer(str(student))
    given = [json.loads(line)["prompt"] for line in pair.data.read_text().splitlines()]
    for question in server.of("completions"):
        text = tokenizer.decode(question["prompt"])
        assert any(prompt in text for prompt in given)
        assert question["max_tokens"] == 4
        assert (question["temperature"], question["top_p"], question["top_k"]) == (0.9, 1.0, -1)
        assert question["stop_token_ids"] == [tokenizer.eos_id]
    assert len({question["seed"] for question in server.of("completions")}) == 8
    server.asked.clear()
    second = ctkd_core.distill(config, store)
    assert questions(server) == asked
    assert [r["loss"] for r in train_rows(second)] == [r["loss"] for r in train_rows(first)]
    server.asked.clear()
    ctkd_core.distill(config.replace(seed=5), store)
    assert questions(server) != asked


def writer_of(server, student, tmp_path, **changes):
    tokenizer = load_tokenizer(str(student))
    given = (Server(server.address, tries=2, pause=0.0), tokenizer, SETTINGS, tmp_path / "on_policy", "ctkd-x-", 1)
    return replace(module.StudentServer(*given, refresh=1, parts=1, steps=list), **changes)


@pytest.mark.parametrize("names", [False, True])
def test_the_server_writes_what_the_student_with_its_adapter_would(pair, student, server, tmp_path, names):
    model = load_frozen(str(student))
    adapters = add_adapters(model, config_of(pair, student, server))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    writer, server.names = writer_of(server, student, tmp_path), names
    writer.begin(adapters)
    prompts = [writer.tokenizer.encode_pieces([text])[0] for text in ("The flag", "The flag", "What is 1 + 2?")]
    written = writer.during(3, lambda: writer.write(prompts, 9), lambda: pytest.fail("stopped"))
    seeds = [question["seed"] for question in server.of("completions")]
    by_seed = {
        q["seed"]: generate(model, writer.tokenizer, [q["prompt"]], SETTINGS, q["seed"])[0]
        for q in server.of("completions")
    }
    assert sorted(written) == sorted(by_seed.values())
    assert len(set(seeds)) == 3  # prompts that are alike get answers of their own
    plain = [generate(server.model, writer.tokenizer, [p], SETTINGS, s)[0] for p, s in zip(prompts, seeds)]
    assert written != plain


def test_where_the_student_writes_nothing_nothing_is_loaded(student, server, tmp_path):
    writer = writer_of(server, student, tmp_path, sampling=replace(SETTINGS, share=0.0), refresh=4)
    assert writer.during(0, lambda: "work", lambda: pytest.fail("stopped")) == "work"
    assert not server.asked


@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_goes_on_with_the_adapter_that_the_whole_one_has(pair, student, server, store, kept):
    config = config_of(pair, student, server, steps=7, save_every=2, on_policy_refresh=3, on_policy_share=0.7)
    whole = ctkd_core.distill(config, store)
    asked = questions(server)
    server.asked.clear()
    parted = store.create(config)
    stop = lambda: any(r.get("step") == 4 for r in parted.metric_rows())  # noqa: E731
    assert worker.execute(parted, stop) == attempt.CANCELLED
    assert not server.adapters
    assert {p.name for p in (parted.dir / "on_policy").iterdir()} == {"step-0", "step-3"}
    if not kept:  # then it goes on with newer weights
        for path in (parted.dir / "on_policy" / "step-3").iterdir():
            path.unlink()
        (parted.dir / "on_policy" / "step-3").rmdir()
    assert again(parted) == attempt.FINISHED, parted.status().message
    assert server.loads[-4:] == (["+3", "-3", "+6", "-6"] if kept else ["+5", "-5", "+6", "-6"])
    if kept:
        assert questions(server) == asked
        losses = [[r["loss"] for r in train_rows(run)] for run in (whole, parted)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_server_that_goes_away_stops_the_run_behind_a_checkpoint(pair, student, server, store, monkeypatch):
    config = config_of(pair, student, server, steps=6)
    whole = ctkd_core.distill(config, store)
    server.asked.clear()
    run, complete = store.create(config), server.complete

    def gone(question):
        return complete(question) if not question["model"].endswith("-3") else (503, {"error": {"message": "busy"}})

    monkeypatch.setattr(server, "complete", gone)
    assert worker.execute(run, lambda: False) == attempt.FAILED
    status = run.status()
    assert "gave no answer in 2 tries: it answered 503: busy" in status.message
    assert "The steps done are kept in a checkpoint" in status.message
    assert (status.last_checkpoint, len(train_rows(run))) == (3, 3)
    server.adapters[f"ctkd-{run.id}-1-99"] = None  # of an attempt that was killed
    monkeypatch.setattr(server, "complete", complete)
    assert again(run) == attempt.FINISHED, run.status().message
    assert not server.adapters
    losses = [[r["loss"] for r in train_rows(found)] for found in (whole, run)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_who_is_asked_to_stop_while_the_server_is_away_keeps_what_there_is(student, server, tmp_path):
    kept = []

    def stop():
        raise Cancelled

    server.refuse = {"completions": [503] * 9}
    writer = writer_of(server, student, tmp_path, loaded=0)
    writer.server = replace(writer.server, between=stop)
    with pytest.raises(Cancelled):
        writer.during(0, lambda: writer.write([[5, 6]], 1), lambda: kept.append(True))
    assert kept == [True]
    assert len(server.refuse["completions"]) == 8


@pytest.fixture
def hanging(server, monkeypatch):
    """A server that takes questions and loads and answers none of them until the test has ended."""
    ended = threading.Event()
    for name in ("complete", "load"):
        monkeypatch.setattr(server, name, lambda _: (ended.wait(60), (503, {}))[1])
    yield server
    ended.set()


def stopping(after):
    """What a server's `between` does in a run that is asked to stop so many seconds from now."""
    began = time.monotonic()

    def check():
        if time.monotonic() - began > after:
            raise Cancelled

    return check


@pytest.mark.parametrize("loaded", [0, None])
def test_who_is_asked_to_stop_waits_for_no_answer(pair, student, hanging, tmp_path, loaded):
    kept, prompts, began = [], [[5, 6]] * 70, time.monotonic()
    writer = writer_of(hanging, student, tmp_path, loaded=loaded)
    writer.adapters = add_adapters(load_frozen(str(student)), config_of(pair, student, hanging))
    writer.server = replace(writer.server, timeout=50.0, between=stopping(0.3))
    with pytest.raises(Cancelled):
        writer.during(0, lambda: writer.write(prompts, 1), lambda: kept.append(True))
    assert kept == [True]
    assert time.monotonic() - began < 20
    assert not [t for t in threading.enumerate() if t.name == "student server" and not t.daemon]


def test_a_question_that_fails_ends_the_waiting_for_others(student, server, tmp_path, monkeypatch):
    ended = threading.Event()
    writer = writer_of(server, student, tmp_path, loaded=0)

    def ask(question):
        if question["prompt"] == [5]:
            raise RunError("refused")
        ended.wait(60)

    monkeypatch.setattr(writer, "_ask", ask)
    began = time.monotonic()
    with pytest.raises(RunError, match="refused"):
        writer.write([[6], [5], [7]], 1)
    assert time.monotonic() - began < 20
    ended.set()


def test_all_tries_of_a_question_have_one_time_limit(student, hanging, tmp_path):
    writer = writer_of(hanging, student, tmp_path, loaded=0)
    writer.server = replace(writer.server, tries=8, timeout=0.5, within=0.9)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"gave no answer in [12] (try|tries): timed out"):
        writer.write([[5, 6]], 1)
    assert time.monotonic() - began < 3


def test_before_the_first_step_no_checkpoint_is_promised(pair, student, server, store):
    server.refuse = {"completions": [400]}
    run = store.create(config_of(pair, student, server))
    assert worker.execute(run, lambda: False) == attempt.FAILED
    status = run.status()
    assert status.message.endswith("refused the question (400: trouble). No step was done yet.")
    assert not status.last_checkpoint


def test_a_disk_without_room_hides_no_fault_of_the_server(pair, student, server, store, monkeypatch):
    def full(*_):
        raise RunError("no room for a checkpoint.")

    complete = server.complete
    monkeypatch.setattr(
        server, "complete", lambda q: complete(q) if not q["model"].endswith("-2") else (400, {"message": "broken"})
    )
    monkeypatch.setattr("ctkd_core.distill.trainer.require_room", full)
    said = fails(pair, student, server, store, save_every=0)
    assert "refused the question (400: broken). The steps since the last checkpoint couldn't be kept: no room" in said
    assert module.KEPT not in said


def fails(pair, student, server, store, **changes):
    with pytest.raises(RunError) as told:
        ctkd_core.distill(config_of(pair, student, server, **changes), store)
    return str(told.value)


def test_a_server_that_is_not_there_is_told_before_a_model_is_loaded(pair, student, server, store, monkeypatch):
    monkeypatch.setattr(
        "ctkd_core.distill.models.teachers.load_model", lambda *_, **__: pytest.fail("a model was loaded")
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert "gave no answer in 2 tries" in fails(pair, student, server, store, on_policy_server=nobody)
    bare = server.address.removesuffix("/v1")
    assert "its address often ends in /v1" in fails(pair, student, server, store, on_policy_server=bare)
    assert "did you mean 'tiny'" in fails(pair, student, server, store, on_policy_server_model="tinny")
    server.tokenizer = tiny_byte_level(400, 5)
    assert "has another tokenizer than" in fails(pair, student, server, store)
    assert not server.asked


def test_a_server_that_takes_no_adapters_is_told_before_the_first_step(pair, student, server, store):
    server.updates = False
    said = fails(pair, student, server, store)
    assert "loads no LoRA adapters while it runs" in said
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in said
    server.updates, server.refuse = True, {"load_lora_adapter": [400]}
    said = fails(pair, student, server, store)
    assert "refused the question (400: trouble)" in said
    assert "which it must be able to read" in said
    assert not server.of("completions")


def test_a_load_whose_answer_was_lost_counts(pair, student, server, store):
    server.loses = 1
    run = ctkd_core.distill(config_of(pair, student, server, steps=1), store)
    assert server.loads == ["+check", "+check", "-check", "+0", "-0"]
    assert len(train_rows(run)) == 1


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"text": " red"}, "tells no ids of what it writes"),
        ({"token_ids": ["5"]}, "tells no ids"),
        ({"logprobs": {"tokens": ["red"]}}, "tells no ids"),
        ({"logprobs": {"tokens": ["token_id:x"]}}, "tells no ids"),
        ({"logprobs": {"tokens": ["token_id:5", 5]}}, "tells no ids"),
        ({"token_ids": [5], "prompt_token_ids": [1, 5, 6]}, "read 3 tokens of a prompt of 2"),
    ],
)
def test_answers_that_are_not_the_students(student, server, tmp_path, monkeypatch, choice, says):
    monkeypatch.setattr(server, "complete", lambda _: (200, {"choices": [choice]}))
    writer = writer_of(server, student, tmp_path, loaded=0)
    with pytest.raises(RunError, match=says):
        writer.write([[5, 6]], 1)


def test_its_key_is_its_own_and_kept_nowhere(pair, student, server, store, monkeypatch):
    monkeypatch.setenv(KEY, "secret-1234")
    monkeypatch.setenv(TEACHERS_KEY, "the-teachers")
    run = ctkd_core.distill(config_of(pair, student, server, steps=1), store)
    assert {headers.get("Authorization") for headers in server.headers} == {"Bearer secret-1234"}
    assert not [p for p in run.dir.rglob("*") if p.is_file() and b"secret-1234" in p.read_bytes()]
