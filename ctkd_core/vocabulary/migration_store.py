"""Whole teacher tokens in student tokens, kept on disk: writing them anew takes seconds for large vocabularies.

One safetensors file a pair, with the SHA-256 of its numbers; a damaged one is written again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core import files
from ctkd_core.vocabulary.store import BUILT, identity

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Table = tuple[NDArray[np.int32], NDArray[np.int32]]


def place(student: Tokenizer, teacher: Tokenizer) -> Path:
    """Where the cache keeps the table of a pair: a hash of everything that it depends on."""
    key = json.dumps([BUILT, identity(student), identity(teacher)], sort_keys=True)
    return files.cache_dir() / "maps" / f"migration-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def write(path: Path, flat: NDArray[np.int64], length: NDArray[np.int64]) -> None:
    """Keep student ids flat [n], of which each teacher id has `length` [Vt]; a cache that can't be written is none."""
    from safetensors.numpy import save

    table = {"flat": flat.astype(np.int32), "length": length.astype(np.int32)}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, save(table, {"sha256": _digest(table["flat"], table["length"])}))


def read(path: Path, ids: int, tokens: int) -> Table | None:
    """flat int32 [n], below `ids`, and length int32 [tokens]; None where they aren't kept, or not whole."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            flat, length = file.get_tensor("flat"), file.get_tensor("length")
            digest = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    if digest != _digest(flat, length) or flat.dtype != np.int32 or length.dtype != np.int32:
        return None
    fits = length.shape == (tokens,) and flat.ndim == 1 and (length >= 0).all() and int(length.sum()) == len(flat)
    return (flat, length) if fits and (not len(flat) or 0 <= flat.min() <= flat.max() < ids) else None


def _digest(flat: NDArray[np.int32], length: NDArray[np.int32]) -> str:
    return hashlib.sha256(length.tobytes() + flat.tobytes()).hexdigest()
