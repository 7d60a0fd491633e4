"""Nearest map: tokens without an equal one map to the token of least edit distance, found exactly.

This is MinED's vocabulary map. FuseLLM sends every teacher token to its nearest student token; tokenkit every student
token to its nearest teacher token. Sources: FuseLLM (arXiv 2401.10491) and its code; tokenkit.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.vocabulary.exact import exact_matches, ids_by_bytes
from ctkd_core.vocabulary.projection import NEAREST, Projection, from_entries

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

TIES = ("prefix", "first", "length")
BATCH = 1024  # searches between two reports of progress
LIKELY = 4  # neighbours in either order that bound a search


@dataclass(frozen=True, eq=False)
class NearestTokens:
    """What a search found for each of n queries: target int64 [n] (-1 without any), distance int64 [n] in symbols."""

    target: NDArray[np.int64]
    distance: NDArray[np.int64]


def project_nearest(
    student: Tokenizer,
    teacher: Tokenizer,
    *,
    direction: str = "student",
    ties: str = "prefix",
    unit: str = "byte",
    max_distance: int = 0,
    progress: Progress = silent,
) -> Projection:
    """Equal tokens first (see `exact`); every other token to the one at the least edit distance.

    direction     "student": each student token looks for a teacher token, weight 1. "teacher": each teacher token looks
                  for a student token; a student token that several found shares its row among them
    ties          of equally near tokens, "prefix": the longest common prefix, then the lowest id; "first": the lowest
                  id (FuseLLM); "length": the first when scanned by length, upward for queries shorter than the
                  median entry, else downward (tokenkit)
    unit          "byte" (raw strings of byte-level vocabularies are that) or "char"
    max_distance  tokens farther than this map to nothing; 0: no limit

    Special tokens and ids without text neither look nor are found, nor are byte-fallback tokens beside the plain one.
    Raises ProjectionError for an unknown choice.
    """
    if direction not in ("student", "teacher"):
        raise unknown("direction", direction, ("student", "teacher"), ProjectionError)
    seeker, other = (student, teacher) if direction == "student" else (teacher, student)
    match, reason = exact_matches(seeker, other)
    looking = np.array([i for i in _with_text(seeker) if match[i] < 0], dtype=np.int64)
    plain = ids_by_bytes(other)  # of several ids with the same bytes the one that the tokenizer writes
    targets = np.array([i for i in _with_text(other) if plain[other.token_bytes(i)] == i], dtype=np.int64)
    found = nearest(_symbols(seeker, looking, unit), _symbols(other, targets, unit), ties, progress)
    near = found.target >= 0
    if max_distance:
        near &= found.distance <= max_distance
    exact = np.flatnonzero(match >= 0)
    rows = np.concatenate([exact, looking[near]])
    columns = np.concatenate([match[exact], targets[found.target[near]]])
    reasons = np.concatenate([reason[exact], np.full(int(near.sum()), NEAREST, dtype=np.uint8)])
    if direction == "teacher":
        rows, columns = columns, rows
    matrix, kept = from_entries(rows, columns, np.ones(len(rows)), reasons, (student.n_ids, teacher.n_ids))
    options = {"direction": direction, "ties": ties, "unit": unit, "max_distance": max_distance}
    return Projection(matrix, kept, "nearest", student, teacher, options)


def _with_text(tokenizer: Tokenizer) -> list[int]:
    special = tokenizer.special_ids
    return [i for i, data in enumerate(tokenizer.all_token_bytes()) if data and i not in special]


def _symbols(tokenizer: Tokenizer, ids: NDArray[np.int64], unit: str) -> list[bytes] | list[str]:
    if unit not in ("byte", "char"):
        raise unknown("unit", unit, ("byte", "char"), ProjectionError)
    table = tokenizer.all_token_bytes()
    data = [table[i] for i in ids.tolist()]
    # a byte that is no part of a character stays one symbol of its own
    return data if unit == "byte" else [b.decode("utf-8", "surrogateescape") for b in data]


def nearest(
    queries: Sequence[bytes] | Sequence[str],
    targets: Sequence[bytes] | Sequence[str],
    ties: str = "prefix",
    progress: Progress = silent,
) -> NearestTokens:
    """The target at the least edit distance of every query; symbols are bytes or characters.

    `ties`: see `project_nearest`; a target's id is its place. Exact: equal to comparing every pair. Several threads, a
    report of progress every 1,024 queries (what `progress` raises ends the search).
    """
    from ctkd_core.vocabulary.kernels import nearest as kernels

    if ties not in TIES:
        raise unknown("rule for ties", ties, TIES, ProjectionError)
    q_flat, q_at = _flatten(queries)
    order, t_flat, t_at, by_length = _sorted_by_length(targets)
    symbols, n_symbols = _renumber(q_flat, t_flat)
    place, best = np.full(len(queries), -1, dtype=np.int64), np.full(len(queries), -1, dtype=np.int64)
    if not len(queries) or not len(targets):
        return NearestTokens(place, best)
    signs = _signatures(symbols[0], q_at), _signatures(symbols[1], t_at)
    rule = kernels.BY_PREFIX if ties == "prefix" else kernels.BY_RANK
    searches = [(np.arange(len(queries)), order)]
    if ties == "length":
        lengths, median = np.diff(q_at), int(np.diff(t_at)[len(order) // 2])
        scan = np.arange(len(order))  # targets are sorted by length already; downward the last comes first
        searches = [(np.flatnonzero(lengths < median), scan), (np.flatnonzero(lengths >= median), -scan)]
    own, theirs = _Strings(symbols[0], q_at, signs[0]), _Strings(symbols[1], t_at, signs[1])
    likely = _likely(queries, [targets[i] for i in order.tolist()])
    for which, rank in searches:
        _run(own, theirs, by_length, which, rank, (rule, n_symbols), likely, (place, best), progress)
    return NearestTokens(np.where(place >= 0, order[place], -1), best)


@dataclass(frozen=True, eq=False)
class _Strings:
    """Many strings: symbols int32 one after another, starts int64 [n + 1], signatures uint64 [n, 2]."""

    symbols: NDArray[np.int32]
    at: NDArray[np.int64]
    signs: NDArray[np.uint64]

    def take(self, which: NDArray[np.int64]) -> _Strings:
        """Some of them, in the order of `which`."""
        lengths = np.diff(self.at)[which]
        at = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.at[:-1][which] - at[:-1], lengths) + np.arange(int(lengths.sum()))
        return _Strings(self.symbols[index], at, self.signs[which])


def _run(
    mine: _Strings,
    theirs: _Strings,
    by_length: NDArray[np.int64],
    which: NDArray[np.int64],
    rank: NDArray[np.int64],
    rule: tuple[int, int],
    likely: NDArray[np.int64],
    out: tuple[NDArray[np.int64], NDArray[np.int64]],
    progress: Progress,
) -> None:
    """Search for the queries `which`, a batch at a time on every core; writes place and distance into `out`."""
    from ctkd_core.vocabulary.kernels.nearest import search

    # queries of one length lie together, so that a core's candidates stay in its cache
    which = which[np.argsort(np.diff(mine.at)[which], kind="stable")]
    own, likely, total = mine.take(which), likely[which], len(which)
    found, best = (np.full(total, -1, dtype=np.int64) for _ in range(2))

    def part(start: int) -> int:
        stop = min(start + BATCH, total)
        ours, other = (own.symbols, own.at, own.signs), (theirs.symbols, theirs.at, theirs.signs)
        search(ours[0], ours[1], ours[2], *other, by_length, rank, *rule, likely, start, stop, found, best)
        return stop

    with ThreadPoolExecutor(max(1, min(-(-total // BATCH), os.cpu_count() or 1))) as pool:
        jobs = [pool.submit(part, start) for start in range(0, total, BATCH)]
        try:
            for job in jobs:
                stop = job.result()
                progress(stop / total, f"Searched {stop:,} of {total:,} tokens")
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    out[0][which], out[1][which] = found, best


def _flatten(strings: Sequence[bytes] | Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All symbols one after another, int64, and where each string begins, int64 [n + 1]."""
    at = np.concatenate([[0], np.cumsum([len(s) for s in strings], dtype=np.int64)]).astype(np.int64)
    if strings and isinstance(strings[0], str):
        flat = np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)  # type: ignore[arg-type]
    else:
        flat = np.frombuffer(b"".join(strings), dtype=np.uint8)  # type: ignore[arg-type]
    return flat.astype(np.int64), at


