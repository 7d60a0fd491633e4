"""A teacher that isn't there: what the trainer asks instead of a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core import files, methods
from ctkd_core.distill.teachers.manifest import Kept, Merged, TeacherFigures
from ctkd_core.distill.teachers.matching import check_cache
from ctkd_core.distill.teachers.merged import readings_of, readings_of_batch, spread_merged, start_of
from ctkd_core.distill.teachers.rows import RowLayout, TeacherVocabulary, dense
from ctkd_core.distill.teachers.store import Cache, first_row
from ctkd_core.errors import RunError, short
from ctkd_core.losses.batch import AlignedBatch, AlignedSample

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.teachers.reader import Reader
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# The rows of each sample, from `first_row` to its last token; or those of its groups.
Fetch = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(eq=False)
class KeptTeacher:
    """Gives the logits of a batch from rows that `fetch` has; `figures` is what it tells of the teacher besides."""

    tokenizer: Tokenizer
    width: int
    rows: str
    fetch: Fetch
    figures: TeacherFigures = field(default_factory=TeacherFigures)
    reader: Reader | None = None  # of a server, which can be asked for figures
    _vocabulary: TeacherVocabulary | None = None

    def logits(self, batch: AlignedBatch) -> Tensor:
        """float32 [B, T, V] on the batch's device. Rows that no loss reads (the prompt's, padding) are zeros."""
        device = batch.teacher_ids.device
        vocabulary = self._on(device)
        ids, attention = batch.teacher_ids.cpu(), batch.teacher_attention.cpu() != 0
        places = [mask.nonzero().squeeze(1) for mask in attention]
        starts = [start_of(labels[at]) for labels, at in zip(batch.teacher_labels.cpu(), places)]
        readings = [(ids[b, at].int().numpy(), start) for b, (at, start) in enumerate(zip(places, starts))]
        out = torch.zeros(*ids.shape, self.width, device=device)
        for b, (records, (read, start)) in enumerate(zip(self.fetch(readings), readings)):
            first = first_row(start, self.rows)
            if records is None or len(records) != len(read) - first or int(records["ids"].max(initial=0)) >= self.width:
                raise RunError("the cache has rows that don't fit their sample; delete its folder and fill it again.")
            following = torch.full((len(read) - first,), -1, device=device)
            following[:-1] = batch.teacher_ids[b, places[b][first + 1 :].to(device)]
            out[b, places[b][first:].to(device)] = dense(records, following, vocabulary)
        return out

    def _on(self, device: torch.device) -> TeacherVocabulary:
        if self._vocabulary is None or self._vocabulary.begins.device != device:
            self._vocabulary = TeacherVocabulary.of(self.tokenizer, self.width, device)
        return self._vocabulary


@dataclass(eq=False)
class MergedTeacher(KeptTeacher):
    """As a KeptTeacher, from one row for each group: a loss that merges as `merged` says gets that row again."""

    merged: Merged = field(kw_only=True)

    def logits(self, batch: AlignedBatch) -> Tensor:
        """float32 [B, T, V] on the batch's device: rows that the loss merges; the others are zeros."""
        device, rule = batch.teacher_ids.device, self.merged.how
        vocabulary = self._on(device)
        readings = readings_of_batch(batch, self.merged.rule)
        first = batch.teacher_attention.argmax(dim=1).tolist()
        out = torch.zeros(*batch.teacher_ids.shape, self.width, device=device)
        for b, (records, reading) in enumerate(zip(self.fetch(readings), readings)):
            if records is None or len(records) != reading.n_groups or int(records["ids"].max(initial=0)) >= self.width:
                raise RunError(
                    "the cache has no merged rows for the groups of a sample of this batch; fill it again with this "
                    "run's config."
                )
            spread_merged(records, reading, rule, vocabulary, out[b, first[b] : first[b] + len(reading.ids)])
        return out


def open_cache(config: RunConfig, teacher: LiveTeacher, samples: Sequence[AlignedSample]) -> KeptTeacher:
    """The teacher's cache, compared with the run and with its own hashes; it has all `samples`. Raises RunError."""
    manifest = check_cache(config, teacher)
    kept = manifest.kept
    layout = RowLayout(kept.k, kept.width, kept.dtype, kept.merged is not None)
    cache = Cache.open(files.expanded(teacher.access.cache, RunError), layout.record)
    if kept.merged and not methods.get(teacher.method, RunError).asks_teacher:
        samples = ()  # its groups may be others, and nothing will be read
    readings = readings_of(samples, kept.merged)
    if lost := sum(cache.find(reading) is None for reading in readings):
        why = "it was filled for another pair, which reads conversations otherwise, or held out other data"
        if kept.merged:
            why += ", or its groups are others"
        raise RunError(
            f"the cache {short(teacher.access.cache)} lacks {lost:,} of {len(readings):,} samples: {why}. `ctkd "
            f"cache-teacher` with this run's config and {_flags(kept)} adds them."
        )

    def fetch(wanted: Sequence[Any]) -> list[Any]:
        return [cache.find(reading) for reading in wanted]

    if kept.merged:
        figures = manifest.figures
        return MergedTeacher(teacher.tokenizer, kept.width, kept.rows, fetch, figures, merged=kept.merged)
    return KeptTeacher(teacher.tokenizer, kept.width, kept.rows, fetch, manifest.figures)


def _flags(kept: Kept) -> str:
    """The flags of `ctkd cache-teacher` that go on with such a cache."""
    return f"-k {kept.k} --dtype {kept.dtype} --rows {kept.rows}"
