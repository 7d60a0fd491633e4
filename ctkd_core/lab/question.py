"""What losses make of one short text: asked of a process of its own, kept on disk, read by page Losses.

The bundled teacher and its transplanted twin read a context and a text. For each chosen method the process computes
the loss, its value per group, its gradient on a few tokens of every row, and what the teacher's prediction becomes on
its way to the student. This file imports no torch: it names questions and answers, starts the process and reads what
it left (`lab.worker` is the other end, `lab.records` says what an answer holds). One answered question comes
with the package, so that a first look waits for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass as record

from ctkd_core import files, methods
from ctkd_core.background.lifecycle import Job
from ctkd_core.background.progress import Progress
from ctkd_core.background.status import RECORD
from ctkd_core.errors import CtkdError, LossInputError
from ctkd_core.lab import evidence
from ctkd_core.lab.records import LossView, Scene
from ctkd_core.tokenizers import assets
from ctkd_core.tokenizers.handover import Handover, hand_over

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

WORKER = "ctkd_core.lab.worker"
VERSION = 4  # of what is computed and how it is written; another one is computed anew
MAX_METHODS = 4
MAX_TEXT, MAX_CONTEXT = 60, 60  # tokens of either side: logits of 120 x 129k float32 are 62 MB
MAX_CHARACTERS = 2_000  # a quick look before anything is encoded
MAX_NAMED = 8
KEPT_QUESTIONS, KEPT_LOGITS = 40, 6  # folders, and those that keep logits
MOST_BYTES = 20_000_000  # of a kept answer; it has some hundred kilobytes
EXAMPLE = Path(__file__).with_name("example.json")


@dataclass(frozen=True)
class ExampleText:
    """A text to begin with; `note` says what to look at."""

    name: str
    context: str
    text: str
    note: str


EXAMPLES = {
    row.name: row
    for row in (
        ExampleText(
            "number",
            "Pages 197, 198, 199, 200,",
            " 201 and 202.",
            "The teacher spells 201 digit by digit and is sure of it; the student has one token, which no "
            "teacher token equals. GOLD and H-KL lower that token, P-KL and SeDi raise it.",
        ),
        ExampleText(
            "prose",
            "The lighthouse keeper's granddaughter",
            " catalogued 1,247 seashells in 2024, and 201 of them were unidentifiable.",
            "Common words are one token on both sides; rare words and numbers are groups of several.",
        ),
        ExampleText(
            "emoji",
            "At the zoo we saw",
            " a naïve llama 🦙 and an astronaut 👩‍🚀!",
            "Tokens end inside characters; candidates that spell half a character can't be written by the student.",
        ),
    )
}
# What is shown at first: losses that do different things with one token. The others are chosen in the form.
DEFAULT_METHODS = ("gold", "xtoken-hkl", "xtoken-pkl", "sedi")


@dataclass(frozen=True)
class Choice:
    """A method with its variant and the loss options that aren't at their default, sorted by name."""

    method: str
    variant: str = "clean"
    options: tuple[tuple[str, Any], ...] = ()

    def resolved(self) -> dict[str, Any]:
        """All loss options that the variant reads. Raises LossInputError for what it doesn't have or allow."""
        row = methods.get(self.method, LossInputError)
        row.check_variant(self.variant, LossInputError)
        return row.resolve_loss(dict(self.options), LossInputError, self.variant)


