"""What a student has learnt: dots by domain and class, agreement over steps, results by length; and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.evaluation.harness import task_rows
from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLUE, GREY, ORANGE
from ctkd_core.markup.visible import counted, one_line, shorten

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Table = Mapping[str, float | None]
Rows = Sequence[Mapping[str, Any]]
MOST_PARTS = 24  # rows of a dot plot
ROW_HEIGHT = 22  # pixels
LINES = {
    "top1": "same first choice",
    "byte_top1": "same next byte behind a token",
    "next_byte_top1": "same next byte everywhere",
}
DISTANCES = {"byte_kl": "behind a token of both", "next_byte_kl": "at every byte"}
LOOKS = ((BLUE, "solid", "circle"), (ORANGE, "dash", "square"), (GREY, "dot", "diamond"))
NAMES = {
    "top1": "same first choice of token",
    "byte_kl": "KL of next bytes at common boundaries, bits",
    "byte_top1": "same next byte at common boundaries",
    "stretches": "stretches that are one token on both sides",
    "boundaries": "common boundaries",
    "next_byte_kl": "KL of next bytes at every byte, bits",
    "next_byte_top1": "same next byte at every byte",
    "bytes": "bytes",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact match",
    "texts": "completions",
}


@dataclass(frozen=True)
class Moments:
    """One measure by its parts: the student now and before its first step, the teacher, and how much each part weighs.

    Each a table {part: figure}; empty where it wasn't measured.
    """

    now: Table
    before: Table = field(default_factory=dict)
    teacher: Table = field(default_factory=dict)
    sizes: Table = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """The parts, those furthest behind the teacher first (without a teacher: the worst first)."""
        return sorted(self.now, key=lambda part: -_behind(self, part))

    def titled(self, titles: Mapping[str, str]) -> Moments:
        """The same with parts called as `titles` call them."""
        tables = (self.now, self.before, self.teacher, self.sizes)
        return Moments(*({titles.get(part, part): value for part, value in table.items()} for table in tables))


def moments(rows: Rows, name: str, teacher: str = "", sizes: str = "") -> Moments:
    """The tables called `name`, `teacher` and `sizes` in the first and last evaluation that has the first of them.

    rows: rows of metrics.jsonl. `now` is empty where no evaluation has it.
    """
    having = [row for row in rows if row.get("kind") == "eval" and isinstance(row.get(name), dict)]
    if not having:
        return Moments({})
    first, last = having[0], having[-1]
    before = first[name] if first is not last and first.get("step") == 0 else {}
    return Moments(last[name], before, last.get(teacher) or {}, last.get(sizes) or {})


def part_dots(found: Moments, title: str, unit: str = "bits per byte") -> go.Figure:
    """One line a part: where the student began, where it is, where the teacher is."""
    import plotly.graph_objects as go

    parts = found.parts[:MOST_PARTS]
    labels = part_labels(parts)
    marks = (
        ("teacher", found.teacher, ORANGE, "diamond"),
        ("at the start", found.before, GREY, "circle-open"),
        ("student", found.now, BLUE, "circle"),
    )
    traces: list[Any] = [_ways(found, parts, labels)] if found.before else []
    for name, table, colour, symbol in marks:
        shown = [(table[p], label, _size(found, p)) for p, label in zip(parts, labels) if table.get(p) is not None]
        if shown:
            traces.append(
                go.Scatter(
                    x=[value for value, _, _ in shown],
                    y=[label for _, label, _ in shown],
                    customdata=[size for _, _, size in shown],
                    mode="markers",
                    name=name,
                    marker={"color": colour, "size": 10, "symbol": symbol},
                    hovertemplate="%{y}: %{x:.3f} " + unit + f"%{{customdata}}<extra>{name}</extra>",
                )
            )
    left = len(found.now) - len(parts)
    title += f" ({len(parts)} of {len(found.now)})" if left > 0 else ""
    fig = figure(traces, title, height=130 + ROW_HEIGHT * max(3, len(parts)))
    fig.update_yaxes(autorange="reversed", type="category", categoryorder="array", categoryarray=labels)
    return fig.update_xaxes(title_text=unit, rangemode="tozero")


def _size(found: Moments, part: str) -> str:
    """How much text a part has, for the pointer."""
    size = found.sizes.get(part)
    return "" if size is None else f", {size:,.0f} bytes"


def _ways(found: Moments, parts: Sequence[str], labels: Sequence[str]) -> go.Scatter:
    """A thin line from the start to now for each part."""
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[str | None] = []
    for part, label in zip(parts, labels):
        x += [found.before.get(part), found.now.get(part), None]
        y += [label, label, None]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False)


def part_labels(parts: Sequence[str]) -> list[str]:
    """Names of parts as labels: short, visible, no markup, all different."""
    labels: list[str] = []
    for part in parts:
        label = escape(shorten(one_line(part), 28))
        labels.append(label if label not in labels else f"{label} ({len(labels) + 1})")
    return labels


def part_table(found: Moments, what: str, sizes: str = "bytes") -> pd.DataFrame:
    """The twin of `part_dots`: one row a part, all of them, in the same order."""
    import pandas as pd

    columns = (("at the start", found.before), ("student", found.now), ("teacher", found.teacher), (sizes, found.sizes))
    kept = [(title, table) for title, table in columns if table]
    return pd.DataFrame(
        [{what: one_line(part)} | {title: table.get(part) for title, table in kept} for part in found.parts],
        columns=[what, *(title for title, _ in kept)],
    )


def _behind(found: Moments, part: str) -> float:
    now, teacher = found.now.get(part), found.teacher.get(part)
    return (now or 0.0) - (teacher or 0.0)


def agreement_curves(rows: Rows, height: int = 300) -> go.Figure:
    """Shares of equal first choices and of equal next bytes over steps."""
    traces = _lines(rows, LINES, "%{y:.1%}")
    fig = figure(traces, "Agreement with the teacher (higher is better)", height=height)
    fig.update_xaxes(title_text="step", rangemode="tozero")
    return fig.update_yaxes(range=[0, 1.02], tickformat=".0%")


def kl_curve(rows: Rows, height: int = 300) -> go.Figure:
    """KL(teacher || student) of next bytes over steps: at common boundaries, and at every byte where that is known."""
    fig = figure(_lines(rows, DISTANCES, "%{y:.3f} bits"), "KL of next bytes, in bits (lower is better)", height=height)
    fig.update_xaxes(title_text="step", rangemode="tozero")
    return fig.update_yaxes(rangemode="tozero")


def _lines(rows: Rows, names: Mapping[str, str], form: str) -> list[Any]:
    """A marked line over steps for each figure of the agreement that some evaluation has."""
    import plotly.graph_objects as go

    traces: list[Any] = []
    for (key, name), (colour, dash, symbol) in zip(names.items(), LOOKS):
        x, y = _over_steps(rows, "agreement", key)
        if x:
            traces.append(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="lines+markers",
                    name=name,
                    line={"color": colour, "width": 2, "dash": dash},
                    marker={"size": 9, "symbol": symbol},
                    hovertemplate="step %{x}: " + form + "<extra>" + name + "</extra>",
                )
            )
    return traces


def agreement_table(rows: Rows) -> pd.DataFrame:
    """The twin of both curves of agreement: one row a step."""
    import pandas as pd

    having = [row for row in rows if row.get("kind") == "eval" and isinstance(row.get("agreement"), dict)]
    return pd.DataFrame(
        [{"step": row["step"]} | {NAMES.get(k, k): v for k, v in row["agreement"].items()} for row in having]
    )


def length_figure(found: Moments, title: str, axis: str, share: bool = True, height: int = 300) -> go.Figure:
    """A figure by length: the student now, at the start and the teacher as marked lines; the parts are numbers."""
    import plotly.graph_objects as go

    form = ".1%" if share else ".1f"
    traces: list[Any] = []
    for name, table, colour, dash, symbol in (
        ("student", found.now, BLUE, "solid", "circle"),
        ("teacher", found.teacher, ORANGE, "dash", "diamond"),
        ("at the start", found.before, GREY, "dot", "circle-open"),
    ):
        points = sorted(
            (_length(part), value) for part, value in table.items() if _length(part) >= 0 and value is not None
        )
        if points:
            traces.append(
                go.Scatter(
                    x=[x for x, _ in points],
                    y=[y for _, y in points],
                    mode="lines+markers",
                    name=name,
                    line={"color": colour, "width": 2, "dash": dash},
                    marker={"size": 9, "symbol": symbol},
                    hovertemplate="%{x}: %{y:" + form + "}<extra>" + name + "</extra>",
                )
            )
    fig = figure(traces, title, height=height)
    ticks = sorted({x for trace in traces for x in trace.x})
    fig.update_xaxes(title_text=axis, tickvals=ticks, type="linear" if share else "log")
    return fig.update_yaxes(range=[0, 1.02], tickformat=".0%") if share else fig.update_yaxes(ticksuffix=" %")


def _length(word: str) -> int:
    """A length as a number, -1 for a word that is none ("²" is a digit, too)."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1


