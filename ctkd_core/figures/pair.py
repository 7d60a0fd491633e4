"""A pair of vocabularies in bars: what they share counted three ways, class by class, and how long their tokens are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.figures.theme import escape, figure
from ctkd_core.figures.vocabulary_bars import CLASS_TITLES
from ctkd_core.markup.colours import BLUE, GREEN, ORANGE, SKY, VERMILLION
from ctkd_core.markup.numbers import percent
from ctkd_core.markup.visible import shorten, visible
from ctkd_core.pair.advice import CRITICAL, CRITICAL_SHARE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ctkd_core.pair.report import PairReport
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.overlap import Overlap

WAY_TITLES = {"raw": "raw strings", "canonical": "canonical forms", "bytes": "bytes"}
WAY_MEANINGS = {
    "raw": "equal as vocabulary strings, as TRL's map compares them",
    "canonical": "equal once marks of spaces and newlines are read, as X-Token counts",
    "bytes": "spell the same bytes; special tokens spell none",
}
LONGEST = 16  # bytes; longer tokens are counted together
EXAMPLES = 4


def hatched(shape: str | list[str]) -> dict[str, Any]:
    """Thin white hatches on top of a bar's colour: colour is never the only mark, and text on bars stays readable."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.5, "size": 8, "solidity": 0.12}


def overlap_figure(shared: Overlap) -> go.Figure:
    """For each way of counting one bar: tokens of the student alone, shared ones, tokens of the teacher alone."""
    import plotly.graph_objects as go

    table = overlap_table(shared)
    labels = [
        f"{title}<br>{percent(student, 0)} of student, {percent(teacher, 0)} of teacher"
        for title, student, teacher in zip(table["counted by"], table["share of student"], table["share of teacher"])
    ]
    parts = (
        ("student only", "student alone", BLUE, "/"),
        ("shared", "shared", GREEN, ""),
        ("teacher only", "teacher alone", ORANGE, "\\"),
    )
    traces: list[Any] = [
        go.Bar(
            y=labels,
            x=table[column],
            orientation="h",
            name=name,
            text=[f"{n:,}" for n in table[column]],
            textposition="inside",
            textangle=0,
            insidetextanchor="middle",
            insidetextfont={"color": "black" if colour == ORANGE else "white", "size": 12},
            customdata=table["counted by"],
            marker={"color": colour, "pattern": hatched(hatch)},
            hovertemplate="%{customdata}: %{x:,} " + name + "<extra></extra>",
        )
        for column, name, colour, hatch in parts
    ]
    fig = figure(traces, "Tokens the two vocabularies share", height=300, barmode="stack", bargap=0.25)
    fig.update_xaxes(title_text="tokens", tickformat=",")
    fig.update_yaxes(autorange="reversed")
    # A number that doesn't fit into its bar is left out; the table below has it.
    return fig.update_layout(legend={"traceorder": "normal"}, uniformtext={"minsize": 10, "mode": "hide"})


def overlap_table(shared: Overlap) -> pd.DataFrame:
    """The twin of `overlap_figure`: counted by, student only, shared, teacher only, three shares, meaning."""
    import pandas as pd

    rows = []
    for way, title in WAY_TITLES.items():
        share = shared.shares[way]
        own, other = shared.student_matched[way], shared.teacher_matched[way]
        rows.append(
            {
                "counted by": title,
                "student only": _alone(int(own.sum()), share.student, shared.student_size),
                "shared": share.count,
                "teacher only": _alone(int(other.sum()), share.teacher, shared.teacher_size),
                "share of student": share.student,
                "share of teacher": share.teacher,
                "share of the smaller": share.smaller,
                "meaning": WAY_MEANINGS[way],
            }
        )
    return pd.DataFrame(rows)


def _alone(matched: int, share: float, size: int) -> int:
    """Tokens that aren't shared, of those that this way counts (special tokens spell no bytes)."""
    return round(matched / share) - matched if share else size


def class_figure(report: PairReport) -> go.Figure:
    """Of each class, digits first, the share that the other vocabulary has too; critical gaps are red and hatched."""
    import plotly.graph_objects as go

    table = class_table(report)
    sides = (("student", BLUE), ("teacher", SKY))
    traces: list[Any] = []
    for side, colour in sides:
        totals, matched = table[f"{side} tokens"], table[f"{side} shared"]
        shares = [m / n if n else 0.0 for m, n in zip(matched, totals)]
        missing = [side == "student" and bool(flag) for flag in table["critical gap"]]
        texts = [
            f"{m:,} of {n:,}" + (" — missing" if lost else "") if n else "none"
            for m, n, lost in zip(matched, totals, missing)
        ]
        colours = [VERMILLION if lost else colour for lost in missing]
        # Not "overlay": for a list of colours plotly then complains on the console about each bar of its legend.
        pattern = hatched(["x" if lost else "" for lost in missing]) | {"fillmode": "replace", "bgcolor": colours}
        traces.append(
            go.Bar(
                y=table["class"],
                # A sliver, so that nothing shared is still a bar with a colour and a hatch.
                x=[max(share, 0.006) if n else 0.0 for share, n in zip(shares, totals)],
                orientation="h",
                name=f"{side}'s tokens",
                text=texts,
                textposition=["inside" if share > 0.45 else "outside" for share in shares],
                insidetextanchor="end",
                insidetextfont={"color": "white" if side == "student" else "black"},
                cliponaxis=False,
                customdata=shares,
                marker={"color": colours, "pattern": pattern},
                hovertemplate="%{y}: %{text} (%{customdata:.1%})<extra>" + side + "</extra>",
            )
        )
    height = 110 + 46 * max(1, len(table))
    fig = figure(traces, "Tokens the other side has too, by class", height=height, barmode="group", bargap=0.22)
    fig.update_xaxes(range=[0, 1.02], tickformat=".0%", showgrid=False)
    fig.update_yaxes(autorange="reversed")
    return fig.update_layout(legend={"traceorder": "normal"})


