"""Encodings by hand: from pieces, or from spans with any faults."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from ctkd_core.tokenizers.encoding import Encoding


def encoding(pieces: Sequence[str | bytes], special: Sequence[int] = (), name: str = "hand-made") -> Encoding:
    """One token a piece; special pieces cover nothing of the text, the others spell it."""
    data = [p.encode() if isinstance(p, str) else p for p in pieces]
    sizes = [0 if k in special else len(p) for k, p in enumerate(data)]
    ends = np.cumsum(sizes, dtype=np.int64) if data else np.zeros(0, dtype=np.int64)
    spans = np.stack([ends - sizes, ends], axis=1).astype(np.int64)
    text = b"".join(p for k, p in enumerate(data) if k not in special).decode()
    return Encoding(
        text=text,
        tokenizer=name,
        ids=np.arange(len(data), dtype=np.int32),
        tokens=[p.decode("utf-8", "replace") for p in data],
        token_bytes=list(data),
        spans=spans,
        char_spans=char_spans(text, spans),
        special=np.array([k in special for k in range(len(data))], dtype=bool),
    )


def of_spans(spans: Sequence[Sequence[int]], length: int, special: Sequence[int] = ()) -> Encoding:
    """Tokens with the given byte spans of a text of that many letters."""
    text = ("abcdefghij" * (length // 10 + 1))[:length]
    array = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    return Encoding(
        text=text,
        tokenizer="hand-made",
        ids=np.arange(len(array), dtype=np.int32),
        tokens=[text[a:b] for a, b in array],
        token_bytes=[text[a:b].encode() for a, b in array],
        spans=array,
        char_spans=array,
        special=np.array([k in special for k in range(len(array))], dtype=bool),
    )


def char_spans(text: str, spans: np.ndarray) -> np.ndarray:
    """Characters whose bytes a byte range touches, as fast tokenizers report them."""
    owner = np.repeat(np.arange(len(text)), [len(c.encode()) for c in text])
    owner = np.append(owner, len(text))
    rows = [[owner[a], owner[b - 1] + 1] if b > a else [owner[a], owner[a]] for a, b in spans]
    return np.asarray(rows, dtype=np.int64).reshape(-1, 2)


@st.composite
def cut(draw: st.DrawFn, text: str) -> Encoding:
    """`text` cut into tokens at random bytes, also inside characters."""
    data = text.encode()
    marks = draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=len(data)))
    edges = [0, *sorted(m for m in marks if m < len(data)), len(data)]
    return encoding([data[a:b] for a, b in pairwise(edges) if b > a])


@st.composite
def encoded_twice(draw: st.DrawFn, max_size: int = 24) -> tuple[Encoding, Encoding]:
    """One random text (letters, blanks, characters of 2 to 4 bytes) under two random tokenizers."""
    text = draw(st.text(alphabet="ab é日🦙\n", min_size=0, max_size=max_size))
    return draw(cut(text)), draw(cut(text))


SPANS = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 5)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


@st.composite
def sorted_spans(draw: st.DrawFn, min_width: int = 1) -> list[tuple[int, int]]:
    """Starts and ends that don't decrease: gaps, repeats and overlaps as tokenizers make them."""
    spans = draw(SPANS.map(lambda rows: [(a, max(b, a + min_width)) for a, b in rows]))
    return list(zip(sorted(a for a, _ in spans), sorted(b for _, b in spans)))
