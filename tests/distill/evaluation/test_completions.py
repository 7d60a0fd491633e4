"""ROUGE-L and exact match on texts whose values are known."""

from __future__ import annotations

import math

import pytest

from ctkd_core.distill.evaluation.completions import completion_figures, exact, rouge_l, words


def test_rouge_l_is_f1_of_the_longest_common_subsequence():
    # Lin 2004: "police killed the gunman" against "police kill the gunman" (3 of 4) and "the gunman kill police" (2)
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(3 / 4)
    assert rouge_l("police killed the gunman", "the gunman kill police") == pytest.approx(2 / 4)
    # precision 2/2, recall 2/4
    assert rouge_l("a b c d", "b d") == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert rouge_l("The Cat.", "the cat") == 1.0
    assert (rouge_l("", ""), rouge_l("x", ""), rouge_l("", "x")) == (1.0, 0.0, 0.0)


def test_words_of_scripts_without_spaces_are_characters_and_signs_count_alone():
    assert words("東京 Москва naïve2") == ["東", "京", "москва", "naïve2"]
    assert words("+ ->") == ["+", "->"]
    assert rouge_l("東京都", "東京") == pytest.approx(0.8)


def test_figures_are_means_and_compare_first_lines():
    found = completion_figures([" 4\nand more", " a b"], ["4", "a c"])
    assert found == {"rouge_l": pytest.approx((1 + 0.5) / 2), "exact_match": 0.5, "texts": 2}
    assert exact(" 4 ", "4") and not exact("4", "4.")
    assert math.isnan(completion_figures([], [])["rouge_l"])
