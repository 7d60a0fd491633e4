"""Counting texts: the one function that a process, the pool and a cluster call on a piece of a corpus.

Texts of a batch are encoded together. Where the tokens of both sides spell a text byte for byte (nearly all texts, for
tokenizers that don't rewrite them), one compiled sweep counts it; any other text is aligned as `align` does it. Both
ways give the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import AlignmentError, TokenizerError
from ctkd_core.markup.visible import one_line, shorten
from ctkd_core.pair.corpora.characters import SCRIPTS, characters
from ctkd_core.pair.corpora.counts import ALL, AT, FIELDS, GROUPS, LARGEST, Counts, Table

if TYPE_CHECKING:
    from ctkd_core.pair.corpora import kernels
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MAX_TEXT = 100_000  # characters aligned at once; longer texts are cut at white space
BATCH_CHARACTERS, BATCH_TEXTS = 200_000, 512  # what is encoded at once
EXACT = "sedi"  # its groups are the components of overlap, which the compiled sweep finds
LONGEST_VALUE = 60  # characters of a field's value; longer ones are cut
NOT_GIVEN = "not given"


@dataclass(frozen=True)
class Skipped:
    """Something in a corpus that is no text to measure, and why."""

    reason: str


Text = str | Skipped


class CorpusDocument(NamedTuple):
    """A text of a corpus, and the values of the fields that texts are told apart by."""

    text: Text
    values: tuple[str, ...] = ()


class _Piece(NamedTuple):
    text: str
    data: bytes
    begins: bool  # whether the text begins here; ends: whether it does so here
    ends: bool
    bucket: int
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Counting:
    """What is counted: a pair, the method that aligns, and fields of records that texts are told apart by."""

    student: Tokenizer
    teacher: Tokenizer
    method: str = EXACT
    by: tuple[str, ...] = ()

    def count(self, documents: Iterable[CorpusDocument]) -> Counts:
        """The sums over some documents, which are read once and never held together."""
        counts = Counts()
        counts.table()
        run = _Run(self, counts)
        for batch in _batches(documents, counts):
            run.add(batch)
        run.close()
        counts.check()
        return counts

    @cached_property
    def _sides(self) -> tuple[kernels.VocabularyArrays, kernels.VocabularyArrays]:
        from ctkd_core.vocabulary.overlap import overlap

        shared = overlap(self.student, self.teacher)
        return (
            _vocabulary(self.student, shared.student_matched["bytes"]),
            _vocabulary(self.teacher, shared.teacher_matched["bytes"]),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Processes make their own tables.
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def value_of(value: Any) -> str:
    """A field's value as the name of a slice."""
    if isinstance(value, (int, float)):
        value = str(value)
    return shorten(one_line(value), LONGEST_VALUE) if isinstance(value, str) and value.strip() else NOT_GIVEN


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


def _batches(documents: Iterable[CorpusDocument], counts: Counts) -> Iterator[list[_Piece]]:
    """Pieces of texts to be encoded together; what isn't text is counted as skipped right away."""
    batch: list[_Piece] = []
    size = 0
    for text, values in documents:
        reason = why_unread(text)
        if reason:
            counts.skipped[reason] += 1
            continue
        whole = str(text)
        bucket = zlib.crc32(whole.encode()) % GROUPS  # by content: equal texts fall into one group, whatever the order
        cut = list(pieces(whole))
        for place, piece in enumerate(cut, start=1):
            batch.append(_Piece(piece, piece.encode(), place == 1, place == len(cut), bucket, values))
            size += len(piece)
            if size >= BATCH_CHARACTERS or len(batch) >= BATCH_TEXTS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


