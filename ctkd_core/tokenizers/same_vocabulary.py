"""Whether two tokenizers give the same meaning to every id, as distillation without a map needs it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer


@lru_cache(maxsize=16)
def vocabulary_difference(student: Tokenizer, teacher: Tokenizer) -> str:
    """ "" where both tokenizers give every id to the same token, else a sentence that says how they differ."""
    if student is teacher or student.fingerprint == teacher.fingerprint:
        return ""
    mine, theirs = (t.backend.get_vocab(with_added_tokens=True) for t in (student, teacher))
    if mine == theirs:
        return ""
    other = [token for token, index in mine.items() if theirs.get(token) != index]
    token = min(other, key=mine.__getitem__) if other else min(theirs.keys() - mine.keys(), key=theirs.__getitem__)
    places = " and ".join(
        f"{'no id' if ids.get(token) is None else f'id {ids[token]}'} in {tokenizer.name!r}"
        for ids, tokenizer in ((mine, student), (theirs, teacher))
    )
    return (
        f"{student.name!r} ({len(mine):,} tokens) and {teacher.name!r} ({len(theirs):,} tokens) differ, for one token "
        f"{token!r} has {places}. Choose a method for different tokenizers."
    )
