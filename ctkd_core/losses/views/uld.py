"""ULD: sorted probabilities of two rows that face each other."""

from __future__ import annotations

from ctkd_core.losses.parts.pairing import PAIRINGS
from ctkd_core.losses.views.case import TOP, Case, Targets, by_size
from ctkd_core.losses.views.target import WHICH


def sorted_rows(case: Case) -> Targets:
    """ULD: sorted probabilities of the student's row and of the teacher's row that it is paired with."""
    if case.variant == "released":
        return []  # its rows stand at the tokens, not before them
    o, rows = case.options, case.rows
    pair = PAIRINGS[o["pairing"]](rows, case.batch)
    found: Targets = []
    for g, (s0, s1, t0, t1) in enumerate(case.groups):
        numbers = [r for r in rows.number[0, s0:s1].tolist() if r >= 0 and int(pair[r]) >= 0]
        if not numbers:
            found.append(None)
            continue
        r = numbers[-1] if o["pairing"] == "groups" else numbers[0]
        position = int(pair[r]) + 1
        q, p = case.p("teacher", position - 1), case.p("student", int(rows.position[r]) - 1)
        note = "" if t0 <= position < t1 else "positions drifted apart: the teacher's row here predicts another token"
        found.append(by_size(g, q, p, min(TOP, o["top_k"] or TOP), ((WHICH, 1.0),), note, position))
    return found
