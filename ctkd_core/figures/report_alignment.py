"""One alignment as one HTML file that opens offline: both token rows, metrics, groups and, for DTW, the cost figure.

Texts of tokens are untrusted: everything is escaped, and the page's own policy lets nothing be loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ctkd_core import __version__, methods
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.display import legend, token_rows
from ctkd_core.alignment.metrics import health
from ctkd_core.figures.tables import shown_groups
from ctkd_core.markup.blocks import STYLE, note, table, text
from ctkd_core.markup.visible import shorten

if TYPE_CHECKING:
    import pandas as pd

MAX_GROUPS = 2000  # drawn and listed; JSON and CSV hold all
MAX_TEXT = 20_000  # characters quoted

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
@media(prefers-color-scheme:dark){.plotly-graph-div{background:#fff}}
"""


def alignment_html(
    alignment: Alignment, other: Alignment | None = None, group: int | None = None, figure: bool = True
) -> str:
    """The file's content, some 50 kB, and 5 MB more with the DTW figure (the drawing library goes along).

    `other` is a second method of the same encodings, whose metrics and differences are listed beside. `group`: where
    the figure looks. `figure`: whether a method with a cost surface gets its figure.
    """
    name = alignment.label
    drawn = _figure(alignment, group) if figure and alignment.cost is not None else ""
    both = [alignment] + ([other] if other is not None else [])
    body = "\n".join(
        [
            f"<h1>{text(name)}: {text(alignment.teacher.tokenizer)} → {text(alignment.student.tokenizer)}</h1>",
            f"<p>{text(health(alignment).sentence)}.</p>",
            _about(alignment),
            "<h2>Tokens</h2>",
            legend(alignment),
            token_rows(alignment, MAX_GROUPS),
            "<h2>Metrics</h2>",
            _metrics({one.label: one.metrics() for one in both}),
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
        f"<title>{escape(name)} alignment</title><style>{STYLE}{_STYLE}</style></head>"
        f'\n<body class="ctkd">\n{body}\n</body></html>\n'
    )


def _about(alignment: Alignment) -> str:
    row = methods.METHODS.get(alignment.method)
    quoted = escape(shorten(alignment.student.text, MAX_TEXT)).encode("utf-8", "replace").decode()
    parts = [f"<pre>{quoted}</pre>"]
    if row is not None:
        parts.append(note(f"{row.title}. {row.paper}. {row.idea}"))
        parts.append(note(f"Cannot see: {row.cannot_see}"))
    parts += map(note, dict.fromkeys([*alignment.notes, *alignment.student.notes, *alignment.teacher.notes]))
    parts.append(
        note(
            f"{len(alignment.teacher):,} teacher and {len(alignment.student):,} student tokens in "
            f"{len(alignment):,} groups. Made by CTKD Lab {__version__}."
        )
    )
    return "\n".join(parts)


def _metrics(by_method: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(by_method.values())))
    return table(("metric", *by_method), [(name, *(rates[name] for rates in by_method.values())) for name in names])


def _groups(shown: pd.DataFrame, total: int) -> str:
    columns = [name.replace("_", " ") for name in shown.columns]
    more = note(f"The first {len(shown):,} of {total:,} groups.") if len(shown) < total else ""
    return more + table(columns, shown.itertuples(index=False, name=None), code=("student", "teacher"))


def _figure(alignment: Alignment, group: int | None) -> str:
    from ctkd_core.figures.dtw import dtw_figure

    return str(
        dtw_figure(alignment, group).to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    )
