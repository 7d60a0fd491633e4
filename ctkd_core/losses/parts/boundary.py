"""Two numbers of each row: log-probability of one token, and of all tokens that begin a new word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctkd_core.alignment.alm import boundary_tokens
from ctkd_core.losses.engine.deferred import readable
from ctkd_core.losses.engine.engine import Buffers, Chunk, rows_per_chunk, softmax
from ctkd_core.losses.parts.merged import in_place_log_probs

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Below this a sum of float32 probabilities has lost terms: the logarithm is taken from the logits instead.
SMALLEST_SUM = 1e-20
# Where no masked token has any probability, whose logarithm would be minus infinity; nothing can raise it.
NOTHING = -70.0


@lru_cache(maxsize=16)
def _starts(tokenizer: Tokenizer) -> Tensor:
    return torch.from_numpy(boundary_tokens(tokenizer))


def boundary_mask(tokenizer: Tokenizer, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[V] 1 for boundary tokens, 0 for others and for padding columns."""
    starts = _starts(tokenizer)[:width].to(device=device, dtype=dtype)
    return torch.nn.functional.pad(starts, (0, max(0, width - len(starts))))


def read_rows(
    logits: Tensor, rows: Tensor, targets: Tensor, mask: Tensor | None, dtype: torch.dtype, chunk_rows: int | None
) -> tuple[Tensor, Tensor]:
    """[n], [n]: log p(target) and log of the probability of the masked tokens (0 without a mask), no gradient.

    rows, targets int64 [n]; logits [..., V].
    """
    buffers = Buffers(logits.device, dtype)
    if mask is None and dtype == torch.float32 and readable(logits):
        return in_place_log_probs(logits, rows, targets), torch.zeros(len(rows), dtype=dtype, device=logits.device)
    token = torch.empty(len(rows), dtype=dtype, device=logits.device)
    boundary = torch.zeros_like(token)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        span = slice(begin, begin + step)
        z = buffers.read("logits", logits, rows[span])
        chosen = z.gather(1, targets[span, None]).squeeze(1)
        p, normaliser = softmax(z, 1.0, buffers, "softmax")
        token[span] = chosen - normaliser
        if mask is not None:
            boundary[span] = _log_mass(p @ mask, z, normaliser, mask).clamp_(max=0.0)  # sums round above 1
    return token, boundary


def _log_mass(mass: Tensor, z: Tensor, normaliser: Tensor, mask: Tensor) -> Tensor:
    """[c]: log of the masked probabilities' sums `mass` [c]; NOTHING where no masked logit is finite."""
    rare = (mass < SMALLEST_SUM).nonzero().squeeze(1)
    found = mass.clamp(min=SMALLEST_SUM).log()
    if len(rare):
        exact = z[rare].masked_fill(mask == 0, -torch.inf).logsumexp(dim=1) - normaliser[rare]
        found[rare] = torch.where(exact == -torch.inf, NOTHING, exact)
    return found


@dataclass(frozen=True)
class ReadKernel:
    """Engine kernel of known values [R, n] whose gradient reaches the rows through both numbers.

    target int64 [R]; slope_token, slope_boundary [R]: d loss / d number, all factors in them; boundary [R] its log.
    """

    values: Tensor
    target: Tensor
    slope_token: Tensor
    slope_boundary: Tensor
    boundary: Tensor
    mask: Tensor | None

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:  # noqa: ARG002 - slopes are weighted already
        """Values of the chunk's rows, read before; their gradient is added where one is wanted."""
        span = chunk.rows
        if chunk.learns:
            token, boundary, log_mass = self.slope_token[span], self.slope_boundary[span], self.boundary[span]
            boundary = boundary * (log_mass != NOTHING)
            chunk.add_at(self.target[span, None], token[:, None])
            chunk.add_softmax(-(token + boundary))
            if self.mask is not None and bool((boundary != 0).any()):
                p, normaliser = chunk.softmax()
                assert chunk.gradient is not None
                inside = torch.mul(p, self.mask, out=chunk.buffers.take("inside", *p.shape))
                rare = log_mass < math.log(SMALLEST_SUM)
                common = torch.where(rare, 0.0, boundary * (-log_mass.clamp(min=math.log(SMALLEST_SUM))).exp())
                chunk.gradient.addcmul_(inside, common[:, None])
                if bool((rare & (boundary != 0)).any()):
                    among = chunk.logits[rare].masked_fill(self.mask == 0, -torch.inf)
                    among = among.sub_((normaliser + log_mass)[rare, None]).exp_()
                    chunk.gradient[rare] += boundary[rare, None] * among
        return self.values[span]
