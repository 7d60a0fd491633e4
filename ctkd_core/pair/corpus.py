"""Measuring a pair of tokenizers over many texts: the metrics of alignments, tokens per word, bytes per token.

Texts are streamed and may be spread over processes. What comes back from each text are counts, which add up exactly, so
a measurement doesn't depend on the number of workers or on the order of the texts. Rates are taken of the sums: every
group counts the same for shares of groups, every token for shares of tokens (micro-averages; see docs/metrics.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt
from typing_extensions import TypedDict

from ctkd_core import methods
from ctkd_core.background.progress import Progress
from ctkd_core.errors import AlignmentError, CtkdError, TokenizerError
from ctkd_core.files import documents
from ctkd_core.pair.corpus_files import Skipped, read_texts
from ctkd_core.tokenizers.domain_texts import DOMAINS
from ctkd_core.tokenizers.load import as_pair

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

__all__ = ["DOMAINS", "Skipped", "count_words", "measure", "measure_domains", "read_texts"]

Text = str | Skipped

MAX_TEXT = 100_000  # characters aligned at once; longer texts are cut at white space
BATCH_CHARACTERS, BATCH_TEXTS = 200_000, 512  # what a worker gets at once
MAX_WORKERS = 256

# Scripts that are written without spaces: each letter counts as a word. Han, kana, Thai, Lao, Burmese, Khmer.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += r"\U00020000-\U0003ffff"
# Full-width punctuation parts words as white space does.
_SEPARATORS = r"\s\u3001-\u3004\u3008-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_LETTER = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(f"[^{_UNSPACED}{_SEPARATORS}]+")


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
    student_fertility: float
    teacher_fertility: float
    student_bytes_per_token: float
    teacher_bytes_per_token: float
    n_groups: NonNegativeInt
    share_1_1: float
    share_1_n: float
    share_n_1: float
    share_n_m: float
    student_tokens_1_1: float
    teacher_tokens_1_1: float
    byte_coverage: float
    byte_match_rate: float
    orphan_student: NonNegativeInt
    orphan_teacher: NonNegativeInt
    largest_group: NonNegativeInt
    mean_group_size: float
    text_match_rate: float
    student_text_match_rate: float
    boundary_f1: float


def count_words(text: str) -> int:
    """Words of `text`: runs between white space; in scripts without spaces every letter (marks don't count)."""
    letters = _LETTER.findall(text)
    return len(_WORD.findall(text)) + sum(not unicodedata.category(letter).startswith("M") for letter in letters)


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
    student_fertility and teacher_fertility (tokens per word), student_bytes_per_token, teacher_bytes_per_token, and
    the rates of `metrics.alignment_metrics` over all groups of all texts. The quotient of nothing is 0.
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
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """`measure` for every domain of a corpus (default: the bundled DOMAINS), with one pool of processes for all."""
    student, teacher = as_pair(student, teacher)
    corpus = DOMAINS if corpus is None else corpus
    _check(method, workers)
    found = {}
    with _counting(student, teacher, method, workers) as count:
        for place, (domain, texts) in enumerate(corpus.items()):
            if isinstance(texts, str):
                raise CtkdError(f"domain {domain!r} is one string; give a list of texts.")
            total, known = _Totals(), len(texts) if isinstance(texts, Sized) else 0
            for part in count(_batches(texts, total)):
                total.add(part)
                done = total.counts["texts"] + total.skipped.total()
                if progress:
                    inside = min(1.0, done / known) if known else 0.0
                    progress((place + inside) / len(corpus), f"{domain}: {done:,} text{'' if done == 1 else 's'}")
            found[domain] = _metrics(total)
    if progress:
        progress(1.0, "measured")
    return found


@dataclass
class _Totals:
    """Sums over texts; adding is exact and its order doesn't matter."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, other: _Totals) -> None:
        largest = max(self.counts["largest_group"], other.counts["largest_group"])
        self.counts.update(other.counts)
        self.counts["largest_group"] = largest
        self.skipped.update(other.skipped)


def _check(method: str, workers: int) -> None:
    if not methods.get(method, AlignmentError).can_align:
        able = ", ".join(m.name for m in methods.aligning())
        raise AlignmentError(f"method {method!r} has no alignment to measure; choose one of {able}.")
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MAX_WORKERS:
        raise CtkdError(f"workers takes a whole number from 1 to {MAX_WORKERS}; got {workers!r}.")


def _metrics(total: _Totals) -> dict[str, Any]:
    from ctkd_core.alignment.metrics import rates

    counts = total.counts

    def quotient(part: str, whole: str) -> float:
        return counts[part] / counts[whole] if counts[whole] else 0.0

    names = ("texts", "bytes", "characters", "words", "student_tokens", "teacher_tokens")
    return {
        **{name: counts[name] for name in names},
        "skipped": dict(total.skipped),
        "student_fertility": quotient("student_tokens", "words"),
        "teacher_fertility": quotient("teacher_tokens", "words"),
        "student_bytes_per_token": quotient("bytes", "student_tokens"),
        "teacher_bytes_per_token": quotient("bytes", "teacher_tokens"),
        **rates(counts),
    }


def _batches(texts: Iterable[Text], total: _Totals) -> Iterator[list[tuple[str, bool]]]:
    """Lists of (piece of a text, whether the text begins here); what isn't text is counted in `total` right away."""
    batch: list[tuple[str, bool]] = []
    size = 0
    for text in texts:
        reason = why_unread(text)
        if reason:
            total.skipped[reason] += 1
            continue
        for place, piece in enumerate(pieces(str(text))):
            batch.append((piece, place == 0))
            size += len(piece)
            if size >= BATCH_CHARACTERS or len(batch) >= BATCH_TEXTS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def why_unread(text: Any) -> str:
    """Why this is no text to measure, "" if it is one."""
    if isinstance(text, Skipped):
        return text.reason
    if not isinstance(text, str):
        return "not a text"
    if not text.strip():
        return "empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not valid Unicode (half of a character)"
    return ""


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most MAX_TEXT characters, cut at white space where there is some."""
    start = 0
    while len(text) - start > MAX_TEXT:
        window = text[start : start + MAX_TEXT]
        cut = max(window.rfind(" "), window.rfind("\n"))
        end = start + (cut if cut > 0 else MAX_TEXT)
        yield text[start:end]
        start = end
    yield text[start:]


def _count_batch(student: Tokenizer, teacher: Tokenizer, method: str, batch: list[tuple[str, bool]]) -> _Totals:
    from ctkd_core.alignment import align
    from ctkd_core.alignment.metrics import alignment_counts

    total = _Totals()
    for text, begins in batch:
        try:
            alignment = align(text, student=student, teacher=teacher, method=method)
        except (TokenizerError, AlignmentError) as fault:
            total.skipped[f"refused by the {'method' if isinstance(fault, AlignmentError) else 'tokenizer'}"] += begins
            continue
        counts = alignment_counts(alignment) | {"characters": len(text), "words": count_words(text)}
        total.add(_Totals(Counter(counts | {"texts": int(begins)})))
    return total


Count = Callable[[Iterator[list[tuple[str, bool]]]], Iterator[_Totals]]


@contextmanager
def _counting(student: Tokenizer, teacher: Tokenizer, method: str, workers: int) -> Iterator[Count]:
    """A function from batches to their totals: in this process, or in `workers` others."""
    if workers == 1:
        yield lambda batches: (_count_batch(student, teacher, method, batch) for batch in batches)
        return
    # "spawn": forking a process that runs threads (a browser app does) can lock it up.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (student, teacher, method))
    try:
        yield lambda batches: _in_pool(pool, workers, batches)
    except BrokenProcessPool:
        raise CtkdError(
            f"a worker process ended before it was done (killed, or out of memory with {workers} workers); try fewer "
            "workers. In a script of your own, call this under `if __name__ == '__main__':`."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_pool(pool: ProcessPoolExecutor, workers: int, batches: Iterator[list[tuple[str, bool]]]) -> Iterator[_Totals]:
    """Totals in the order of the batches; only a few batches are under way at once, however long the corpus."""
    pending: deque[Future[_Totals]] = deque()
    for batch in batches:
        pending.append(pool.submit(_work, batch))
        if len(pending) > 2 * workers:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_worker: dict[str, Any] = {}  # of a worker process only: what it measures


def _start_worker(student: Tokenizer, teacher: Tokenizer, method: str) -> None:
    _worker.update(student=student, teacher=teacher, method=method)


def _work(batch: list[tuple[str, bool]]) -> _Totals:
    return _count_batch(batch=batch, **_worker)
