"""SFT: the text itself is the target, no teacher is asked."""

from __future__ import annotations

from ctkd_core.losses.views.case import Case, Targets, floats
from ctkd_core.losses.views.target import EVERYTHING, Target


def data_only(case: Case) -> Targets:
    """The text itself is the target, no teacher is asked."""
    found: Targets = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(case.rows.number[0, s0])
        if r < 0:
            found.append(None)
            continue
        token = int(case.rows.target[r])
        own = floats(case.p("student", s0 - 1)[token][None])
        found.append(Target(g, "student", (token,), (1.0,), own, ((EVERYTHING, 1.0),)))
    return found
