"""Encoding of pieces: a text as it stands in the middle of a sentence, byte for byte.

Vocabulary maps and token migration re-encode single tokens of one model for the other. A tokenizer's own `encode`
treats every text as the beginning of a document (SentencePiece adds a space before it), and text can't hold half a
character; both would change what the token says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ctkd_core.tokenizers.token_bytes import SPACE_MARK, byte_alphabet

if TYPE_CHECKING:
    import tokenizers

    from ctkd_core.tokenizers.tokenizer import Tokenizer

MOST_DUMMIES = 4096  # ids that may be passed over
# One well-formed UTF-8 character or one stray byte (Unicode standard, table 3-7).
_CHARACTER = re.compile(
    rb"((?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})+)"
    rb"|(.)",
    re.DOTALL,
)


class PieceEncoder:
    """Encodes texts and byte strings with one tokenizer, without what it adds at the beginning of a text.

    Added tokens are found as the tokenizer finds them (`single_word`, `lstrip`, `rstrip`, `normalized`). Special ones
    are not: in the middle of a text their spelling is text.
    """

    def __init__(self, tokenizer: Tokenizer, model: Any = None):
        """`model`: instead of the tokenizer's own."""
        self._tokenizer = tokenizer
        self._kind = tokenizer.kind
        self._middle, self._renamed = _shell(tokenizer, False, model)
        self._whole: tokenizers.Tokenizer | None = None
        self._whole_renamed: dict[int, int] = {}
        if _adds_prefix(tokenizer.spec):
            self._whole, self._whole_renamed = _shell(tokenizer, True, model)
        self._special = (tokenizer.special_ids - {tokenizer.unk_id}) if model is None else frozenset()
        # Stretches of a text have ends of their own, which a whole text doesn't trim.
        self._rewriter = _parsed(
            {"normalizer": _drop(tokenizer.spec.get("normalizer"), {"Prepend", "Strip", "ByteLevel"})}
        ).normalizer
        self._added = {t["id"] for t in _own(tokenizer)}
        self._alphabet = byte_alphabet()
        self._unknown = [] if tokenizer.unk_id is None else [tokenizer.unk_id]
        names = self._alphabet if self._kind == "byte-level" else [f"<0x{b:02X}>" for b in range(256)]
        fallback = self._kind == "byte-level" or bool(tokenizer.spec["model"].get("byte_fallback"))
        self._byte_ids = [self._middle.token_to_id(name) if fallback else None for name in names]

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
        result = [_named(e.ids, self._renamed) for e in self._middle.encode_batch_fast(texts, add_special_tokens=False)]
        if self._whole is not None:
            for i in [i for i, ids in enumerate(result) if not self._added.isdisjoint(ids)]:
                found, anew = (e.encode(texts[i], add_special_tokens=False) for e in (self._middle, self._whole))
                result[i] = self._found_by_both(found, anew)
        for i in broken:
            result[i] = self._broken(pieces[i])
        for i in [i for i, ids in enumerate(result) if not self._special.isdisjoint(ids)]:
            result[i] = self._speller.encode([pieces[i]])[0]
        return result

    def encode_text(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text that goes on behind another one, and the code points of each, half-open.

        Behind an added token inside the text the tokenizer begins anew, with the blank that it may put there.
        """
        found = self._middle.encode(text, add_special_tokens=False)
        ids, offsets = _named(found.ids, self._renamed), list(found.offsets)
        if not self._special.isdisjoint(ids):
            return self._speller.encode_text(text)
        if self._whole is None or self._added.isdisjoint(ids):
            return ids, offsets
        anew = self._whole.encode(text, add_special_tokens=False)
        later = _named(anew.ids, self._whole_renamed)
        ids = self._found_by_both(found, anew)
        if self._added.isdisjoint(ids):
            return ids, offsets
        if not self._special.isdisjoint(later):
            return self._speller.encode_text(text)
        first = next(k for k, index in enumerate(ids) if index in self._added)
        start = offsets[first][0]
        # Its end, not its beginning: how many blanks a token takes before it depends on what is put before the text.
        behind = (k for k, index in enumerate(later) if index in self._added and anew.offsets[k][1] > start)
        second = next(behind, len(later))
        return [*ids[:first], *later[second:]], [*offsets[:first], *anew.offsets[second:]]

    def _found_by_both(self, found: Any, anew: Any) -> list[int]:
        """Ids without added tokens that are pieces of the model: "▁cat" is such a piece, and the added "cat" too.

        found, anew  what is found in the middle of a text, and in a whole one, which tells them apart
        """
        later = zip(_named(anew.ids, self._whole_renamed), anew.offsets)
        ends = {(index, end) for index, (_, end) in later}
        piece = self._middle.model.id_to_token
        return [
            index if index == own or (index, end) in ends or piece(own) is None else own
            for index, own, (_, end) in zip(_named(found.ids, self._renamed), found.ids, found.offsets)
        ]

    def encode_beginning(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """As `encode_text`, of a text with nothing before it: with the blank that the tokenizer puts there."""
        if self._whole is None:
            return self.encode_text(text)
        found = self._whole.encode(text, add_special_tokens=False)
        ids = _named(found.ids, self._whole_renamed)
        return (ids, list(found.offsets)) if self._special.isdisjoint(ids) else self._speller.encode_beginning(text)

    @cached_property
    def _speller(self) -> PieceEncoder:
        """The same without the special tokens in the model's vocabulary, which some models find in a text."""
        return PieceEncoder(self._tokenizer, _without_special(self._tokenizer))

    def normalise(self, text: str) -> str:
        """What the normaliser makes of a stretch of text, blanks as blanks; nothing is put before it."""
        return text if self._rewriter is None else self._rewriter.normalize_str(text)

    def _broken(self, piece: bytes) -> list[int]:
        if self._kind == "byte-level":
            # Merges work on bytes, so the model itself can take them; only the cut into words needs whole characters.
            return [t.id for t in self._middle.model.tokenize("".join(self._alphabet[b] for b in piece))]
        ids: list[int] = []
        for whole, stray in _CHARACTER.findall(piece):
            if whole:
                ids += self.encode([whole])[0]
            else:
                byte = self._byte_ids[stray[0]]
                ids += self._unknown if byte is None else [byte]
        return ids


def _named(ids: list[int], renamed: dict[int, int]) -> list[int]:
    return [renamed.get(i, i) for i in ids] if renamed else ids


def _without_special(tokenizer: Tokenizer) -> Any:
    """A copy of the model in which special tokens have names that no text has; ids stay."""
    document = json.loads(tokenizer.backend.model.__getstate__())
    unknown = None if tokenizer.unk_id is None else tokenizer.token(tokenizer.unk_id)
    names = {name: f"\U0010fffe{i}" for i in tokenizer.special_ids if (name := tokenizer.token(i)) != unknown}
    vocabulary = document["vocab"]
    if isinstance(vocabulary, dict):
        document["vocab"] = {names.get(name, name): index for name, index in vocabulary.items()}
    else:  # Unigram: pieces with their scores
        document["vocab"] = [[names.get(name, name), score] for name, score in vocabulary]
    if "merges" in document:  # training makes such merges where its texts spell a special token
        skipped = len(document.get("continuing_subword_prefix") or "")
        document["merges"] = [
            pair for pair in document["merges"] if names.keys().isdisjoint((*pair, pair[0] + pair[1][skipped:]))
        ]
    return _parsed({"model": document}).model


def _own(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Added tokens that aren't special, by id."""
    return sorted((t for t in tokenizer.spec["added_tokens"] if not t.get("special")), key=lambda t: t["id"])


def _adds_prefix(spec: dict[str, Any]) -> bool:
    before, cut = spec.get("normalizer"), spec.get("pre_tokenizer")
    return _inside(before) != before or _no_prefix_space(cut) != cut


def _shell(tokenizer: Tokenizer, prefix: bool, model: Any) -> tuple[tokenizers.Tokenizer, dict[int, int]]:
    """A second tokenizer around the same vocabulary (shared, not copied), with or without the blank before a text.

    Its added tokens may have other ids than the tokenizer gives them: {its id: the tokenizer's id}.
    """
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    spec = tokenizer.spec
    before, cut = spec.get("normalizer"), spec.get("pre_tokenizer")
    parts: dict[str, Any] = {"normalizer": before, "pre_tokenizer": cut}
    if not prefix:
        parts = {"normalizer": _inside(before), "pre_tokenizer": _no_prefix_space(cut)}
        if _marks_words(cut):
            parts = _marking_blanks(parts)
    parsed = _parsed(parts)
    made = Backend(tokenizer.backend.model if model is None else model)
    if parsed.normalizer is not None:
        made.normalizer = parsed.normalizer
    if parsed.pre_tokenizer is not None:
        made.pre_tokenizer = parsed.pre_tokenizer
    own = _own(tokenizer)
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    # A normaliser that puts a blank before a text puts one before the tokens that are found in what it makes of a text.
    full = None if prefix or parts["normalizer"] == before else _parsed({"normalizer": before}).normalizer
    names = [full.normalize_str(t["content"]) if full and t.get("normalized") else t["content"] for t in own]
    tokens = [AddedToken(n, special=False, **{k: bool(t.get(k)) for k in flags}) for n, t in zip(names, own)]
    made.add_tokens(_around_taken(made, tokens))
    ids = {t["id"]: made.token_to_id(name) for name, t in zip(names, own)}
    return made, {index: true for true, index in ids.items() if index not in (None, true)}


def _parsed(parts: dict[str, Any]) -> tokenizers.Tokenizer:
    """A tokenizer of these parts; without a `model`, one without a vocabulary."""
    from tokenizers import Tokenizer as Backend

    rest = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return Backend.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **rest, **parts}))


