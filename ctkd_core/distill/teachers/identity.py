"""Which weights a model has: one hash, of its files without loading them, or of what is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """SHA-256 over a loaded model's configuration, its adapters' and all that its state holds: names, types, values.

    Raises TypeError, ValueError or RuntimeError for a state that can't be read as plain numbers.
    """
    import torch

    told = {key: value for key, value in model.config.to_dict().items() if key not in _OF_THE_PROGRAM}
    # How much the weights of an adapter count for stands in its own configuration.
    adapters = {name: each.to_dict() for name, each in getattr(model, "peft_config", {}).items()}
    words = [type(model).__name__, told, adapters]
    whole = hashlib.sha256(json.dumps(words, sort_keys=True, default=_plainly).encode())
    seen: dict[Any, str] = {}
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor):
            whole.update(f"{name} {value!r}\n".encode())
            continue
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and seen.setdefault(place, name) != name:  # tied to weights that were read already
            whole.update(f"as {seen[place]}\n".encode())
            continue
        whole.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _plainly(value: Any) -> Any:
    """What JSON has no form for: sets in an order that is the same in every process."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def _config(source: str) -> Path | None:
    from ctkd_core.distill.models.prepared import prepared_folder

    path = prepared_folder() / "config.json" if source == "bundled" else config_file(source)
    return path if path is not None and path.is_file() else None
