"""Kinds of groups and the names and marks that they are drawn with."""

from __future__ import annotations

import numpy as np

from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, kinds_of


def test_each_kind_has_the_name_of_its_sizes_and_marks_of_its_own():
    expected = {
        (1, 1): "1 student : 1 teacher",
        (1, 3): "1 student : n teacher",
        (3, 1): "n student : 1 teacher",
        (2, 2): "n student : m teacher",
        (2, 0): "student alone",
        (0, 2): "teacher alone",
    }
    found = kinds_of(np.array(list(expected)))
    assert [KIND_STYLES[KINDS[k]].name for k in found] == list(expected.values())
    assert list(KIND_STYLES) == list(KINDS)
    for mark in ("colour", "pattern", "meaning"):
        assert len({getattr(style, mark) for style in KIND_STYLES.values()}) == len(KINDS), mark
