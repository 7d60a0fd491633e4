"""A chunk that writes its gradient once, from the few numbers a row that terms say it is made of.

On a GPU time goes into moving rows of logits, so a chunk copies none unless a term asks for it: log-sum-exps are read
off the logits in their own data type, `add_softmax` and `add_at` only note what they are told, and one kernel then
writes the gradient into its place. A term that reads `logits` or adds to `gradient` itself gets float32 copies as ever,
and the same kernel adds those in. The twin is `chunk.Chunk`, which does everything at once in torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core.losses.engine.chunk import Buffers, Chunk
from ctkd_core.losses.engine.fused import HeadLogits
from ctkd_core.losses.kernels.rows import RowsAt, step_of
from ctkd_core.losses.kernels.switch import use_triton

if TYPE_CHECKING:
    from ctkd_core.losses.kernels.gpu.writer import Parts

# Memory for what terms need beside the gradient: a share of the gradient's own size, but no less than this.
SCRATCH_BYTES = 2**25
SCRATCH_SHARE = 0.04
# With nothing to keep, rows of one chunk: enough to fill a GPU.
MOST_ROWS = 16_384


def readable(*logits: Tensor | HeadLogits) -> bool:
    """Whether kernels can read all of these: real tensors whose rows lie together, where Triton is in use."""
    if not all(isinstance(z, Tensor) and z.numel() and z.stride(-1) == 1 for z in logits):
        return False
    return use_triton(*logits)  # type: ignore[arg-type]


def rows_per_deferred_chunk(gradient_bytes: int, scratch: int) -> int:
    """Rows of a chunk whose terms need `scratch` bytes a row."""
    budget = max(SCRATCH_BYTES, int(SCRATCH_SHARE * gradient_bytes))
    return max(1, min(MOST_ROWS, budget // max(1, scratch)))


class RowView:
    """Rows of logits [..., V] by where they begin in the tensor's storage: kernels take any strides but the last."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.detach()
        self.width = logits.shape[-1]
        far = sum((size - 1) * stride for size, stride in zip(logits.shape, logits.stride())) + 1
        self.line = self.logits.as_strided((far,), (1,), self.logits.storage_offset())
        self.step = step_of(self.line, *logits.stride()[:-1])

    def offsets(self, rows: Tensor) -> Tensor:
        """int64 [n]: first element of rows int64 [n] of the flattened leading dimensions; -1 stays -1."""
        sizes, strides = self.logits.shape[:-1], self.logits.stride()[:-1]
        rest, found = rows.clamp(min=0), torch.zeros_like(rows)
        for size, stride in zip(reversed(sizes), reversed(strides)):
            found += rest % size * stride
            rest = rest // size
        return torch.where(rows < 0, rows, found)

    def at(self, rows: Tensor) -> RowsAt:
        """Rows as kernels take them."""
        return RowsAt(self.line, self.offsets(rows), self.step)


