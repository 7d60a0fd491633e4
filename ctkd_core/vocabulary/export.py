"""Vocabulary maps for other programs: the dense form of X-Token's tools, and a list of pairs.

Dense: `indices` int64 [Vs, K] and `likelihoods` float32 [Vs, K], heaviest first; unused slots hold -1 and 0.
Source: NVIDIA NeMo-RL, `x_token` package (the storage of its projection tools); TRL's X-Token loss reads the same two
arrays. Files: docs/maps.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.files import write_atomic
from ctkd_core.vocabulary import entries as table

if TYPE_CHECKING:
    from ctkd_core.vocabulary.projection import Projection


@dataclass(frozen=True)
class Layout:
    """One way to write a map; `suffixes`: the file names that it takes, the first is the usual one."""

    title: str
    suffixes: tuple[str, ...]


LAYOUTS = {
    "nemo-rl": Layout("dense indices and likelihoods", (".pt", ".pth", ".safetensors")),
    "trl": Layout("dense indices and likelihoods, the same arrays", (".pt", ".pth", ".safetensors")),
    "pairs": Layout("one JSON object a line: student, teacher, weight", (".jsonl",)),
}


def export(projection: Projection, path: Path | str, layout: str = "nemo-rl", top_k: int = 0) -> Path:
    """Write the map to the file `path`; the suffix chooses the container. Returns the path.

    top_k  entries that a row keeps, the heaviest, normalised again; 0: all

    Raises ProjectionError for an unknown layout, a suffix that it doesn't take, and a file that can't be written.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS, ProjectionError)
    path = Path(path)
    suffixes = LAYOUTS[layout].suffixes
    if path.suffix.lower() not in suffixes:
        raise ProjectionError(
            f"layout {layout!r} is written to a file that ends in {' or '.join(suffixes)}; got {path.name!r}."
        )
    indices, likelihoods = dense(projection, top_k)
    if layout == "pairs":
        data = _pairs(indices, likelihoods)
    elif path.suffix.lower() == ".safetensors":
        from safetensors.numpy import save

        data = save({"indices": indices, "likelihoods": likelihoods})
    else:
        from ctkd_core.vocabulary.torch_file import tensors_as_bytes

        data = tensors_as_bytes({"indices": indices, "likelihoods": likelihoods})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, sync=True)
    except OSError as error:
        raise ProjectionError(f"can't write {str(path)!r}: {error.strerror or error}.") from error
    return path


def dense(projection: Projection, top_k: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`indices` int64 [Vs, K] and `likelihoods` float32 [Vs, K], heaviest first, -1 and 0 in unused slots.

    K is `top_k`, or the longest row's length for 0 (at least 1). Rows that lose entries are normalised again.
    Raises ProjectionError for a negative `top_k`.
    """
    if top_k < 0:
        raise ProjectionError(f"top_k must be 0 (all entries) or more; got {top_k}.")
    matrix, fan_out = projection.matrix, projection.fan_out()
    width = top_k or max(int(fan_out.max(initial=0)), 1)
    rows = np.repeat(np.arange(projection.shape[0]), fan_out)
    whole = table.entries(rows, matrix.indices, matrix.data, projection.reason)
    kept = table.heaviest(whole, width)
    weights = kept.weights
    if len(kept) < len(whole):
        lost = (fan_out > width)[kept.rows]
        weights = np.where(lost, weights / np.bincount(kept.rows, weights=weights)[kept.rows], weights)
    indices = np.full((projection.shape[0], width), -1, dtype=np.int64)
    likelihoods = np.zeros((projection.shape[0], width), dtype=np.float32)
    at = kept.rows, table.rank(kept.rows)
    indices[at], likelihoods[at] = kept.columns, weights
    return indices, likelihoods


def _pairs(indices: NDArray[np.int64], likelihoods: NDArray[np.float32]) -> bytes:
    rows, slots = np.nonzero(indices >= 0)
    found = zip(rows.tolist(), indices[rows, slots].tolist(), likelihoods[rows, slots].tolist())
    return "".join(json.dumps({"student": s, "teacher": t, "weight": w}) + "\n" for s, t, w in found).encode()
