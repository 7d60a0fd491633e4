"""Page Runs: list, new, detail, compare, on run folders that were written by hand; starting is guarded."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import replace

import pytest

from ctkd_core import methods
from ctkd_core.background.lifecycle import Work
from ctkd_core.background.status import write_status
from ctkd_core.distill.config import PRESETS, RUN_OPTIONS
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.stopping import AT_ONCE
from ctkd_core.lab.question import Choice
from pages.parts import carry
from tests.made_runs import made
from tests.pages.app import figures, opened, texts

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    """Runs of this test only; conversions stay in the shared test home."""
    monkeypatch.setattr(
        "ctkd_core.distill.runs.RunStore.__init__", lambda self, root=None: setattr(self, "root", tmp_path)
    )


def buttons(at) -> set[str]:
    return {button.key for button in at.button}


def test_no_runs_offer_a_first_one():
    at = opened("runs")
    assert "No runs yet" in at.info[0].value
    at.button(key="first_run").click().run()
    assert at.query_params["view"] == "New run"
    assert at.button(key="start_run")


def test_list_shows_status_pair_and_bits_per_byte():
    made(name="one")
    made("failed", name="two", method="uld", seed=7)
    at = opened("runs")
    assert not at.exception
    table = at.dataframe[0].value
    assert table["run"].tolist() == ["two", "one"]
    assert table["status"].tolist() == ["✕ failed", "✓ finished"]
    assert table["bits/byte before"].tolist() == [2.5, 2.5]
    assert table["bits/byte now"].tolist() == [1.75, 1.75]
    assert len(table["loss"][0]) == 10


def test_a_damaged_run_is_a_row_that_says_so_and_hides_no_other():
    good, bad, odd = made(name="good"), made(name="bad"), made(name="odd")
    (bad.dir / "status.json").write_text('{"state": ["finished"]}')
    (odd.dir / "config.json").unlink()
    (odd.dir / "config.json").mkdir()
    at = opened("runs")
    assert not at.exception
    table = at.dataframe[0].value
    assert table["status"].tolist() == ["! damaged", "! damaged", "✓ finished"]
    assert table["run"].tolist() == [odd.id, "bad", "good"]
    said = texts(at)
    assert "status.json" in said.replace("\\", "") and "config.json" in said.replace("\\", "")
    for run in (bad, odd):
        detail = opened("runs", run=run.id)
        assert not detail.exception
        assert "damaged" in texts(detail) or "config.json can't be read" in detail.error[0].value.replace("\\", "")
    assert good.id in {run.id for run in RunStore().list()}
    assert not opened("start").exception


def test_a_row_of_metrics_that_is_none_is_named_and_the_others_are_shown():
    run = made(name="mine")
    with (run.dir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 3, "loss": "low"}\n{"kind": "tr')
    at = opened("runs", run=run.id)
    assert not at.exception
    (said,) = (warning.value.replace("\\", "") for warning in at.warning)
    assert said.startswith("damaged: metrics.jsonl (line 13: 'loss': ") and "more" not in said
    assert [metric.value for metric in at.metric][:2] == ["1.750", "2.500"]
    assert len(figures(at)) >= 2


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "log.txt"])
def test_a_folder_in_a_files_place_leaves_the_rest_of_the_page(name):
    run = made(name="mine")
    (run.dir / name).unlink()
    (run.dir / name).mkdir()
    at = opened("runs", run=run.id)
    assert not at.exception
    said = texts(at) + " ".join(e.value for e in at.error) + " ".join(c.value for c in at.code)
    assert name in said.replace("\\", "")


def test_each_run_shows_its_own_metrics():
    long, short = made(steps=10), made(steps=4)
    with (short.dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "eval", "step": 4, "time": 21.0, "bits_per_byte": 2.25}) + "\n")
    shown = {}
    for run in (long, short):
        at = opened("runs", run=run.id)
        shown[run.id] = {m.label: m.value for m in at.metric}["bits per byte now"]
    assert shown == {long.id: "1.750", short.id: "2.250"}


def test_detail_shows_the_number_the_curves_and_the_samples():
    run = made(name="mine")
    at = opened("runs", run=run.id)
    assert not at.exception
    values = {m.label: (m.value, m.delta) for m in at.metric}
    assert values["bits per byte now"] == ("1.750", "-0.75")
    assert values["at the start"][0] == "2.500"
    assert values["teacher"][0] == "0.900"
    found = figures(at)
    assert set(found) == {
        "Training loss and its terms",
        "Bits per byte on held-out text (lower is better)",
        "Share of the loss by kind of group",
    }
    assert at.dataframe[0].value["student"].tolist() == ["<b>5</b>"]
    assert "last line" in at.code[0].value
    assert "resume" not in {b.key for b in at.button}


def test_detail_shows_what_was_learnt_by_domain_and_class_with_tables():
    run = made(name="mine")
    rows = [json.loads(line) for line in (run.dir / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "train":
            row["by_class"] = {"letters": 2.0, "digits_1": 2.0}
            continue
        for part, name in (("domain", "<i>ru"), ("class", "letters")):
            row[f"bits_by_{part}"] = {name: row["bits_per_byte"]}
            row[f"teacher_bits_by_{part}"] = {name: 0.9}
        row["agreement"] = {"top1": 0.5, "byte_kl": 0.25, "byte_top1": 0.75}
        row |= {"arithmetic": {"2": 0.5}, "exposure": {"4": 12.0}, "completions": {"rouge_l": 0.5}}
        row |= {"held_out": 48, "held_out_bytes": 3120, "arithmetic_counts": {"2": 6}}
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    later = {"bits_per_byte": 1.5, "held_out": 9, "data": "other *file*", "bits_by_class": {"letters": 1.25}}
    later["notes"] = ["arithmetic: none of *them*."]
    later |= {"tasks": {"<i>sums": {"acc": 0.5, "acc_stderr": 0.25, "examples": 6.0}}}
    (run.dir / "evaluation.json").write_text(json.dumps(later))
    at = opened("runs", run=run.id)
    assert not at.exception
    assert {
        "Bits per byte by domain (lower is better)",
        "Bits per byte by class of token (lower is better)",
        "Share of the loss by class of token",
        "Agreement with the teacher (higher is better)",
        "KL of next bytes, in bits (lower is better)",
        "Right results by digits of the longer operand",
        "Excess error behind its own words (0: none)",
    } <= set(figures(at))
    tables = [table.value for table in at.dataframe]
    by_domain = next(table for table in tables if "domain" in table)
    assert by_domain.to_dict("records") == [{"domain": "<i>ru", "at the start": 2.5, "student": 1.75, "teacher": 0.9}]
    of_tasks = next(table for table in tables if "task" in table)
    assert of_tasks.to_dict("records") == [
        {"task": "<i>sums", "figure": "acc", "student": 0.5, "standard error": 0.25, "examples": 6.0}
    ]
    assert "Bits per byte are measured on 48 samples, 3,120 bytes of held-out answers." in texts(at)
    assert "Measured on 6 exercises." in texts(at) and "none of \\*them" in texts(at)
    assert "on 9 samples of other" in texts(at) and "*file*" not in texts(at).replace("\\*", "")


def test_tasks_of_a_student_without_scorable_text_are_shown():
    run = made(name="mine")
    later = {"step": 3, "bits_per_byte": None, "held_out": 0, "data": "other", "tasks": {"sums": {"acc": 0.5}}}
    (run.dir / "evaluation.json").write_text(json.dumps(later))
    at = opened("runs", run=run.id)
    assert not at.exception
    of_tasks = next(table.value for table in at.dataframe if "task" in table.value)
    assert of_tasks["task"].tolist() == ["sums"] and of_tasks["student"].tolist() == [0.5]
    assert "on 0 samples of other: no bits per byte." in texts(at)


def test_a_unique_end_of_an_id_is_enough():
    run = made()
    assert "finished" in texts(opened("runs", run=run.id[-5:]))


def test_unknown_run_has_a_sentence_and_a_way_back():
    made()
    at = opened("runs", run="20990101-000000-000-zzzzz")
    assert "unknown run" in at.error[0].value
    at.button(key="back").click().run()
    assert len(at.dataframe) == 1


def test_a_lost_worker_offers_to_resume(monkeypatch):
    run = made("running")
    write_status(
        run.dir, RunStatus(state="running", step=4, total_steps=10, pid=2**22 - 1, pid_created=1.0, started=2.0)
    )
    at = opened("runs", run=run.id)
    assert "ended without a word at step 4 of 10" in at.warning[0].value
    asked: list[str] = []
    monkeypatch.setattr(Run, "resume", lambda self, environment=None: asked.append(self.id))
    at.button(key="resume").click().run()
    assert asked == [run.id]


def test_cancel_asks_the_run(monkeypatch):
    run = made("running")
    monkeypatch.setattr(Run, "status", lambda self: RunStatus(state="running", step=3, total_steps=10, started=2.0))
    asked: list[bool] = []
    monkeypatch.setattr(Run, "cancel", lambda self, wait=True, grace=0.0: asked.append(wait))
    at = opened("runs", run=run.id)
    at.button(key="cancel").click().run()
    assert asked == [False]


def under_way(**there: object) -> Run:
    """A run whose process lives: this one, unless it's said to be on another computer."""
    run = made("running")
    mine = {"pid": os.getpid(), "host": platform.node(), "step": 4, "ended": None, "heartbeat": time.time()}
    write_status(run.dir, replace(run.status(), **mine | there))
    return run


