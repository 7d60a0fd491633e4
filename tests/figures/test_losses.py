"""Pictures of page Losses: every bar has its number, directions are right, token texts are no markup."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ctkd_core.figures import losses, losses_tables
from ctkd_core.figures.losses import Lab
from ctkd_core.lab.records import LossView, Prediction, RowGradient, Scene, Target
from tests.figures.samples import message_bytes
from tests.tiny import tiny_byte_level

pytest.importorskip("plotly")
S, T = tiny_byte_level(700), tiny_byte_level(400, digits=1)
LIMIT = 2 * 2**20


def token(tokenizer, text: str) -> int:
    return tokenizer.encode_pieces([text])[0][0]


NUMBER, CAT, TWO, LESS = token(S, "201"), token(S, " cats"), token(T, "2"), token(S, "<")
SCENE = Scene(
    student="s",
    teacher="t",
    context="a",
    text="201 cats",
    student_ids=(0, NUMBER, CAT),
    teacher_ids=(0, TWO, token(T, "0"), token(T, "1"), token(T, " c")),
    student_start=1,
    teacher_start=1,
    groups=((1, 2, 1, 4), (2, 3, 4, 5)),
    student_predictions=(
        Prediction(1, (CAT, LESS, NUMBER), (0.5, 0.2, 0.1), NUMBER, 0.1, 3, 1.0),
        Prediction(2, (CAT,), (0.9,), CAT, 0.9, 1, 0.4),
    ),
    teacher_predictions=(
        Prediction(1, (TWO,), (0.9,), TWO, 0.9, 1, 0.3),
        Prediction(4, (TWO,), (0.6,), 5, 0.001, 40, 2.0),
    ),
)
GOLD = LossView(
    "gold",
    "clean",
    {},
    loss=2.0,
    distil_loss=1.0,
    terms={"ce": 3.0, "matched": 0.2},
    diagnostics={"groups": 2.0},
    norm=0.5,
    own_groups=2,
    whole=(1.0, 3.0),
    distil=(-1.0, 3.0),
    gradients=(RowGradient(1, (NUMBER, CAT, LESS), (-0.5, 0.1, 0.2), (0.001, -2.0, 0.0), 1.0, 2.0),),
    targets=(Target(0, "student", (CAT,), (0.7,), (0.2,), (("collided with another candidate", 0.3),), note="a note"),),
)
PKL = LossView(
    "xtoken-pkl",
    "clean",
    {"top_k": 5},
    loss=1.0,
    distil_loss=0.5,
    terms={"pkl": 0.5},
    whole=(1.0, 1.0),
    distil=(0.25, 0.25),
    gradients=(RowGradient(1, (NUMBER, CAT), (-0.5, 0.1), (-0.002, 0.5), 1.0, 2.0),),
    targets=(
        Target(0, "teacher", (TWO,), (0.7,), (0.2,), (), (((NUMBER, 0.1),),), (12,)),
        Target(1, "rank", (-1,), (0.7,), (0.2,)),
    ),
)
BROKEN = LossView("alm", "released", {}, problem="it refused.")
LAB = Lab(SCENE, (GOLD, PKL, BROKEN), S, T)


def test_the_strip_has_a_bar_for_each_method_and_names_it():
    drawn = losses.strip(LAB)
    assert [m["name"] for m in drawn["methods"]] == ["gold", "xtoken-pkl (top k 5)", "alm (released)"]
    assert len({(m["colour"], m["hatch"], m["letter"]) for m in drawn["methods"]}) == 3
    first, second = drawn["groups"]
    assert first["t"] == ["2", "0", "1"]
    assert first["s"] == ["201"]
    gold, pkl, broken = first["bars"]
    assert gold == [pytest.approx(1 / 3), True, "-25 %"]
    assert pkl == [pytest.approx(2 / 3), False, "50 %"]
    assert broken == [0.0, False, "–"]
    assert second["bars"][0] == [1.0, False, "75 %"]
    assert first["label"].startswith("group 0: teacher 2 0 1, student 201; share of the loss: gold -25 %")
    whole = losses.strip(replace(LAB, part="whole"))
    assert whole["groups"][0]["bars"][0][1:] == [False, "25 %"]
    json.dumps(drawn)


def test_shares_of_nothing_are_nothing():
    assert losses.shares([0.0, 0.0]) == (0.0, 0.0)
    assert losses.shares([]) == ()
    assert [losses.percent(v) for v in (0.0, 0.004, -0.004, 0.25)] == ["0 %", "<1 %", ">−1 %", "25 %"]


def test_predictions_show_the_texts_own_token_and_the_rest():
    rows = losses.prediction_rows(LAB, "student", SCENE.student_predictions[0])
    assert [text for _, text, _ in rows] == ["·cats", "<", "201", "everything else"]
    assert sum(p for _, _, p in rows) == pytest.approx(1.0)
    assert losses.prediction_rows(LAB, "teacher", SCENE.teacher_predictions[1])[1][1].endswith("(rank 40)")
    fig = losses.prediction_figure(LAB, 1, 1)
    assert "&lt;" in fig.layout.yaxis2.ticktext
    assert fig.layout.yaxis2.ticktext[2] == "<b>201</b> ◂ text"
    assert list(fig.data[1].marker.line.width) == [0, 0, 2.5, 0]
    table = losses_tables.prediction_table(LAB, 1, 1)
    assert table[table["stands in the text"]]["token"].tolist() == ["2", "201"]


def test_targets_have_a_panel_a_method_and_hatched_loss():
    fig = losses.target_figure(LAB, 0)
    assert [a.text for a in fig.layout.annotations] == ["A · gold", "B · xtoken-pkl (top k 5)"]
    bars, marks = fig.data[0], fig.data[1]
    assert list(bars.x) == [0.7, 0.3]
    assert list(bars.marker.pattern.shape) == ["", "/"]
    assert list(marks.x) == [0.2]
    assert bars.hovertemplate.startswith("%{y}: ") and marks.hovertemplate.startswith("%{customdata}: ")
    assert list(marks.customdata) == [fig.layout.yaxis.ticktext[0]]
    assert fig.layout.yaxis2.ticktext[0] == "2 ← 12 tokens"
    table = losses_tables.target_table(LAB, 0)
    assert table[["kind of entry", "from the teacher"]].to_numpy().tolist() == [
        ["student", 0.7],
        ["lost", 0.3],
        ["teacher", 0.7],
    ]
    assert table["most of it from"].iloc[2] == "201 10.0 %"
    assert losses.target_rows(LAB, PKL.targets[1])[0][0] == "rank 1"
    assert len(losses.target_figure(LAB, 1).data) == 3


def test_panels_that_are_compared_have_one_scale():
    small = replace(PKL, targets=(Target(0, "student", (CAT,), (0.07,), (0.02,)),))
    fig = losses.target_figure(replace(LAB, views=(GOLD, small)), 0)
    ranges = {tuple(axis.range) for axis in (fig.layout.xaxis, fig.layout.xaxis2)}
    assert len(ranges) == 1, "7 % must not look like 70 %"
    weak = replace(PKL, gradients=(RowGradient(1, (NUMBER,), (0.0,), (0.02,), 0.0, 0.02),))
    broken = replace(PKL, gradients=(RowGradient(1, (NUMBER,), (0.0,), (float("nan"),), 0.0, 0.0),))
    steps = losses.gradient_figure(replace(LAB, views=(GOLD, weak, broken)), 1, [CAT, NUMBER])
    strongest, weaker = (max(abs(v) for v in bar.y if v is not None) for bar in steps.data[:2])
    assert 0.3 < weaker < strongest == pytest.approx(1.0)
    assert steps.layout.yaxis.ticktext == steps.layout.yaxis2.ticktext


def test_no_mark_stands_in_a_value():
    more = replace(PKL, targets=(Target(1, "rank", (-1, -1), (0.7, 0.1), (0.2, 0.3), (("left over", 0.2),)),))
    bars, marks, values = losses.target_figure(replace(LAB, views=(more,)), 1).data
    assert list(marks.x) == [0.2, 0.3] and list(bars.x) == [0.7, 0.1, 0.2]
    assert list(values.x) == [0.7, 0.3, 0.2], "behind whichever ends later"
    assert [text.strip() for text in values.text] == ["70.0 %", "10.0 %", "20.0 %"]


def test_gradients_point_the_way_a_step_moves_the_token():
    assert losses.gradient_tokens(LAB, 1) == [NUMBER, CAT], "a token that nothing gradients is no candidate"
    tokens = losses.gradient_tokens(LAB, 1, named=(CAT, LESS))
    assert tokens == [NUMBER, CAT, LESS]
    fig = losses.gradient_figure(LAB, 1, tokens)
    gold, pkl = fig.data
    assert gold.customdata[0] == -0.001 and gold.hovertemplate.startswith("%{x}: "), "whose gradient it is"
    assert pkl.customdata[0] == 0.002
    assert gold.y[0] < 0 < pkl.y[0]
    assert (gold.text[0], pkl.text[0], gold.text[2], pkl.text[2]) == ("▼", "▲", "0", "")
    assert gold.y[1] == pytest.approx(1.0)
    assert abs(gold.y[0]) > 0.1, "two thousand times weaker and still to be seen"
    assert losses_tables.direction_words(LAB, 1, NUMBER) == "down under gold, up under xtoken-pkl (top k 5)"
    assert losses_tables.direction_words(LAB, 1, 5) == ""
    assert losses_tables.finding(LAB, 0) == (
        "Group 0: a step of descent moves 201 down under gold, up under xtoken-pkl (top k 5)."
    )
    assert losses_tables.direction_words(replace(LAB, part="whole"), 1, NUMBER).startswith("up under gold and")
    table = losses_tables.gradient_table(LAB, 1, tokens)
    assert table["gold"].tolist()[:2] == [-0.001, 2.0]
    assert table["alm (released)"].isna().all()


def test_tables_of_groups_and_terms():
    groups = losses_tables.groups_table(LAB)
    assert groups["teacher"].tolist()[0] == "2 │ 0 │ 1"
    assert groups["gold share"].tolist() == [-0.25, 0.75]
    terms = losses_tables.terms_table(LAB).set_index("figure")
    assert terms.loc["term ce", "gold"] == "3"
    assert terms.loc["term ce", "xtoken-pkl (top k 5)"] == "–"
    assert terms.loc["loss", "alm (released)"] == "–"
    assert losses_tables.problems(LAB.views) == [("alm (released)", "it refused.")]


def test_figures_are_small_and_unknown_ids_have_a_name():
    figures = [
        losses.prediction_figure(LAB, 1, 1),
        losses.target_figure(LAB, 0),
        losses.gradient_figure(LAB, 1, [NUMBER]),
    ]
    assert max(map(message_bytes, figures)) < LIMIT
    assert LAB.text("student", 10**6) == "#1000000"
    assert losses.target_figure(replace(LAB, views=(BROKEN,)), 0).data == ()


def test_the_largest_group_is_that_of_the_first_method_with_values():
    group, view = losses.largest_group(LAB)
    assert (group, view.method) == (1, "gold")
    assert losses.largest_group(replace(LAB, views=(BROKEN, PKL)))[1] is PKL
    overflowed = replace(GOLD, distil=(float("nan"), 3.0))
    assert losses.largest_group(replace(LAB, views=(overflowed, PKL)))[1] is PKL
    assert losses.largest_group(replace(LAB, views=(BROKEN,))) is None
    negative = replace(GOLD, distil=(-5.0, 3.0))
    assert losses.largest_group(replace(LAB, views=(negative,)))[0] == 0
    assert losses_tables.opening(LAB, group, view).endswith("the one with the most of gold's loss: 75 %.")
