"""What a tokenizer.json and its configuration say: kind, roles of tokens, chat template, notes for the user."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.tokenizers import growth
from ctkd_core.tokenizers.growth import steps
from ctkd_core.tokenizers.token_bytes import SPACE_MARK, Marks

if TYPE_CHECKING:
    import tokenizers

    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MODEL_EOS = "model_eos_ids"  # under which a tokenizer's configuration carries what the model's says of EOS

# Where no configuration names a role, the first of these names that the vocabulary has as a special token.
_USUAL = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "[CLS]"),
    "eos": (
        "</s>",
        "<eos>",
        "<|im_end|>",
        "<|end_of_text|>",
        "<｜end▁of▁sentence｜>",
        "<|endoftext|>",
        "[SEP]",
    ),
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<｜▁pad▁｜>", "<|finetune_right_pad_id|>", "<|endoftext|>"),
}


def read_spec(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    """tokenizer.json without its vocabulary and merges, as the library read it: whatever a file had, types are right.

    `added_tokens` have the ids that the library gave them: it renumbers those that leave holes or clash.
    """
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    added = [
        {"id": index, "content": token.content, **{flag: getattr(token, flag) for flag in flags}}
        for index, token in sorted(backend.get_added_tokens_decoder().items())
    ]
    return growth.components(backend) | {"added_tokens": added, "model": _model(backend.model)}


_MODEL = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
    "max_input_chars_per_word",
)


def _model(model: Any) -> dict[str, Any]:
    found = {"type": type(model).__name__} | {name: getattr(model, name) for name in _MODEL if hasattr(model, name)}
    if found["type"] == "Unigram":  # which tells these only in its document
        document = json.loads(model.__getstate__())
        found |= {name: document.get(name) for name in ("unk_id", "byte_fallback")}
    return found


def kind_of(spec: Mapping[str, Any]) -> str:
    """One of `token_bytes.KINDS`."""
    model = spec["model"].get("type")
    decoders = {p["type"] for p in steps(spec.get("decoder"))}
    before = {p["type"] for p in steps(spec.get("pre_tokenizer"))}
    if model == "WordPiece":
        return "wordpiece"
    if (
        "ByteLevel" in decoders
        or "ByteLevel" in before
        or "ByteLevel" in {p["type"] for p in steps(spec.get("normalizer"))}
    ):
        return "byte-level"
    marked = SPACE_MARK in json.dumps([spec.get("normalizer"), spec.get("decoder")], ensure_ascii=False)
    if marked or _own_space_mark(spec) or model == "Unigram" or spec["model"].get("byte_fallback"):
        return "sentencepiece"
    return "other"


def marks_of(spec: Mapping[str, Any]) -> Marks:
    """What the vocabulary strings hold that is no text, as the model and its pre-tokenizer say."""
    model = spec["model"]
    return Marks(
        space=space_mark(spec),
        byte_fallback=bool(model.get("byte_fallback")),
        continuing=model.get("continuing_subword_prefix") or "",
        end_of_word=model.get("end_of_word_suffix") or "",
    )


def space_mark(spec: Mapping[str, Any]) -> str:
    """What stands for a space in a SentencePiece vocabulary: U+2581 unless the tokenizer names another character."""
    return _own_space_mark(spec) or SPACE_MARK


def _own_space_mark(spec: Mapping[str, Any]) -> str | None:
    """Metaspace's replacement, or what a normaliser writes for a space and what a decoder turns back into one."""
    for part in (*steps(spec.get("pre_tokenizer")), *steps(spec.get("decoder"))):
        if part["type"] == "Metaspace":
            return part.get("replacement") if isinstance(part.get("replacement"), str) else SPACE_MARK
    for part in steps(spec.get("decoder")):
        if part["type"] == "Replace" and part.get("content") == " ":
            mark = (part.get("pattern") or {}).get("String")
            if isinstance(mark, str) and len(mark) == 1:
                return mark
    for part in steps(spec.get("normalizer")):
        mark = part.get("content") or ""
        written = part["type"] == "Replace" and (part.get("pattern") or {}) == {"String": " "}
        if written and len(mark) == 1 and not mark.isspace():
            return str(mark)
    return None


