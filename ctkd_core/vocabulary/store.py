"""Vocabulary maps on disk: a folder with the numbers as safetensors and a JSON manifest, and a cache of them.

The manifest is written last and names the file of numbers with its SHA-256, so a reader sees the old map, the new map
or none, never half of one. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ctkd_core import files
from ctkd_core.background.progress import Progress
from ctkd_core.errors import ProjectionError
from ctkd_core.files import documents
from ctkd_core.tokenizers.load import as_pair
from ctkd_core.tokenizers.roles import ROLES
from ctkd_core.vocabulary import map_options, project
from ctkd_core.vocabulary.projection import MOST_IDS, REASONS, Projection

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

FORMAT: Literal["ctkd-vocabulary-map"] = "ctkd-vocabulary-map"
VERSION: Literal[1] = 1
MANIFEST = "manifest.json"
BUILT = 3  # of how maps are built and tokens written; the cache builds what another one built anew
_DTYPES = {"data": "float32", "indices": "int32", "indptr": "int64", "reason": "uint8"}

Ids = Annotated[int, Field(ge=0, le=MOST_IDS)]


class SavedTokenizer(documents.Document):
    """One tokenizer of a saved map: what of it decides the map (the roles come from tokenizer_config.json)."""

    name: str
    fingerprint: str
    n_ids: Ids
    roles: dict[str, int | None]


class Numbers(documents.Document):
    """The file of numbers beside the manifest."""

    file: str
    bytes: int
    sha256: str

    @field_validator("file")
    @classmethod
    def _beside(cls, name: str) -> str:
        if Path(name).name != name or "\0" in name:
            raise ProjectionError(f"it names the file {name!r}.")
        return name


class MapManifest(documents.Document):
    """manifest.json of a saved map. `rows` (counts by reason) and `row_sum_error` are there to be read by people."""

    format: Literal["ctkd-vocabulary-map"] = FORMAT
    version: Literal[1] = VERSION
    method: str
    options: dict[str, Any]
    student: SavedTokenizer
    teacher: SavedTokenizer
    shape: Annotated[list[Ids], Field(min_length=2, max_length=2)]
    nnz: int
    reasons: list[str]
    rows: dict[str, int]
    row_sum_error: float
    tensors: Numbers

    @field_validator("reasons")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if names != list(REASONS[: len(names)]):
            raise ProjectionError("it lists reasons that this program doesn't know.")
        return names


def save(projection: Projection, folder: Path | str) -> Path:
    """Write the map into `folder` (made if need be; a map that is there is replaced). Returns the folder.

    Raises ProjectionError when it can't be written; what was there before stays readable.
    """
    from safetensors.numpy import save as to_bytes

    folder = Path(folder)
    data = to_bytes(_arrays(projection))
    digest = hashlib.sha256(data).hexdigest()
    tensors = folder / f"map-{digest[:16]}.safetensors"
    written = Numbers(file=tensors.name, bytes=len(data), sha256=digest)
    manifest = _manifest(projection, written).model_dump()
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

    student, teacher = as_pair(student, teacher)
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
    shape = (manifest.shape[0], manifest.shape[1])
    _check_arrays(folder, arrays, shape, (student.n_ids, teacher.n_ids))
    matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    return Projection(matrix, arrays["reason"], manifest.method, student, teacher, dict(manifest.options))


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
    student, teacher = as_pair(student, teacher)
    folder = place(student, teacher, method, map_options(method, options, variant))
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
    folder = place(student, teacher, method, map_options(method, options, variant))
    return folder if (folder / MANIFEST).is_file() else None


def place(student: Tokenizer, teacher: Tokenizer, method: str, options: dict[str, Any]) -> Path:
    """Where the cache keeps a map: a hash of everything that it depends on."""
    key = [VERSION, BUILT, method, options, identity(student), identity(teacher)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return files.cache_dir() / "maps" / f"{method}-{digest[:32]}"


def identity(tokenizer: Tokenizer) -> dict[str, Any]:
    """What of a tokenizer decides a map; the roles come from tokenizer_config.json, so the fingerprint lacks them."""
    roles = {f"{role}_id": getattr(tokenizer, f"{role}_id") for role in ROLES}
    return {"fingerprint": tokenizer.fingerprint, "n_ids": tokenizer.n_ids, "roles": roles}


def _arrays(projection: Projection) -> dict[str, NDArray[Any]]:
    matrix = projection.matrix
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "reason": projection.reason}
    return {name: np.ascontiguousarray(array, dtype=_DTYPES[name]) for name, array in parts.items()}


def _manifest(projection: Projection, tensors: Numbers) -> MapManifest:
    def side(tokenizer: Tokenizer) -> SavedTokenizer:
        return SavedTokenizer(name=tokenizer.name, **identity(tokenizer))

    return MapManifest(
        method=projection.method,
        options=projection.options,
        student=side(projection.student),
        teacher=side(projection.teacher),
        shape=list(projection.shape),
        nnz=int(projection.matrix.nnz),
        reasons=list(REASONS),
        rows=projection.rows(),
        row_sum_error=projection.row_sum_error,
        tensors=tensors,
    )


def _read_manifest(folder: Path) -> MapManifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectionError(f"no vocabulary map in {str(folder)!r}: it has no {MANIFEST}; save one there first.")
    damaged, advice = "the vocabulary map is damaged:", "Build the map again."
    found = documents.read_json(path, damaged, ProjectionError, advice)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ProjectionError(f"{str(path)!r} isn't the manifest of a vocabulary map (format {FORMAT!r}).")
    if found.get("version") != VERSION:
        raise ProjectionError(
            f"the map in {str(folder)!r} has format version {found.get('version')!r}; this program reads "
            f"version {VERSION}. Build the map again."
        )
    return documents.fitting(MapManifest, found, f"{damaged} {str(path)!r}", ProjectionError, advice)


def _check_tokenizers(folder: Path, manifest: MapManifest, student: Tokenizer, teacher: Tokenizer) -> None:
    for side, tokenizer in (("student", student), ("teacher", teacher)):
        saved: SavedTokenizer = getattr(manifest, side)
        now = identity(tokenizer)
        if saved.model_dump(exclude={"name"}) == now:
            continue
        if saved.fingerprint == now["fingerprint"]:
            why = f"the same vocabulary with other roles ({saved.roles} then, {now['roles']} now)"
        else:
            why = f"fingerprints {saved.fingerprint[:12]} and {now['fingerprint'][:12]}"
        raise ProjectionError(
            f"the map in {str(folder)!r} was built for the {side} tokenizer {saved.name!r}, not for "
            f"{tokenizer.name!r}: {why}. Load it with that tokenizer or build the map again."
        )


def _read_arrays(folder: Path, manifest: MapManifest) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    tensors = manifest.tensors
    path = folder / tensors.file
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that is no text for the file system
        raise _damaged(path, f"can't be read ({error})") from None
    if len(data) != tensors.bytes:
        raise _damaged(path, f"has {len(data):,} bytes instead of {tensors.bytes}")
    if hashlib.sha256(data).hexdigest() != tensors.sha256:
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
        return _read_manifest(folder).tensors.file
    return None


def _damaged(path: Path, what: str) -> ProjectionError:
    return ProjectionError(f"the vocabulary map is damaged: {str(path)!r} {what}. Build the map again.")
