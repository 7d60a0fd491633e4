"""What a measurement says apart: by domain, by script, by class of token, by a field of the records, with intervals.

Dots with 95 % intervals over texts, and the same as a table. Figures are those of `pair.corpora.counts.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.pair_domains import domain_labels
from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLUE, ORANGE
from ctkd_core.markup.numbers import decimals, percent
from ctkd_core.markup.visible import one_line, shorten

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Parts = Mapping[str, Mapping[str, Any]]  # figures by domain, or by the value of a slice
DOMAIN = "domain"
# Names of what every measurement is told apart by; a field of records is called by its own name.
TITLES = {
    DOMAIN: "domain",
    "script": "script",
    "student_class": "class of the student's token",
    "teacher_class": "class of the teacher's token",
}
MOST_DRAWN = 30  # values; the table has all
_ROW, _APART = 28, 0.16  # pixels of a row; how far the dots of both sides stand from its middle
_SIDES = (("student", BLUE, "circle"), ("teacher", ORANGE, "diamond"))
_COUNTS = ("texts", "bytes", "student_tokens", "teacher_tokens")


@dataclass(frozen=True)
class Rate:
    """A rate of both sides: the end of its key behind "student_", its meaning, and whether it is a share of 1."""

    key: str
    meaning: str
    share: bool = True


RATES = {
    "tokens in 1-1 groups": Rate("tokens_1_1", "Tokens that face exactly one token of the other side."),
    "whole for the other side": Rate(
        "whole", "Tokens that the other vocabulary has, byte for byte: they could be carried over as they are."
    ),
    "bytes per token": Rate("bytes_per_token", "How much text a token carries.", share=False),
}


def ways_of(rows: Parts, chosen: str) -> dict[str, Parts]:
    """What figures can be told apart by, and the figures of each value: the domains, and slices of the chosen one."""
    slices: Mapping[str, Parts] = rows[chosen].get("slices", {})
    first = [name for name in TITLES if name in slices]
    return {DOMAIN: rows} | {name: slices[name] for name in [*first, *(key for key in slices if key not in TITLES)]}


def title_of(way: str) -> str:
    """What a way of telling apart is called; fields of records are strangers' names."""
    return TITLES.get(way) or f"field {one_line(way)}"


def slice_figure(parts: Parts, way: str, rate: str, where: str) -> go.Figure:
    """One row a value, a dot a side with its interval; the first MOST_DRAWN values. `where`: what was measured."""
    import plotly.graph_objects as go

    shown = dict(list(parts.items())[:MOST_DRAWN])
    labels, asked = domain_labels(shown), RATES[rate]
    form = ".1%" if asked.share else ".3~g"
    traces: list[Any] = []
    for number, (side, colour, symbol) in enumerate(_SIDES):
        key = f"{side}_{asked.key}"
        at = [place for place, row in enumerate(shown.values()) if key in row]
        if not at:
            continue
        rows = [list(shown.values())[place] for place in at]
        values = [float(row[key]) for row in rows]
        ends = [row["intervals"].get(key) or (value, value) for row, value in zip(rows, values)]
        traces.append(
            go.Scatter(
                x=values,
                y=[place + _APART * (2 * number - 1) for place in at],
                customdata=[[labels[place], _interval(row, key, asked.share)] for place, row in zip(at, rows)],
                mode="markers",
                name=side,
                marker={"color": colour, "size": 9, "symbol": symbol},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, high - value) for (_, high), value in zip(ends, values)],
                    "arrayminus": [max(0.0, value - low) for (low, _), value in zip(ends, values)],
                    "color": colour,
                    "thickness": 1.5,
                },
                hovertemplate="%{customdata[0]}: %{x:" + form + "} %{customdata[1]}<extra>" + side + "</extra>",
            )
        )
    left = len(parts) - len(shown)
    title = f"{rate[:1].upper()}{rate[1:]} by {_label(title_of(way))}"
    title += "" if way == DOMAIN else f", {_label(where)}"
    title += f" ({len(shown)} of {len(parts)})" if left > 0 else ""
    fig = figure(traces, title, height=130 + _ROW * max(3, len(shown)))
    fig.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.4, -0.6])
    fig.update_xaxes(title_text="share of tokens" if asked.share else "bytes per token", rangemode="tozero")
    if asked.share:
        fig.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    return fig


def slice_table(parts: Parts, way: str) -> pd.DataFrame:
    """The twin of every `slice_figure`: a row a value, each rate with both ends of its interval; shares from 0 to 1."""
    import pandas as pd

    found = []
    for name, row in parts.items():
        cells: dict[str, Any] = {title_of(way): one_line(name)}
        cells |= {key.replace("_", " "): row[key] for key in _COUNTS if key in row}
        for title, key in _keys(parts):
            low_high = row["intervals"].get(key) or (None, None)
            cells |= {title: row.get(key), f"{title}, low": low_high[0], f"{title}, high": low_high[1]}
        found.append(cells)
    frame = pd.DataFrame(found)
    numbers = [title for title, _ in _keys(parts)]
    ends = [f"{title}, {end}" for title in numbers for end in ("low", "high")]
    return frame.astype(dict.fromkeys([*numbers, *ends], "float64"))


def share_titles(parts: Parts) -> tuple[str, ...]:
    """Titles of the columns of `slice_table` that are shares of 1."""
    return tuple(
        f"{title}{end}"
        for title, key in _keys(parts)
        if not key.endswith("bytes_per_token")
        for end in ("", ", low", ", high")
    )


def slice_sentence(parts: Parts, way: str, rate: str) -> str:
    """The lowest and the highest value in words, of the student where it has the rate."""
    asked = RATES[rate]
    side = next((side for side, _, _ in _SIDES if any(f"{side}_{asked.key}" in row for row in parts.values())), None)
    if side is None:
        return f"Nothing is told apart by {title_of(way)}."
    key = f"{side}_{asked.key}"
    there = sorted(((row[key], name, row) for name, row in parts.items() if key in row), key=lambda item: item[:2])

    def told(item: tuple[float, str, Mapping[str, Any]]) -> str:
        value, name, row = item
        said = percent(value) if asked.share else decimals(value)
        return f"{one_line(name)} {said} {_interval(row, key, asked.share)}".rstrip()

    which = f"{rate}, {side}, by {title_of(way)}"
    if len(there) == 1:
        return f"{which}: {told(there[0])}."
    return f"{which}: from {told(there[0])} to {told(there[-1])}."


def _label(name: str) -> str:
    """A stranger's name as part of a title."""
    return escape(shorten(one_line(name), 40))


def _keys(parts: Parts) -> list[tuple[str, str]]:
    """Titles and keys of the rates that some part has."""
    keys = [(f"{side}: {name}", f"{side}_{rate.key}") for name, rate in RATES.items() for side, _, _ in _SIDES]
    return [(title, key) for title, key in keys if any(key in row for row in parts.values())]


def _interval(row: Mapping[str, Any], key: str, share: bool) -> str:
    """The ends of an interval in brackets; "" where there is none."""
    low_high = row["intervals"].get(key)
    if not low_high:
        return ""
    low, high = (percent(end) if share else decimals(end) for end in low_high)
    return f"({low} to {high})"
