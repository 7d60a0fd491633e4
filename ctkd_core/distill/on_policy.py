"""On-policy batches: the student writes the completions, the teachers read its text, the method's loss compares them.

A share of the batches keeps its prompts but not its answers: the student samples its own, under no gradient. What the
teacher sees is the text (encoded by its own tokenizer, never the student's ids), aligned on the fly by the method's own
aligner. On these batches cross-entropy is off: the student's own words are no data. A server may write in the student's
place (`on_policy_server`).
Which batches and which random numbers follow from the seed, the step and the place of the batch in it, so a resumed run
writes what the whole one would have written. Source: Agarwal et al. 2024 (arXiv 2306.13649), GKD.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import CtkdError
from ctkd_core.losses.batch import AlignedSample, response_of_ids
from ctkd_core.losses.facts import portion
from ctkd_core.methods.row import without_data as without_data  # what the trainer asks of an on-policy batch

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ctkd_core.distill.data import Example
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Tokenizers whose tokens spell the text's bytes; of others (WordPiece) only the decoded text is known.
_EXACT = ("byte-level", "sentencepiece")

# (prompt, completion, the student's own tokens or None, whether it is whole) -> the sample under each teacher
Align = Callable[[Any, str, "Encoding | None", bool], tuple[AlignedSample, ...]]
# (prompts as ids, seed, ids that end a text) -> the ids that follow each prompt: what a server writes for the model
Write = Callable[[Sequence[list[int]], int, Sequence[int]], list[list[int]]]


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One example as it is trained on: its prompt, and the sample under each teacher (one student side).

    prompt  a text, or the example of a conversation, which each side reads as its own chat template writes it
    ends    further ids, beside EOS, that end the student's answer
    """

    prompt: str | Example
    samples: tuple[AlignedSample, ...]
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """What a student wrote: ids without EOS, their text, and whether it came to an end by itself."""

    ids: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True)
class Sampling:
    """How the student writes; see the options on_policy_* of a run."""

    share: float
    temperature: float
    top_p: float
    max_new_tokens: int
    max_length: int
    seed: int

    @classmethod
    def of(cls, config: RunConfig) -> Sampling:
        """The settings of a run."""
        return cls(
            config.on_policy_share,
            config.on_policy_temperature,
            config.on_policy_top_p,
            config.on_policy_max_new_tokens,
            config.max_length,
            config.seed,
        )

    def chosen(self, step: int, part: int) -> bool:
        """Whether batch number `part` of optimiser step `step` is written by the student."""
        return bool(np.random.default_rng([self.seed, step, part]).random() < self.share)

    def seed_of(self, step: int, part: int, rank: int = 0) -> int:
        """Seed of the random numbers of that batch on one of several devices."""
        return int(np.random.default_rng([self.seed, step, part, rank, 1]).integers(2**31))


def on_policy(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    examples: Sequence[TrainingExample],
    sampling: Sampling,
    seed: int,
    align: Align,
    own_ids: bool = True,
    write: Write | None = None,
) -> tuple[list[TrainingExample], dict[str, float]]:
    """The examples with completions by `model`, and figures about them.

    write: what writes them in the model's place.
    own_ids: keep the student's own tokens on its side (methods for one tokenizer want both sides encoded alike).
    An example keeps the data's completion where nothing readable was written, or where it can't be aligned.
    """
    able = [n for n, example in enumerate(examples) if example.samples[0].student_response_start > 0]
    prompts = [x.samples[0].student_ids[: x.samples[0].student_response_start].tolist() for x in examples]
    ends = tuple(dict.fromkeys(index for x in examples for index in x.ends))
    asked = [prompts[n] for n in able]
    sampled = write(asked, seed, ends) if write else generate(model, tokenizer, asked, sampling, seed, ends)
    result, kept = list(examples), []
    for n, completion in zip(able, [readable(ids, tokenizer, ends) for ids in sampled]):
        example = _with(examples[n], completion, tokenizer, align, own_ids)
        if example is not None:
            result[n] = example
            kept.append(completion)
    facts = {
        "on_policy": float(bool(kept)),
        "on_policy_kept": portion(len(kept), len(examples)),
        "on_policy_tokens": portion(sum(len(c.ids) for c in kept), len(kept)),
        "on_policy_ended": portion(sum(c.ended for c in kept), len(kept)),
    }
    return result, facts


def _with(
    example: TrainingExample, written: Completion, tokenizer: Tokenizer, align: Align, own_ids: bool
) -> TrainingExample | None:
    if not written.text and not written.ended:
        return None
    response = response_of_ids(written.ids, written.text, tokenizer) if own_ids and written.text else None
    try:
        samples = align(example.prompt, written.text, response, written.ended)
    except CtkdError:  # an aligner may refuse what a student writes
        return None
    if samples[0].n_learnt < 1 or not all(len(s.groups) for s in samples):
        return None
    return replace(example, samples=samples)


def readable(ids: Sequence[int], tokenizer: Tokenizer, ends: Sequence[int] = ()) -> Completion:
    """What of sampled ids is text: up to the first EOS (or one of `ends`), other special token, unknown id, or broken
    character.

    A character whose last bytes are missing goes with all its tokens. What ends otherwise than by EOS has not ended.
    """
    kept: list[int] = []
    for index in ids:
        if index == tokenizer.eos_id or index in ends:
            break
        if not 0 <= index < tokenizer.n_ids or index in tokenizer.special_ids:
            return _spelt(kept, tokenizer, False)
        kept.append(int(index))
    return _spelt(kept, tokenizer, len(kept) < len(ids))


def _spelt(ids: list[int], tokenizer: Tokenizer, ended: bool) -> Completion:
    if tokenizer.kind not in _EXACT:
        return Completion(tuple(ids), tokenizer.decode(ids), ended)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    text, whole, whole_text = "", 0, ""
    for n, index in enumerate(ids):
        try:
            text += decoder.decode(tokenizer.token_bytes(index))
        except UnicodeDecodeError:
            break
        if not decoder.getstate()[0]:
            whole, whole_text = n + 1, text
    return Completion(tuple(ids[:whole]), whole_text, ended and whole == len(ids))


def generate(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seed: int,
    ends: Sequence[int] = (),
) -> list[list[int]]:
    """Sampled ids after each prompt, with the EOS (or one of `ends`) where one was drawn.

    The global random state stays as it was.
    """
    import torch

    if not prompts:
        return []
    filler = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[filler] * (longest - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    stops = [index for index in dict.fromkeys((tokenizer.eos_id, *ends)) if index is not None]
    room = max(1, sampling.max_length - min(len(p) for p in prompts))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _random_numbers(model.device, seed):
            out: Any = model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=min(sampling.max_new_tokens, room),
                do_sample=True,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=0,
                num_beams=1,
                repetition_penalty=1.0,
                eos_token_id=stops or None,
                pad_token_id=filler,
                use_cache=True,
            )
    finally:
        model.train(was_training)
    return [_until_end(row, *stops) for row in out[:, longest:].tolist()]


def _until_end(ids: list[int], *stops: int | None) -> list[int]:
    """Without the filling that stands behind a drawn EOS."""
    last = next((n for n, index in enumerate(ids) if index in stops), len(ids))
    return ids[: last + 1]


@contextmanager
def _random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    import torch

    index = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=index):
        torch.manual_seed(seed)
        yield
