"""Where the converted bundled teacher lies; asked by all that don't load it, so nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from ctkd_core import files
from ctkd_core.tokenizers import assets


def prepared_folder() -> Path:
    """Where the converted bundled teacher is kept; named by the hash of its source."""
    return files.cache_dir() / "models" / f"smollm2-135m-instruct-{assets.TEACHER_SHA256[:8]}"


def is_prepared(folder: Path | None = None) -> bool:
    """Whether the bundled teacher was converted already."""
    folder = folder or prepared_folder()
    return (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()
