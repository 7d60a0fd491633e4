"""numba's `njit` for our kernels: their machine code is kept on disk where that can be written, else it is made anew.

numba itself refuses to load a kernel where no folder for it can be written (a container whose user has no home), and
to run it where the disk is full; and it looks only at a kernel's own file for changes, while what a kernel calls, and
its constants, may lie in files beside it. Import this module only where a kernel is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class _Cache(FunctionCache):  # type: ignore[misc]
    """What numba keeps of a function, as far as files can be read and written."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        written = _written(Path(function.__code__.co_filename).parent)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, written)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for these types of arguments; None where it isn't there, or damaged."""
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None
        except Exception:  # whatever a file makes of itself that a crash or a full disk cut off
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code for these types of arguments."""
        with suppress(OSError):
            super().save_overload(sig, data)


@cache
def _written(folder: Path) -> str:
    """A hash of all modules of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def njit(**options: Any) -> Callable[[Kernel], Kernel]:
    """As `numba.njit`, with a cache that is optional."""

    def compiled(function: Kernel) -> Kernel:
        kernel = numba.njit(**options)(function)
        with suppress(RuntimeError):  # there is no folder for it
            kernel._cache = _Cache(function)
        return kernel  # type: ignore[no-any-return]

    return compiled