def _sorted_by_length(
    targets: Sequence[bytes] | Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order of the targets by length, then place; their symbols, starts, and the first of each length [longest + 2]."""
    lengths = np.array([len(t) for t in targets], dtype=np.int64)
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    flat, at = _flatten([targets[i] for i in order.tolist()])  # type: ignore[arg-type]
    counts = np.bincount(lengths, minlength=1) if len(lengths) else np.zeros(1, dtype=np.int64)
    return order, flat, at, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _renumber(*flats: NDArray[np.int64]) -> tuple[list[NDArray[np.int32]], int]:
    """Symbols as small numbers from 0, the same number for the same symbol, and how many there are."""
    distinct, inverse = np.unique(np.concatenate(flats), return_inverse=True)
    parts = np.split(inverse.astype(np.int32), np.cumsum([len(f) for f in flats])[:-1])
    return parts, max(1, len(distinct))


def _signatures(symbols: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.uint64]:
    """uint64 [n, 2]: a bit of 64 for every symbol of each string, and one for every pair of neighbouring symbols."""
    out = np.zeros((len(at) - 1, 2), dtype=np.uint64)
    lengths = np.diff(at)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return out
    one = np.uint64(1)
    bits = np.left_shift(one, (symbols % 64).astype(np.uint64))
    out[filled, 0] = np.bitwise_or.reduceat(bits, at[:-1][filled])
    # a multiplicative hash spreads the pairs; the last symbol of a string begins none
    pair = symbols.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    pair[:-1] += symbols[1:].astype(np.uint64)
    bits = np.left_shift(one, (pair * np.uint64(0xD1B54A32D192ED03)) >> np.uint64(58))
    bits[at[1:][filled] - 1] = 0
    out[filled, 1] = np.bitwise_or.reduceat(bits, at[:-1][filled])
    return out


def _likely(queries: Sequence[bytes] | Sequence[str], targets: Sequence[bytes] | Sequence[str]) -> NDArray[np.int64]:
    """int64 [n, 2 * LIKELY]: places of targets that begin or end as each query does, its neighbours in two orders."""
    parts = []
    for turned in (False, True):  # the same strings read backwards: common endings
        own: list[Any] = [x[::-1] for x in queries] if turned else list(queries)
        theirs: list[Any] = [x[::-1] for x in targets] if turned else list(targets)
        order = sorted(range(len(theirs)), key=theirs.__getitem__)
        sorted_targets = [theirs[k] for k in order]
        at = np.array([bisect_left(sorted_targets, query) for query in own], dtype=np.int64)
        near = at[:, None] + np.arange(-(LIKELY // 2), LIKELY - LIKELY // 2)
        parts.append(np.array(order, dtype=np.int64)[near.clip(0, len(order) - 1)])
    return np.concatenate(parts, axis=1)
