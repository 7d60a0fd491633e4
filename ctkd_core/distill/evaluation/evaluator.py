"""All evaluations of one student at one moment; what the teacher says of the held-out text is asked once.

The figures come as one flat table of numbers and of tables of numbers, the keys of an `eval` row of metrics.jsonl.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill import evaluate
from ctkd_core.distill.evaluate import Scored
from ctkd_core.distill.evaluation.agreement import agreement, answer_predictions, regrets
from ctkd_core.distill.evaluation.arithmetic import arithmetic_figures
from ctkd_core.distill.evaluation.class_mass import ClassMass, mean_masses
from ctkd_core.distill.evaluation.completions import completion_figures
from ctkd_core.distill.evaluation.exposure import FEW_TEXTS, excess_errors
from ctkd_core.distill.evaluation.next_bytes import facing, head_width, tree_of
from ctkd_core.distill.evaluation.samples import exercises, with_prompt, without_samples
from ctkd_core.distill.evaluation.table import EVALUATIONS, chosen
from ctkd_core.distill.evaluation.text_bits import bits_by_class, bits_by_domain, domains_of
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example
    from ctkd_core.distill.evaluation.kept_answers import KeptAnswers
    from ctkd_core.losses.bytes import FacingBytes
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Figures = dict[str, Any]  # numbers, and tables of numbers
WRITTEN_AT_ONCE = 16  # prompts of one call of generate
BYTES_AT_ONCE = 20_000  # of text at which two models are compared; 2.3 kB each and model


def nothing(*_: object) -> None:
    """Nobody wants to stop, or to know."""


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A model with its tokenizer, the held-out examples as it reads them, and what is kept on disk of its answers."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    items: list[Scored]
    kept: KeptAnswers | None = None


@dataclass(eq=False)
class Evaluator:
    """The held-out examples of a run, its tokenizers, and its teacher (None: its figures are left out).

    examples      those that bits per byte are measured on
    teacher_bits  bits per byte of a teacher that isn't loaded, where they are known
    teacher_answers  its greedy completions of the first examples with a prompt, as many as are known
    between   called often; may raise to stop
    answers   what is kept on disk of this teacher; None: it is asked in every run
    progress  gets how far the loop under way is, before `between` is called
    """

    config: RunConfig
    student: Tokenizer
    teacher: Tokenizer
    teacher_model: PreTrainedModel | None
    examples: Sequence[Example]
    between: Callable[[], None] = nothing
    teacher_bits: float | None = None
    teacher_answers: Sequence[str] = ()
    answers: KeptAnswers | None = None
    progress: Callable[[str], None] = nothing
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def figures(
        self, model: PreTrainedModel, names: str | Sequence[str] | None = None, kept: KeptAnswers | None = None
    ) -> Figures:
        """What the named evaluations (default: the config's) find of a student; figures without a value are NaN.

        kept  what is on disk of the student as it is now; None: it is asked
        """
        asked = chosen(self.config.evaluations if names is None else names)
        found: Figures = {"held_out": len(self.examples)}
        reader = EvaluatedModel(model, self.student, self._items("student", self.student), kept)
        bits, masses = self._bits_and_masses(reader) if "classes" in asked else (self._bits(reader), [])
        found["held_out_bytes"] = sum(item.n_bytes for item in reader.items)
        found["bits_per_byte"] = _per_byte(reader.items, bits)
        teacher = self._teacher()
        if teacher is not None:
            found["teacher_bits_per_byte"] = _per_byte(teacher.items, self._teacher_bits(teacher))
        elif self.teacher_bits is not None:
            found["teacher_bits_per_byte"] = self.teacher_bits
        for name in asked:
            found |= _PARTS[name](self, reader, bits)
        if table := mean_masses(self.student, reader.items, masses):
            found["mass_by_class"] = table
        return found

    def notes(self, found: Figures, what: str = "held-out sample") -> dict[str, str]:
        """A sentence for each evaluation of the config that has no figure in `found`, and why; by its name.

        what  the name of one of the examples
        """
        asked = chosen(self.config.evaluations) if self.examples else ()
        known = without_samples(self.config, self.examples, what)
        for name in asked:
            if EVALUATIONS[name].needs_teacher and self.teacher_model is None:
                known[name] = f"{name}: the teacher isn't loaded, so it can't be measured."
            elif name in _WITHOUT_FIGURES and name not in known and not _has_figures(name, found):
                known[name] = f"{name}: {_WITHOUT_FIGURES[name].format(counted(len(self.examples), what))}"
        return {name: known[name] for name in asked if name in known}

    def _classes(self, reader: EvaluatedModel, bits: list[NDArray[np.float64]]) -> Figures:
        teacher = self._teacher()
        others = [] if teacher is None else [(teacher.items, self._teacher_bits(teacher))]
        found: Figures = {}
        named = {"domain": [e.kind for e in self.examples], "language": [e.language for e in self.examples]}
        for part, names in named.items():
            shown = domains_of(names)
            by_name, n_bytes = bits_by_domain(shown, reader.items, bits)
            if not by_name:
                continue
            found |= {f"bits_by_{part}": by_name, f"bytes_by_{part}": n_bytes}
            if teacher is not None:
                by_name, _ = bits_by_domain(shown, teacher.items, self._teacher_bits(teacher))
                found[f"teacher_bits_by_{part}"] = by_name
        tables, n_bytes = bits_by_class(self.student, reader.items, bits, others)
        if n_bytes:
            found |= {"bits_by_class": tables[0], "bytes_by_class": n_bytes}
        if teacher is not None and n_bytes:
            found["teacher_bits_by_class"] = tables[1]
        return found

    def _agreement(self, reader: EvaluatedModel, bits: list[NDArray[np.float64]]) -> Figures:  # noqa: ARG002
        teacher = self._teacher()
        if teacher is None:
            return {}
        sides = list(zip(reader.items, teacher.items))
        trees = tuple(tree_of(x.tokenizer, head_width(x.model)) for x in (reader, teacher))
        if "facing" not in self._kept:
            self._kept["facing"] = [facing(*pair, trees) for pair in sides]  # type: ignore[arg-type]
        mine, theirs = (self._byte_predictions(x, k, self._kept["facing"]) for k, x in enumerate((reader, teacher)))
        return {"agreement": agreement(mine, theirs, sides, (self.student, self.teacher))}

    def _byte_predictions(self, reader: EvaluatedModel, side: int, faced: Sequence[FacingBytes]) -> Iterator[Any]:
        """What a model says at all common bytes, in blocks, so that not all of it is in memory at once.

        side  0: the student's column of what faces each other, 1: the teacher's
        """
        places = [(one.row[:, side].contiguous(), one.offset[:, side].contiguous()) for one in faced]
        sizes = np.cumsum([len(one) for one in faced])
        blocks = np.maximum(sizes - 1, 0) // BYTES_AT_ONCE
        for start, stop in itertools.pairwise([*np.unique(blocks, return_index=True)[1].tolist(), len(faced)]):
            part = replace(reader, items=reader.items[start:stop])
            yield from self._predictions(part, places[start:stop], start, len(faced))

    def _completions(self, reader: EvaluatedModel, bits: list[NDArray[np.float64]]) -> Figures:  # noqa: ARG002
        examples = self._asking()
        if not examples:
            return {}
        references = [e.completion for e in examples]
        found = {"completions": completion_figures(references, self._written(reader, examples, "asking"))}
        teacher = self._teacher()
        if teacher is not None:
            written = self._written(teacher, examples, "asking")
            found["teacher_completions"] = completion_figures(references, written)
        elif examples == self._answered_by_teacher()[: len(examples)]:
            found["teacher_completions"] = completion_figures(references, self.teacher_answers[: len(examples)])
        return found

    def _answered_by_teacher(self) -> list[Example]:
        """The examples to which `teacher_answers` belong."""
        return [e for e in self.examples if e.prompt][: len(self.teacher_answers)]

    def _arithmetic(self, reader: EvaluatedModel, bits: list[NDArray[np.float64]]) -> Figures:  # noqa: ARG002
        pairs = exercises(self.examples, self.config.eval_completions)
        if not pairs:
            return {}
        examples, lengths = [e for e, _ in pairs], [n for _, n in pairs]
        references = [e.completion for e in examples]
        right, counts = arithmetic_figures(lengths, references, self._written(reader, examples, "arithmetic"))
        found: Figures = {"arithmetic": right, "arithmetic_counts": counts}
        teacher = self._teacher()
        if teacher is not None:
            written = self._written(teacher, examples, "arithmetic")
            found["teacher_arithmetic"] = arithmetic_figures(lengths, references, written)[0]
        return found

    def _exposure(self, reader: EvaluatedModel, bits: list[NDArray[np.float64]]) -> Figures:  # noqa: ARG002
        teacher, examples = self._teacher(), self._asking()
        if teacher is None or not examples:
            return {}
        if "sampled" not in self._kept:
            self._kept["sampled"] = self._sampled(teacher, examples)
        own, forced = (
            self._regrets(reader, teacher, _answered(examples, texts))
            for texts in (self._sampled(reader, examples), self._kept["sampled"])
        )
        found = excess_errors(own, forced)
        return {"exposure": found, "exposure_texts": len(examples)} if found else {}

    def _regrets(
        self, student: EvaluatedModel, teacher: EvaluatedModel, examples: Sequence[Example]
    ) -> list[NDArray[np.float64]]:
        """KL on next bytes at the places of these texts."""
        sides = [
            EvaluatedModel(reader.model, reader.tokenizer, self._scored(reader.tokenizer, examples))
            for reader in (student, teacher)
        ]
        mine, theirs = (self._predictions(side) for side in sides)
        return regrets(mine, theirs, list(zip(sides[0].items, sides[1].items)))

    def _sampled(self, reader: EvaluatedModel, examples: Sequence[Example]) -> list[str]:
        """Answers drawn from a model at temperature 1, always with the same random numbers."""
        from ctkd_core.distill.on_policy import Sampling, generate, readable

        config = self.config
        sampling = Sampling(1.0, 1.0, 1.0, config.sample_tokens, config.max_length, config.seed)
        texts: list[str] = []
        for start in range(0, len(examples), WRITTEN_AT_ONCE):
            batch = examples[start : start + WRITTEN_AT_ONCE]
            prompts = [e.prompt_for(reader.tokenizer) for e in batch]
            ends = evaluate.ends_of(reader.tokenizer, prompts)
            ids = evaluate.with_room(reader.model, reader.tokenizer, prompts, config.sample_tokens)
            seed = sampling.seed_of(0, start)
            drawn = generate(reader.model, reader.tokenizer, ids, sampling, seed, ends)
            texts += [readable(own, reader.tokenizer, ends).text for own in drawn]
            self._done(reader, len(texts), len(examples), "answered")
        return texts

    def _written(self, reader: EvaluatedModel, examples: Sequence[Example], which: str) -> list[str]:
        """Greedy answers; the teacher's are asked for once."""

        def texts() -> list[str]:
            ask = partial(self._completed, reader, examples)
            prompts = [e.prompt_for(reader.tokenizer) for e in examples]
            known = (reader.model, reader.tokenizer, prompts, self.config.sample_tokens, WRITTEN_AT_ONCE)
            return reader.kept.texts(*known, ask) if reader.kept else ask()

        if reader.model is not self.teacher_model:
            return texts()
        key = f"written {which}"
        if key not in self._kept:
            self._kept[key] = texts()
        return list(self._kept[key])

    def _completed(self, reader: EvaluatedModel, examples: Sequence[Example]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(examples), WRITTEN_AT_ONCE):
            prompts = [e.prompt_for(reader.tokenizer) for e in examples[start : start + WRITTEN_AT_ONCE]]
            texts += evaluate.complete(reader.model, reader.tokenizer, prompts, self.config.sample_tokens)
            self._done(reader, len(texts), len(examples), "answered")
        return texts

    def _asking(self) -> list[Example]:
        """The examples with a prompt that answers are written to."""
        return with_prompt(self.examples, self.config.eval_completions)

    def _teacher(self) -> EvaluatedModel | None:
        if self.teacher_model is None:
            return None
        return EvaluatedModel(self.teacher_model, self.teacher, self._items("teacher", self.teacher), self.answers)

    def _items(self, side: str, tokenizer: Tokenizer) -> list[Scored]:
        if side not in self._kept:
            self._kept[side] = self._scored(tokenizer, self.examples)
        return list(self._kept[side])

    def _scored(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Scored]:
        config = self.config
        return [evaluate.encode_scored(e, tokenizer, config.max_length, config.truncation_side) for e in examples]

    def _teacher_bits(self, teacher: EvaluatedModel) -> list[NDArray[np.float64]]:
        if "teacher bits" not in self._kept:
            self._kept["teacher bits"] = self._bits(teacher)
        return list(self._kept["teacher bits"])

    def _bits(self, reader: EvaluatedModel) -> list[NDArray[np.float64]]:
        ask = partial(self._measured, reader)
        return reader.kept.bits(reader.items, self._batch, ask) if reader.kept else ask()

    def _bits_and_masses(self, reader: EvaluatedModel) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """-log2 p of each scored token, and the probability of its class, float64 [k] for each item."""

        def ask() -> list[NDArray[np.float64]]:
            mass = ClassMass(reader.tokenizer, len(reader.items))
            return [np.stack(pair) for pair in zip(self._measured(reader, mass.add), mass.noted, strict=True)]

        known = (reader.items, self._batch, reader.tokenizer)
        both = reader.kept.bits_and_masses(*known, ask) if reader.kept else ask()
        return [own[0] for own in both], [own[1] for own in both]

    def _measured(self, reader: EvaluatedModel, also: Any = None) -> list[NDArray[np.float64]]:
        between = self._reading(reader, 0, len(reader.items))
        return evaluate.token_bits(reader.model, reader.items, self._batch, between=between, also=also)

    def _predictions(
        self, reader: EvaluatedModel, places: Any = None, before: int = 0, total: int | None = None
    ) -> list[Any]:
        """`before`: how many of `total` items (None: the reader's) were read already."""
        between = self._reading(reader, before, len(reader.items) if total is None else total)
        return answer_predictions(
            reader.model, reader.tokenizer, reader.items, self._batch, between=between, places=places
        )

    def _reading(self, reader: EvaluatedModel, before: int, total: int) -> Callable[[], None]:
        """What is called behind each batch that a model reads; items that can't be scored are in none."""
        batches = itertools.count(1)
        most = before + len(reader.items)
        return lambda: self._done(reader, min(before + next(batches) * self._batch, most), total, "read")

    def _done(self, reader: EvaluatedModel, done: int, total: int, how: str) -> None:
        who = "teacher" if reader.model is self.teacher_model else "student"
        self.progress(f"{done:,} of {counted(total, 'sample')} {how} by the {who}")
        self.between()

    @property
    def _batch(self) -> int:
        return max(8, self.config.batch_size)


def _answered(examples: Sequence[Example], texts: Sequence[str]) -> list[Example]:
    """The prompts of the examples with other answers, which bring their own blank along."""
    return [replace(e.without_leads, completion=text) for e, text in zip(examples, texts, strict=True) if text]


def _has_figures(name: str, found: Figures) -> bool:
    """Whether an evaluation that had samples found anything."""
    if name == "agreement":  # its table is there with counts of 0, too
        return bool(found[name]["boundaries"] or found[name].get("bytes"))
    return any(key in found for key in _TABLES.get(name, (name,)))


def _per_byte(items: Sequence[Scored], bits: Sequence[NDArray[np.float64]]) -> float:
    total = sum(item.n_bytes for item in items)
    return sum(float(own.sum()) for own in bits) / total if total else math.nan


_PARTS: dict[str, Callable[[Evaluator, EvaluatedModel, list[NDArray[np.float64]]], Figures]] = {
    "classes": Evaluator._classes,
    "agreement": Evaluator._agreement,
    "completions": Evaluator._completions,
    "arithmetic": Evaluator._arithmetic,
    "exposure": Evaluator._exposure,
}

_TABLES = {"classes": ("bits_by_class", "bits_by_domain", "bits_by_language")}  # of others: called as they are
_WITHOUT_FIGURES = {
    "classes": "nothing of the {} can be scored.",
    "agreement": "the {} have no place where both models can be compared.",
    "exposure": FEW_TEXTS,
}
