"""How a pair of tokenizers cuts texts of several domains: grouped bars of one measure, and a table of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.alignment.kinds import KIND_STYLES
from ctkd_core.figures.metrics import METRICS
from ctkd_core.figures.pair import hatched
from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION
from ctkd_core.markup.numbers import decimals, percent
from ctkd_core.markup.visible import one_line, shorten

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Bars:
    """One series of a measure: key of `corpus.measure`, legend, colour, hatch."""

    key: str
    name: str
    colour: str
    hatch: str = ""


@dataclass(frozen=True)
class DomainMeasure:
    """What a figure of domains shows: its bars, the title of the axis, the meaning, whether they are shares of 1."""

    axis: str
    meaning: str
    bars: tuple[Bars, ...]
    share: bool = False
    stacked: bool = False


_BOTH = (("student", BLUE, ""), ("teacher", ORANGE, "/"))
_KINDS = (("share_1_1", "1-1"), ("share_1_n", "1-n"), ("share_n_1", "n-1"), ("share_n_m", "n-m"))  # metric, kind
MEASURES: dict[str, DomainMeasure] = {
    "tokens per word": DomainMeasure(
        "tokens per word",
        "Fertility: tokens for a word; in scripts without spaces a letter counts as a word. Less is a shorter text.",
        tuple(Bars(f"{side}_fertility", side, colour, hatch) for side, colour, hatch in _BOTH),
    ),
    "bytes per token": DomainMeasure(
        "bytes per token",
        "How much text a token carries. More is a shorter text.",
        tuple(Bars(f"{side}_bytes_per_token", side, colour, hatch) for side, colour, hatch in _BOTH),
    ),
    "tokens in 1-1 groups": DomainMeasure(
        "share of tokens",
        "Tokens that face exactly one token of the other side: there distributions can be compared directly.",
        tuple(Bars(f"{side}_tokens_1_1", side, colour, hatch) for side, colour, hatch in _BOTH),
        share=True,
    ),
    "kinds of groups": DomainMeasure(
        "share of groups",
        "Groups by the number of tokens on both sides.",
        tuple(
            Bars(key, KIND_STYLES[kind].name, KIND_STYLES[kind].colour, KIND_STYLES[kind].pattern)
            for key, kind in _KINDS
        ),
        share=True,
        stacked=True,
    ),
    "quality": DomainMeasure(
        "rate",
        "Boundary F1 against the byte-exact groups (1 is the truth), groups whose two sides spell the same bytes, "
        "and bytes under two-sided groups.",
        (
            Bars("boundary_f1", "boundary F1", GREEN),
            Bars("text_match_rate", "same text", PURPLE, "x"),
            Bars("byte_coverage", "bytes covered", GREY, "."),
        ),
    ),
    "largest group": DomainMeasure(
        "tokens",
        "Most tokens on one side of a group: what a loss has to compare as one lump.",
        (Bars("largest_group", "largest group", VERMILLION),),
    ),
}
_TITLES = {name: title for name, title, _, _ in METRICS}
_SHARES = {name for name, _, _, shown in METRICS if shown is percent}
_FORMS = dict.fromkeys(_SHARES, ".1%") | {
    name: ".3f" for name, _, _, shown in METRICS if shown is decimals
}  # of plotly
_OWN_TITLES = {
    "texts": "texts",
    "bytes": "bytes",
    "words": "words",
    "student_tokens": "student tokens",
    "teacher_tokens": "teacher tokens",
    "student_fertility": "student tokens per word",
    "teacher_fertility": "teacher tokens per word",
    "student_bytes_per_token": "student bytes per token",
    "teacher_bytes_per_token": "teacher bytes per token",
}


def domain_figure(rows: Rows, measure: str, method: str, chosen: str | None = None) -> go.Figure:
    """Grouped (or stacked) bars of one measure by domain; `chosen` is marked. Bars carry the domain as customdata.

    rows: domain -> metrics, as `corpus.measure_domains` gives them; measure: a name of MEASURES.
    """
    import plotly.graph_objects as go

    shown = MEASURES[measure]
    labels = domain_labels(rows)
    traces: list[Any] = [
        go.Bar(
            x=labels,
            y=[float(row[bars.key]) for row in rows.values()],
            customdata=list(rows),
            name=bars.name,
            marker={"color": bars.colour, "pattern": hatched(bars.hatch)},
            hovertemplate=f"%{{x}}: %{{y:{_FORMS.get(bars.key, ',.3~g')}}}<extra>{bars.name}</extra>",
        )
        for bars in shown.bars
    ]
    title = f"{measure.capitalize()} by domain"
    if any(bars.key in _SHARES or bars.key == "largest_group" for bars in shown.bars):
        title += f", aligned by {method}"
    fig = figure(traces, title, height=360, barmode="stack" if shown.stacked else "group", bargap=0.25)
    fig.update_yaxes(title_text=shown.axis, rangemode="tozero")
    if shown.share:
        fig.update_yaxes(tickformat=".0%", range=[0, 1.02])
    if chosen in rows:
        place = list(rows).index(str(chosen))
        fig.add_vrect(x0=place - 0.5, x1=place + 0.5, fillcolor=GREY, opacity=0.18, line_width=0, layer="below")
    return fig.update_layout(legend={"traceorder": "normal"}, clickmode="event+select")


def domain_labels(rows: Rows) -> list[str]:
    """Names of domains as labels: short, visible, no markup, all different."""
    labels: list[str] = []
    for name in rows:
        label = escape(shorten(one_line(name), 24))
        labels.append(label if label not in labels else f"{label} ({len(labels) + 1})")
    return labels


def domain_table(rows: Rows) -> pd.DataFrame:
    """The twin of every `domain_figure`: one row a domain, one column a metric; shares stay numbers from 0 to 1."""
    import pandas as pd

    titles = {**_OWN_TITLES, **_TITLES}
    found = []
    for name, row in rows.items():
        skipped = "; ".join(f"{count} {reason}" for reason, count in row["skipped"].items())
        found.append({"domain": name} | {titles[k]: row[k] for k in titles} | {"skipped": skipped})
    return pd.DataFrame(found, columns=["domain", *titles.values(), "skipped"])


def share_columns() -> list[str]:
    """Titles of the columns of `domain_table` that are shares of 1."""
    return [title for name, title in _TITLES.items() if name in _SHARES]


def domain_sentence(name: str, row: Mapping[str, Any]) -> str:
    """One domain in words, for its card and for the alternative text."""
    if not row["texts"]:
        return f"{name}: no text could be measured."
    return (
        f"{name}: {row['bytes']:,} bytes in {row['student_tokens']:,} student and {row['teacher_tokens']:,} teacher "
        f"tokens; {100 * row['student_tokens_1_1']:.1f} % of student tokens face one teacher token, the largest group "
        f"has {row['largest_group']} token{'' if row['largest_group'] == 1 else 's'} on a side."
    )
