"""Documents about runs, their comparison, sweeps, evaluation, cached teachers and exports."""

from __future__ import annotations

from typing import Any, NotRequired

from pydantic import NonNegativeInt

from ctkd_core.background.status import State
from ctkd_core.cli.printed.base import Number, Printed
from ctkd_core.distill.evaluation.saved import SavedEvaluation
from ctkd_core.distill.records import Figures, Row


class FigureDocument(Printed):
    """A figure before the first step and at the last evaluation, and the teacher's; null where it isn't known.

    count  of exercises, completions or prompts that it stands on at the last evaluation
    """

    before: Number
    after: Number
    teacher: Number
    count: NotRequired[Number]


class RunRow(Printed):
    """Where a run stands; null for what isn't known, of a damaged one say.

    warnings     sentences that stand beside the message
    step, steps  where it is, and how many were asked for
    processes    that train it together; null before one began
    last_checkpoint  the step that a resume goes on from; null where there is none
    asked_to_stop  whether somebody asked it to, and it hasn't ended yet
    created      seconds since the epoch; seconds: that the attempt has worked
    sweep        id of the sweep that made it
    student_dir  the folder of the student that it kept; null where it kept none
    metrics      first and last loss and bits per byte, and the samples and bytes that they were last measured on
    queue_place, devices  of one that waits: 1 is next, and what it waits for
    figures      of one that is shown alone: what its evaluations found, by name
    """

    run_id: str
    run_dir: str
    name: str
    status: State
    message: str
    warnings: list[str]
    step: int | None
    steps: int | None
    method: str | None
    variant: str | None
    student: str | None
    teacher: str | None
    student_model: str | None
    student_path: str | None
    seed: int | None
    data: str | None
    eval_data: str | None
    eval_share: Number
    created: Number
    seconds: Number
    attempt: NonNegativeInt
    processes: int | None
    last_checkpoint: NotRequired[int | None]
    asked_to_stop: NotRequired[bool]
    archived: bool
    sweep: str | None
    student_dir: str | None
    metrics: dict[str, Number]
    queue_place: NotRequired[int | None]
    devices: NotRequired[list[str]]
    figures: NotRequired[dict[str, FigureDocument]]


class PresetShown(Printed):
    """A preset, and the options that it sets to something else than their defaults, but for its name."""

    name: str
    sets: dict[str, Any]


class CheckShown(Printed):
    """One thing that was looked at before a start; `fatal`: whether the run is refused where it isn't `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str
    fatal: bool


class RunEstimate(Printed):
    """What a run takes: seconds (least, most), those before its first step, bytes of memory by part, and of disk."""

    seconds: list[Number]
    preparation: Number
    bytes: dict[str, NonNegativeInt]
    disk_bytes: NonNegativeInt


class RunPlanned(Printed):
    """A run that was only looked at (--dry-run).

    config    all of it; changed: options that aren't at their defaults, as a config file has them
    preset    that it starts from; null for none
    estimate  null where a tokenizer can't be read
    """

    config: dict[str, Any]
    changed: dict[str, Any]
    preset: PresetShown | None
    checks: list[CheckShown]
    estimate: RunEstimate | None


class RunShown(RunRow):
    """A run with its config, completions of held-out prompts, and the last lines of its log.

    queue_behind  of one that waits: ids of those that have its device now, and of those that come before it
    """

    queue_behind: NotRequired[list[str]]
    config: dict[str, Any]
    samples: list[Row]
    log: list[str]


class MetricsWritten(RunRow):
    """A run whose metrics were written to `path`; `rows`: how many."""

    path: str
    rows: NonNegativeInt


class EstimateDocument(Printed):
    """A mean over n seeds with its interval; null where one seed gives none."""

    n: NonNegativeInt
    mean: float
    deviation: Number
    low: Number
    high: Number


class DifferenceDocument(Printed):
    """A mean difference at n equal seeds, its interval, and the probability that it is chance (of one seed: 1).

    adjusted  the same after Holm's correction for all comparisons with this baseline
    """

    n: NonNegativeInt
    mean: float
    low: Number
    high: Number
    probability: float
    adjusted: Number


class KindDocument(Printed):
    """Runs that differ in the seed alone.

    difference    to the baseline, by the figure that is compared; against_next: to the kind that comes next
    rank          1 is best; null where the figure wasn't measured, or is of held-out text that kinds don't share
    """

    label: str
    method: str
    runs: list[str]
    seeds: list[int]
    figures: dict[str, EstimateDocument]
    difference: DifferenceDocument | None
    rank: int | None
    against_next: DifferenceDocument | None


class Statistics(Printed):
    """Kinds of runs, best first by `figure` where they have ranks.

    baseline  label of the kind that differences are to
    level     of intervals
    notes     sentences about what kinds don't share, older runs of a seed, intervals and probabilities
    """

    figure: str
    higher_is_better: bool
    level: float
    baseline: str | None
    kinds: list[KindDocument]
    notes: list[str]


class RunsCompared(Printed):
    """Runs side by side: options in which they differ, and bits per byte minus the first run's.

    deltas  null where either wasn't measured, or on other held-out text
    """

    runs: list[RunRow]
    differences: dict[str, list[Any]]
    deltas: dict[str, Number]
    statistics: Statistics
    path: NotRequired[str]


class FileWritten(Printed):
    """A file, its size, and the runs in it."""

    path: str
    bytes: NonNegativeInt
    runs: list[str]


class SweepFinding(CheckShown):
    """A check that runs of a sweep don't pass; `runs`: their names."""

    runs: list[str]


