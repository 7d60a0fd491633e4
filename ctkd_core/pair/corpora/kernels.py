"""Compiled loops that count texts: both sides' tokens against the bytes of the text, groups, words, scripts, classes.

numba, cached on disk; import this module only where a kernel is called. What is called for every token is inlined: the
calls took a third of the time. What the first kernel counts, `align` and `alignment_counts` count text by text, and
tests compare the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit
from ctkd_core.pair.corpora.characters import ALONE as LETTER
from ctkd_core.pair.corpora.characters import IN_WORD, NUMBERS, SIGNS
from ctkd_core.pair.corpora.counts import AT

_BYTES, _CHARACTERS, _WORDS, _TEXTS = AT["bytes"], AT["characters"], AT["words"], AT["texts"]
_STUDENT, _TEACHER = AT["student_tokens"], AT["teacher_tokens"]
_GROUPS, _1_1, _1_N, _N_1, _N_M = AT["groups"], AT["1_1"], AT["1_n"], AT["n_1"], AT["n_m"]
_COVERED, _MATCHED = AT["covered_bytes"], AT["matched_bytes"]
_ALONE_S, _ALONE_T = AT["orphan_student"], AT["orphan_teacher"]
_LARGEST, _GROUPED = AT["largest_group"], AT["grouped_tokens"]
_EQUAL, _EQUAL_S = AT["equal_groups"], AT["equal_student_tokens"]
_CUTS, _COMMON = AT["boundaries"], AT["common_boundaries"]
_WHOLE_S, _WHOLE_T = AT["student_whole"], AT["teacher_whole"]


class VocabularyArrays(NamedTuple):
    """One side's tokens by id.

    data     uint8: the bytes of all tokens in a row; start int32 [n_ids + 1]: where each begins
    classes  int8 [n_ids]: index into vocabulary.classes.CLASSES, -1 for none
    plain    bool [n_ids]: tokens that aren't special
    whole    bool [n_ids]: tokens that the other vocabulary has, byte for byte
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int32]
    classes: NDArray[np.int8]
    plain: NDArray[np.bool_]
    whole: NDArray[np.bool_]


class Tokens(NamedTuple):
    """One side's ids of several texts in a row: ids int32, and where each text begins, int64 [texts + 1]."""

    ids: NDArray[np.int32]
    at: NDArray[np.int64]


class SideTokens(NamedTuple):
    """One side's tokens of one text.

    ids int32; special bool; widths int64: bytes that each is the first to cover; spans int64 [n, 2]
    """

    ids: NDArray[np.int32]
    special: NDArray[np.bool_]
    widths: NDArray[np.int64]
    spans: NDArray[np.int64]


class Tables(NamedTuple):
    """int64 [scripts or classes, groups of texts, fields]."""

    scripts: NDArray[np.int64]
    student: NDArray[np.int64]
    teacher: NDArray[np.int64]


# Numba reads the types in its cache before it sees that the cache is of an older file: it must find their former names.
Vocabulary, Side = VocabularyArrays, SideTokens


@njit(nogil=True)
def _ends(ids, first, last, side, text, begin, end, ends):  # type: ignore[no-untyped-def]
    """Where each token ends in a text that the tokens spell, into `ends`; -1 where they don't.

    Returns 1 where a blank stands before the text, as some tokenizers put there, else 0.
    """
    length = 0
    for k in range(first, last):
        size = side.start[ids[k] + 1] - side.start[ids[k]]
        if size == 0 or not side.plain[ids[k]]:
            return -1
        length += size
    blank = length - (end - begin)
    if blank != 0 and (blank != 1 or side.data[side.start[ids[first]]] != 32):
        return -1
    at = begin - blank
    for k in range(first, last):
        for place in range(side.start[ids[k]], side.start[ids[k] + 1]):
            if at >= begin and text[at] != side.data[place]:
                return -1
            at += 1
        ends[k - first] = at - begin
    return blank


@njit(nogil=True)
def read_characters(text, begin, end, words, scripts, of_byte, row):  # type: ignore[no-untyped-def]
    """Count characters and words of UTF-8 bytes into `row`, and put down the script of each byte's character."""
    inside = False
    at = begin
    while at < end:
        lead = text[at]
        if lead < 0x80:
            code, size = np.int64(lead), 1
        elif lead < 0xE0:
            code, size = np.int64(lead & 0x1F), 2
        elif lead < 0xF0:
            code, size = np.int64(lead & 0x0F), 3
        else:
            code, size = np.int64(lead & 0x07), 4
        for k in range(1, size):
            code = (code << 6) | np.int64(text[at + k] & 0x3F)
        script = scripts[code]
        for k in range(size):
            of_byte[at - begin + k] = script
        kind = words[code]
        if kind == LETTER or (kind == IN_WORD and not inside):
            row[_WORDS] += 1
        inside = kind == IN_WORD
        row[_CHARACTERS] += 1
        at += size


