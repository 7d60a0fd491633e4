"""What experiments found, drawn and in words: methods ranked with intervals, the curve of a run, tables of the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.comparison import interval
from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, VERMILLION
from ctkd_core.methods.evidence import KINDS, REGIMES, Condition, Difference, Digest, Experiment, Tried, TriedRun
from ctkd_core.methods.evidence.figures import in_words

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW_HEIGHT = 34  # pixels a method


@dataclass(frozen=True)
class RankedMeasure:
    """What a ranking shows: fields of `Tried` and of `TriedRun`, and whether values are differences to the baseline."""

    meaning: str
    of_method: str
    of_run: str
    difference: bool = True


MEASURES = {
    "difference": RankedMeasure(
        "The method's value minus the baseline's at the same seed: what the seeds share falls out.",
        "to_baseline",
        "value",
    ),
    "value": RankedMeasure("The value after the last step.", "value", "value", False),
    "best look": RankedMeasure(
        "The same difference, of each run's best value along its curve: what early stopping would have kept. It is "
        "chosen on the text that it is measured on, so it is a little too good.",
        "best_to_baseline",
        "best",
    ),
    "equal seconds": RankedMeasure(
        "The same difference, when the quickest method of a seed was through; between two looks on a straight line. "
        "None where a run has fewer than four looks: such a line would say what was drawn, not what was learnt.",
        "equal_to_baseline",
        "equal",
    ),
}


def setting_name(experiment: str, title: str) -> str:
    """What a list calls a setting: experiments may have settings of one title."""
    return f"{title} · {experiment}"


def figure_name(condition: Condition) -> str:
    """The figure in words, and which way is better."""
    return f"{in_words(condition.figure)} ({'higher' if condition.higher_is_better else 'lower'} is better)"


def baseline_title(condition: Condition) -> str:
    """The baseline as lists show it; "" where there is none."""
    found = condition.find(condition.baseline)
    return found.title if found else ""


def points(condition: Condition, tried: Tried, measure: str) -> list[tuple[TriedRun, float]]:
    """The runs of a method with what `measure` makes of them; runs without it are left out."""
    shown = MEASURES[measure]
    base = condition.find(condition.baseline)
    zero = {run.seed: getattr(run, shown.of_run) for run in base.runs} if base and shown.difference else {}
    found = []
    for run in tried.runs:
        value, other = getattr(run, shown.of_run), zero.get(run.seed)
        if value is not None and not (shown.difference and other is None):
            found.append((run, value - (other or 0.0)))
    return found


def has_values(condition: Condition, measure: str) -> bool:
    """Whether a ranking by `measure` has anything to show. Raises KeyError for another measure."""
    return any(points(condition, tried, measure) for tried in _ranked(condition, measure))


def ranking_figure(condition: Condition, measure: str, chosen: tuple[str, int] | None = None) -> go.Figure:
    """A row a method, best above: a diamond for the mean with its 95 % interval, a dot for each run.

    Dots carry (label, seed) as customdata; that of the `chosen` run has a ring. Raises KeyError for another measure.
    """
    import plotly.graph_objects as go

    shown = MEASURES[measure]
    rows = _ranked(condition, measure)
    means: dict[str, list[Any]] = {"x": [], "y": [], "low": [], "high": [], "words": []}
    dots: dict[str, list[Any]] = {"x": [], "y": [], "who": [], "words": [], "ring": []}
    for tried in rows:
        name, found = escape(tried.title), getattr(tried, shown.of_method)
        if found is not None:
            ends = (found.mean, found.mean) if found.low is None else (found.low, found.high)
            means["x"].append(found.mean)
            means["y"].append(name)
            means["low"].append(found.mean - ends[0])
            means["high"].append(ends[1] - found.mean)
            means["words"].append(f"{name}: {interval(found)}, n = {found.n}")
        for run, value in points(condition, tried, measure):
            dots["x"].append(value)
            dots["y"].append(name)
            dots["who"].append([tried.label, run.seed])
            dots["words"].append(f"{name}, seed {run.seed}: {value:.4g}")
            dots["ring"].append(3 if chosen == (tried.label, run.seed) else 0.5)
    title = (
        f"{figure_name(condition)}, minus {baseline_title(condition)}" if shown.difference else figure_name(condition)
    )
    fig = figure(
        [
            go.Scatter(
                x=means["x"],
                y=means["y"],
                mode="markers",
                name="mean, 95 % interval",
                text=means["words"],
                hovertemplate="%{text}<extra></extra>",
                marker={"size": 17, "color": ORANGE, "symbol": "diamond-open", "line": {"width": 2}},
                error_x={"array": means["high"], "arrayminus": means["low"], "color": ORANGE, "thickness": 2},
            ),
            go.Scatter(
                x=dots["x"],
                y=dots["y"],
                mode="markers",
                name="a run",
                customdata=dots["who"],
                text=dots["words"],
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "size": 9,
                    "color": BLUE,
                    "opacity": 0.75,
                    "line": {"width": dots["ring"], "color": VERMILLION},
                },
            ),
        ],
        title,
        height=150 + ROW_HEIGHT * max(1, len(rows)),
    )
    order = [escape(tried.title) for tried in rows]
    fig.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1], automargin=True)
    fig.update_xaxes(zeroline=False, automargin=True)
    return _marked(fig, condition, shown.difference)


def _ranked(condition: Condition, measure: str) -> list[Tried]:
    """The methods of a ranking: the baseline has no row among differences to it."""
    return [t for t in condition.done if not (MEASURES[measure].difference and t.label == condition.baseline)]


def _marked(fig: go.Figure, condition: Condition, difference: bool) -> go.Figure:
    """Lines at the baseline, or at the start and the teacher."""
    marks = [(0.0, baseline_title(condition))] if difference else []
    if not difference:
        marks = [(v, n) for v, n in ((condition.start, "start"), (condition.teacher_value, "teacher")) if v is not None]
    for value, name in marks:
        fig.add_vline(
            x=value, line={"color": GREY, "dash": "dot"}, annotation_text=escape(name), annotation_font_size=11
        )
    return fig


def curve_figure(condition: Condition, label: str, seed: int) -> go.Figure:
    """The curve of one run, beside it the baseline's and the best method's at the same seed; the teacher as a line."""
    import plotly.graph_objects as go

    asked = dict.fromkeys((label, condition.baseline, *(tried.label for tried in condition.done[:1])))
    styles = ((VERMILLION, "solid"), (GREY, "dash"), (GREEN, "dot"))
    traces = []
    for (colour, dash), name in zip(styles, asked):
        tried = condition.find(name)
        run = next((run for run in tried.runs if run.seed == seed), None) if tried else None
        if tried is None or run is None or not run.curve:
            continue
        traces.append(
            go.Scatter(
                x=[point.step for point in run.curve],
                y=[point.value for point in run.curve],
                customdata=[point.seconds for point in run.curve],
                mode="lines+markers",
                name=escape(tried.title),
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate="step %{x}: %{y:.4g} after %{customdata:.3g} s<extra>" + escape(tried.title) + "</extra>",
            )
        )
    fig = figure(traces, f"{figure_name(condition)}, seed {seed}", height=340, showlegend=True)
    if condition.teacher_value is not None:
        line = {"color": GREY, "dash": "dashdot"}
        fig.add_hline(y=condition.teacher_value, line=line, annotation_text="teacher", annotation_font_size=11)
    fig.update_yaxes(automargin=True)
    return fig.update_xaxes(title_text="step", rangemode="tozero")


def ranking_rows(condition: Condition) -> list[dict[str, str]]:
    """The ranking as a table for people: everything that the figure shows, and what it cost."""
    against = f"minus {baseline_title(condition) or 'the baseline'}"
    return [
        {
            "rank": "–" if tried.rank is None else str(tried.rank),
            "method": tried.title,
            "runs": f"{len(tried.runs)} of {len(tried.runs) + len(tried.missing)}",
            "mean (95 %)": interval(tried.value),
            against: interval(tried.to_baseline),
            "chance": _chance(tried.to_baseline),
            "chance (Holm)": "–"
            if tried.to_baseline is None or tried.to_baseline.adjusted is None
            else f"{tried.to_baseline.adjusted:.3g}",
            "minus the best": interval(tried.to_best),
            "chance of the order": _chance(tried.against_next),
            "gap closed": "–" if tried.gap_closed is None else f"{round(100 * tried.gap_closed)} %",
            "best look": interval(tried.best),
            "best look, " + against: interval(tried.best_to_baseline),
            "at equal seconds": interval(tried.equal),
            "at equal seconds, " + against: interval(tried.equal_to_baseline),
            "seconds a step": _short(tried.seconds_per_step),
            "CPU seconds a step": _short(tried.cpu_seconds_per_step),
        }
        for tried in condition.methods
    ]


def run_rows(condition: Condition) -> list[dict[str, str]]:
    """Every run: value, best look, value at equal seconds, cost, and where it came from."""
    return [
        {
            "method": tried.title,
            "seed": str(run.seed),
            "value": f"{run.value:.4f}",
            "best look": f"{run.best:.4f}",
            "at equal seconds": "–" if run.equal is None else f"{run.equal:.4f}",
            "seconds": "–" if run.seconds is None else f"{run.seconds:.0f}",
            "finished": run.finished,
            "revision": run.revision[:9],
            "run": run.run,
        }
        for tried in condition.done
        for run in tried.runs
    ]


def curve_rows(condition: Condition, label: str, seed: int) -> list[dict[str, str]]:
    """The curve of one run."""
    tried = condition.find(label)
    run = next((run for run in tried.runs if run.seed == seed), None) if tried else None
    return [
        {"step": str(point.step), "seconds": f"{point.seconds:.4g}", condition.figure: f"{point.value:.4f}"}
        for point in (run.curve if run else [])
    ]


def domain_rows(condition: Condition) -> list[dict[str, str]]:
    """The figure by domain of the held-out text, and the difference to the baseline there."""
    against = f"minus {baseline_title(condition) or 'the baseline'}"
    return [
        {
            "domain": domain,
            "method": tried.title,
            "mean (95 %)": interval(found.value),
            against: interval(found.to_baseline),
            "chance": _chance(found.to_baseline),
        }
        for domain in dict.fromkeys(name for tried in condition.done for name in tried.domains)
        for tried in condition.done
        if (found := tried.domains.get(domain)) is not None
    ]


def method_rows(found: Digest, method: str) -> list[dict[str, str]]:
    """Every setting that tried a method beside fine-tuning, with options or other teachers or not: bits per byte."""
    return [
        {
            "setting": setting_name(tried.source.experiment, tried.source.title)
            if tried.source
            else setting_name(experiment.name, condition.title),
            "kind of pair": condition.kind,
            "regime": condition.regime,
            "as": tried.title,
            "minus SFT (95 %)": interval(gap, 3),
            "seeds": str(gap.n),
            "found": ("better" if gap.mean < 0 else "worse") if gap.decided else "undecided",
        }
        for experiment, condition, tried, gap in _beside_sft(found)
        if tried.method == method
    ]


def _beside_sft(found: Digest) -> Iterator[tuple[Experiment, Condition, Tried, Difference]]:
    """Each method of each setting that has bits per byte beside SFT's, and its difference to it.

    Where the figure of a setting is none of bits, its runs have those too.
    """
    for experiment, condition in found.settings:
        if condition.baseline == "sft":
            own = condition.figure == "bits_per_byte"
            for tried in condition.done:
                gap = tried.to_baseline if own else tried.bits_to_baseline
                if tried.label != condition.baseline and gap is not None:
                    yield experiment, condition, tried, gap


@dataclass(frozen=True)
class Glance:
    """A method as it comes in the settings of a kind and regime: in how many it was decidedly better than fine-tuning.

    lowest, highest  of the mean differences to it in bits per byte; below 0 is better
    """

    kind: str
    regime: str
    method: str
    title: str
    settings: int
    better: int
    undecided: int
    worse: int
    lowest: float
    highest: float


def glances(found: Digest) -> list[Glance]:
    """Each method by kind of pair and regime: in how many settings it was decidedly better or worse than fine-tuning.

    Settings that have bits per byte beside SFT's; methods as they come: without options, other or further teachers. The
    best of a kind and regime, by the mean of its differences, stands first.
    """
    rows = []
    for kind, regime in itertools.product(KINDS, REGIMES):
        gaps: dict[tuple[str, str], list[Difference]] = {}
        for _, condition, tried, gap in _beside_sft(found):
            plain = not (tried.options or tried.teacher or tried.further_teachers)
            if plain and (condition.kind, condition.regime) == (kind, regime):
                gaps.setdefault((tried.method, tried.title), []).append(gap)
        for (method, title), own in sorted(gaps.items(), key=lambda item: fmean(gap.mean for gap in item[1])):
            decided = [gap for gap in own if gap.decided]
            better = sum(gap.mean < 0 for gap in decided)
            counts = len(own), better, len(own) - len(decided), len(decided) - better
            means = [gap.mean for gap in own]
            rows.append(Glance(kind, regime, method, title, *counts, min(means), max(means)))
    return rows


def glance_rows(found: Digest) -> list[dict[str, str]]:
    """`glances` as a table for people."""
    return [glance_row(row) for row in glances(found)]


def glance_row(row: Glance) -> dict[str, str]:
    """One of them."""
    lowest, highest = f"{row.lowest:+.3g}", f"{row.highest:+.3g}"
    return {
        "kind of pair": row.kind,
        "regime": row.regime,
        "method": row.title,
        "settings": str(row.settings),
        "decidedly better": str(row.better),
        "undecided": str(row.undecided),
        "decidedly worse": str(row.worse),
        "minus SFT": lowest if lowest == highest else f"{lowest} to {highest}",
    }


def claim_rows(found: Digest) -> list[dict[str, str]]:
    """All claims as rows: who says what, and what was found."""
    return [
        {
            "claim": claim.claim,
            "source": claim.source,
            "found": claim.ours,
            "verdict": claim.verdict,
            "note": claim.note,
            "experiment": experiment.name,
        }
        for experiment, claim in found.claims
    ]


def ranking_sentence(condition: Condition) -> str:
    """Who is ahead, and how much the runs support that."""
    done = condition.done
    if not done:
        return "Never tried: no run is finished."
    first, base = done[0], baseline_title(condition)
    if len(done) == 1:
        return f"Only {first.title} has been run; there is nothing to compare."
    ranked = condition.ranked
    if len(ranked) == 1:
        fewer = ", ".join(f"{t.title} {len(t.runs)}" for t in done[1:])
        return f"No order yet: {first.title} has {len(first.runs)} seeds, all others have fewer ({fewer})."
    if first.label == condition.baseline:
        said = f"{base} comes first: no other method is better than it on average."
        worse = ", ".join(t.title for t in done[1:] if t.to_baseline is not None and t.to_baseline.decided)
        return f"{said} Decidedly worse: {worse}." if worse else f"{said} No order is decided."
    gap = first.to_baseline
    if gap is None:
        return f"{first.title} comes first; there is no baseline to compare with."
    ends = "" if gap.low is None else f" ({gap.low:+.3g} to {gap.high:+.3g})"
    what = (
        f"{first.title} comes first: {gap.mean:+.3g}{ends} against {base}, n = {gap.n}, chance {gap.probability:.3g}."
    )
    if not gap.decided:
        return f"{what} Undecided: the interval holds 0 or there are fewer than three seeds."
    behind = first.against_next
    order = "" if behind is None or behind.decided else f" Its lead over {ranked[1].title} isn't decided."
    return f"{what} Decided.{order}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _chance(found: Any) -> str:
    return "–" if found is None else f"{found.probability:.3g}"
