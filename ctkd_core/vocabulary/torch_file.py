"""Tensors as a file of torch, for programs that read nothing else. Imports torch; import it where it is needed only."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray


def tensors_as_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """What `torch.save` writes for a dict of tensors; `torch.load(..., weights_only=True)` reads it."""
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()
