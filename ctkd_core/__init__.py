"""CTKD Lab: see, measure and run cross-tokenizer knowledge distillation.

Names load on first use, so that `import ctkd_core` costs milliseconds and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Alignment": "ctkd_core.alignment.base",
    "AlignedBatch": "ctkd_core.losses.batch",
    "AlignmentError": "ctkd_core.errors",
    "CtkdError": "ctkd_core.errors",
    "Encoding": "ctkd_core.tokenizers.encoding",
    "LossInputError": "ctkd_core.errors",
    "LossOutput": "ctkd_core.losses.base",
    "METHODS": "ctkd_core.methods",
    "Projection": "ctkd_core.vocabulary.projection",
    "ProjectionError": "ctkd_core.errors",
    "RunConfig": "ctkd_core.distill.config",
    "RunError": "ctkd_core.errors",
    "RunStore": "ctkd_core.distill.runs",
    "Tokenizer": "ctkd_core.tokenizers.tokenizer",
    "TokenizerError": "ctkd_core.errors",
    "align": "ctkd_core.alignment",
    "align_sample": "ctkd_core.losses.batch",
    "collate": "ctkd_core.losses.batch",
    "distill": "ctkd_core.distill",
    "load_tokenizer": "ctkd_core.tokenizers.load",
    "loss": "ctkd_core.losses",
    "make_state": "ctkd_core.losses",
    "project": "ctkd_core.vocabulary",
}
__all__ = sorted([*_EXPORTS, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ctkd_core' has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    # `ctkd_core.distill` is a package and a function at once: the package is callable.
    return module if module.__name__ == f"ctkd_core.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
