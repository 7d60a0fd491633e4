"""Encoding of pieces: a text as it stands in the middle of a sentence, byte for byte.

Vocabulary maps and token migration re-encode single tokens of one model for the other. A tokenizer's own `encode`
treats every text as the beginning of a document (SentencePiece adds a space before it), and text can't hold half a
character; both would change what the token says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.tokenizers.token_bytes import byte_alphabet

if TYPE_CHECKING:
    import tokenizers

    from ctkd_core.tokenizers.tokenizer import Tokenizer

# One well-formed UTF-8 character or one stray byte (Unicode standard, table 3-7).
_CHARACTER = re.compile(
    rb"((?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})+)"
    rb"|(.)",
    re.DOTALL,
)


class PieceEncoder:
    """Encodes byte strings with one tokenizer, without what it adds at the beginning of a text."""

    def __init__(self, tokenizer: Tokenizer):
        self._kind = tokenizer.kind
        self._middle = _without_prefix(tokenizer)
        self._alphabet = byte_alphabet()
        names = self._alphabet if self._kind == "byte-level" else [f"<0x{b:02X}>" for b in range(256)]
        self._byte_ids = [self._middle.token_to_id(name) for name in names]
        self._unknown = [] if tokenizer.unk_id is None else [tokenizer.unk_id]

    def encode(self, pieces: Sequence[bytes]) -> list[list[int]]:
        """Ids of each piece, [len(pieces)] lists; a byte that the vocabulary can't spell becomes its unknown token."""
        texts: list[str] = []
        broken: list[int] = []
        for i, piece in enumerate(pieces):
            try:
                texts.append(piece.decode())
            except UnicodeDecodeError:
                texts.append("")
                broken.append(i)
        result = [e.ids for e in self._middle.encode_batch_fast(texts, add_special_tokens=False)]
        for i in broken:
            result[i] = self._broken(pieces[i])
        return result

    def _broken(self, piece: bytes) -> list[int]:
        if self._kind == "byte-level":
            # Merges work on bytes, so the model itself can take them; only the cut into words needs whole characters.
            return [t.id for t in self._middle.model.tokenize("".join(self._alphabet[b] for b in piece))]
        ids: list[int] = []
        for whole, stray in _CHARACTER.findall(piece):
            if whole:
                ids += self._middle.encode(whole.decode(), add_special_tokens=False).ids
            else:
                byte = self._byte_ids[stray[0]]
                ids += self._unknown if byte is None else [byte]
        return ids


def _without_prefix(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A second tokenizer around the same vocabulary (shared, not copied) that adds nothing before a text."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    spec = tokenizer.spec
    shell = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {}, "merges": []},
        "normalizer": _drop(spec.get("normalizer"), {"Prepend"}),
        "pre_tokenizer": _no_prefix_space(spec.get("pre_tokenizer")),
        "post_processor": None,
        "decoder": None,
    }
    parsed = Backend.from_str(json.dumps(shell))
    middle = Backend(tokenizer.backend.model)
    if parsed.normalizer is not None:
        middle.normalizer = parsed.normalizer
    if parsed.pre_tokenizer is not None:
        middle.pre_tokenizer = parsed.pre_tokenizer
    own = [t for t in spec["added_tokens"] if not t.get("special") and middle.token_to_id(t["content"]) == t["id"]]
    middle.add_tokens([AddedToken(t["content"], normalized=bool(t.get("normalized")), special=False) for t in own])
    return middle


def _drop(node: Any, types: set[str]) -> Any:
    if not isinstance(node, dict):
        return node
    if node.get("type") in types:
        return None
    if "normalizers" in node:
        return node | {"normalizers": [n for child in node["normalizers"] if (n := _drop(child, types)) is not None]}
    return node


def _no_prefix_space(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if "pretokenizers" in node:
        return node | {"pretokenizers": [_no_prefix_space(child) for child in node["pretokenizers"]]}
    if node.get("type") == "ByteLevel":
        return node | {"add_prefix_space": False}
    if node.get("type") == "Metaspace":
        return {k: v for k, v in node.items() if k != "add_prefix_space"} | {"prepend_scheme": "never"}
    return node
