"""The card of a group: both sides, who agrees, what the models expect."""

from __future__ import annotations

import pytest

from ctkd_core.errors import AlignmentError
from ctkd_core.figures import card
from tests.figures.samples import TEACHER, made, said, weighted


def test_the_card_gathers_methods_of_one_opinion():
    a = made("cdm")
    others = [made(name) for name in ("sedi", "gold", "uld", "mined")]
    shown = card.group_card(a, 0, others)
    assert sorted(name for verdict in shown.verdicts for name in verdict.methods) == ["gold", "mined", "sedi", "uld"]
    assert len({verdict.sentence for verdict in shown.verdicts}) == len(shown.verdicts)
    assert [v.agrees for v in shown.verdicts] == sorted((v.agrees for v in shown.verdicts), reverse=True)


def test_the_card_tells_what_the_models_expect():
    a, found = weighted(), said()
    group = next(g for g in range(len(a)) if a.sizes[g, 1] > 1)
    t0, t1 = a.groups[group, 2:]
    assert card.uncertainty(a, group, found, "teacher") == pytest.approx(found.teacher_entropy[t0:t1].tolist())
    expected = card.expected(a, group, found, "teacher", TEACHER)
    assert [p for _, p in expected] == pytest.approx([0.5, 0.25, 0.125])
    ids = found.teacher_top_ids[t1 - 1]
    assert [text for text, _ in expected] == [card.visible_bytes(TEACHER.token_bytes(int(i))) for i in ids]


def test_card_tells_both_sides_and_who_agrees():
    a, others = made("sedi"), [made("sedi"), made("uld")]
    number = next(g for g in range(len(a)) if a.student_bytes(g).isdigit() and a.kind(g) != "1-1")
    shown = card.group_card(a, number, others)
    text = a.teacher_bytes(number)
    assert (shown.kind, shown.same_text) == (a.kind(number), True)
    assert shown.teacher.tokens == tuple(text.decode())  # this teacher reads digit by digit
    assert bytes.fromhex(shown.student.hex) == text
    assert [v.agrees for v in shown.verdicts] == [True, False]
    assert [v.methods for v in shown.verdicts] == [("sedi",), ("uld",)]
    assert " ~ " in shown.verdicts[1].sentence
    with pytest.raises(AlignmentError, match="there is no group 9999; this alignment has"):
        card.group_card(a, 9999)
