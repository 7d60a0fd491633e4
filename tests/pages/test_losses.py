"""Page Losses: the stored example shows at once, every state has its sentence, the address brings the view back."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ctkd_core.background.processes import process_alive
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import Choice, Question
from ctkd_core.tokenizers import catalog
from ctkd_core.tokenizers.load import load_tokenizer
from pages.parts import address
from tests.homes import own_home
from tests.pages.app import figures, opened, texts
from tests.patience import wait_for

LIMIT = 2 * 2**20
real = pytest.mark.real
pytestmark = real


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of the test's own; conversions are those of the shared one. Jobs end with the test."""
    yield own_home(tmp_path, monkeypatch)
    for launch in tmp_path.glob("cache/losses/*/*/control/launch.json"):
        said = json.loads(launch.read_text())
        if process_alive(said["pid"], said["pid_start"]):
            os.kill(said["pid"], signal.SIGKILL)


def shown(at) -> str:
    assert not at.exception, at.exception
    return texts(at)


def strip(at) -> dict:
    (element,) = at.get("bidi_component")
    return json.loads(element.proto.json)


def buttons(at) -> set[str]:
    return {button.key for button in at.button}


def test_the_stored_example_shows_the_failure_at_once(home):
    at = opened("losses")
    said = shown(at)
    assert "Stored example." in said
    assert "**202**: down under gold and xtoken-hkl, up under xtoken-pkl and sedi" in said
    assert "Opened on group 4, the one with the most of gold's loss: 26 %." in said.replace("\\", "")
    drawn = strip(at)
    assert [m["name"] for m in drawn["methods"]] == list(loss_lab.DEFAULT_METHODS)
    assert drawn["pinned"] == 4
    assert drawn["groups"][4]["s"] == ["202"]
    found = figures(at)
    assert len(found) == 3
    assert max(len(json.dumps(spec)) for spec in found.values()) < LIMIT
    assert "compute" not in buttons(at)
    assert at.query_params == {}


def test_the_address_holds_group_part_and_methods(home):
    at = opened("losses", group="4", part="whole loss", losses=["gold", "sedi"])
    said = shown(at)
    assert "**Group 4** · 202" in said
    drawn = strip(at)
    assert [m["name"] for m in drawn["methods"]] == ["gold", "sedi"]
    assert drawn["part"] == "whole loss"
    assert "up under gold and sedi" in said
    assert any("(whole loss" in title for title in figures(at))


@pytest.mark.parametrize("group", ["99", "-1", "x", "999999999999"])
def test_a_group_that_does_not_exist_falls_back_to_the_largest(home, group):
    at = opened("losses", group=group)
    assert "**Group 4** · 202" in shown(at)
    assert "group" not in at.query_params
    assert "The address names group" in at.warning[0].value


def test_names_that_cannot_be_shown_are_named(home):
    at = opened("losses", losses=["golt", "gold-greedy"])
    said = " ".join(w.value for w in at.warning)
    assert "did you mean 'gold'" in said
    assert "has an alignment but no loss" in said


def test_a_pair_without_models_says_so_and_offers_the_default(home):
    at = opened("losses", teacher="mistral-v1")
    assert "o model of 'mistral-v1' is at hand" in at.error[0].value.replace("\\", "")
    assert not figures(at)
    at.button(key="default_pair").click().run()
    assert "Stored example." in shown(at)


def test_an_unknown_tokenizer_has_a_sentence_and_a_way_out(home):
    at = opened("losses", student="deapseek")
    assert "did you mean" in at.error[0].value
    assert "default_pair" in buttons(at)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "The text is empty"), ("   ", "The text is blank"), ("one 2 three " * 40, "at most 60 are explained")],
)
def test_bad_texts_have_a_sentence_and_a_way_back(home, text, said):
    at = opened("losses")
    at.text_area(key="lab_text").set_value(text).run()
    assert said in at.error[0].value
    assert at.session_state["example"] == "own"
    at.button(key="reset_example").click().run()
    assert "Stored example." in shown(at)


def test_ones_own_text_is_in_the_address(home):
    at = opened("losses")
    at.text_area(key="lab_text").set_value(" *201* <b>cats</b>.").run()
    assert "compute" in buttons(at)
    assert at.query_params["example"] == "own"
    again = opened("losses", example="own", lab=at.query_params["lab"])
    assert again.text_area(key="lab_text").value == " *201* <b>cats</b>."
    assert again.text_area(key="lab_context").value == loss_lab.EXAMPLES["number"].context
    lost = opened("losses", example="own", lab="0000")
    assert "can't be read" in lost.error[0].value


def test_back_brings_a_text_that_nothing_may_keep(home, monkeypatch):
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    at = opened("losses")
    at.text_area(key="lab_text").set_value(" 201 cats.").run()
    assert "lab" not in at.query_params
    at.pills(key="example").set_value("prose").run()
    context = at.text_area(key="lab_context").value
    monkeypatch.setattr(address, "came_back", lambda: True)
    at.query_params["example"] = "own"
    at.run()
    assert at.text_area(key="lab_text").value == " 201 cats."
    assert at.text_area(key="lab_context").value != context