class DeferredChunk(Chunk):
    """As `Chunk`; `number` is the term that is being computed, `parts` what it says of the gradient."""

    def __init__(
        self, rows: slice, view: RowView, index: Tensor, buffers: Buffers, learns: bool, kept: bool = False
    ) -> None:
        self.rows, self.view, self.index, self.buffers = rows, view, index, buffers
        self.source = view.at(index)
        self.number = 0
        self._learns, self._kept = learns, kept
        self._softmax = {}
        self._norms: dict[float, Tensor] = {}
        self._copy: Tensor | None = None
        self._dense: dict[int, Tensor] = {}
        self._coefficients: dict[tuple[int, float], Tensor] = {}
        self._columns: list[tuple[int, Tensor, Tensor, Tensor | None]] = []
        self._parts: list[tuple[int, str, Any]] = []

    @property
    def learns(self) -> bool:
        """Whether a gradient is wanted."""
        return self._learns

    @property
    def logits(self) -> Tensor:  # type: ignore[override]
        """[c, V] a float32 copy."""
        if self._copy is None:
            self._copy = self.buffers.gather("logits", self.view.logits, self.index)
        return self._copy

    @property
    def gradient(self) -> Tensor | None:  # type: ignore[override]
        """[c, V] float32 to add to, 0 at first."""
        if not self._learns:
            return None
        if self.number not in self._dense:
            shape = len(self), self.view.width
            own = torch.empty(shape, device=self.index.device) if self._kept else None
            own = self.buffers.take(f"gradient {self.number}", *shape) if own is None else own
            self._dense[self.number] = own.zero_()
        return self._dense[self.number]

    def know(self, temperature: float, norm: Tensor) -> None:
        """Log-sum-exp [c] that a kernel has found beside its own figures."""
        self._norms.setdefault(temperature, norm)

    def normaliser(self, temperature: float = 1.0) -> Tensor:
        """Log-sum-exp [c] of logits / temperature; that at temperature 1 comes along in the same pass."""
        if temperature not in self._norms:
            from ctkd_core.losses.kernels.gpu.statistics import normalisers

            wanted = [temperature] if temperature == 1.0 or 1.0 in self._norms else [temperature, 1.0]
            self._norms |= dict(zip(wanted, normalisers(self.source, self.view.width, *wanted)))
        return self._norms[temperature]

    def at(self, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """As `Chunk.at`."""
        offset = self.source.offset
        start = offset[:, None] if rows is None else offset[rows]
        return self.view.line[start + columns].float()

    def add_softmax(self, coefficient: Tensor, temperature: float = 1.0, rows: Tensor | None = None) -> None:
        """As `Chunk.add_softmax`."""
        self.normaliser(temperature)
        key = self.number, temperature
        if key not in self._coefficients:
            self._coefficients[key] = torch.zeros(len(self), dtype=torch.float32, device=self.index.device)
        if rows is None:
            self._coefficients[key] += coefficient
        else:
            self._coefficients[key].index_add_(0, rows, coefficient)

    def add_at(self, columns: Tensor, values: Tensor, rows: Tensor | None = None) -> None:
        """As `Chunk.add_at`."""
        self._columns.append((self.number, columns, values, rows))

    def add_part(self, kind: str, part: Any) -> None:
        """A part that a kernel computes where it writes: "facing", "mapped" or "paired" (`kernels.gpu.writer`)."""
        self._parts.append((self.number, kind, part))

    def write(self, out: RowsAt, scale: float = 1.0, factor: float = 1.0, add: bool = False) -> None:
        """Put the gradient into the rows `out` [c].

        scale: of all terms but the first; factor: of everything; add: to what is there already.
        """
        from ctkd_core.losses.kernels.gpu.writer import write

        passes, apart = self._passes(scale)
        for number, parts in enumerate(passes):
            base = 1.0 if add or number else None
            write(self.source, out, self.view.width, parts, factor, base)
        for term, columns, values, rows in apart:
            place = (out.offset[:, None] if rows is None else out.offset[rows]) + columns
            own = values * (factor * (scale if term else 1.0))
            out.line.scatter_add_(0, place.flatten(), own.to(out.line.dtype).flatten())

    def _passes(self, scale: float) -> tuple[list[Parts], list[tuple[int, Tensor, Tensor, Tensor | None]]]:
        """What each pass over the rows writes, and the single columns that are left for afterwards."""
        from ctkd_core.losses.kernels.gpu.writer import Parts

        def of(number: int) -> float:
            return scale if number else 1.0

        soft: dict[float, Tensor] = {}
        for (number, temperature), coefficient in self._coefficients.items():
            own = coefficient * of(number)
            soft[temperature] = soft[temperature] + own if temperature in soft else own
        triples = [(t, self._norms[t], coefficient) for t, coefficient in soft.items()]
        targets: list[tuple[Tensor, Tensor]] = []
        apart: list[tuple[int, Tensor, Tensor, Tensor | None]] = []
        for number, columns, values, rows in self._columns:
            if rows is None and columns.shape[1] == 1 and not targets:
                targets.append((columns[:, 0].contiguous(), values[:, 0] * of(number)))
            else:
                apart.append((number, columns, values, rows))
        parts: dict[str, list[Any]] = {"facing": [], "mapped": [], "paired": []}
        for number, kind, part in self._parts:
            parts[kind].append((part, of(number)))
        dense = [own if of(number) == 1.0 else own.mul_(scale) for number, own in self._dense.items()]
        count = max(1, len(dense), (len(triples) + 1) // 2, *map(len, parts.values()))
        chosen = [
            Parts(
                triples[2 * k : 2 * k + 2],
                targets[k] if k < len(targets) else None,
                dense[k] if k < len(dense) else None,
                **{kind: found[k] if k < len(found) else None for kind, found in parts.items()},
            )
            for k in range(count)
        ]
        return chosen, apart