@dataclass(frozen=True)
class Question:
    """A pair, what is read, and the student ids whose gradient is wanted besides the usual ones."""

    student: Tokenizer
    teacher: Tokenizer
    context: str
    text: str
    named: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Names pair and text; questions that differ in `named` alone share it."""
        sides = [self.student.template_key, self.teacher.template_key]  # texts begin and end by them, too
        return _digest([VERSION, assets.TEACHER_SHA256, *sides, self.context, self.text])

    @property
    def folder(self) -> Path:
        """Where everything about this pair and text is kept."""
        return files.cache_dir() / "losses" / self.key

    def view_key(self, choice: Choice) -> str:
        """Names what is computed for one method. Raises LossInputError."""
        return _digest([VERSION, choice.method, choice.variant, choice.resolved(), sorted(self.named)])


@record(frozen=True, config=RECORD)
class Asked:
    """A choice, as the process that answers is told."""

    method: str
    variant: str
    options: dict[str, Any]


@record(frozen=True, config=RECORD)
class Order:
    """What the process that answers is told."""

    student: Handover
    teacher: Handover
    context: str
    text: str
    named: tuple[int, ...]
    choices: tuple[Asked, ...]


@dataclass(frozen=True)
class Answer:
    """What is known of a question: the scene, and the views of those choices that were computed."""

    scene: Scene | None
    views: dict[Choice, LossView]
    missing: tuple[Choice, ...]
    stored: bool = False  # it came with the package


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} when there is none."""
    try:
        data = json.loads(files.read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


def problem(question: Question) -> str:
    """Why this can't be asked, as a sentence; "" when it can."""
    if fault := evidence.problem(question.text, question.teacher):
        return fault
    if not question.text.strip():
        return "the text is blank; type what the student should learn."
    characters = len(question.text) + len(question.context)
    if characters > MAX_CHARACTERS:
        return (
            f"context and text have {characters:,} characters; this page explains at most {MAX_CHARACTERS:,} token by "
            "token. Take a sentence or two."
        )
    for what, given, most in (("text", question.text, MAX_TEXT), ("context", question.context, MAX_CONTEXT)):
        for side in (question.student, question.teacher):
            count = len(side.encode_pieces([given])[0])
            if count > most:
                return (
                    f"the {what} has {count} tokens of {side.name}; at most {most} are explained token by token. "
                    "Take a shorter one."
                )
    return ""


def ask(question: Question, choices: Sequence[Choice], packaged: bool = True) -> Answer:
    """What is known already, from the cache or (with `packaged`) the stored example; starts nothing.

    Raises LossInputError.
    """
    known = _example(question) if packaged else None
    folder = question.folder
    scene = known[0] if known else _scene(read_json(folder / "scene.json"))
    views: dict[Choice, LossView] = {}
    from_package = bool(known) and bool(choices)
    for choice in choices:
        key = question.view_key(choice)
        data = known[1].get(key) if known else None
        if data is None:
            from_package = False
            data = read_json(folder / f"view-{key}.json")
        view = _view(data)
        if view is not None and scene is not None and view.is_of(scene):
            views[choice] = view
    missing = tuple(choice for choice in choices if choice not in views)
    return Answer(scene, views, missing if scene is not None else tuple(choices), from_package)


def answered(
    question: Question, choices: Sequence[Choice], progress: Progress | None = None, seconds: float = 600.0
) -> Answer:
    """The answer to all choices: what is known, else from a process of its own, for which this waits.

    Raises what `start` raises, and CtkdError when the process fails or needs more than `seconds`.
    """
    if fault := problem(question):
        raise CtkdError(fault)
    found = ask(question, choices)
    if not found.missing:
        return found
    started = start(question, found.missing)
    status = started.wait(seconds, progress)
    if not status.ended_already:
        started.cancel()
        raise CtkdError(f"the losses were not there within {seconds:.0f} s; take a shorter text.")
    found = ask(question, choices)
    if found.missing:
        raise CtkdError(status.message)
    return found


def job(question: Question, choices: Sequence[Choice]) -> Job:
    """The job that computes these choices, started or not."""
    return Job(question.folder / f"job-{_digest([question.view_key(c) for c in choices])[:16]}")


def start(question: Question, choices: Sequence[Choice]) -> Job:
    """Compute in the background, or join the process that does it already.

    Raises CtkdError with the sentence of `problem`, LossInputError for options, and CtkdError for a tokenizer that
    another process couldn't load again.
    """
    if fault := problem(question):
        raise CtkdError(fault)
    if not 0 < len(choices) <= MAX_METHODS:
        raise CtkdError(f"choose 1 to {MAX_METHODS} methods; got {len(choices)}.")
    found = job(question, choices)
    order = Order(
        hand_over(question.student),
        hand_over(question.teacher),
        question.context,
        question.text,
        question.named,
        tuple(Asked(c.method, c.variant, dict(c.options)) for c in choices),
    )
    found.start(WORKER, order)
    return found


def unusable(student: Tokenizer, teacher: Tokenizer) -> dict[str, str]:
    """Methods without a loss for this pair, and why."""
    reasons = {row.name: "it has an alignment but no loss" for row in methods.METHODS.values() if not row.can_train}
    if student.fingerprint != teacher.fingerprint:
        for row in methods.training():
            if row.same_tokenizer:
                reasons[row.name] = "it compares equal vocabularies, and these differ"
    return reasons


def usable(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    """Names of the methods that can be asked about, in table order."""
    out = unusable(student, teacher)
    return [row.name for row in methods.training() if row.name not in out]


def write_scene(question: Question, scene: Scene) -> None:
    """Keep the scene. Raises OSError."""
    files.write_atomic(question.folder / "scene.json", json.dumps(scene.to_dict()))


def write_view(question: Question, choice: Choice, view: LossView) -> None:
    """Keep what was computed for one choice. Raises OSError."""
    files.write_atomic(question.folder / f"view-{question.view_key(choice)}.json", json.dumps(view.to_dict()))


def example_document(question: Question, choices: Sequence[Choice]) -> dict[str, Any]:
    """The stored example's content, from answers in the cache. Raises CtkdError when one is missing."""
    answer = ask(question, choices, packaged=False)
    if answer.scene is None or answer.missing:
        raise CtkdError("compute every choice before it is stored.")
    views = {question.view_key(c): answer.views[c].to_dict() for c in choices}
    return {"key": question.key, "scene": answer.scene.to_dict(), "views": views}


def _example(question: Question) -> tuple[Scene, dict[str, Any]] | None:
    stored = _stored(EXAMPLE)
    if stored.get("key") != question.key:
        return None
    scene, views = _scene(stored.get("scene") or {}), stored.get("views")
    return None if scene is None else (scene, views if isinstance(views, dict) else {})


@lru_cache(maxsize=1)
def _stored(path: Path) -> dict[str, Any]:
    return read_json(path)


def _scene(data: dict[str, Any]) -> Scene | None:
    with suppress(CtkdError):
        return Scene.from_dict(data) if data else None
    return None  # a damaged file counts as none


def _view(data: dict[str, Any] | None) -> LossView | None:
    with suppress(CtkdError):
        return LossView.from_dict(data) if data else None
    return None
