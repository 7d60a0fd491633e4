"""An alignment on one line, and as HTML: both rows of tokens with their groups, for notebooks and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctkd_core.alignment.kinds import KIND_STYLES, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.alignment.metrics import health, kind_counts
from ctkd_core.markup import blocks
from ctkd_core.markup.direction import base_direction
from ctkd_core.markup.numbers import decimals, percent
from ctkd_core.markup.visible import counted, one_line, shorten
from ctkd_core.tokenizers.display import token_chip

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment
    from ctkd_core.tokenizers.encoding import Encoding

CARD_GROUPS = 120  # of a card in a notebook
MAX_TOKENS = 60  # of one side of a group
MAX_NAME = 60
# Figures of a card: name in `Alignment.metrics()` -> what it is called there.
HEADLINES = {
    "byte_match_rate": "bytes facing equal bytes",
    "boundary_f1": "boundary F1",
    "byte_coverage": "bytes covered",
    "text_match_rate": "groups with equal text",
}


def alignment_line(alignment: Alignment) -> str:
    """What it is, in one line without arrays."""
    s, t = alignment.student, alignment.teacher
    sides = (f"{shorten(one_line(e.tokenizer), MAX_NAME)} ({counted(len(e), 'token')})" for e in (t, s))
    return f"<Alignment {one_line(alignment.label)}: {' → '.join(sides)}, {counted(len(alignment), 'group')}>"


def alignment_card(alignment: Alignment) -> str:
    """The card of a notebook: verdict, headline figures, both rows of tokens and what must be known."""
    s, t = alignment.student, alignment.teacher
    rates = alignment.metrics()
    figures = " · ".join(f"{word} {_rate(name, rates[name])}" for name, word in HEADLINES.items())
    notes = dict.fromkeys([*alignment.notes, *s.notes, *t.notes])
    return blocks.card(
        f"{alignment.label}: {shorten(t.tokenizer, MAX_NAME)} → {shorten(s.tokenizer, MAX_NAME)}",
        f"<p>{blocks.text(health(alignment).sentence)}.</p>",
        f"<p>{blocks.text(_sizes(alignment))}</p><p>{blocks.text(figures)}</p>",
        legend(alignment),
        token_rows(alignment, CARD_GROUPS),
        *map(blocks.note, notes),
    )


def legend(alignment: Alignment) -> str:
    """The kinds that occur, each with its box."""
    keys = [
        f"{blocks.chip(style.name, style.colour, style.border)} {style.meaning}"
        for style in (KIND_STYLES[kind] for kind in kind_counts(alignment))
    ]
    if alignment.unequal.any():
        keys.append(f'<b class="x">{UNEQUAL}</b> {UNEQUAL_MEANING}')
    return f'<p class="note">Teacher above, student below. {" · ".join(keys)}</p>'


def token_rows(alignment: Alignment, most: int) -> str:
    """The first `most` groups, teacher above and student below, with a sentence about what is left out."""
    parts = []
    for g, (s0, s1, t0, t1) in enumerate(alignment.groups[:most].tolist()):
        kind = alignment.kind(g)
        colour = KIND_STYLES[kind].colour
        above, below = _side(alignment.teacher, t0, t1, kind), _side(alignment.student, s0, s1, kind)
        title, mark = f"group {g}, {KIND_STYLES[kind].name}", ""
        if alignment.unequal[g]:
            title, mark = f"{title}: {UNEQUAL_MEANING}", f'<b class="x">{UNEQUAL}</b>'
        join = f'<span class="j" style="--c:{colour}">{mark}</span>' if s1 > s0 and t1 > t0 else ""
        parts.append(f'<div class="g" title="{title}"><div>{above}</div>{join}<div>{below}</div></div>')
    more = len(alignment) - most
    tail = blocks.note(f"{counted(more, 'more group')} {'is' if more == 1 else 'are'} not drawn.") if more > 0 else ""
    way = ' dir="rtl"' if base_direction(alignment.student.text) == "rtl" else ""
    return f'<div class="rows"{way}>{"".join(parts)}</div>{tail}'


def _side(encoding: Encoding, start: int, end: int, kind: str) -> str:
    if start == end:
        return "∅"
    style = KIND_STYLES[kind]
    shown = range(start, min(end, start + MAX_TOKENS))
    chips = "".join(token_chip(encoding, i, style.colour, style.border) for i in shown)
    return chips + (f" … {end - start - MAX_TOKENS:,} more" if end - start > MAX_TOKENS else "")


def _sizes(alignment: Alignment) -> str:
    kinds = ", ".join(f"{count:,} × {KIND_STYLES[kind].name}" for kind, count in kind_counts(alignment).items())
    return (
        f"{len(alignment.teacher):,} teacher and {counted(len(alignment.student), 'student token')} in "
        f"{counted(len(alignment), 'group')}" + (f": {kinds}." if kinds else ".")
    )


def _rate(name: str, value: float) -> str:
    return decimals(value) if name == "boundary_f1" else percent(value)
