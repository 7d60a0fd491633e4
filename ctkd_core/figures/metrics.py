"""Rates of several methods side by side, with the byte-exact truth as the mark to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.theme import figure
from ctkd_core.markup.colours import BLACK, CATEGORICAL

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# name, short title, meaning, whether it is a share of 1
METRICS: tuple[tuple[str, str, str, bool], ...] = (
    ("boundary_f1", "boundary F1", "Agreement of group boundaries with the byte-exact groups; 1 is the truth.", True),
    ("text_match_rate", "same text", "Share of groups whose two sides spell the same bytes.", True),
    ("student_text_match_rate", "tokens in same text", "Share of student tokens that are in such groups.", True),
    ("share_1_1", "1-1", "Share of two-sided groups with one token on each side.", True),
    ("share_1_n", "1-n", "Share of groups with one student and several teacher tokens.", True),
    ("share_n_1", "n-1", "Share of groups with several student tokens and one teacher token.", True),
    ("share_n_m", "n-m", "Share of groups with several tokens on both sides.", True),
    ("student_tokens_1_1", "student tokens 1-1", "Share of student tokens in 1-1 groups.", True),
    ("teacher_tokens_1_1", "teacher tokens 1-1", "Share of teacher tokens in 1-1 groups.", True),
    ("byte_coverage", "bytes covered", "Share of the text under two-sided groups.", True),
    ("n_groups", "groups", "Two-sided groups.", False),
    ("largest_group", "largest group", "Most tokens on one side of a group.", False),
    ("mean_group_size", "mean size", "Mean of (student + teacher tokens) / 2.", False),
    ("orphan_student", "student tokens alone", "Student tokens that face nothing.", False),
    ("orphan_teacher", "teacher tokens alone", "Teacher tokens that face nothing.", False),
)
# As many as have no common factor with the eight colours, so that no two of forty methods look the same.
PATTERNS = ("", "/", ".", "x", "-")
BAR_PIXELS = 9
SHOWN = ("boundary_f1", "text_match_rate", "student_text_match_rate", "share_1_1", "byte_coverage")


def metric_bars(metrics: Mapping[str, Mapping[str, float]], truth: Mapping[str, float] | None = None) -> go.Figure:
    """Horizontal bars of the main rates, one bar a method; a black mark where the byte-exact groups stand.

    `metrics`: method name -> `Alignment.metrics()`; `truth`: the metrics of the byte-exact alignment.
    """
    import plotly.graph_objects as go

    titles = {name: title for name, title, _, _ in METRICS}
    labels = [titles[name] for name in SHOWN]
    traces: list[Any] = [
        go.Bar(
            y=labels,
            x=[float(rates[name]) for name in SHOWN],
            orientation="h",
            name=method,
            marker={
                "color": CATEGORICAL[k % len(CATEGORICAL)],
                "pattern": {"shape": PATTERNS[k % len(PATTERNS)], "fillmode": "overlay", "size": 5},
            },
            hovertemplate="%{y}: %{x:.1%}<extra>" + method + "</extra>",
        )
        for k, (method, rates) in enumerate(metrics.items())
    ]
    if truth is not None:
        traces.append(
            go.Scatter(
                y=labels,
                x=[float(truth[name]) for name in SHOWN],
                mode="markers",
                name="byte-exact",
                marker={
                    "symbol": "line-ns",
                    "size": max(34, BAR_PIXELS * len(metrics)),
                    "color": BLACK,
                    "line": {"width": 2, "color": "#888888"},
                },
                hovertemplate="%{y}: %{x:.1%}<extra>byte-exact</extra>",
            )
        )
    height = 120 + len(SHOWN) * max(60, BAR_PIXELS * len(metrics) + 24)
    fig = figure(traces, "Methods on this text", height=height, barmode="group", bargap=0.3)
    fig.update_xaxes(range=[0, 1.02], tickformat=".0%")
    fig.update_yaxes(autorange="reversed")
    return fig


def metric_table(metrics: Mapping[str, Mapping[str, float]], truth: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The twin of `metric_bars` with every metric: one row a metric, one column a method; shares as percentages."""
    import pandas as pd

    columns = dict(metrics) | ({"byte-exact": truth} if truth is not None else {})
    rows = [
        {"metric": title}
        | {method: _shown(float(rates[name]), is_share) for method, rates in columns.items()}
        | {"meaning": meaning}
        for name, title, meaning, is_share in METRICS
    ]
    return pd.DataFrame(rows)


def _shown(value: float, is_share: bool) -> str:
    return f"{100 * value:.1f} %" if is_share else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


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
        shares = {method: _shown(float(found[key]), True) for method, found in rates.items()}
        rows.append({"metric": title} | shares | {"meaning": meaning})
    return pd.DataFrame(rows)
