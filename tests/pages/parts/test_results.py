"""What pages keep stays below its bound, whatever is edited."""

from __future__ import annotations

import pytest

from ctkd_core.files.sized_cache import MIB
from pages.parts import loaders, results
from pages.parts.loaders import Chosen
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> results.SizedCache:
    results.RESULTS.clear()
    monkeypatch.setattr(results.RESULTS, "most_bytes", 6 * MIB)
    return results.RESULTS


def test_four_dozen_large_texts_stay_below_the_bound(small: results.SizedCache) -> None:
    """Each makes an alignment of about a megabyte, its rates and its rows."""
    student, teacher = tiny_byte_level(), tiny_metaspace()
    base = "\n".join(CORPUS)[:8_000]
    largest = 0
    for k in range(48):
        made = loaders.aligned(student, teacher, Chosen("sedi"), f"{k} {base}")
        assert made is loaders.aligned(student, teacher, Chosen("sedi"), f"{k} {base}")
        assert made.metrics()["byte_coverage"] > 0.9
        assert len(loaders.group_rows(made, None)) == len(made)
        assert made.sizes is not None and len(made.student.uncovered) >= 0  # computed later, kept inside
        largest = max(largest, small.bytes)
    assert 3 * MIB < largest <= 6 * MIB
    assert len(small) < 48


def test_another_option_is_another_entry(small: results.SizedCache) -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    one = loaders.aligned(student, teacher, Chosen("alm"), "a text of cats")
    other = loaders.aligned(student, teacher, Chosen("alm", "released"), "a text of cats")
    assert one is not other
    assert one is loaders.aligned(student, teacher, Chosen("alm"), "a text of cats")
    assert other.variant == "released"
