"""What each command prints with --json: the type of its document, by command and action.

The documents themselves are plain data, made where their figures are. `ctkd schema` shows these types, and the tests
check every document that they make a command print. Later versions may add keys, none goes or changes its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired

from pydantic import NonNegativeInt
from typing_extensions import TypedDict

from ctkd_core.background.status import State
from ctkd_core.distill.checkup import Checkup
from ctkd_core.distill.evaluation.saved import SavedEvaluation
from ctkd_core.distill.records import Figures, Row
from ctkd_core.files import documents
from ctkd_core.pair.corpora.speed import Speed
from ctkd_core.pair.corpus import CorpusMetrics
from ctkd_core.pair.report import ClassCount, SpecialToken, VocabularyFacts

Number = float | None  # null where a figure is none or wasn't measured
Metrics = dict[str, float]  # docs/metrics.md
Region = list[int]  # student start and end, teacher start and end, in tokens


class Printed(TypedDict):
    """Of exact types; keys that aren't named here may be there."""

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]


class NamedTokenizer(Printed):
    """A tokenizer. `offline`: whether it is here."""

    name: str
    vocab_size: NonNegativeInt
    kind: str
    source: str
    licence: str
    offline: bool


class CatalogRow(NamedTokenizer):
    """A tokenizer that is known by name. `install`: the command that brings it."""

    title: str
    install: str


