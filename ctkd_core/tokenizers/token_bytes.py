"""Bytes: what each vocabulary string stands for, and which bytes of a text each token covers.

Bytes, not characters, are the coordinate of every alignment: a character such as an emoji is often cut into several
tokens, and only bytes tell those pieces apart. Half-open ranges throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import TokenizerError, unknown
from ctkd_core.tokenizers.rewriting import Normalise, spans_of_rewritten, widened

KINDS = ("byte-level", "sentencepiece", "wordpiece", "other")
SPACE_MARK = "\u2581"  # SentencePiece writes a space as this character
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@lru_cache(maxsize=1)
def byte_alphabet() -> tuple[str, ...]:
    """The 256 characters that stand for the bytes 0 to 255 in byte-level vocabularies.

    Printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up, in order (GPT-2).
    """
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(b) if b in own else chr(next(others)) for b in range(256))


@lru_cache(maxsize=1)
def _alphabet_to_latin1() -> dict[int, int]:
    # Characters outside the alphabet must not slip through as bytes, hence the ones that Latin-1 would accept too.
    table = {ord(c): b for b, c in enumerate(byte_alphabet())}
    return dict.fromkeys(range(256), 65535) | table


@dataclass(frozen=True)
class Marks:
    """What vocabulary strings hold that is no text.

    space          stands for a space in SentencePiece vocabularies
    byte_fallback  whether "<0xE2>" is that byte (only where the model falls back to bytes, else it is text)
    continuing     before pieces that go on with a word ("##", "@@")
    end_of_word    behind the last piece of a word ("</w>")
    """

    space: str = SPACE_MARK
    byte_fallback: bool = True
    continuing: str = ""
    end_of_word: str = ""

    def places(self, token: str) -> tuple[bool, bool]:
        """Whether a vocabulary string goes on with a word, and whether it ends one, as its marks say."""
        goes_on = bool(self.continuing) and token.startswith(self.continuing)
        return goes_on, bool(self.end_of_word) and token.endswith(self.end_of_word)


def token_bytes_from_strings(tokens: Iterable[str], kind: str, marks: Marks | None = None) -> list[bytes]:
    """The bytes that vocabulary strings of a tokenizer of this `kind` (one of KINDS) stand for.

    byte-level     one character a byte; a string with other characters (an added token) stands for itself
    sentencepiece  the space mark is a space, "<0xE2>" is that byte
    wordpiece      the continuation mark is dropped
    other          the string itself

    marks  what the vocabulary marks its strings with; by default what is usual for the kind

    Raises TokenizerError for an unknown kind.
    """
    if kind not in KINDS:
        raise unknown("kind of tokenizer", kind, KINDS, TokenizerError)
    if marks is None:
        marks = Marks(continuing="##" if kind == "wordpiece" else "")
    plain = (_without_marks(token, marks) for token in tokens)
    match kind:
        case "byte-level":
            return [_byte_level(token) for token in plain]
        case "sentencepiece":
            return [_sentencepiece(token, marks) for token in plain]
        case _:
            return [token.encode() for token in plain]


def _without_marks(token: str, marks: Marks) -> str:
    if marks.continuing and token.startswith(marks.continuing) and len(token) > len(marks.continuing):
        token = token[len(marks.continuing) :]
    if marks.end_of_word and token.endswith(marks.end_of_word):
        token = token[: -len(marks.end_of_word)]
    return token


def _byte_level(token: str) -> bytes:
    try:
        return token.translate(_alphabet_to_latin1()).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


def _sentencepiece(token: str, marks: Marks) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token) if marks.byte_fallback and token.startswith("<0x") else None
    return bytes([int(byte[1], 16)]) if byte else token.replace(marks.space, " ").encode()


def encode_text(text: str, what: str = "the text") -> bytes:
    """`text` as UTF-8; lone surrogates (half of an emoji, say) raise TokenizerError with their place."""
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        raise TokenizerError(
            f"{what} isn't valid Unicode: character {fault.start} is the lone surrogate "
            f"U+{ord(text[fault.start]):04X}, half of a character; remove it or decode the text again."
        ) from None


def char_to_byte(text: str) -> NDArray[np.int64]:
    """int64 [len(text) + 1]: byte offset at which each code point begins; the last entry is the length in bytes."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    table = np.zeros(len(codes) + 1, dtype=np.int64)
    np.cumsum(1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), out=table[1:])
    return table


