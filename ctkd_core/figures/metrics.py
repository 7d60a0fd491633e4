"""Rates of several methods side by side, with the byte-exact truth as the mark to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ctkd_core.alignment.kinds import KIND_STYLES
from ctkd_core.figures.theme import SEQUENTIAL, escape, figure
from ctkd_core.markup.colours import GREY
from ctkd_core.markup.numbers import decimals, percent

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


# name, short title, meaning, how it is shown: shares as percentages; an F1 isn't a share of anything
METRICS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    (
        "byte_match_rate",
        "bytes facing equal bytes",
        "Share of the text in groups whose two sides spell the same bytes of the text.",
        percent,
    ),
    (
        "boundary_f1",
        "boundary F1",
        "Agreement of group boundaries with the byte-exact groups; 1 is the truth.",
        decimals,
    ),
    ("text_match_rate", "same text", "Share of groups whose two sides spell the same bytes.", percent),
    ("student_text_match_rate", "tokens in same text", "Share of student tokens that are in such groups.", percent),
    ("share_1_1", KIND_STYLES["1-1"].name, "Share of two-sided groups with one token on each side.", percent),
    ("share_1_n", KIND_STYLES["1-n"].name, "Share of groups with one student and several teacher tokens.", percent),
    (
        "share_n_1",
        KIND_STYLES["n-1"].name,
        "Share of groups with several student tokens and one teacher token.",
        percent,
    ),
    ("share_n_m", KIND_STYLES["n-m"].name, "Share of groups with several tokens on both sides.", percent),
    ("student_tokens_1_1", "student tokens 1 : 1", "Share of student tokens that face one teacher token.", percent),
    ("teacher_tokens_1_1", "teacher tokens 1 : 1", "Share of teacher tokens that face one student token.", percent),
    ("byte_coverage", "bytes covered", "Share of the text under two-sided groups.", percent),
    ("n_groups", "groups", "Two-sided groups.", _number),
    ("largest_group", "largest group", "Most tokens on one side of a group.", _number),
    ("mean_group_size", "mean size", "Mean of (student + teacher tokens) / 2.", _number),
    ("orphan_student", "student tokens alone", "Student tokens that face nothing.", _number),
    ("orphan_teacher", "teacher tokens alone", "Teacher tokens that face nothing.", _number),
)
SHOWN = ("byte_match_rate", "boundary_f1", "text_match_rate", "student_text_match_rate", "share_1_1", "byte_coverage")
ROW_PIXELS = 30
TRUTH = "byte-exact"


def metric_heat(metrics: Mapping[str, Mapping[str, float]], truth: Mapping[str, float] | None = None) -> go.Figure:
    """The main rates as a coloured table: one row a method, one column a rate; the byte-exact groups stand last.

    Every cell says its number. `metrics`: method name -> `Alignment.metrics()`; `truth`: the metrics of the byte-exact
    alignment.
    """
    import plotly.graph_objects as go

    known = {name: (title, meaning, shown) for name, title, meaning, shown in METRICS}
    rows = dict(metrics) | ({TRUTH: truth} if truth is not None else {})
    values = [[float(rates[name]) for name in SHOWN] for rates in rows.values()]
    columns = [_folded(known[name][0]) for name in SHOWN]
    heat = go.Heatmap(
        z=values,
        x=columns,
        y=[escape(name) for name in rows],
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        showscale=False,
        xgap=2,
        ygap=2,
        text=[[known[name][2](value) for name, value in zip(SHOWN, row)] for row in values],
        texttemplate="%{text}",
        customdata=[[known[name][1] for name in SHOWN] for _ in rows],
        hovertemplate="%{y}: %{text}<br>%{customdata}<extra></extra>",
    )
    fig = figure([heat], "Methods on this text", height=110 + ROW_PIXELS * len(rows))
    fig.update_xaxes(side="top", tickangle=0, tickfont={"size": 11}, fixedrange=True)
    fig.update_yaxes(autorange="reversed", automargin=True, fixedrange=True)
    if truth is not None:
        at = len(rows) - 1.5
        fig.add_shape(type="line", xref="paper", x0=0, x1=1, y0=at, y1=at, line={"color": GREY, "width": 2})
    return fig.update_layout(margin={"t": 92})


def _folded(title: str) -> str:
    """A title in two lines where it has several words."""
    words = title.split(" ")
    half = -(-len(words) // 2)
    return "<br>".join(" ".join(part) for part in (words[:half], words[half:]) if part)


def metric_table(metrics: Mapping[str, Mapping[str, float]], truth: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The twin of `metric_heat` with every metric: one row a metric, one column a method; shares as percentages."""
    import pandas as pd

    columns = dict(metrics) | ({TRUTH: truth} if truth is not None else {})
    rows = [
        {"metric": title}
        | {method: shown(float(rates[name])) for method, rates in columns.items()}
        | {"meaning": meaning}
        for name, title, meaning, shown in METRICS
    ]
    return pd.DataFrame(rows)


# Metrics that need the models' candidates: key of `logit_metrics` and `sequence_match_rate`, title, meaning.
LOGIT_METRICS = (
    ("vocabulary_match_rate", "candidates matched", "teacher candidates that a student token equals"),
    ("vocabulary_match_rate_weighted", "the same by probability", "weighted by what the teacher gives them"),
    ("top1_accuracy", "top-1 accuracy", "best teacher candidate, rewritten, is the student's own next token"),
    ("migration_collision_rate", "collisions", "rewritten candidates of a row that land on one student token"),
    ("cdm_sequence_match_rate", "groups with equal text", "our reading of CDM's figure 2: blanks deleted"),
)


def logit_table(rates: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One row a metric that rests on the models' candidates, one column a method; as percentages."""
    import pandas as pd

    rows = []
    for key, title, meaning in LOGIT_METRICS:
        shares = {method: percent(float(found[key])) for method, found in rates.items()}
        rows.append({"metric": title} | shares | {"meaning": meaning})
    return pd.DataFrame(rows)
