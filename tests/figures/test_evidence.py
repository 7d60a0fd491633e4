"""Rankings and curves of experiments: what stands where, what a table says, and what a sentence may claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.figures import evidence as figures
from ctkd_core.methods.evidence import Condition, SettingName, SharedSetting
from experiments import digest
from tests.experiments import made

VALUES = {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.4, 1: 1.5, 2: 1.6}, "gold-warm": {0: 1.55, 1: 1.65, 2: 1.75}}


def condition(folder: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, dict[int, float]]) -> Condition:
    found = made.experiment(folder, monkeypatch)
    made.write(found, made.results(values))
    return digest.build([found]).experiments[0].conditions[0]


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Condition:
    return condition(tmp_path, monkeypatch, VALUES)


def test_a_row_a_method_best_above(few: Condition) -> None:
    fig = figures.ranking_figure(few, "difference", ("alm", 1))
    means, dots = fig.data
    assert list(means.y) == ["ALM", "GOLD (temperature 2.0)"]
    assert list(means.x) == pytest.approx([-0.1, 0.05])
    assert [list(who) for who in dots.customdata][:3] == [["alm", 0], ["alm", 1], ["alm", 2]]
    assert list(dots.x) == pytest.approx([-0.1] * 3 + [0.05] * 3)
    assert max(dots.marker.line.width) == dots.marker.line.width[1]
    assert list(fig.layout.yaxis.categoryarray)[-1] == "ALM"  # the last category is drawn above
    assert fig.layout.shapes[0].x0 == 0.0
    assert "lower is better" in fig.layout.title.text
    assert "minus SFT" in fig.layout.title.text


@pytest.mark.parametrize("measure", figures.MEASURES)
def test_every_measure_is_drawn(few: Condition, measure: str) -> None:
    fig = figures.ranking_figure(few, measure)
    assert len(fig.data[0].x) == (3 if measure == "value" else 2)
    assert len(json.dumps(fig.to_plotly_json(), default=str)) < 100_000
    if measure == "value":
        assert sorted(shape.x0 for shape in fig.layout.shapes) == [1.0, 2.0]  # teacher and start


def test_an_unknown_measure(few: Condition) -> None:
    with pytest.raises(KeyError):
        figures.ranking_figure(few, "speed")


def test_a_curve_stands_beside_the_baseline_and_the_best(few: Condition) -> None:
    fig = figures.curve_figure(few, "gold-warm", 2)
    assert [trace.name for trace in fig.data] == ["GOLD (temperature 2.0)", "SFT", "ALM"]
    assert list(fig.data[0].x) == [0, 2, 5, 10]
    assert fig.data[0].y[-1] == 1.75
    assert [row["step"] for row in figures.curve_rows(few, "gold-warm", 2)] == ["0", "2", "5", "10"]
    assert figures.curve_rows(few, "gold-warm", 9) == []


def test_tables_hold_what_figures_show(few: Condition) -> None:
    rows = figures.ranking_rows(few)
    assert [row["method"] for row in rows] == ["ALM", "SFT", "GOLD (temperature 2.0)"]
    assert rows[0]["minus SFT"].startswith("-0.1")
    assert (rows[0]["runs"], rows[0]["chance"], rows[0]["chance (Holm)"]) == ("3 of 3", "0.25", "0.5")
    assert rows[0]["gap closed"] == "17 %"
    assert rows[1]["minus SFT"] == "–"
    assert len(figures.run_rows(few)) == 9
    assert {row["domain"] for row in figures.domain_rows(few)} == {"a"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Never tried"),
        ({"sft": VALUES["sft"]}, "Only SFT has been run"),
        (VALUES, "Decided."),
        ({"sft": {0: 1.5, 1: 1.6}, "alm": {0: 1.4, 1: 1.5}}, "fewer than three seeds"),
        (
            {"sft": VALUES["sft"], "alm": {0: 1.4, 1: 1.5}},
            "No order yet: SFT has 3 seeds, all others have fewer (ALM 2)",
        ),
        (VALUES | {"gold-warm": {2: 0.1}}, "ALM comes first"),
        ({"sft": VALUES["sft"], "alm": {0: 1.4, 1: 1.5, 2: 1.75}}, "Undecided"),
        ({"sft": VALUES["sft"], "alm": {0: 1.6, 1: 1.7, 2: 1.8}}, "SFT comes first"),
        ({"sft": VALUES["sft"], "alm": {0: 1.6, 1: 1.7, 2: 1.8}}, "Decidedly worse: ALM"),
        ({"alm": VALUES["alm"], "gold-warm": VALUES["gold-warm"]}, "no baseline to compare with"),
    ],
)
def test_sentences_claim_no_more_than_the_runs_support(
    values: dict[str, dict[int, float]], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in figures.ranking_sentence(condition(tmp_path, monkeypatch, values))


def test_titles_are_no_markup(few: Condition) -> None:
    first = few.methods[0].model_copy(update={"title": "<b>x</b>"})
    fig = figures.ranking_figure(few.model_copy(update={"methods": [first, *few.methods[1:]]}), "value")
    assert "&lt;b&gt;" in fig.data[0].y[0]


def test_at_a_glance_each_method_as_it_comes_is_counted_in_its_settings(
    few: Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(name: str, alm: dict[int, float], **changes: str) -> Condition:
        values = {**VALUES, "alm": alm}
        return condition(tmp_path / name, monkeypatch, values).model_copy(
            update={"name": name, "title": name, **changes}
        )

    worse = other("worse", {k: v + 0.1 for k, v in VALUES["sft"].items()})
    open_ = other("open", {0: 1.3, 1: 1.7, 2: 1.7})
    elsewhere = other("fresh", {0: 1.3, 1: 1.7, 2: 1.7}, regime="fresh text")
    no_bits = other("mass", VALUES["alm"], figure="mass_by_class.digits 3")
    experiment = digest.build([made.experiment(tmp_path / "any", monkeypatch)]).experiments[0]
    asked_again = other("again", {0: 1.3, 1: 1.7})
    names = [SettingName(experiment=experiment.name, condition=c.name, title=c.title) for c in (few, asked_again)]
    settings = [few, worse, open_, elsewhere, no_bits, asked_again]
    every = digest.build([]).model_copy(
        update={
            "experiments": [experiment.model_copy(update={"conditions": settings})],
            "shared": [SharedSetting(of=names, condition=few)],
        }
    )
    rows = figures.glance_rows(every)
    assert [(row["regime"], row["method"]) for row in rows] == [("fresh text", "ALM"), ("few samples", "ALM")]
    last = rows[-1]
    assert [last[name] for name in ("settings", "decidedly better", "undecided", "decidedly worse")] == list("3111")
    assert last["minus SFT"] == "-0.1 to +0.1"
    assert figures.glance_rows(digest.build([])) == []


def test_a_methods_settings_with_and_without_options(
    few: Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = digest.build([made.experiment(tmp_path / "any", monkeypatch)])
    (experiment,) = found.experiments
    other = few.model_copy(update={"figure": "mass_by_class.digits 3"})
    every = found.model_copy(update={"experiments": [experiment.model_copy(update={"conditions": [few, other]})]})
    (row,) = figures.method_rows(every, "alm")
    assert (row["as"], row["seeds"], row["found"]) == ("ALM", "3", "better")
    assert row["minus SFT (95 %)"].startswith("-0.1")
    assert [row["as"] for row in figures.method_rows(every, "gold")] == ["GOLD (temperature 2.0)"]
    assert figures.method_rows(every, "sft") == figures.method_rows(every, "cdm") == []