def _around_taken(backend: tokenizers.Tokenizer, tokens: list[tokenizers.AddedToken]) -> list[tokenizers.AddedToken]:
    """`tokens` with dummies between them: where a vocabulary has holes, the library's next id may be a token's own."""
    from tokenizers import AddedToken

    model = backend.model
    following = backend.get_vocab_size(with_added_tokens=False)
    found, dummies = [], 0
    for token in tokens:
        if model.token_to_id(token.content) is None:
            while model.id_to_token(following) is not None and dummies < MOST_DUMMIES:
                dummies += 1
                found.append(AddedToken(f"\U0010fffd{dummies}\U0010fffd", normalized=False, special=False))
                following += 1
            following += 1
        else:
            following = max(following, int(model.token_to_id(token.content)) + 1)
        found.append(token)
    return found


def _drop(node: Any, types: set[str]) -> Any:
    if not isinstance(node, dict):
        return node
    if node.get("type") in types:
        return None
    if "normalizers" in node:
        return node | {"normalizers": [n for child in node["normalizers"] if (n := _drop(child, types)) is not None]}
    return node


def _inside(node: Any) -> Any:
    """A normaliser without what it does at the beginning of a text: nothing is put there, and no blank taken away."""
    node = _drop(node, {"Prepend"})
    if isinstance(node, dict) and node.get("type") == "Strip":
        return node | {"strip_left": False}
    if isinstance(node, dict) and "normalizers" in node:
        return node | {"normalizers": [_inside(child) for child in node["normalizers"]]}
    return node


def _marks_words(cut: Any) -> bool:
    """Whether blanks are dropped and a mark is put before each word instead (T5, XLM-R), not only before the text."""
    steps = cut.get("pretokenizers", []) if isinstance(cut, dict) else []
    return [step.get("type") for step in steps[:2]] == ["WhitespaceSplit", "Metaspace"]


def _marking_blanks(parts: dict[str, Any]) -> dict[str, Any]:
    """The same cut, with the marks made of the blanks, so that what goes on with a word has none."""
    one = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    # A word that begins with the mark as it is gets no other one.
    own = {"type": "Replace", "pattern": {"String": f" {SPACE_MARK}"}, "content": SPACE_MARK}
    # The last blank is taken away where texts are cut, for added tokens end them, too.
    last = {"type": "Split", "pattern": {"Regex": r" \z"}, "behavior": "Removed", "invert": False}
    before = [parts["normalizer"]] if parts["normalizer"] else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, one, own]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [last, *parts["pre_tokenizer"]["pretokenizers"][1:]]},
    }


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
