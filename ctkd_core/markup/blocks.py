"""Blocks of HTML for notebooks and reports: token chips, small tables, and the card around them.

Every text that comes in is taken for untrusted: it is escaped, what can't be printed is spelled out, and each has a
writing direction of its own. No script, and nothing is loaded from elsewhere. A card brings both of its colours, so
that it is readable in light and dark notebooks alike.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ctkd_core.markup.visible import one_line, shorten

MAX_CELL = 160  # characters of a text in a table

# The theme of the notebook comes first (JupyterLab and nbconvert, VS Code, Colab), the system's where it names none.
STYLE = """
.ctkd{color-scheme:light dark;--bg:light-dark(#fff,#16191d);--fg:light-dark(#1f2328,#e6e9ec);
--dim:light-dark(#57606a,#a6adb5);--line:light-dark(#d0d7de,#3b424a);background:var(--bg);color:var(--fg)}
[data-jp-theme-light=true] .ctkd,.vscode-light .ctkd,html[theme=light] .ctkd{color-scheme:light}
[data-jp-theme-light=false] .ctkd,.vscode-dark .ctkd,html[theme=dark] .ctkd{color-scheme:dark}
.ctkd table{border-collapse:collapse;font-size:13px;margin:6px 0;color:inherit}
.ctkd tr{background:none!important}
.ctkd th,.ctkd td{border-bottom:1px solid var(--line);padding:3px 9px;text-align:left!important;vertical-align:top;
color:inherit;white-space:normal;max-width:60em}
.ctkd .n{text-align:right!important;font-variant-numeric:tabular-nums;white-space:nowrap}
.ctkd pre,.ctkd code,.ctkd .c{font-family:ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;
background:none;color:inherit}
.ctkd .rows{display:flex;flex-wrap:wrap;gap:12px 3px;margin:8px 0}
.ctkd .g{display:flex;flex-direction:column;align-items:center;border-radius:6px;padding:2px}
.ctkd .g>div{display:flex;gap:2px;min-height:24px;flex-wrap:wrap;justify-content:center}
.ctkd .j{display:block;width:100%;height:8px;background:color-mix(in srgb,var(--c) 34%,transparent);position:relative}
.ctkd .j:has(.x){height:14px;background:repeating-linear-gradient(45deg,var(--fg) 0 1.5px,transparent 1.5px 6px)}
.ctkd .x{font-size:12px;line-height:14px;padding:0 3px;border-radius:3px;background:var(--bg);color:var(--fg)}
.ctkd .j .x{position:absolute;left:50%;top:0;transform:translateX(-50%)}
.ctkd .c{border:2px solid var(--c);border-radius:5px;padding:1px 4px;font-size:13px;line-height:1.35;
background:color-mix(in srgb,var(--c) 15%,transparent)}
.ctkd .note{color:var(--dim);font-size:13px;margin:4px 0}
""".strip()
_CARD_STYLE = """
.ctkd-card{border:1px solid var(--line);border-radius:8px;padding:10px 14px;font:14px/1.45 system-ui,sans-serif;
max-width:1100px;overflow-x:auto}
.ctkd-card h4{margin:0 0 4px;font-size:15px;font-weight:600;color:inherit}
.ctkd-card p{margin:4px 0}
.ctkd-card svg{max-width:100%;height:auto;color:var(--fg)}
""".strip()


def text(value: str, limit: int = 0) -> str:
    """`value` on one line, escaped, cut after `limit` characters (0: never); bidirectional text stays inside."""
    shown = shorten(one_line(value), limit) if limit else one_line(value)
    return escape(shown) if shown.isascii() else f"<bdi>{escape(shown)}</bdi>"


def chip(shown: str, colour: str, border: str, title: str = "") -> str:
    """A token in a box. `shown` is its visible spelling, `border` a CSS border style, `title` what a hover tells."""
    hint = f' title="{escape(title)}"' if title else ""
    style = f"--c:{escape(colour)};border-style:{escape(border)}"
    return f'<span class="c" dir="auto" style="{style}"{hint}>{escape(shown or "∅")}</span>'


def note(sentence: str) -> str:
    """A sentence in small print."""
    return f'<p class="note">{text(sentence)}</p>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], code: Collection[str] = ()) -> str:
    """A table; numbers stand to the right, texts of the columns `code` in the fixed-width font. No head: no columns."""
    fixed = [name in code for name in columns]
    head = "".join(f"<th>{text(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, k < len(fixed) and fixed[k]) for k, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def facts(named: Mapping[str, str | float | None]) -> str:
    """Names and values in two columns; entries that are None or empty texts are left out."""
    shown = {
        name: value if isinstance(value, str) else figure_of(value)
        for name, value in named.items()
        if value is not None
    }
    return table((), [(name, value) for name, value in shown.items() if value])


def card(title: str, *parts: str) -> str:
    """One block for a notebook: `title` is a text, `parts` are HTML made by this module."""
    return (
        f'<div class="ctkd ctkd-card"><style>{STYLE}\n{_CARD_STYLE}</style><h4>{text(title)}</h4>{"".join(parts)}</div>'
    )


def figure_of(value: float, digits: int = 6) -> str:
    """A number as a text: whole ones with commas, others with so many digits; NaN and infinities by name."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def _cell(value: Any, fixed: bool) -> str:
    if isinstance(value, Html):
        return f"<td>{value.code}</td>"
    if isinstance(value, str):
        shown = text(value, MAX_CELL)
        return f"<td><code>{shown}</code></td>" if fixed else f"<td>{shown}</td>"
    if str(value) in ("True", "False"):  # numpy's too
        return f"<td>{'yes' if value else 'no'}</td>"
    return f'<td class="n">{escape(figure_of(value))}</td>'


class Html:
    """HTML made by this module, as the value of a cell: it is put in as it stands."""

    def __init__(self, code: str) -> None:
        self.code = code