@njit(nogil=True, inline="always")
def _script(of_byte, low, high):  # type: ignore[no-untyped-def]
    """Script of the first letter in a range of bytes; numbers or signs without one."""
    found = SIGNS
    for at in range(low, high):
        if of_byte[at] > NUMBERS:
            return of_byte[at]
        if of_byte[at] == NUMBERS:
            found = NUMBERS
    return found


@njit(nogil=True, inline="always")
def _add_group(cell, n_student, n_teacher, width, equal, faces):  # type: ignore[no-untyped-def]
    """A group with two sides into the cell of its script; `width`: bytes that its student tokens cover."""
    cell[_GROUPS] += 1
    cell[_STUDENT] += n_student
    cell[_TEACHER] += n_teacher
    cell[_GROUPED] += n_student + n_teacher
    cell[_LARGEST] = max(cell[_LARGEST], n_student, n_teacher)
    cell[_BYTES] += width
    cell[_COVERED] += width
    if n_student == 1:
        cell[_1_1 if n_teacher == 1 else _1_N] += 1
    else:
        cell[_N_1 if n_teacher == 1 else _N_M] += 1
    if equal:
        cell[_EQUAL] += 1
        cell[_EQUAL_S] += n_student
    if faces:
        cell[_MATCHED] += width


@njit(nogil=True, inline="always")
def _add_token(token, side, table, bucket, own, whole, width, single, equal):  # type: ignore[no-untyped-def]
    """A token into its class, if it has one; returns whether the other vocabulary has it."""
    code = side.classes[token]
    if code >= 0:
        table[code, bucket, own] += 1
        table[code, bucket, _BYTES] += width
        table[code, bucket, _1_1] += single
        table[code, bucket, _EQUAL_S] += equal
        table[code, bucket, whole] += side.whole[token]
    return side.whole[token]


@njit(nogil=True)
def _add_side(tokens, first, last, side, table, bucket, own, whole, single, equal):  # type: ignore[no-untyped-def]
    """As `_add_tokens`, where tokens have widths of their own and special ones don't count."""
    found = 0
    for k in range(first, last):
        if not tokens.special[k]:
            found += _add_token(tokens.ids[k], side, table, bucket, own, whole, tokens.widths[k], single, equal)
    return found


@njit(nogil=True)
def _add_tokens(ids, side, ends, facing, table, scripts, bucket, own, whole):  # type: ignore[no-untyped-def]
    """All tokens of one side of a text into their classes; returns how many the other vocabulary has.

    facing  int8 [n, 2]: script of each token's group, -1 for a token that faces nothing; whether it faces one alone
    """
    found = begin = 0
    for k in range(len(ids)):
        equal = np.int64(facing[k, 0] >= 0)
        same = _add_token(ids[k], side, table, bucket, own, whole, ends[k] - begin, facing[k, 1], equal)
        begin = ends[k]
        if equal:
            scripts[facing[k, 0], bucket, whole] += same
        found += same
    return found