def byte_spans(
    text: str,
    char_spans: Any,
    token_bytes: Sequence[bytes],
    normalise: Normalise | None = None,
    literal: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Byte ranges of `text` that each token covers: int64 [n, 2], starts and ends never decrease.

    char_spans   [n, 2] code-point ranges as the tokenizer reports them; pieces of one character repeat its range
    token_bytes  [n] bytes of each token
    normalise    what the tokenizer makes of a stretch of text before it cuts it
    literal      bool [n]: tokens whose bytes aren't the text's (unknown ones, added ones that take in blanks)

    When the tokens spell the text exactly, their lengths alone give the spans. Otherwise (a normaliser changed the
    text) a token covers all bytes that it was made of, as `rewriting` finds them; where it finds nothing, the reported
    ranges. Pieces of one character have ranges of their own while they are the text's own bytes; tokens made of one
    changed character all cover the whole of it. Tokens that stand for nothing in the text get an empty range.
    """
    data = encode_text(text)
    chars = np.asarray(char_spans, dtype=np.int64).reshape(-1, 2)
    lengths = np.fromiter(map(len, token_bytes), dtype=np.int64, count=len(token_bytes))
    if len(chars) != len(lengths):
        raise TokenizerError(f"{len(chars)} character spans for {len(lengths)} tokens; there must be one a token.")
    exact = _spans_of_spelling(data, lengths, token_bytes)
    if exact is None:
        # Tokens that a template adds (BOS, EOS) cover no character; the others may still spell the text.
        empty = chars[:, 0] >= chars[:, 1]
        if empty.any():
            kept = np.where(empty, 0, lengths)
            exact = _spans_of_spelling(data, kept, [b for b, e in zip(token_bytes, empty) if not e])
    if exact is not None:
        return exact
    if normalise is not None:
        marked = np.zeros(len(chars), dtype=np.bool_) if literal is None else literal
        followed = spans_of_rewritten(text, normalise, token_bytes, chars, marked)
        if followed is not None:
            return _in_order(followed)
    return _in_order(widened(text, _spans_of_ranges(data, char_to_byte(text)[chars], lengths, token_bytes)))


def _in_order(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spans [n, 2] widened until starts and ends never decrease: some files make the library report wild ranges."""
    if not len(spans) or not (spans[1:] < spans[:-1]).any():
        return spans
    starts = np.minimum.accumulate(spans[::-1, 0])[::-1]
    return np.stack([starts, np.maximum.accumulate(spans[:, 1])], axis=1)


def _spans_of_spelling(
    data: bytes, lengths: NDArray[np.int64], token_bytes: Sequence[bytes]
) -> NDArray[np.int64] | None:
    spelled = b"".join(token_bytes)
    if spelled == data:
        prefix = 0
    elif spelled == b" " + data:  # a dummy prefix space, which isn't in the text
        prefix = 1
    else:
        return None
    ends = np.cumsum(lengths) - prefix
    return np.maximum(np.stack([ends - lengths, ends], axis=1), 0)


def _spans_of_ranges(
    data: bytes, spans: NDArray[np.int64], lengths: NDArray[np.int64], token_bytes: Sequence[bytes]
) -> NDArray[np.int64]:
    spans = spans.copy()
    filled = spans[:, 0] < spans[:, 1]
    reached = np.maximum.accumulate(np.where(filled, spans[:, 1], 0)) if len(spans) else spans[:, 1]
    spans[~filled] = reached[~filled, None]  # where the text has got to, so that spans stay in order
    index = np.flatnonzero(filled)
    if len(index):
        spans[index] = _divide(spans[index], lengths[index])
    _take_back_trimmed_space(data, spans, lengths, token_bytes)
    return spans


def _divide(spans: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give tokens whose ranges overlap (pieces of one character) ranges of their own, by their byte lengths.

    Where the lengths don't add up the character was changed, and each of its tokens covers the whole of it.
    """
    reached = np.maximum.accumulate(spans[:, 1])
    first = np.concatenate([[True], spans[1:, 0] >= reached[:-1]])
    starts_at = np.flatnonzero(first)
    cluster = np.cumsum(first) - 1
    low = np.minimum.reduceat(spans[:, 0], starts_at)[cluster]
    width = np.maximum.reduceat(spans[:, 1], starts_at)[cluster] - low
    total = np.add.reduceat(lengths, starts_at)[cluster]
    running = np.cumsum(lengths)
    running -= (running - lengths)[starts_at][cluster]
    ends = low + running
    begins = ends - lengths
    alone = np.bincount(cluster)[cluster] == 1
    whole = np.stack([low, low + width], axis=1)
    divided = np.where((total == width)[:, None], np.stack([begins, ends], axis=1), whole)
    return np.where(alone[:, None], spans, divided)


def _take_back_trimmed_space(
    data: bytes, spans: NDArray[np.int64], lengths: NDArray[np.int64], token_bytes: Sequence[bytes]
) -> None:
    """Some tokenizers report the range of " word" without its space; the token's bytes say that it is there."""
    before = np.concatenate([[0], spans[:-1, 1]]) if len(spans) else spans[:, 0]
    gap = spans[:, 0] - before
    missing = lengths - (spans[:, 1] - spans[:, 0])
    for i in np.flatnonzero((gap > 0) & (missing > 0)):
        size = int(min(gap[i], missing[i]))
        start = int(spans[i, 0])
        lead = data[start - size : start]
        if lead.isspace() and token_bytes[i].startswith(lead):
            spans[i, 0] = start - size
