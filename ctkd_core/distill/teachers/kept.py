"""A teacher that isn't there: what the trainer asks instead of a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core import methods
from ctkd_core.distill.teachers.manifest import Figures, Manifest, Whose, difference, read_manifest, text_of
from ctkd_core.distill.teachers.rows import Layout, Records, Vocabulary, dense
from ctkd_core.distill.teachers.store import Cache, Reading, first_row, problem
from ctkd_core.errors import RunError, short
from ctkd_core.losses.batch import IGNORE, AlignedBatch

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.teachers.reader import Reader
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Fetch = Callable[[Sequence[Reading]], Sequence[Records]]  # the rows of each sample, from `first_row` to its last token


@dataclass(eq=False)
class KeptTeacher:
    """Gives the logits of a batch from rows that `fetch` has; `figures` is what it tells of the teacher besides."""

    tokenizer: Tokenizer
    width: int
    rows: str
    fetch: Fetch
    figures: Figures = field(default_factory=Figures)
    reader: Reader | None = None  # of a server, which can be asked for figures
    _vocabulary: Vocabulary | None = None

    def logits(self, batch: AlignedBatch) -> Tensor:
        """float32 [B, T, V] on the batch's device. Rows that no loss reads (the prompt's, padding) are zeros."""
        device = batch.teacher_ids.device
        if self._vocabulary is None or self._vocabulary.begins.device != device:
            self._vocabulary = Vocabulary.of(self.tokenizer, self.width, device)
        ids, attention = batch.teacher_ids.cpu(), batch.teacher_attention.cpu() != 0
        places = [mask.nonzero().squeeze(1) for mask in attention]
        starts = [_start(labels[at]) for labels, at in zip(batch.teacher_labels.cpu(), places)]
        readings = [(ids[b, at].int().numpy(), start) for b, (at, start) in enumerate(zip(places, starts))]
        out = torch.zeros(*ids.shape, self.width, device=device)
        for b, (records, (read, start)) in enumerate(zip(self.fetch(readings), readings)):
            first = first_row(start, self.rows)
            if len(records) != len(read) - first or int(records["ids"].max(initial=0)) >= self.width:
                raise RunError("the cache has rows that don't fit their sample; delete its folder and fill it again.")
            following = torch.full((len(read) - first,), -1, device=device)
            following[:-1] = batch.teacher_ids[b, places[b][first + 1 :].to(device)]
            out[b, places[b][first:].to(device)] = dense(records, following, self._vocabulary)
        return out


def _start(labels: Tensor) -> int:
    """Position of the answer's first token; the end where there is none."""
    learnt = (labels != IGNORE).nonzero()
    return int(learnt[0]) if len(learnt) else len(labels)


def whose(tokenizer: Tokenizer, source: str, precision: str) -> Whose:
    """The teacher that a run names, as a cache notes it; its weights may be elsewhere."""
    from ctkd_core.distill.teachers.identity import weights_fingerprint

    return Whose(weights_fingerprint(source) or "", source, precision, tokenizer.fingerprint, tokenizer.name)


def check_cache(config: RunConfig, teacher: LiveTeacher) -> Manifest:
    """The manifest of a teacher's cache, compared with what the run says; every file is there in its size.

    Raises RunError that says what differs and what to do.
    """
    from ctkd_core.distill.data import data_file

    folder = Path(teacher.access.cache).expanduser()
    manifest, name = read_manifest(folder), short(teacher.access.cache)
    if not manifest.complete:
        raise RunError(f"the cache {name} isn't complete; run the same `ctkd cache-teacher` again, it goes on.")
    wanted = whose(teacher.tokenizer, teacher.source, teacher.access.precision)
    if manifest.whose.weights:  # a server's teacher has no precision that we know
        changed = difference(manifest.whose, wanted)
    else:
        changed = difference(manifest.whose, Whose("", "", manifest.whose.precision, wanted.tokenizer, ""))
    changed = changed or difference(manifest.text, text_of(config, data_file(config.data)))
    if changed:
        raise RunError(f"the cache {name} was made of something else: {changed}. Fill another for this run.")
    for number, part in manifest.parts.items():
        if why := problem(folder, part, thorough=False):
            raise RunError(f"part {number!r} of the cache {name} is damaged: {why}. Fill it again.")
    _check_method(manifest, teacher.method, teacher.variant, name)
    return manifest


def _check_method(manifest: Manifest, method: str, variant: str, name: str) -> None:
    from ctkd_core.distill.teachers.access import check_probabilities

    row = methods.get(method)
    if not row.asks_teacher:
        return
    if "prompt_rows" in row.reads_besides(variant) and manifest.kept.rows != "all":
        raise RunError(
            f"method {method!r} reads the teacher's rows of the prompt, too, which the cache {name} doesn't keep; fill "
            "one with --rows all."
        )
    if not manifest.kept.logits:
        check_probabilities(method, variant, f"the cache {name}, which a server filled,")


def open_cache(config: RunConfig, teacher: LiveTeacher, readings: Sequence[Reading]) -> KeptTeacher:
    """The teacher's cache, compared with the run and with its own hashes; it has all `readings`. Raises RunError."""
    manifest = check_cache(config, teacher)
    kept = manifest.kept
    cache = Cache.open(Path(teacher.access.cache).expanduser(), Layout(kept.k, kept.width, kept.dtype).record)
    if lost := sum(cache.find(reading) is None for reading in readings):
        raise RunError(
            f"the cache {short(teacher.access.cache)} lacks {lost:,} of {len(readings):,} samples: it was filled for "
            "another pair, which reads conversations otherwise. `ctkd cache-teacher` with this run's config adds them."
        )

    def fetch(wanted: Sequence[Reading]) -> list[Any]:
        return [cache.find(reading) for reading in wanted]

    return KeptTeacher(teacher.tokenizer, kept.width, kept.rows, fetch, manifest.figures)
