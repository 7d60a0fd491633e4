"""Which weights a model has: one hash, of its files without loading them, or of what is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core import files
from ctkd_core.distill.models.facts import config_file

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OF_THE_PROGRAM = ("transformers_version", "_name_or_path")  # what says nothing about the model


def weights_fingerprint(source: str) -> str | None:
    """SHA-256 over "bundled", a folder, or a hub id whose files are in the local cache; None where they aren't here."""
    path = _config(source)
    if path is None:
        return None
    whole = hashlib.sha256()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        told = {key: value for key, value in settings.items() if key not in _OF_THE_PROGRAM}
        whole.update(json.dumps(told, sort_keys=True).encode())
        found = sorted(path.parent.glob("*.safetensors"))
        for file in found:
            whole.update(f"{file.name} {files.file_sha256(file)}\n".encode())
        adapters = path.parent / "adapter_config.json"  # transformers adds what it describes to the weights
        if adapters.is_file():
            whole.update(f"{adapters.name} {files.file_sha256(adapters)}\n".encode())
    except (OSError, ValueError, AttributeError):
        return None
    return whole.hexdigest() if found else None


def state_fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 over a loaded model's configuration and all that its state holds: names, types, shapes and values."""
    import torch

    told = {key: value for key, value in model.config.to_dict().items() if key not in _OF_THE_PROGRAM}
    whole = hashlib.sha256(json.dumps([type(model).__name__, told], sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            whole.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        else:
            whole.update(f"{name} {value!r}\n".encode())
    return whole.hexdigest()


def _config(source: str) -> Path | None:
    from ctkd_core.distill.models.prepared import prepared_folder

    path = prepared_folder() / "config.json" if source == "bundled" else config_file(source)
    return path if path is not None and path.is_file() else None
