"""The picture of an alignment as SVG: teacher above, student below, groups joined. Markup of our own, texts escaped.

It holds no script, no link and no font: any program that draws SVG shows it, and a browser makes a PNG of it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from html import escape

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.alignment.metrics import kind_counts
from ctkd_core.figures.chips import MAX_CHARACTERS, MAX_TOKENS_OF_A_GROUP
from ctkd_core.markup.visible import counted, one_line, shorten, visible_bytes
from ctkd_core.tokenizers.encoding import Encoding

WIDTH = 1080  # pixels of the picture
MOST_GROUPS = 400
MOST_CHIP = 30  # characters of a token that is drawn
_COLUMN = 7.8  # pixels of one column of the font
_PADDING, _GAP, _BETWEEN = 5.0, 2.0, 8.0  # inside a chip, between chips, between groups
_CHIP, _JOIN, _LINE = 24.0, 14.0, 86.0  # heights: of a chip, of what joins two, of a line of groups
_LABEL = 70.0  # pixels for "teacher" and "student"
_TOP, _SWATCH = 34.0, 18.0
_DASHES = {"solid": "", "dotted": "1.5 2.5", "dashed": "5 3", "double": ""}
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"


@dataclass(frozen=True)
class _Chip:
    shown: str
    width: float


def chips_svg(alignment: Alignment, most: int = MOST_GROUPS, first: int = 0) -> str:
    """The picture of at most `most` groups from group `first` on, as one SVG document.

    White ground, so that it is readable on any page. A sentence below says what wasn't drawn.
    """
    groups = alignment.groups[first : first + most].tolist()
    parts: list[str] = []
    x, line = _LABEL, 0
    for place, (s0, s1, t0, t1) in enumerate(groups):
        g = first + place
        above, below = _chips(alignment.teacher, t0, t1), _chips(alignment.student, s0, s1)
        width = max(_row(above), _row(below), 12.0)
        if x > _LABEL and x + width > WIDTH - 10:
            x, line = _LABEL, line + 1
        parts.append(_group(alignment, g, above, below, x, line, width))
        x += width + _BETWEEN
    lines = line + 1 if groups else 0
    top = _TOP + 22 * _legend_rows(alignment)
    height = top + lines * _LINE + 24
    labels = "".join(
        f'<text x="4" y="{top + k * _LINE + dy}" class="s">{side}</text>'
        for k in range(lines)
        for side, dy in (("teacher", 16.0), ("student", _CHIP + _JOIN + 16.0))
    )
    left = len(alignment) - len(groups)
    more = f"{counted(left, 'more group')} {'is' if left == 1 else 'are'} not drawn." if left else ""
    title = f"{alignment.label}: {alignment.teacher.tokenizer} → {alignment.student.tokenizer}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}" '
        f'role="img"><title>{_text(title)}</title>'
        f"<style>text{{font:13px {_FONT};fill:#1f2328}}.s{{font:12px system-ui,sans-serif;fill:#57606a}}"
        ".h{font:600 14px system-ui,sans-serif}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="18" class="h">{_text(title)}</text>'
        f'{_legend(alignment)}{labels}<g transform="translate(0 {top:g})">{"".join(parts)}</g>'
        f'<text x="4" y="{height - 8:g}" class="s">{more}</text></svg>\n'
    )


def columns(text: str) -> int:
    """Columns of a fixed-width font that a text takes: two for wide characters, none for those on top of others."""
    return sum(
        0 if unicodedata.combining(c) or c == "\u200d" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _chips(encoding: Encoding, start: int, end: int) -> list[_Chip]:
    shown = [
        shorten(visible_bytes(data), min(MOST_CHIP, MAX_CHARACTERS)) or "∅"
        for data in encoding.token_bytes[start : min(end, start + MAX_TOKENS_OF_A_GROUP)]
    ]
    if end - start > MAX_TOKENS_OF_A_GROUP:
        shown.append(f"… {end - start - MAX_TOKENS_OF_A_GROUP:,} more")
    # A super-group that is wider than the picture is cut, and says so.
    found: list[_Chip] = []
    for k, text in enumerate(shown):
        chip = _Chip(text, columns(text) * _COLUMN + 2 * _PADDING)
        if _row([*found, chip]) > WIDTH - _LABEL - 90:
            rest = f"… {end - start - k:,} more"
            return [*found, _Chip(rest, columns(rest) * _COLUMN + 2 * _PADDING)]
        found.append(chip)
    return found


def _row(chips: list[_Chip]) -> float:
    return sum(chip.width for chip in chips) + _GAP * max(0, len(chips) - 1)


def _group(
    alignment: Alignment, g: int, above: list[_Chip], below: list[_Chip], x: float, line: int, width: float
) -> str:
    style, y = KIND_STYLES[alignment.kind(g)], line * _LINE
    unequal = bool(alignment.unequal[g])
    said = f"group {g}, {style.name}" + (f": {UNEQUAL_MEANING}" if unequal else "")
    join = ""
    if above and below:
        place = f'x="{x:g}" y="{y + _CHIP:g}" width="{width:g}" height="{_JOIN:g}"'
        join = f'<rect {place} fill="{style.colour}" fill-opacity=".3"/>'
        if unequal:
            middle = x + width / 2
            join += (
                f'<rect x="{middle - 8:g}" y="{y + _CHIP:g}" width="16" height="{_JOIN:g}" fill="#fff"/>'
                f'<text x="{middle:g}" y="{y + _CHIP + 11:g}" text-anchor="middle">{UNEQUAL}</text>'
            )
    sides = "".join(
        _side(chips, x + (width - _row(chips)) / 2, y + dy, style.colour, style.border)
        for chips, dy in ((above, 0.0), (below, _CHIP + _JOIN))
    )
    return f"<g><title>{_text(said)}</title>{join}{sides}</g>"


def _side(chips: list[_Chip], x: float, y: float, colour: str, border: str) -> str:
    if not chips:
        return f'<text x="{x - 4:g}" y="{y + 16:g}" class="s">∅</text>'
    dash = f' stroke-dasharray="{_DASHES[border]}"' if _DASHES.get(border) else ""
    parts = []
    for chip in chips:
        box = f'x="{x + 1:g}" y="{y + 1:g}" width="{chip.width - 2:g}" height="{_CHIP - 2:g}" rx="4"'
        parts.append(f'<rect {box} fill="{colour}" fill-opacity=".14" stroke="{colour}" stroke-width="1.6"{dash}/>')
        if border == "double":
            inner = f'x="{x + 3:g}" y="{y + 3:g}" width="{chip.width - 6:g}" height="{_CHIP - 6:g}" rx="3"'
            parts.append(f'<rect {inner} fill="none" stroke="{colour}" stroke-width=".8"/>')
        inside = chip.width - 2 * _PADDING
        # Whatever font draws them, characters that aren't ASCII stay inside their box.
        fit = "" if chip.shown.isascii() or inside <= 0 else f' textLength="{inside:g}" lengthAdjust="spacingAndGlyphs"'
        parts.append(
            f'<text x="{x + _PADDING:g}" y="{y + 16.5:g}"{fit} xml:space="preserve">{_text(chip.shown)}</text>'
        )
        x += chip.width + _GAP
    return "".join(parts)


def _keys(alignment: Alignment) -> list[tuple[str, str, str]]:
    """Colour, border and words of each kind that occurs."""
    return [(KIND_STYLES[k].colour, KIND_STYLES[k].border, KIND_STYLES[k].name) for k in kind_counts(alignment)]


def _legend_rows(alignment: Alignment) -> int:
    return -(-len(_keys(alignment)) // 4)


def _legend(alignment: Alignment) -> str:
    parts = []
    for k, (colour, border, words) in enumerate(_keys(alignment)):
        x, y = 4 + 260.0 * (k % 4), _TOP + 22.0 * (k // 4) - 8
        dash = f' stroke-dasharray="{_DASHES[border]}"' if _DASHES.get(border) else ""
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{_SWATCH:g}" height="13" rx="3" fill="{colour}" fill-opacity=".14" '
            f'stroke="{colour}" stroke-width="1.6"{dash}/><text x="{x + 24:g}" y="{y + 11:g}" class="s">{words}</text>'
        )
    return "".join(parts)


def _text(value: str) -> str:
    """A text as character data: escaped, nothing unprintable in it, nothing that XML forbids."""
    return escape(one_line(value).encode("utf-8", "replace").decode(), quote=True)
