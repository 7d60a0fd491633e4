"""Where rows of a tensor begin in its storage, as the Triton kernels take them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

ALIGNED = 16  # elements: loads of 16 bytes and more need no check


class RowsAt(NamedTuple):
    """n rows: the storage as one `line`, `offset` int64 [n] of each row's first element, and what divides all of them.

    step is ALIGNED or 1; an offset of -1 stands for no row.
    """

    line: Tensor
    offset: Tensor
    step: int = 1

    def chosen(self, rows: Tensor) -> RowsAt:
        """Rows int64 [m] of these."""
        return RowsAt(self.line, self.offset[rows], self.step)


def step_of(line: Tensor, *strides: int) -> int:
    """ALIGNED where a line begins at such an address and all strides are multiples of it, else 1."""
    return ALIGNED if all(s % ALIGNED == 0 for s in strides) and line.data_ptr() % ALIGNED == 0 else 1
