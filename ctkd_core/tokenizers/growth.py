"""How much longer a tokenizer can make a text, read off its parts before any text is tried.

A normaliser of a few kilobytes may write gigabytes: `Replace` that puts ten characters for one, ten times over, waits
for a single rare character. Trying texts doesn't find such a character, so the bound comes from the rules themselves:
from the last step back to the first, how many characters of the result one character before that step can become.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.faults import library_faults

if TYPE_CHECKING:
    import tokenizers

MOST_GROWTH = 1_000.0  # characters of one; ALBERT's normaliser, the longest in use, has a bound of 648
MOST_STEPS = 256  # of one component; usual ones have up to ten
MOST_PATTERN = 1_000  # characters of a text that is replaced
MOST_MARK = 100  # characters of a prefix or suffix that the model puts to a word ("##", "</w>")
MOST_UNKNOWN = 1_000  # characters of the token for what a vocabulary can't spell
MOST_CUT = 16.0  # characters that pre-tokenizers make of one
MOST_ADDED = 1_000  # tokens that a template puts around a text
MOST_REPEATED = 1  # times that a template may write the text itself: behind it, spans would begin anew

FREE = 1_000_000  # characters that a text may become whatever its length
MOST_PER_BYTE = 32  # bytes of the normalised text for each byte of the text; NFKC makes 11 of U+FDFA's 3 each
SHORT = FREE // int(MOST_GROWTH)  # characters of texts that no tokenizer can make too long
_CHUNK = 1_000  # characters that are tried at once

_COMPATIBILITY = 18  # characters of U+FDFA in NFKC and NFKD, the most of any (Unicode 16)
_CANONICAL = 4  # of U+1F82 in NFD
_LOWERED = 2  # of U+0130 in lower case
_BYTES = 4  # of a character in UTF-8
# Patterns of these parts match at least one character: a character or a class, with or without + or {n,}.
_PART = r"(?:\\[sSdDwWnrt]|\\p\{\^?\w+\}|\[\^?[^\[\]&\\]+\]|[^\\.\[\](){}*+?|^$])(?:\+|\{[1-9]\d*(?:,\d*)?\})?"
_FILLED = re.compile(f"(?:{_PART})+")


@dataclass(frozen=True)
class _Weights:
    """How many characters of the result a character becomes at most: `of` some, and the `rest`."""

    rest: float = 1.0
    of: Mapping[str, float] | None = None

    def text(self, text: str) -> float:
        """All characters of a text together."""
        known = self.of or {}
        return sum(known.get(c, self.rest) for c in text)

    @property
    def most(self) -> float:
        """The largest of any character."""
        return max((self.rest, *(self.of or {}).values()))

    def each(self, change: Callable[[float], float]) -> _Weights:
        """Every weight changed."""
        return _Weights(change(self.rest), {c: change(w) for c, w in (self.of or {}).items()})


def normaliser_growth(node: Any) -> float:
    """Characters that a normaliser makes of one, at most; 1.0 without one.

    node  the normaliser as the tokenizers library writes it

    Raises TokenizerError for more steps than `MOST_STEPS` and for texts longer than `MOST_PATTERN` to be replaced.
    """
    weights = _Weights()
    plain: list[Mapping[str, Any]] = []  # steps side by side that only know Unicode's own tables
    for step in reversed(steps(node)):
        if step["type"] in _RULES:
            weights = _RULES[step["type"]](step, _unicode(plain, weights))
            plain = []
        else:
            plain.append(step)
    return _unicode(plain, weights).most


def steps(node: Any) -> list[Mapping[str, Any]]:
    """The steps of a component in order, sequences flattened. Raises TokenizerError for more than `MOST_STEPS`."""
    found: list[Mapping[str, Any]] = []
    waiting = [node]
    seen = 0
    while waiting:
        step = waiting.pop()
        seen += 1
        if seen > 2 * MOST_STEPS:
            raise TokenizerError(f"one of its components has over {MOST_STEPS} steps, which is refused.")
        if not isinstance(step, Mapping):
            continue
        inner = next((step[k] for k in ("normalizers", "pretokenizers", "decoders", "processors") if k in step), None)
        if inner is None:
            found.append(step)
        else:
            waiting += reversed(inner)
    return found


def _replace(step: Mapping[str, Any], after: _Weights) -> _Weights:
    total = after.text(step["content"])
    pattern = step["pattern"]
    text = pattern.get("String")
    if text is not None and len(text) > MOST_PATTERN:
        raise TokenizerError(
            f"its normaliser replaces a text of {len(text):,} characters; {MOST_PATTERN:,} are enough."
        )
    if text:
        share = total / len(text)
        known = after.of or {}
        return _Weights(after.rest, {**known, **{c: max(known.get(c, after.rest), share) for c in set(text)}})
    if text is None and _FILLED.fullmatch(pattern.get("Regex", "")):
        return after.each(lambda weight: max(weight, total))
    return after.each(lambda weight: weight + total)  # it may match between any two characters


def _prepend(step: Mapping[str, Any], after: _Weights) -> _Weights:
    total = after.text(step["prepend"])
    return after.each(lambda weight: weight + total)  # before every stretch between added tokens


def _charsmap(step: Mapping[str, Any], after: _Weights) -> _Weights:
    """SentencePiece's table: 4 bytes that tell the length of a trie, the trie, texts that end with NUL."""
    try:
        table = base64.b64decode(step["precompiled_charsmap"] or "")
    except (binascii.Error, ValueError, TypeError):
        return after
    texts = table[4 + int.from_bytes(table[:4], "little") :].split(b"\0")
    longest = max((after.text(text.decode("utf-8", "replace")) for text in set(texts)), default=0.0)
    return _Weights(max(after.most, longest))