def length_table(found: Moments, what: str, sizes: str = "exercises") -> pd.DataFrame:
    """The twin of `length_figure`, by increasing length."""
    table = part_table(found, what, sizes)
    table[what] = [_length(str(part)) for part in table[what]]
    return table.sort_values(what, ignore_index=True)


def measure_table(found: Moments) -> pd.DataFrame:
    """Named measures (ROUGE-L and the like) as rows: at the start, the student, the teacher."""
    import pandas as pd

    columns = [("at the start", found.before), ("student", found.now), ("teacher", found.teacher)]
    kept = [(title, table) for title, table in columns if table]
    return pd.DataFrame(
        [{"measure": NAMES.get(key, key)} | {title: table.get(key) for title, table in kept} for key in found.now]
    )


def counts_text(rows: Rows) -> str:
    """On how much the figures of what a student writes stand, in words; "" where nothing was counted."""
    last = [row for row in rows if row.get("kind") == "eval"][-1:]
    parts = []
    for row in last:
        counts = {
            "completion": (row.get("completions") or {}).get("texts"),
            "exercise": sum(n or 0 for n in (row.get("arithmetic_counts") or {}).values()),
            "prompt": row.get("exposure_texts"),
        }
        parts += [counted(int(count), unit) for unit, count in counts.items() if count]
    return f"Measured on {', '.join(parts)}." if parts else ""


def task_table(tasks: Mapping[str, Table]) -> pd.DataFrame:
    """Figures of tasks of lm-evaluation-harness: one row a figure, with its standard error where it has one."""
    import pandas as pd

    columns = ["task", "figure", "student", "standard error", "examples"]
    rows = [(one_line(task), one_line(name), *values) for task, name, *values in task_rows(tasks)]
    return pd.DataFrame(rows, columns=columns)


def _over_steps(rows: Rows, table: str, key: str) -> tuple[list[int], list[float]]:
    points = [
        (row["step"], value)
        for row in rows
        if row.get("kind") == "eval" and (value := (row.get(table) or {}).get(key)) is not None
    ]
    return [step for step, _ in points], [value for _, value in points]
