"""The probability that a student gives to a class of tokens where the text has a token of that class.

A loss that parts the vocabulary into common and uncommon tokens can press a whole class down (tokens of several digits,
say) although each text has them. X-Token (arXiv 2605.21699) follows the mass on numeral tokens over training for that
reason; this is it for every class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.evaluation.group_classes import codes_of
from ctkd_core.vocabulary.classes import CLASSES

if TYPE_CHECKING:
    from torch import Tensor

    from ctkd_core.distill.evaluate import Scored
    from ctkd_core.tokenizers.tokenizer import Tokenizer


class ClassMass:
    """Notes, item by item, the probability of the class that each row's own token belongs to: float64 [k]."""

    def __init__(self, student: Tokenizer, n_items: int) -> None:
        self._codes = codes_of(student)
        self.noted: list[NDArray[np.float64]] = [np.zeros(0)] * n_items

    def add(self, number: int, rows: Any, targets: Any) -> None:
        """Note the rows of one item: logits float32 [k, V], the tokens that follow int64 [k]."""
        self.noted[number] = own_class_mass(rows, targets, self._codes).cpu().double().numpy()


def mean_masses(student: Tokenizer, items: Sequence[Scored], masses: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """The mean of each class that the text has. masses: of each item's scored tokens, as `ClassMass` notes them."""
    if not any(map(len, masses)):
        return {}
    codes = codes_of(student).numpy()
    own = np.concatenate([codes[item.ids[item.start :]] for item, found in zip(items, masses) if len(found)])
    values = np.concatenate(masses)
    sums, counts = (np.bincount(own, weights, len(CLASSES)) for weights in (values, None))
    return {CLASSES[k]: float(sums[k] / counts[k]) for k in np.flatnonzero(counts).tolist()}


def own_class_mass(rows: Tensor, targets: Tensor, codes: Tensor) -> Tensor:
    """The probability of all tokens of each target's class, float32 [k].

    rows [k, V] logits; targets int64 [k]; codes int64 [n_ids]: class of each id. Ids beyond `codes` count to no class.
    """
    import torch

    width = min(rows.shape[-1], len(codes))
    codes = codes.to(rows.device)
    masses = torch.zeros(len(rows), len(CLASSES), device=rows.device)
    masses.index_add_(1, codes[:width], torch.softmax(rows.float(), dim=-1)[:, :width])
    return masses.gather(1, codes[targets][:, None])[:, 0]
