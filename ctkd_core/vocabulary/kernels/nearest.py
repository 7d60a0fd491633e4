"""Numba loops behind `nearest`: the closest of many strings by edit distance, exactly, without comparing them all.

Three facts prune the search and lose nothing: candidates are visited by how much their length differs, a difference in
length is a lower bound of the distance, and so is the number of symbols (hashed to 64 bits) that one string has and the
other lacks. What is left is compared by Myers' bit-parallel algorithm, 64 symbols of a column in one machine word.
Source: Myers 1999 in the form of Hyyrö 2003; `brute` in tests/vocabulary/test_nearest.py is the slow twin.
"""

from __future__ import annotations

import numpy as np
from numba import njit

WORD = 64
BY_RANK, BY_PREFIX = 0, 1


@njit(cache=True, nogil=True, inline="always")
def _popcount(x):  # type: ignore[no-untyped-def]
    # The compiler knows this pattern and makes one instruction of it.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _myers(masks, length, text):  # type: ignore[no-untyped-def]
    """Edit distance of a pattern of 1 to 64 symbols, given as masks[symbol], and `text`."""
    positive = ~np.uint64(0)
    negative = np.uint64(0)
    last = np.uint64(1) << np.uint64(length - 1)
    score = length
    for i in range(text.size):
        equal = masks[text[i]]
        vertical = equal | negative
        equal = (((equal & positive) + positive) ^ positive) | equal
        up = negative | ~(equal | positive)
        down = positive & equal
        if up & last:
            score += 1
        if down & last:
            score -= 1
        up = (up << np.uint64(1)) | np.uint64(1)
        down = down << np.uint64(1)
        positive = down | ~(vertical | up)
        negative = up & vertical
    return score


@njit(cache=True, nogil=True)
def _myers_words(masks, length, text, positive, negative):  # type: ignore[no-untyped-def]
    """The same for longer patterns: masks[word, symbol], 64 symbols a word; positive, negative: scratch [words]."""
    words = (length + WORD - 1) // WORD
    last = np.uint64(1) << np.uint64((length - 1) % WORD)
    top = np.uint64(WORD - 1)
    for w in range(words):
        positive[w], negative[w] = ~np.uint64(0), np.uint64(0)
    score = length
    for i in range(text.size):
        # what the word above hands down: the top row of the table grows by one a column
        grows, shrinks = np.uint64(1), np.uint64(0)
        for w in range(words):
            equal = masks[w, text[i]]
            vertical = equal | negative[w]
            equal |= shrinks
            equal = (((equal & positive[w]) + positive[w]) ^ positive[w]) | equal
            up = negative[w] | ~(equal | positive[w])
            down = positive[w] & equal
            if w == words - 1:
                if up & last:
                    score += 1
                if down & last:
                    score -= 1
            next_grows, next_shrinks = up >> top, down >> top
            up = (up << np.uint64(1)) | grows
            down = (down << np.uint64(1)) | shrinks
            positive[w] = down | ~(vertical | up)
            negative[w] = up & vertical
            grows, shrinks = next_grows, next_shrinks
    return score


@njit(cache=True, nogil=True)
def _common_prefix(a, b):  # type: ignore[no-untyped-def]
    n = min(a.size, b.size)
    for i in range(n):
        if a[i] != b[i]:
            return i
    return n


@njit(cache=True, nogil=True)
def search(queries, q_at, q_sign, targets, t_at, t_sign, by_length, rank, rule, n_symbols, start, stop, found, best):  # type: ignore[no-untyped-def]
    """Nearest target of queries start..stop.

    queries, targets  symbols of all strings one after another; string k is [q_at[k], q_at[k + 1]); targets are sorted
                      by length, by_length[l] .. by_length[l + 1] are those of length l
    q_sign, t_sign    uint64 [n] bit (symbol % 64) of every symbol
    rank              int64 [n_targets]: of equally near targets the lowest rank wins; with rule BY_PREFIX the longest
                      common prefix comes first
    found, best       int64 [n_queries] receive the target's place and its distance, -1 without targets
    """
    words = 1
    for q in range(start, stop):
        words = max(words, (q_at[q + 1] - q_at[q] + WORD - 1) // WORD)
    masks = np.zeros((words, n_symbols), dtype=np.uint64)
    positive, negative = np.zeros(words, dtype=np.uint64), np.zeros(words, dtype=np.uint64)
    first = masks[0]
    longest = by_length.size - 2
    for q in range(start, stop):
        query = queries[q_at[q] : q_at[q + 1]]
        length = query.size
        own = q_sign[q]
        for i in range(length):
            masks[i // WORD, query[i]] |= np.uint64(1) << np.uint64(i % WORD)
        least, chosen, prefix = 1 << 60, -1, -1
        for gap in range(max(length, longest) + 1):
            if gap > least:
                break
            for side in range(2 if gap else 1):
                size = length + gap if side == 0 else length - gap
                if size < 0 or size > longest:
                    continue
                for t in range(by_length[size], by_length[size + 1]):
                    if _popcount(own & ~t_sign[t]) > least or _popcount(t_sign[t] & ~own) > least:
                        continue
                    target = targets[t_at[t] : t_at[t + 1]]
                    if length == 0:
                        distance = np.int64(target.size)
                    elif length <= WORD:
                        distance = np.int64(_myers(first, length, target))
                    else:
                        distance = np.int64(_myers_words(masks, length, target, positive, negative))
                    if distance > least:
                        continue
                    common = _common_prefix(query, target) if rule == BY_PREFIX else 0
                    if distance < least or common > prefix or (common == prefix and rank[t] < rank[chosen]):
                        least, chosen, prefix = distance, t, common  # type: ignore[assignment]
        found[q], best[q] = chosen, least if chosen >= 0 else -1
        for i in range(length):
            masks[i // WORD, query[i]] = np.uint64(0)
