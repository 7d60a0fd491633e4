"""Documents about pairs of tokenizers: comparison and advice, reports, rankings, saved views, vocabulary maps."""

from __future__ import annotations

from typing import Any, NotRequired

from pydantic import NonNegativeInt

from ctkd_core.cli.printed.base import Metrics, Number, Printed
from ctkd_core.pair.corpora.speed import Speed
from ctkd_core.pair.corpus import CorpusMetrics
from ctkd_core.pair.report import ClassCount, SpecialToken, VocabularyFacts


class FindingDocument(Printed):
    """The best method of one setting in which such a pair, or this one, was tried; or (`worse`) where one loses.

    method, options  what came first (with `worse`: what is advised), and its run options that aren't at their defaults
    difference       to the baseline, with its 95 % interval at n seeds; probability: of such a one by chance
    ranked           whether there is an order: two methods or more with the most seeds
    tried_on         {"student", "teacher"}; this_pair: whether these are the two asked about
    student_model    how the student was made: "transplant" is its teacher's body moved to the student's tokenizer
    worse            whether the setting finds the method decidedly worse than the baseline
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
    student_model: str
    worse: bool


class AdviceDocument(Printed):
    """What to use for a pair, and why.

    family     the method that published figures favour; where it differs from `method`, `because` says so
    evidence   what experiments found, one finding a setting; confidence: how near they came to this pair
    options    run options, with dotted names, that go with `method`
    counter    the settings that find `method` decidedly worse than the baseline
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
    counter: list[FindingDocument]


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
