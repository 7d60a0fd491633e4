"""Texts of strangers lose their markdown."""

from __future__ import annotations

from pages.parts.state import plain


def test_plain_leaves_no_markdown():
    assert plain("**a** [x](y) <b> $z$ :red[k]") == r"\*\*a\*\* \[x\](y) \<b\> \$z\$ \:red\[k\]"
