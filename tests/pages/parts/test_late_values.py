"""What a browser sends before it has drawn what was set isn't taken for a choice."""

from __future__ import annotations

import pytest

from ctkd_core.lab.question import EXAMPLES
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.sample_texts import TEXTS
from pages.parts import late_values, loaders
from tests.made_runs import made
from tests.pages.app import opened
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

FIRST, SECOND = list(TEXTS)[:2]


@pytest.fixture(autouse=True)
def a_slow_browser(monkeypatch):
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 3600)


def test_a_second_edit_stays_though_the_sample_seems_to_be_chosen():
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    at.pills(key="text").set_value(FIRST)  # the browser hasn't drawn that it is one's own now
    at.text_area(key="typed").set_value("two 202").run()
    assert at.text_area(key="typed").value == "two 202"
    assert at.pills(key="text").value == "own"
    again = opened("align", **{key: at.query_params[key] for key in ("text", "snapshot")})
    assert again.text_area(key="typed").value == "two 202"


def test_a_click_after_an_edit_brings_no_sample_back():
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    at.pills(key="text").set_value(FIRST).run()
    assert at.text_area(key="typed").value == "one 201" and at.pills(key="text").value == "own"


def test_a_sample_that_is_chosen_later_is_shown(monkeypatch):
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 0)
    at.pills(key="text").set_value(FIRST).run()
    assert at.text_area(key="typed").value == TEXTS[FIRST].text and at.pills(key="text").value == FIRST


def test_what_an_address_does_not_name_yet_was_not_seen(monkeypatch):
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 0)
    del at.query_params["snapshot"]  # a slow network: the browser has heard nothing of the edit
    at.pills(key="text").set_value(FIRST).run()
    assert at.text_area(key="typed").value == "one 201"


def test_an_old_edit_is_no_reason_to_pass_over_a_choice(monkeypatch):
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 0)  # minutes later
    before = at.query_params["snapshot"]
    at.text_area(key="typed").set_value("two 202").run()
    at.query_params["snapshot"] = before  # the click followed the edit at once
    at.pills(key="text").set_value(FIRST).run()
    assert at.text_area(key="typed").value == TEXTS[FIRST].text and at.pills(key="text").value == FIRST


def test_another_sample_than_the_one_before_is_a_choice():
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()
    at.pills(key="text").set_value(SECOND).run()
    assert at.text_area(key="typed").value == TEXTS[SECOND].text and at.pills(key="text").value == SECOND


def test_the_text_before_a_sample_is_no_edit():
    at = opened("align")
    at.pills(key="text").set_value(SECOND).run()
    at.text_area(key="typed").set_value(TEXTS[FIRST].text).run()
    assert at.text_area(key="typed").value == TEXTS[SECOND].text and at.pills(key="text").value == SECOND


def test_edits_that_go_back_and_forth_are_edits():
    at = opened("align")
    for text in ("one 201", "two 202", "one 201"):
        at.text_area(key="typed").set_value(text).run()
        assert at.text_area(key="typed").value == text


