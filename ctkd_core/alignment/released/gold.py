"""Token groups as TRL's GOLD trainer makes them since June 2026: the byte-offset walk.

Source: huggingface/trl, main at f2cd5771. The text buffers before it are `greedy.buffer_groups`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctkd_core.errors import AlignmentError

Groups = list[tuple[list[int], list[int]]]
Span = Sequence[int]


def byte_offsets(text: str, char_spans: Sequence[Span], pieces: Sequence[bytes]) -> list[list[int]]:
    """Byte spans [start, end] of byte-level tokens from their character spans.

    Spans that repeat or overlap (pieces of one character) are cut up one after another by the length of the pieces.
    """
    at = [0]
    for character in text:
        at.append(at[-1] + len(character.encode("utf-8", errors="surrogatepass")))
    spans = [[at[a], at[b]] for a, b in char_spans]
    first = 0
    while first < len(spans):
        last, end = first + 1, spans[first][1]
        while last < len(spans) and spans[last][0] < end:
            end = max(end, spans[last][1])
            last += 1
        if last - first > 1:
            here = spans[first][0]
            for k in range(first, last):
                spans[k] = [here, min(here + len(pieces[k]), end)]
                here = spans[k][1]
        first = last
    return spans


def check_byte_level(**sides: bool) -> None:
    """Refuse (AlignmentError) what the trainer refuses: a side whose tokenizer isn't byte-level."""
    refused = [side for side, byte_level in sides.items() if not byte_level]
    if refused:
        raise AlignmentError(
            f"the released trainer aligns byte-level tokenizers only; not byte-level: {', '.join(refused)}. Use the "
            "variant 'clean', which works with any tokenizer."
        )


def end_boundary_walk(student: Sequence[Span], teacher: Sequence[Span]) -> Groups:
    """Close a group where both running ends are equal; what is left over at the end is one last group.

    Starts are never looked at, so a gap joins the token that follows it; the last group may lack a side.
    """
    groups: Groups = []
    i = j = i0 = j0 = 0
    while i < len(student) and j < len(teacher):
        mine, other = student[i][1], teacher[j][1]
        i += mine <= other
        j += other <= mine
        if mine == other:
            groups.append((list(range(i0, i)), list(range(j0, j))))
            i0, j0 = i, j
    if i0 < len(student) or j0 < len(teacher):
        groups.append((list(range(i0, len(student))), list(range(j0, len(teacher)))))
    return groups
