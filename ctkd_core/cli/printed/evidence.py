"""The document of what experiments found: methods at a glance, settings with their rankings, claims, analyses."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import NonNegativeInt

from ctkd_core.cli.printed.base import Number, Printed


class MeanDocument(Printed):
    """A mean over n runs with its 95 % interval; null for one run."""

    n: NonNegativeInt
    mean: float
    low: Number
    high: Number


class GapDocument(MeanDocument):
    """A mean of differences at n equal seeds.

    probability  of one at least this far from 0 by chance; adjusted: after Holm's correction for all of the setting
    decided      whether three seeds or more and the interval say so
    """

    probability: float
    adjusted: Number
    decided: bool


class GlanceDocument(Printed):
    """A method as it comes beside fine-tuning, in all settings of a kind of pair and a regime.

    better, undecided, worse  in how many of the `settings`
    lowest, highest           of the differences in bits per byte: below 0 is better
    """

    kind: str
    regime: str
    method: str
    title: str
    settings: NonNegativeInt
    better: NonNegativeInt
    undecided: NonNegativeInt
    worse: NonNegativeInt
    lowest: float
    highest: float


class DomainFound(Printed):
    """The figure on held-out text of one domain."""

    value: MeanDocument
    to_baseline: GapDocument | None


class TriedDocument(Printed):
    """A method in a setting; differences are its value minus the other's.

    rank         1 is best; null with fewer seeds than the method that has most
    options      run options that differ from the defaults
    seeds        of its runs; missing: of those that were planned and not run
    best         of each run the best value along its curve; equal: when the quickest method was through
    gap_closed   share of the distance from the baseline to the teacher
    """

    rank: int | None
    label: str
    title: str
    method: str
    options: dict[str, Any]
    seeds: list[int]
    missing: list[int]
    value: MeanDocument | None
    to_baseline: GapDocument | None
    to_best: GapDocument | None
    against_next: GapDocument | None
    gap_closed: Number
    best: MeanDocument | None
    best_to_baseline: GapDocument | None
    equal: MeanDocument | None
    equal_to_baseline: GapDocument | None
    seconds_per_step: Number
    cpu_seconds_per_step: Number
    domains: dict[str, DomainFound]


class SettingDocument(Printed):
    """A setting in which methods were tried, best first by `figure`; `found`: who is ahead, and how sure that is.

    start, teacher_value  the figure of the student before the first step, and of the teacher
    reproduce             the command that does it again in a checkout
    """

    experiment: str
    condition: str
    title: str
    kind: str
    regime: str
    student: str
    teacher: str
    student_model: str
    figure: str
    higher_is_better: bool
    baseline: str
    steps: NonNegativeInt
    batch_size: NonNegativeInt
    learning_rate: float
    samples: NonNegativeInt
    train: list[str]
    held_out: list[str]
    held_out_text: str
    start: Number
    teacher_value: Number
    found: str
    methods: list[TriedDocument]
    notes: list[str]
    reproduce: str


class AnswerDocument(Printed):
    """A question of the experiments, and its answer in words (Markdown), "" where nobody has written one."""

    experiment: str
    title: str
    question: str
    answer: str


class ClaimDocument(Printed):
    """What is said, by whom, and what was found; `note`: what to know beside the verdict."""

    experiment: str
    claim: str
    source: str
    found: str
    verdict: Literal["reproduced", "contradicted", "undecided", "not run"]
    note: str


class AnalysisDocument(Printed):
    """A table of an experiment that trains nothing."""

    experiment: str
    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str


class ExperimentDocument(Printed):
    """A question, and the command that asks it again in a checkout; `minutes` on two cores."""

    name: str
    title: str
    question: str
    minutes: NonNegativeInt
    needs: list[str]
    reproduce: str
    environment: dict[str, Any]


class EvidenceDocument(Printed):
    """What experiments found; the parts that were asked for."""

    answers: NotRequired[list[AnswerDocument]]
    glance: NotRequired[list[GlanceDocument]]
    settings: NotRequired[list[SettingDocument]]
    claims: NotRequired[list[ClaimDocument]]
    analyses: NotRequired[list[AnalysisDocument]]
    experiments: NotRequired[list[ExperimentDocument]]
