"""The picture as SVG: sound XML whatever the tokens say, every token in its box, nothing outside of the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.figures.chips_svg import WIDTH, chips_svg, columns
from tests.figures.samples import STUDENT, TEACHER, TEXT, made
from tests.markup.page import NASTY

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "text", "g")}


def drawn(svg: str) -> ET.Element:
    """The picture, checked: our own tags alone, no handler, no address, everything inside."""
    root = ET.fromstring(svg)
    height = float(root.attrib["height"])
    for element in root.iter():
        assert element.tag in ALLOWED
        assert not [name for name in element.attrib if name.startswith("on") or "href" in name]
        if element.tag == f"{SVG}rect" and "x" in element.attrib:
            x, width = float(element.attrib["x"]), float(element.attrib["width"])
            assert x >= 0 and x + width <= WIDTH + 1 and float(element.attrib["y"]) < height
    assert not [c for c in svg if not c.isprintable() and c != "\n"]
    return root


def words(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("method", ["sedi", "uld", "gold", "cdm"])
def test_every_token_of_every_group_is_there(method):
    alignment = made(method)
    root = drawn(chips_svg(alignment))
    shown = words(root)
    from ctkd_core.markup.visible import visible_bytes

    for side in (alignment.student, alignment.teacher):
        for data in side.token_bytes:
            assert visible_bytes(data) in shown
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert len(titles) == 1 + len(alignment)
    assert shown.count("≠") == int(alignment.unequal.sum())


def test_hostile_text_is_only_text():
    root = drawn(chips_svg(made(text=NASTY + "]]><!-- &lt; </text></svg>")))
    assert "<" in "".join(words(root))
    assert len(root.findall(f".//{SVG}style")) == 1


def test_what_is_not_drawn_is_said_and_a_part_may_be_chosen():
    alignment = made()
    root = drawn(chips_svg(alignment, most=3, first=2))
    assert f"{len(alignment) - 3} more groups are not drawn." in words(root)
    titles = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert [title.split(",")[0] for title in titles[1:]] == ["group 2", "group 3", "group 4"]


def test_a_super_group_is_cut_to_the_picture():
    alignment = made("gold", "a" * 3000 + TEXT)
    drawn(chips_svg(alignment))


def test_wide_characters_take_two_columns_and_marks_none():
    assert (columns("ab"), columns("東京"), columns("e\u0301"), columns("")) == (2, 4, 1, 0)


@settings(max_examples=25)
@given(st.text(max_size=40))
def test_any_text_makes_a_sound_picture(text):
    drawn(chips_svg(align(text, student=STUDENT, teacher=TEACHER, method="sedi")))