def test_a_run_that_was_asked_to_stop_says_so_and_may_be_ended_at_once(monkeypatch):
    graces: list[float | None] = []
    monkeypatch.setattr(Work, "stop", lambda self, grace=None: graces.append(grace))
    run = under_way(last_checkpoint=3)
    at = opened("runs", run=run.id)
    assert not {"end_it"} & buttons(at) and "asked to stop" not in texts(at)
    at.button(key="cancel").click().run()
    assert "cancel" not in buttons(at) and graces == [], "it has time for its step"
    assert "**running**, asked to stop" in texts(at) and "the checkpoint of step 3 is kept" in texts(at)
    assert "asked to stop" in opened("runs").dataframe[0].value["status"][0]
    at.button(key="end_it").click().run()
    assert graces == [AT_ONCE]
    write_status(run.dir, replace(run.status(), state="cancelled"))
    assert "asked to stop" not in texts(opened("runs", run=run.id)), "it has"


def test_a_run_that_cannot_be_ended_from_here_is_only_asked(monkeypatch):
    monkeypatch.setattr("ctkd_core.background.status.STALE_SECONDS", 1e9)
    for there in ({"host": "far-away"}, {"detached": False}):
        run = under_way(**there)
        at = opened("runs", run=run.id)
        at.button(key="cancel").click().run()
        assert "**running**, asked to stop" in texts(at) and not {"cancel", "end_it"} & buttons(at)


