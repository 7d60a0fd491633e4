"""Vocabulary maps in notebooks: shape, rows by reason and a few rows, the same figures as the map's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctkd_core.markup.visible import one_line
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.display import EXAMPLES_OF_A_REASON, examples
from tests.markup.page import NASTY, harmless
from tests.tiny import tiny_byte_level, tiny_metaspace


@pytest.fixture(scope="module")
def projection():
    return project(tiny_byte_level(), tiny_metaspace(), method="pieces")


def test_the_line_has_the_facts_and_no_arrays(projection) -> None:
    line = repr(projection)
    rows, columns = projection.shape
    assert f"<Projection pieces: {projection.student.name} → {projection.teacher.name}, {rows} x {columns}," in line
    assert f"{projection.rows()['empty']} empty row" in line
    assert "array" not in line


def test_the_card_has_the_rows_by_reason(projection) -> None:
    text = harmless(projection._repr_html_()).text
    for reason, count in projection.rows().items():
        assert (f"{reason}{count:,}{100 * count / projection.shape[0]:.1f} %" in text) == bool(count)
    assert f"largest error of a row's sum{projection.row_sum_error:.2g}" in text


def test_examples_are_rows_of_the_map(projection) -> None:
    shown = list(examples(projection))
    assert {reason for *_, reason in shown} == {
        reason for reason, count in projection.rows().items() if count and reason not in ("empty", "padding")
    }
    for student_id, _, targets, reason in shown:
        row = projection.explain(student_id)
        assert row["reason"][0] == reason
        assert f"({row['weight'][0]:.3g})" in targets
    counts = [reason for *_, reason in shown]
    assert max(map(counts.count, counts)) <= EXAMPLES_OF_A_REASON


def test_names_options_and_tokens_are_text(projection) -> None:
    named = replace(projection, student=replace(projection.student, name=NASTY[:40]), options={NASTY: NASTY})
    page = harmless(named._repr_html_())
    assert one_line(NASTY)[:30] in page.text
    assert repr(named).isprintable()


def test_an_empty_map_and_a_padded_one_have_cards(projection) -> None:
    wide = projection.widen(projection.shape[0] + 8, projection.shape[1] + 8)
    assert "padding8" in harmless(wide._repr_html_()).text
    bare = replace(projection, matrix=projection.matrix * 0, reason=np.zeros(0, np.uint8))
    bare.matrix.eliminate_zeros()
    assert "0 non-zero" in repr(bare)
    assert harmless(bare._repr_html_()).count("table") == 3