def _bytes(_step: Mapping[str, Any], after: _Weights) -> _Weights:
    return _Weights(_BYTES * after.most)


_RULES: dict[str, Callable[[Mapping[str, Any], _Weights], _Weights]] = {
    "Replace": _replace,
    "Prepend": _prepend,
    "Precompiled": _charsmap,
    "ByteLevel": _bytes,
}


def _unicode(plain: Iterable[Mapping[str, Any]], after: _Weights) -> _Weights:
    """Steps side by side that compose, decompose, strip and lower: doing so again makes nothing longer."""
    kinds = [step["type"] for step in plain]
    if not kinds:
        return after
    bert = kinds.count("BertNormalizer")
    forms = (
        _COMPATIBILITY if {"NFKC", "NFKD"} & set(kinds) else _CANONICAL if bert or {"NFC", "NFD"} & set(kinds) else 1
    )
    lowered = _LOWERED if bert or "Lowercase" in kinds else 1
    return _Weights(forms * lowered * (1 + 2 * bert) * after.most)  # BERT's puts blanks on both sides of an ideograph


def check_components(parts: Mapping[str, Any]) -> None:
    """Raise TokenizerError when the components of a tokenizer can make far more of a text than it is.

    parts  normalizer, pre_tokenizer, post_processor and decoder as the tokenizers library writes them
    """
    for name, what in (("normalizer", "normaliser"), ("decoder", "decoder")):
        growth = normaliser_growth(parts.get(name))
        if growth > MOST_GROWTH:
            raise TokenizerError(
                f"its {what} can make {_about(growth)} characters of one; over {MOST_GROWTH:,.0f} are refused."
            )
    cut = _cutting_growth(parts.get("pre_tokenizer"))
    if cut > MOST_CUT:
        raise TokenizerError(
            f"its pre-tokenizers can make {_about(cut)} characters of one; over {MOST_CUT:.0f} are refused."
        )
    added, repeated = _template_growth(parts.get("post_processor"))
    if added > MOST_ADDED or repeated > MOST_REPEATED:
        raise TokenizerError(
            f"its template adds {_about(added)} tokens and writes the text {_about(repeated)} times; over "
            f"{MOST_ADDED:,} and {MOST_REPEATED} are refused."
        )


def check_model(model: Mapping[str, Any]) -> None:
    """Raise TokenizerError when marks or the unknown token of a model are so long that a word becomes a book."""
    for name, most in (
        ("continuing_subword_prefix", MOST_MARK),
        ("end_of_word_suffix", MOST_MARK),
        ("unk_token", MOST_UNKNOWN),
    ):
        value = model.get(name)
        if isinstance(value, str) and len(value) > most:
            raise TokenizerError(f"its {name} has {len(value):,} characters; over {most:,} are refused.")


def _cutting_growth(node: Any) -> float:
    growth, in_bytes = 1.0, False
    for step in steps(node):
        if step["type"] == "ByteLevel":
            # A byte becomes a character; one that is spelled in bytes already takes two of them.
            growth *= (2 if in_bytes else 1) * (2 if step.get("add_prefix_space") else 1)
            in_bytes = True
        elif step["type"] == "Metaspace" and step.get("prepend_scheme") != "never":
            growth *= 2
    return growth


def _template_growth(node: Any) -> tuple[float, float]:
    """Tokens that are added around a text, and how often the text is written."""
    added, repeated = 0.0, 1.0
    for step in steps(node):
        if step["type"] in ("BertProcessing", "RobertaProcessing"):
            added += 2
        if step["type"] != "TemplateProcessing":
            continue
        sizes = {name: len(row["ids"]) for name, row in step["special_tokens"].items()}
        pieces = step["single"]
        texts = sum("Sequence" in piece for piece in pieces)
        added = added * max(1, texts) + sum(
            sizes.get(p["SpecialToken"]["id"], 0) for p in pieces if "SpecialToken" in p
        )
        repeated *= max(1, texts)
    return added, repeated


def template_ids(node: Any) -> list[int]:
    """Ids that a post-processor adds."""
    found: list[int] = []
    for step in steps(node):
        found += [int(step[side][1]) for side in ("sep", "cls") if side in step]
        found += [int(i) for row in step.get("special_tokens", {}).values() for i in row["ids"]]
    return found


def components(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    """The components of a tokenizer as the library writes them, whatever a file had; None where there is none."""
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    found = {name: getattr(backend, name) for name in names}
    return {name: None if part is None else json.loads(part.__getstate__()) for name, part in found.items()}


def check_text(texts: Iterable[str], normaliser: Any, growth: float, name: str) -> None:
    """Raise TokenizerError when a tokenizer makes more of texts than `MOST_PER_BYTE` bytes for each of theirs.

    normaliser  a normalizer of the tokenizers library; growth: its bound, by which most texts need no trial
    """
    if normaliser is None:
        return
    given = made = 0
    for text in texts:
        if growth * len(text) <= FREE:
            continue
        for start in range(0, len(text), _CHUNK):
            piece = text[start : start + _CHUNK]
            given += len(piece.encode())
            with library_faults(f"{name} can't normalise this text"):
                made += len(normaliser.normalize_str(piece).encode())
            if made > MOST_PER_BYTE * given + FREE:
                raise TokenizerError(
                    f"{name} makes over {MOST_PER_BYTE} bytes of each byte of this text before cutting it, which is "
                    "refused: its normaliser multiplies text. Use another tokenizer or a shorter text."
                )


def _about(number: float) -> str:
    return f"{number:,.0f}" if number < 1e9 else f"{number:.1e}"
