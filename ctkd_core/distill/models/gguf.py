"""A GGUF file as the folder that transformers saves: the same model without quantisation, as safetensors.

transformers reads such a file in a quarter of a minute and then refuses to save it ("quantized with gguf"). So the
weights move into the same architecture without that mark.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError


def write_model(source: Path, part: Path, dtype: Any, report: Progress) -> None:
    """Write config.json and model.safetensors of the model in `source` into the folder `part`.

    dtype: torch dtype of what is written; reading takes 4 bytes a weight, twice for a moment. Raises OSError.
    """
    import torch
    from transformers import AutoModelForCausalLM

    report(0.05, "Reading the quantised weights.")
    quantised = AutoModelForCausalLM.from_pretrained(
        str(source.parent), gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    report(0.75, "Building the same model without quantisation.")
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    model = AutoModelForCausalLM.from_config(type(quantised.config).from_dict(settings), dtype=dtype)
    model.load_state_dict(quantised.state_dict())
    report(0.85, "Writing safetensors.")
    model.save_pretrained(part)


def require_room(folder: Path, needed: int) -> None:
    """Raise CtkdError when fewer than `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CtkdError(
            f"the converted teacher needs {needed / 1e6:.0f} MB at {str(folder)!r}, but {free / 1e6:.0f} MB are free; "
            "free some space or point CTKD_HOME elsewhere."
        )


def require_memory(needed: int) -> None:
    """Raise CtkdError when fewer than `needed` bytes of memory are free."""
    import psutil

    free = psutil.virtual_memory().available
    if free < needed:
        raise CtkdError(
            f"converting the weights takes {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free; close "
            "other programs, then try again."
        )
