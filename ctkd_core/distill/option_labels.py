"""Options and their values in a few words: names of a sweep's runs, labels of kinds in comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ctkd_core.markup.visible import shorten

_WIDTHS = (40, 24, 16, 10)  # characters that values are shortened to, one after another, until all of them fit


def value_text(value: Any) -> str:
    """A value of an option for people."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "empty"


def option_label(first: str, options: Iterable[tuple[str, Any]], most: int) -> str:
    """ "first, name value, name value", at most `most` characters: where they are more, values lose their middle."""
    texts = [(name, value_text(value)) for name, value in options]
    label = ""
    for width in (most, *_WIDTHS):
        label = ", ".join([first, *(f"{name} {_without_middle(text, width)}" for name, text in texts)])
        if len(label) <= most:
            return label
    return shorten(label, most)


def distinct(labels: Sequence[str]) -> list[str]:
    """The labels, equal ones with the number of their place."""
    return [label if labels.count(label) == 1 else f"{label} ({k})" for k, label in enumerate(labels, start=1)]


def _without_middle(text: str, most: int) -> str:
    """The beginning and, of paths the telling part, the end."""
    if len(text) <= most:
        return text
    head = most // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"
