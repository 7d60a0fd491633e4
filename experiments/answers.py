"""The answer to an experiment's question: prose whose figures, and whose words for them, come from the results.

`experiments/NAME/answer.md` holds paragraphs with placeholders in braces. A part of several words stands in quotation
marks; REF is the name of a condition, of another experiment as `EXPERIMENT/CONDITION`; a METHOD is its label.

    {difference REF METHOD THAN}         decidedly better by 0.03 (0.02 to 0.04; 5 seeds), or
                                         undecided (-0.01, -0.03 to +0.01; 5 seeds)
    {difference REF METHOD THAN FIGURE}  the same of another figure; THAN may be "start"
    {word REF METHOD THAN} {... FIGURE}  decidedly better, undecided, not run: the same without figures
    {figure REF METHOD} {... FIGURE}     mean with its interval; METHOD may be "start"
    {better REF} {worse REF} {level REF} the methods that are decidedly better or worse than the baseline, or undecided
    {first REF} {order REF}              the method of rank 1; all by rank, best first
    {orders "NAME=REF" "NAME=REF" ...}   whether the order is one in all these conditions, and what of it holds in all
    {gap REF METHOD}                     the share of the distance between the baseline and the teacher that is closed
    {span REF PREFIX}                    least and largest value of the figures with this prefix, over all runs
    {table TITLE ROW COLUMN}             a cell; ROW: its first cells, "a, b"; a table of another experiment:
                                         `EXPERIMENT/TITLE`
    {column TITLE COLUMN} {... ROW}      least and largest value of a column, of the rows that begin so
    {least TITLE COLUMN} {most ...}      the row with the least or largest value, and the value; a further word leaves
                                         out the row of that name
    {verdict TEXT} {claim TEXT}          the verdict on a claim; the same with what was found

What isn't known raises ExperimentError; what wasn't run is said to be not run. Words that depend on figures stand in
placeholders, so that the prose between them stays true when figures change.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ctkd_core.errors import unknown
from ctkd_core.methods import evidence
from experiments.definition import START, Experiment, ExperimentError
from experiments.orders import orders_in_words
from experiments.phrases import NOT_RUN, in_words, listed, short, value, word
from experiments.standing import difference, interval
from experiments.tables import LACKING, Records, ends, starts

FILE = "answer.md"
_PLACE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Source:
    """An experiment with what was found: as the digest has it, and the records of each condition."""

    asked: Experiment
    found: evidence.Experiment
    records: Mapping[str, Records]


@dataclass(frozen=True)
class Place:
    """A condition that an answer speaks of."""

    condition: evidence.Condition
    records: Records

    def tried(self, label: str) -> evidence.Tried:
        """The method of this label. Raises ExperimentError."""
        found = self.condition.find(label)
        if found is None:
            raise unknown("method", label, [tried.label for tried in self.condition.methods], ExperimentError)
        return found

    def ends(self, label: str, figure: str) -> dict[int, float]:
        """The figure by seed; of `start` before the first step."""
        if label == START:
            return starts(self.records, figure)
        return ends(self.records.get(self.tried(label).label, {}), figure)


def answer_of(name: str, sources: Mapping[str, Source]) -> str:
    """The answer of experiment `name`, filled in; "" where nobody has written one. Raises ExperimentError."""
    path = sources[name].asked.folder / FILE
    if not path.is_file():
        return ""
    answer = _Answer(name, sources)
    paragraphs = path.read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(" ".join(_PLACE.sub(answer.filled, part).split()) for part in paragraphs)


class _Answer:
    """Fills the placeholders of one answer."""

    def __init__(self, name: str, sources: Mapping[str, Source]) -> None:
        self._name = name
        self._sources = sources

    def filled(self, match: re.Match[str]) -> str:
        """What a placeholder stands for. Raises ExperimentError with the placeholder."""
        try:
            kind, *parts = shlex.split(match[1])
            if kind not in _KINDS:
                raise unknown("placeholder", kind, _KINDS, ExperimentError)
            return _KINDS[kind](self, *parts)
        except (ValueError, TypeError) as fault:  # no quotation mark at the end; too few parts, or too many
            raise ExperimentError(f"{self._name}/{FILE}: {{{match[1]}}} can't be read: {fault}.") from None
        except ExperimentError as fault:
            raise ExperimentError(f"{self._name}/{FILE}: {{{match[1]}}}: {fault}") from None

    def _source(self, ref: str) -> tuple[Source, str]:
        """The experiment that a reference speaks of, and the rest of the reference."""
        other, slash, rest = ref.partition("/")
        return (self._sources[other], rest) if slash and other in self._sources else (self._sources[self._name], ref)

    def _place(self, ref: str) -> Place:
        source, name = self._source(ref)
        found = next((each for each in source.found.conditions if each.name == name), None)
        if found is None:
            raise unknown("condition", name, [each.name for each in source.found.conditions], ExperimentError)
        return Place(found, source.records[name])

    def difference(self, ref: str, label: str, than: str, figure: str = "") -> str:
        """How a method stands against another one, or against the start."""
        return in_words(*self._gap(ref, label, than, figure))

    def word(self, ref: str, label: str, than: str, figure: str = "") -> str:
        """The same without figures."""
        return word(*self._gap(ref, label, than, figure))

    def _gap(self, ref: str, label: str, than: str, figure: str) -> tuple[evidence.Difference | None, str]:
        """A method minus another one at equal seeds, and the figure that is compared."""
        place = self._place(ref)
        figure = figure or place.condition.figure
        return difference(place.ends(label, figure), place.ends(than, figure)), figure

    def figure(self, ref: str, label: str, figure: str = "") -> str:
        """The mean of a method."""
        place = self._place(ref)
        figure = figure or place.condition.figure
        return value(interval(list(place.ends(label, figure).values())))

    def better(self, ref: str) -> str:
        """The methods that are decidedly better than the baseline."""
        return self._standing(ref, lambda gap, higher: gap.decided and (gap.mean > 0) == higher)

    def worse(self, ref: str) -> str:
        """The methods that are decidedly worse."""
        return self._standing(ref, lambda gap, higher: gap.decided and (gap.mean > 0) != higher)

    def level(self, ref: str) -> str:
        """The methods of which it isn't decided."""
        return self._standing(ref, lambda gap, _: not gap.decided)

    def _standing(self, ref: str, holds: Callable[[evidence.Difference, bool], bool]) -> str:
        condition = self._place(ref).condition
        return listed(
            [
                tried.title
                for tried in condition.methods
                if tried.to_baseline is not None and holds(tried.to_baseline, condition.higher_is_better)
            ]
        )

    def first(self, ref: str) -> str:
        """The method of rank 1."""
        return next((tried.title for tried in self._place(ref).condition.ranked), NOT_RUN)

    def order(self, ref: str) -> str:
        """The methods by rank."""
        return ", ".join(tried.title for tried in self._place(ref).condition.ranked) or NOT_RUN

    def orders(self, *named: str) -> str:
        """Whether the order is one in all these conditions."""
        pairs = [each.partition("=") for each in named]
        return orders_in_words({name: self._place(ref) for name, _, ref in pairs})

    def gap(self, ref: str, label: str) -> str:
        """The share of the gap that a method closes."""
        closed = self._place(ref).tried(label).gap_closed
        return NOT_RUN if closed is None else f"{round(100 * closed)} %"

    def span(self, ref: str, prefix: str) -> str:
        """Least and largest value of these figures."""
        found = [
            number
            for by_seed in self._place(ref).records.values()
            for record in by_seed.values()
            for name, number in record["figures"].items()
            if name.startswith(prefix)
        ]
        if not found:
            return NOT_RUN
        low, high = min(found), max(found)
        return f"{short(low)} everywhere" if low == high else f"{short(low)} to {short(high)}"

    def table(self, title: str, row: str, column: str) -> str:
        """A cell of a table."""
        found = self._table(title)
        return NOT_RUN if found is None else str(_rows(found, row)[0][_column(found, column)])

    def column(self, title: str, column: str, row: str = "") -> str:
        """Least and largest value of a column."""
        found = self._table(title)
        if found is None:
            return NOT_RUN
        numbers = [_number(each[_column(found, column)]) for each in _rows(found, row)]
        there = [each for each in numbers if each is not None]
        return _between(min(there), max(there)) if there else LACKING

    def least(self, title: str, column: str, but: str = "") -> str:
        """The row with the least value of a column."""
        return self._extreme(min, title, column, but)

    def most(self, title: str, column: str, but: str = "") -> str:
        """The row with the largest value."""
        return self._extreme(max, title, column, but)

    def _extreme(self, choose: Callable[..., Any], title: str, column: str, but: str) -> str:
        found = self._table(title)
        if found is None:
            return NOT_RUN
        at = _column(found, column)
        numbers = [(_number(row[at]), str(row[0])) for row in found.rows if row[0] != but]
        there = [(number, name) for number, name in numbers if number is not None]
        if not there:
            return LACKING
        number, name = choose(there, key=lambda each: each[0])
        return f"{name} ({short(number)})"

    def verdict(self, text: str) -> str:
        """The verdict on a claim."""
        found = self._claim(text)
        return NOT_RUN if found is None else found.verdict

    def claim(self, text: str) -> str:
        """The verdict on a claim, and what was found."""
        found = self._claim(text)
        return NOT_RUN if found is None else f"{found.verdict} ({found.ours})"

    def _claim(self, text: str) -> evidence.Claim | None:
        """The claim; None where the experiment has none yet."""
        source, wanted = self._source(text)
        found = next((each for each in source.found.claims if each.claim == wanted), None)
        if found is None and source.found.claims:
            raise unknown("claim", wanted, [each.claim for each in source.found.claims], ExperimentError)
        return found

    def _table(self, ref: str) -> evidence.Table | None:
        """The one table whose title is or begins so; None where the experiment wasn't run."""
        source, title = self._source(ref)
        tables = source.found.tables
        found = [each for each in tables if each.title == title] or [e for e in tables if e.title.startswith(title)]
        if len(found) == 1:
            return found[0]
        if not tables:
            return None
        raise unknown("table", title, [each.title for each in tables], ExperimentError)


