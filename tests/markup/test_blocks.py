"""Blocks of HTML: whatever text comes in is text on the page, and both colours of a card are its own."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ctkd_core.markup import blocks
from ctkd_core.markup.visible import one_line
from tests.markup.page import NASTY, harmless


@pytest.mark.parametrize(
    "block",
    [
        blocks.text(NASTY),
        blocks.note(NASTY),
        blocks.chip(one_line(NASTY), "#000", "solid", one_line(NASTY)),
        blocks.table((NASTY,), [(NASTY,)], code=(NASTY,)),
        blocks.facts({NASTY: NASTY}),
        blocks.card(NASTY, blocks.note(NASTY)),
    ],
)
def test_texts_are_escaped_and_spelled_out(block: str) -> None:
    page = harmless(block)
    assert one_line(NASTY) in page.text


def test_a_chip_cannot_leave_its_attributes() -> None:
    page = harmless(blocks.chip("x", '"><script>', "solid;}", "say \"hi\" & 'go'"))
    ((_, attributes),) = page.tags
    assert attributes["title"] == "say \"hi\" & 'go'"
    assert attributes["style"] == '--c:"><script>;border-style:solid;}'


def test_directions_stay_inside_their_texts() -> None:
    assert blocks.text("שלום") == "<bdi>שלום</bdi>"
    assert blocks.text("plain") == "plain"
    assert 'dir="auto"' in blocks.chip("שלום", "#000", "solid")


def test_cells_by_kind_of_value() -> None:
    html = blocks.table(
        ("a", "b"), [(1204, np.float64(0.25)), (True, np.bool_(False)), ("x", float("nan"))], code=("a",)
    )
    assert '<td class="n">1,204</td><td class="n">0.25</td>' in html
    assert "<td>yes</td><td>no</td>" in html
    assert '<td><code>x</code></td><td class="n">nan</td>' in html


def test_facts_leave_out_what_is_not_there() -> None:
    page = harmless(blocks.facts({"kind": "byte-level", "licence": "", "seconds": None, "seed": 0}))
    assert page.count("tr") == 2
    assert page.text == "kindbyte-levelseed0"


def test_long_cells_are_cut() -> None:
    assert len(blocks.table((), [("a" * 5000,)])) < 400


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_a_card_is_readable_in_both_themes(theme: int) -> None:
    found = {name: pair.split(",")[theme] for name, pair in re.findall(r"--(\w+):light-dark\(([^)]*)\)", blocks.STYLE)}
    for ink in ("fg", "dim"):
        dark, light = sorted((luminance(found["bg"]), luminance(found[ink])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, ink
