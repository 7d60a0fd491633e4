"""A vocabulary map in bars: what each class gets, row sums, fan-out, largest columns, reasons by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.figures.theme import NARROW_TITLE, escape, figure
from ctkd_core.figures.vocabulary import CLASS_TITLES
from ctkd_core.markup.colours import BLUE, CATEGORICAL, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW
from ctkd_core.markup.visible import shorten
from ctkd_core.tokenizers.display import token_text
from ctkd_core.vocabulary.classes import CLASSES, NO_TEXT, token_classes
from ctkd_core.vocabulary.projection import MATCHED, REASONS

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ctkd_core.vocabulary.projection import Projection

# Colour and hatch of a reason: colour is never the only mark.
REASON_STYLES: dict[str, tuple[str, str]] = {
    "exact": (BLUE, ""),
    "role": (SKY, "."),
    "canonical": (GREEN, "-"),
    "pieces": (ORANGE, "/"),
    "nearest": (PURPLE, "x"),
    "reverse": (YELLOW, "\\"),
    "similar": (CATEGORICAL[7], "+"),
    "scale": (CATEGORICAL[7], "|"),
    "empty": (VERMILLION, "x"),
}
BY_REASON = {
    "pieces": "by the pieces that the teacher cuts them into",
    "nearest": "by the nearest spelling",
    "reverse": "by longer tokens that hold them",
    "similar": "by a special token of a similar name",
    "scale": "by the scale slot",
}
SUM_TOLERANCE = 1e-3  # float32 rows of some hundred pieces; bfloat16 storage shows as off by up to 1e-2
LARGEST_FAN_OUT = 9
LARGEST = 20


def audit_figure(audit: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """One bar a class: the share of its student tokens that one teacher token says alone, with matched and total."""
    import plotly.graph_objects as go

    names = [name for name, counts in audit.items() if counts["total"]]
    shares = [audit[name]["matched"] / audit[name]["total"] for name in names]
    texts = [f"{audit[name]['matched']:,} / {audit[name]['total']:,}" for name in names]
    titles = [CLASS_TITLES.get(name, name) for name in names]
    traces: list[Any] = [
        go.Bar(
            y=titles,
            x=[1] * len(names),
            orientation="h",
            marker={"color": "rgba(138,138,138,0.25)", "line": {"width": 0}},
            hoverinfo="skip",
            name="total",
            showlegend=False,
        ),
        go.Bar(
            y=titles,
            x=shares,
            orientation="h",
            marker={"color": BLUE},
            text=texts,
            # A bar that is long enough holds its own label.
            textposition=["inside" if share > 0.5 else "outside" for share in shares],
            insidetextanchor="end",
            insidetextfont={"color": "white"},
            hovertemplate="%{y}: %{text} (%{x:.1%})<extra></extra>",
            name="matched",
            showlegend=False,
        ),
    ]
    title, height = "Student tokens that one teacher token says alone", 118 + 41 * max(1, len(names))
    fig = figure(traces, title, height, line=NARROW_TITLE)
    fig.update_xaxes(range=[0, 1], tickformat=".0%", showgrid=False)
    fig.update_yaxes(autorange="reversed")
    return fig.update_layout(barmode="overlay", bargap=0.25)


def audit_table(audit: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """The twin of `audit_figure`: class, total, matched, share (None for classes without tokens)."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "class": CLASS_TITLES.get(name, name),
                "matched": counts["matched"],
                "total": counts["total"],
                "share": counts["matched"] / counts["total"] if counts["total"] else None,
            }
            for name, counts in audit.items()
        ]
    )


@dataclass(frozen=True, eq=False)
class MapRowSums:
    """How the rows of a map add up.

    sums  float64 [Vs]; empty: rows without an entry; off: ids (int64) of filled rows that don't sum to 1
    """

    sums: NDArray[np.float64]
    empty: int
    off: NDArray[np.int64]

    @property
    def sentence(self) -> str:
        """What a reader must know about the sums."""
        filled = len(self.sums) - self.empty
        if len(self.off):
            worst = float(np.abs(self.sums[self.off] - 1).max())
            return (
                f"{len(self.off):,} of {filled:,} filled rows don't sum to 1 (off by up to {worst:.2g}); {self._empty}"
            )
        return f"All {filled:,} filled rows sum to 1; {self._empty}"

    @property
    def _empty(self) -> str:
        return f"{self.empty:,} {'row is' if self.empty == 1 else 'rows are'} empty."


