"""Bytes and names as they are shown: nothing invisible stays invisible, nothing breaks a line."""

from __future__ import annotations

import pytest

from ctkd_core.markup.visible import counted, one_line, visible, visible_bytes


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
    assert visible_bytes(data) == shown


def test_names_keep_their_blanks_and_lose_what_can_not_be_seen():
    assert one_line("my folder/a·b\n\u202ecod.exe\ud800") == "my folder/a·b↵<U+202E>cod.exe<U+D800>"
    assert one_line("  ") == "  "


def test_counts_read_as_words():
    assert (counted(1, "token"), counted(1204, "token")) == ("1 token", "1,204 tokens")


def test_a_lone_accent_can_be_seen():
    assert visible("\u0301") == "◌\u0301"
    assert visible_bytes("e\u0301".encode()) == "e\u0301"
