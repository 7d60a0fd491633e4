"""Encoding: one text under one tokenizer, with exact bytes; Tokenizer: what makes encodings.

Where tokenizers come from (catalog, hub, folder, upload) is the business of `tokenizer_sources`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Encoding:
    """One text under one tokenizer; all arrays have one entry per token.

    ids          int32 [n]
    tokens       display strings (visible whitespace and bytes are the display's business, not done here)
    token_bytes  the bytes each token stands for: what decoding it in the middle of a text adds
    spans        int64 [n, 2]: half-open UTF-8 byte ranges of `text`; pieces of one character have their own
                 ranges; an empty range (start == end) means the token covers nothing of the text
    char_spans   int64 [n, 2]: half-open code-point ranges as the tokenizer reports them (the unit of the SeDi paper)
    special      bool [n]: tokens such as BOS that no alignment may touch
    notes        sentences a user must know, e.g. that a normaliser changed the text
    kind         of its tokenizer, one of `token_bytes.KINDS`; "" when the encoding was made by hand
    """

    text: str
    tokenizer: str
    ids: NDArray[np.int32]
    tokens: list[str]
    token_bytes: list[bytes]
    spans: NDArray[np.int64]
    char_spans: NDArray[np.int64]
    special: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    kind: str = ""

    def __repr__(self) -> str:
        from ctkd_core.tokenizers.display import encoding_line

        return encoding_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.tokenizers.display import encoding_card

        return encoding_card(self)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def n_bytes(self) -> int:
        """Length of the text in UTF-8 bytes."""
        return len(self.text.encode("utf-8", errors="surrogatepass"))

    @cached_property
    def uncovered(self) -> NDArray[np.int64]:
        """int64 [k, 2]: maximal byte ranges of the text that no token covers."""
        covered = np.zeros(self.n_bytes + 1, dtype=np.int64)
        np.add.at(covered, self.spans[:, 0], 1)
        np.add.at(covered, self.spans[:, 1], -1)
        bare = np.concatenate([[False], np.cumsum(covered)[:-1] == 0, [False]]).astype(np.int8)
        edges = np.flatnonzero(np.diff(bare))
        return edges.reshape(-1, 2)

    @cached_property
    def bytes_in_text(self) -> list[bytes]:
        """`token_bytes` without the blank that a tokenizer puts before a text, or behind a special token in it."""
        after_special = np.concatenate([[True], self.special])[: len(self)]
        out = list(self.token_bytes)
        for k in np.flatnonzero(~self.special & after_special).tolist():
            if out[k].startswith(b" ") and len(out[k]) == self.spans[k, 1] - self.spans[k, 0] + 1:
                out[k] = out[k][1:]
        return out

    @cached_property
    def content_bytes(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """`bytes_in_text` of all tokens that aren't special in a row, and where each token starts (one entry more)."""
        pieces = self.bytes_in_text
        if self.special.any():
            pieces = [b"" if special else piece for piece, special in zip(pieces, self.special.tolist())]
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        return np.frombuffer(b"".join(pieces), dtype=np.uint8), np.concatenate([[0], np.cumsum(lengths)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data: name, ids, tokens, spans."""
        return {
            "name": self.tokenizer,
            "ids": self.ids.tolist(),
            "tokens": list(self.tokens),
            "spans": self.spans.tolist(),
            "notes": list(self.notes),
        }