class TokenizerFacts(NamedTokenizer):
    """A tokenizer that was loaded; ids are null where it has no such token, `special_tokens` is how many it has."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None
    special_tokens: NonNegativeInt
    chat_template: bool
    fingerprint: str
    warnings: list[str]


class TokensDocument(Printed):
    """A text under one tokenizer; a span is where a token begins and ends, in bytes of the text."""

    name: str
    ids: list[int]
    tokens: list[str]
    spans: list[list[int]]
    notes: list[str]


class Aligned(Printed):
    """One text under two tokenizers.

    groups  regions whose tokens belong together
    pairs   of tokens, where a method pairs them one by one; flags: which groups it takes for correct itself
    """

    student: TokensDocument
    teacher: TokensDocument
    method: str
    variant: str
    options: dict[str, Any]
    groups: list[Region]
    pairs: list[list[int]] | None
    flags: list[bool] | None
    metrics: Metrics
    notes: list[str]


class SideDocument(Printed):
    """A tokenizer and how many tokens it makes of the text."""

    name: str
    tokens: NonNegativeInt


class AgreementDocument(Printed):
    """How far two methods, a and b, agree; `share` of tokens in equal groups, `disagreements` where they differ."""

    a: str
    b: str
    boundary_f1: float
    share: float
    disagreements: list[Region]


class ComparedDocument(Printed):
    """Several methods on one text; `disagreements` are regions where not all have the same groups."""

    student: SideDocument
    teacher: SideDocument
    methods: dict[str, Metrics]
    agreement: list[AgreementDocument]
    disagreements: list[Region]
    notes: list[str]


class FindingDocument(Printed):
    """The best method of one setting in which such a pair, or this one, was tried.

    method, options  what came first, and its run options that aren't at their defaults
    difference       to the baseline, with its 95 % interval at n seeds; probability: of such a one by chance
    ranked           whether there is an order: two methods or more with the most seeds
    tried_on         {"student", "teacher"}; this_pair: whether these are the two asked about
    """

    kind: str
    regime: str
    title: str
    experiment: str
    condition: str
    tried_on: dict[str, str]
    this_pair: bool
    figure: str
    baseline: str
    method: str
    name: str
    options: dict[str, Any]
    difference: Number
    low: Number
    high: Number
    probability: Number
    n: NonNegativeInt
    decided: bool
    ranked: bool


class AdviceDocument(Printed):
    """What to use for a pair, and why.

    family     the method that published figures favour; where it differs from `method`, `because` says so
    evidence   what experiments found, one finding a setting; confidence: how near they came to this pair
    options    run options, with dotted names, that go with `method`
    """

    method: str
    family: str
    verdict: str
    because: list[str]
    warnings: list[str]
    kind: str
    evidence: list[FindingDocument]
    confidence: str
    options: dict[str, Any]


class PairDocument(Printed):
    """Two tokenizers compared; `speed` with --speed."""

    student: str
    teacher: str
    method: str
    vocabulary: VocabularyFacts
    corpus: dict[str, CorpusMetrics]
    special_tokens: list[SpecialToken]
    advice: AdviceDocument
    speed: NotRequired[Speed]


class TextDocument(Printed):
    """A text of a report: metrics by method, and at how many places each differs from the first."""

    name: str
    characters: NonNegativeInt
    methods: dict[str, Metrics]
    disagreements: dict[str, NonNegativeInt]


class MapDocument(Printed):
    """The vocabulary map of a report: its rows by what they rest on, student tokens by class."""

    method: str
    rows: dict[str, NonNegativeInt]
    classes: dict[str, ClassCount]


class ReportDocument(PairDocument):
    """What is in the file of `ctkd report`: that of `ctkd pair`, texts, and the map; `bytes` of the file at `path`."""

    texts: list[TextDocument]
    map: MapDocument
    path: str
    bytes: NonNegativeInt
    runs: list[str]


class RankedPairDocument(Printed):
    """A pair and the figures that it can be ordered by; `skipped` {why: texts}."""

    student: str
    teacher: str
    canonical: Number
    boundaries: Number
    equal_tokens: Number
    teacher_whole: Number
    tokens: Number
    numbers: str
    same_tokenizer: bool
    method: str
    options: dict[str, Any]
    skipped: dict[str, int]
    confidence: str


class DrawnDocument(Printed):
    """What of a corpus was measured: documents, their bytes, bytes of its files, whether that is all of it."""

    documents: NonNegativeInt
    bytes: NonNegativeInt
    of_bytes: NonNegativeInt
    all: bool


class RankedDocument(Printed):
    """Pairs, best first by the figure `by`; `sample`: what of a corpus was measured, null without one."""

    by: str
    skipped: dict[str, int]
    sample: DrawnDocument | None
    pairs: list[RankedPairDocument]


class View(Printed):
    """A saved view.

    saved    UTC, in ISO 8601
    methods  names
    group    number of the group that is chosen on page Align
    runs     ids, in `runs_dir` if a file brought them
    address  the values of each parameter; path: the same as an address, link: the short one
    """

    id: str
    page: str
    title: str
    saved: str
    student: str
    teacher: str
    methods: list[str] | str
    text: str
    group: int | None
    runs: list[str]
    runs_dir: str
    address: dict[str, list[str]]
    path: str
    link: str
    notes: NotRequired[list[str]]


class MapEntry(Printed):
    """An entry of a row (`teacher_id`) or a column (`student_id`) of a map, and why it is there."""

    student_id: NotRequired[int]
    teacher_id: NotRequired[int]
    text: str
    weight: float
    reason: str


class MapToken(Printed):
    """A row or column of a map: of `count` entries the heaviest."""

    id: int
    text: str
    count: NonNegativeInt
    entries: list[MapEntry]


class Projected(Printed):
    """A vocabulary map.

    shape, padding  student and teacher ids, and how many of them are rows of a wider output layer
    nnz, rows       entries; rows of the map by what they rest on
    classes         student tokens by class, and those with one teacher token
    token, column, saved, exported  with these flags: a row, a column, where the map was written
    """

    student: str
    teacher: str
    method: str
    variant: str
    options: dict[str, Any]
    shape: list[int]
    padding: list[int]
    nnz: NonNegativeInt
    rows: dict[str, int]
    row_sum_error: float
    classes: dict[str, ClassCount]
    token: NotRequired[MapToken]
    column: NotRequired[MapToken]
    saved: NotRequired[str]
    exported: NotRequired[str]


class NamedMethod(Printed):
    """A method: where it comes from, what it does, and its variants."""

    name: str
    title: str
    paper: str
    url: str
    formula: str
    cannot_see: str
    needs: list[str]
    variants: list[str]
    variant_note: str


class MethodRow(NamedMethod):
    """A row of the methods table; options are JSON schemas by name."""

    idea: str
    asks_teacher: bool
    aligns: bool
    trains: bool
    same_tokenizer: bool
    align_options: dict[str, dict[str, Any]]
    loss_options: dict[str, dict[str, Any]]


class LossRow(NamedMethod):
    """A method that trains; `options` of its loss are JSON schemas by name."""

    options: dict[str, dict[str, Any]]


class LossOfText(Printed):
    """What a method makes of a text. `problem`: why it has nothing to show.

    distil_loss    the loss without its cross-entropy on the text
    whole, distil  the value of each group, of either
    """

    variant: str
    options: dict[str, Any]
    problem: str
    loss: Number
    distil_loss: Number
    terms: dict[str, Number]
    diagnostics: dict[str, Number]
    whole: list[Number]
    distil: list[Number]


class LossesOfText(Printed):
    """The losses of a sentence; ids of everything that both models read, groups of the text, methods by name."""

    student: str
    teacher: str
    context: str
    text: str
    groups: list[Region]
    student_ids: list[int]
    teacher_ids: list[int]
    methods: dict[str, LossOfText]
    notes: list[str]


class RunRow(Printed):
    """Where a run stands; null for what isn't known, of a damaged one say.

    warnings     sentences that stand beside the message
    step, steps  where it is, and how many were asked for
    created      seconds since the epoch; seconds: that the attempt has worked
    sweep        id of the sweep that made it
    metrics      first and last loss and bits per byte
    queue_place, devices  of one that waits: 1 is next, and what it waits for
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
    archived: bool
    sweep: str | None
    metrics: dict[str, Number]
    queue_place: NotRequired[int | None]
    devices: NotRequired[list[str]]


