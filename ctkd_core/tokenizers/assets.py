"""Where the files of catalog entries lie: inside installed packages, checked and, where needed, converted once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.files import cache_dir, file_sha256
from ctkd_core.tokenizers.catalog import TOKENIZERS, TokenizerEntry, entry

TEACHER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEACHER_BYTES = 98_362_432


def package_file(row: TokenizerEntry) -> Path | None:
    """The entry's file inside its installed package, None without it. The package isn't imported."""
    spec = importlib.util.find_spec(row.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / row.file
        if path.is_file():
            return path
    return None


def is_installed(row: TokenizerEntry) -> bool:
    """Whether the entry's package is installed (or it was prepared), so that no network is needed."""
    return is_prepared(row) if row.on_request else package_file(row) is not None


def prepared_folder(row: TokenizerEntry) -> Path:
    """Where `ctkd prepare` puts the model and tokenizer of an entry that has terms to be accepted."""
    return cache_dir() / row.prepared


def is_prepared(row: TokenizerEntry) -> bool:
    """Whether that folder is there, whole: it appears with everything in it."""
    folder = prepared_folder(row)
    return all((folder / name).is_file() for name in ("tokenizer.json", "config.json", "model.safetensors"))


def model_folder(name: str) -> Path | None:
    """The folder of the weights that belong to a catalog name, prepared or not; None where none come along so."""
    row = TOKENIZERS.get(name)
    return prepared_folder(row) if row is not None and row.on_request else None


def entry_in(folder: str | Path) -> TokenizerEntry | None:
    """The catalog entry whose prepared folder this is, None for any other."""
    return next((row for row in TOKENIZERS.values() if row.on_request and prepared_folder(row) == Path(folder)), None)


def not_prepared(row: TokenizerEntry) -> str:
    """A sentence for who chose an entry that has to be prepared first."""
    return (
        f"{row.title} isn't prepared here; run `{row.install}` once (it shows the terms to accept; 240 MB to download, "
        "540 MB kept)."
    )


def tokenizer_folder(name: str) -> Path:
    """A folder with tokenizer.json (and tokenizer_config.json) of a catalog entry, converted on first use.

    Raises TokenizerError when the package is missing, with the command that installs it.
    """
    row = entry(name)
    if row.on_request:
        if not is_prepared(row):
            raise TokenizerError(f"tokenizer {name!r}: {not_prepared(row)}")
        return prepared_folder(row)
    path = package_file(row)
    if path is None:
        raise TokenizerError(
            f"tokenizer {name!r} comes with the Python package {row.package}, which isn't installed for "
            f"{sys.executable}; run `{row.install}`."
        )
    if row.converter is None:
        return path.parent
    from ctkd_core.tokenizers.conversion import converted

    digest = file_sha256(path)
    if name == "smollm2":
        _check_teacher(path, digest)
    return converted(row, path, digest)


def teacher_gguf() -> Path:
    """The bundled teacher, SmolLM2-135M-Instruct as GGUF (98 MB), checked by its SHA-256.

    Raises CtkdError when it's missing or not the file that was reviewed, with the command that mends it.
    """
    row = TOKENIZERS["smollm2"]
    path = package_file(row)
    if path is None:
        raise CtkdError(f"the bundled teacher isn't installed for {sys.executable}; run `{row.install}` (98 MB).")
    _check_teacher(path, file_sha256(path))
    return path


def _check_teacher(path: Path, digest: str) -> None:
    if digest != TEACHER_SHA256:
        again = TOKENIZERS["smollm2"].install.replace("install", "install --force-reinstall", 1)
        raise CtkdError(
            f"{path.name} isn't the file that was reviewed: it has {path.stat().st_size} bytes (expected "
            f"{TEACHER_BYTES}) and SHA-256 {digest[:12]}... (expected {TEACHER_SHA256[:12]}...); run `{again}`."
        )