class SweepPlanned(Printed):
    """Names of the runs that a sweep makes, how long they take (least, most), ids of those that it takes over.

    checks  what is wrong with those that it makes, each finding once
    """

    runs_planned: list[str]
    seconds: list[Number]
    reused: list[str]
    checks: list[SweepFinding]


class SweepRow(Printed):
    """A sweep: ids of its runs and how many are in which state.

    rows                  its runs (`show`)
    queued, cancelled     ids of those that were (`resume`, `cancel`)
    asked                 ids of the cancelled ones that were only asked to stop, and are still under way
    runs_planned, seconds  of one that was started just now, see `SweepPlanned`
    """

    sweep_id: str
    name: str
    created: float
    baseline: str | None
    runs: list[str]
    reused: list[str]
    states: dict[State, int]
    finished: NonNegativeInt
    total: NonNegativeInt
    rows: NotRequired[list[RunRow]]
    queued: NotRequired[list[str]]
    cancelled: NotRequired[list[str]]
    asked: NotRequired[list[str]]
    runs_planned: NotRequired[list[str]]
    seconds: NotRequired[list[Number]]


class Queue(Printed):
    """Ids of the runs that wait, the next one first."""

    queue: list[str]


class Archived(Printed):
    """Ids of the runs that were put out of sight."""

    archived: list[str]


class Unarchived(Printed):
    """Ids of the runs that were brought back."""

    unarchived: list[str]


class GapClosed(Printed):
    """The share of the gap between the run `against` and the teacher that was closed; null where there was none."""

    overall: Number
    by_domain: NotRequired[dict[str, Number]]
    by_language: NotRequired[dict[str, Number]]
    by_class: NotRequired[dict[str, Number]]
    against: str


class Evaluated(SavedEvaluation):
    """The figures of a run's student; with --against how much of the gap to the teacher it closed beside that run.

    against_tasks  figures of the same tasks of that run's student
    """

    gap_closed: NotRequired[GapClosed]
    against_tasks: NotRequired[dict[str, Figures]]


class TeacherCache(Printed):
    """A teacher's predictions on disk, planned (--size) or kept.

    rows, bytes  of all samples; k: how many tokens of each row; rows_kept: which rows
    expected_seconds  that reading all samples is likely to take here; null for a server
    merged       of merged rows, whom they are for: student, student_name, alignment, rule, temperature
    parts, seconds, teacher_bits_per_byte  of one that was filled
    """

    folder: str
    teacher: str
    tokenizer: str
    samples: NonNegativeInt
    rows: NonNegativeInt
    bytes: NonNegativeInt
    k: NonNegativeInt
    dtype: str
    rows_kept: str
    complete: bool
    expected_seconds: NotRequired[Number]
    merged: NotRequired[dict[str, Any] | None]
    parts: NotRequired[NonNegativeInt]
    seconds: NotRequired[float]
    teacher_bits_per_byte: NotRequired[Number]


class ExportedDocument(Printed):
    """A folder for another trainer, `target`, and the names of its files."""

    folder: str
    target: str
    files: list[str]
    notes: list[str]
