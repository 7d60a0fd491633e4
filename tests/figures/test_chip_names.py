"""Names over chips: emoji and cut characters, on the tokens that spell them."""

from __future__ import annotations

import pytest

from ctkd_core.figures.chip_names import named_tokens
from ctkd_core.figures.chips import chip_page
from tests.alignment.make import encoding
from tests.figures.samples import made
from tests.tiny import CORPUS


def test_a_cut_emoji_is_named_once_over_its_pieces():
    llama = "🦙".encode()
    found = named_tokens(encoding(["a ", llama[:2], llama[2:3], llama[3:], "!"]), 0, 5)
    assert found == [(1, 4, "🦙", "llama")]


def test_a_whole_emoji_is_named_and_plain_letters_are_not():
    assert named_tokens(encoding(["naïve", " 東京", "🦙"]), 0, 3) == [(2, 3, "🦙", "llama")]


def test_a_cut_accent_is_named():
    n = "\u0308".encode()
    ((first, end, _, name),) = named_tokens(encoding(["nai", n[:1], n[1:], "ve"]), 0, 4)
    assert (first, end, name) == (1, 3, "combining diaeresis")


def test_an_emoji_of_several_code_points_is_named_whole_or_point_by_point():
    woman, joiner, rocket = (c.encode() for c in "👩\u200d🚀")
    assert named_tokens(encoding([woman + joiner + rocket]), 0, 1) == [(0, 1, "👩\u200d🚀", "woman, rocket")]
    found = named_tokens(encoding([woman[:3], woman[3:], joiner[:2], joiner[2:], rocket]), 0, 5)
    assert found == [(0, 2, "👩", "woman"), (2, 4, "", "zero width joiner"), (4, 5, "🚀", "rocket")]


def test_one_token_with_the_ends_of_two_characters_joins_them():
    a, b = "🦙".encode(), "🚀".encode()
    assert named_tokens(encoding([a[:2], a[2:] + b[:1], b[1:]]), 0, 3) == [(0, 3, "🦙🚀", "llama; rocket")]


@pytest.mark.parametrize("method", ["sedi", "uld", "cdm"])
def test_pages_name_what_their_groups_hold(method):
    a = made(method, " ".join(CORPUS))
    named = 0
    for group in chip_page(a)["groups"]:
        for names, tokens in (("ns", "s"), ("nt", "t")):
            for first, end, _, name in group.get(names, []):
                assert 0 <= first < end <= max(len(group[tokens]), end if len(group[tokens]) == 60 else 0)
                assert name
                named += 1
    assert named
    assert "ns" not in chip_page(made(method, "plain text"))["groups"][0]


def test_a_text_from_right_to_left_is_laid_out_so_and_what_is_turned_is_marked():
    data = chip_page(made(text="שלום 2024 hello world"))
    assert data["dir"] == "rtl"
    turned = [g for g in data["groups"] if g.get("r")]
    assert turned and {g.get("dir") for g in turned} <= {"ltr", None}
    plain = chip_page(made(text="hello שלום עולם again"))
    assert plain["dir"] == "ltr"
    assert any(g.get("r") and g["dir"] == "rtl" for g in plain["groups"])
    assert not any(g.get("r") for g in chip_page(made())["groups"])
