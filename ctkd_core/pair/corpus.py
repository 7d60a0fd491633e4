"""Measuring a pair of tokenizers over many texts: the metrics of alignments, tokens per word, bytes per token.

Texts are streamed and may be spread over processes or, with Ray, over machines. What comes back of each piece are
counts, which add up exactly, so a measurement doesn't depend on who counted what, or on the order of the texts. Rates
are taken of the sums: every group counts the same for shares of groups, every token for shares of tokens
(micro-averages; see docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from pydantic import NonNegativeInt
from typing_extensions import TypedDict

from ctkd_core import methods
from ctkd_core.background.progress import Progress
from ctkd_core.errors import AlignmentError, CtkdError, unknown
from ctkd_core.files import documents
from ctkd_core.pair.corpora.characters import count_words
from ctkd_core.pair.corpora.counting import Counting, Skipped, Text, pieces, why_unread
from ctkd_core.pair.corpora.counts import OWN_SLICES, Counts, figures, metrics
from ctkd_core.pair.corpora.engines import ENGINES, MAX_WORKERS, engine_of
from ctkd_core.pair.corpora.measuring import PAYS_FROM, cores, count_corpora
from ctkd_core.pair.corpora.records import records_of
from ctkd_core.pair.corpora.sources import Corpus, read_texts
from ctkd_core.tokenizers.domain_texts import DOMAINS
from ctkd_core.tokenizers.load import as_pair

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

__all__ = [
    "DOMAINS",
    "MAX_WORKERS",
    "Corpus",
    "CorpusMetrics",
    "Skipped",
    "Text",
    "check_fields",
    "count_words",
    "measure",
    "measure_domains",
    "pieces",
    "read_texts",
    "why_unread",
]


class CorpusMetrics(TypedDict):
    """What `measure` says of one domain, as `ctkd pair --json` prints it; metrics are defined in docs/metrics.md."""

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]

    texts: NonNegativeInt
    bytes: NonNegativeInt
    characters: NonNegativeInt
    words: NonNegativeInt
    student_tokens: NonNegativeInt
    teacher_tokens: NonNegativeInt
    skipped: dict[str, int]
    n_groups: NonNegativeInt
    orphan_student: NonNegativeInt
    orphan_teacher: NonNegativeInt
    largest_group: NonNegativeInt
    student_fertility: float
    teacher_fertility: float
    student_bytes_per_token: float
    teacher_bytes_per_token: float
    share_1_1: float
    share_1_n: float
    share_n_1: float
    share_n_m: float
    student_tokens_1_1: float
    teacher_tokens_1_1: float
    byte_coverage: float
    byte_match_rate: float
    mean_group_size: float
    text_match_rate: float
    student_text_match_rate: float
    boundary_f1: float
    student_whole: NotRequired[float]
    teacher_whole: NotRequired[float]
    intervals: NotRequired[dict[str, list[float]]]
    slices: NotRequired[dict[str, dict[str, Any]]]


def measure(
    student: Tokenizer,
    teacher: Tokenizer,
    texts: Iterable[Text],
    method: str = "sedi",
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Metrics of a pair over `texts`, which are read once and never held together.

    Returns texts, skipped {reason: count}, bytes, characters, words, student_tokens, teacher_tokens,
    student_fertility and teacher_fertility (tokens per word), student_bytes_per_token, teacher_bytes_per_token, the
    rates of `metrics.alignment_metrics` over all groups of all texts, student_whole and teacher_whole (shares of tokens
    that the other vocabulary has, byte for byte), intervals {rate: [low, high]} (95 %, over texts; none for few texts),
    and slices {script, student_class, teacher_class: {value: figures}}. The quotient of nothing is 0.
    `progress` gets the share done (0 while the number of texts isn't known) and a sentence, and may raise to cancel.

    Raises AlignmentError for a method without an alignment, CtkdError for a number of workers that can't be and when a
    worker process dies.
    """
    return measure_domains(student, teacher, {"texts": texts}, method, workers, progress)["texts"]


def measure_domains(
    student: Tokenizer,
    teacher: Tokenizer,
    corpus: Mapping[str, Iterable[Text]] | None = None,
    method: str = "sedi",
    workers: int | None = 1,
    progress: Progress | None = None,
    *,
    by: Sequence[str] = (),
    engine: str = "processes",
    records: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """`measure` for every domain of a corpus (default: the bundled DOMAINS), with one pool of processes for all.

    workers   None: one for each core where files are large enough
    by        fields of records ("language"): further slices; none that is called as a slice of all texts is
    engine    "processes", or "ray" for a cluster that Ray knows (extra `ray`)
    progress  gets the share done and a sentence, which says how long it takes where that is known
    records   folder in which the sums of each piece of a file (`read_texts`) are kept, so that a measurement that was
              stopped goes on; None: nothing is kept
    """
    student, teacher = as_pair(student, teacher)
    corpus = DOMAINS if corpus is None else corpus
    workers = _workers(corpus) if workers is None else workers
    _check(method, workers, engine)
    check_fields(by)
    counting = Counting(student, teacher, method, tuple(dict.fromkeys(by)))
    kept = None if records is None else records_of(counting, records)
    found: dict[str, Counts] = count_corpora(
        counting, corpus, engine_of(engine, workers), kept, progress, workers if engine == "processes" else None
    )
    return {domain: metrics(counts) for domain, counts in found.items()}


def measure_plainly(student: Tokenizer, teacher: Tokenizer, texts: Iterable[Text], method: str) -> dict[str, Any]:
    """As `measure`, without intervals and slices, which take longer than a few texts themselves."""
    counting = Counting(student, teacher, method, ())
    return figures(count_corpora(counting, {"texts": texts}, engine_of("processes", 1), None, None)["texts"])


def check_fields(by: Sequence[str]) -> None:
    """Raise CtkdError for a field of records whose values would mix with a slice that all texts have."""
    for name in by:
        if name in OWN_SLICES:
            raise CtkdError(
                f"texts can't be told apart by the field {name!r}: {', '.join(OWN_SLICES)} name "
                "slices that every text has. Rename the field in the records."
            )


def _workers(corpus: Mapping[str, Iterable[Text]]) -> int:
    size = sum(texts.size for texts in corpus.values() if isinstance(texts, Corpus))
    return min(MAX_WORKERS, cores()) if size >= PAYS_FROM else 1


def _check(method: str, workers: int, engine: str) -> None:
    methods.aligner(method, AlignmentError)
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MAX_WORKERS:
        raise CtkdError(f"workers takes a whole number from 1 to {MAX_WORKERS}; got {workers!r}.")
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