def test_compare_overlays_curves_and_lists_differences():
    names = [made(method="sedi", name="a").id, made(method="uld", name="b").id]
    at = opened("runs", compare=",".join(names))
    assert not at.exception
    spec = figures(at)["Training loss"]
    assert len(spec["data"]) == 2
    differences = at.dataframe[1].value
    assert "method" in differences["option"].tolist()
    assert "steps" not in differences["option"].tolist()
    assert "too few to tell it from chance" in at.info[0].value


def test_compare_with_one_run_says_what_is_missing():
    at = opened("runs", compare=made().id)
    assert "at least two runs" in at.error[0].value


def test_form_is_drawn_from_the_options_and_starts_what_it_shows(monkeypatch):
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    launched: list[Run] = []
    monkeypatch.setattr(RunStore, "launch", lambda self, run, environment=None: launched.append(run) or run)
    monkeypatch.setattr("pages.parts.loaders.preflight_checks", lambda config: [])
    at = opened("runs", view="New run", student="qwen")
    assert not at.exception
    drawn = {
        w.key.removeprefix("new_quick_")
        for kind in (at.selectbox, at.number_input, at.text_input, at.toggle)
        for w in kind
        if w.key
    }
    assert {option.name for option in RUN_OPTIONS} - {"student", "teacher"} <= drawn
    at.number_input(key="new_quick_steps").set_value(3)
    at.text_area(key="new_quick_trainer").set_value("lr_scheduler_type: linear\nmax_grad_norm: 0.5")
    at.selectbox(key="new_quick_method").set_value("uld").run()
    at.button(key="start_run").click().run()
    (run,) = launched
    assert run.config.trainer == {"lr_scheduler_type": "linear", "max_grad_norm": 0.5}
    assert (run.config.steps, run.config.method, run.config.student) == (3, "uld", "qwen")
    assert at.query_params["run"] == run.id
    assert replace(PRESETS["quick"], steps=3).steps == run.config.steps


