"""Import one module with a fault in it: the module CTKD_MUTANT_MODULE from the code in the file CTKD_MUTANT_CODE.

A copy named sitecustomize.py on PYTHONPATH does the same in processes that tests start. Imports nothing of the project.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import os
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return marshal.loads(Path(os.environ["CTKD_MUTANT_CODE"]).read_bytes())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname != os.environ.get("CTKD_MUTANT_MODULE"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        places = spec.submodule_search_locations
        loader = _Loader(fullname, spec.origin)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=places
        )


def install() -> None:
    """Put the finder before all others."""
    sys.meta_path.insert(0, _Finder())


if "CTKD_MUTANT_MODULE" in os.environ and __name__ == "sitecustomize":
    install()
if "COVERAGE_PROCESS_START" in os.environ and __name__ == "sitecustomize":
    import coverage

    coverage.process_startup()
