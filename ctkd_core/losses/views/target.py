"""A target: what the teacher's prediction becomes in one group before a method compares it with the student's.

Plain numbers and ids, without torch, so that pages can read them.
"""

from __future__ import annotations

from dataclasses import dataclass

Group = tuple[int, int, int, int]  # student start and end, teacher start and end
Lost = tuple[tuple[str, float], ...]

# What becomes of teacher probability that reaches no entry by identity.
WHICH = "which token it was"
UNKNOWN = "what the tokens mean: only their rank counts"
UNMATCHED = "no equal token: only its sorted shape counts"
OTHERS = "chance that the group's other tokens come so"
MEAN = "mean of the group's rows"
EVERYTHING = "everything the teacher predicts"
COLLIDED = "collided with another candidate"
OTHER_COLUMNS = "outside the chosen teacher columns"
UNREACHED = "no student token maps to it"
UNWRITABLE = "can't be written by the student"
NO_STUDENT_TOKEN = "no student token for it"  # noqa: S105 - no password
NO_PARTNER = "without a partner"
# The same in the few characters that fit beside a bar.
SHORT = {
    WHICH: "lost: which token",
    UNKNOWN: "lost: what tokens mean",
    UNMATCHED: "lost: no equal token",
    OTHERS: "lost: merged away",
    MEAN: "lost: mean of the rows",
    EVERYTHING: "lost: the teacher",
    COLLIDED: "lost: collided",
    OTHER_COLUMNS: "lost: other columns",
    UNREACHED: "lost: nothing maps there",
    UNWRITABLE: "lost: can't be written",
    NO_STUDENT_TOKEN: "lost: no student token",
    NO_PARTNER: "lost: no partner",
}


@dataclass(frozen=True)
class Target:
    """The entries of a group that a method compares, largest first.

    space            "student" or "teacher": the entries are ids of that vocabulary; "rank": the k-th largest, whatever
                     token; "event": the text itself against everything else; "byte": the next byte, 256 the answer's
                     end, -1 everything else
    ids              of the entries, -1 where an entry is no token
    teacher          probability that the method takes from the teacher there; student: what the student has there
    lost             (what, probability of the teacher's) that doesn't reach any entry by identity
    sources          for a "teacher" space: the student tokens that most of `student` comes from, as (id, probability)
    source_counts    and how many there are
    note             a sentence about this group
    position         of the teacher's token whose prediction is used; -1: none
    """

    group: int
    space: str
    ids: tuple[int, ...]
    teacher: tuple[float, ...]
    student: tuple[float, ...]
    lost: Lost = ()
    sources: tuple[tuple[tuple[int, float], ...], ...] = ()
    source_counts: tuple[int, ...] = ()
    note: str = ""
    position: int = -1