class RunShown(RunRow):
    """A run with its config, completions of held-out prompts, and the last lines of its log."""

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
    """A mean difference at n equal seeds, its interval, and the probability that it is chance.

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
    rank          1 is best; null where the figure wasn't measured
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
    """Kinds of runs, best first by `figure`; `baseline`: label of the kind that differences are to.

    level  of intervals
    """

    figure: str
    higher_is_better: bool
    level: float
    baseline: str | None
    kinds: list[KindDocument]
    notes: list[str]


class RunsCompared(Printed):
    """Runs side by side: options in which they differ, and bits per byte minus the first run's."""

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


class SweepPlanned(Printed):
    """Names of the runs that a sweep makes, how long they take (least, most), ids of those that it takes over."""

    runs_planned: list[str]
    seconds: list[Number]
    reused: list[str]


class SweepRow(Printed):
    """A sweep: ids of its runs and how many are in which state.

    rows                  its runs (`show`)
    queued, cancelled     ids of those that were (`resume`, `cancel`)
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
    runs_planned: NotRequired[list[str]]
    seconds: NotRequired[list[Number]]


class Queue(Printed):
    """Ids of the runs that wait, the next one first."""

    queue: list[str]


class Removed(Printed):
    """Names of what was removed."""

    removed: list[str]


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
    parts: NotRequired[NonNegativeInt]
    seconds: NotRequired[float]
    teacher_bits_per_byte: NotRequired[Number]


class ExportedDocument(Printed):
    """A folder for another trainer, `target`, and the names of its files."""

    folder: str
    target: str
    files: list[str]
    notes: list[str]


class Preparation(Printed):
    """One thing that was prepared, or the sentence why not; `folder` of one that has its own."""

    name: str
    ok: bool
    seconds: float
    problem: str
    folder: NotRequired[str]


class Terms(Printed):
    """Terms to accept, and where they stand."""

    terms: str
    address: str


class App(Printed):
    """Where the app is served, and its script."""

    url: str
    script: str


DOCUMENTS: dict[str, Any] = {
    "tokenizers": list[CatalogRow] | list[TokenizerFacts],
    "align": Aligned,
    "compare": ComparedDocument,
    "pair": PairDocument,
    "rank": RankedDocument,
    "report": ReportDocument,
    "view ls": list[View],
    "view rm": Removed,
    "view": View,
    "project": Projected,
    "methods": list[MethodRow] | MethodRow,
    "losses": list[LossRow] | LossesOfText,
    "distill": RunRow,
    "cache-teacher": TeacherCache,
    "sweep ls": list[SweepRow],
    "sweep move": Queue,
    "sweep": SweepRow | SweepPlanned,
    "runs ls": list[RunRow],
    "runs queue": list[RunRow],
    "runs show": RunShown,
    "runs compare": RunsCompared,
    "runs report": FileWritten,
    "runs export": MetricsWritten,
    "runs archive": Archived,
    "runs unarchive": Unarchived,
    "runs rm": Removed,
    "runs": RunRow,
    "evaluate": Evaluated,
    "export": ExportedDocument,
    "doctor": Checkup,
    "prepare": list[Preparation] | Terms,
    "schema": dict[str, Any],
    "app": App,
}


def document_of(words: Sequence[str]) -> Any:
    """The type of what the command that these words name prints: of its action, else of the command."""
    return DOCUMENTS.get(" ".join(words[:2])) or DOCUMENTS[words[0]]
