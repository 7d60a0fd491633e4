"""numba's `njit` for our kernels: their machine code is kept on disk where that can be written, else it is made anew.

numba itself refuses to load a kernel where no folder for it can be written (a container whose user has no home), and
to run it where the disk is full. Import this module only where a kernel is called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class _Cache(FunctionCache):  # type: ignore[misc]
    """What numba keeps of a function, as far as files can be read and written."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for these types of arguments; None where it isn't there."""
        with suppress(OSError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code for these types of arguments."""
        with suppress(OSError):
            super().save_overload(sig, data)


def njit(**options: Any) -> Callable[[Kernel], Kernel]:
    """As `numba.njit`, with a cache that is optional."""

    def compiled(function: Kernel) -> Kernel:
        kernel = numba.njit(**options)(function)
        with suppress(RuntimeError):  # there is no folder for it
            kernel._cache = _Cache(function)
        return kernel  # type: ignore[no-any-return]

    return compiled
