"""Token groups as TRL's GOLD trainer makes them: the byte-offset walk (since June 2026) and the text buffers before it.

Source: huggingface/trl, main at f2cd5771 and the parent of 2ac060ee.
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


def incremental_pieces(prefixes: Sequence[str]) -> list[str]:
    """What each token adds to the decoded text, given the decoded prefixes up to and including each token.

    Text before the previous length is never looked at again: a replacement character that a later token completes
    adds nothing.
    """
    pieces, length = [], 0
    for prefix in prefixes:
        pieces.append(prefix[length:])
        length = len(prefix)
    return pieces


def text_buffer_groups(student: Sequence[str], teacher: Sequence[str]) -> Groups:
    """Grow two text buffers and close a group whenever they are equal and not empty.

    The shorter buffer is extended, ties extend the student; buffers that never meet again end as one last group. Plain
    and quadratic; `greedy.buffer_groups` gives the same in one pass.
    """
    groups: Groups = []
    i = j = i0 = j0 = 0
    mine = theirs = ""
    while i < len(student) or j < len(teacher):
        extend_student = i < len(student) and (len(mine) <= len(theirs) or j == len(teacher))
        if extend_student:
            mine += student[i]
            i += 1
        else:
            theirs += teacher[j]
            j += 1
        if mine and mine == theirs:
            groups.append((list(range(i0, i)), list(range(j0, j))))
            i0, j0, mine, theirs = i, j, "", ""
    if i0 < i or j0 < j:
        groups.append((list(range(i0, i)), list(range(j0, j))))
    return groups
