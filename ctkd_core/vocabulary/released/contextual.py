"""CDM's contextual vocabulary map as released: a static map, completed inside each sequence by near strings.

Both directions run over the top-K lists of the merged rows ("dual" in the released code). Id 0 means "unmapped".
Source: released code of arXiv 2502.11104. The quirks kept on purpose: targets are banned by the numbers of unmapped
source ids, a pass overwrites unmapped ids of its input by 0 so that the next pass sees them gone, and of equally near
candidates the first in Python's set order wins. `contextual` is the map without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.costs import normalise_released, released_free_pairs
from ctkd_core.errors import ProjectionError

UNMAPPED = 0
# Released defaults.
TOP_K, THRESHOLD = 100, 0.3


@dataclass(frozen=True, eq=False)
class MappedRows:
    """One pass: ids int64 [G, K] of both sides slot by slot (0 = unmapped on both), and the pairs found by string."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    found: tuple[tuple[int, int], ...]

    @property
    def unmapped_share(self) -> float:
        """Share of slots without a partner."""
        return float((self.target == UNMAPPED).mean())


def inverse_map(forward: Sequence[int], size: int) -> NDArray[np.int64]:
    """Target -> source map int64 [size] of a source -> target map; of several sources the last wins."""
    out = np.full(size, UNMAPPED, dtype=np.int64)
    for source, target in enumerate(forward):
        if target >= size:
            raise ProjectionError(f"id {source} maps to {target}, but the other vocabulary has only {size} ids.")
        if target != UNMAPPED:
            out[target] = source
    return out


def top_ids(logits: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Ids int64 [G, k] of the largest logits [G, V], best first; equal ones by id."""
    if k > logits.shape[1]:
        raise ProjectionError(f"top-{k} of a vocabulary of {logits.shape[1]}; lower top_k.")
    return np.argsort(-logits, axis=1, kind="stable")[:, :k]


def normalised_distances(own: Sequence[str], other: Sequence[str]) -> NDArray[np.float64]:
    """Edit distances [a, b] over the sum of both lengths, blanks deleted; 0 for two empty strings and special pairs."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    u, v = [normalise_released(a) for a in own], [normalise_released(b) for b in other]
    lengths = np.add.outer([len(a) for a in u], [len(b) for b in v])
    found = cdist(u, v, scorer=Levenshtein.distance, dtype=np.int64) / np.maximum(lengths, 1)
    for a, b in released_free_pairs():
        if a in own and b in other:
            found[np.ix_([x == a for x in own], [x == b for x in other])] = 0.0
    return found


def complete_rows(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    static: NDArray[np.int64],
    source_strings: Sequence[str],
    target_strings: Sequence[str],
    threshold: float = THRESHOLD,
) -> MappedRows:
    """One pass over the top-K lists source, target int64 [G, K] with a static map int64 [n].

    An unmapped source id takes the nearest candidate of its own row below `threshold`; a later row may replace what an
    earlier one found; the finished map holds for the whole sequence. Ids past the map are unmapped and ban nothing.
    """
    banned = set(np.flatnonzero(static == UNMAPPED).tolist())
    past = max(0, int(source.max(initial=-1)) + 1 - len(static))
    static = np.append(static, np.full(past, UNMAPPED, dtype=static.dtype))
    mapping, found = static.copy(), []
    for mine, theirs in zip(source.tolist(), target.tolist()):
        candidates = list(set(theirs) - banned)
        unmapped = [u for u in mine if static[u] == UNMAPPED]
        if not (candidates and unmapped):
            continue
        distances = normalised_distances([source_strings[u] for u in unmapped], [target_strings[v] for v in candidates])
        nearest = distances.argmin(axis=1)  # the first of equally near ones
        for u, place, least in zip(unmapped, nearest.tolist(), distances.min(axis=1).tolist()):
            if least < threshold and candidates[place] != UNMAPPED:
                mapping[u] = candidates[place]
                found.append((u, candidates[place]))
    mapped = mapping[source]
    return MappedRows(np.where(mapped == UNMAPPED, UNMAPPED, source), mapped, tuple(found))