def test_what_came_in_during_a_long_run_is_late(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(late_values, "monotonic", lambda: clock[0])
    align = loaders.aligned

    def slowly(*given):
        clock[0] += 5
        return align(*given)

    at = opened("align")
    monkeypatch.setattr(loaders, "aligned", slowly)
    at.pills(key="text").set_value(SECOND).run()
    at.text_area(key="typed").set_value(TEXTS[FIRST].text).run()
    assert at.text_area(key="typed").value == TEXTS[SECOND].text and at.pills(key="text").value == SECOND
    clock[0] += 2
    at.text_area(key="typed").set_value(TEXTS[FIRST].text).run()
    assert at.text_area(key="typed").value == TEXTS[FIRST].text and at.pills(key="text").value == "own"


def test_a_part_gets_nothing_of_another():
    text = "".join(f"{k} keepers saw the tide. " for k in range(1200))
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    before = at.text_area(key="typed_part_1").value
    at.text_area(key="typed_part_1").set_value("Zwölf " + before).run()  # one part is longer now than a part may be
    at.text_area(key="typed_part_1").set_value("Zwölf " + before).run()
    assert snapshots.load_text(at.query_params["snapshot"]) == "Zwölf " + text


@pytest.mark.parametrize(("first", "second"), [("Zwölf ", "Zwölf und mehr "), ("Zwölf ", ""), ("", "x")])
def test_a_second_edit_of_a_part_replaces_the_first(first, second):
    """The browser's field holds the first edit when the second begins: it has not been cut anew yet."""
    text = "".join(f"{k} keepers saw the tide. " for k in range(1200))
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    part = text[10:4000]
    at.text_area(key="typed_part_1").set_value(first + part).run()
    at.text_area(key="typed_part_1").set_value(second + part).run()
    assert snapshots.load_text(at.query_params["snapshot"]) == second + text[10:]


def test_an_edit_of_a_part_that_was_cut_anew():
    text = "".join(f"{k} keepers saw the tide. " for k in range(1200))
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    at.text_area(key="typed_part_1").set_value("Zwölf " + text[:4000]).run()
    drawn = at.text_area(key="typed_part_1").value
    at.text_area(key="typed_part_1").set_value("Genau " + drawn).run()
    assert snapshots.load_text(at.query_params["snapshot"]) == "Genau Zwölf " + text


def test_a_method_that_is_cleared_at_once_is_gone():
    at = opened("losses")
    before = list(at.session_state["losses"])
    at.selectbox(key="losses_1").set_value(None).run()
    assert at.session_state["losses"] == [before[0], *before[2:]]


def test_a_step_of_a_tour_stays_though_its_method_is_late():
    at = opened("align", method="sedi", tour="drift.1")
    while at.selectbox(key="method").value == "sedi":
        next(button for button in at.button if button.label == "Next").click().run()
    shown = at.selectbox(key="method").value
    at.selectbox(key="method").set_value("sedi").run()
    assert at.selectbox(key="method").value == shown


def test_a_second_edit_of_a_lab_text_stays():
    first = next(iter(EXAMPLES))
    at = opened("losses")
    at.text_area(key="lab_text").set_value(" one 201").run()
    at.pills(key="example").set_value(first)
    at.text_area(key="lab_text").set_value(" two 202").run()
    assert at.text_area(key="lab_text").value == " two 202" and at.pills(key="example").value == "own"
    assert at.text_area(key="lab_context").value == EXAMPLES[first].context


@pytest.mark.parametrize("late", ["student", "teacher"])
def test_a_click_after_a_swap_keeps_the_swapped_pair(late):
    at = opened("align")
    before = {side: at.selectbox(key=side).value for side in ("student", "teacher")}
    at.button(key="swap").click().run()
    at.selectbox(key=late).set_value(before[late]).run()
    assert at.selectbox(key="student").value == before["teacher"]
    assert at.selectbox(key="teacher").value == before["student"]


def test_a_method_that_the_bar_put_in_stays_though_the_list_below_is_late():
    at = opened("losses")
    before = list(at.session_state["losses"])
    at.selectbox(key="losses_0").set_value("alm").run()
    at.button_group(key="losses").set_value(before)
    at.text_area(key="lab_text").set_value(" one 201").run()
    assert at.session_state["losses"] == ["alm", *before[1:]]
    assert at.selectbox(key="losses_0").value == "alm"


def test_methods_chosen_there_and_back_are_choices():
    at = opened("losses")
    first = at.selectbox(key="losses_0").value
    for name in ("alm", first, "alm"):
        at.selectbox(key="losses_0").set_value(name).run()
        assert at.session_state["losses"][0] == name


LONG = "".join(f"{k} keepers saw the tide. " for k in range(600))


def test_a_group_stays_in_view_though_the_page_before_is_late():
    at = opened("align")
    at.text_area(key="typed").set_value(LONG).run()
    before = at.pagination(key="chip_page").value
    while at.pagination(key="chip_page").value == before:
        at.button(key="next_difference").click().run()
        assert len(at.query_params.get("group", "")) < 5, "all disagreements are on the first page"
    shown = at.pagination(key="chip_page").value
    at.pagination(key="chip_page").set_value(before).run()
    assert at.pagination(key="chip_page").value == shown


def test_a_page_that_the_reader_turns_to_is_not_sent_back():
    at = opened("align")
    at.text_area(key="typed").set_value(LONG).run()
    at.pagination(key="chip_page").set_value(2).run()
    assert at.pagination(key="chip_page").value == 2
    assert not at.pagination(key="chip_page").proto.set_value, "a browser would take it over its next click"


@pytest.mark.real
def test_the_window_of_a_map_stays_though_its_numbers_are_late():
    at = opened("vocabulary", map="exact", window="200,900,0,49152")
    at.button(key="next_tokens").click().run()
    window = at.query_params["window"]
    at.number_input(key="window_row").set_value(200).run()
    assert at.query_params["window"] == window
    at.number_input(key="window_row").set_value(200)
    at.number_input(key="window_rows").set_value(70).run()  # this one was chosen
    first, *_, columns = window.split(",")
    assert at.query_params["window"] == f"{first},70,0,{columns}"
    assert at.number_input(key="window_row").value == int(first)
    assert not at.number_input(key="window_rows").proto.set_value, "a browser would take it over what is typed next"


@pytest.mark.real
def test_a_token_that_a_page_chose_stays_though_the_one_before_is_late(tmp_path, monkeypatch):
    from ctkd_core.vocabulary import build

    monkeypatch.setattr(build, "SMALL", 10**6)
    sides = {"student": tiny_byte_level(), "teacher": tiny_metaspace()}
    at = opened("vocabulary", map="exact", **{side: str(saved(one, tmp_path / side)) for side, one in sides.items()})
    before = at.text_input(key="token").value
    at.button(key="swap").click().run()
    shown = at.text_input(key="token").value
    assert shown != before
    at.text_input(key="token").set_value(before).run()
    assert at.text_input(key="token").value == shown


@pytest.mark.real
def test_a_late_method_above_a_run_begins_no_other_run(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ctkd_core.distill.runs.RunStore.__init__", lambda self, root=None: setattr(self, "root", tmp_path)
    )
    first, second = made(method="gold"), made(method="kd")
    at = opened("runs", run=first.id)
    at.query_params["run"] = second.id
    at.run()
    assert at.selectbox(key="run_method").value == "kd"
    at.selectbox(key="run_method").set_value("gold").run()
    assert (at.query_params.get("run"), at.query_params.get("view")) == (second.id, None)


@pytest.mark.real
def test_a_view_that_a_button_opened_stays_though_the_list_is_late(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ctkd_core.distill.runs.RunStore.__init__", lambda self, root=None: setattr(self, "root", tmp_path)
    )
    at = opened("runs")
    at.button(key="first_run").click().run()
    at.segmented_control(key="view").set_value("All runs").run()
    assert at.segmented_control(key="view").value == at.query_params["view"] == "New run"


@pytest.mark.real
def test_an_uploaded_tokenizer_stays_among_the_ranked_though_their_list_is_late(tmp_path):
    student, teacher = (
        str(saved(one, tmp_path / name).parent) for name, one in (("s", tiny_byte_level()), ("t", tiny_metaspace()))
    )
    at = opened("rank", student=student, ranked=teacher)
    before = at.multiselect(key="ranked").value
    file = saved(tiny_metaspace(), tmp_path / "third").read_bytes()
    at.file_uploader(key="ranked_file").set_value(("third.json", file, "application/json")).run()
    shown = at.multiselect(key="ranked").value
    assert len(shown) == len(before) + 1
    at.multiselect(key="ranked").set_value(before).run()
    assert at.multiselect(key="ranked").value == shown
