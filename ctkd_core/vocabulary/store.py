"""Vocabulary maps on disk: a folder with the numbers as safetensors and a JSON manifest, and a cache of them.

The manifest is written last and names the file of numbers with its SHA-256, so a reader sees the old map, the new map
or none, never half of one. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core import files
from ctkd_core.background.progress import Progress
from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import map_options, project
from ctkd_core.vocabulary.projection import MOST_IDS, REASONS, Projection

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

FORMAT, VERSION = "ctkd-vocabulary-map", 1
MANIFEST = "manifest.json"
_DTYPES = {"data": "float32", "indices": "int32", "indptr": "int64", "reason": "uint8"}
_ROLES = ("bos_id", "eos_id", "pad_id", "unk_id")


def save(projection: Projection, folder: Path | str) -> Path:
    """Write the map into `folder` (made if need be; a map that is there is replaced). Returns the folder.

    Raises ProjectionError when it can't be written; what was there before stays readable.
    """
    from safetensors.numpy import save as to_bytes

    folder = Path(folder)
    data = to_bytes(_arrays(projection))
    digest = hashlib.sha256(data).hexdigest()
    tensors = folder / f"map-{digest[:16]}.safetensors"
    manifest = _manifest(projection) | {"tensors": {"file": tensors.name, "bytes": len(data), "sha256": digest}}
    made, before = not folder.exists(), _named_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_atomic(tensors, data, sync=True)
        files.write_atomic(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", sync=True)
    except OSError as error:
        with suppress(OSError):
            if _named_file(folder) != tensors.name:
                tensors.unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise ProjectionError(f"can't save the map in {str(folder)!r}: {error.strerror or error}.") from error
    if before not in (None, tensors.name):  # other files here aren't ours
        with suppress(OSError):
            (folder / before).unlink(missing_ok=True)
    return folder


def load(folder: Path | str, student: Tokenizer, teacher: Tokenizer) -> Projection:
    """The map saved in `folder`, for exactly these two tokenizers.

    Raises ProjectionError when there is none, when it belongs to other tokenizers, and when a file is damaged.
    """
    from scipy.sparse import csr_matrix

    folder = Path(folder)
    manifest = _read_manifest(folder)
    _check_tokenizers(folder, manifest, student, teacher)
    try:
        arrays = _read_arrays(folder, manifest)
    except ProjectionError:
        newer = _read_manifest(folder)
        if newer == manifest:
            raise
        manifest = newer  # somebody replaced the map while this one was read
        _check_tokenizers(folder, manifest, student, teacher)
        arrays = _read_arrays(folder, manifest)
    shape = tuple(manifest["shape"])
    _check_arrays(folder, arrays, shape, (student.n_ids, teacher.n_ids))
    matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    return Projection(matrix, arrays["reason"], manifest["method"], student, teacher, dict(manifest["options"]))


def cached_project(
    student: Tokenizer,
    teacher: Tokenizer,
    method: str = "pieces",
    progress: Progress | None = None,
    variant: str = "clean",
    **options: Any,
) -> Projection:
    """`project`, but a map that was built before is read from the cache; damaged entries are built again.

    A cache that can't be written costs time, no more.
    """
    folder = _folder(student, teacher, method, map_options(method, options, variant))
    kept = _load_if_whole(folder, student, teacher)
    if kept is not None:
        if progress is not None:
            progress(1.0, f"{kept.matrix.nnz:,} entries, from the cache")
        return kept
    projection = project(student, teacher, method, progress, variant, **options)
    with suppress(ProjectionError):
        save(projection, folder)
    return projection


def _load_if_whole(folder: Path, student: Tokenizer, teacher: Tokenizer) -> Projection | None:
    with suppress(ProjectionError):
        return load(folder, student, teacher)
    return None


def cached(
    student: Tokenizer, teacher: Tokenizer, method: str = "pieces", variant: str = "clean", **options: Any
) -> Path | None:
    """The folder of the cache that holds this map, None without one (whether it's whole shows when it is loaded)."""
    folder = _folder(student, teacher, method, map_options(method, options, variant))
    return folder if (folder / MANIFEST).is_file() else None


def _folder(student: Tokenizer, teacher: Tokenizer, method: str, options: dict[str, Any]) -> Path:
    """Where the cache keeps a map: a hash of everything that it depends on."""
    key = [VERSION, method, options, _identity(student), _identity(teacher)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return files.cache_dir() / "maps" / f"{method}-{digest[:32]}"


def _identity(tokenizer: Tokenizer) -> dict[str, Any]:
    """What of a tokenizer decides a map; the roles come from tokenizer_config.json, so the fingerprint lacks them."""
    roles = {role: getattr(tokenizer, role) for role in _ROLES}
    return {"fingerprint": tokenizer.fingerprint, "n_ids": tokenizer.n_ids, "roles": roles}


def _arrays(projection: Projection) -> dict[str, NDArray[Any]]:
    matrix = projection.matrix
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "reason": projection.reason}
    return {name: np.ascontiguousarray(array, dtype=_DTYPES[name]) for name, array in parts.items()}


def _manifest(projection: Projection) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "method": projection.method,
        "options": projection.options,
        "student": {"name": projection.student.name} | _identity(projection.student),
        "teacher": {"name": projection.teacher.name} | _identity(projection.teacher),
        "shape": list(projection.shape),
        "nnz": int(projection.matrix.nnz),
        "reasons": list(REASONS),
        "rows": projection.rows(),
        "row_sum_error": projection.row_sum_error,
    }


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectionError(f"no vocabulary map in {str(folder)!r}: it has no {MANIFEST}; save one there first.")
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise _damaged(path, "isn't whole JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ProjectionError(f"{str(path)!r} isn't the manifest of a vocabulary map (format {FORMAT!r}).")
    if manifest.get("version") != VERSION:
        raise ProjectionError(
            f"the map in {str(folder)!r} has format version {manifest.get('version')!r}; this program reads "
            f"version {VERSION}. Build the map again."
        )
    kinds = {"method": str, "options": dict, "student": dict, "teacher": dict, "shape": list, "tensors": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name), kind):
            raise _damaged(path, f"lacks {name!r}")
    if len(manifest["shape"]) != 2 or any(type(n) is not int or not 0 <= n <= MOST_IDS for n in manifest["shape"]):
        raise _damaged(path, f"has the shape {manifest['shape']!r}")
    reasons = manifest.get("reasons")
    if not isinstance(reasons, list) or reasons != list(REASONS[: len(reasons)]):
        raise _damaged(path, "lists reasons that this program doesn't know")
    return manifest


