"""Groups as NVIDIA's NeMo-RL made them for X-Token until its aligner read offsets: its own canonical strings.

What the clean method leaves out: a leading "_" and tabs are changed too, pieces of a few known characters are joined,
and up to four neighbouring one-byte tokens become one character where they spell one. Special tokens take part.
Source: NVIDIA-NeMo/RL, nemo_rl/algorithms/x_token (canonical dynamic-programming version).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import coverage_notes
from ctkd_core.alignment.notes import flag_notes
from ctkd_core.alignment.repair import repaired
from ctkd_core.alignment.spellings import MAX_SPAN, Spellings, agreement, span_pairs
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.token_bytes import byte_alphabet

# Spellings that the program writes as the characters they stand for: Latin letters read as Latin-1, the rest as a
# byte-level vocabulary spells them. One entry of its table stands for more than it spells.
_LATIN = "ñáéíóúÀâçèëîôùûÿ"
# The key of "À" lost its second byte: every C3 that is still there becomes it, and the letters behind it never match.
_BARE = "\u00c3"
_WORDS = ("中", "文", "日本", "語", "Рус", "ский", "العربية", "ह", "दी", *"∑∏∂∇∞√∫≈≠≤≥")
_VOWEL_SIGNS = ("िं", "हिं")
# Characters whose two pieces (all bytes but one, the last byte) the program joins, also behind a blank.
_JOINED = "∑∏∂∇∞√∫≠中文"
# Characters above U+00FF that it takes for one byte: first, last, what to subtract. Not the byte-level alphabet.
_BYTE_RANGES = ((284, 287, 256), (290, 291, 128), (293, 324, 165), (406, 420, 165))
_SPECIAL = {"<|begin_of_text|>": "<bos>", "<pad>": ""}


def xtoken(student: Encoding, teacher: Encoding, *, max_span: int, anchors: bool, repair: bool) -> Alignment:
    """The released groups of two encodings of one text; strings are spelled as byte-level vocabularies spell them."""
    sides = ([_spelled(piece) for piece in encoding.token_bytes] for encoding in (student, teacher))
    groups, flags = align_strings(*sides, max_span=max_span, anchors=anchors, repair=repair)
    return Alignment(
        student=student,
        teacher=teacher,
        method="xtoken",
        groups=groups,
        variant="released",
        options={"max_span": max_span, "anchors": anchors, "repair": repair},
        notes=(
            *coverage_notes(student, teacher),
            *flag_notes(groups, flags),
            "Special tokens take part, as in the released program, and every token is spelled as in a byte-level "
            "vocabulary; SentencePiece tokens outside ASCII compare better here than there.",
        ),
        flags=flags,
    )


def align_strings(
    student: Sequence[str],
    teacher: Sequence[str],
    *,
    max_span: int = MAX_SPAN,
    anchors: bool = True,
    repair: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Groups int32 [G, 4] over raw vocabulary strings, and bool [G]: whether the program calls them correct."""
    (s, s_edges), (t, t_edges) = _sequence(student), _sequence(teacher)
    compared = _spellings(s), _spellings(t)
    # texts are compared after canonicalising once more, which changes a few strings
    judged = ((_spellings([canonical(x) for x in s]), _spellings([canonical(x) for x in t])),)
    pairs, _ = span_pairs(*compared, max_span, anchors)
    if repair:
        pairs = repaired(pairs, compared, judged, max_span)
    flags = agreement(pairs, judged)
    return np.column_stack([s_edges[pairs[:, :2]], t_edges[pairs[:, 2:]]]).astype(np.int32), flags


def canonical(token: str) -> str:
    """The released canonical form of one vocabulary string."""
    if token[:1] in {" ", "_", "\u2581"}:
        token = "\u0120" + token[1:]
    if token in {"\u0109", "\u0120\n"}:
        return "\n"
    token = token.replace("\u010a" if "\u010a" in token else "\\n", "\n")
    if token in {"\u0120,", "\u0120.", "\u0120;", "\u0120:"}:
        token = token[1:]
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return chr(int(token[3:5], 16))
        except ValueError:
            pass
    for spelled, character in _FIXES:
        token = token.replace(spelled, character)
    return _SPECIAL.get(token, token)


def _sequence(tokens: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Canonical strings, and where each begins among the given tokens (one entry more: their number)."""
    strings: list[str] = []
    edges = [0]
    while edges[-1] < len(tokens):
        k = edges[-1]
        joined = _JOINS.get((tokens[k], tokens[k + 1])) if k + 1 < len(tokens) else None
        strings.append(canonical(tokens[k] if joined is None else joined))
        edges.append(k + (1 if joined is None else 2))
    return _with_whole_characters(strings, edges)


def _with_whole_characters(strings: list[str], edges: list[int]) -> tuple[list[str], NDArray[np.int64]]:
    """Runs of tokens that read as bytes become one string where the whole run spells one character."""
    out: list[str] = []
    starts = [0]
    runs = [
        0,
        *(k for k in range(1, len(strings)) if not (_bytes(strings[k]) and _bytes(strings[k - 1]))),
        len(strings),
    ]
    for first, last in pairwise(runs):
        run = strings[first:last]
        character = _character(b"".join(_bytes(x) or b"" for x in run)) if run and _bytes(run[0]) else None
        if character:
            blank = "\u0120" if run[0].startswith("\u0120") else ""
            out.append(blank + character)
            starts.append(edges[last])
        else:
            out += run
            starts += edges[first + 1 : last + 1]
    return out, np.array(starts, dtype=np.int64)


def _bytes(token: str) -> bytes | None:
    """The bytes that the program reads a string as, blanks before it set aside; None when it does not."""
    values = [_byte(c) for c in token.lstrip("\u0120")]
    known = [v for v in values if v is not None]
    return bytes(known) if values and len(known) == len(values) else None


def _byte(character: str) -> int | None:
    code = ord(character)
    if code < 256:
        return code
    return next((code - less for low, high, less in _BYTE_RANGES if low <= code <= high), None)


def _character(data: bytes) -> str | None:
    if not 2 <= len(data) <= 4:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) == 1 else None


def _spelled(piece: bytes) -> str:
    return "".join(byte_alphabet()[b] for b in piece)


def _spellings(strings: Sequence[str]) -> Spellings:
    return Spellings.of([x.encode("utf-8", "surrogatepass") for x in strings])


_FIXES = (
    *((_BARE if c == "À" else c.encode().decode("latin-1"), c) for c in _LATIN),
    *((_spelled(word.encode()), word) for word in _WORDS),
    (_spelled(_VOWEL_SIGNS[0].encode()), _VOWEL_SIGNS[1]),
)
_JOINS = {
    (blank + _spelled(c.encode()[:-1]), _spelled(c.encode()[-1:])): blank + c
    for c in _JOINED
    for blank in ("", "\u0120")
}