def class_table(report: PairReport) -> pd.DataFrame:
    """The twin of `class_figure`: class, tokens and shared of both sides, critical gap, examples of what is missing.

    A critical gap is the advice's: a class of numbers of which the teacher has less than half.
    """
    import pandas as pd

    own, other = report.vocabulary["classes"], report.vocabulary["teacher_classes"]
    rows = []
    for name in own:
        if not own[name]["total"] and not other[name]["total"]:
            continue
        total, matched = own[name]["total"], own[name]["matched"]
        examples = [shorten(visible(token), 16) for token in report.vocabulary["unmatched"].get(name, [])[:EXAMPLES]]
        rows.append(
            {
                "class": CLASS_TITLES.get(name, name),
                "student tokens": total,
                "student shared": matched,
                "teacher tokens": other[name]["total"],
                "teacher shared": other[name]["matched"],
                "critical gap": name in CRITICAL and total > 0 and matched < CRITICAL_SHARE * total,
                "missing, for example": "  ".join(examples),
            }
        )
    return pd.DataFrame(rows)


def class_sentence(report: PairReport) -> str:
    """The figure in words: the classes of numbers, then the rest."""
    named = [(CLASS_TITLES.get(n, n), row) for n, row in report.vocabulary["classes"].items() if row["total"]]
    return ", ".join(f"{title} {row['matched']:,} of {row['total']:,}" for title, row in named)


def token_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """int64 [LONGEST + 1]: tokens by length in bytes, entry LONGEST for all longer ones; special tokens left out."""
    lengths = np.fromiter(map(len, tokenizer.all_token_bytes()), dtype=np.int64, count=tokenizer.n_ids)
    lengths[list(tokenizer.special_ids)] = 0
    counts = np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1)
    counts[0] = 0  # ids without text
    return counts


def length_figure(student: Tokenizer, teacher: Tokenizer) -> go.Figure:
    """Share of each vocabulary by the length of its tokens in bytes."""
    import plotly.graph_objects as go

    table = length_table(student, teacher)
    sides = (("student", student, BLUE, ""), ("teacher", teacher, ORANGE, "/"))
    traces: list[Any] = [
        go.Bar(
            x=table["bytes"],
            y=table[f"{side} share"],
            customdata=table[f"{side} tokens"],
            name=f"{side}: {escape(shorten(tokenizer.name, 30))}",
            marker={"color": colour, "pattern": hatched(hatch)},
            hovertemplate="%{x} bytes: %{customdata:,} tokens (%{y:.1%})<extra>" + side + "</extra>",
        )
        for side, tokenizer, colour, hatch in sides
    ]
    fig = figure(traces, "Length of tokens", height=340, barmode="group", bargap=0.2)
    fig.update_xaxes(title_text="bytes", type="category")
    fig.update_yaxes(title_text="share of the vocabulary", tickformat=".0%")
    return fig


def length_table(student: Tokenizer, teacher: Tokenizer) -> pd.DataFrame:
    """The twin of `length_figure`: bytes ("1" to "16+"), tokens and share of both sides."""
    import pandas as pd

    columns: dict[str, Any] = {"bytes": [*map(str, range(1, LONGEST)), f"{LONGEST}+"]}
    for side, tokenizer in (("student", student), ("teacher", teacher)):
        counts = token_lengths(tokenizer)[1:]
        columns[f"{side} tokens"] = counts
        columns[f"{side} share"] = counts / max(1, int(counts.sum()))
    return pd.DataFrame(columns)


def length_sentence(student: Tokenizer, teacher: Tokenizer) -> str:
    """The mean lengths in words; tokens over LONGEST bytes count with their own length."""
    means = []
    for tokenizer in (student, teacher):
        special = tokenizer.special_ids
        kept = [len(b) for i, b in enumerate(tokenizer.all_token_bytes()) if b and i not in special]
        means.append(float(np.mean(kept)) if kept else 0.0)
    return (
        f"Mean length of a token: student {means[0]:.2f} bytes, teacher {means[1]:.2f} bytes (special ones left out)."
    )