def _check_tokenizers(folder: Path, manifest: dict[str, Any], student: Tokenizer, teacher: Tokenizer) -> None:
    for side, tokenizer in (("student", student), ("teacher", teacher)):
        saved, now = manifest[side], _identity(tokenizer)
        if all(saved.get(name) == value for name, value in now.items()):
            continue
        if saved.get("fingerprint") == now["fingerprint"]:
            why = f"the same vocabulary with other roles ({saved.get('roles')} then, {now['roles']} now)"
        else:
            why = f"fingerprints {str(saved.get('fingerprint'))[:12]} and {now['fingerprint'][:12]}"
        raise ProjectionError(
            f"the map in {str(folder)!r} was built for the {side} tokenizer {saved.get('name')!r}, not for "
            f"{tokenizer.name!r}: {why}. Load it with that tokenizer or build the map again."
        )


def _read_arrays(folder: Path, manifest: dict[str, Any]) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    tensors = manifest["tensors"]
    name = tensors.get("file")
    if not isinstance(name, str) or Path(name).name != name:
        raise _damaged(folder / MANIFEST, f"names the file {name!r}")
    path = folder / name
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise _damaged(path, f"can't be read ({error})") from None
    if len(data) != tensors.get("bytes"):
        raise _damaged(path, f"has {len(data):,} bytes instead of {tensors.get('bytes')}")
    if hashlib.sha256(data).hexdigest() != tensors.get("sha256"):
        raise _damaged(path, "isn't the file that was written: its SHA-256 differs")
    try:
        arrays = from_bytes(data)
    except (SafetensorError, ValueError, KeyError):
        raise _damaged(path, "isn't a safetensors file") from None
    for part, dtype in _DTYPES.items():
        if part not in arrays or arrays[part].dtype != dtype or arrays[part].ndim != 1:
            raise _damaged(path, f"lacks the array {part!r} of type {dtype}")
    return arrays


def _check_arrays(folder: Path, arrays: dict[str, NDArray[Any]], shape: tuple[int, ...], ids: tuple[int, int]) -> None:
    data, indices, indptr, reason = (arrays[name] for name in _DTYPES)
    nnz = len(data)
    starts = len(indptr) == shape[0] + 1 and indptr[0] == 0 and indptr[-1] == nnz and (np.diff(indptr) >= 0).all()
    if not starts or len(indices) != nnz or len(reason) != nnz or shape[0] < ids[0] or shape[1] < ids[1]:
        raise _damaged(folder, "holds arrays that don't fit together")
    if nnz and (indices.min() < 0 or indices.max() >= ids[1] or reason.max() >= len(REASONS)):
        raise _damaged(folder, "points at ids or reasons that don't exist")
    if not np.isfinite(data).all() or (data < 0).any():
        raise _damaged(folder, "holds weights that are negative or not finite")


def _named_file(folder: Path) -> str | None:
    """The file of numbers that the manifest in `folder` names, None without a whole manifest."""
    with suppress(ProjectionError):
        return str(_read_manifest(folder)["tensors"].get("file"))
    return None


def _damaged(path: Path, what: str) -> ProjectionError:
    return ProjectionError(f"the vocabulary map is damaged: {str(path)!r} {what}. Build the map again.")
