"""Reading a teacher's rows from its model, in batches; and what a run tells of a teacher besides the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.teachers.manifest import TeacherFigures, held_out_of
from ctkd_core.distill.teachers.rows import Records, RowLayout, TeacherVocabulary, shorten
from ctkd_core.distill.teachers.store import MergedReading, Reading, first_row
from ctkd_core.errors import RunError

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example
    from ctkd_core.losses.merge_rules import MergeRule
    from ctkd_core.tokenizers.chat_prompts import ChatPrompt
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Prompts = Sequence["str | ChatPrompt"]


class Reader(Protocol):
    """A model or a server that reads texts. `logits`: whether logits can be had, not only probabilities."""

    logits: bool

    @property
    def width(self) -> int:
        """Entries of a row."""

    def read(self, readings: Sequence[Reading], rows: str, layout: RowLayout) -> list[Records]:
        """The rows of each sample from `first_row` on."""

    def answers(self, prompts: Prompts, tokens: int) -> list[str]:
        """Greedy completions of up to so many tokens, each its first line."""


@dataclass(eq=False)
class ModelReader:
    """Rows of a loaded model, computed on its device."""

    model: Any
    tokenizer: Tokenizer
    device: str = "cpu"
    logits: bool = True
    _vocabulary: TeacherVocabulary | None = None

    @property
    def width(self) -> int:
        """Of the logits that the trainer would see: at least as wide as the tokenizer has ids."""
        return max(int(self.model.get_output_embeddings().weight.shape[0]), self.tokenizer.n_ids)

    def read(self, readings: Sequence[Reading], rows: str, layout: RowLayout) -> list[Records]:
        """The rows of each sample from `first_row` on; padding stands behind, where it changes nothing."""
        import torch

        from ctkd_core.distill.trainer import widened

        if not readings:
            return []
        logits, vocabulary = self._asked([ids for ids, _ in readings])
        found = []
        for b, (own, start) in enumerate(readings):
            first = first_row(start, rows)
            following = torch.full((len(own) - first,), -1, device=self.device)
            following[:-1] = torch.from_numpy(own[first + 1 :].astype(np.int64)).to(self.device)
            part = widened(logits[b, first : len(own)], self.width)
            found.append(shorten(part.to(self.device), following, layout, vocabulary))
        return _finite(found)

    def read_merged(self, readings: Sequence[MergedReading], rule: MergeRule, layout: RowLayout) -> list[Records]:
        """One row for each group of each sample, made of the whole rows of its tokens."""
        from ctkd_core.distill.teachers.merged import shorten_merged
        from ctkd_core.distill.trainer import widened

        logits, vocabulary = self._asked([reading.ids for reading in readings])
        found = []
        for b, reading in enumerate(readings):
            part = widened(logits[b, : len(reading.ids)], self.width).to(self.device)
            found.append(shorten_merged(part, reading, rule, layout, vocabulary))
        return _finite(found)

    def _asked(self, texts: Sequence[NDArray[np.int32]]) -> tuple[Any, TeacherVocabulary]:
        """The model's logits of these ids, padded at the right, and its vocabulary."""
        import torch

        if self._vocabulary is None:
            self._vocabulary = TeacherVocabulary.of(self.tokenizer, self.width, torch.device(self.device))
        ids = np.zeros((len(texts), max(1, *map(len, texts))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for b, own in enumerate(texts):
            ids[b, : len(own)], mask[b, : len(own)] = own, 1
        inputs, attention = (torch.from_numpy(x).to(self.device) for x in (ids, mask))
        with torch.no_grad():
            out = self.model(input_ids=inputs, attention_mask=attention, use_cache=False)
        return out.logits, self._vocabulary

    def answers(self, prompts: Prompts, tokens: int) -> list[str]:
        """Greedy completions, each its first line."""
        from ctkd_core.distill import evaluate

        return evaluate.complete(self.model, self.tokenizer, prompts, tokens)


def _finite(found: list[Records]) -> list[Records]:
    """The same rows. Raises RunError where one of them holds no numbers."""
    if not all(np.isfinite(records["normaliser"]).all() for records in found):
        raise RunError(
            "the teacher's logits hold NaN or infinity, so nothing can be learnt of them; compute in bf16 or fp32 "
            "(teacher_precision)."
        )
    return found


def measured(
    reader: Reader,
    config: RunConfig,
    tokenizer: Tokenizer,
    held_out: Sequence[Example],
    between: Callable[[], None] | None = None,
) -> TeacherFigures:
    """Bits of the first `eval_samples` held-out answers, and completions of the first `sample_prompts` prompts."""
    from ctkd_core.distill import evaluate

    chosen = held_out[: config.eval_samples]
    items = [evaluate.encode_scored(e, tokenizer, config.max_length, config.truncation_side) for e in chosen]
    usable = [n for n, item in enumerate(items) if item.n_bytes and len(item.ids) > item.start]
    scored = [(0.0, 0)] * len(items)
    layout = RowLayout(1, reader.width, "float32")
    step = max(8, config.batch_size)
    for begin in range(0, len(usable), step):
        part = usable[begin : begin + step]
        found = reader.read([(items[n].ids, items[n].start) for n in part], "answer", layout)
        for n, records in zip(part, found):
            scored[n] = (-float(records["next"][:-1].sum(dtype=np.float64)) / math.log(2), items[n].n_bytes)
        if between:
            between()
    prompts = [e.prompt_for(tokenizer) for e in held_out if e.prompt][: config.sample_prompts]
    answers = reader.answers(prompts, config.sample_tokens)
    return TeacherFigures(tuple(scored), tuple(answers), config.sample_tokens, held_out_of(config))
