"""Which bytes of a text each token was made of, where a tokenizer rewrites the text before cutting it.

Normalisers compose, expand, replace and drop characters. The ranges that the tokenizers library reports then leave out
what was composed (the accent of "e" + U+0301), so the text is taken apart here: into clusters that a normaliser treats
by themselves, each with what becomes of it. Tokens spell those results one after another. A boundary inside a cluster
that was changed lies at no byte of the text: all tokens made of the cluster cover the whole of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Normalise = Callable[[str], str]
LARGEST = ("line", "word", "character")
LONGEST_JOINED = 200  # characters of a word in which characters that are rewritten together are looked for
_FIRST_MARK = "\u0300"
_WORD = re.compile(r"\S+|\s", re.DOTALL)
# Hangul vowels and final consonants, half-width voice marks: they compose with what stands before them.
_JOINING = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF), (0xFF9E, 0xFF9F))


class Cluster(NamedTuple):
    """A stretch of the text that is rewritten by itself.

    start, end  its bytes of the text, half-open; first, last: its code points, half-open
    spelled     the bytes that tokens spell for it, b"" where it is dropped
    same        whether they are the text's own bytes, so that offsets inside it mean something
    """

    start: int
    end: int
    first: int
    last: int
    spelled: bytes
    same: bool


def clusters(text: str, normalise: Normalise, largest: str = "character") -> list[Cluster]:
    """`text` in order, cut wherever what stands before and what stands after are rewritten apart.

    largest  one of LARGEST: lines or words that stay as they are may be one cluster (faster to follow)
    """
    found: list[Cluster] = []
    memo: dict[str, list[tuple[int, bytes, bytes]]] = {}
    at = byte = 0
    for piece in _pieces(text, normalise, largest):
        known = memo.get(piece)
        if known is None:
            known = memo[piece] = [(len(p), *_rewritten(p, normalise)) for p in _parts(piece, normalise, largest)]
        for size, own, spelled in known:
            found.append(Cluster(byte, byte + len(own), at, at + size, spelled, own == spelled))
            at, byte = at + size, byte + len(own)
    return found


def _pieces(text: str, normalise: Normalise, largest: str) -> list[str]:
    """Lines that stay as they are, or words and the blanks between them, each with the marks that follow it."""
    lines = text.splitlines(keepends=True) if largest == "line" else [text]
    pieces: list[str] = []
    for line in lines:
        whole = largest == "line" and normalise(line) == line
        for piece in [line] if whole else _WORD.findall(line):
            if piece[0] >= _FIRST_MARK and pieces and _joins(pieces[-1], piece[0]):
                pieces[-1] += piece
            else:
                pieces.append(piece)
    return pieces


def _parts(piece: str, normalise: Normalise, largest: str) -> list[str]:
    """A piece character by character, with its marks where they are rewritten, or one that stays as it is whole."""
    if largest != "character" and normalise(piece) == piece:
        return [piece]
    parts = [piece[0]]
    for character in piece[1:]:
        if _joins(parts[-1], character):
            parts[-1] += character
        else:
            parts.append(character)
    parts = parts if len(parts) > LONGEST_JOINED else _together(parts, normalise)
    # Some vocabularies have a token for a character and none for the marks on it.
    return [one for part in parts for one in (part if normalise(part) == part else [part])]


def _together(parts: list[str], normalise: Normalise) -> list[str]:
    """Parts that are only rewritten together, as "``" to a quotation mark, as one; most are none."""

    def made(some: Sequence[str]) -> str:
        return "".join(normalise("".join(some)).split())  # some normalisers set blanks around characters

    if "".join(made([part]) for part in parts) == made(parts):
        return parts
    found: list[str] = []
    while parts:
        whole = made(parts)
        size = next((k for k in range(1, len(parts)) if made(parts[:k]) + made(parts[k:]) == whole), len(parts))
        found.append("".join(parts[:size]))
        parts = parts[size:]
    return found


def _rewritten(part: str, normalise: Normalise) -> tuple[bytes, bytes]:
    """Bytes of a stretch of text and of what becomes of it; a blank that is trimmed at the ends of a text stays."""
    spelled = normalise(part)
    return part.encode(), (part if not spelled and part.isspace() else spelled).encode()


def _joins(before: str, character: str) -> bool:
    """Whether a character belongs to the cluster before it: a mark, or something that composes with it."""
    if character < _FIRST_MARK:
        return False
    code = ord(character)
    if unicodedata.category(character)[0] == "M" or any(low <= code <= high for low, high in _JOINING):
        return True
    last = before[-1]
    return unicodedata.normalize("NFC", last + character) != unicodedata.normalize("NFC", last) + unicodedata.normalize(
        "NFC", character
    )


def spans_of_rewritten(
    text: str,
    normalise: Normalise,
    token_bytes: Sequence[bytes],
    char_spans: NDArray[np.int64],
    literal: NDArray[np.bool_],
) -> NDArray[np.int64] | None:
    """Byte ranges int64 [n, 2] of tokens that spell what becomes of the text; None where they don't.

    char_spans  int64 [n, 2] code points as the library reports them
    literal     bool [n]: tokens that stand for their reported range whatever their bytes are (unknown and added ones)

    White space, and clusters that no reported range touches, may be left out by the tokens. A blank that the tokenizer
    puts before a text, or behind a literal token, covers nothing.
    """
    touched = _touched(char_spans, len(text))
    for largest in LARGEST:  # blanks that tokens leave out need words, tokens for part of a word need characters
        found = clusters(text, normalise, largest)
        for blank in (False, True):
            ranges = _followed(found, token_bytes, char_spans, literal, touched, blank)
            if ranges is not None:
                return ranges
    return None


def _followed(
    found: Sequence[Cluster],
    token_bytes: Sequence[bytes],
    char_spans: NDArray[np.int64],
    literal: NDArray[np.bool_],
    touched: NDArray[np.bool_],
    blank: bool,
) -> NDArray[np.int64] | None:
    """`blank`: take a first blank for the tokenizer's own even where the text has one there."""
    ranges = np.zeros((len(token_bytes), 2), dtype=np.int64)
    k, inside = 0, 0  # cluster under way, how many of its bytes are spelled already
    reached = 0  # where the text covered so far ends
    fresh = True  # nothing was spelled since the beginning or a literal token
    partly = 0  # code points up to the end of a changed cluster that a literal token was made of
    for i, piece in enumerate(token_bytes):
        first, last = int(char_spans[i, 0]), int(char_spans[i, 1])
        if literal[i] and first >= last:  # a template's own, such as BOS: it covers nothing
            ranges[i] = reached
            continue
        if first < partly:
            ranges[i] = found[k - 1].start, reached
            continue
        if literal[i]:
            if inside and (found[k].same or first >= found[k].last):
                return None
            while not inside and k < len(found) and found[k].last <= first:
                if found[k].spelled and not _may_go(found[k], touched):
                    return None
                k += 1
            if k == len(found):
                return None
            start, inside = found[k].start, 0
            while k < len(found) and found[k].first < last:
                k += 1
            if found[k - 1].same and found[k - 1].last > last:
                return None
            reached, partly = found[k - 1].end, found[k - 1].last
            ranges[i] = start, reached
            fresh = True
            continue
        rest, start, end = piece, -1, reached
        while rest:
            here = found[k] if k < len(found) else None
            if here is not None and not inside and (not here.spelled):
                k += 1
                continue
            size = min(len(rest), len(here.spelled) - inside) if here is not None else 0
            if fresh and blank and rest[:1] == b" ":
                rest, fresh = rest[1:], False
            elif here is not None and size and rest[:size] == here.spelled[inside : inside + size]:
                if start < 0:
                    start = here.start + (inside if here.same else 0)
                inside += size
                rest = rest[size:]
                end = here.start + inside if here.same else here.end
                if inside == len(here.spelled):
                    k, inside, end = k + 1, 0, here.end
                fresh = False
            elif fresh and rest[:1] == b" ":
                rest, fresh = rest[1:], False
            elif here is not None and not inside and _may_go(here, touched):
                k += 1
            elif here is not None and not here.same and here.spelled[inside : inside + 1].isspace():
                inside += 1  # a blank that a cut into words drops
                if inside == len(here.spelled):
                    k, inside = k + 1, 0
            elif not inside and rest is piece and rest[:1] == b" ":  # put before a word, not only before the text
                rest = rest[1:]
            else:
                return None
        ranges[i] = (reached if start < 0 else start), max(end, reached)
        reached = max(end, reached)
    if inside and not found[k].spelled[inside:].isspace():
        return None
    left = [c for c in found[k + (inside > 0) :] if c.spelled and not _may_go(c, touched)]
    return None if left else ranges


