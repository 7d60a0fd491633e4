"""The shape of the evidence: experiments, their conditions, what every method came to there, and verdicts on claims.

`python -m experiments digest` writes it from the results of the experiments; nothing in it is typed by hand. Values are
those of a condition's figure (bits per byte of held-out text unless said otherwise), rounded to six digits.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ctkd_core.files.documents import Document

# Kinds of pairs. All but the second are read off the two tokenizers; there the student is made of the teacher.
SAME, TRANSFER, LITTLE, NUMBERS, CROSS = (
    "same tokenizer",
    "tokenizer transfer",
    "little in common",
    "uncommon numbers",
    "cross-family",
)
KINDS = {
    SAME: "Both sides cut every text alike.",
    TRANSFER: "The student is the teacher, moved to another tokenizer.",
    LITTLE: "The vocabularies share less of the smaller one than any pair that was published with a vocabulary map.",
    NUMBERS: "The student has numbers of several digits as tokens which the teacher's vocabulary lacks.",
    CROSS: "Models of two families with vocabularies that share much, numbers included.",
}
REGIMES = {
    "fresh text": "Every sample is seen once.",
    "few samples": "The same few samples are seen again and again.",
    "another domain": "What is held out comes from another domain than what is learnt.",
    "long run": "Many steps, so that what is learnt first no longer decides.",
    "no gold text": "Completions are the student's own or missing; no text is known to be right.",
}
LEAST_RUNS = 3  # pairs of runs below which nothing is said to be decided
ROUNDING = 5e-5  # one config, run on two machines, differs by some millionths, at every seed alike
Verdict = Literal["reproduced", "contradicted", "undecided", "not run"]


class Interval(Document):
    """A mean over `n` runs with Student's 95 % interval; None for one run."""

    n: int
    mean: float
    low: float | None = None
    high: float | None = None


class Difference(Interval):
    """A mean of differences at equal seeds.

    probability   of a mean at least this far from 0 by chance (two-sided sign-flip test; not below 2 / 2^n)
    adjusted      the same after Holm's correction for all methods of the condition
    """

    probability: float
    adjusted: float | None = None

    @property
    def decided(self) -> bool:
        """Whether there are at least three pairs of runs, the interval leaves 0 out, and it isn't all rounding."""
        if self.n < LEAST_RUNS or self.low is None or self.high is None:
            return False
        return self.low * self.high > 0 and abs(self.mean) > ROUNDING


class Point(Document):
    """One look at held-out text: after how many steps and seconds of training, and the figure."""

    step: int
    seconds: float
    value: float


class TriedRun(Document):
    """One run.

    best      the best value along the curve, its start included: what early stopping would have kept (chosen on the
              text that it is measured on, so it is a little too good)
    equal     the value when the quickest method of this seed was through, on a straight line between two looks
    run       its id in the run store of the machine that made it; revision: git commit of the program
    seconds   of the whole run, loading and measuring included
    """

    seed: int
    value: float
    best: float
    equal: float | None = None
    curve: list[Point]
    run: str = ""
    revision: str = ""
    finished: str = ""
    seconds: float | None = None


class Domain(Document):
    """The figure on held-out text of one domain, and the difference to the baseline."""

    value: Interval
    to_baseline: Difference | None = None


class SettingName(Document):
    """Which condition of which experiment, with the title that lists show."""

    experiment: str
    condition: str
    title: str


class Tried(Document):
    """A method in one condition. Differences are this method's value minus the other's, at equal seeds.

    label             what the experiment calls it: the method, or the method with options
    options           run options that differ from the defaults, the teacher apart
    teacher           its teacher where that isn't the condition's; further_teachers: those beside it
    rank              1 is best: by the mean over the seeds that all ranked methods have; None without runs, and with
                      fewer seeds than the method that has most
    to_best           difference to the method of rank 1
    to_others         difference to each other method that shares seeds with it, by label, the baseline apart
    against_next      difference to the next rank; its probability is that of the order being chance
    gap_closed        share of the distance from the baseline to the teacher; None where the teacher isn't better
    seconds_per_step  median over runs; cpu_seconds_per_step: that of all threads, which other work on the machine
                      changes, too (`Digest.cpu_spread`); None where runs didn't note it
    bits_to_baseline  difference in bits per byte, where the figure of the condition is none of bits; bits_to_others:
                      the same to each other method
    missing           seeds without a run
    config            options of the run config in which the methods of the condition differ
    source            in a setting that several experiments share: where it has most runs
    """

    label: str
    title: str
    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    teacher: str = ""
    further_teachers: list[str] = Field(default_factory=list)
    rank: int | None = None
    value: Interval | None = None
    to_baseline: Difference | None = None
    bits_to_baseline: Difference | None = None
    bits_to_others: dict[str, Difference] = Field(default_factory=dict)
    to_best: Difference | None = None
    to_others: dict[str, Difference] = Field(default_factory=dict)
    against_next: Difference | None = None
    gap_closed: float | None = None
    best: Interval | None = None
    best_to_baseline: Difference | None = None
    equal: Interval | None = None
    equal_to_baseline: Difference | None = None
    seconds_per_step: float | None = None
    cpu_seconds_per_step: float | None = None
    domains: dict[str, Domain] = Field(default_factory=dict)
    missing: list[int] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    runs: list[TriedRun] = Field(default_factory=list)
    source: SettingName | None = None


