"""A cache of a teacher's rows on the disk: parts that count when they are whole, read through memory maps.

A part is two NumPy files of plain numbers: the rows, and an index that says which rows belong to which sample. A sample
is found by what the teacher read (a hash of its ids and of the place where the answer begins), so one cache serves runs
of any method, seed and order; where rows were merged, by what was merged, too. Every file is compared with its SHA-256
before anything is read of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctkd_core import files
from ctkd_core.distill.teachers.manifest import CacheManifest, Shard, read_manifest, write_manifest
from ctkd_core.errors import RunError, short
from ctkd_core.files.documents import FileDigest
from ctkd_core.markup.visible import one_line

INDEX = np.dtype([("high", "<u8"), ("low", "<u8"), ("first", "<i8"), ("count", "<i8")])
Reading = tuple[NDArray[np.int32], int]  # what the teacher reads: ids [n], and the first position of the answer


class MergedReading(NamedTuple):
    """What the teacher reads, and which of its rows become one: places of `losses.teacher_merges` in this sample.

    ids int32 [n], start  as in a Reading; the others int32: row, group [m], factor_row, factor_token, factor_group [f]
    """

    ids: NDArray[np.int32]
    start: int
    row: NDArray[np.int32]
    group: NDArray[np.int32]
    factor_row: NDArray[np.int32]
    factor_token: NDArray[np.int32]
    factor_group: NDArray[np.int32]

    @property
    def n_groups(self) -> int:
        """Merged rows."""
        return int(self.group[-1]) + 1 if len(self.group) else 0


def digest(reading: Reading | MergedReading) -> tuple[int, int]:
    """A sample's key: two halves of a hash of 128 bits."""
    ids, start, *merged = reading
    whole = hashlib.blake2b(ids.astype("<i4").tobytes() + int(start).to_bytes(8, "little"), digest_size=16)
    for places in merged:
        whole.update(len(places).to_bytes(8, "little") + places.astype("<i4").tobytes())
    found = whole.digest()
    return int.from_bytes(found[:8], "little"), int.from_bytes(found[8:], "little")


def first_row(start: int, rows: str) -> int:
    """The first row that is kept of a sample: the one that predicts its answer's first token, or the very first."""
    return max(0, start - 1) if rows == "answer" else 0


def row_count(reading: Reading | MergedReading, rows: str) -> int:
    """How many rows are kept of a sample."""
    if isinstance(reading, MergedReading):
        return reading.n_groups
    return len(reading[0]) - first_row(reading[1], rows)


def bytes_needed(readings: Iterable[Reading | MergedReading], rows: str, record: int) -> tuple[int, int]:
    """Rows and bytes of a cache of these samples, `record` bytes a row; files' headers aside."""
    n_rows = n_bytes = 0
    for reading in readings:
        count = row_count(reading, rows)
        n_rows += count
        n_bytes += count * record + INDEX.itemsize
    return n_rows, n_bytes


def write_part(
    folder: Path, manifest: CacheManifest, items: Sequence[tuple[Reading | MergedReading, NDArray[Any]]]
) -> CacheManifest:
    """Add a part with the rows of some samples; returns the manifest that lists it, which is on the disk by then."""
    last = max((int(name.removeprefix("part-")) for name in manifest.parts if name[5:].isdecimal()), default=-1)
    name = f"part-{last + 1:05d}"
    index = np.zeros(len(items), dtype=INDEX)
    counts = [len(records) for _, records in items]
    keys = [digest(reading) for reading, _ in items]
    index["high"], index["low"] = [key[0] for key in keys], [key[1] for key in keys]
    index["count"], index["first"] = counts, np.concatenate([[0], np.cumsum(counts)[:-1]])
    entries = {}
    for kind, array in (("index", index), ("rows", np.concatenate([records for _, records in items]))):
        path = folder / f"{name}.{kind}.npy"
        with files.replacing(path, sync=True) as part, part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        entries[path.name] = FileDigest.of(path)
    grown = replace(manifest, parts={**manifest.parts, name: Shard(len(items), sum(counts), entries)})
    write_manifest(folder, grown)
    return grown


def problem(folder: Path, part: Shard, thorough: bool) -> str:
    """Why a part doesn't count, "" when it does; `thorough` compares hashes, too."""
    if sorted(name.partition(".")[2] for name in part.files) != ["index.npy", "rows.npy"]:
        return f"its manifest names {short(', '.join(part.files)) or 'no file'} instead of an index and rows"
    for name, noted in part.files.items():
        path = folder / name
        if Path(name).name != name:
            return f"its manifest names {short(name)}"
        try:
            size = path.stat().st_size
            if size != noted.bytes:
                return f"{name} has {size:,} bytes instead of {noted.bytes:,}"
            if thorough and files.sha256_of(path) != noted.sha256:
                return f"{name} isn't the file that was written: its SHA-256 differs"
        except OSError as fault:
            return f"{name} can't be read ({one_line(str(fault))})"
    return ""


@dataclass(frozen=True, eq=False)
class Cache:
    """An opened cache: its manifest, the rows of each part as memory maps, and one sorted index of all samples."""

    folder: Path
    manifest: CacheManifest
    parts: tuple[NDArray[Any], ...]
    index: NDArray[Any]  # INDEX, by "high"
    part_of: NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path, record: np.dtype[Any], manifest: CacheManifest | None = None) -> Cache:
        """Map every file. Raises RunError that names a damaged part: without `manifest`, hashes are compared first."""
        thorough = manifest is None
        manifest = manifest or read_manifest(folder)
        rows, indices = [], [np.zeros(0, dtype=INDEX)]
        for name, part in manifest.parts.items():
            if why := problem(folder, part, thorough):
                raise RunError(
                    f"part {name!r} of the cache {short(str(folder))} is damaged: {why}. Run the same `ctkd "
                    "cache-teacher` again: it replaces damaged parts and keeps the others."
                )
            kinds = {path.split(".")[1]: folder / path for path in part.files}
            found = np.load(kinds["rows"], mmap_mode="r", allow_pickle=False)
            index = np.load(kinds["index"], allow_pickle=False)
            if found.dtype != record or index.dtype != INDEX or len(found) != part.rows or len(index) != part.samples:
                raise RunError(f"part {name!r} of the cache {short(str(folder))} isn't what its manifest says.")
            if (
                (index["first"] < 0).any()
                or (index["count"] < 0).any()
                or (index["first"] + index["count"] > len(found)).any()
            ):
                raise RunError(f"part {name!r} of the cache {short(str(folder))} names rows that it doesn't have.")
            rows.append(found)
            indices.append(index)
        number = np.repeat(np.arange(len(rows), dtype=np.int32), [len(index) for index in indices[1:]])
        whole = np.concatenate(indices)
        order = np.argsort(whole["high"], kind="stable")
        return cls(folder, manifest, tuple(rows), whole[order], number[order])

    def find(self, reading: Reading | MergedReading) -> NDArray[Any] | None:
        """The rows of a sample, as a view of the file; None where it isn't kept."""
        high, low = digest(reading)
        at = int(np.searchsorted(self.index["high"], np.uint64(high)))
        while at < len(self.index) and int(self.index["high"][at]) == high:
            if int(self.index["low"][at]) == low:
                entry = self.index[at]
                first = int(entry["first"])
                return self.parts[int(self.part_of[at])][first : first + int(entry["count"])]
            at += 1
        return None
