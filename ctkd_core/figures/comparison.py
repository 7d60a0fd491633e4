"""Several runs compared: curves with bands, the ranking as a table for people, files, and one careful sentence."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.distill.comparison.curves import Band
from ctkd_core.distill.comparison.figures import limits_of
from ctkd_core.distill.comparison.statistics import Difference, Estimate
from ctkd_core.distill.comparison.table import LEAST_SEEDS
from ctkd_core.errors import RunError
from ctkd_core.figures.curves import MAX_POINTS
from ctkd_core.figures.tables import safe_csv
from ctkd_core.figures.theme import DASHES, escape, figure
from ctkd_core.markup.colours import CATEGORICAL
from ctkd_core.markup.curves import downsample

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ctkd_core.distill.comparison.table import Comparison, RankedKind
    from ctkd_core.methods.evidence import Interval

FORMATS = (".csv", ".parquet")


def band_curves(
    bands: Mapping[str, Band | None], title: str, axis: str = "step", log: bool = False, height: int = 340
) -> go.Figure:
    """One line a kind with a band of its 95 % interval over seeds; kinds differ in colour and dash.

    `axis`: what x is, for its title. A kind of one run has no band, one without points no line.
    """
    import plotly.graph_objects as go

    traces: list[Any] = []
    found = [(label, each) for label, each in bands.items() if each is not None and len(each.x)]
    for k, (label, each) in enumerate(found):
        colour, group = CATEGORICAL[k % len(CATEGORICAL)], f"kind{k}"
        if each.runs > 1:
            low_x, low = downsample(each.x, each.low, MAX_POINTS // 2)
            high_x, high = downsample(each.x, each.high, MAX_POINTS // 2)
            traces.append(
                go.Scatter(
                    x=np.concatenate([high_x, low_x[::-1]]),
                    y=np.concatenate([high, low[::-1]]),
                    mode="lines",
                    fill="toself",
                    line={"width": 0, "color": colour},
                    opacity=0.18,
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=group,
                )
            )
        x, y = downsample(each.x, each.mean, MAX_POINTS)
        runs = f" (mean of {each.runs})" if each.runs > 1 else ""
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers" if len(x) < 60 else "lines",
                name=escape(label) + runs,
                line={"color": colour, "width": 2, "dash": DASHES[k % len(DASHES)]},
                marker={"size": 5},
                legendgroup=group,
                hovertemplate=axis + " %{x:.4g}: %{y:.4g}<extra>" + escape(label) + "</extra>",
            )
        )
    fig = figure(traces, title, height=height, showlegend=len(found) > 1)
    fig.update_xaxes(title_text=axis, rangemode="tozero")
    return fig.update_yaxes(type="log" if log else "linear")


def ranking(found: Comparison) -> list[dict[str, str]]:
    """The comparison as rows for people: means with intervals in words, probabilities with three digits."""
    limits = limits_of(found.figure)
    against = f"minus {found.baseline}" if found.baseline else "minus the baseline"

    def chance(gap: Difference | None, name: str = "probability") -> str:
        if gap is not None and gap.n < LEAST_SEEDS:
            return f"takes {LEAST_SEEDS} seeds"
        value = None if gap is None else getattr(gap, name)
        return "–" if value is None else f"{value:.3g}"

    return [
        {
            "rank": "–" if row.rank is None else str(row.rank),
            "kind": row.kind.label,
            "seeds": measured(row, found.figure),
            f"{found.figure}, mean (95 %)": interval(row.figures.get(found.figure), limits=limits),
            against: interval(row.difference, limits=(limits[0] - limits[1], limits[1] - limits[0])),
            "chance": chance(row.difference),
            "chance (Holm)": chance(row.difference, "adjusted"),
            "chance of the order": chance(row.against_next),
        }
        for row in found.rows
    ]


def measured(row: RankedKind, figure: str) -> str:
    """How many of a kind's seeds have the figure: "3", or "2 of 3" while some have not."""
    every, found = len(row.kind.by_seed), row.figures.get(figure)
    return str(every) if found is not None and found.n == every else f"{found.n if found else 0} of {every}"


def interval(
    found: Estimate | Difference | Interval | None,
    digits: int = 4,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """A mean with its interval in words: "1.2345 (1.2 to 1.3)"; "–" for None.

    limits  what the value can be: the interval is cut off there
    """
    if found is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.mean:.{digits}g}"
    low, high = max(found.low, limits[0]), min(found.high, limits[1])
    return f"{found.mean:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def table_bytes(frame: pd.DataFrame, name: str) -> bytes:
    """The content of a CSV (safe in a spreadsheet) or Parquet file of that name. Raises RunError for other endings."""
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        raise RunError(f"a table is written to a file that ends in {' or '.join(FORMATS)}; got {name!r}.")
    if ending == ".csv":
        return safe_csv(frame).encode("utf-8", "replace")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


_OF_A_KIND = ("method", "variant", "student", "teacher", "student_model", "steps", "opened")


def better_sentence(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Compare runs by bits per byte on held-out text; runs that differ in the seed alone count as one kind.

    summaries: `Run.summary()` of each run, in the order of comparison; `opened` in it names where else it comes from.
    """
    kinds: dict[tuple[Any, ...], list[float]] = {}
    for row in summaries:
        value = row["metrics"].get("bits_per_byte_after")
        if value is not None:
            key = tuple(row.get(name) for name in _OF_A_KIND)
            kinds.setdefault(key, []).append(value)
    if len(kinds) < 2:
        return "" if not kinds else "Only one kind of run has been evaluated; there is nothing to rank yet."
    (best, low), (second, next_low) = sorted(kinds.items(), key=lambda item: mean(item[1]))[:2]
    names = [_name(key, kinds) for key in (best, second)]
    gap = mean(next_low) - mean(low)
    text = f"{names[0]} is ahead of {names[1]} by {gap:.3f} bits per byte"
    if min(len(low), len(next_low)) < 2:
        return f"{text}, with {len(low)} and {len(next_low)} seeds: too few to tell it from chance."
    if max(low) < min(next_low):
        return f"{text}; every one of its {len(low)} seeds is better than all {len(next_low)} of the other."
    return f"{text}, but their seeds overlap: the difference isn't supported."


def _name(key: tuple[Any, ...], kinds: Mapping[tuple[Any, ...], Any]) -> str:
    """The method, and what else tells it from the other kinds."""
    differs = [k for k in range(1, len(key)) if len({other[k] for other in kinds}) > 1]
    more = ", ".join(f"{key[k]} steps" if k == 5 else str(key[k]) for k in differs if key[k])
    return f"{key[0]} ({more})" if more else str(key[0])
