"""The teacher: the bundled model, converted once, or any causal language model from a folder or hub id.

The bundled file is a quantised GGUF, which transformers reads in a quarter of a minute and then refuses to save
("quantized with gguf"). So its weights move into the same architecture without that mark and are kept as safetensors,
which opens in a blink. Only safetensors are read from elsewhere: pickled weights can run code.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import CtkdError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[float, str], None]  # share done 0..1, what is being done
BUNDLED = "smollm2"


def prepare(progress: Progress | None = None) -> Path:
    """The bundled teacher's folder (config.json, model.safetensors), converted on first use.

    Converting takes about 20 s and 0.8 GB of memory and runs in this process; several processes wait for one another.
    Raises CtkdError when the package is missing, its hash is wrong or the disk is full.
    """
    from filelock import FileLock

    from ctkd_core import catalog

    report = progress or (lambda _share, _text: None)
    folder = prepared_folder()
    if is_prepared(folder):
        report(1.0, "The teacher is ready.")
        return folder
    report(0.02, "Checking the teacher's file.")
    source = catalog.teacher_gguf()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not is_prepared(folder):
            _require_room(folder.parent, 700_000_000)
            _convert(source, folder, report)
    report(1.0, "The teacher is ready.")
    return folder


def prepared_folder() -> Path:
    """Where the converted bundled teacher is kept; named by the hash of its source."""
    from ctkd_core import catalog

    return catalog.cache_dir() / "models" / f"smollm2-135m-instruct-{catalog.TEACHER_SHA256[:8]}"


def is_prepared(folder: Path | None = None) -> bool:
    """Whether the bundled teacher was converted already."""
    folder = folder or prepared_folder()
    return (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()


def teacher_source(config: RunConfig) -> str:
    """ "bundled", or the folder or hub id that the teacher's weights come from."""
    if config.teacher_path:
        return config.teacher_path
    return "bundled" if config.teacher == BUNDLED else config.teacher


def load_teacher(config: RunConfig, device: str = "cpu", dtype: Any = None) -> PreTrainedModel:
    """The frozen teacher of a run, in evaluation mode on `device`.

    `dtype`: torch dtype of its weights, default float32. Raises RunError when there's no such model.
    """
    source = teacher_source(config)
    model = load_model(prepare() if source == "bundled" else source, dtype, role="teacher")
    model.requires_grad_(False)
    return model.eval().to(device)


def load_model(source: str | Path, dtype: Any = None, role: str = "model") -> PreTrainedModel:
    """A causal language model from a folder or hub id; safetensors only, no code from the source.

    Raises RunError that names the source and what to do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            str(source),
            dtype=dtype or torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(source).is_dir(),
        )
    except (OSError, ValueError, ImportError, KeyError) as fault:
        reason = str(fault).strip().split("\n")[0][:300]
        raise RunError(
            f"the {role} {str(source)!r} can't be loaded: {reason} Give a folder or hub id of a causal language "
            "model with safetensors weights; without a network only folders and the bundled teacher work."
        ) from fault


def _convert(source: Path, folder: Path, report: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    report(0.05, "Reading the quantised weights (about 15 s).")
    quantised = AutoModelForCausalLM.from_pretrained(
        str(source.parent), gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    report(0.75, "Building the same model without quantisation.")
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    model = AutoModelForCausalLM.from_config(type(quantised.config).from_dict(settings), dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    report(0.85, "Writing safetensors.")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        model.save_pretrained(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    except OSError as fault:
        raise CtkdError(
            f"the teacher can't be kept at {str(folder)!r}: {fault}; free some space or set CTKD_HOME."
        ) from fault
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CtkdError(
            f"the converted teacher needs {needed / 1e6:.0f} MB at {str(folder)!r}, but {free / 1e6:.0f} MB are free; "
            "free some space or point CTKD_HOME elsewhere."
        )
