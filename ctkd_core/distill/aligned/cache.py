"""Aligned samples on disk, found again by the content that they were made of.

An entry is a folder: `arrays.npz` with the arrays of all samples in a row, `about.json` with its hash. The name is a
hash of the examples as each tokenizer reads them, the tokenizers, the methods with their options, where samples are
cut, and the program's own files that align. Nothing is unpickled. An entry that is damaged counts as none, the oldest
make room when all take more than MOST_BYTES, and a cache that can't be written costs time, no more.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core import files
from ctkd_core.background.status import read_record, write_record
from ctkd_core.distill.aligned.work import AlignmentSetup, Samples
from ctkd_core.distill.data import Example
from ctkd_core.files import bounded
from ctkd_core.files.documents import Document
from ctkd_core.losses.batch import AlignedSample

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

VERSION = 1  # of the format
MOST_BYTES = 2_000_000_000
ARRAYS, ABOUT = "arrays.npz", "about.json"
# What decides how a text is cut and aligned, besides the data.
_PROGRAM = (
    *("alignment/**/*.py", "losses/batch.py", "methods/row.py", "methods/families/*.py", "tokenizers/*.py"),
    "distill/models/teachers.py",
)


class About(Document):
    """Of the arrays of an entry: their hash and size."""

    sha256: str
    bytes: int = 0


def root() -> Path:
    """The folder of all entries."""
    return files.cache_dir() / "aligned"


def key_of(job: AlignmentSetup, examples: Sequence[Example]) -> str:
    """The name of the entry for this work."""
    told = [VERSION, _program(), job.max_length, job.truncation_side, _tokenizer(job.student)]
    told += [
        [_tokenizer(t.tokenizer), t.method, t.variant, sorted((k, repr(v)) for k, v in t.align_options.items())]
        for t in job.teachers
    ]
    digest = hashlib.sha256(json.dumps(told).encode())
    for example in examples:
        read = [repr(example.prompt_for(t)) for t in (job.student, *(t.tokenizer for t in job.teachers))]
        digest.update(json.dumps([*read, example.completion, example.whole]).encode())
    return digest.hexdigest()[:40]


def _tokenizer(tokenizer: Tokenizer) -> list[Any]:
    roles = [tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id]
    return [tokenizer.fingerprint, *roles, tokenizer.add_bos, list(tokenizer.end_ids), tokenizer.chat_template]


@cache
def _program() -> str:
    """A hash of this program's files that align: another version makes its own entries."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _PROGRAM for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read(key: str, job: AlignmentSetup) -> list[Samples] | None:
    """The samples of an entry; None without one, and for one that isn't as it was written."""
    folder = root() / key
    try:
        about = read_record(folder / ABOUT, About)
        data = files.read_regular(folder / ARRAYS, MOST_BYTES)
        if hashlib.sha256(data).hexdigest() != about.sha256:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = _unpacked({name: arrays[name] for name in arrays.files}, job)
        bounded.use(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile):
        return None
    return found


def write(key: str, samples: Sequence[Samples]) -> None:
    """Keep the samples. What can't be written isn't kept."""
    file = io.BytesIO()
    np.savez(file, **_packed(samples))
    data = file.getvalue()
    if len(data) > MOST_BYTES:
        return
    with suppress(OSError):
        with files.replacing(root() / key) as part:
            part.mkdir()
            (part / ARRAYS).write_bytes(data)
            write_record(part / ABOUT, About(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))
        bounded.make_room(root(), MOST_BYTES, newest=root() / key)


_FLAT = ("student_ids", "teacher_ids", "groups", "pairs")  # of different lengths in each sample


def _packed(samples: Sequence[Samples]) -> dict[str, Any]:
    """Arrays of all samples of all teachers: what differs in length in a row, with the lengths beside it."""
    learnt = [s for s in samples if s is not None]
    packed: dict[str, Any] = {"kept": np.array([s is not None for s in samples], dtype=bool)}
    for k in range(len(learnt[0]) if learnt else 0):
        column = [s[k] for s in learnt]
        for name in _FLAT:
            values = [getattr(s, name) for s in column]
            if name == "pairs":
                if all(value is None for value in values):
                    continue
                values = [np.zeros((0, 2), np.int32) if value is None else value for value in values]
                packed[f"{k}.has_pairs"] = np.array([s.pairs is not None for s in column], dtype=bool)
            packed[f"{k}.{name}"] = np.concatenate(values).astype(np.int32, copy=False)
            packed[f"{k}.{name}.lengths"] = np.array([len(value) for value in values], dtype=np.int64)
        packed[f"{k}.starts"] = np.array(
            [[s.student_response_start, s.teacher_response_start, s.truncated] for s in column], dtype=np.int64
        )
    return packed


def _unpacked(arrays: dict[str, Any], job: AlignmentSetup) -> list[Samples]:
    """The samples again. Raises ValueError, KeyError or IndexError for arrays that don't fit together."""
    kept = arrays["kept"]
    count = int(kept.sum())
    columns = []
    for k, teacher in enumerate(job.teachers if count else ()):
        parts = {name: _cut(arrays, f"{k}.{name}") for name in _FLAT if f"{k}.{name}" in arrays}
        starts = arrays[f"{k}.starts"].tolist()
        if any(len(part) != count for part in (*parts.values(), starts)):
            raise ValueError("lengths that don't fit")
        has_pairs = arrays[f"{k}.has_pairs"] if "pairs" in parts else np.zeros(count, dtype=bool)
        made_for = (job.student.fingerprint, teacher.tokenizer.fingerprint)
        columns.append(
            [
                AlignedSample(
                    parts["student_ids"][n],
                    parts["teacher_ids"][n],
                    first,
                    second,
                    parts["groups"][n],
                    bool(truncated),
                    parts["pairs"][n] if has_pairs[n] else None,
                    made_for,
                )
                for n, (first, second, truncated) in enumerate(starts)
            ]
        )
    rows = iter(zip(*columns, strict=True))
    return [next(rows) if keep else None for keep in kept.tolist()]


def _cut(arrays: dict[str, Any], name: str) -> list[Any]:
    values, lengths = arrays[name], arrays[f"{name}.lengths"]
    ends = np.cumsum(lengths)
    if (len(ends) and ends[-1] != len(values)) or (lengths < 0).any():
        raise ValueError("lengths that don't fit")
    return np.split(values, ends[:-1]) if len(ends) else []
