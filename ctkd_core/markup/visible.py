"""Token bytes as readable text: whitespace drawn, bytes of cut characters as <F0>, control characters by number."""

from __future__ import annotations

import unicodedata

GLYPHS = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


def visible(text: str) -> str:
    """`text` on one line: whitespace as glyphs, unprintable characters as <U+200D>, a lone accent on a circle."""
    shown = "".join(GLYPHS.get(c) or (c if c.isprintable() else f"<U+{ord(c):04X}>") for c in text)
    return f"◌{shown}" if text and unicodedata.combining(text[0]) else shown


def one_line(text: str) -> str:
    """A name or a sentence for display: like `visible`, but blanks stay blanks."""
    return " ".join(map(visible, text.split(" ")))


def visible_bytes(data: bytes) -> str:
    """Token bytes for display: text where they are UTF-8, <F0><9F> where a character was cut."""
    shown, start = [], 0
    while start < len(data):
        try:
            shown.append(visible(data[start:].decode("utf-8")))
            break
        except UnicodeDecodeError as fault:
            bad = start + fault.start
            shown.append(visible(data[start:bad].decode("utf-8")))
            # one byte at a time: what follows a stray byte may well be a whole character
            shown.append(f"<{data[bad]:02X}>")
            start = bad + 1
    return "".join(shown)


def hex_bytes(data: bytes, limit: int = 24) -> str:
    """Bytes in hex, at most `limit` of them."""
    more = f" … {len(data) - limit} more" if len(data) > limit else ""
    return data[:limit].hex(" ").upper() + more


def shorten(text: str, limit: int) -> str:
    """`text`, at most `limit` characters, with an ellipsis where it was cut."""
    return text if len(text) <= limit else text[: max(1, limit - 1)] + "…"


def counted(number: int, unit: str) -> str:
    """ "1 token", "1,204 tokens"."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
