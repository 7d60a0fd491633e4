"""Merged rows of a cache: one for each group of a sample's tokens, made of whole rows and put back into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ctkd_core.distill.teachers.rows import Records, RowLayout, TeacherVocabulary, dense, shorten
from ctkd_core.distill.teachers.store import MergedReading, Reading
from ctkd_core.losses.batch import IGNORE, AlignedBatch, AlignedSample, collate
from ctkd_core.losses.teacher_merges import TeacherMerges, merged_rows, spread_rows, teacher_merges

if TYPE_CHECKING:
    from ctkd_core.distill.teachers.manifest import Merged
    from ctkd_core.losses.merge_rules import MergeRule, Rule

SAMPLES = 64  # that are looked at together


def readings_of(samples: Sequence[AlignedSample], merged: Merged | None) -> Sequence[Reading | MergedReading]:
    """What the teacher reads of each sample and, with `merged`, which of its rows become one.

    Raises LossInputError for groups that overlap.
    """
    if merged is None:
        return [(sample.teacher_ids, sample.teacher_response_start) for sample in samples]
    parts = (samples[begin : begin + SAMPLES] for begin in range(0, len(samples), SAMPLES))
    return [reading for part in parts for reading in readings_of_batch(collate(part), merged.rule)]


def readings_of_batch(batch: AlignedBatch, rule: Rule) -> list[MergedReading]:
    """What the teacher reads of the samples of a batch, and which of its rows become one.

    Padded at the right; at the left, too, where no answer begins with a sample's first token: what would predict that
    one is a row of the padding there.
    """
    batch = batch.to("cpu")
    merges, width = teacher_merges(batch, rule), batch.teacher_ids.shape[1]
    groups, rows, factors = (torch.searchsorted(within, edges).tolist() for within, edges in _edges(merges, len(batch)))
    found = []
    for b in range(len(batch)):
        at = batch.teacher_attention[b].nonzero().squeeze(1)
        first = int(at[0]) if len(at) else 0
        own, several = slice(*rows[b : b + 2]), slice(*factors[b : b + 2])
        shift, before = b * width + first, groups[b]
        places = (
            merges.row[own] - shift,
            merges.group[own] - before,
            merges.factor_row[several] - shift,
            merges.factor_token[several],
            merges.factor_group[several] - before,
        )
        found.append(
            MergedReading(
                batch.teacher_ids[b, at].int().numpy(),
                start_of(batch.teacher_labels[b, at]),
                *(x.int().numpy() for x in places),
            )
        )
    return found


def _edges(merges: TeacherMerges, n_samples: int) -> list[tuple[Tensor, Tensor]]:
    """Where each sample begins among groups, rows and factors: sorted values, and what to look for."""
    of, samples = merges.sample.contiguous(), torch.arange(n_samples + 1)
    first = torch.searchsorted(of, samples)
    return [(of, samples), (merges.group, first), (merges.factor_group, first)]


def start_of(labels: Tensor) -> int:
    """Position of the answer's first token in labels int64 [n]; the end where there is none."""
    learnt = (labels != IGNORE).nonzero()
    return int(learnt[0]) if len(learnt) else len(labels)


def shorten_merged(
    logits: Tensor, reading: MergedReading, rule: MergeRule, layout: RowLayout, vocabulary: TeacherVocabulary
) -> Records:
    """The merged rows of a sample in short, made of its whole logits [n, V]."""
    merged, log_factor = merged_rows(logits[None], _places(reading, rule, vocabulary, logits.device), rule.temperature)
    found = shorten(merged, _following(reading, logits.device), layout, vocabulary)
    found["factor"] = log_factor.cpu().numpy()
    return found


def spread_merged(
    records: Records, reading: MergedReading, rule: MergeRule, vocabulary: TeacherVocabulary, out: Tensor
) -> None:
    """Write rows into out float32 [n, V] that a loss merges to these `records` again."""
    rows = dense(records, _following(reading, out.device), vocabulary)
    factor = torch.from_numpy(records["factor"].astype(np.float32)).to(out.device)
    spread_rows(rows, factor, _places(reading, rule, vocabulary, out.device), rule.temperature, out)


def _places(
    reading: MergedReading, rule: MergeRule, vocabulary: TeacherVocabulary, device: torch.device
) -> TeacherMerges:
    row, group, *factors = (torch.from_numpy(x.astype(np.int64)).to(device) for x in reading[2:])
    count = torch.bincount(group, minlength=reading.n_groups)
    tokens = vocabulary.tokens if rule.rule == "log_mean" else 0
    return TeacherMerges(torch.zeros_like(count), row, group, count, *factors, tokens=tokens)


def _following(reading: MergedReading, device: torch.device) -> Tensor:
    """int64 [G]: the token behind each group's last row, whose probability stays exact; -1 where the text ends."""
    ids = np.append(reading.ids, -1).astype(np.int64)
    last = np.append(reading.group[1:] != reading.group[:-1], True)[: len(reading.group)]
    return torch.from_numpy(ids[reading.row[last] + 1]).to(device)
