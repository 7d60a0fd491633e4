"""Numba loops behind `nearest`: the closest of many strings by edit distance, exactly, without comparing them all.

These facts prune the search and lose nothing: candidates are visited by how much their length differs, a difference in
length is a lower bound of the distance, so is the number of symbols (hashed to 64 bits) that one string has and the
other lacks, and so is half the number of pairs of neighbouring symbols (an edit touches two of them). A few likely
candidates are compared beforehand, so that the bound is small from the first on. What is left is compared by Myers'
bit-parallel algorithm, 64 symbols of a column in one machine word, until the distance can only be above the bound.
Source: Myers 1999 in the form of Hyyrö 2003; `brute` in tests/vocabulary/test_nearest.py is the slow twin.
"""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit

WORD = 64
LANES = 16  # texts that are compared at once
BY_RANK, BY_PREFIX = 0, 1


@njit(nogil=True, inline="always")
def _popcount(x):  # type: ignore[no-untyped-def]
    # The compiler knows this pattern and makes one instruction of it.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True)
def _myers(masks, length, text, bound):  # type: ignore[no-untyped-def]
    """Edit distance of a pattern of 1 to 64 symbols, given as masks[symbol], and `text`.

    Some number above `bound` where the distance is above that.
    """
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
        if score - (text.size - 1 - i) > bound:  # a column changes it by one at most
            return bound + 1
        up = (up << np.uint64(1)) | np.uint64(1)
        down = down << np.uint64(1)
        positive = down | ~(vertical | up)
        negative = up & vertical
    return score


@njit(nogil=True)
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


@njit(nogil=True)
def _common_prefix(a, b):  # type: ignore[no-untyped-def]
    n = min(a.size, b.size)
    for i in range(n):
        if a[i] != b[i]:
            return i
    return n


@njit(nogil=True)
def _myers_lanes(masks, length, symbols, begins, size, bound, positive, negative, equal, scores):  # type: ignore[no-untyped-def]
    """`_myers` of one pattern and LANES texts of one size, which begin at `begins` in `symbols`, into `scores`.

    One operation a lane: the compiler makes vector instructions of the loops over lanes.
    """
    top = np.uint64(length - 1)
    one = np.uint64(1)
    for k in range(LANES):
        positive[k], negative[k], scores[k] = ~np.uint64(0), np.uint64(0), length
    for i in range(size):
        for k in range(LANES):
            equal[k] = masks[symbols[begins[k] + i]]
        for k in range(LANES):
            vertical = equal[k] | negative[k]
            across = (((equal[k] & positive[k]) + positive[k]) ^ positive[k]) | equal[k]
            up = negative[k] | ~(across | positive[k])
            down = positive[k] & across
            scores[k] += np.int64((up >> top) & one) - np.int64((down >> top) & one)
            up = (up << one) | one
            down = down << one
            positive[k] = down | ~(vertical | up)
            negative[k] = up & vertical
        if i & 3 == 3:  # a column changes a score by one at most
            least = scores[0]
            for k in range(1, LANES):
                least = min(least, scores[k])
            if least - (size - 1 - i) > bound:
                for k in range(LANES):
                    scores[k] = bound + 1
                return


@njit(nogil=True)
def _distance(masks, length, target, bound, positive, negative):  # type: ignore[no-untyped-def]
    """Edit distance of the query in `masks` and a target, exact up to `bound`."""
    if length == 0:
        return np.int64(target.size)
    if length <= WORD:
        return np.int64(_myers(masks[0], length, target, bound))
    return np.int64(_myers_words(masks, length, target, positive, negative))


@njit(nogil=True)
def search(  # type: ignore[no-untyped-def]
    queries, q_at, q_sign, targets, t_at, t_sign, by_length, rank, rule, n_symbols, likely, start, stop, found, best
):
    """Nearest target of queries start..stop.

    queries, targets  symbols of all strings one after another; string k is [q_at[k], q_at[k + 1]); targets are sorted
                      by length, by_length[l] .. by_length[l + 1] are those of length l
    q_sign, t_sign    uint64 [n, 2] bits of every symbol, and of every pair of neighbouring ones
    likely            int64 [n_queries, k] targets that may be near: they bound the distance, whatever they are
    rank              int64 [n_targets]: of equally near targets the lowest rank wins; with rule BY_PREFIX the longest
                      common prefix comes first
    found, best       int64 [n_queries] receive the target's place and its distance, -1 without targets
    """
    words = 1
    for q in range(start, stop):
        words = max(words, (q_at[q + 1] - q_at[q] + WORD - 1) // WORD)
    masks = np.zeros((words, n_symbols), dtype=np.uint64)
    positive, negative = np.zeros(words, dtype=np.uint64), np.zeros(words, dtype=np.uint64)
    queue, begins, scores = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    lane_up, lane_down, equal = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
    longest = by_length.size - 2
    for q in range(start, stop):
        query = queries[q_at[q] : q_at[q + 1]]
        length = query.size
        own, own_pairs = q_sign[q, 0], q_sign[q, 1]
        for i in range(length):
            masks[i // WORD, query[i]] |= np.uint64(1) << np.uint64(i % WORD)
        least, chosen, prefix = np.int64(1 << 60), -1, -1
        for k in range(likely.shape[1]):
            t = likely[q, k]
            least = min(least, _distance(masks, length, targets[t_at[t] : t_at[t + 1]], least, positive, negative))
        for gap in range(max(length, longest) + 1):
            if gap > least:
                break
            for side in range(2 if gap else 1):
                size = length + gap if side == 0 else length - gap
                if size < 0 or size > longest:
                    continue
                waiting = 0
                last = by_length[size + 1] - 1
                for t in range(by_length[size], last + 1):
                    other, pairs = t_sign[t, 0], t_sign[t, 1]
                    near = _popcount(own & ~other) <= least and _popcount(other & ~own) <= least
                    near = near and _popcount(own_pairs & ~pairs) <= 2 * least
                    if near and _popcount(pairs & ~own_pairs) <= 2 * least:
                        queue[waiting] = t
                        waiting += 1
                    if waiting < LANES and (t < last or not waiting):
                        continue
                    if 0 < length <= WORD and waiting > 1:
                        for k in range(LANES):
                            begins[k] = t_at[queue[min(k, waiting - 1)]]
                        _myers_lanes(masks[0], length, targets, begins, size, least, lane_up, lane_down, equal, scores)
                    else:
                        for k in range(waiting):
                            target = targets[t_at[queue[k]] : t_at[queue[k] + 1]]
                            scores[k] = _distance(masks, length, target, least, positive, negative)
                    for k in range(waiting):
                        distance = scores[k]
                        if distance > least:
                            continue
                        place = queue[k]
                        common = 0
                        if rule == BY_PREFIX:
                            common = _common_prefix(query, targets[t_at[place] : t_at[place + 1]])
                        better = distance < least or chosen < 0 or common > prefix
                        if better or (common == prefix and rank[place] < rank[chosen]):
                            least, chosen, prefix = distance, place, common  # type: ignore[assignment]
                    waiting = 0
        found[q], best[q] = chosen, least if chosen >= 0 else -1
        for i in range(length):
            masks[i // WORD, query[i]] = np.uint64(0)
