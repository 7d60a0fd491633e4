"""Figures of what a student has learnt: the right moments, labels without markup, tables with the same numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from ctkd_core.figures import evaluation
from ctkd_core.figures.curves import class_curves
from ctkd_core.figures.vocabulary import CLASS_TITLES
from tests.figures.samples import message_bytes

ROWS = [
    {
        "kind": "eval",
        "step": step,
        "bits_by_domain": {"<b>ru": 3.0 - step, "de": 2.0},
        "teacher_bits_by_domain": {"<b>ru": 1.0, "de": 0.5},
        "bytes_by_domain": {"<b>ru": 10.0, "de": 20.0},
        "agreement": {"top1": 0.25 + step / 4, "byte_kl": 2.0 - step, "byte_top1": 0.5, "stretches": 7},
        "arithmetic": {"10": 0.5, "2": 1.0},
        "arithmetic_counts": {"10": 4, "2": 6},
    }
    for step in (0, 1)
] + [{"kind": "eval", "step": 2}, {"kind": "train", "step": 1, "by_class": {"letters": 1.0}}]


def domains() -> evaluation.Moments:
    return evaluation.moments(ROWS, "bits_by_domain", "teacher_bits_by_domain", "bytes_by_domain")


def test_moments_are_the_first_and_the_last_that_were_measured():
    found = domains()
    assert (found.before["<b>ru"], found.now["<b>ru"], found.teacher["de"]) == (3.0, 2.0, 0.5)
    assert found.parts == ["de", "<b>ru"], "the furthest behind its teacher first"
    once = evaluation.moments(ROWS[:1], "bits_by_domain")
    assert (once.before, once.teacher, once.now["de"]) == ({}, {}, 2.0)
    assert evaluation.moments(ROWS, "nothing").now == {}


def test_dots_and_their_table():
    fig = evaluation.part_dots(domains(), "By domain")
    marks = {t.name: dict(zip(t.y, t.x)) for t in fig.data if t.name}
    assert marks["student"] == {"de": 2.0, "&lt;b&gt;ru": 2.0}
    assert marks["at the start"]["&lt;b&gt;ru"] == 3.0
    assert list(fig.data[-1].customdata) == [", 20 bytes", ", 10 bytes"]
    table = evaluation.part_table(domains(), "domain")
    assert list(table.columns) == ["domain", "at the start", "student", "teacher", "bytes"]
    assert table["student"].tolist() == [2.0, 2.0] and table["domain"].tolist() == ["de", "<b>ru"]
    many = evaluation.Moments({f"part {k}": float(k) for k in range(40)})
    fig = evaluation.part_dots(many, "By domain")
    assert len(fig.data[0].y) == evaluation.MOST_PARTS and "(24 of 40)" in fig.layout.title.text
    assert len(evaluation.part_table(many, "domain")) == 40
    assert len(set(evaluation.part_labels(["x" * 60 + str(k) for k in range(3)]))) == 3


def test_agreement_over_steps_and_its_table():
    fig = evaluation.agreement_curves(ROWS)
    assert list(fig.data[0].x) == [0, 1] and list(fig.data[0].y) == [0.25, 0.5]
    assert list(evaluation.kl_curve(ROWS).data[0].y) == [2.0, 1.0]
    assert [t.name for t in evaluation.kl_curve(ROWS).data] == ["behind a token of both"], "runs of earlier versions"
    everywhere = [
        row | {"agreement": {"byte_kl": 1.0, "next_byte_kl": 0.5, "next_byte_top1": 0.25}} for row in ROWS[:1]
    ]
    assert {t.name: list(t.y) for t in evaluation.kl_curve(everywhere).data}["at every byte"] == [0.5]
    assert [list(t.y) for t in evaluation.agreement_curves(everywhere).data] == [[0.25]]
    table = evaluation.agreement_table(ROWS)
    assert table["step"].tolist() == [0, 1] and table["same first choice of token"].tolist() == [0.25, 0.5]
    assert message_bytes(fig) < 2**20


def test_lengths_are_numbers_in_order():
    found = evaluation.moments(ROWS, "arithmetic", "", "arithmetic_counts")
    fig = evaluation.length_figure(found, "Right results", "digits")
    assert list(fig.data[0].x) == [2, 10] and list(fig.data[0].y) == [1.0, 0.5]
    assert list(fig.layout.xaxis.tickvals) == [2, 10]
    table = evaluation.length_table(found, "digits")
    assert table["digits"].tolist() == [2, 10] and table["exercises"].tolist() == [6, 4]
    excess = evaluation.length_figure(evaluation.Moments({"4": 12.5}), "Excess error", "boundaries", share=False)
    assert excess.layout.yaxis.ticksuffix == " %" and list(excess.data[0].y) == [12.5]
    odd = evaluation.Moments({"²": 1.0, "1" * 5000: 1.0, "3": 0.5})
    assert list(evaluation.length_figure(odd, "Right results", "digits").data[0].x) == [3]
    assert evaluation.length_table(odd, "digits")["digits"].tolist() == [-1, -1, 3], "a file may name anything"
    measures = evaluation.measure_table(evaluation.Moments({"rouge_l": 0.5}, teacher={"rouge_l": 0.75}))
    assert measures.to_dict("records") == [{"measure": "ROUGE-L", "student": 0.5, "teacher": 0.75}]


def test_the_counts_that_figures_of_written_text_stand_on():
    written = {"completions": {"texts": 12, "rouge_l": 0.5}, "arithmetic_counts": {"1": 3, "2": None}}
    rows = [{"kind": "eval", "step": 2, "exposure_texts": 1} | written, {"kind": "train", "step": 3}]
    assert evaluation.counts_text(rows) == "Measured on 12 completions, 3 exercises, 1 prompt."
    assert evaluation.counts_text(ROWS) == evaluation.counts_text([]) == ""


def test_parts_are_called_by_their_titles():
    found = evaluation.Moments({"digits_1": 2.0, "odd": 1.0}, {"digits_1": 3.0}, {}, {"odd": 7}).titled(CLASS_TITLES)
    assert found.parts == ["1-digit numbers", "odd"]
    assert (found.before, found.sizes) == ({"1-digit numbers": 3.0}, {"odd": 7})


def test_shares_of_the_loss_by_class():
    rows = pd.DataFrame(
        [{"step": k, "kind": "train", "by_class.letters": 3.0, "by_class.digits_1": 1.0} for k in range(3)]
    )
    fig = class_curves(rows)
    assert {t.name: list(t.y) for t in fig.data} == {
        "1-digit numbers": pytest.approx([0.25] * 3),
        "letters (a-z)": pytest.approx([0.75] * 3),
    }


def test_tasks_are_a_row_a_figure():
    tasks = {"a\tb": {"acc": 0.5, "acc_stderr": 0.25, "examples": 6.0}, "text": {"bits_per_byte": 2.0}}
    table = evaluation.task_table(tasks)
    assert table["task"].tolist() == ["a→b", "text"] and table["student"].tolist() == [0.5, 2.0]
    assert table["standard error"].isna().tolist() == [False, True]
