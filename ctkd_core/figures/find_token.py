"""Finding a token by what a person types: its text, its bytes, its raw vocabulary string, or its id."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ctkd_core.errors import ProjectionError, short
from ctkd_core.markup.visible import GLYPHS, visible_bytes

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

_ID = re.compile(r"\s*#\s*(\d{1,9})\s*")
_BYTE = re.compile(r"[<⟨](?:0x)?([0-9A-Fa-f]{2})[>⟩]|[<⟨]U\+([0-9A-Fa-f]{4,6})[>⟩]")
_CHARACTERS = {glyph: character for character, glyph in GLYPHS.items()}
_SPACE_MARKERS = str.maketrans({"▁": " ", "Ġ": " "})  # as SentencePiece and byte-level vocabularies write a space


def find_token(tokenizer: Tokenizer, query: str) -> int:
    """The id that `query` means: "#201" is an id; else the token of that text, of those bytes, or of that raw string.

    The text may be written as tokens are shown here: "·the" for " the", "<F0><9F>" for bytes; or as vocabularies write
    it, "▁the" or "Ġthe", "<0xF0>", where no token has that very text.

    Raises ProjectionError when there's no such token, with how the tokenizer cuts the text.
    """
    if found := _ID.fullmatch(query):
        token_id = int(found[1])
        if token_id >= tokenizer.n_ids:
            raise ProjectionError(f"{tokenizer.name!r} has no id {token_id}; its ids run to {tokenizer.n_ids - 1}.")
        return token_id
    if not query:
        raise ProjectionError("type a token, or # and an id.")
    plain = query.encode("utf-8", errors="surrogatepass")
    for data in (plain, spelled(query)):
        if data in (ids := _ids_by_bytes(tokenizer)):
            return ids[data]
    named = tokenizer.id_of(query)
    if named is not None:
        return named
    if (loose := spelled(query.translate(_SPACE_MARKERS))) in ids:
        return ids[loose]
    pieces = [visible_bytes(tokenizer.token_bytes(k)) for k in tokenizer.encode_pieces([spelled(query)])[0]]
    raise ProjectionError(
        f"no token of {tokenizer.name!r} spells {short(query)}; it is cut into {' | '.join(pieces) or 'nothing'}."
    )


def query_for(tokenizer: Tokenizer, token_id: int) -> str:
    """What finds this token again: its visible text where that is enough, else "#" and the id."""
    text = visible_bytes(tokenizer.token_bytes(token_id))
    try:
        return text if text.strip() and find_token(tokenizer, text) == token_id else f"#{token_id}"
    except ProjectionError:
        return f"#{token_id}"


def spelled(text: str) -> bytes:
    """The bytes that `visible_bytes` would show as `text`; the inverse of it for texts without those signs."""
    out, start = bytearray(), 0
    for mark in _BYTE.finditer(text):
        out += _plain(text[start : mark.start()])
        out += bytes.fromhex(mark[1]) if mark[1] else _plain(chr(min(int(mark[2], 16), 0x10FFFF)))
        start = mark.end()
    return bytes(out + _plain(text[start:]))


def _plain(text: str) -> bytes:
    if len(text) > 1 and text[0] == "◌" and unicodedata.combining(text[1]):
        text = text[1:]  # the circle only carries a lone accent
    return "".join(_CHARACTERS.get(c, c) for c in text).encode("utf-8", errors="surrogatepass")


def _ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    from ctkd_core.vocabulary.exact import ids_by_bytes

    return ids_by_bytes(tokenizer)
