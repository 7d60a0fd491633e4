"""The evaluations that a run can be asked for: names, what they answer, what they cost. Loads no torch.

One row an evaluation; the option of a run, the command line, the docs and the estimate read it. Bits per byte and
repetition are always measured and have no row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import CtkdError, RunError, short, unknown

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

ALL, NONE = "all", "none"
DEFAULT = "classes"
WRITING = 3  # a written token costs about as much as so many that are read: the weights are read anew for each


@dataclass(frozen=True)
class TokensRead:
    """Tokens that models read for one evaluation; a written one counts as `WRITING`.

    student, teacher  each time it is measured; teacher_once  the first time only
    """

    student: int = 0
    teacher: int = 0
    teacher_once: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One row: its name, the question that it answers, what it costs in words, and whether it needs the teacher."""

    name: str
    question: str
    cost: str
    needs_teacher: bool = False

    def tokens(self, config: RunConfig, tokens_per_sample: int) -> TokensRead:
        """What it costs with this config, whose samples have so many tokens each."""
        return _TOKENS[self.name](config, tokens_per_sample)


EVALUATIONS: dict[str, Evaluation] = {
    row.name: row
    for row in (
        Evaluation(
            "classes",
            "Which text did it learn: bits per byte by domain, language and class of token, beside the teacher's.",
            "nothing beyond bits per byte",
        ),
        Evaluation(
            "agreement",
            "Does it say what the teacher says: the same first choice, and how far all their next bytes lie apart.",
            "student and teacher read the held-out samples once more, each time",
            needs_teacher=True,
        ),
        Evaluation(
            "completions",
            "Does it write what it should: ROUGE-L and exact match of greedy completions.",
            "the student writes `eval_completions` answers each time, the teacher once",
        ),
        Evaluation(
            "arithmetic",
            "Can it reckon, or copy a number: exact match of results by the digits of the longer operand.",
            "the student writes up to `eval_completions` answers each time, the teacher once",
        ),
        Evaluation(
            "exposure",
            "Do its own words lead it astray: excess error behind its own text against the teacher's (ExAccErr).",
            "the student writes `eval_completions` answers each time, the teacher once; both read both",
            needs_teacher=True,
        ),
    )
}


def chosen(value: Any, error: type[CtkdError] = RunError) -> tuple[str, ...]:
    """The names in a text ("classes, agreement", "all", "none") or a list of names, in the order of the table.

    Raises `error` with the nearest names for an unknown one.
    """
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable) or not all(isinstance(name, str) for name in value):
        raise error(f"evaluations are names, separated by commas, or a list of names; got {short(value)}.")
    names = [name.strip() for name in value if name.strip()]
    if names == [ALL]:
        return tuple(EVALUATIONS)
    if names in ([], [NONE]):
        return ()
    for name in names:
        if name not in EVALUATIONS:
            raise unknown("evaluation", name, [*EVALUATIONS, ALL, NONE], error)
    return tuple(name for name in EVALUATIONS if name in names)


def spelt(names: Iterable[str]) -> str:
    """Names as one text, the value of the option: what `chosen` reads."""
    return ", ".join(names) or NONE


def tokens_of(config: RunConfig, names: Iterable[str], tokens_per_sample: int) -> dict[str, TokensRead]:
    """What each of these evaluations costs with a config."""
    return {name: EVALUATIONS[name].tokens(config, tokens_per_sample) for name in names}


def _none(config: RunConfig, each: int) -> TokensRead:  # noqa: ARG001
    return TokensRead()


def _agreement(config: RunConfig, each: int) -> TokensRead:
    read = config.eval_samples * each
    return TokensRead(read, read)


def _writing(config: RunConfig, each: int) -> TokensRead:  # noqa: ARG001
    written = WRITING * config.eval_completions * config.sample_tokens
    return TokensRead(written, 0, written)


def _exposure(config: RunConfig, each: int) -> TokensRead:
    written = _writing(config, each).student
    read = 2 * config.eval_completions * (each + config.sample_tokens)
    return TokensRead(written + read, read, written)


_TOKENS = {
    "classes": _none,
    "agreement": _agreement,
    "completions": _writing,
    "arithmetic": _writing,
    "exposure": _exposure,
}
