"""What pages computed, kept between clicks and shared by all sessions: one cache for all of it, bounded by bytes.

Results of one pair and text are kept as long as their tokenizers and alignments are, and as long as there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ctkd_core.files.sized_cache import MIB, SizedCache

P = ParamSpec("P")
T = TypeVar("T")
RESULTS = SizedCache(384 * MIB)  # six alignments of a text of one megabyte, or all that a day of short ones brings
keeps = RESULTS.keeps


def keeps_few(function: Callable[P, T]) -> Callable[P, T]:
    """`keeps` for maps, which hold their tokenizers: the last four."""
    return RESULTS.keeps(function, most=4)