class Condition(Document):
    """One setting in which methods were tried; `methods` in the order of their ranks, those without runs last.

    teacher          that of most methods; start, teacher_value: mean value of the student before the first step, and of
                     that teacher
    samples          samples that a run learns from; 0: all of `train`
    held_out_text    how much text the figure is measured on, in words; the same for all seeds unless it says otherwise
    config           the options of the run config that all methods share, without seed, name and data
    notes            what to know of these figures: runs left out, machines
    text_files       names of the files that the first seed learnt from and was measured on, as far as runs noted them;
                     a file of samples is named by its content, so equal names are equal text
    """

    name: str
    title: str
    kind: str
    regime: str
    student: str
    teacher: str
    student_model: str
    figure: str
    higher_is_better: bool
    baseline: str
    steps: int
    batch_size: int
    learning_rate: float
    samples: int
    train: list[str]
    held_out: list[str]
    held_out_text: str = ""
    start: float | None = None
    teacher_value: float | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    methods: list[Tried]
    notes: list[str] = Field(default_factory=list)
    text_files: list[str] = Field(default_factory=list)

    @property
    def done(self) -> list[Tried]:
        """The methods that have runs: ranked ones first, best first, then those with too few seeds for a rank."""
        return [tried for tried in self.methods if tried.rank is not None or tried.runs]

    @property
    def ranked(self) -> list[Tried]:
        """The methods that have a rank, best first."""
        return [tried for tried in self.methods if tried.rank is not None]

    def find(self, label: str) -> Tried | None:
        """The method of that label."""
        return next((tried for tried in self.methods if tried.label == label), None)


class SharedSetting(Document):
    """One setting in which several conditions were asked: one config and the same texts, whatever they are called.

    of          those conditions, the one with most runs first
    condition   all their methods together, each with all its runs (without curves); called as the first is
    """

    of: list[SettingName]
    condition: Condition


class Claim(Document):
    """What is said, by whom, and what was found.

    difference   `better` minus `than`, where runs were compared
    note         what to know beside the verdict
    """

    claim: str
    source: str
    ours: str
    verdict: Verdict
    condition: str = ""
    better: str = ""
    than: str = ""
    figure: str = ""
    difference: Difference | None = None
    note: str = ""


class Table(Document):
    """Figures of an analysis that trains nothing, or further ones of runs."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


class Spread(Document):
    """How far apart the seeds of one method in one setting lie: the largest value over the smallest.

    median, most   of all methods and settings with three seeds and more, of which there are `cells`
    """

    cells: int
    median: float
    most: float


class Experiment(Document):
    """A question and what was found.

    answer                     the answer in words, paragraphs apart by blank lines; "" where nobody has written one
    minutes                    what all runs were said to take beforehand
    run_minutes, cpu_minutes   what the runs kept here took, loading and measuring included, and their CPU time; those
                               taken from another experiment count there
    """

    name: str
    title: str
    question: str
    answer: str = ""
    minutes: int
    run_minutes: float = 0.0
    cpu_minutes: float = 0.0
    small: bool = False
    reproduce: str
    needs: list[str] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)
    conditions: list[Condition] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)
    tables: list[Table] = Field(default_factory=list)


class Digest(Document):
    """All experiments.

    shared          settings in which more than one of them asked
    seconds_spread  how much the seconds a step differ between seeds; cpu_spread: the same of CPU seconds
    """

    version: int
    experiments: list[Experiment]
    shared: list[SharedSetting] = Field(default_factory=list)
    seconds_spread: Spread | None = None
    cpu_spread: Spread | None = None

    @property
    def conditions(self) -> list[tuple[Experiment, Condition]]:
        """Every condition that has runs, with its experiment."""
        return [(each, found) for each in self.experiments for found in each.conditions if found.done]

    @property
    def settings(self) -> list[tuple[Experiment, Condition]]:
        """As `conditions`, but those that share a setting are one, where the first of them stands.

        It has the methods of all, and the experiment and name of that with most runs.
        """
        shared = {(name.experiment, name.condition): each for each in self.shared for name in each.of}
        by_name = {experiment.name: experiment for experiment in self.experiments}
        found: list[tuple[Experiment, Condition]] = []
        counted: list[SharedSetting] = []
        for experiment, condition in self.conditions:
            one = shared.get((experiment.name, condition.name))
            if one is None:
                found.append((experiment, condition))
            elif not any(one is each for each in counted):
                counted.append(one)
                found.append((by_name[one.of[0].experiment], one.condition))
        return found

    @property
    def claims(self) -> list[tuple[Experiment, Claim]]:
        """Every claim, with its experiment."""
        return [(each, claim) for each in self.experiments for claim in each.claims]


def verdict_of(difference: Difference | None, higher_is_better: bool) -> Verdict:
    """The rule of all verdicts: at least three pairs of runs, and an interval of their difference that leaves 0 out."""
    if difference is None:
        return "not run"
    if not difference.decided:
        return "undecided"
    return "reproduced" if (difference.mean > 0) == higher_is_better else "contradicted"
