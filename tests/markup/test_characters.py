"""Characters as a reader sees them: what belongs together, and what it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.markup.characters import character_name, clusters, is_picture

MIXED = st.text(st.sampled_from("a1 é\u0301\u200d\ufe0f👩🚀🏽🇯🇵🇫नि\u20e3\n"), max_size=20)


@given(MIXED | st.text(max_size=20))
def test_clusters_part_the_text_without_gaps(text: str) -> None:
    found = list(clusters(text))
    assert "".join(text[a:b] for a, b in found) == text
    assert all(a < b for a, b in found)
    assert all(character_name(text[a:b]) for a, b in found if text[a:b].strip("\u200d\ufe0e\ufe0f"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("👩‍🚀!", ["👩‍🚀", "!"]),
        ("🇯🇵🇫🇷", ["🇯🇵", "🇫🇷"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("nai\u0308ve", ["n", "a", "i\u0308", "v", "e"]),
        ("1\ufe0f\u20e32", ["1\ufe0f\u20e3", "2"]),
    ],
)
def test_what_belongs_together(text: str, parts: list[str]) -> None:
    assert [text[a:b] for a, b in clusters(text)] == parts


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        ("🦙", "llama"),
        ("👩‍🚀", "woman, rocket"),
        ("👍🏽", "thumbs up sign, skin tone 4"),
        ("🇯🇵", "flag JP"),
        ("🇯", "flag letter J"),
        ("\u200d", "zero width joiner"),
        ("i\u0308", "latin small letter i with diaeresis"),
        ("\ue000", "U+E000"),
    ],
)
def test_names(cluster: str, name: str) -> None:
    assert character_name(cluster) == name


def test_pictures() -> None:
    assert all(map(is_picture, ("🦙", "🇯🇵", "☀", "1\ufe0f\u20e3", "👩‍🚀")))
    assert not any(map(is_picture, ("a", "é", "東", "1", "न")))
