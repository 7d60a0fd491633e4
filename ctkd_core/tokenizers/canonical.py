"""Canonical forms: what a token says once the spelling habits of its vocabulary are set aside.

"Ġthe" of a byte-level vocabulary and "▁the" of SentencePiece both say " the"; "<0x0A>" and "Ċ" both say a newline.
Forms are for comparing only: to cut a token's text again, use its bytes, never its form.
Source: X-Token, arXiv 2605.21699, the canon of its exact pass. Differs: a form is made from the token's bytes, so that
characters outside ASCII compare too ("Ã©" of a byte-level vocabulary is "é"); a leading "_" and tabs stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctkd_core.errors import TokenizerError
from ctkd_core.files.sized_cache import MIB, sized_cache
from ctkd_core.tokenizers.token_bytes import token_bytes_from_strings

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# One space before nothing but ASCII punctuation: " ." says the same as ".".
_SPACED_PUNCTUATION = re.compile(r" [!-/:-@\[-`{-~]+")
_ROLES = ("bos_id", "eos_id", "pad_id")
# Chat markers of the same role: the opening and the end of a turn.
_TURN_START = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start|>", "[INST]")
_TURN_END = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]")
_CHAT_ROLES = dict.fromkeys(_TURN_START, "turn_start") | dict.fromkeys(_TURN_END, "turn_end")
_ROLE_MARK = "\0"  # no token that can be typed has a form that begins with it


def canonical(token: str, kind: str) -> str:
    """Canonical form of one vocabulary string of a tokenizer of this `kind` (one of `token_bytes.KINDS`).

    Space and newline marks and "<0xHH>" become what they stand for, a space before punctuation goes. The released rule
    that a written backslash and n is a newline isn't followed: in code these are different texts. Bytes that aren't
    whole UTF-8 become lone surrogates (PEP 383), so different bytes keep different forms. A form is its own form:
    canonical(form, "other") == form. Raises TokenizerError for an unknown kind and for other lone surrogates.
    """
    try:
        data = token_bytes_from_strings((token,), kind)[0]
    except UnicodeEncodeError:
        data = _escaped(token)
    return canonical_bytes(data)


def _escaped(form: str) -> bytes:
    """Bytes of a form that holds bytes outside UTF-8 as lone surrogates."""
    try:
        return form.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as fault:
        raise TokenizerError(
            f"token {form!r} holds the lone surrogate U+{ord(form[fault.start]):04X}, which stands for no byte; "
            "remove it from the vocabulary."
        ) from None


def canonical_bytes(data: bytes) -> str:
    """Canonical form of a token that stands for `data`."""
    form = data.decode("utf-8", "surrogateescape")
    if form.startswith(" ") and _SPACED_PUNCTUATION.fullmatch(form):
        return form[1:]
    return form


@sized_cache(128 * MIB)
def canonical_table(tokenizer: Tokenizer) -> list[str]:
    """Canonical form of every id, [n_ids]; "" for ids that the vocabulary leaves out. Don't change the list.

    BOS, EOS, padding and the chat markers have the form of their role, the same in every tokenizer; a token with two
    roles has the first. Takes about 0.1 s for 150,000 tokens, once per tokenizer.
    """
    table = [canonical_bytes(data) for data in tokenizer.all_token_bytes()]
    for token_id in tokenizer.special_ids:
        role = _CHAT_ROLES.get(tokenizer.token(token_id))
        if role:
            table[token_id] = _ROLE_MARK + role
    for name in reversed(_ROLES):
        token_id = getattr(tokenizer, name)
        if token_id is not None and 0 <= token_id < len(table):
            table[token_id] = _ROLE_MARK + name.removesuffix("_id")
    return table