def test_changed_options_ask_for_a_computation_of_that_method_alone(home):
    at = opened("losses")
    at.number_input(key="l_gold_beta").set_value(0.9).run()
    said = shown(at)
    assert "Not computed with these options and this text: gold." in said
    assert [m["name"] for m in strip(at)["methods"]] == ["xtoken-hkl", "xtoken-pkl", "sedi"]


def test_named_tokens_are_part_of_the_question(home):
    at = opened("losses", tokens="·the zzzqqq")
    assert "is cut into" in at.warning[0].value
    assert "compute" in buttons(at)


def asked(text: str = " 201 and 202.") -> Question:
    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    return Question(student, teacher, loss_lab.EXAMPLES["number"].context, text)


def started(at):
    at.number_input(key="l_gold_beta").set_value(0.9).run()
    at.button(key="compute").click().run()
    job = loss_lab.job(asked(), [Choice("gold", "clean", (("beta", 0.9),))])
    pid = json.loads((job.folder / "control" / "launch.json").read_text())["pid"]
    return job, pid


def ended(job) -> None:
    wait_for(lambda: job.status().ended_already, what="the end of the job")


def test_a_running_job_shows_progress_and_can_be_cancelled(home):
    at = opened("losses")
    job, pid = started(at)
    os.kill(pid, signal.SIGSTOP)
    at.run()
    shown(at)
    assert "cancel_lab" in buttons(at)
    at.button(key="cancel_lab").click().run()
    ended(job)
    at.run()
    assert "Cancelled; nothing was kept." in shown(at)
    assert at.button(key="compute").label == "Compute again"


def test_a_killed_worker_says_so(home):
    at = opened("losses")
    job, pid = started(at)
    os.kill(pid, signal.SIGKILL)
    ended(job)
    at.run()
    assert "ended without a word" in at.error[0].value
    assert at.button(key="compute").label == "Compute again"


def test_a_job_that_cannot_start_says_why(home, monkeypatch):
    at = opened("losses", tokens="the")

    def refused(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loss_lab, "start", refused)
    at.button(key="compute").click().run()
    assert "No space left" in at.error[0].value


def test_an_option_out_of_range_says_so(home):
    at = opened("losses", losses=["gold"], l_gold_beta="7")
    shown(at)
    assert at.number_input(key="l_gold_beta").value == 0.5


def test_tabs_hold_formulas_values_groups_and_costs(home):
    at = opened("losses")
    said = shown(at)
    assert said.count("$\\displaystyle") == 4
    assert "**Cannot see:**" in said
    at = opened("losses", lab_tab="Values")
    assert any("term ce" in set(t.value["figure"]) for t in at.dataframe if "figure" in t.value)
    at = opened("losses", lab_tab="Groups")
    assert any("gold share" in t.value for t in at.dataframe)
    at = opened("losses", lab_tab="Memory and time", e_batch="2")
    assert at.number_input(key="e_batch").value == 2
    assert "An estimate of the loss alone" in shown(at)


def names(at) -> list[str]:
    return [m["name"] for m in strip(at)["methods"]]


def test_the_bar_holds_the_first_two_methods_and_acts(home):
    at = opened("losses")
    assert [at.selectbox(key=f"losses_{k}").value for k in (0, 1)] == ["gold", "xtoken-hkl"]
    at.selectbox(key="losses_0").set_value("sedi").run()
    assert names(at) == ["sedi", "xtoken-hkl", "xtoken-pkl", "gold"]
    assert at.query_params["losses"] == ["sedi", "xtoken-hkl", "xtoken-pkl", "gold"]
    at.button_group(key="losses").set_value(["gold", "sedi"]).run()
    assert [at.selectbox(key=f"losses_{k}").value for k in (0, 1)] == ["gold", "sedi"]


def test_a_method_that_another_page_names_comes_first(home):
    at = opened("losses", method="sedi")
    assert not at.warning
    assert names(at) == ["sedi", "gold", "xtoken-hkl", "xtoken-pkl"]
    at = opened("losses", method="sft")
    assert not at.warning
    assert at.selectbox(key="losses_0").value == "sft"
    assert "did you mean" in opened("losses", method="sfft").warning[0].value


def test_use_in_a_run_carries_method_variant_and_options(home):
    from pages.parts.carry import PARAMETER, packed

    word = packed(Choice("xtoken-pkl", "released", (("temperature", 2.5),)))
    at = opened("runs", view="New run", **{PARAMETER: word})
    shown(at)
    prefix = f"new_quick{word}"
    assert at.selectbox(key=f"{prefix}_method").value == "xtoken-pkl"
    assert at.selectbox(key=f"{prefix}_variant").value == "released"
    assert at.number_input(key=f"{prefix}_xtoken-pkl_temperature").value == 2.5
    bad = opened("runs", view="New run", **{PARAMETER: '["golt","clean",{}]'})
    assert "did you mean 'gold'" in bad.error[0].value
    worse = opened("runs", view="New run", **{PARAMETER: "nonsense"})
    assert "as JSON" in worse.error[0].value