@njit(nogil=True)
def count_texts(text, text_at, buckets, student, teacher, own, other, words, scripts, rows, tables):  # type: ignore[no-untyped-def]
    """Count texts whose tokens, on both sides, spell them byte for byte; bool [texts]: those that were counted.

    text uint8, text_at int64 [n + 1]: texts in a row; buckets int64 [n]; student, teacher: Tokens; own, other: the
    VocabularyArrays of each. rows int64 [n, fields] receives the sums of each text, `tables` those by script and class.
    Groups lie between common ends: where both sides tile the text, these are the components of overlap.
    """
    done = np.zeros(len(buckets), np.bool_)
    longest = 1
    for n in range(len(buckets)):
        longest = max(longest, text_at[n + 1] - text_at[n])
    of_byte = np.empty(longest, np.uint8)
    s_ends, t_ends = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    s_facing, t_facing = np.empty((longest + 1, 2), np.int8), np.empty((longest + 1, 2), np.int8)
    for n in range(len(buckets)):
        begin, end = text_at[n], text_at[n + 1]
        s0, s1, t0, t1 = student.at[n], student.at[n + 1], teacher.at[n], teacher.at[n + 1]
        if s1 - s0 > end - begin + 1 or t1 - t0 > end - begin + 1 or s0 == s1 or t0 == t1:
            continue
        if _ends(student.ids, s0, s1, own, text, begin, end, s_ends) < 0:
            continue
        if _ends(teacher.ids, t0, t1, other, text, begin, end, t_ends) < 0:
            continue
        done[n] = True
        row, bucket = rows[n], buckets[n]
        read_characters(text, begin, end, words, scripts, of_byte, row)
        s_ids, t_ids = student.ids[s0:s1], teacher.ids[t0:t1]
        row[_TEXTS] = 1
        row[_BYTES] = end - begin
        row[_STUDENT], row[_TEACHER] = s1 - s0, t1 - t0
        i = j = low = cuts = 0
        if s_ends[0] == 0:  # the blank before the text is a token of its own: it faces nothing
            row[_ALONE_S] = 1
            s_facing[0] = -1, 0
            i, cuts = 1, cuts + 1
        if t_ends[0] == 0:
            row[_ALONE_T] = 1
            t_facing[0] = -1, 0
            j, cuts = 1, cuts + 1
        while i < len(s_ids):
            i0, j0 = i, j
            s_end, t_end = s_ends[i], t_ends[j]
            i += 1
            j += 1
            while s_end != t_end:
                if s_end < t_end:
                    s_end = s_ends[i]
                    i += 1
                else:
                    t_end = t_ends[j]
                    j += 1
            script = _script(of_byte, low, s_end)
            _add_group(tables.scripts[script, bucket], i - i0, j - j0, s_end - low, True, True)
            single = i - i0 == 1 and j - j0 == 1
            for k in range(i0, i):
                s_facing[k, 0], s_facing[k, 1] = script, single
            for k in range(j0, j):
                t_facing[k, 0], t_facing[k, 1] = script, single
            row[_GROUPS] += 1
            row[_LARGEST] = max(row[_LARGEST], i - i0, j - j0)
            if i - i0 == 1:
                row[_1_1 if j - j0 == 1 else _1_N] += 1
            else:
                row[_N_1 if j - j0 == 1 else _N_M] += 1
            low = s_end
            cuts += 1
        row[_WHOLE_S] = _add_tokens(
            s_ids, own, s_ends, s_facing, tables.student, tables.scripts, bucket, _STUDENT, _WHOLE_S
        )
        row[_WHOLE_T] = _add_tokens(
            t_ids, other, t_ends, t_facing, tables.teacher, tables.scripts, bucket, _TEACHER, _WHOLE_T
        )
        row[_COVERED] = row[_MATCHED] = end - begin
        row[_GROUPED] = row[_STUDENT] + row[_TEACHER] - row[_ALONE_S] - row[_ALONE_T]
        row[_EQUAL] = row[_GROUPS]
        row[_EQUAL_S] = row[_STUDENT] - row[_ALONE_S]
        row[_CUTS], row[_COMMON] = 2 * (cuts - 1), cuts - 1
    return done


@njit(nogil=True)
def count_groups(groups, equal, faces, bucket, s, t, own, other, of_byte, row, tables):  # type: ignore[no-untyped-def]
    """What groups of any aligner add to scripts and classes, and the tokens that the other vocabulary has, into `row`.

    groups int32 [G, 4]; equal, faces bool [G]; s, t: the SideTokens of each; of_byte uint8: scripts. Special tokens
    count nowhere.
    """
    for g in range(len(groups)):
        s0, s1, t0, t1 = groups[g, 0], groups[g, 1], groups[g, 2], groups[g, 3]
        low, high = 2**62, 0
        n_student = n_teacher = width = 0
        for k in range(s0, s1):
            if not s.special[k]:
                n_student += 1
                width += s.widths[k]
                low, high = min(low, s.spans[k, 0]), max(high, s.spans[k, 1])
        for k in range(t0, t1):
            if not t.special[k]:
                n_teacher += 1
                if s0 == s1:
                    low, high = min(low, t.spans[k, 0]), max(high, t.spans[k, 1])
        two_sided = n_student > 0 and n_teacher > 0
        cell = np.zeros(len(row), np.int64)
        if low < high:
            cell = tables.scripts[_script(of_byte, low, high), bucket]
            if two_sided:
                _add_group(cell, n_student, n_teacher, width, equal[g], faces[g])
            else:
                cell[_STUDENT] += n_student
                cell[_TEACHER] += n_teacher
                cell[_BYTES] += width
        single = np.int64(n_student == 1 and n_teacher == 1)
        same = np.int64(two_sided and equal[g])
        found = _add_side(s, s0, s1, own, tables.student, bucket, _STUDENT, _WHOLE_S, single, same)
        cell[_WHOLE_S] += found
        row[_WHOLE_S] += found
        found = _add_side(t, t0, t1, other, tables.teacher, bucket, _TEACHER, _WHOLE_T, single, same)
        cell[_WHOLE_T] += found
        row[_WHOLE_T] += found
