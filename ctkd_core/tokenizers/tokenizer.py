"""Tokenizer: what makes encodings, with the bytes of its vocabulary."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers import facts, growth
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.faults import library_faults
from ctkd_core.tokenizers.token_bytes import byte_spans, encode_text, token_bytes_from_strings

if TYPE_CHECKING:
    import tokenizers


_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer with the bytes of its vocabulary. Shared by all sessions: never change `backend`.

    kind  "byte-level" | "sentencepiece" | "wordpiece" | "other"
    spec  the parts of tokenizer.json other than the vocabulary (normalizer, pre_tokenizer, decoder, added_tokens, ...)
    """

    shared = True  # no field: `load` keeps it; a cache of what was made with it doesn't count it

    name: str
    backend: tokenizers.Tokenizer
    kind: str
    spec: dict[str, Any]
    source: str = ""
    licence: str = ""
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None
    chat_template: str | None = None
    named_templates: Mapping[str, str] = field(default_factory=dict)  # "default", "tool_use", "rag", ...
    end_ids: tuple[int, ...] = ()  # further ids at which texts of its model end, by the model's own configuration
    add_bos: bool = False  # whether tokenizer_config.json asks for BOS (`add_bos_token`)
    check: Callable[[], Sequence[str]] | None = None  # slow; run when warnings are asked for

    @classmethod
    def from_backend(cls, backend: tokenizers.Tokenizer, name: str, **details: Any) -> Tokenizer:
        """A Tokenizer around a `tokenizers.Tokenizer`; truncation, padding and dropout of merges are switched off.

        `details`: config (dict of tokenizer_config.json), and the fields of this class.
        """
        backend.no_truncation()
        backend.no_padding()
        if getattr(backend.model, "dropout", None):  # merges left out at random: for training, and never the same twice
            backend.model.dropout = None
        spec = facts.read_spec(backend)
        config = details.pop("config", None) or {}
        values: dict[str, Any] = {"name": name, "backend": backend, "spec": spec, "kind": facts.kind_of(spec)}
        templates = facts.chat_templates(config)
        values |= {"chat_template": templates.get("default"), "named_templates": templates}
        values["add_bos"] = config.get("add_bos_token") is True
        values |= facts.role_ids(backend, spec, config)
        values["end_ids"] = tuple(i for i in facts.model_ends(spec, config) if i != values["eos_id"])
        return cls(**(values | details))

    def __reduce__(self) -> tuple[Any, ...]:
        # Processes that align a corpus get their own copy; caches and checks stay behind.
        values = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "check"}
        return _rebuild, (values | {"backend": self.backend.to_str()},)

    def __repr__(self) -> str:
        from ctkd_core.tokenizers.display import tokenizer_line

        return tokenizer_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.tokenizers.display import tokenizer_card

        return tokenizer_card(self)

    @cached_property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def n_ids(self) -> int:
        """One more than the largest id: vocabularies may have holes, arrays by id need this many entries."""
        return max(self._vocabulary.values(), default=-1) + 1

    @cached_property
    def begins_with_bos(self) -> bool:
        """Whether this tokenizer puts BOS before a text by itself.

        Many vocabularies declare a BOS token that their models never saw at the start of a text (SmolLM2's is the
        opening of a chat turn).
        """
        if self.bos_id is None:
            return False
        return self.add_bos or self.encode("a", special_tokens=True).ids[:1].tolist() == [self.bos_id]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer.json as the library writes it: the same for equal tokenizers."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @cached_property
    def template_key(self) -> str:
        """The fingerprint with a hash of what the configuration says: how turns are written, how texts begin and end.

        Models with one tokenizer.json may differ in these.
        """
        ends = (self.bos_id, self.eos_id, self.add_bos, self.end_ids)
        written = repr((self.chat_template, sorted(self.named_templates.items()), ends))
        return f"{self.fingerprint} {hashlib.sha256(written.encode(errors='surrogatepass')).hexdigest()[:16]}"

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens that tokenizer.json declares special."""
        return frozenset(t["id"] for t in self.spec["added_tokens"] if t.get("special"))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about this source, e.g. that AutoTokenizer would cut texts differently.

        The first time for a new folder this starts transformers once (about 4 s); the result is kept on disk.
        """
        return tuple(self.check()) if self.check else ()

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return self.backend.get_vocab(with_added_tokens=True)

    @cached_property
    def _strings(self) -> list[str | None]:
        strings: list[str | None] = [None] * self.n_ids
        for token, index in self._vocabulary.items():
            strings[index] = token
        return strings

    @cached_property
    def _bytes(self) -> list[bytes]:
        table = token_bytes_from_strings((s or "" for s in self._strings), self.kind, facts.marks_of(self.spec))
        for added in self.spec["added_tokens"]:
            # Added tokens are found in the text as they are written; only SentencePiece decodes their space marks.
            if added.get("special") or self.kind != "sentencepiece":
                table[added["id"]] = added["content"].encode()
        return table

    @cached_property
    def doubles(self) -> dict[int, int]:
        """Ids whose bytes another id has too, and the id that counts: the one that the tokenizer itself writes.

        SentencePiece's "<0x31>" is the double of "1". Special tokens are no doubles, and neither are pieces that stand
        at another place of a word ("##at" beside "at", "at" beside "at</w>"): a tokenizer writes both. Where it writes
        none of them by itself, the lowest id that is no byte fallback counts.
        """
        special, strings, marks = self.special_ids, self._strings, facts.marks_of(self.spec)
        equal = {data for data, count in Counter(self._bytes).items() if data and count > 1}
        ids_of: dict[tuple[bytes, bool, bool], list[int]] = {}
        for index, data in enumerate(self._bytes):
            if data in equal and index not in special and (string := strings[index]) is not None:
                ids_of.setdefault((data, *marks.places(string)), []).append(index)
        several = [(data, ids) for (data, *_), ids in ids_of.items() if len(ids) > 1]
        found: dict[int, int] = {}
        for (_, ids), written in zip(several, self.encode_pieces([data for data, _ in several])):
            plain = [i for i in ids if strings[i] not in _BYTE_TOKENS or self.kind != "sentencepiece"]
            counts = written[0] if len(written) == 1 and written[0] in ids else (plain or ids)[0]
            found |= {i: counts for i in ids if i != counts}
        return dict(sorted(found.items()))

    @cached_property
    def _displays(self) -> list[str]:
        return [b.decode("utf-8", errors="backslashreplace") for b in self._bytes]

    @cached_property
    def _special_table(self) -> NDArray[np.bool_]:
        table = np.zeros(self.n_ids, dtype=np.bool_)
        table[list(self.special_ids)] = True
        return table

    @cached_property
    def _literal_table(self) -> NDArray[np.bool_]:
        """bool [n_ids]: tokens whose bytes may differ from the text they stand for."""
        table = np.zeros(self.n_ids, dtype=np.bool_)
        table[[t["id"] for t in self.spec["added_tokens"]]] = True
        if self.unk_id is not None:
            table[self.unk_id] = True
        return table

    def encode(self, text: str, special_tokens: bool = False) -> Encoding:
        """`text` (any length) as an Encoding; with `special_tokens`, what the tokenizer's template adds too.

        Raises TokenizerError for text that isn't valid Unicode.
        """
        encode_text(text)
        self._check_growth((text,))
        with library_faults(f"{self.name} can't encode this text"):
            raw = self.backend.encode(text, add_special_tokens=special_tokens)
        return self._encoding(text, raw.ids, raw.offsets, self._special_table)

    def encode_among_threads(self, text: str) -> Encoding:
        """`encode` without special tokens, for a process whose other threads go on meanwhile.

        The library's `encode` of one text holds the interpreter until it is through: seconds for a megabyte. Its batch
        lets it go, and starts threads of its own for that.
        """
        encode_text(text)
        self._check_growth((text,))
        with library_faults(f"{self.name} can't encode this text"):
            raw = self.backend.encode_batch([text], add_special_tokens=False)[0]
        return self._encoding(text, raw.ids, raw.offsets, self._special_table)

    def encode_continuation(self, text: str, behind: bool = True) -> Encoding:
        """`text` as it stands behind a prompt: no blank before it; special tokens in it are text, added ones tokens.

        behind  False: nothing stands before it, so that the blank is there which the tokenizer puts before texts

        Raises TokenizerError for text that isn't valid Unicode.
        """
        encode_text(text)
        self._check_growth((text,))
        with library_faults(f"{self.name} can't encode this text"):
            encoder = self._piece_encoder
            ids, offsets = encoder.encode_text(text) if behind else encoder.encode_beginning(text)
        return self._encoding(text, ids, offsets, np.zeros(self.n_ids, dtype=np.bool_))

    def _encoding(
        self, text: str, listed: list[int], offsets: Sequence[tuple[int, int]], special_table: NDArray[np.bool_]
    ) -> Encoding:
        ids = np.array(listed, dtype=np.int32)
        chars = np.fromiter(chain.from_iterable(offsets), dtype=np.int64, count=2 * len(ids)).reshape(-1, 2)
        token_bytes = list(map(self._bytes.__getitem__, listed))
        spans = byte_spans(text, chars, token_bytes, self.normalise, self._literal_table[ids] if listed else None)
        special = special_table[ids] if listed else np.zeros(0, dtype=np.bool_)
        if self.unk_id is not None:  # it stands for real text, so alignments need it
            special &= ~((ids == self.unk_id) & (spans[:, 0] < spans[:, 1]))
        encoding = Encoding(
            text=text,
            tokenizer=self.name,
            ids=ids,
            tokens=list(map(self._displays.__getitem__, listed)),
            token_bytes=token_bytes,
            spans=spans,
            char_spans=chars,
            special=special,
            kind=self.kind,
        )
        return replace(encoding, notes=facts.encoding_notes(self, encoding, text.encode()))

    def normalise(self, text: str) -> str:
        """What the tokens of a stretch of text spell together, without the blank that is put before a whole text."""
        with library_faults(f"{self.name} can't normalise this text"):
            made = self._piece_encoder.normalise(text)
        if self.kind == "sentencepiece":
            mark = facts.space_mark(self.spec)
            return made.replace(mark, " ") if mark in self._vocabulary else made
        # WordPiece's normaliser sets blanks around some characters, which belong to no token.
        return made.strip() or made if self.kind == "wordpiece" else made

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of many texts, without special tokens and without spans: the fast way. Raises TokenizerError."""
        listed = list(texts)
        for text in listed:
            encode_text(text, "a text")
        self._check_growth(listed)
        with library_faults(f"{self.name} can't encode a text of the batch"):
            return [e.ids for e in self.backend.encode_batch_fast(listed, add_special_tokens=False)]

    def encode_pieces(self, texts: Iterable[bytes | str]) -> list[list[int]]:
        """Ids of texts as they stand in the middle of a sentence: no dummy prefix space, leading spaces kept.

        Bytes that aren't whole UTF-8 become single-byte tokens (or merged ones in byte-level BPE), never U+FFFD.
        """
        pieces = [encode_text(t, "a piece") if isinstance(t, str) else t for t in texts]
        self._check_growth(piece.decode(errors="replace") for piece in pieces if len(piece) > growth.SHORT)
        with library_faults(f"{self.name} can't encode a piece"):
            return self._piece_encoder.encode(pieces)

    @cached_property
    def _growth(self) -> float:
        return growth.normaliser_growth(self.spec.get("normalizer"))

    def _check_growth(self, texts: Iterable[str]) -> None:
        """Raise TokenizerError for texts that the normaliser makes far longer; most need no trial."""
        growth.check_text(texts, self.backend.normalizer, self._growth, self.name)

    @cached_property
    def _piece_encoder(self) -> Any:
        from ctkd_core.tokenizers.pieces import PieceEncoder

        return PieceEncoder(self)

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes that one token stands for; a special token's are its literal text."""
        return self._bytes[self._checked(token_id)]

    def all_token_bytes(self) -> list[bytes]:
        """Bytes of every id, [n_ids]; ids that the vocabulary leaves out have b"". Don't change the list."""
        return self._bytes

    def token(self, token_id: int) -> str:
        """The raw vocabulary string of one token, e.g. "Ġthe"."""
        return self._strings[self._checked(token_id)] or ""

    def id_of(self, token: str) -> int | None:
        """Id of a raw vocabulary string, None if there is none."""
        return self._vocabulary.get(token)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, special tokens skipped."""
        with library_faults(f"{self.name} can't decode these ids"):
            return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def render_chat(self, messages: Sequence[dict[str, str]], generation_prompt: bool = False) -> str | None:
        """The messages through the tokenizer's chat template, None without one. Raises TokenizerError if it fails."""
        if self.chat_template is None:
            return None
        names = {role: self._name_of(index) for role, index in (("bos_token", self.bos_id), ("eos_token", self.eos_id))}
        return facts.render_chat(self.chat_template, messages, names, generation_prompt)

    def _name_of(self, index: int | None) -> str:
        return "" if index is None else self.token(index)

    def _checked(self, token_id: int) -> int:
        if not 0 <= token_id < self.n_ids:
            raise TokenizerError(
                f"token id {token_id} isn't in tokenizer {self.name!r}: its ids run to {self.n_ids - 1}."
            )
        return token_id


def _rebuild(values: dict[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer as Backend

    return Tokenizer(**values | {"backend": Backend.from_str(values["backend"])})
