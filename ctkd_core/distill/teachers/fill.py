"""Filling a cache: which samples and how many bytes, told beforehand; then batch by batch, in parts that stay.

What a killed attempt left whole is kept, so the same call goes on; with another student it adds what that one reads
otherwise. Samples of like length are read together.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files, methods
from ctkd_core.background.progress import Progress, silent
from ctkd_core.background.status import reason
from ctkd_core.distill.teachers.manifest import (
    MANIFEST,
    SERVER,
    VERSION,
    CacheManifest,
    Kept,
    Merged,
    TeacherFigures,
    difference,
    held_out_of,
    read_manifest,
    text_of,
    write_manifest,
)
from ctkd_core.distill.teachers.store import MergedReading, Reading, bytes_needed, digest, problem, write_part
from ctkd_core.errors import RunError, short
from ctkd_core.markup.quantities import in_bytes

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.teachers.reader import Reader
    from ctkd_core.distill.teachers.rows import RowLayout

PART_SECONDS, PART_BYTES = 20.0, 64_000_000  # a part is written after the first of the two
ROWS = ("answer", "all", "merged")
SPARE = 200_000_000  # bytes that must stay free on the disk


@dataclass(frozen=True, eq=False)
class CachePlan:
    """What a cache will hold: everything but the teacher itself is loaded.

    readings  what the teacher reads of each training sample, without repetitions; rows, bytes  of all of them
    merged    how the rows of a group become one, where rows_kept is "merged"
    """

    config: RunConfig
    teacher: LiveTeacher
    layout: RowLayout
    rows_kept: str
    readings: tuple[Reading | MergedReading, ...]
    held_out: tuple[Example, ...]
    rows: int
    bytes: int
    merged: Merged | None = None

    @property
    def kept(self) -> Kept:
        """What the manifest says of the rows."""
        layout, rows = self.layout, self.rows_kept
        return Kept(layout.k, layout.width, layout.dtype, rows, not self.teacher.access.server, self.merged)  # type: ignore[arg-type]


def plan(
    config: RunConfig,
    *,
    number: int = 1,
    k: int = 64,
    dtype: str = "float16",
    rows: str = "",
    progress: Progress = silent,
) -> CachePlan:
    """What a cache of a run's teacher would hold. Loads tokenizers and data, no model.

    number  1: the run's teacher, 2: the first of its further teachers, and so on
    k       tokens kept of each row, 0: the whole vocabulary
    rows    "answer", "all", "merged" (one row for each group that the teacher's method makes with the run's student and
            options), or "": "answer", or "all" where the method reads the prompt's rows
    Raises RunError for what can't be.
    """
    from ctkd_core.distill.models.facts import facts_of, fetch_config
    from ctkd_core.distill.models.teachers import planned_teachers
    from ctkd_core.distill.preparation import prepared
    from ctkd_core.distill.teachers.matching import merged_for
    from ctkd_core.distill.teachers.merged import readings_of
    from ctkd_core.distill.teachers.rows import DTYPES, RowLayout
    from ctkd_core.tokenizers.load import load_tokenizer

    if dtype not in DTYPES or rows not in ("", *ROWS):
        raise RunError(
            f"a cache keeps float16 or float32, and rows 'answer', 'all' or 'merged'; got {short(dtype)}, "
            f"{short(rows)}."
        )
    progress(0.0, "Loading tokenizers and data.")
    # Every teacher's tokenizer: conversations are written so that all of them read one answer.
    planned = planned_teachers(config, load_tokenizer(config.teacher))
    if not 1 <= number <= len(planned):
        raise RunError(f"the run has {len(planned)} teachers; there is no teacher {number}.")
    teacher = planned[number - 1]
    row = methods.get(teacher.method)
    besides = row.reads_besides(teacher.variant)
    if teacher.access.server and rows == "all":
        raise RunError("a server's rows are kept for answers only: the methods that read others want logits.")
    if teacher.access.server and rows == "merged":
        raise RunError("rows are merged whole, and a server tells a few tokens of each; keep the rows of answers.")
    merged = merged_for(config, teacher) if rows == "merged" else None
    kept_rows = rows or ("all" if "prompt_rows" in besides and not teacher.access.server else "answer")
    width = teacher.tokenizer.n_ids
    if not teacher.access.server:
        fetch_config(teacher.source)  # a model may have more rows than its tokenizer has tokens
        width = max(facts_of(teacher.source).rows or 0, width)
    if not 0 <= k <= width:
        raise RunError(f"k is 1 to {width:,}, the size of the teacher's vocabulary, or 0 for all of it; got {k}.")
    # Byte spans find a group in every sample that is left, so the samples are those of any method.
    aligned = [replace(t, method="sedi", variant="clean", align_options={}) for t in planned]
    if merged:  # but groups are those of the method
        aligned[number - 1] = teacher
    data = prepared(config, load_tokenizer(config.student), aligned, lambda text: progress(0.0, text))
    read = readings_of([example.samples[number - 1] for example in data.examples], merged)
    found = tuple({digest(reading): reading for reading in read}.values())
    layout = RowLayout(k or width, width, dtype, merged is not None)
    n_rows, n_bytes = bytes_needed(found, kept_rows, layout.record.itemsize)
    return CachePlan(config, teacher, layout, kept_rows, found, data.split.held_out, n_rows, n_bytes, merged)


def fill(planned: CachePlan, folder: str | Path, report: Progress = silent) -> CacheManifest:
    """Read what is missing of a plan's samples, and the figures that runs tell of the teacher."""
    from filelock import FileLock, Timeout

    folder = files.expanded(folder, RunError)
    manifest = _begun(planned, folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process is filling the cache {short(str(folder))}; wait for it.") from None
    try:
        manifest = _read_again(folder, manifest)
        manifest = _sound(folder, manifest, report)
        todo = _missing(planned, folder, manifest)
        _require_room(folder, bytes_needed(todo, planned.rows_kept, planned.layout.record.itemsize)[1])
        if not todo and manifest.complete and _enough(planned, manifest.figures):
            report(1.0, "Everything is there.")
            return manifest
        if todo and manifest.complete:
            manifest = replace(manifest, complete=False)
            write_manifest(folder, manifest)
        report(0.0, "Reaching the teacher.")
        reader = _reader(planned)
        manifest = _with_weights(planned, folder, manifest)
        manifest = _read(planned, reader, folder, manifest, todo, report)
        manifest = replace(manifest, complete=True, figures=_figures(planned, reader, manifest.figures, report))
        write_manifest(folder, manifest)
    except OSError as fault:
        raise RunError(
            f"the cache {short(str(folder))} can't be written ({reason(fault)}). Whole parts stay: free some space or "
            "mend the folder's rights, then the same command goes on."
        ) from fault
    finally:
        lock.release()
    report(1.0, "The cache is complete.")
    return manifest


def _begun(planned: CachePlan, folder: Path) -> CacheManifest:
    """The manifest in the folder, which must be of the same teacher, data and size; a new one in a new folder."""
    from ctkd_core.distill.data import data_file
    from ctkd_core.distill.teachers.matching import merged_otherwise, whose

    config, teacher, kept = planned.config, planned.teacher, planned.kept
    server = teacher.access.server
    own = whose(teacher.tokenizer, teacher.source, teacher.access.precision)
    if server:
        own = replace(own, weights="", name=teacher.access.server_model, precision=SERVER)
    new = CacheManifest(VERSION, own, text_of(config, data_file(config.data)), kept)
    name = short(str(folder))
    try:
        if not folder.exists() or not any(path.name != ".lock" for path in folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            _require_room(folder, planned.bytes)
            write_manifest(folder, new)
            return new
    except OSError as fault:
        raise RunError(f"the folder {name} can't be used ({reason(fault)}); give another one.") from None
    if not (folder / MANIFEST).is_file():
        raise RunError(f"the folder {name} isn't empty and holds no cache of a teacher; give a new folder.")
    found = read_manifest(folder)
    changed = difference(found.whose, own) or difference(found.text, new.text)
    if not changed and found.kept != kept:
        changed = f"it keeps {_in_words(found.kept)}, and {_in_words(kept)} are wanted"
        if found.kept.merged and kept.merged and (otherwise := merged_otherwise(found.kept.merged, kept.merged)):
            changed = otherwise
    if changed:
        raise RunError(f"the cache {name} is one of something else: {changed}. Give another folder, or delete it.")
    return found


def _read_again(folder: Path, known: CacheManifest) -> CacheManifest:
    """The manifest once nobody else writes it: another process may have filled the folder since it was looked at."""
    found = read_manifest(folder)
    changed = difference(found.whose, known.whose) or difference(found.text, known.text)
    if changed or found.kept != known.kept:
        raise RunError(
            f"another process made the cache {short(str(folder))} one of something else meanwhile "
            f"({changed or _in_words(found.kept)}); give another folder."
        )
    return found


def _with_weights(planned: CachePlan, folder: Path, manifest: CacheManifest) -> CacheManifest:
    """The manifest with the teacher's weights, which a model of the hub has only once it is here.

    Raises RunError where the rows that are there already came from other weights.
    """
    from ctkd_core.distill.teachers.identity import weights_fingerprint

    if planned.teacher.access.server:
        return manifest
    whose = replace(manifest.whose, weights=weights_fingerprint(planned.teacher.source) or "")
    if changed := difference(manifest.whose, whose):
        raise RunError(f"the cache {short(str(folder))} is one of something else: {changed}. Give another folder.")
    # Rows of an unknown origin stay such.
    return manifest if manifest.parts or not whose.weights else replace(manifest, whose=whose)


def _in_words(kept: Kept) -> str:
    return f"{kept.k} of {kept.width} tokens as {kept.dtype}, rows {kept.rows!r}"


def _sound(folder: Path, manifest: CacheManifest, report: Progress) -> CacheManifest:
    """The manifest without parts that aren't what was written; their files go."""
    listed = {name for part in manifest.parts.values() for name in part.files}
    for path in (*folder.glob("part-*.npy"), *folder.glob(".part-*.part")):  # what a killed attempt left
        if path.name not in listed:
            _remove(path)
    bad = {name: why for name, part in manifest.parts.items() if (why := problem(folder, part, thorough=True))}
    if not bad:
        return manifest
    for name, why in bad.items():
        report(0.0, f"Part {name!r} is made anew: {why}.")
        for entry in manifest.parts[name].files:
            if Path(entry).name == entry:
                _remove(folder / entry)
    sound = replace(manifest, parts={n: p for n, p in manifest.parts.items() if n not in bad}, complete=False)
    write_manifest(folder, sound)
    return sound


def _remove(path: Path) -> None:
    """Delete a file of a cache. Raises RunError for a folder in its place, which nobody here has made."""
    if path.is_dir() and not path.is_symlink():
        raise RunError(
            f"{short(str(path))} is a folder where a file of the cache belongs; move it away, then run the same "
            "command again."
        )
    path.unlink(missing_ok=True)


def _missing(planned: CachePlan, folder: Path, manifest: CacheManifest) -> list[Reading | MergedReading]:
    """The samples that no part has, the shortest first."""
    from ctkd_core.distill.teachers.store import Cache

    cache = Cache.open(folder, planned.layout.record, manifest)
    return sorted((r for r in planned.readings if cache.find(r) is None), key=lambda reading: len(reading[0]))


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed and free < needed + SPARE:
        raise RunError(
            f"no room for the cache: it takes {in_bytes(needed)} and {in_bytes(SPARE)} should stay free, but "
            f"{in_bytes(free)} are free at {short(str(folder))}. Keep fewer tokens (--k), use float16, or take "
            "another disk."
        )


def _reader(planned: CachePlan) -> Reader:
    from ctkd_core.distill.devices import cpu_count, torch_device
    from ctkd_core.distill.models.teachers import load_frozen
    from ctkd_core.distill.teachers.reader import ModelReader
    from ctkd_core.distill.teachers.served import served_reader

    teacher = planned.teacher
    if teacher.access.server:
        return served_reader(teacher)
    import torch

    torch.set_num_threads(planned.config.threads or cpu_count())
    device = torch_device(planned.config.device)
    reader = ModelReader(load_frozen(teacher.source, device, teacher.access), teacher.tokenizer, device)
    if reader.width != planned.layout.width:
        raise RunError(
            f"the teacher's rows are {reader.width} wide, but its config says {planned.layout.width}; the config.json "
            "isn't the one of these weights."
        )
    return reader


def _read(
    planned: CachePlan, reader: Reader, folder: Path, manifest: CacheManifest, todo: Sequence[Reading | MergedReading],
    report: Progress,
) -> CacheManifest:  # fmt: skip
    """Read batch after batch and write a part now and then."""
    waiting: list[tuple[Reading | MergedReading, Any]] = []
    size, since, done = 0, time.monotonic(), 0
    for batch in _batches(todo, planned.config.batch_size):
        report(done / max(1, len(todo)), f"Reading {done:,} of {len(todo):,} samples.")
        found = _rows_of(planned, reader, batch)
        waiting += zip(batch, found)
        size += sum(records.nbytes for records in found)
        done += len(batch)
        if size >= PART_BYTES or time.monotonic() - since >= PART_SECONDS:
            manifest = write_part(folder, manifest, waiting)
            waiting, size, since = [], 0, time.monotonic()
    return write_part(folder, manifest, waiting) if waiting else manifest


def _rows_of(planned: CachePlan, reader: Any, batch: Sequence[Any]) -> list[Any]:
    if planned.merged is None:
        return reader.read(batch, planned.rows_kept, planned.layout)  # type: ignore[no-any-return]
    return reader.read_merged(batch, planned.merged.how, planned.layout)  # type: ignore[no-any-return]


def _batches(todo: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(todo), size):
        yield todo[begin : begin + size]


def _enough(planned: CachePlan, figures: TeacherFigures) -> bool:
    """Whether the figures are those that a run of this config shows."""
    config = planned.config
    if figures.of != held_out_of(config):
        return False
    scored = min(config.eval_samples, len(planned.held_out))
    prompts = min(config.sample_prompts, sum(bool(e.prompt) for e in planned.held_out))
    return len(figures.scored) >= scored and (
        not prompts or (len(figures.answers) >= prompts and figures.answer_tokens == config.sample_tokens)
    )


def _figures(planned: CachePlan, reader: Reader, known: TeacherFigures, report: Progress) -> TeacherFigures:
    from ctkd_core.distill.teachers.reader import measured

    if _enough(planned, known):
        return known
    report(1.0, "Measuring the teacher on held-out text.")
    return measured(
        reader,
        planned.config,
        planned.teacher.tokenizer,
        planned.held_out,
        lambda: report(1.0, "Measuring the teacher on held-out text."),
    )


def default_folder(planned: CachePlan) -> Path:
    """Where a cache is kept when nobody says it: under the home folder, named by what it holds."""
    import hashlib

    from ctkd_core.distill.data import data_file

    text = text_of(planned.config, data_file(planned.config.data))
    # As it was before rows could be merged, so that a cache that is there is found.
    layout = str(planned.layout).replace(", merged=False", "")
    made = planned.merged  # whatever the student is called
    merged = f" {made.student} {made.alignment} {made.rule} {made.temperature}" if made else ""
    key = f"{planned.teacher.source} {planned.teacher.access} {text} {layout} {planned.rows_kept}{merged}"
    return files.home() / "teacher-caches" / hashlib.sha256(key.encode()).hexdigest()[:16]
