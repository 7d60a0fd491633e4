"""Page Align: what the address says is what is shown; every panel and every error has its sentence."""

from __future__ import annotations

import json
import re

import pytest

from tests.pages.app import chips, figures, opened, texts

pytestmark = pytest.mark.real


def test_default_pair_and_text_show_a_verdict_and_a_picture():
    at = opened("align")
    assert not at.exception
    assert "exact and fine**: 100.0 % of bytes face equal bytes; boundary F1 1.000" in at.success[0].value
    data = chips(at)
    assert (data["teacher"], data["student"]) == ("smollm2", "deepseek")
    kinds = {data["kinds"][g["k"]]["name"] for g in data["groups"]}
    assert {"1-1", "1-n"} <= kinds
    assert data["b"], "the default text has a disagreement of the default methods"
    assert at.query_params == {}


def test_the_address_restores_the_view():
    at = opened("align", teacher="qwen", student="smollm2", method="cdm", against="sedi", text="numbers", group="4")
    assert not at.exception
    data = chips(at)
    assert (data["teacher"], data["student"], data["pinned"]) == ("qwen", "smollm2", 4)
    assert data["methods"] == ["cdm", "sedi"]
    assert "**Group 4**" in texts(at)
    assert "Order 201 shipped" in at.text_area(key="typed").value


def test_cost_matrix_window_and_overview_for_dtw():
    at = opened("align", tab="Path", method="cdm", group="9")
    found = figures(at)
    window = next(spec for title, spec in found.items() if title.startswith("Local cost"))
    assert len(found) == 1  # one figure: window and whole text together
    names = [t.get("name") for t in window["data"]]
    assert names == [None, "groups", "pinned", "path", "cells", None, "whole path"]  # no strips: nobody asked
    assert len(json.dumps(window)) < 2 * 2**20
    assert {"group", "student", "teacher", "local", "accumulated"} <= set(at.dataframe[0].value.columns)
    at.button_group(key="cost").set_value("accumulated").run()
    assert any(title.startswith("Accumulated cost") for title in figures(at))
    assert "All entropy weights are constant" in texts(at)


def test_methods_without_costs_show_their_boundaries():
    at = opened("align", tab="Path", method="uld", against="sedi")
    (spec,) = figures(at).values()
    assert [t["name"] for t in spec["data"]] == ["same byte on both sides", "uld", "sedi"]


def test_swap_exchanges_the_sides():
    at = opened("align")
    at.button(key="swap").click().run()
    assert (at.query_params["teacher"], at.query_params["student"]) == ("deepseek", "smollm2")
    assert chips(at)["teacher"] == "deepseek"


def test_next_disagreement_pins_and_unpin_clears():
    at = opened("align", method="cdm", against="sedi")
    at.button(key="next_difference").click().run()
    first = int(at.query_params["group"])
    assert chips(at)["pinned"] == first
    at.button(key="next_difference").click().run()
    assert int(at.query_params["group"]) > first
    at.button(key="unpin").click().run()
    assert "group" not in at.query_params
    assert "Click a group" in texts(at)


def test_typed_text_is_kept_for_its_address():
    at = opened("align")
    at.text_area(key="typed").set_value("Zwölf 🦙 in 2031").run()
    assert at.query_params["text"] == "own"
    again = opened("align", **{key: at.query_params[key] for key in ("text", "snapshot")})
    assert again.text_area(key="typed").value == "Zwölf 🦙 in 2031"
    assert again.query_params["snapshot"] == at.query_params["snapshot"]


def test_a_long_text_is_drawn_in_pages():
    at = opened("align", text="prose")
    at.text_area(key="typed").set_value("The year 2024 had 366 days. " * 300).run()
    data = chips(at)
    assert sum(g["tn"] for g in data["groups"]) <= 200
    assert data["total"] > 1000
    assert f"of {data['total']}; all of them are analysed" in texts(at)


@pytest.mark.parametrize("tab", ["Groups", "Metrics", "Disagreements", "Export"])
def test_only_the_open_tab_computes(tab):
    at = opened("align", tab=tab, method="cdm", against="sedi")
    assert not at.exception
    titles = set(figures(at))
    assert titles == {"Metrics": {"Methods on this text", "Size of groups"}}.get(tab, set())


def test_groups_can_be_filtered_by_kind():
    at = opened("align", tab="Groups")
    at.toggle(key="whole_table").set_value(True).run()
    everything = at.dataframe[0].value
    at.button_group(key="kinds").set_value(["1-n"]).run()
    shown = at.dataframe[0].value
    assert set(shown["kind"]) == {"1 student : n teacher"}
    assert 0 < len(shown) < len(everything)


def test_metrics_of_every_method_stand_beside_the_truth():
    at = opened("align", tab="Metrics")
    columns = list(at.dataframe[0].value.columns)
    assert columns[0] == "metric"
    assert {"sedi", "cdm", "uld", "byte-exact"} <= set(columns)


def test_disagreements_of_equal_methods_say_so():
    at = opened("align", tab="Disagreements", method="cdm", against="cdm")
    assert any("Both methods are the same" in i.value for i in at.info)


def test_unknown_tokenizer_has_a_sentence_and_a_way_out():
    at = opened("align", student="deapseek")
    assert not at.exception
    assert "did you mean" in at.error[0].value
    at.button(key="default_pair").click().run()
    assert not at.error
    assert chips(at)["student"] == "deepseek"