@dataclass
class _Run:
    """One pass over documents: the tables that compiled loops write into."""

    counting: Counting
    counts: Counts
    scripts: Table = field(init=False)
    student: Table = field(init=False)
    teacher: Table = field(init=False)
    _is_counted: bool = field(default=False, init=False)  # something of the text under way; it may go over batches

    def __post_init__(self) -> None:
        from ctkd_core.pair.corpora import kernels
        from ctkd_core.vocabulary.classes import CLASSES

        cell = (GROUPS, len(FIELDS))
        self.scripts = np.zeros((len(SCRIPTS), *cell), dtype=np.int64)
        self.student, self.teacher = (np.zeros((len(CLASSES), *cell), dtype=np.int64) for _ in range(2))
        self._tables = kernels.Tables(self.scripts, self.student, self.teacher)

    def add(self, batch: list[_Piece]) -> None:
        """Count a batch."""
        rows = np.zeros((len(batch), len(FIELDS)), dtype=np.int64)
        buckets = np.fromiter((piece.bucket for piece in batch), dtype=np.int64, count=len(batch))
        done = self._together(batch, buckets, rows)
        refused = {}
        for n in np.flatnonzero(~done).tolist():
            if fault := self._alone(batch[n], rows[n]):
                refused[n] = fault
        self._count_texts(batch, rows, refused)
        _add_rows(self.counts.table(ALL), buckets, rows)
        for place, name in enumerate(self.counting.by):
            values = [piece.values[place] if piece.values else NOT_GIVEN for piece in batch]
            for value in dict.fromkeys(values):
                chosen = np.array([one == value for one in values])
                _add_rows(self.counts.table((name, value)), buckets[chosen], rows[chosen])

    def _count_texts(self, batch: list[_Piece], rows: Table, refused: dict[int, str]) -> None:
        """A text counts as one with the first of its pieces that was counted, and is skipped where none was."""
        for n, piece in enumerate(batch):
            if piece.begins:
                self._is_counted = False
            if n not in refused:
                rows[n, AT["texts"]] = not self._is_counted
                self._is_counted = True
            elif piece.ends and not self._is_counted:
                self.counts.skipped[refused[n]] += 1

    def close(self) -> None:
        """Hand over what compiled loops wrote."""
        from ctkd_core.vocabulary.classes import CLASSES

        for by, names, tables in (
            ("script", SCRIPTS, self.scripts),
            ("student_class", CLASSES, self.student),
            ("teacher_class", CLASSES, self.teacher),
        ):
            for name, table in zip(names, tables):
                if table.any():
                    self.counts.slices[by, name] = table

    def _together(self, batch: list[_Piece], buckets: NDArray[np.int64], rows: Table) -> NDArray[np.bool_]:
        """Count all texts that both sides spell; which ones."""
        from ctkd_core.pair.corpora import kernels

        given = self.counting
        if given.method != EXACT:
            return np.zeros(len(batch), dtype=np.bool_)
        texts = [piece.text for piece in batch]
        try:
            student, teacher = (_tokens(side.encode_batch(texts)) for side in (given.student, given.teacher))
        except TokenizerError:  # one text of them is refused: each is asked for alone
            return np.zeros(len(batch), dtype=np.bool_)
        data = np.frombuffer(b"".join(piece.data for piece in batch), dtype=np.uint8)
        at = _starts(len(piece.data) for piece in batch)
        own, other = given._sides
        signs = characters()
        found: NDArray[np.bool_] = kernels.count_texts(
            data, at, buckets, student, teacher, own, other, signs.words, signs.scripts, rows, self._tables
        )
        return found

    def _alone(self, piece: _Piece, row: NDArray[np.int64]) -> str:
        """Count one text as `align` aligns it; "", or why it is refused."""
        from ctkd_core.alignment import align
        from ctkd_core.alignment.metrics import alignment_counts, faces_equal
        from ctkd_core.pair.corpora import kernels

        given, signs = self.counting, characters()
        try:
            alignment = align(piece.text, student=given.student, teacher=given.teacher, method=given.method)
        except (TokenizerError, AlignmentError) as fault:
            whose = "method" if isinstance(fault, AlignmentError) else "tokenizer"
            return f"refused by the {whose}"
        for name, value in alignment_counts(alignment).items():
            row[AT[name]] = value
        data = np.frombuffer(piece.data, dtype=np.uint8)
        of_byte = np.empty(len(data), dtype=np.uint8)
        kernels.read_characters(data, 0, len(data), signs.words, signs.scripts, of_byte, row)
        sides = []
        for encoding in (alignment.student, alignment.teacher):
            reached = np.concatenate([[0], np.maximum.accumulate(encoding.spans[:, 1])[:-1]]) if len(encoding) else 0
            widths = np.maximum(encoding.spans[:, 1] - np.maximum(encoding.spans[:, 0], reached), 0)
            sides.append(kernels.SideTokens(*map(np.array, (encoding.ids, encoding.special, widths, encoding.spans))))
        own, other = given._sides
        # Copies: kernels are compiled anew for arrays that may not be written.
        groups, equal = np.array(alignment.groups), np.array(alignment.equal_texts)
        faces = np.array(faces_equal(alignment))
        student, teacher = sides
        kernels.count_groups(
            groups, equal, faces, piece.bucket, student, teacher, own, other, of_byte, row, self._tables
        )
        return ""


def _add_rows(table: Table, buckets: NDArray[np.int64], rows: Table) -> None:
    largest = table[:, LARGEST].copy()
    np.maximum.at(largest, buckets, rows[:, LARGEST])
    np.add.at(table, buckets, rows)
    table[:, LARGEST] = largest


def _tokens(listed: list[list[int]]) -> kernels.Tokens:
    from itertools import chain

    from ctkd_core.pair.corpora import kernels

    at = _starts(map(len, listed))
    return kernels.Tokens(np.fromiter(chain.from_iterable(listed), dtype=np.int32, count=int(at[-1])), at)


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """int64 [n + 1]: where each of several stretches in a row begins."""
    sizes = np.array([0, *lengths], dtype=np.int64)
    return np.cumsum(sizes)


def _vocabulary(tokenizer: Tokenizer, whole: NDArray[np.bool_]) -> kernels.VocabularyArrays:
    from ctkd_core.pair.corpora import kernels
    from ctkd_core.vocabulary.classes import token_classes

    table = tokenizer.all_token_bytes()
    plain = np.ones(len(table), dtype=np.bool_)
    plain[list(tokenizer.special_ids)] = False
    data = np.frombuffer(b"".join(table), dtype=np.uint8)
    # Small types: what is looked up for each token should stay in the processor's cache, beside the tokenizers' tables.
    starts, classes = _starts(map(len, table)).astype(np.int32), token_classes(tokenizer).astype(np.int8)
    return kernels.VocabularyArrays(data, starts, classes, plain, np.ascontiguousarray(whole))