def map_sentence(projection: Projection) -> str:
    """What a map does with the student's vocabulary, in numbers: rows by reason, and empty ones."""
    counts = {name: count for name, count in projection.rows().items() if name != "padding"}
    matched = sum(counts.pop(REASONS[code]) for code in MATCHED)
    empty = counts.pop("empty")
    others = [f"{count:,} {BY_REASON[name]}" for name, count in counts.items() if count]
    return f"{matched:,} student tokens are said by one teacher token, {', '.join([*others, f'{empty:,} by nothing'])}."


def identity_sentence(projection: Projection) -> str:
    """For a map between equal vocabularies: whether every token maps to itself, and how many don't."""
    n = projection.student.n_ids
    itself = int((projection.matrix.diagonal()[:n] > 1 - SUM_TOLERANCE).sum())
    tokens = int((token_classes(projection.student) != NO_TEXT).sum())
    if itself >= tokens:
        return "Both sides have the same vocabulary: the map is the identity, and nothing is lost."
    special = int((~np.isin(projection.row_reason[list(projection.student.special_ids)], MATCHED)).sum())
    return (
        f"Both sides have the same vocabulary: {itself:,} tokens map to themselves, {tokens - itself:,} don't, "
        f"{special:,} of them special tokens without a role that this map knows."
    )


def row_sums(projection: Projection) -> MapRowSums:
    """The sums of the rows of student ids (padding rows left out)."""
    n = projection.student.n_ids
    sums, filled = projection.row_sums()[:n], projection.fan_out()[:n] > 0
    return MapRowSums(sums, int((~filled).sum()), np.flatnonzero(filled & (np.abs(sums - 1) > SUM_TOLERANCE)))


def off_rows_table(sums: MapRowSums, projection: Projection, most: int = 1000) -> pd.DataFrame:
    """The rows that don't sum to 1, the worst first: student_id, student, sum."""
    import pandas as pd

    worst = sums.off[np.argsort(-np.abs(sums.sums[sums.off] - 1), kind="stable")][:most]
    names = [token_text(projection.student, k) for k in worst.tolist()]
    return pd.DataFrame({"student_id": worst, "student": names, "sum": sums.sums[worst]})


def row_sum_figure(sums: MapRowSums) -> go.Figure:
    """Rows by what they sum to, on a logarithmic scale."""
    import plotly.graph_objects as go

    table = row_sum_table(sums)
    colours = [GREY, *[VERMILLION] * (len(table) - 1)]
    colours[int(table.index[table["sum"] == "1"][0])] = BLUE
    bar = go.Bar(
        x=table["sum"],
        y=table["rows"],
        text=[f"{count:,}" for count in table["rows"]],
        textposition="outside",
        cliponaxis=False,
        marker={"color": colours},
        hovertemplate="%{y:,} rows sum to %{x}<extra></extra>",
    )
    fig = figure([bar], "Row mass: what the weights of a student token sum to", height=320, line=NARROW_TITLE)
    fig.update_xaxes(title_text="sum of the row", type="category")
    return _log_counts(fig, table["rows"].tolist(), "student tokens")


def row_sum_table(sums: MapRowSums) -> pd.DataFrame:
    """The twin of `row_sum_figure`: sum (a range), rows."""
    import pandas as pd

    values, exactly = sums.sums, 1 - SUM_TOLERANCE
    empty = int(sums.empty)
    rows = {
        "0 (empty)": empty,
        "below 0.5": int((values < 0.5).sum()) - empty,
        "0.5 to 0.9": int(((values >= 0.5) & (values < 0.9)).sum()),
        "0.9 to 1": int(((values >= 0.9) & (values < exactly)).sum()),
        "1": int((np.abs(values - 1) <= SUM_TOLERANCE).sum()),
        "above 1": int((values > 1 + SUM_TOLERANCE).sum()),
    }
    return pd.DataFrame({"sum": list(rows), "rows": list(rows.values())})


def fan_out_figure(projection: Projection) -> go.Figure:
    """Student tokens by the number of teacher tokens they point at, on a logarithmic scale."""
    import plotly.graph_objects as go

    table = fan_out_table(projection)
    bar = go.Bar(
        x=table["teacher_tokens"],
        y=table["student_tokens"],
        text=[f"{count:,}" for count in table["student_tokens"]],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [VERMILLION, BLUE, *[ORANGE] * (len(table) - 2)]},
        hovertemplate="%{y:,} student tokens point at %{x} teacher tokens<extra></extra>",
    )
    fig = figure([bar], "Fan-out: teacher tokens a student token points at", height=320, line=NARROW_TITLE)
    fig.update_xaxes(title_text="teacher tokens", type="category")
    return _log_counts(fig, table["student_tokens"].tolist(), "student tokens")