@pytest.fixture
def launched(monkeypatch) -> list[Run]:
    """Runs that the page would have started."""
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    found: list[Run] = []
    monkeypatch.setattr(RunStore, "launch", lambda self, run, environment=None: found.append(run) or run)
    monkeypatch.setattr("pages.parts.loaders.preflight_checks", lambda config: [])
    return found


def test_every_method_and_variant_arrives_in_the_form():
    for row in methods.training():
        for variant in row.variants:
            config = carry.into(PRESETS["quick"], carry.packed(Choice(row.name, variant)))
            assert (config.method, config.variant) == (row.name, variant)


@pytest.mark.parametrize("method", ["kd", "sft", "xtoken-pkl"])
def test_the_address_may_name_any_method_that_trains(method):
    at = opened("runs", view="New run", method=method)
    assert not at.warning or "unknown" not in at.warning[0].value
    assert at.selectbox(key=f"new_quick{method}_method").value == method


def test_an_unknown_method_in_the_address_is_named():
    at = opened("runs", view="New run", method="xtoken-pkk")
    assert "did you mean 'xtoken-pkl'" in at.warning[0].value


def test_teachers_are_added_and_removed(launched):
    at = opened("runs", view="New run")
    for _ in range(2):
        at.button(key="new_quick_add_teacher").click().run()
    at.button(key="new_quick_teacher0_remove").click().run()
    at.selectbox(key="new_quick_teacher1_source").set_value("qwen")
    at.selectbox(key="new_quick_teacher1_method").set_value("uld")
    at.number_input(key="new_quick_teacher1_weight").set_value(0.5).run()
    assert not at.exception
    at.button(key="start_run").click().run()
    (run,) = launched
    (entry,) = run.config.teachers
    assert (entry["teacher"], entry["method"], entry["weight"]) == ("qwen", "uld", 0.5)
    again = opened("runs", view="New run", copy=run.id)
    assert again.selectbox(key=f"new_quick{run.id}_teacher0_source").value == "qwen"


def test_a_further_teacher_gets_what_its_variant_begins_with(launched):
    at = opened("runs", view="New run")
    at.button(key="new_quick_add_teacher").click().run()
    at.selectbox(key="new_quick_teacher0_method").set_value("gold").run()
    at.selectbox(key="new_quick_teacher0_gold_variant").set_value("released").run()
    at.button(key="start_run").click().run()
    (entry,) = launched[0].config.teachers
    released = methods.get("gold").resolve_loss({}, variant="released")
    assert entry["variant"] == "released"
    assert {name: entry["method_options"][name] for name in ("merge", "empty_samples")} == {
        name: released[name] for name in ("merge", "empty_samples")
    }


def test_the_bar_shows_the_pair_of_a_run_and_acts_on_it():
    run = made(student="qwen", teacher="mistral-v1", method="gold", name="mine")
    at = opened("runs", run=run.id)
    shown = [at.selectbox(key=key).value for key in ("student", "teacher", "run_method")]
    assert shown == ["qwen", "mistral-v1", "gold"]
    at.selectbox(key="run_method").set_value("kd").run()
    assert at.query_params["view"] == "New run"
    assert (at.query_params["copy"], "run" in at.query_params) == (run.id, False)
    assert at.selectbox(key=f"new_quick{run.id}kd_method").value == "kd"
    assert at.text_input(key=f"new_quick{run.id}kd_name").value == "mine"
    assert [at.selectbox(key=key).value for key in ("student", "teacher")] == ["qwen", "mistral-v1"]


