"""Options in a few words, as long as there is room for."""

from __future__ import annotations

import pytest

from ctkd_core.distill.option_labels import distinct, option_label, value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0001, "0.0001"), (2.0, "2"), (1.0000001, "1.0000001"), (True, "true"), ("", "empty"), (8, "8"), (None, "None")],
)
def test_values_for_people(value, text):
    assert value_text(value) == text


def test_short_values_stay_whole():
    assert option_label("SFT", [("data", "a.jsonl"), ("steps", 5)], 40) == "SFT, data a.jsonl, steps 5"
    assert option_label("SFT", [], 40) == "SFT"


def test_long_values_lose_their_middle_before_another_option_is_cut():
    path = "/a/very/long/path/to/" + "x" * 100 + "/first.jsonl"
    label = option_label("SFT", [("data", path), ("learning_rate", 2e-4)], 80)
    assert len(label) <= 80
    assert "first.jsonl" in label and label.endswith("learning_rate 0.0002")
    assert label.startswith("SFT, data /a/very/lo")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (("own30.jsonl", "own200.jsonl"), ("own30…", "own200…")),
        (("/a/folder/of/mine/part-1.jsonl", "/a/folder/of/mine/part-22.jsonl"), ("…1…", "…22…")),
        (("/a/folder/of/mine/x.jsonl", "/a/folder/of/mine/x-x.jsonl"), ("…x…", "…x-x…")),
    ],
)
def test_values_that_differ_between_labels_look_different(values, shown):
    more = [(f"option_{k}", "value" * 9) for k in range(3)]
    found = [option_label("SFT", [("data", value), *more], 80, {"data": values}) for value in values]
    assert [label.split(", ")[1] for label in found] == [f"data {text}" for text in shown]


def test_what_cannot_fit_is_cut_with_a_mark():
    label = option_label("SFT", [(f"an_option_{k}", k) for k in range(20)], 80)
    assert len(label) == 80 and label.endswith("…")


def test_equal_labels_are_numbered():
    assert distinct(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]