def _between(low: float, high: float) -> str:
    return short(low) if low == high else f"{short(low)} to {short(high)}"


def _column(found: evidence.Table, name: str) -> int:
    if name not in found.columns:
        raise unknown("column", name, found.columns, ExperimentError)
    return found.columns.index(name)


def _rows(found: evidence.Table, beginning: str) -> list[list[Any]]:
    """The rows whose first cells are these, all without any. Raises ExperimentError where there are none."""
    wanted = [part.strip() for part in beginning.split(", ")] if beginning else []
    rows = [row for row in found.rows if [str(cell) for cell in row[: len(wanted)]] == wanted]
    if not rows:
        raise unknown("row", beginning, [", ".join(map(str, row[:2])) for row in found.rows], ExperimentError)
    return rows


def _number(cell: object) -> float | None:
    """The value of a cell, which may be "25.6 (21.8 to 29.3)"; None where there is none."""
    found = _NUMBER.match(str(cell))
    return float(found[0]) if found else None


_KINDS: dict[str, Callable[..., str]] = {
    kind: getattr(_Answer, kind)
    for kind in (
        *("difference", "word", "figure", "better", "worse", "level", "first", "order", "orders", "gap", "span"),
        *("table", "column", "least", "most", "verdict", "claim"),
    )
}
