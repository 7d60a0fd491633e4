"""What a model says of fixed texts, kept on disk: another run with the same weights and texts asks it no more.

That is a frozen teacher, and a student before its first step. An entry is one file, named by a hash of the model's
weights, of how it computes (precision, device, versions) and of all that it is asked; nothing is unpickled. One that is
damaged, or doesn't fit what is asked, counts as none. The ones used longest ago make room when all take more than
MOST_BYTES, and what can't be kept costs time, no more.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core import files
from ctkd_core.distill.evaluation.group_classes import codes_of
from ctkd_core.distill.teachers.identity import state_fingerprint
from ctkd_core.files import bounded, documents

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.evaluate import Scored
    from ctkd_core.tokenizers.chat_prompts import ChatPrompt
    from ctkd_core.tokenizers.tokenizer import Tokenizer

VERSION = 1  # of the format
MOST_BYTES = 200_000_000
MOST_OF_ONE = 100_000_000
_DAMAGED = (OSError, ValueError, TypeError)


def root() -> Path:
    """The folder of all entries."""
    return files.cache_dir() / "teacher-answers"


@dataclass(frozen=True)
class KeptAnswers:
    """The entries of one model; `of` is a hash of its weights and of how it computes."""

    of: str

    def bits(
        self, items: Sequence[Scored], batch: int, measure: Callable[[], list[NDArray[np.float64]]]
    ) -> list[NDArray[np.float64]]:
        """What `measure` gives: -log2 p of each scored token, float64 [k] for each item (`evaluate.token_bits`).

        batch  items that the model reads at once; padding moves the last digits
        """
        return self._arrays("bits", items, batch, (), measure)

    def bits_and_masses(
        self,
        items: Sequence[Scored],
        batch: int,
        tokenizer: Tokenizer,
        measure: Callable[[], list[NDArray[np.float64]]],
    ) -> list[NDArray[np.float64]]:
        """What `measure` gives: float64 [2, k] for each item, bits as above and what `class_mass` notes."""
        classes = hashlib.sha256(codes_of(tokenizer).numpy().tobytes()).hexdigest()
        return self._arrays(f"bits and masses {classes}", items, batch, (2,), measure)

    def _arrays(
        self,
        kind: str,
        items: Sequence[Scored],
        batch: int,
        shape: tuple[int, ...],
        measure: Callable[[], list[NDArray[np.float64]]],
    ) -> list[NDArray[np.float64]]:
        """What `measure` gives: float64 [*shape, scored tokens] for each item."""
        if not items:
            return measure()
        shapes = [(*shape, len(item.ids) - item.start if item.n_bytes else 0) for item in items]
        ends = np.cumsum([one[-1] for one in shapes])
        asked = ([[item.ids.tolist(), item.start, item.n_bytes > 0] for item in items], batch)
        path = self._path(kind, asked, ".npy")
        with suppress(*_DAMAGED):
            values = np.load(io.BytesIO(_read(path)), allow_pickle=False)
            if values.dtype == np.float64 and values.shape == (*shape, ends[-1]) and np.isfinite(values).all():
                return np.split(values, ends[:-1], axis=-1)
        found = measure()
        if [own.shape for own in found] == shapes and all(np.isfinite(own).all() for own in found):
            file = io.BytesIO()
            np.save(file, np.concatenate(found, axis=-1), allow_pickle=False)
            _write(path, file.getvalue())
        return found

    def texts(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        prompts: Sequence[str | ChatPrompt],
        max_new_tokens: int,
        batch: int,
        write: Callable[[], list[str]],
    ) -> list[str]:
        """What `write` gives: the model's greedy answers to these prompts (`evaluate.complete`), `batch` at once."""
        from ctkd_core.distill import evaluate

        ids = evaluate.with_room(model, tokenizer, prompts, max_new_tokens)
        ends = evaluate.ends_of(tokenizer, prompts)
        settings = model.generation_config.to_json_string() if model.generation_config else ""
        asked = (ids, ends, tokenizer.fingerprint, settings, max_new_tokens, min(batch, len(ids)))
        path = self._path("texts", asked, ".json")
        with suppress(*_DAMAGED):
            texts: list[str] = documents.adapter(list[str]).validate_json(_read(path), strict=True)
            if len(texts) == len(prompts):
                return texts
        found = write()
        _write(path, json.dumps(found).encode())
        return found

    def _path(self, kind: str, asked: Any, ending: str) -> Path:
        digest = hashlib.sha256(json.dumps([self.of, kind, asked]).encode()).hexdigest()
        return root() / f"{digest[:40]}{ending}"


def answers_of(config: RunConfig, device: str) -> KeptAnswers | None:
    """What is kept of a run's first teacher, computing on that device; None where its weights can't be told.

    Ask before the teacher is loaded and after: where they differ, its files were changed meanwhile.
    """
    from ctkd_core.distill.models.teachers import teacher_source
    from ctkd_core.distill.teachers.identity import weights_fingerprint

    weights = weights_fingerprint(teacher_source(config))
    if weights is None:
        return None
    computing = (config.teacher_precision, config.teacher_loading, device.partition(":")[0])
    return _kept(weights, *computing)


def answers_at_start(model: PreTrainedModel) -> KeptAnswers | None:
    """What is kept of a student as it is now, wherever its weights come from.

    None on an accelerator, where it has answered before its weights are read back and hashed; for one with adapters,
    which begin with other random numbers at each seed; and where its state can't be told.
    """
    if model.device.type != "cpu" or getattr(model, "peft_config", None):
        return None
    try:
        state = state_fingerprint(model)
    except (TypeError, ValueError, RuntimeError):  # weights of a kind that has no plain numbers, say
        return None
    return _kept(state, model.dtype, bool(getattr(model, "is_quantized", False)))


def _kept(*told: Any) -> KeptAnswers:
    import torch
    import transformers

    words = [VERSION, _program(), *map(str, told), torch.__version__, transformers.__version__]
    return KeptAnswers(hashlib.sha256(json.dumps(words).encode()).hexdigest())


@cache
def _program() -> str:
    """A hash of this program's files that ask and compute: another version makes its own entries."""
    here = Path(__file__).resolve()
    files_of_it = (here.parents[1] / "evaluate.py", here.with_name("class_mass.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files_of_it)).hexdigest()


def _read(path: Path) -> bytes:
    """The content of an entry, without its hash. Raises OSError without one, ValueError for one that was changed."""
    digest, data = files.read_regular(path, MOST_OF_ONE).split(b"\n", 1)
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise ValueError("damaged")
    with suppress(OSError):  # a home that can be read alone
        bounded.use(path)
    return data


def _write(path: Path, data: bytes) -> None:
    if len(data) >= MOST_OF_ONE:
        return
    with suppress(OSError):
        files.write_atomic(path, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
        bounded.make_room(root(), MOST_BYTES, newest=path)