def test_unknown_names_in_the_address_are_named():
    at = opened("align", method="sede", text="poetry")
    said = " ".join(w.value for w in at.warning)
    assert "'sede'" in said
    assert "'sedi'" in said
    assert "'poetry'" in said
    assert chips(at)["methods"][0] == "sedi"


def test_markup_in_an_address_stays_text():
    at = opened("align", student="![x](http://example.invalid/x.png)<script>alert(1)</script>")
    assert "\\[x\\]" in at.error[0].value
    assert "\\<script\\>" in at.error[0].value


def test_empty_text_offers_a_sample():
    at = opened("align")
    at.text_area(key="typed").set_value("").run()
    assert "There is no text yet" in at.info[0].value
    at.button(key="reset_text").click().run()
    assert chips(at)["groups"]


def test_unknown_saved_text_says_so():
    at = opened("align", text="own", snapshot="../../etc/passwd")
    assert "there is no saved text" in at.error[0].value


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"abc\xff", "not valid UTF-8"), (b"", "is empty"), (b"a" * 1_000_001, "the limit is 1,000,000")],
)
def test_bad_files_are_refused_with_a_reason(data, message):
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("notes.txt", data, "text/plain")).run()
    assert not at.exception
    assert message in at.error[0].value
    assert chips(at)["groups"]  # what was shown before is still there


def test_an_uploaded_text_replaces_the_sample():
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("notes.txt", "ein Test 🦙".encode(), "text/plain")).run()
    assert at.text_area(key="typed").value == "ein Test 🦙"
    assert at.query_params["text"] == "own"


def test_a_corrupt_tokenizer_is_refused():
    at = opened("align")
    at.file_uploader(key="tokenizer_file").set_value(("tokenizer.json", b"{broken", "application/json")).run()
    assert not at.exception
    assert at.error
    assert chips(at)["student"] == "deepseek"


def test_a_super_group_has_a_banner(monkeypatch):
    from ctkd_core.alignment import metrics

    said = metrics.Health("largest group 80 tokens", "warn", "exact but coarse", 1.0, 0.1, 80, 0, 0)
    monkeypatch.setattr(metrics, "health", lambda alignment: said)
    at = opened("align")
    assert "exact but coarse**: largest group 80 tokens" in at.warning[0].value
    assert "super-group" in at.warning[0].value


def test_what_looks_perfect_and_is_wrong_is_marked():
    """ULD pairs by position: all its groups are 1-1, and most spell different bytes."""
    at = opened("align", method="uld", against="sedi", tab="Groups", group="40")
    assert "wrong**: " in at.error[0].value
    assert "another place of the text" in at.error[0].value
    data = chips(at)
    assert sum(g["x"] for g in data["groups"]) > len(data["groups"]) / 2
    assert data["unequal"]["mark"] == "≠"
    assert "≠ the two sides spell different bytes" in texts(at)
    at.button_group(key="kinds").set_value(["≠"]).run()
    assert set(at.dataframe[0].value["mark"]) == {"≠"}


def test_an_infinite_number_in_the_address_is_passed_over():
    at = opened("align", method="cdm", a_cdm_window="1e400")
    assert not at.exception and "a_cdm_window" not in at.query_params


@pytest.mark.parametrize("group", ["999", "-1", "x", "²", "9999999999"])
def test_a_group_that_does_not_exist_leaves_the_address_with_a_word(group):
    at = opened("align", group=group)
    assert "group" not in at.query_params
    said = " ".join(w.value for w in at.warning)
    assert f"names group {group}; this text has {chips(at)['total']}, counted from 0" in said.replace("\\", "")


def test_a_megabyte_is_analysed_whole_and_drawn_in_part():
    at = opened("align")
    text = ("The year 2024 had 366 days, and 201 keepers crossed the naïve tide. " * 16_000)[:980_000]
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    assert not at.exception
    assert f"{len(text):,} characters" in texts(at)
    assert chips(at)["total"] > 100_000
    assert len(json.dumps(chips(at))) < 100_000
    assert all(len(json.dumps(spec)) < 2 * 2**20 for spec in figures(at).values())
    assert at.text_area(key="typed_part_1").value == text[:4000]


def test_script_tokens_are_text():
    at = opened("align")
    at.text_area(key="typed").set_value("<script>document.title='x'</script>").run()
    data = chips(at)
    assert "script" in "".join(t[2] for g in data["groups"] for t in g["s"])
    assert not any("<script>" in m.value and getattr(m, "allow_html", False) for m in at.markdown)


def test_an_uploaded_tokenizer_becomes_the_student():
    from tests.tiny import tiny_byte_level

    data = tiny_byte_level().backend.to_str().encode()
    at = opened("align")
    at.file_uploader(key="tokenizer_file").set_value(("tokenizer.json", data, "application/json")).run()
    assert not at.exception and not at.error
    assert re.fullmatch(r"upload:tokenizer-[0-9a-f]{12}", at.query_params["student"])
    assert "/" not in chips(at)["student"]
    assert re.fullmatch(r"tokenizer [0-9a-f]{8}", chips(at)["student"])
    assert at.session_state["student"] == at.query_params["student"]
    assert len(chips(at)["groups"]) > 0
