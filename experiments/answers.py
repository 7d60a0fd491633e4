"""The answer to an experiment's question: prose whose figures, and whose words for them, come from the results.

`experiments/NAME/answer.md` holds paragraphs with placeholders in braces. A part of several words stands in quotation
marks; REF is the name of a condition, of another experiment as `EXPERIMENT/CONDITION`; a METHOD is its label.

    {difference REF METHOD THAN}         decidedly better by 0.03 (0.02 to 0.04; 5 seeds), or
                                         undecided (-0.01, -0.03 to +0.01; 5 seeds)
    {difference REF METHOD THAN FIGURE}  the same of another figure; THAN may be "start"
    {word REF METHOD THAN} {... FIGURE}  decidedly better, undecided, not run: the same without figures
    {equal REF METHOD}                   a method against the baseline at equal seconds, said as by `difference`
    {figure REF METHOD} {... FIGURE}     mean with its interval; METHOD may be "start"
    {stands NAME "WHERE=REF METHOD THAN" ...}
                                         decidedly better than NAME WHERE and WHERE, undecided WHERE: of several
                                         comparisons; WHERE may be empty, and FIGURE may follow THAN
    {each "WHO=REF METHOD THAN" ...}     WHO and WHO decidedly better; WHO undecided
    {better REF} {worse REF} {level REF} the methods that are decidedly better or worse than the baseline, or undecided
    {first REF} {order REF}              the method of rank 1; all by rank, best first
    {orders "NAME=REF" "NAME=REF" ...}   the order in each of these conditions, and what of it holds in all
    {alike "NAME=REF" "NAME=REF" ...}    whether it is one order: a sentence without its end
    {config REF OPTION}                  a run option that all methods have alike
    {seeds REF}                          how many seeds the methods have: "3 seeds", "3 to 5 seeds"
    {gap REF METHOD}                     the share of the distance between the baseline and the teacher that is closed
    {span REF PREFIX}                    least and largest value of the figures with this prefix, over all runs
    {table TITLE ROW COLUMN}             a cell; ROW: its first cells, "a, b"; a table of another experiment:
                                         `EXPERIMENT/TITLE`
    {column TITLE COLUMN} {... ROW}      least and largest value of a column, of the rows that begin so
    {least TITLE COLUMN} {most ...}      the least or largest value, and the row that has it, a method by its title; a
                                         further word leaves out the row of that name
    {verdict TEXT} {claim TEXT}          the verdict on a claim; the same with what was found

Values are those of all seeds that a method has in the setting, also where another experiment ran some of them; `first`
and `order` are those of the condition's own runs, which have equal seeds. The first paragraph begins with "In short"
and answers the question in a sentence or two; the docs list it on its own.

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
from ctkd_core.methods import METHODS, evidence
from experiments.definition import START, Experiment, ExperimentError
from experiments.orders import alike_in_words, orders_in_words
from experiments.phrases import NOT_RUN, counted, in_words, listed, short, stand, value, word
from experiments.standing import difference, interval, standings
from experiments.tables import LACKING, Records, ends, starts

FILE = "answer.md"
_PLACE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Source:
    """An experiment with what was found: as the digest has it, and the records of each condition.

    Records may be more than the condition has: see `shared_settings.pooled`.
    """

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

    def to_baseline(self, label: str) -> evidence.Difference | None:
        """The method minus the baseline; None for the baseline itself, and without runs of both."""
        baseline, figure = self.condition.baseline, self.condition.figure
        if not baseline or label == baseline:
            return None
        return difference(self.ends(label, figure), self.ends(baseline, figure))


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

    def stands(self, name: str, *named: str) -> str:
        """How something stands against `name` in several comparisons, as a part of a sentence."""
        return ", ".join(
            " ".join(filter(None, [said, listed(wheres) if any(wheres) else ""]))
            for said, wheres in self._by_word(name, named)
        )

    def each(self, *named: str) -> str:
        """Who is better in several comparisons, who worse, of whom it isn't decided."""
        return "; ".join(f"{listed(who)} {said}" for said, who in self._by_word("", named))

    def _by_word(self, name: str, named: tuple[str, ...]) -> list[tuple[str, list[str]]]:
        """The names of these comparisons by what they came to, in words; the first that was run says than what."""
        if not named:
            raise ValueError("nothing is compared")
        found: dict[str, list[str]] = {}
        figures: dict[str, str] = {}
        for each in named:
            who, _, comparison = each.partition("=")
            gap, figure = self._gap(*_four(comparison))
            found.setdefault(word(gap, figure), []).append(who)
            figures.setdefault(word(gap, figure), figure)
        full = next((said for said in found if name and said != NOT_RUN), "")
        return [(stand(said, figures[said], name) if said == full else said, who) for said, who in found.items()]

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
        place = self._place(ref)
        gaps = [(tried.title, place.to_baseline(tried.label)) for tried in place.condition.methods]
        higher = place.condition.higher_is_better
        return listed([title for title, gap in gaps if gap is not None and holds(gap, higher)])

    def first(self, ref: str) -> str:
        """The method of rank 1."""
        return next((tried.title for tried in self._place(ref).condition.ranked), NOT_RUN)

    def order(self, ref: str) -> str:
        """The methods by rank."""
        return ", ".join(tried.title for tried in self._place(ref).condition.ranked) or NOT_RUN

    def orders(self, *named: str) -> str:
        """The order in each of these conditions, and what of it holds in all."""
        return orders_in_words(self._places(named))

    def alike(self, *named: str) -> str:
        """Whether it is one order."""
        return alike_in_words(self._places(named))

    def _places(self, named: tuple[str, ...]) -> dict[str, Place]:
        pairs = [each.partition("=") for each in named]
        return {name: self._place(ref) for name, _, ref in pairs}

    def gap(self, ref: str, label: str) -> str:
        """The share of the gap that a method closes."""
        place = self._place(ref)
        found = place.condition
        others = {tried.label for tried in found.methods if tried.teacher or tried.further_teachers}
        label = place.tried(label).label
        closed = standings(place.records, found.figure, found.baseline, others)[label].gap_closed
        return NOT_RUN if closed is None else f"{round(100 * closed)} %"

    def equal(self, ref: str, label: str) -> str:
        """How a method stands against the baseline at the seconds of the quickest run of each seed."""
        place = self._place(ref)  # of its own runs: those that others ran may have too few looks for a curve
        return in_words(place.tried(label).equal_to_baseline, place.condition.figure)

    def config(self, ref: str, option: str) -> str:
        """The value of a run option."""
        known = self._place(ref).condition.config
        if option not in known:
            raise unknown("run option", option, known, ExperimentError)
        return str(known[option])

    def seeds(self, ref: str) -> str:
        """How many seeds the methods have, the baseline apart."""
        place = self._place(ref)
        counts = [len(by_seed) for label, by_seed in place.records.items() if label != place.condition.baseline]
        there = [count for count in counts if count]
        if not there:
            return NOT_RUN
        low, high = min(there), max(there)
        return counted(high, "seed") if low == high else f"{low} to {high} seeds"

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
        """The least value of a column, and whose it is."""
        return self._extreme(min, title, column, but)

    def most(self, title: str, column: str, but: str = "") -> str:
        """The largest value."""
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
        return f"{short(number)} ({METHODS[name].label if name in METHODS else name})"

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


def _four(comparison: str) -> tuple[str, str, str, str]:
    """Condition, method, the one beside it, and the figure or "". Raises ValueError."""
    parts = shlex.split(comparison)
    if len(parts) not in (3, 4):
        raise ValueError(f"{comparison!r} isn't a condition, two methods and perhaps a figure")
    ref, label, than, figure = [*parts, ""][:4]
    return ref, label, than, figure


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
        *("difference", "word", "stands", "each", "figure", "better", "worse", "level", "first", "order", "orders"),
        *("alike", "equal", "config", "seeds", "gap", "span"),
        *("table", "column", "least", "most", "verdict", "claim"),
    )
}
