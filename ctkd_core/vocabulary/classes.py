"""Classes of tokens by what they spell, and the audit: how many tokens of each class a map gets right.

X-Token's rule for choosing a loss rests on this audit (arXiv 2605.21699: 2-digit and 3-digit numbers of Llama 3 that
Qwen3 has: 0 of 100 and 0 of 1,000). The classes are ours, made so that digit classes count exactly the numbers
0..9, 00..99 and 000..999.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError
from ctkd_core.files.sized_cache import MIB, sized_cache

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

CLASSES = ("digits_1", "digits_2", "digits_3", "letters", "punctuation", "whitespace", "multibyte", "special", "other")
NO_TEXT = -1  # the class of ids that the vocabulary leaves out
LEAST_TOKENS = 10  # of a class that is worth a look: the digits are as many

# The first that fits counts. A leading space is set aside for letters and punctuation; for digits it is not: " 2" is
# another token than "2", and counting both would make 20 of the ten digits.
_PATTERN = re.compile(
    rb"(?P<digits_3>[0-9]{3})|(?P<digits_2>[0-9]{2})|(?P<digits_1>[0-9])"
    rb"|(?P<letters> ?[A-Za-z]+)|(?P<whitespace>\s+)|(?P<punctuation> ?[!-/:-@\[-`{-~]+)"
    rb"|(?P<multibyte>[\x00-\x7f]*[\x80-\xff](?s:.*))"
)
_CODES = {name: code for code, name in enumerate(CLASSES)}


def token_class(data: bytes) -> str:
    """The class of a token that isn't special and stands for `data` (not empty)."""
    found = _PATTERN.fullmatch(data)
    return (found.lastgroup if found else None) or "other"


@sized_cache(16 * MIB)
def token_classes(tokenizer: Tokenizer) -> NDArray[np.int8]:
    """int8 [n_ids]: index into CLASSES, -1 for ids without text. Read-only, kept per tokenizer.

    Byte-fallback tokens for ASCII ("<0x31>" beside "1") are "other": they only stand in where the character is missing.
    """
    table = tokenizer.all_token_bytes()
    codes = np.fromiter(
        (_CODES[token_class(data)] if data else NO_TEXT for data in table), dtype=np.int8, count=len(table)
    )
    if tokenizer.kind == "sentencepiece":
        fallback = (tokenizer.id_of(f"<0x{byte:02X}>") for byte in range(0x80))
        codes[[token_id for token_id in fallback if token_id is not None]] = _CODES["other"]
    codes[list(tokenizer.special_ids)] = _CODES["special"]
    codes.flags.writeable = False
    return codes


def audit(tokenizer: Tokenizer, matched: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Per class {"total": tokens, "matched": those with `matched` (bool [n_ids])}, in the order of CLASSES.

    Raises ProjectionError when `matched` has another length than the tokenizer has ids.
    """
    if matched.shape != (tokenizer.n_ids,):
        raise ProjectionError(
            f"`matched` has shape {list(matched.shape)}, but {tokenizer.name!r} has {tokenizer.n_ids} ids; "
            "give one entry an id."
        )
    codes = token_classes(tokenizer)
    kept = codes != NO_TEXT
    totals = np.bincount(codes[kept], minlength=len(CLASSES))
    hits = np.bincount(codes[kept & matched], minlength=len(CLASSES))
    return {name: {"total": int(totals[i]), "matched": int(hits[i])} for i, name in enumerate(CLASSES)}


def most_lost(audit: Mapping[str, Mapping[str, int]]) -> str | None:
    """The class of which a map says the smallest share by one teacher token, of equal shares the one with more tokens.

    audit: what `audit` gives. Special tokens, which no text holds, and classes of fewer than 10 tokens don't
    count. None when nothing is lost.
    """
    lost = {
        name: (1 - counts["matched"] / counts["total"], counts["total"])
        for name, counts in audit.items()
        if name != "special" and counts["total"] >= LEAST_TOKENS and counts["matched"] < counts["total"]
    }
    return max(lost, key=lambda name: lost[name], default=None)
