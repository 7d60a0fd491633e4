"""The frame of an HTML file that opens from disk: its own policy lets nothing run or load but what is named in it."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Sequence
from html import escape

from ctkd_core import __version__
from ctkd_core.markup.blocks import STYLE, note
from ctkd_core.markup.visible import one_line, shorten

MOST_TITLE = 120  # characters


def html_file(title: str, parts: Iterable[str], style: str, scripts: Sequence[str] = ()) -> str:
    """A whole document. `parts`, `style` and `scripts` are made by this package; `title` may be anybody's.

    Scripts are allowed by their hashes, so that no other one runs, whatever a token or a text says.
    """
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    pictures = "img-src data: blob:; " if scripts else ""  # what a script makes of a figure
    policy = (
        f"default-src 'none'; script-src {allowed}; {pictures}style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )
    body = "\n".join(part for part in parts if part)
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{attribute(title, MOST_TITLE)}</title><style>{STYLE}{style}</style></head>"
        f'\n<body class="ctkd">\n{body}\n{note(f"Made by CTKD Lab {__version__} on {made}.")}\n'
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def attribute(value: str, most: int = 240) -> str:
    """Somebody's text on one line of at most so many characters, escaped for an attribute or a title."""
    return escape(shorten(one_line(value), most).encode("utf-8", "replace").decode())


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
