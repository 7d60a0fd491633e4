"""Tokenizers, encodings and single tokens on one line, and as HTML for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctkd_core.markup import blocks
from ctkd_core.markup.colours import GREY
from ctkd_core.markup.visible import counted, hex_bytes, one_line, shorten, visible, visible_bytes
from ctkd_core.tokenizers.roles import ROLES

if TYPE_CHECKING:
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MAX_TOKENS = 200  # of an encoding's card
MAX_NAME = 60
MAX_CHIP = 48  # characters of a token in a box


def token_text(tokenizer: Tokenizer, token_id: int, limit: int = 60) -> str:
    """A token with visible spaces and bytes; "∅" for an id without text."""
    if token_id >= tokenizer.n_ids:
        return "∅ (padding of the logits)"
    return shorten(visible_bytes(tokenizer.token_bytes(token_id)), limit) or "∅"


def token_chip(encoding: Encoding, index: int, colour: str, border: str) -> str:
    """One token of an encoding in a box; a hover tells its place, id and bytes."""
    data = encoding.token_bytes[index]
    title = f"token {index}, id {int(encoding.ids[index])}, bytes {hex_bytes(data) or 'none'}"
    return blocks.chip(shorten(visible_bytes(data), MAX_CHIP), colour, border, title)


def encoding_line(encoding: Encoding) -> str:
    """What it is, in one line without arrays."""
    name, text = shorten(one_line(encoding.tokenizer), MAX_NAME), shorten(one_line(encoding.text), MAX_NAME)
    return f"<Encoding {name}: {counted(len(encoding), 'token')}, {counted(encoding.n_bytes, 'byte')} of {text!r}>"


def encoding_card(encoding: Encoding) -> str:
    """The tokens in their boxes, special ones with a dashed border."""
    chips = "".join(
        token_chip(encoding, i, GREY, "dashed" if encoding.special[i] else "solid")
        for i in range(min(len(encoding), MAX_TOKENS))
    )
    more = len(encoding) - MAX_TOKENS
    return blocks.card(
        f"{shorten(encoding.tokenizer, MAX_NAME)}: {counted(len(encoding), 'token')}, "
        f"{counted(encoding.n_bytes, 'byte')}",
        f'<div class="rows">{chips}</div>',
        *([blocks.note(f"{counted(more, 'more token')} {'is' if more == 1 else 'are'} not drawn.")] * (more > 0)),
        *map(blocks.note, encoding.notes),
    )


def tokenizer_line(tokenizer: Tokenizer) -> str:
    """What it is, in one line."""
    name = shorten(one_line(tokenizer.name), MAX_NAME)
    licence = f", {shorten(one_line(tokenizer.licence), MAX_NAME)}" if tokenizer.licence else ""
    return f"<Tokenizer {name}: {tokenizer.kind}, {counted(tokenizer.vocab_size, 'token')}{licence}>"


def tokenizer_card(tokenizer: Tokenizer) -> str:
    """Kind, size, roles, licence, and the warnings that are known; slow checks aren't started."""
    return blocks.card(
        tokenizer.name,
        blocks.facts(
            {
                "kind": tokenizer.kind,
                "tokens": tokenizer.vocab_size,
                "special tokens": len(tokenizer.special_ids),
                **{role.upper(): _role(tokenizer, getattr(tokenizer, f"{role}_id")) for role in ROLES},
                "chat template": "yes" if tokenizer.chat_template else "no",
                "licence": tokenizer.licence,
                "source": tokenizer.source,
            }
        ),
        *_warnings(tokenizer),
    )


def _role(tokenizer: Tokenizer, token_id: int | None) -> str:
    if token_id is None:
        return "none"
    return f"{visible(tokenizer.backend.id_to_token(token_id) or '')} (id {token_id})"


def _warnings(tokenizer: Tokenizer) -> list[str]:
    known = vars(tokenizer).get("warnings")  # what the cached property has found, if anybody asked
    if known is None and tokenizer.check is not None:
        return [blocks.note("Not checked yet: `tokenizer.warnings` compares it with what transformers would load.")]
    return [blocks.note(f"Warning: {sentence}") for sentence in known or ()]
