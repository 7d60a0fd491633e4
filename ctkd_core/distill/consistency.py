"""What the options of a run ask of each other: whether one is of use, or even possible, beside another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import RunError, short
from ctkd_core.tokenizers.catalog import TOKENIZERS

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

LATEST = "latest"  # the word that means the newest run or sweep, wherever one is named
MOST_NAME = 200  # characters of a new run's name


def check_texts(values: Mapping[str, Any]) -> None:
    """Raise RunError for an option that can't be written to a file: one with half of a surrogate pair in its text.

    A command line gives those for bytes that aren't UTF-8, and JSON can spell them.
    """
    for name, value in values.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise RunError(f"{name} {short(value)} isn't valid Unicode text; write it in UTF-8.") from None


def check_name(name: str) -> None:
    """Raise RunError for a name that a new run can't have. Runs of earlier versions may have it."""
    if len(name) > MOST_NAME:
        raise RunError(f"name has {len(name):,} characters; give at most {MOST_NAME}.")
    if name == LATEST:
        raise RunError(f"name {LATEST!r} would mean the newest run wherever runs are named; give another name.")


def check_student(config: RunConfig) -> None:
    """Raise RunError for a student without what it is made of, or with what it isn't."""
    if config.student_model == "pretrained" and not config.student_path:
        raise RunError("student_model 'pretrained' needs student_path: a folder or hub id of a causal language model.")
    if config.student_model not in ("pretrained", "prune") and config.student_path:
        raise RunError(
            f"student_path {short(config.student_path)} is only read with student_model 'pretrained' or 'prune'; "
            f"student_model is {config.student_model!r}."
        )
    heads = scratch_heads(config.hidden_size)
    if config.hidden_size % heads or (config.hidden_size // heads) % 2:
        raise RunError(
            f"hidden_size {config.hidden_size} can't be cut into attention heads; use a multiple of 64 (or 8)."
        )


def refuse_tokenizer(model: object) -> None:
    """Raise RunError where the student's model is called by the name of a tokenizer."""
    if isinstance(model, str) and model in TOKENIZERS:
        raise RunError(
            f"student_model (--student-model, --student) says what the student's model is made of, and {model!r} is a "
            "tokenizer: that is the option student (-s). A model is scratch, transplant or prune, or a folder or hub "
            "id of a pretrained one (student_model pretrained, student_path)."
        )


def scratch_heads(hidden_size: int) -> int:
    """Attention heads of a scratch student: 64 wide where that divides the width."""
    return max(1, hidden_size // 64)


def check_asking(config: RunConfig) -> None:
    """Raise RunError where text of the student's own or further teachers need a teacher that the method doesn't ask."""
    if config.needs_teacher:
        return
    if config.on_policy_share > 0.0:
        raise RunError(
            f"method {config.method!r} asks no teacher, so it can't learn from text that the student wrote; "
            "set on_policy_share to 0 or choose another method."
        )
    if config.teachers:
        raise RunError(
            f"method {config.method!r} asks no teacher; with further teachers, give the first one a method that does."
        )


def check_weights(config: RunConfig) -> None:
    """Raise RunError where all teachers weigh nothing."""
    weights = [config.teacher_weight, *(entry["weight"] for entry in config.teachers)]
    if config.teachers and not any(weights):
        raise RunError("all teachers weigh 0, so nothing would be learnt; give one of them a weight above 0.")


def check_precision(config: RunConfig) -> None:
    """Raise RunError where the numbers of a run are said twice."""
    for name in ("bf16", "fp16"):
        if name in config.trainer and config.precision != "auto":
            raise RunError(
                f"precision is {config.precision!r} and trainer sets {name}: leave one of them out (precision takes "
                "fp32, bf16 and fp16)."
            )


def check_device(device: str) -> None:
    """Raise RunError for a device that isn't known."""
    kind, _, index = device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (
        index and not (kind == "cuda" and index.isascii() and index.isdigit())
    ):
        raise RunError(f"device {short(device)} isn't known; use auto, cpu, mps, cuda or cuda:0.")
