"""Distillation runs: `ctkd_core.distill(RunConfig(...))` trains in this process; `RunStore.launch` in one of its own.

The package is callable. Importing it loads neither torch nor transformers: only `teacher`, `students`, `trainer`,
`evaluate`, `evaluation.evaluator` and `worker` do, and they belong to the process that trains.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.runs import Run, RunStore

_EXPORTS = {
    "Check": "ctkd_core.distill.checks",
    "PRESETS": "ctkd_core.distill.config",
    "RUN_OPTIONS": "ctkd_core.distill.config",
    "Run": "ctkd_core.distill.runs",
    "RunConfig": "ctkd_core.distill.config",
    "RunStatus": "ctkd_core.distill.status",
    "RunStore": "ctkd_core.distill.runs",
    "estimate_seconds": "ctkd_core.distill.estimate",
    "evaluate_run": "ctkd_core.distill.evaluation.saved",
    "gaps_closed": "ctkd_core.distill.evaluation.gap",
    "preflight": "ctkd_core.distill.checks",
}
__all__ = sorted(_EXPORTS)


class _CallablePackage(ModuleType):
    def __call__(self, config: RunConfig, store: RunStore | None = None) -> Run:
        """Train `config` in this process and return the finished run.

        `store` says where the run folder goes (default: CTKD_HOME/runs). Raises PreflightError before anything is
        written when the run can't work, RunError when it fails; a cancelled run is returned, not raised.
        """
        from ctkd_core.distill.checks import require
        from ctkd_core.distill.runs import RunStore as Store
        from ctkd_core.distill.worker import run_here

        store = store or Store()
        require(config, store.root)
        return run_here(store.create(config))


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__


sys.modules[__name__].__class__ = _CallablePackage
