"""What characters are: words as the regular expressions find them, scripts by the names of letters."""

from __future__ import annotations

import pytest

from ctkd_core.pair.corpora.characters import SCRIPTS, characters


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "Latin"),
        ("ß", "Latin"),
        ("я", "Cyrillic"),
        ("λ", "Greek"),
        ("東", "Han"),
        ("か", "Kana"),
        ("한", "Hangul"),
        ("ก", "Thai"),
        ("ع", "Arabic"),
        ("7", "numbers"),
        ("٣", "numbers"),
        (" ", "signs"),
        ("🦙", "signs"),
        ("Ꭰ", "other letters"),
    ],
)
def test_scripts(character: str, script: str) -> None:
    assert SCRIPTS[characters().scripts[ord(character)]] == script


def test_every_code_point_is_in_the_tables() -> None:
    assert len(characters().words) == len(characters().scripts) == 0x110000
