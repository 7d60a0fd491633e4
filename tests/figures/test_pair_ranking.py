"""Rankings drawn: cells of the heat map, names as labels, the table, the sentence."""

from __future__ import annotations

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.figures.pair_ranking import (
    FIGURES,
    ranking_figure,
    ranking_sentence,
    ranking_table,
    share_names,
)
from ctkd_core.pair.ranking import RankedPair


def row(student: str, teacher: str, value: float) -> RankedPair:
    return RankedPair(student, teacher, value, value, value, value, 1 + value, "P-KL", False, "xtoken-pkl")


ROWS = [row("a", "<b>b", 0.9), row("<b>b", "a", 0.4), row("a", "c" * 40, 0.2)]


@pytest.mark.parametrize("by", FIGURES)
def test_every_pair_is_a_cell_that_can_be_chosen(by: str) -> None:
    fig = ranking_figure(ROWS, by, ("a", "<b>b"))
    heat, cells, blank = fig.data
    (chosen,) = fig.layout.shapes
    assert [list(data) for data in cells.customdata] == [[r.student, r.teacher] for r in ROWS]
    assert sorted(v for line in heat.z for v in line if v is not None) == sorted(getattr(r, by) for r in ROWS)
    assert heat.x[round(chosen.x0 + 0.5)] == "&lt;b&gt;b" and heat.y[round(chosen.y0 + 0.5)] == "a"
    assert (chosen.x1 - chosen.x0, chosen.y1 - chosen.y0) == (1, 1), "one cell, however wide cells are"
    assert all(len(label) < 40 for label in heat.x)
    # A click anywhere in a cell is that of the nearest point, so a blank cell has a point of its own that says nothing.
    assert fig.layout.hoverdistance == -1 and fig.layout.hovermode == "closest"
    drawn = [*zip(cells.x, cells.y), *zip(blank.x, blank.y)]
    assert sorted(drawn) == sorted((x, y) for x in heat.x for y in heat.y)
    assert blank.customdata is None and blank.hoverinfo == "none"
    assert bool(heat.reversescale) == (by == "tokens"), "bright is good"


def test_unknown_figures_are_refused() -> None:
    with pytest.raises(CtkdError, match="figure of pairs"):
        ranking_figure(ROWS, "beauty")


def test_the_table_has_every_figure_and_the_sentence_the_first() -> None:
    table = ranking_table(ROWS)
    assert list(table["teacher"]) == [r.teacher for r in ROWS]
    assert set(share_names()) < set(table.columns)
    assert ranking_sentence(ROWS, "canonical") == "First of 3: student a, teacher <b>b (shared vocabulary: 90.0 %)."
    assert ranking_sentence([], "tokens") == "No pair is measured yet."