def role_ids(
    backend: tokenizers.Tokenizer, spec: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, int | None]:
    """bos_id, eos_id and pad_id, from the configuration, else the usual names; unk_id, from the model.

    Where the tokenizer's configuration names no EOS, the model's does (`MODEL_EOS`).
    """
    special = {t["content"]: t["id"] for t in spec["added_tokens"] if t.get("special")}
    # Configurations name an unknown token even where the model can spell every byte: only the model's own counts.
    model = spec["model"]
    unk = _id_of(backend, model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
    roles: dict[str, int | None] = {"unk_id": unk}
    for role, usual in _USUAL.items():
        named = config.get(f"{role}_token")
        if isinstance(named, dict):
            named = named.get("content")
        index = _id_of(backend, named)
        if index is None and role == "eos":
            index = next(iter(model_ends(spec, config)), None)
        if index is None and f"{role}_token" not in config:
            index = next((special[name] for name in usual if name in special), None)
        roles[f"{role}_id"] = index
    return roles


def model_ends(spec: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, ...]:
    """Ids at which texts end by the model's own configuration; only special tokens, for defaults name any id."""
    special = {t["id"] for t in spec["added_tokens"] if t.get("special")}
    return tuple(index for index in config.get(MODEL_EOS, ()) if index in special)


def _id_of(backend: tokenizers.Tokenizer, token: Any) -> int | None:
    """The id of a token that a configuration names, None for anything that can't be one (half a character, a list)."""
    try:
        return backend.token_to_id(token) if isinstance(token, str) else None
    except UnicodeEncodeError:
        return None


def chat_templates(config: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates of a tokenizer_config.json by name; a single one is the "default"."""
    given = config.get("chat_template")
    if isinstance(given, str):
        return {"default": given}
    if isinstance(given, list):  # [{"name": ..., "template": ...}, ...]
        named = [t for t in given if isinstance(t, dict) and isinstance(t.get("name"), str)]
        given = {t["name"]: t.get("template") for t in named}
    if not isinstance(given, dict):
        return {}
    return {name: text for name, text in given.items() if isinstance(name, str) and isinstance(text, str)}


def render_chat(
    template: str, messages: Sequence[Mapping[str, str]], names: Mapping[str, str], generation_prompt: bool
) -> str:
    """`messages` through a Jinja chat template, in a process with limits because templates come from strangers."""
    from ctkd_core.tokenizers.template_sandbox import in_child

    values = {"messages": list(messages), "add_generation_prompt": generation_prompt}
    return in_child(template, [values], names)[0]


def encoding_notes(tokenizer: Tokenizer, encoding: Encoding, data: bytes) -> tuple[str, ...]:
    """What a user must know about one encoding, as sentences."""
    notes = []
    unknown = int(np.count_nonzero(encoding.ids == tokenizer.unk_id)) if tokenizer.unk_id is not None else 0
    if unknown:
        notes.append(
            f"{tokenizer.name} has no token for {unknown} piece{'s' * (unknown > 1)} of this text and writes "
            f"{tokenizer.token(tokenizer.unk_id or 0)} instead; what stood there is lost to the model."
        )
    literal = encoding.special & (encoding.spans[:, 0] < encoding.spans[:, 1])
    if literal.any():
        names = Counter(encoding.tokens[i] for i in np.flatnonzero(literal))
        listed = ", ".join(list(names)[:3])
        notes.append(
            f"The text holds {int(literal.sum())} special token{'s' * (int(literal.sum()) > 1)} of {tokenizer.name} "
            f"({listed}); alignments leave them out."
        )
    gaps = encoding.uncovered
    if len(gaps):
        size = int((gaps[:, 1] - gaps[:, 0]).sum())
        bare = b"".join(data[a:b] for a, b in gaps.tolist())
        what = "white space" if bare.isspace() else _why_uncovered(tokenizer, bare)
        notes.append(f"{size} of {len(data)} bytes belong to no token of {tokenizer.name} ({what}).")
    if _rewritten(encoding, data):
        how = ", ".join(_normalisers(tokenizer.spec)) or "its vocabulary"
        notes.append(
            f"{tokenizer.name} rewrites this text before cutting it ({how}); spans refer to the text as given, "
            "token bytes to the rewritten one."
        )
    return tuple(notes)


def _why_uncovered(tokenizer: Tokenizer, bare: bytes) -> str:
    """What became of bytes that no token covers."""
    text = bare.decode("utf-8", errors="replace")
    if _normalisers(tokenizer.spec) and not tokenizer.normalise(text).strip():
        return "text that its normaliser drops"
    return "text that its vocabulary has no tokens for, and it drops what it can't spell"


def _rewritten(encoding: Encoding, data: bytes) -> bool:
    """Whether some token spells something else than the bytes it covers (white space at its ends aside)."""
    if b"".join(encoding.token_bytes) in (data, b" " + data):
        return False
    kept = (encoding.spans[:, 1] > encoding.spans[:, 0]) & ~encoding.special
    spelled = b"".join(b for b, keep in zip(encoding.token_bytes, kept.tolist()) if keep)
    given = b"".join(data[a:b] for a, b in encoding.spans[kept].tolist())
    return spelled != given and b"".join(spelled.split()) != b"".join(given.split())


def _normalisers(spec: Mapping[str, Any]) -> list[str]:
    titles = {
        "NFC": "NFC composition",
        "NFKC": "NFKC compatibility forms",
        "NFD": "NFD decomposition",
        "NFKD": "NFKD decomposition",
        "Lowercase": "lower case",
        "StripAccents": "accents removed",
        "Precompiled": "SentencePiece normalisation",
    }
    named = []
    for part in steps(spec.get("normalizer")):
        if part["type"] == "BertNormalizer":
            named += ["lower case"] * bool(part.get("lowercase"))
            named += ["accents removed"] * bool(part.get("strip_accents") or part.get("lowercase"))
        elif part["type"] in titles:
            named.append(titles[part["type"]])
    return named
