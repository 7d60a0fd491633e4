"""Arithmetic: which examples are, by how many digits, and what counts as right."""

from __future__ import annotations

import pytest

from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluation.arithmetic import arithmetic_figures, operand_length, overall, result_of


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("What is 58600 - 30478?", "28122", 5),
        ("Subtract 6 from 905.", "899", 3),
        ("12+7=", " 19", 2),
        ("What is 12 times 12?", "144", 2),
        ("Divide 84 by 7.", "12", 2),
        ("3 minus 10?", "-7", 2),
        ("What is 007 + 1?", "8", 1),
        ("Compute 94080022962 * 4.", "376320091848", 11),
        ("Which country has the capital Bern?", "Switzerland", None),
        ("Sort 3, 1 and 2.", "1", None),
        ("What is 2 + 2?", "five", None),
        ("What is 2 + 2?", "5", None),
        ("What is 1.5 + 2?", "3", None),
        ("12加30等于多少？", "42", 2),
        ("3과 4를 더하면?", "7", 1),
        ("計算：120×3は？", "360", 3),
        ("120บวก3ได้เท่าไร", "123", 3),
        ("ما مجموع ١٢ و٣٠؟", "42", 2),
        ("Which is x2, 3rd and 5й plus 1 and 1?", "2", 1),
        ("Repeat 0070123.", "0070123", 7),
        ("Copy this number: 98788038551", " 98788038551\n", 11),
        ("Repeat 70123.", "70124", None),
        ("Write 70123 twice.", "7012370123", None),
        ("Repeat " + "9" * 5000, "9" * 5000, None),
        ("Add " + "9" * 5000 + " and 1.", "1" + "0" * 5000, None),
    ],
)
def test_arithmetic_is_known_by_its_numbers(question, answer, expected):
    assert operand_length(Example("rendered", answer, question=question)) == expected


def test_shares_by_length():
    right, counts = arithmetic_figures([2, 10, 2], ["4", "-12", "7"], ["4.", "It is -012", "8"])
    assert right == {"2": 0.5, "10": 1.0}
    assert list(right) == ["2", "10"]
    assert counts == {"2": 2, "10": 1}
    assert overall(right, counts) == pytest.approx(2 / 3), "each exercise counts as much"
    assert overall({"2": None, "3": 1.0}, {"2": 4}) is None
    assert result_of("no number") is None
    assert result_of("000") == "0"
