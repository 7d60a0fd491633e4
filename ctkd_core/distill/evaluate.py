"""Measures that don't depend on the tokenizer: bits per byte, and greedy completions to read.

Bits per byte of a response = sum of -log2 p(token | everything before) over its tokens / its UTF-8 bytes. The EOS token
isn't counted (it spells no byte), nor is a response's first token when nothing stands before it. Tokenizers that cut
the same text differently become comparable, up to what several spellings of one text share among them.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.losses.batch import encode_response, prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.data import Example
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Heartbeat = Callable[[], None]  # called between batches; raises to stop


@dataclass(frozen=True, eq=False)
class Scored:
    """One example as one model reads it: ids int32 [n] without EOS, where the response begins, its bytes."""

    ids: NDArray[np.int32]
    start: int
    n_bytes: int


def encode_scored(example: Example, tokenizer: Tokenizer, max_length: int) -> Scored:
    """`example` for scoring, cut to `max_length` tokens; bytes that no scored token covers aren't counted."""
    before = prompt_ids(example.prompt, tokenizer)
    response = encode_response(example.completion, tokenizer)
    ids = np.array([*before, *response.ids.tolist()], dtype=np.int32)[:max_length]
    start = max(1, len(before))  # nothing predicts the very first token
    first = start - len(before)
    covered = response.spans[first : max(first, len(ids) - len(before))]
    return Scored(ids, min(start, len(ids)), int(covered[:, 1].max() - covered[:, 0].min()) if len(covered) else 0)


def bits_per_byte(
    model: PreTrainedModel,
    items: Sequence[Scored],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
) -> float:
    """Bits per byte over all items together (long responses weigh more); NaN when nothing can be scored."""
    import torch

    usable = sorted((x for x in items if x.n_bytes and len(x.ids) > x.start), key=lambda x: (x.start, len(x.ids)))
    bits, total = 0.0, 0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for i in range(0, len(usable), batch_size):
            batch = usable[i : i + batch_size]
            bits += _response_bits(model, batch, pad_id)
            total += sum(x.n_bytes for x in batch)
            if between:
                between()
    model.train(was_training)
    return bits / total if total else math.nan


def _response_bits(model: PreTrainedModel, batch: Sequence[Scored], pad_id: int) -> float:
    """Sum of -log2 p over the response tokens of a batch."""
    import torch

    longest = max(len(x.ids) for x in batch)
    ids = torch.full((len(batch), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    learnt = torch.zeros(ids.shape, dtype=torch.bool)
    for row, item in enumerate(batch):
        ids[row, : len(item.ids)] = torch.from_numpy(item.ids)
        mask[row, : len(item.ids)] = 1
        learnt[row, item.start : len(item.ids)] = True
    first = min(x.start for x in batch) - 1  # rows before it predict prompts only
    ids, mask, learnt = (x.to(model.device) for x in (ids, mask, learnt))
    logits = _logits_from(model, ids, mask, first)[:, :-1]
    chosen = learnt[:, first + 1 :]
    rows, targets = logits[chosen].float(), ids[:, first + 1 :][chosen]
    nats = torch.nn.functional.cross_entropy(rows, targets, reduction="none")
    return float(nats.double().sum()) / math.log(2)


def _logits_from(model: PreTrainedModel, ids: Any, mask: Any, first: int) -> Any:
    """Logits [B, T - first, V] of positions from `first` on; the head is only computed there if the model can."""
    import torch

    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        keep = torch.arange(first, ids.shape[1], device=ids.device)
        return model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, first:]


def complete(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
) -> list[str]:
    """Greedy completions, one a prompt, cut at EOS and at the first line break."""
    import torch

    encoded = [prompt_ids(prompt, tokenizer) for prompt in prompts]
    if not encoded:
        return []
    filler = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    longest = max(1, *(len(x) for x in encoded))
    # Padding stands before the prompts, so that all of them end where generation begins.
    ids = torch.tensor([[filler] * (longest - len(x)) + x for x in encoded], device=model.device)
    mask = torch.tensor([[0] * (longest - len(x)) + [1] * len(x) for x in encoded], device=model.device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        out = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=filler,
        )
    model.train(was_training)
    return [_first_line(tokenizer, row[longest:].tolist()) for row in out]


def _first_line(tokenizer: Tokenizer, ids: list[int]) -> str:
    if tokenizer.eos_id in ids:
        ids = ids[: ids.index(tokenizer.eos_id)]
    return tokenizer.decode(ids).lstrip("\n").split("\n")[0].strip()


def repetition(texts: Sequence[str]) -> float:
    """Share of words that repeat the word pair they end: 0 for no repeated pair; 0 for texts of one word."""
    repeated = total = 0
    for text in texts:
        words = text.split()
        pairs = list(itertools.pairwise(words))
        repeated += len(pairs) - len(set(pairs))
        total += len(pairs)
    return repeated / total if total else 0.0
