"""Bytes and marks are made visible."""

from __future__ import annotations

import pytest

from ctkd_core.figures import visible


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b" the", "·the"),
        (b"\n\t\r", "↵→␍"),
        (b"\xf0\x9f", "<F0><9F>"),
        (b"a\xff\xc3\xa9", "a<FF>é"),
        ("\u200d".encode(), "<U+200D>"),
        (b"\x00\x1b", "<U+0000><U+001B>"),
        (b"", ""),
    ],
)
def test_bytes_are_made_visible(data, shown):
    assert visible.visible_bytes(data) == shown


def test_a_lone_accent_can_be_seen():
    from ctkd_core.figures.visible import visible, visible_bytes

    assert visible("\u0301") == "◌\u0301"
    assert visible_bytes("e\u0301".encode()) == "e\u0301"
