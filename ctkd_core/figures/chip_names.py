"""Names over token chips: emoji, and characters that the tokens of one side cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ctkd_core.alignment.base import Alignment
from ctkd_core.markup.characters import character_name, clusters, is_picture
from ctkd_core.markup.visible import shorten, visible
from ctkd_core.tokenizers.encoding import Encoding

BEFORE = 64  # bytes that are read before a page: where a character that it begins in may begin
MOST_CHARACTERS = 4  # named over one stretch of tokens
NAME_CHARACTERS = 90


def named_tokens(encoding: Encoding, start: int, end: int) -> list[tuple[int, int, str, str]]:
    """Stretches of the tokens start..end that spell emoji, or one character together: (first, end, shown, name).

    Stretches don't overlap; the name of one with several characters lists them. `shown` is empty for what can't be
    drawn.
    """
    spans = encoding.spans[start:end]
    covered = spans[spans[:, 1] > spans[:, 0]]
    if not len(covered):
        return []
    low, high = int(covered[:, 0].min()), int(covered[:, 1].max())
    data = encoding.text.encode("utf-8", errors="surrogatepass")
    if data[low:high].isascii():
        return []
    low, high = _on_characters(data, max(0, low - BEFORE), high)
    text = data[low:high].decode("utf-8", errors="surrogatepass")
    ranges = spans.tolist()
    edges = {edge for span in ranges for edge in span}
    found: list[list[Any]] = []  # first token, end token, characters
    k = 0
    for unit, first, last in _units(text, low, edges):
        while k < len(ranges) and ranges[k][1] <= first:
            k += 1
        stop = k
        while stop < len(ranges) and ranges[stop][0] < last:
            stop += 1
        inside = [t for t in range(k, stop) if ranges[t][1] > max(ranges[t][0], first)]
        cut = any(first < edge < last for t in inside for edge in ranges[t])
        if not inside or not (cut or is_picture(unit)):
            continue
        if found and inside[0] < found[-1][1]:
            found[-1][1] = max(found[-1][1], inside[-1] + 1)
            found[-1][2].append(unit)
        else:
            found.append([inside[0], inside[-1] + 1, [unit]])
    return [(start + a, start + b, *_words(characters)) for a, b, characters in found]


def _units(text: str, at: int, edges: set[int]) -> Iterator[tuple[str, int, int]]:
    """Characters beyond ASCII with their bytes first..end, counted from `at`.

    One that tokens part between its code points comes code point by code point.
    """
    for a, b in clusters(text):
        ends = [at]
        for character in text[a:b]:
            ends.append(ends[-1] + len(character.encode("utf-8", errors="surrogatepass")))
        parted = bool(edges.intersection(ends[1:-1]))
        parts = list(zip(text[a:b], ends, ends[1:])) if parted else [(text[a:b], at, ends[-1])]
        yield from (part for part in parts if not part[0].isascii())
        at = ends[-1]


def _words(characters: list[str]) -> tuple[str, str]:
    kept = characters[:MOST_CHARACTERS]
    more = f" and {len(characters) - len(kept)} more" if len(characters) > len(kept) else ""
    names = "; ".join(dict.fromkeys(map(character_name, kept)))
    shown = "".join(c if is_picture(c) else visible(c) for c in kept if c.isprintable() or len(c) > 1)
    return shown, shorten(names, NAME_CHARACTERS) + more


def texts_under(alignment: Alignment, first: int, last: int) -> list[str]:
    """The text under each of the groups first..last, in whole characters: two groups share one that they cut."""
    data = alignment.student.text.encode("utf-8", errors="surrogatepass")
    texts = []
    for s0, s1, t0, t1 in alignment.groups[first:last].tolist():
        spans = alignment.student.spans[s0:s1] if s1 > s0 else alignment.teacher.spans[t0:t1]
        low, high = _on_characters(data, int(spans[:, 0].min()), int(spans[:, 1].max())) if len(spans) else (0, 0)
        texts.append(data[low:high].decode("utf-8", errors="surrogatepass"))
    return texts


def _on_characters(data: bytes, low: int, high: int) -> tuple[int, int]:
    """The range widened to whole UTF-8 characters."""
    while low > 0 and data[low] & 0xC0 == 0x80:
        low -= 1
    while high < len(data) and data[high] & 0xC0 == 0x80:
        high += 1
    return low, high