def fan_out_table(projection: Projection) -> pd.DataFrame:
    """The twin of `fan_out_figure`: teacher_tokens ("0" to "9+"), student_tokens."""
    import pandas as pd

    fan = np.minimum(projection.fan_out()[: projection.student.n_ids], LARGEST_FAN_OUT)
    counts = np.bincount(fan, minlength=LARGEST_FAN_OUT + 1)
    labels = [*map(str, range(LARGEST_FAN_OUT)), f"{LARGEST_FAN_OUT}+"]
    return pd.DataFrame({"teacher_tokens": labels, "student_tokens": counts})


def columns_figure(projection: Projection, most: int = LARGEST) -> go.Figure:
    """The teacher tokens that the most student tokens point at. Points carry the teacher id as `customdata[0]`."""
    import plotly.graph_objects as go

    table = columns_table(projection, most)
    labels = [f"{escape(shorten(text, 14))}  #{k}" for text, k in zip(table["teacher"], table["teacher_id"])]
    bar = go.Bar(
        y=labels,
        x=table["student_tokens"],
        customdata=table[["teacher_id", "mass"]].to_numpy(),
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}<br>%{x:,} student tokens, mass %{customdata[1]:,.1f}<extra></extra>",
    )
    height = 110 + 19 * max(1, len(table))
    fig = figure([bar], "Teacher tokens with the most student tokens", height, line=NARROW_TITLE)
    fig.update_xaxes(title_text="student tokens that point at it")
    fig.update_yaxes(autorange="reversed", tickfont={"family": "monospace", "size": 11}, type="category")
    return fig


def columns_table(projection: Projection, most: int = LARGEST) -> pd.DataFrame:
    """The twin of `columns_figure`: teacher_id, teacher, student_tokens, mass (weights added up)."""
    import pandas as pd

    load = projection.column_load()
    top = np.argsort(-load, kind="stable")[: min(most, int((load > 0).sum()))]
    mass = np.bincount(projection.matrix.indices, weights=projection.matrix.data, minlength=len(load))
    return pd.DataFrame(
        {
            "teacher_id": top,
            "teacher": [token_text(projection.teacher, k) for k in top.tolist()],
            "student_tokens": load[top],
            "mass": mass[top],
        }
    )


def reasons_figure(projection: Projection) -> go.Figure:
    """Of each class the share of student tokens by the reason of their row, "empty" included; colour and hatch."""
    import plotly.graph_objects as go

    table = reasons_table(projection)
    totals = table.drop(columns="class").sum(axis=1)
    traces: list[Any] = [
        go.Bar(
            y=table["class"],
            x=table[name] / totals,
            customdata=table[name],
            orientation="h",
            name=name,
            marker={"color": REASON_STYLES[name][0], "pattern": {"shape": REASON_STYLES[name][1]}},
            hovertemplate=f"%{{y}}: %{{customdata:,}} {name} (%{{x:.1%}})<extra></extra>",
        )
        for name in table.columns[1:]
    ]
    fig = figure(traces, "Reason of each row, by class", height=110 + 34 * max(1, len(table)), barmode="stack")
    fig.update_xaxes(range=[0, 1], tickformat=".0%")
    fig.update_yaxes(autorange="reversed")
    return fig.update_layout(legend={"traceorder": "normal"})


def reasons_table(projection: Projection) -> pd.DataFrame:
    """The twin of `reasons_figure`: class, then one column of counts for each reason that occurs and `empty`."""
    import pandas as pd

    classes = token_classes(projection.student)
    kept = classes != NO_TEXT
    codes = projection.row_reason[: len(classes)] + 1
    counts = np.bincount(
        classes[kept].astype(np.int64) * (len(REASONS) + 1) + codes[kept], minlength=len(CLASSES) * (len(REASONS) + 1)
    ).reshape(len(CLASSES), -1)
    present = counts.sum(axis=1) > 0
    columns: dict[str, Any] = {"class": [CLASS_TITLES[n] for n, there in zip(CLASSES, present.tolist()) if there]}
    names = (*REASONS, "empty")
    for k, name in enumerate(names):
        of_class = counts[present][:, (k + 1) % len(names)]  # column 0 of `counts` is "empty"
        if of_class.any():
            columns[name] = of_class
    return pd.DataFrame(columns)


def _log_counts(fig: go.Figure, counts: list[int], title: str) -> go.Figure:
    top = max([1, *counts])
    fig.update_yaxes(title_text=title, type="log", range=[-0.3, float(np.log10(top)) + 0.6], dtick=1)
    return fig.update_layout(showlegend=False)
