"""What an answer about losses holds: the scene that all methods share, and the view of each method.

Plain numbers and ids; texts of tokens are made from the ids where they are shown. Positions count from the first token
that a model reads (BOS and context included); the row of position i is the one that predicts token i.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Group = tuple[int, int, int, int]


@dataclass(frozen=True)
class Says:
    """One prediction of a model: top candidates of the row of `position`, most likely first, at temperature 1.

    ids, p        candidates and their probabilities
    target        the token that the text has there, its probability `target_p`, and its `rank` (1 is best)
    entropy       of the whole distribution, nats
    """

    position: int
    ids: tuple[int, ...]
    p: tuple[float, ...]
    target: int
    target_p: float
    rank: int
    entropy: float


@dataclass(frozen=True)
class Scene:
    """Both models on one context and text.

    student_ids, teacher_ids      everything they read: BOS, context, text, EOS
    student_start, teacher_start  first token of the text
    groups                        byte-exact groups s0, s1, t0, t1 of the text, EOS with EOS last; every figure "per
                                  group" refers to these, whatever groups a method uses itself
    student_says, teacher_says    one record for each text token that a row predicts
    """

    student: str
    teacher: str
    context: str
    text: str
    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    student_start: int
    teacher_start: int
    groups: tuple[Group, ...]
    student_says: tuple[Says, ...]
    teacher_says: tuple[Says, ...]
    notes: tuple[str, ...] = ()

    def said(self, side: str, position: int) -> Says | None:
        """What "student" or "teacher" says at a position; None where nothing predicts it."""
        says = self.student_says if side == "student" else self.teacher_says
        return next((one for one in says if one.position == position), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scene:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        values = dict(data)
        for name in ("student_ids", "teacher_ids", "notes"):
            values[name] = tuple(values[name])
        values["groups"] = tuple((a, b, c, d) for a, b, c, d in values["groups"])
        for name in ("student_says", "teacher_says"):
            values[name] = tuple(_record(Says, one) for one in values[name])
        return cls(**values)


@dataclass(frozen=True)
class Push:
    """The gradient of one student row, d loss / d logit; a step of descent moves a logit the other way.

    ids        the tokens that are kept: candidates of both models, the text's own, those with the largest gradient,
               those that were asked for
    whole      gradient of the whole loss on them; distil: of the loss without its cross-entropy on the text
    norm, distil_norm  Euclidean norm over the whole vocabulary
    """

    position: int
    ids: tuple[int, ...]
    whole: tuple[float, ...]
    distil: tuple[float, ...]
    norm: float
    distil_norm: float


@dataclass(frozen=True)
class Heard:
    """What the teacher's prediction becomes in one group before a method compares it.

    space   "student" or "teacher": the entries are ids of that vocabulary; "rank": the k-th largest, whatever token;
            "event": the text itself against everything else
    ids     of the entries, -1 where an entry is no token
    wants   probability that the method takes from the teacher there; has: what it holds against it from the student
    lost    (what, probability of the teacher's) that doesn't reach any entry by identity
    crowd   for a "teacher" space: the student tokens that bring most of `has`, as (id, probability); and how many can
    note    a sentence about this group; position of the teacher's token whose prediction is used: `row` (-1: none)
    """

    group: int
    space: str
    ids: tuple[int, ...]
    wants: tuple[float, ...]
    has: tuple[float, ...]
    lost: tuple[tuple[str, float], ...] = ()
    crowd: tuple[tuple[tuple[int, float], ...], ...] = ()
    crowd_sizes: tuple[int, ...] = ()
    note: str = ""
    row: int = -1


@dataclass(frozen=True)
class LossView:
    """One method on a scene. `problem`: why it has nothing to show, then the rest is empty.

    loss, terms, diagnostics  as in LossOutput; distil_loss: without the cross-entropy on the text
    own_groups                how many groups the method's own alignment has
    whole, distil             value of each group of the scene; a method's group that spans several of them is shared
                              out by student tokens
    """

    method: str
    variant: str
    options: dict[str, Any]
    loss: float = 0.0
    distil_loss: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    diagnostics: dict[str, float] = field(default_factory=dict)
    norm: float = 0.0
    own_groups: int = 0
    whole: tuple[float, ...] = ()
    distil: tuple[float, ...] = ()
    pushes: tuple[Push, ...] = ()
    heard: tuple[Heard, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    def push(self, position: int) -> Push | None:
        """The gradient of the row that predicts this student token."""
        return next((one for one in self.pushes if one.position == position), None)

    def hears(self, group: int) -> Heard | None:
        """What the teacher's prediction becomes in a group of the scene."""
        return next((one for one in self.heard if one.group == group), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LossView:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        values = dict(data)
        for name in ("whole", "distil", "notes"):
            values[name] = tuple(values[name])
        values["pushes"] = tuple(_record(Push, one) for one in values["pushes"])
        heard = []
        for one in values["heard"]:
            crowd = tuple(tuple((int(i), float(p)) for i, p in column) for column in one["crowd"])
            lost = tuple((str(what), float(p)) for what, p in one["lost"])
            heard.append(_record(Heard, one | {"crowd": crowd, "lost": lost}))
        values["heard"] = tuple(heard)
        return cls(**values)


def _record(kind: Any, data: dict[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
