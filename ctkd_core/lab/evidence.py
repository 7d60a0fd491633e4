"""What models say of one text: entropies and top candidates of teacher and student, computed apart and kept.

Pages and the command line must not import torch, so a process of its own (`evidence_worker`) runs the models and writes
safetensors; this file only starts it, waits for it and reads what it left. Models at hand offline are the bundled
teacher and, as student, its transplanted twin: the same body under the student's tokenizer, untrained.

Row convention: row i is what a model says after it has read token i, so its prediction of token i + 1. CDM pairs the
string of token i with exactly this row (docs/methods/cdm.md); the first token's own prediction isn't part of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as record

from ctkd_core import files
from ctkd_core.background.lifecycle import Job
from ctkd_core.background.progress import Progress
from ctkd_core.background.status import RECORD
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.tokenizers import assets, catalog
from ctkd_core.tokenizers.handover import Handover, hand_over

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

WORKER = "ctkd_core.lab.evidence_worker"
FILE = "evidence.safetensors"
TEACHER = "smollm2"  # the only tokenizer whose model comes along
TOP_K = 100  # candidates kept of each row: CDM's and SeDi's K
MAX_TOKENS = 4096  # of either side: half a minute on two cores
MAX_CHARACTERS = 40_000  # a quick look before anything is encoded
VERSION = 1  # of the file; another one is computed anew


Row = Annotated[NDArray[np.float32], documents.Array("float32", 1)]
Ids = Annotated[NDArray[np.int32], documents.Array("int32", 2)]
Logprobs = Annotated[NDArray[np.float32], documents.Array("float32", 2)]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows of both models on one text, one for each token (without special tokens); natural logarithms.

    teacher_entropy, student_entropy            float32 [n] in nats, of the whole distribution after token i
    *_top_ids int32 [n, K], *_top_logprobs float32 [n, K]  candidates for token i + 1, most likely first
    teacher_space_probability                   float32 [nT], that what follows begins a new word (ALM's chunking)
    """

    teacher_entropy: Row
    student_entropy: Row
    teacher_top_ids: Ids
    teacher_top_logprobs: Logprobs
    student_top_ids: Ids
    student_top_logprobs: Logprobs
    teacher_space_probability: Row
    notes: tuple[str, ...] = ()


@record(frozen=True, config=RECORD)
class Order:
    """What the process that asks the models is told."""

    student: Handover
    teacher: Handover
    text: str


ARRAYS = tuple(f.name for f in fields(Evidence) if f.name != "notes")


def evidence(
    text: str,
    student: Tokenizer,
    teacher: Tokenizer,
    progress: Progress | None = None,
    seconds: float = 600.0,
) -> Evidence:
    """What the models say of `text`: from the cache, else computed in a process of its own, for which this waits.

    Raises CtkdError when no model of the teacher is at hand, when the text is empty or too long, when the process
    fails, and after `seconds`.
    """
    found = cached(text, student, teacher)
    if found is not None:
        return found
    started = start(text, student, teacher)
    status = started.wait(seconds, progress)
    if not status.ended_already:
        started.cancel()
        raise CtkdError(f"the models did not answer within {seconds:.0f} s; take a shorter text.")
    found = cached(text, student, teacher)
    if found is None:
        raise CtkdError(status.message)
    return found


def problem(text: str, teacher: Tokenizer) -> str:
    """Why the models can't be asked about this, as a sentence; "" when they can."""
    if teacher.source != catalog.TOKENIZERS[TEACHER].source:
        return (
            f"no model of {teacher.name!r} is at hand: only that of {TEACHER!r} comes along. Choose {TEACHER} as the "
            "teacher."
        )
    if not text:
        return "the text is empty; there is nothing to ask the models about."
    if len(text) > MAX_CHARACTERS:
        return (
            f"the models are asked about at most {MAX_CHARACTERS:,} characters; this text has {len(text):,}. Take a "
            "shorter one."
        )
    return ""


def job(text: str, student: Tokenizer, teacher: Tokenizer) -> Job:
    """The job that answers for this text and pair, started or not."""
    asked = json.dumps(
        [VERSION, TOP_K, assets.TEACHER_SHA256, student.fingerprint, teacher.fingerprint, text], ensure_ascii=True
    )
    key = hashlib.sha256(asked.encode()).hexdigest()[:32]
    return Job(files.cache_dir() / "evidence" / key)


def start(text: str, student: Tokenizer, teacher: Tokenizer) -> Job:
    """Ask the models in the background, or join the process that is asking them the same.

    Raises CtkdError with the sentence of `problem`, and for a tokenizer that another process couldn't load again.
    """
    if said := problem(text, teacher):
        raise CtkdError(said)
    found = job(text, student, teacher)
    found.start(WORKER, Order(hand_over(student), hand_over(teacher), text))
    return found


def cached(text: str, student: Tokenizer, teacher: Tokenizer) -> Evidence | None:
    """What the models said of this text before, None when nobody asked or the file is damaged."""
    if problem(text, teacher):
        return None
    return read(job(text, student, teacher).folder / FILE)


def write(path: Path, found: Evidence) -> None:
    """Write the arrays and notes as safetensors, whole or not at all. Raises OSError."""
    from safetensors.numpy import save

    data = save({name: getattr(found, name) for name in ARRAYS}, {"notes": json.dumps(found.notes)})
    files.write_atomic(path, data)


def read(path: Path) -> Evidence | None:
    """The evidence in a file, None when there is none or it isn't what `write` leaves."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in ARRAYS}
            notes = json.loads((file.metadata() or {}).get("notes", "[]"))
        found = documents.fitting(Evidence, arrays | {"notes": notes}, f"evidence {str(path)!r}")
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError):
        return None
    return found if _one_row_a_token(found) else None


def _one_row_a_token(found: Evidence) -> bool:
    """Whether the arrays of each side have as many rows as each other, and ids as many columns as their chances."""
    teacher, student = len(found.teacher_entropy), len(found.student_entropy)
    return (
        found.teacher_top_ids.shape == found.teacher_top_logprobs.shape
        and found.student_top_ids.shape == found.student_top_logprobs.shape
        and len(found.teacher_top_ids) == len(found.teacher_space_probability) == teacher
        and len(found.student_top_ids) == student
    )
