"""Alignments in notebooks: both rows of tokens with their groups, in one harmless block of a bounded size."""

from __future__ import annotations

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.display import CARD_GROUPS
from ctkd_core.alignment.kinds import KIND_STYLES
from ctkd_core.markup.visible import one_line, visible_bytes
from tests.markup.page import NASTY, harmless
from tests.tiny import CORPUS, tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)


def made(text: str, method: str = "sedi", **options: object) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method, **options)


def test_the_line_has_the_facts_and_no_arrays() -> None:
    a = made("In 2024 we sold 12 units.", "cdm", window=64)
    line = repr(a)
    assert line.startswith(f"<Alignment cdm (window 64): {TEACHER.name} ({len(a.teacher)} tokens) → {STUDENT.name}")
    assert line.endswith(f"{len(a)} groups>")
    assert len(repr(made(" ".join(CORPUS)))) < 200
    assert "\n" not in repr(made(NASTY))


def test_every_group_is_joined_and_takes_its_colour() -> None:
    a = made("In 2024 we sold 12 units.")
    page = harmless(a._repr_html_())
    groups = [attributes["title"] for tag, attributes in page.tags if attributes.get("class") == "g"]
    assert groups == [f"group {g}, {KIND_STYLES[a.kind(g)].name}" for g in range(len(a))]
    assert page.count("span", **{"class": "j"}) == len(a)
    chips = [attributes for _, attributes in page.tags if attributes.get("class") == "c" and "title" in attributes]
    assert len(chips) == len(a.student) + len(a.teacher)
    first = KIND_STYLES[a.kind(0)]
    assert chips[0]["style"] == f"--c:{first.colour};border-style:{first.border}"
    assert chips[0]["title"].startswith(f"token 0, id {a.teacher.ids[0]}, bytes ")
    assert "boundary F1 1.000" in page.text


def test_one_sided_groups_are_not_joined() -> None:
    a = made(" ".join(CORPUS[:2]), "dskd-eta")
    one_sided = int((a.sizes == 0).any(axis=1).sum())
    assert one_sided
    page = harmless(a._repr_html_())
    assert page.count("span", **{"class": "j"}) == len(a) - one_sided
    assert page.text.count("∅") == one_sided


def test_nothing_in_a_text_is_markup() -> None:
    a = made(NASTY)
    page = harmless(a._repr_html_())
    for data in a.student.token_bytes:
        assert visible_bytes(data) in page.text


def test_names_are_not_markup_either() -> None:
    from dataclasses import replace

    student = replace(made("a b").student, tokenizer=NASTY[:50], notes=(NASTY,))
    page = harmless(replace(made("a b"), student=student)._repr_html_())
    assert one_line(NASTY) in page.text
    assert one_line(NASTY[:50])[:40] in page.text


def test_long_texts_are_cut_with_a_note() -> None:
    a = made(" ".join(CORPUS * 5))
    assert len(a) > 3 * CARD_GROUPS
    html = a._repr_html_()
    assert harmless(html).count("div", **{"class": "g"}) == CARD_GROUPS
    assert f"{len(a) - CARD_GROUPS:,} more groups are not drawn." in html
    assert len(html) < 100_000


def test_an_empty_text_has_a_card() -> None:
    assert "0 groups" in harmless(made("")._repr_html_()).text


def test_sides_that_spell_different_bytes_are_marked() -> None:
    a = made("In 2024 we sold 12 units.", "uld")
    page = harmless(a._repr_html_())
    groups = [attributes["title"] for tag, attributes in page.tags if attributes.get("class") == "g"]
    assert [title.endswith("the two sides spell different bytes") for title in groups] == a.unequal.tolist()
    assert page.text.count("≠") == int(a.unequal.sum()) + 1  # and once in the legend
    assert "≠" not in harmless(made("In 2024 we sold 12 units.")._repr_html_()).text
