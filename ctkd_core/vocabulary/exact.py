"""Exact map: tokens that say the same, by bytes, canonical form or vocabulary string; special tokens by role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.vocabulary.projection import CANONICAL, EXACT, ROLE, Projection, from_entries

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MATCHES = ("bytes", "canonical", "raw")
_ROLES = ("eos_id", "bos_id", "pad_id")  # in this order: padding is often the same token as EOS


def project_exact(
    student: Tokenizer, teacher: Tokenizer, *, match: str = "bytes", progress: Progress = silent
) -> Projection:
    """Each student token to the teacher token that says the same; weight 1, other rows stay empty.

    match  "bytes": equal bytes, so "Ġthe" of a byte-level vocabulary equals "▁the" of SentencePiece; special tokens
           never match by spelling, only by role (EOS to EOS); of several ids with equal bytes the one that the
           tokenizer writes matches, on both sides
           "canonical": then also equal canonical forms (see `canonical`): " ." to ".", chat markers of equal role
           "raw": equal vocabulary strings, special ones included, and nothing else
    """
    found, reason = exact_matches(student, teacher, match)
    progress(0.8, "Writing the map")
    rows = np.flatnonzero(found >= 0)
    shape = (student.n_ids, teacher.n_ids)
    matrix, reasons = from_entries(rows, found[rows], np.ones(len(rows)), reason[rows], shape)
    return Projection(matrix, reasons, "exact", student, teacher, {"match": match})


def exact_matches(
    student: Tokenizer, teacher: Tokenizer, match: str = "bytes"
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """For every student id its teacher id (int64 [Vs], -1 without one) and the reason (uint8 [Vs]).

    Under one tokenizer every id with a text is itself, special tokens and duplicates too. Raises ProjectionError for an
    unknown `match`.
    """
    if match not in MATCHES:
        raise unknown("way to match", match, MATCHES, ProjectionError)
    if student.fingerprint == teacher.fingerprint:
        own = np.arange(student.n_ids, dtype=np.int64)
        written = np.fromiter((bool(b) for b in student.all_token_bytes()), dtype=np.bool_, count=student.n_ids)
        return np.where(written, own, -1), np.full(student.n_ids, EXACT, dtype=np.uint8)
    if match == "raw":
        ids_of = {teacher.token(i): i for i in range(teacher.n_ids - 1, -1, -1)}
        ids_of.pop("", None)
        found = [ids_of.get(student.token(i), -1) for i in range(student.n_ids)]
        return np.array(found, dtype=np.int64).reshape(-1), np.full(student.n_ids, EXACT, dtype=np.uint8)
    matched, reason = _by_bytes(student, teacher)
    if match == "canonical":
        _by_form(student, teacher, matched, reason)
    return matched, reason


def _by_bytes(student: Tokenizer, teacher: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    ids_of = ids_by_bytes(teacher)
    match = np.fromiter((ids_of.get(b, -1) for b in student.all_token_bytes()), dtype=np.int64, count=student.n_ids)
    match[list(student.special_ids | student.doubles.keys())] = -1
    reason = np.full(student.n_ids, EXACT, dtype=np.uint8)
    done: set[int] = set()
    for role in _ROLES:
        own, other = getattr(student, role), getattr(teacher, role)
        if own is not None and other is not None and own not in done:
            match[own], reason[own] = other, ROLE
            done.add(own)
    return match, reason


def _by_form(student: Tokenizer, teacher: Tokenizer, match: NDArray[np.int64], reason: NDArray[np.uint8]) -> None:
    """Fill what `match` leaves open (-1) by canonical form; `match` and `reason` [Vs] are changed."""
    from ctkd_core.tokenizers.canonical import canonical_bytes, canonical_table

    forms = canonical_table(teacher)
    plain: dict[str, int] = {}
    other: dict[str, int] = {}
    for data, index in ids_by_bytes(teacher).items():
        # "." itself before " .", which has the same form.
        side = plain if data.decode("utf-8", "surrogateescape") == forms[index] else other
        side.setdefault(forms[index], index)
    # A special token whose form isn't its text has the form of its role.
    specials = ((i, canonical_bytes(teacher.token_bytes(i))) for i in sorted(teacher.special_ids, reverse=True))
    roles = {forms[i]: i for i, text in specials if forms[i] != text}
    of_form = other | plain
    own, special, table = canonical_table(student), student.special_ids, student.all_token_bytes()
    for index in np.flatnonzero(match < 0).tolist():
        if not table[index] or index in student.doubles:
            continue
        ids_of, why = (roles, ROLE) if index in special else (of_form, CANONICAL)
        found = ids_of.get(own[index])
        if found is not None:
            match[index], reason[index] = found, why


def ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Id of the token that spells given bytes. Of several: the one the tokenizer writes (see `Tokenizer.doubles`).

    Special tokens and ids that the vocabulary leaves out aren't in it.
    """
    left_out = tokenizer.special_ids | tokenizer.doubles.keys()
    table = tokenizer.all_token_bytes()
    ids = {table[i]: i for i in range(len(table) - 1, -1, -1) if i not in left_out}  # "at" and "##at": the lowest id
    ids.pop(b"", None)
    return ids
