"""Token migration tables: every teacher token re-encoded by the student, whole or after a prefix.

SeDi writes a teacher candidate into the student's vocabulary by re-encoding its text. Whole tokens are re-encoded
once per pair of tokenizers, so that the common case is a look-up; candidates behind a prefix (the earlier teacher
tokens of a group) are re-encoded when they turn up and kept. Everything works on bytes.
Source: Wang et al., AAAI-26, token migration (sliding-window re-encoding).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.sized_cache import MIB, sized_cache

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MAX_KEPT = 500_000  # prefixed candidates kept, about 100 MB
FEWEST_ON_DISK = 20_000  # a smaller vocabulary is written as fast as it is read


@dataclass(frozen=True, eq=False)
class Pieces:
    """Ragged student ids: entry [i, ...] is flat[start : start + length]; length 0 means "can't be written".

    flat int64 [n]; start, length int64 of one shape.
    """

    flat: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __getitem__(self, index: int | tuple[int, ...]) -> list[int]:
        start, length = int(self.start[index]), int(self.length[index])
        return self.flat[start : start + length].tolist()


@dataclass(frozen=True, eq=False)
class MigrationTable:
    """Teacher tokens written in student tokens.

    whole  Pieces with one entry per teacher id

    A candidate is dropped (length 0) when its pieces don't stand for its bytes: half characters that the student can't
    spell, text that a student without that script turns into unknown tokens, special tokens other than EOS. The
    teacher's EOS becomes the student's.
    """

    student: Tokenizer
    teacher: Tokenizer
    whole: Pieces
    _kept: dict[tuple[bytes, int], tuple[int, ...]] = field(default_factory=dict, repr=False)

    def prefixed(self, prefixes: Sequence[bytes], candidates: NDArray[np.int64]) -> Pieces:
        """Pieces of prefix + candidate: `candidates` teacher ids [n, K], one prefix per row -> start, length [n, K].

        Joined bytes that aren't whole UTF-8 survive only where the pieces spell exactly those bytes.
        """
        keys = [(prefix, k) for prefix, row in zip(prefixes, candidates.tolist()) for k in row]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        fresh = dict(zip(missing, _write(self.student, self.teacher, missing)))
        found = [fresh[key] if key in fresh else self._kept[key] for key in keys]
        if len(self._kept) + len(fresh) > MAX_KEPT:
            self._kept.clear()
        self._kept.update(fresh)
        return _ragged(found, candidates.shape)


@sized_cache(128 * MIB, most=8)
def migration_table(student: Tokenizer, teacher: Tokenizer) -> MigrationTable:
    """The table of a pair, built once (5 seconds for Gemma's 262k tokens) and kept, large ones on disk, too."""
    tokens = len(teacher.all_token_bytes())
    if tokens < FEWEST_ON_DISK:
        return MigrationTable(student, teacher, _whole(student, teacher, tokens))
    from ctkd_core.vocabulary import migration_store

    path = migration_store.place(student, teacher)
    kept = migration_store.read(path, student.n_ids, tokens)
    if kept is not None:
        flat, length = (part.astype(np.int64) for part in kept)
        return MigrationTable(student, teacher, Pieces(flat, np.cumsum(length) - length, length))
    whole = _whole(student, teacher, tokens)
    migration_store.write(path, whole.flat, whole.length)
    return MigrationTable(student, teacher, whole)


def _whole(student: Tokenizer, teacher: Tokenizer, tokens: int) -> Pieces:
    return _ragged(_write(student, teacher, [(b"", i) for i in range(tokens)]), (tokens,))


def _write(student: Tokenizer, teacher: Tokenizer, keys: Sequence[tuple[bytes, int]]) -> list[tuple[int, ...]]:
    """Student ids for each (prefix, teacher id); () where they can't be written."""
    added = [_added(student, teacher, token) for _, token in keys]
    texts = [b"" if a is None else prefix + a[0] for (prefix, _), a in zip(keys, added)]
    result: list[tuple[int, ...]] = []
    for text, a, pieces in zip(texts, added, _encode_faithfully(student, texts)):
        result.append(() if a is None or (text and not pieces) else (*pieces, *a[1]))
    return result


def _added(student: Tokenizer, teacher: Tokenizer, token: int) -> tuple[bytes, tuple[int, ...]] | None:
    """What a teacher token adds to a text: bytes and special student ids; None if nothing can stand for it."""
    if token == teacher.eos_id:
        return None if student.eos_id is None else (b"", (student.eos_id,))
    table = teacher.all_token_bytes()
    # Ids past the table are padding rows of the model's head.
    if token >= len(table) or token in teacher.special_ids or not table[token]:
        return None
    return table[token], ()


def _encode_faithfully(student: Tokenizer, texts: Sequence[bytes]) -> list[tuple[int, ...]]:
    table = student.all_token_bytes()
    result = []
    for data, ids in zip(texts, student.encode_pieces(texts)):
        exact = b"".join([table[i] for i in ids]) == data
        result.append(tuple(ids) if exact or (student.unk_id not in ids and _keeps_characters(student, data)) else ())
    return result


def _keeps_characters(student: Tokenizer, data: bytes) -> bool:
    # A normalising student (lower case, say) can't spell the bytes, but whole characters keep their meaning.
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    if student.unk_id is not None:
        return True
    # Without a token for what it doesn't know, a student may leave a character out in silence. Accents may go.
    lost = [data[start:stop].decode(errors="replace") for start, stop in student.encode(text).uncovered.tolist()]
    categories = {unicodedata.category(character) for part in lost for character in part}
    return not any(category[0] in "LNPS" or category == "Cc" for category in categories)


def _ragged(pieces: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Pieces:
    length = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    start = np.cumsum(length) - length
    flat = np.fromiter((i for p in pieces for i in p), dtype=np.int64, count=int(length.sum()))
    return Pieces(flat, start.reshape(shape), length.reshape(shape))
