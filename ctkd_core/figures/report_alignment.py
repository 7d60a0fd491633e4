"""One alignment as one HTML file that opens offline: both token rows, metrics, groups and, for DTW, the cost figure.

Texts of tokens are untrusted: everything is escaped, and the page's own policy lets nothing be loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ctkd_core import __version__, methods
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KINDS
from ctkd_core.alignment.metrics import health
from ctkd_core.figures.tables import shown_groups
from ctkd_core.figures.theme import KIND_STYLES
from ctkd_core.figures.visible import hex_bytes, shorten, visible_bytes
from ctkd_core.figures.words import alignment_name

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.tokenizers.encoding import Encoding

MAX_GROUPS = 2000  # drawn and listed; JSON and CSV hold all
MAX_TOKENS = 60  # of one side of a group
MAX_TEXT = 20_000  # characters quoted

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;font-size:13px}
th,td{border-bottom:1px solid #8886;padding:3px 9px;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre,code,.c{font-family:ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.rows{display:flex;flex-wrap:wrap;gap:12px 3px}
.g{display:flex;flex-direction:column;gap:6px;align-items:center;border-radius:6px;padding:2px}
.g>div{display:flex;gap:2px;min-height:24px;flex-wrap:wrap;justify-content:center}
.c{border:2px solid var(--c);border-radius:5px;padding:1px 4px;font-size:13px;
background:color-mix(in srgb,var(--c) 15%,transparent)}
.note{opacity:.8;font-size:13px}
@media(prefers-color-scheme:dark){.plotly-graph-div{background:#fff}}
"""


def alignment_html(
    alignment: Alignment, other: Alignment | None = None, group: int | None = None, figure: bool = True
) -> str:
    """The file's content, some 50 kB, and 5 MB more with the DTW figure (the drawing library goes along).

    `other` is a second method of the same encodings, whose metrics and differences are listed beside. `group`: where
    the figure looks. `figure`: whether a method with a cost surface gets its figure.
    """
    name = alignment_name(alignment)
    drawn = _figure(alignment, group) if figure and alignment.cost is not None else ""
    both = [alignment] + ([other] if other is not None else [])
    body = "\n".join(
        [
            f"<h1>{escape(name)}: {escape(alignment.teacher.tokenizer)} → {escape(alignment.student.tokenizer)}</h1>",
            f"<p>{escape(health(alignment).sentence)}.</p>",
            _about(alignment),
            "<h2>Tokens</h2>",
            _legend(alignment),
            _rows(alignment),
            "<h2>Metrics</h2>",
            _metrics({alignment_name(one): one.metrics() for one in both}),
            *(["<h2>Costs</h2>", drawn] if drawn else []),
            "<h2>Groups</h2>",
            _groups(shown_groups(alignment, other).head(MAX_GROUPS), len(alignment)),
        ]
    )
    script = " script-src 'unsafe-inline';" if drawn else ""
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:;{script} base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(name)} alignment</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _about(alignment: Alignment) -> str:
    row = methods.METHODS.get(alignment.method)
    text = alignment.student.text
    quoted = escape(shorten(text, MAX_TEXT)).encode("utf-8", "replace").decode()
    parts = [f"<pre>{quoted}</pre>"]
    if row is not None:
        parts.append(f'<p class="note">{escape(row.title)}. {escape(row.paper)}. {escape(row.idea)}</p>')
        parts.append(f'<p class="note">Cannot see: {escape(row.cannot_see)}</p>')
    notes = dict.fromkeys([*alignment.notes, *alignment.student.notes, *alignment.teacher.notes])
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    parts.append(
        f'<p class="note">{len(alignment.teacher):,} teacher and {len(alignment.student):,} student tokens in '
        f"{len(alignment):,} groups. Made by CTKD Lab {escape(__version__)}.</p>"
    )
    return "\n".join(parts)


def _legend(alignment: Alignment) -> str:
    present = sorted(set(alignment.kind_codes.tolist()))
    keys = [f"{_chip(KINDS[code], KINDS[code])} {escape(KIND_STYLES[KINDS[code]].meaning)}" for code in present]
    return f'<p class="note">Teacher above, student below. {" · ".join(keys)}</p>'


def _rows(alignment: Alignment) -> str:
    parts = []
    for g, (s0, s1, t0, t1) in enumerate(alignment.groups[:MAX_GROUPS].tolist()):
        kind = alignment.kind(g)
        sides = _side(alignment.teacher, t0, t1, kind), _side(alignment.student, s0, s1, kind)
        parts.append(f'<div class="g" title="group {g}, {kind}"><div>{sides[0]}</div><div>{sides[1]}</div></div>')
    more = len(alignment) - MAX_GROUPS
    tail = f'<p class="note">{more:,} more groups are not drawn.</p>' if more > 0 else ""
    return f'<div class="rows">{"".join(parts)}</div>{tail}'


def _side(encoding: Encoding, start: int, end: int, kind: str) -> str:
    if start == end:
        return "∅"
    chips = [
        _chip(
            visible_bytes(encoding.token_bytes[i]) or "∅",
            kind,
            f"token {i}, id {int(encoding.ids[i])}, bytes {hex_bytes(encoding.token_bytes[i])}",
        )
        for i in range(start, min(end, start + MAX_TOKENS))
    ]
    return "".join(chips) + (f" … {end - start - MAX_TOKENS} more" if end - start > MAX_TOKENS else "")


def _chip(text: str, kind: str, title: str = "") -> str:
    style = KIND_STYLES[kind]
    hint = f' title="{escape(title)}"' if title else ""
    return (
        f'<span class="c" dir="auto" style="--c:{style.colour};border-style:{style.border}"{hint}>{escape(text)}</span>'
    )


def _metrics(by_method: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(by_method.values())))
    head = "".join(f"<th>{escape(word)}</th>" for word in ("metric", *by_method))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="n">{float(rates[name]):.6g}</td>' for rates in by_method.values())
        + "</tr>"
        for name in names
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _groups(table: pd.DataFrame, total: int) -> str:
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.itertuples(index=False, name=None)
    )
    more = f'<p class="note">The first {len(table):,} of {total:,} groups.</p>' if len(table) < total else ""
    return f"{more}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f"<td><code>{escape(value)}</code></td>"
    if str(value) in ("True", "False"):
        return f"<td>{'yes' if value else 'no'}</td>"
    return f'<td class="n">{escape(str(value))}</td>'


def _figure(alignment: Alignment, group: int | None) -> str:
    from ctkd_core.figures.dtw import dtw_figure

    return str(
        dtw_figure(alignment, group).to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    )
