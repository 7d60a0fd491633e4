"""What an answer about losses holds: the scene that all methods share, and the view of each method.

Plain numbers and ids; texts of tokens are made from the ids where they are shown. Positions count from the first token
that a model reads (BOS and context included); the row of position i is the one that predicts token i.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.losses.views.target import Group, Target

R = TypeVar("R", "Scene", "LossView")


@dataclass(frozen=True)
class Prediction:
    """One prediction of a model: top candidates of the row of `position`, most likely first, at temperature 1.

    ids, p        candidates and their probabilities
    token         the token that the text has there, its probability `token_p`, and its `rank` (1 is best)
    entropy       of the whole distribution, nats
    """

    position: int
    ids: tuple[int, ...]
    p: tuple[float, ...]
    token: int
    token_p: float
    rank: int
    entropy: float


@dataclass(frozen=True)
class Scene:
    """Both models on one context and text.

    student_ids, teacher_ids      everything they read: BOS, context, text, EOS
    student_start, teacher_start  first token of the text
    groups                        byte-exact groups s0, s1, t0, t1 of the text, EOS with EOS last; every figure "per
                                  group" refers to these, whatever groups a method uses itself
    student_predictions, teacher_predictions  one for each text token that a row predicts
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
    student_predictions: tuple[Prediction, ...]
    teacher_predictions: tuple[Prediction, ...]
    notes: tuple[str, ...] = ()

    def prediction(self, side: str, position: int) -> Prediction | None:
        """What "student" or "teacher" predicts at a position; None where no row does."""
        every = self.student_predictions if side == "student" else self.teacher_predictions
        return next((one for one in every if one.position == position), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scene:
        """What `to_dict` gave. Raises CtkdError for anything else."""
        found = _stored(cls, data, "a scene")
        for one in (*found.student_predictions, *found.teacher_predictions):
            _check_lengths("a prediction", one.ids, one.p)
        return found


@dataclass(frozen=True)
class RowGradient:
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
    gradients: tuple[RowGradient, ...] = ()
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    def gradient(self, position: int) -> RowGradient | None:
        """The gradient of the row that predicts this student token."""
        return next((one for one in self.gradients if one.position == position), None)

    def target(self, group: int) -> Target | None:
        """What the teacher's prediction becomes in a group of the scene; None where the method compares nothing."""
        return next((one for one in self.targets if one.group == group), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LossView:
        """What `to_dict` gave. Raises CtkdError for anything else."""
        found = _stored(cls, data, "a view of a loss")
        _check_lengths("a view of a loss", found.whole, found.distil)
        for one in found.gradients:
            _check_lengths("a gradient", one.ids, one.whole, one.distil)
        return found

    def is_of(self, scene: Scene) -> bool:
        """Whether it has a value for each group of the scene, or says why it has none."""
        return bool(self.problem) or len(self.whole) == len(scene.groups)


def _stored(kind: type[R], data: dict[str, Any], what: str) -> R:
    # Every field is written, defaults too: one that isn't there was lost, and its default would be shown as a figure.
    lacking = [field.name for field in fields(kind) if not isinstance(data, dict) or field.name not in data]
    if lacking:
        raise CtkdError(f"{what} lacks {lacking[0]!r}.")
    return documents.stored(kind, data, what)


def _check_lengths(what: str, *columns: tuple[float, ...]) -> None:
    if len(lengths := {len(column) for column in columns}) > 1:
        raise CtkdError(f"{what} has columns of {' and '.join(map(str, sorted(lengths)))} values.")
