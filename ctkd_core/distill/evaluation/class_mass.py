"""The probability that a student gives to a class of tokens where the text has a token of that class.

A loss that parts the vocabulary into common and uncommon tokens can press a whole class down (tokens of several digits,
say) although each text has them. X-Token (arXiv 2605.21699) follows the mass on numeral tokens over training for that
reason; this is it for every class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctkd_core.distill.evaluation.group_classes import codes_of
from ctkd_core.vocabulary.classes import CLASSES

if TYPE_CHECKING:
    from torch import Tensor

    from ctkd_core.tokenizers.tokenizer import Tokenizer


class ClassMass:
    """Adds up, row by row, the probability of the class that the row's own token belongs to."""

    def __init__(self, student: Tokenizer) -> None:
        self._codes = codes_of(student)
        self._sums = [0.0] * len(CLASSES)
        self._rows = [0] * len(CLASSES)

    def add(self, number: int, rows: Any, targets: Any) -> None:  # noqa: ARG002 - what `evaluate.read_rows` calls
        """Note the rows of one item: logits float32 [k, V], the tokens that follow int64 [k]."""
        own, mass = own_class_mass(rows, targets, self._codes)
        for code, value in zip(own.tolist(), mass.tolist(), strict=True):
            self._sums[code] += value
            self._rows[code] += 1

    def means(self) -> dict[str, float]:
        """The mean of each class that the text has; {} where nothing was noted."""
        return {CLASSES[k]: self._sums[k] / n for k, n in enumerate(self._rows) if n}


def own_class_mass(rows: Tensor, targets: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The class of each target, int64 [k], and the probability of all tokens of that class, float32 [k].

    rows [k, V] logits; targets int64 [k]; codes int64 [n_ids]: class of each id. Ids beyond `codes` count to no class.
    """
    import torch

    width = min(rows.shape[-1], len(codes))
    codes = codes.to(rows.device)
    masses = torch.zeros(len(rows), len(CLASSES), device=rows.device)
    masses.index_add_(1, codes[:width], torch.softmax(rows.float(), dim=-1)[:, :width])
    own = codes[targets]
    return own, masses.gather(1, own[:, None])[:, 0]
