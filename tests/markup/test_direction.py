"""Which way texts run, and which pieces stand reversed when they are laid out along it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.markup.direction import against, base_direction, own_direction


@pytest.mark.parametrize(
    ("text", "way"),
    [("", "ltr"), ("123 ...", "ltr"), ("7 שלום", "rtl"), ("abc שלום", "ltr"), ("في 2024 abc", "rtl")],
)
def test_the_first_letter_decides(text: str, way: str) -> None:
    assert base_direction(text) == way


def test_pieces_have_a_direction_of_their_own_or_none() -> None:
    assert [own_direction(x) for x in ("שלום", " 20", "...", " a", "1ש")] == ["rtl", "ltr", None, "ltr", "rtl"]


def test_a_stretch_against_the_line_is_two_pieces_or_more() -> None:
    assert against(["a", "ש", "b"], "ltr") == [False] * 3
    assert against(["a", "ש", " ", "ל", ".", "b"], "ltr") == [False, True, True, True, False, False]
    assert against(["ש", "20", "24", "ל"], "rtl") == [False, True, True, False]


@given(st.lists(st.sampled_from(["a", "ש", " ", "7"])), st.sampled_from(["ltr", "rtl"]))
def test_stretches_begin_and_end_with_a_piece_of_the_other_way(pieces: list[str], base: str) -> None:
    out = against(pieces, base)
    assert len(out) == len(pieces)
    for k, turned in enumerate(out):
        if turned and (k == 0 or not out[k - 1] or k + 1 == len(out) or not out[k + 1]):
            assert own_direction(pieces[k]) not in (base, None)
