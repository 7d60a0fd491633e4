"""Names, ages and changes in words."""

from __future__ import annotations

from ctkd_core.figures.words import ago, change, remaining
from tests.figures.samples import made


def test_names_tell_variants_and_options_apart():
    assert made("cdm").label == "cdm"
    assert made("cdm", integer_weights=False).label == "cdm (no integer weights)"
    assert made("cdm", variant="released", window=64).label == "cdm (released, window 64)"
    assert made("alm", chunking="space").label == "alm (chunking space)"
    assert made("cdm", window=64).label == "cdm (window 64)"


def test_ages_changes_and_what_is_left():
    assert [ago(100.0, 100.0 + s) for s in (5, 120, 90_000, 400_000)] == [
        "just now",
        "2 min ago",
        "yesterday",
        "4 days ago",
    ]
    assert ago(None) == ""
    assert (change(1.5, 2.0), change(None, 1.0)) == (-0.5, None)
    assert remaining(10, 40, 20.0) == 60.0
    assert remaining(1, 40, 20.0) is None
