"""Exact map: tokens of equal bytes, and special tokens of equal role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.vocabulary.projection import EXACT, ROLE, Projection, from_entries

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer

_ROLES = ("eos_id", "bos_id", "pad_id")  # in this order: padding is often the same token as EOS


def project_exact(student: Tokenizer, teacher: Tokenizer) -> Projection:
    """Each student token to the teacher token that spells the same bytes; weight 1.

    Bytes are compared, not vocabulary strings: "Ġthe" of a byte-level vocabulary equals "▁the" of SentencePiece.
    Special tokens never match by spelling, only by role (EOS to EOS).
    """
    match, reason = exact_matches(student, teacher)
    rows = np.flatnonzero(match >= 0)
    matrix, reasons = from_entries(rows, match[rows], np.ones(len(rows)), reason[rows], (student.n_ids, teacher.n_ids))
    return Projection(matrix, reasons, "exact", student, teacher)


def exact_matches(student: Tokenizer, teacher: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """For every student id its teacher id (int64 [Vs], -1 without one) and the reason (uint8 [Vs])."""
    ids_of = ids_by_bytes(teacher)
    match = np.fromiter((ids_of.get(b, -1) for b in student.all_token_bytes()), dtype=np.int64, count=student.n_ids)
    match[list(student.special_ids)] = -1
    reason = np.full(student.n_ids, EXACT, dtype=np.uint8)
    done: set[int] = set()
    for role in _ROLES:
        own, other = getattr(student, role), getattr(teacher, role)
        if own is not None and other is not None and own not in done:
            match[own], reason[own] = other, ROLE
            done.add(own)
    return match, reason


def ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Id of the token that spells given bytes. Of several: the one the tokenizer uses, not its byte fallback.

    Special tokens and ids that the vocabulary leaves out aren't in it.
    """
    table = tokenizer.all_token_bytes()
    ids = dict(zip(reversed(table), range(len(table) - 1, -1, -1)))  # the lowest id wins
    if tokenizer.kind == "sentencepiece":
        for byte in range(128):
            # "<0x41>" only stands in where "A" itself is missing, although its id is lower.
            plain = tokenizer.id_of(chr(byte) if byte != 0x20 else "\u2581")
            if plain is not None:
                ids[bytes([byte])] = plain
    for special in tokenizer.special_ids:
        spelled = table[special]
        if ids.get(spelled) == special:
            del ids[spelled]
    ids.pop(b"", None)
    return ids