def _may_go(cluster: Cluster, touched: NDArray[np.bool_]) -> bool:
    """Whether tokens may leave a cluster out: white space, or what no reported range touches."""
    return cluster.spelled.isspace() or not touched[cluster.first : cluster.last].any()


def _touched(char_spans: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    count = np.zeros(size + 1, dtype=np.int64)
    np.add.at(count, np.minimum(char_spans[:, 0], size), 1)
    np.add.at(count, np.minimum(char_spans[:, 1], size), -1)
    return np.cumsum(count)[:-1] > 0


def widened(text: str, spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Byte ranges in which a token that ends right before marks composed with its last character covers them too.

    For texts whose clusters could not be followed; spans int64 [n, 2], in order.
    """
    data = text.encode()
    out = spans.copy()
    following = len(data)  # where the next token begins that ends later than this one
    for i in range(len(spans) - 1, -1, -1):
        end = int(spans[i, 1])
        if i + 1 < len(spans) and spans[i + 1, 1] > end:
            following = int(spans[i + 1, 0])
        if following <= end or spans[i, 0] == end:
            continue
        gap = data[end:following].decode("utf-8", errors="ignore")
        before = data[int(out[i, 0]) : end].decode("utf-8", errors="ignore")[-1:]
        taken = ""
        while before and len(taken) < len(gap) and _joins(before + taken, gap[len(taken)]):
            taken += gap[len(taken)]
        out[i, 1] = end + len(taken.encode())
    return out
