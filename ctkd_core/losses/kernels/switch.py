"""Whether the Triton kernels run: on CUDA where Triton can be imported, elsewhere only when it is asked for.

`CTKD_TRITON` in the environment, read when a loss is computed:

    auto       (default) tensors on a CUDA device, where the package `triton` is there
    off        never; torch computes everything, as on a CPU
    interpret  tensors on a CPU too, by Triton's interpreter: for tests, thousands of times slower

`triton_mode("off")` says the same for a block of code. Triton is imported when the first kernel is needed, not before.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError, unknown

MODES = ("auto", "off", "interpret")
READ = (torch.float32, torch.bfloat16, torch.float16)  # data types of logits that the kernels read

_MODE: ContextVar[str | None] = ContextVar("triton mode", default=None)


@contextmanager
def triton_mode(mode: str) -> Iterator[None]:
    """Within it, losses use Triton as `mode` says ("auto", "off" or "interpret"), whatever the environment says."""
    token = _MODE.set(_checked(mode))
    try:
        yield
    finally:
        _MODE.reset(token)


def current_mode() -> str:
    """The mode in force. Raises LossInputError where the environment names an unknown one."""
    return _MODE.get() or _checked(os.environ.get("CTKD_TRITON", "auto").strip().lower() or "auto")


def use_triton(*tensors: Tensor) -> bool:
    """Whether the kernels should work on all of these: their device, their data type, and the mode in force."""
    mode = current_mode()
    if mode == "off" or not tensors or any(t.dtype not in READ for t in tensors):
        return False
    kinds = {t.device.type for t in tensors}
    if kinds == {"cuda"}:  # Triton starts kernels on the current device
        return installed() and {t.device.index for t in tensors} == {torch.cuda.current_device()}
    return mode == "interpret" and kinds == {"cpu"} and _interpreted()


@lru_cache(maxsize=1)
def installed() -> bool:
    """Whether the package `triton` is there."""
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    if not installed():
        raise LossInputError("CTKD_TRITON=interpret needs the package `triton`: pip install triton==3.6.0")
    if "triton" in sys.modules:
        from triton import knobs

        if not knobs.runtime.interpret:
            raise LossInputError(
                "CTKD_TRITON=interpret must be set before Triton is imported; start Python with TRITON_INTERPRET=1."
            )
    os.environ["TRITON_INTERPRET"] = "1"
    return True


def _checked(mode: str) -> str:
    if mode not in MODES:
        raise unknown("CTKD_TRITON mode", mode, MODES, LossInputError)
    return mode