def test_another_student_above_a_run_opens_the_form_with_it(launched):
    run = made(student="qwen", teacher="smollm2", method="gold")
    at = opened("runs", run=run.id)
    at.selectbox(key="student").set_value("mistral-v3").run()
    at.button(key="start_run").click().run()
    (begun,) = launched
    assert (begun.config.student, begun.config.teacher, begun.config.method) == ("mistral-v3", "smollm2", "gold")


def test_a_copy_has_the_pair_of_its_run():
    run = made(student="qwen", teacher="mistral-v1")
    at = opened("runs", run=run.id)
    at.button(key="copy_run").click().run()
    assert [at.selectbox(key=key).value for key in ("student", "teacher")] == ["qwen", "mistral-v1"]
    fresh = opened("runs", view="New run", copy=run.id)
    assert [fresh.selectbox(key=key).value for key in ("student", "teacher")] == ["qwen", "mistral-v1"]


def test_time_is_a_range_and_counts_preparing():
    said = texts(opened("runs", view="New run"))
    assert re.search(r"\d+ to \d+ (s|min) on this machine, \d+ s of it before the first step", said)


def test_a_run_that_is_begun_again_says_what_it_does(monkeypatch):
    status = RunStatus(state="starting", step=4, total_steps=10, attempt=2, last_checkpoint=4, started=2.0)
    said = replace(status, message=status.doing("Loading the teacher."))
    assert said.message == "Going on from step 4: loading the teacher."
    run = made("running")
    monkeypatch.setattr(Run, "status", lambda self: said)
    at = opened("runs", run=run.id)
    assert "Going on from step 4: loading the teacher." in texts(at).replace("\\", "")


def test_figures_that_are_not_there_yet_are_no_none():
    run = made("running", name="young")
    (run.dir / "metrics.jsonl").unlink()
    write_status(run.dir, RunStatus(state="cancelled", step=0, total_steps=10, created=1.0))
    at = opened("runs")
    assert at.dataframe[0].proto.placeholder == "–"


def test_a_failed_check_stands_in_the_way(monkeypatch):
    from ctkd_core.distill.checks import Check

    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    checks = [Check("Memory", False, "1 GiB free, 3 needed.", "Lower batch_size."), Check("Disk", True, "fine")]
    monkeypatch.setattr("pages.parts.loaders.preflight_checks", lambda config: checks)
    at = opened("runs", view="New run")
    assert at.button(key="start_run").disabled
    assert "Lower batch\\_size" in texts(at)
    checks[0] = replace(checks[0], fatal=False)
    at.run()
    assert not at.button(key="start_run").disabled


def test_a_reachable_server_does_not_launch(monkeypatch):
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    monkeypatch.setattr("pages.parts.loaders.preflight_checks", lambda config: [])
    at = opened("runs", view="New run")
    assert at.button(key="start_run").disabled
    assert "--allow-launch" in at.warning[0].value


@pytest.mark.parametrize(
    ("address", "allowed"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), (None, False)]
)
def test_only_loopback_launches_by_itself(monkeypatch, address, allowed):
    from pages.parts import launching

    monkeypatch.delenv("CTKD_ALLOW_LAUNCH", raising=False)
    monkeypatch.setattr(launching.st, "get_option", lambda name: address)
    assert launching.may_change() is allowed


def test_start_page_lists_pairs_runs_and_the_machine():
    made(name="recent one")
    at = opened("start")
    assert not at.exception
    labels = [link.proto.label for link in at.get("page_link")]
    pairs = {"smollm2 → deepseek", "qwen → mistral-v3", "mistral-tekken → qwen"}
    assert {f"**{pair}**" for pair in pairs} <= set(labels)
    assert any("recent one" in label for label in labels)
    assert "**Memory**" in texts(at)
