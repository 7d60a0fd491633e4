"""Figures in words."""

from __future__ import annotations

from ctkd_core.methods.evidence import load
from ctkd_core.methods.evidence.figures import in_words


def test_figures_are_said_in_words():
    assert in_words("bits_per_byte") == "bits per byte"
    assert in_words("mass_by_class.digits_3") == "probability of class digits_3"
    assert in_words("bits_by_domain.ru-system") == "bits per byte of ru-system"
    assert in_words("new_figure.part") == "new figure.part"
    for _, condition in load().conditions:
        assert "." not in in_words(condition.figure)
