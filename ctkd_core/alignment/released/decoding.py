"""What each token adds to the decoded text, as a program sees it that decodes ever longer prefixes of the ids.

Source: huggingface/trl, the parent of 2ac060ee, which decodes every prefix anew; here the same pieces come in one pass.
A character that several tokens spell shows as U+FFFD until its last byte. The character that replaces the mark is never
seen: only text beyond the length of the previous prefix is.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ctkd_core.tokenizers.encoding import Encoding

MARK = "\ufffd"


def decoded_pieces(encoding: Encoding) -> list[str]:
    """One string a token, special tokens too (as they are written).

    Byte-level tokens are decoded together; of a SentencePiece tokenizer only the runs of its byte tokens are, and one
    byte that is no text spoils its whole run. Other tokenizers are taken as byte-level. The blank that a SentencePiece
    tokenizer puts before a text is taken off again.
    """
    pieces = encoding.token_bytes
    if encoding.kind != "sentencepiece":
        return byte_level_pieces(pieces)
    spelled = sum(len(b) for b, special in zip(pieces, encoding.special) if not special)
    blank = spelled == encoding.n_bytes + 1 and pieces[:1] != [] and pieces[0].startswith(b" ")
    return byte_fallback_pieces([pieces[0][1:], *pieces[1:]] if blank else pieces)


def byte_level_pieces(tokens: Sequence[bytes]) -> list[str]:
    """Pieces where all bytes are decoded together."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces, seen = [], 0  # seen: marks at the end of the previous prefix, for bytes that are no character yet
    for token in tokens:
        fresh = decoder.decode(token)
        marks = decoder.getstate()[0].decode("utf-8", "replace")
        pieces.append((fresh + marks)[seen:])
        seen = len(marks)
    return pieces


def byte_fallback_pieces(tokens: Sequence[bytes]) -> list[str]:
    """Pieces where tokens of one byte beyond ASCII (byte tokens) are decoded in runs, the others one by one."""
    pieces: list[str] = []
    run: _Run | None = None
    for token in tokens:
        if len(token) == 1 and token[0] >= 0x80:
            run = run or _Run()
            pieces.append(run.add(token))
        else:
            run = None
            pieces.append(token.decode("utf-8", "replace"))
    return pieces


class _Run:
    """Byte tokens in a row: the text they spell, or else one mark a byte."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._text: list[str] = []
        self._spoilt = False
        self._bytes = self._seen = 0

    def add(self, byte: bytes) -> str:
        """What the run shows beyond the length that it had before."""
        self._bytes += 1
        try:
            self._text += "" if self._spoilt else self._decoder.decode(byte)
        except UnicodeDecodeError:
            self._spoilt = True
        whole = not self._spoilt and not self._decoder.getstate()[0]
        before, self._seen = self._seen, len(self._text) if whole else self._bytes
        return "".join(self._text[before:]) if whole else MARK * (self._bytes - before)
