"""Options and their values in a few words: names of a sweep's runs, labels of kinds in comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctkd_core.markup.visible import shorten

_WIDTHS = (40, 24, 16, 10)  # characters that values are shortened to, one after another, until all of them fit


def value_text(value: Any) -> str:
    """A value of an option for people."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:g}"
        return text if float(text) == value else str(value)  # six digits may be those of another value, too
    return str(value) if value != "" else "empty"


def option_label(
    first: str, options: Iterable[tuple[str, Any]], most: int, others: Mapping[str, Sequence[Any]] | None = None
) -> str:
    """ "first, name value, name value", at most `most` characters: where they are more, values lose their middle.

    others  values that the options have in other labels: a value that would look like one of them loses what all of
            them have in common instead, and keeps what differs
    """
    texts = [(name, value_text(value)) for name, value in options]
    label = ", ".join([first, *(f"{name} {text}" for name, text in texts)])
    if len(label) <= most:
        return label
    beside = {name: [value_text(value) for value in values] for name, values in (others or {}).items()}
    for width in (most, *_WIDTHS):
        label = ", ".join(
            [first, *(f"{name} {short_value(text, width, beside.get(name, ()))}" for name, text in texts)]
        )
        if len(label) <= most:
            return label
    return shorten(label, most)


def distinct(labels: Sequence[str]) -> list[str]:
    """The labels, equal ones with the number of their place."""
    return [label if labels.count(label) == 1 else f"{label} ({k})" for k, label in enumerate(labels, start=1)]


def short_value(text: str, most: int, others: Sequence[str]) -> str:
    """The text without its middle, or where another would then look the same, without what they have in common."""
    found = _without_middle(text, most)
    alike = [other for other in others if other != text and _without_middle(other, most) == found]
    if not alike:
        return found
    every = [text, *alike]
    start = _common_words(every)
    end = _common_words([each[::-1] for each in every])
    middle = _without_middle(text[start : max(len(text) - end, start)], _WIDTHS[0])
    # A text that lies within another has nothing of its own between what they have in common.
    return f"{'…' if start else ''}{middle}{'…' if end else ''}" if middle else _without_middle(text, _WIDTHS[0])


def _common_words(texts: Sequence[str]) -> int:
    """The length of what all texts begin with, without its last word, which may go on in one of them."""
    first = texts[0]
    length = next((k for k, letters in enumerate(zip(*texts)) if len(set(letters)) > 1), min(map(len, texts)))
    while length and first[length - 1].isalnum():
        length -= 1
    return length


def _without_middle(text: str, most: int) -> str:
    """The beginning and, of paths the telling part, the end."""
    if len(text) <= most:
        return text
    head = most // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"
