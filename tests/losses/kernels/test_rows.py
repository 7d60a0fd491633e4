"""What the Triton kernels are told about where rows begin."""

from __future__ import annotations

import pytest
import torch

from ctkd_core.losses.kernels.rows import step_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_are_called_aligned_where_all_of_them_begin_at_whole_loads(dtype: torch.dtype) -> None:
    line = torch.zeros(4096, dtype=dtype)
    assert line.data_ptr() % 64 == 0, "the test needs storage that begins at such an address, as torch makes it"
    step = step_of(line, 480, 32, 16)
    assert step > 1
    assert step * line.element_size() % 16 == 0, "loads of 16 bytes need no check"
    for strides in ((480, 24), (15,), (30, 45), (8,)):
        assert step_of(line, *strides) == 1, strides
    assert step_of(line[1:], 480) == 1
