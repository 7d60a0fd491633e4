"""A teacher that isn't there: what the trainer asks instead of a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core.distill.teachers.manifest import TeacherFigures
from ctkd_core.distill.teachers.matching import check_cache
from ctkd_core.distill.teachers.rows import Records, RowLayout, TeacherVocabulary, dense
from ctkd_core.distill.teachers.store import Cache, Reading, first_row
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
    figures: TeacherFigures = field(default_factory=TeacherFigures)
    reader: Reader | None = None  # of a server, which can be asked for figures
    _vocabulary: TeacherVocabulary | None = None

    def logits(self, batch: AlignedBatch) -> Tensor:
        """float32 [B, T, V] on the batch's device. Rows that no loss reads (the prompt's, padding) are zeros."""
        device = batch.teacher_ids.device
        if self._vocabulary is None or self._vocabulary.begins.device != device:
            self._vocabulary = TeacherVocabulary.of(self.tokenizer, self.width, device)
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


def open_cache(config: RunConfig, teacher: LiveTeacher, readings: Sequence[Reading]) -> KeptTeacher:
    """The teacher's cache, compared with the run and with its own hashes; it has all `readings`. Raises RunError."""
    manifest = check_cache(config, teacher)
    kept = manifest.kept
    cache = Cache.open(Path(teacher.access.cache).expanduser(), RowLayout(kept.k, kept.width, kept.dtype).record)
    if lost := sum(cache.find(reading) is None for reading in readings):
        raise RunError(
            f"the cache {short(teacher.access.cache)} lacks {lost:,} of {len(readings):,} samples: it was filled for "
            "another pair, which reads conversations otherwise, or held out other data. `ctkd cache-teacher` with this "
            "run's config adds them."
        )

    def fetch(wanted: Sequence[Reading]) -> list[Any]:
        return [cache.find(reading) for reading in wanted]

    return KeptTeacher(teacher.tokenizer, kept.width, kept.rows, fetch, manifest.figures)
