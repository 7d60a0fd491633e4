"""A projection whose weights learn, for P-KL. Imports torch; import it where it is needed only.

Parameters a = log(weight + 1e-10) stand on the entries of a map, and a row's weights are the softmax of its entries, so
rows go on summing to 1 and no entry comes or goes.
Source: X-Token, arXiv 2605.21699 (W is trained with the student at a learning rate of 1e-2, without gradient clipping;
H-KL never trains it); the parametrisation is that of an earlier version of NVIDIA NeMo-RL's code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary.projection import Projection

EPSILON = 1e-10
LEARNING_RATE = 1e-2  # X-Token


class LearnableProjection(nn.Module):
    """W of a Projection with nnz entries in [Vs, Vt], trained.

    logits   parameter float32 [nnz]
    rows     buffer int64 [nnz], ascending; columns: buffer int64 [nnz]
    """

    part = "projection"  # the name by which a run gives it a learning rate
    rows: Tensor
    columns: Tensor

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.projection = projection
        self.shape = projection.shape
        rows = np.repeat(np.arange(self.shape[0]), projection.fan_out())
        weights = torch.from_numpy(projection.matrix.data.astype(np.float64))
        self.logits = nn.Parameter(torch.log(weights + EPSILON).float())
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(projection.matrix.indices.astype(np.int64)))

    def weights(self) -> Tensor:
        """[nnz], in the type of `logits`: softmax over each row's entries."""
        size = self.shape[0]
        highest = self.logits.new_full((size,), -torch.inf)
        highest = highest.scatter_reduce(0, self.rows, self.logits.detach(), "amax")
        raised = torch.exp(self.logits - highest[self.rows])
        total = raised.new_zeros(size).index_add(0, self.rows, raised)
        return raised / total[self.rows]

    def forward(self, probabilities: Tensor, columns: Tensor | None = None) -> Tensor:
        """Student probabilities [n, Vs] -> teacher vocabulary [n, Vt]; with `columns` int64 [C] only those, [n, C].

        Computed in the type of `logits` (float32), under autocast too. Mass of empty rows is lost.
        Raises ProjectionError for another width than Vs.
        """
        if probabilities.ndim != 2 or probabilities.shape[1] != self.shape[0]:
            raise ProjectionError(
                f"probabilities have the shape {list(probabilities.shape)}, but the projection takes "
                f"[n, {self.shape[0]}]; widen the map to the model's logits or cut the padding off."
            )
        with torch.autocast(probabilities.device.type, enabled=False):
            weights, rows, targets, width = self.weights(), self.rows, self.columns, self.shape[1]
            if columns is not None:
                if len(columns.unique()) < len(columns):
                    raise ProjectionError("a column is asked for twice; pass each column once.")
                place = targets.new_full((width,), -1)
                place[columns] = torch.arange(len(columns), device=columns.device)
                targets = place[targets]
                kept = targets >= 0
                weights, rows, targets, width = weights[kept], rows[kept], targets[kept], len(columns)
            return _Project.apply(probabilities.to(self.logits.dtype), weights, rows, targets, width)

    @torch.no_grad()
    def to_projection(self) -> Projection:
        """The map with the weights as they are now; entries and their reasons are those it began with."""
        matrix = self.projection.matrix.copy()
        matrix.data = self.weights().float().cpu().numpy()
        return replace(self.projection, matrix=matrix, options=self.projection.options | {"learned": True})


class _Project(torch.autograd.Function):
    """p [n, Vs] times the sparse matrix of `weights` [k] at (rows, targets) -> [n, width].

    Torch's own gradient of a sparse product makes a dense [Vs, Vt] matrix; this one stays with the entries.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, weights: Tensor, rows: Tensor, targets: Tensor, width: int) -> Tensor:
        ctx.save_for_backward(p, weights, rows, targets)
        return _times(p, weights, rows, targets, width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        p, weights, rows, targets = ctx.saved_tensors
        to_p = to_weights = None
        if ctx.needs_input_grad[0]:
            to_p = _times(gradient, weights, targets, rows, p.shape[1])
        if ctx.needs_input_grad[1]:
            to_weights = torch.zeros_like(weights)
            for own, outer in zip(p, gradient):  # one position at a time: [n, k] at once is large
                to_weights += own[rows] * outer[targets]
        return to_p, to_weights, None, None, None


def _times(p: Tensor, weights: Tensor, rows: Tensor, targets: Tensor, width: int) -> Tensor:
    matrix = torch.sparse_coo_tensor(torch.stack([targets, rows]), weights, (width, p.shape[1]), check_invariants=False)
    return torch.sparse.mm(matrix, p.T).T.contiguous()
