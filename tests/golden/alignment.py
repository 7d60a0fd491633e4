"""Replay of tests/golden/alignment.json: groups of SeDi, TRL's GOLD trainer and tokenkit, and ours over characters."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ctkd_core.alignment import components
from ctkd_core.alignment.released import gold as released_gold
from ctkd_core.alignment.released import sedi as released_sedi
from ctkd_core.alignment.released import tokenkit as released_tokenkit
from ctkd_core.errors import AlignmentError
from ctkd_core.tokenizers.token_bytes import byte_alphabet, token_bytes_from_strings
from tests.alignment.reference import incremental_pieces, text_buffer_groups

# Tokenizers of the facts that write a space as U+2581; the others named there are byte-level.
_SENTENCEPIECE = {"gemma3", "llama2"}
# The ones whose decoder takes one blank off the start.
_STRIPS_BLANK = {"llama2"}
# The ones whose normaliser (NFC) tokenkit takes off, and where to find their vocabulary.
_NFC = {"qwen3": "qwen"}


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    student, teacher = case["student_char_spans"], case["teacher_char_spans"]
    groups = components.components(_spans(student), _spans(teacher))
    length = len(case["text"]) if "text" in case else case["text_length"]
    out: dict[str, Any] = {
        "sedi_official": _or_error("AssertionError", released_sedi.span_groups, student, teacher),
        "char_graph_components_ours": _lists(groups),
        "metrics_of_char_graph": _counts(groups, student, length),
    }
    if "text" not in case:
        return out | {"trl_gold_end_boundary_walk": _lists(released_gold.end_boundary_walk(student, teacher))}
    pieces = {side: _pieces(case, side) for side in ("student", "teacher")}
    decoded = {side: incremental_pieces(_prefixes(case[f"{side}_tokens"], pieces[side], case[side])) for side in pieces}
    return out | {
        "trl_gold_byte_offsets": _or_error("NotImplementedError", _trl_bytes, case, pieces),
        "trl_gold_greedy_text": _lists(text_buffer_groups(decoded["student"], decoded["teacher"])),
        "tokenkit": _tokenkit(case, pieces),
    }


def _counts(groups: list[tuple[list[int], list[int]]], student_spans: list[list[int]], length: int) -> dict[str, Any]:
    both = [g for g in groups if g[0] and g[1]]
    kinds = ["n-m" if len(s) > 1 < len(t) else "n-1" if len(s) > 1 else "1-n" if len(t) > 1 else "1-1" for s, t in both]
    return {
        "groups_both_sides": len(both),
        "counts_student_teacher": {kind: kinds.count(kind) for kind in ("1-1", "1-n", "n-1", "n-m")},
        "orphan_student": sum(len(s) for s, t in groups if not t),
        "orphan_teacher": sum(len(t) for s, t in groups if not s),
        "chars_covered": len({c for s, _ in both for i in s for c in range(*student_spans[i])}),
        "chars_total": length,
        "mean_student_tokens": float(np.mean([len(s) for s, _ in both])) if both else 0.0,
        "mean_teacher_tokens": float(np.mean([len(t) for _, t in both])) if both else 0.0,
    }


def _trl_bytes(case: dict[str, Any], pieces: dict[str, list[bytes]]) -> dict[str, Any]:
    released_gold.check_byte_level(**{side: _kind(case[side]) == "byte-level" for side in pieces})
    offsets = {
        side: released_gold.byte_offsets(case["text"], case[f"{side}_char_spans"], pieces[side]) for side in pieces
    }
    return {
        "student_byte_offsets": offsets["student"],
        "teacher_byte_offsets": offsets["teacher"],
        "groups": _lists(released_gold.end_boundary_walk(offsets["student"], offsets["teacher"])),
    }


def _tokenkit(case: dict[str, Any], pieces: dict[str, list[bytes]]) -> dict[str, Any]:
    sides = {side: _without_nfc(case, side, pieces[side]) for side in pieces}
    return {
        "student_byte_tokens": _byte_level(sides["student"]),
        "teacher_byte_tokens": _byte_level(sides["teacher"]),
        "groups": _lists(released_tokenkit.byte_walk(sides["student"], sides["teacher"])),
    }


def _without_nfc(case: dict[str, Any], side: str, pieces: list[bytes]) -> list[bytes]:
    """The pieces as they are without the tokenizer's NFC; only a text that NFC changes needs the tokenizer itself."""
    if case[side] not in _NFC or b"".join(pieces) == case["text"].encode():
        return pieces
    tokens = _backend_without_normaliser(_NFC[case[side]]).encode(case["text"], add_special_tokens=False).tokens
    return token_bytes_from_strings(tokens, "byte-level")


@lru_cache(maxsize=2)
def _backend_without_normaliser(name: str) -> Any:
    import json

    import tokenizers

    from ctkd_core import load_tokenizer

    plain = json.loads(load_tokenizer(name).backend.to_str()) | {"normalizer": None}
    return tokenizers.Tokenizer.from_str(json.dumps(plain))


def _prefixes(tokens: list[str], pieces: list[bytes], name: str) -> list[str]:
    """What decoding the first k tokens gives, for every k."""
    if _kind(name) == "byte-level":
        return [b"".join(pieces[: k + 1]).decode("utf-8", "replace") for k in range(len(pieces))]
    decoded = [_byte_fallback(tokens[: k + 1], pieces[: k + 1]) for k in range(len(pieces))]
    return [text.removeprefix(" ") for text in decoded] if name in _STRIPS_BLANK else decoded


def _byte_fallback(tokens: list[str], pieces: list[bytes]) -> str:
    """Runs of byte tokens: the text they spell, or else one U+FFFD a byte."""
    text, run = "", b""
    for token, piece in [*zip(tokens, pieces), ("", b"")]:
        if token.startswith("<0x"):
            run += piece
            continue
        try:
            text += run.decode()
        except UnicodeDecodeError:
            text += "\ufffd" * len(run)
        run = b""
        text += piece.decode()
    return text


def _kind(name: str) -> str:
    return "sentencepiece" if name in _SENTENCEPIECE else "byte-level"


def _pieces(case: dict[str, Any], side: str) -> list[bytes]:
    return token_bytes_from_strings(case[f"{side}_tokens"], _kind(case[side]))


def _byte_level(pieces: list[bytes]) -> list[str]:
    return ["".join(byte_alphabet()[b] for b in piece) for piece in pieces]


def _spans(rows: list[list[int]]) -> np.ndarray:
    return np.asarray(rows, dtype=np.int64).reshape(-1, 2)


def _lists(groups: list[tuple[list[int], list[int]]]) -> list[list[list[int]]]:
    return [[list(s), list(t)] for s, t in groups]


def _or_error(name: str, call: Callable[..., Any], *args: Any) -> Any:
    """The result as lists, or the recorded program's name for its refusal."""
    try:
        result = call(*args)
    except AlignmentError:
        return {"error": name}
    return _lists(result) if isinstance(result, list) else result
