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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.losses.batch import answer_of, end_of, prompt_ids, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.data import Example
    from ctkd_core.tokenizers.chat_prompts import ChatPrompt
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Heartbeat = Callable[[], None]  # called between batches; raises to stop


@dataclass(frozen=True, eq=False)
class Scored:
    """One example as one model reads it: ids int32 [n] without EOS, where the scored response begins, its bytes.

    spans  int64 [k, 2]: the bytes of the response that each scored token, ids[start:], covers
    exact  bool [k]: whether that is all that the token stands for; not so where a blank before the answer belongs to
           the prompt, or the tokenizer rewrote the text
    """

    ids: NDArray[np.int32]
    start: int
    n_bytes: int
    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    exact: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def encode_scored(example: Example, tokenizer: Tokenizer, max_length: int, truncation_side: str = "right") -> Scored:
    """`example` for scoring, cut to `max_length` tokens; bytes that no scored token covers aren't counted."""
    prompt = example.prompt_for(tokenizer)
    response = answer_of(prompt, example.completion, tokenizer)
    room = max_length if truncation_side == "left" else None
    before = shortened(prompt_ids(prompt, tokenizer), len(response), room, tokenizer)
    ids = np.array([*before, *response.ids.tolist()], dtype=np.int32)[:max_length]
    start = max(1, len(before))  # nothing predicts the very first token
    first = start - len(before)
    scored = slice(first, max(first, len(ids) - len(before)))
    covered = response.spans[scored].astype(np.int64)
    n_bytes = int(covered[:, 1].max() - covered[:, 0].min()) if len(covered) else 0
    table = tokenizer.all_token_bytes()
    spelt = zip(response.token_bytes[scored], response.ids[scored].tolist())
    exact = np.array([data == table[index] for data, index in spelt], dtype=np.bool_)
    return Scored(ids, min(start, len(ids)), n_bytes, covered, exact)


@dataclass(frozen=True)
class AnswerEnd:
    """What a model gives, right behind whole answers, to the token that ends them and to the next special one.

    Log-probabilities in nats, the best of all answers; `other` is an id, None where there is no other special token.
    """

    given: float
    other: int | None = None
    other_given: float = -math.inf


def answer_end(
    model: PreTrainedModel, tokenizer: Tokenizer, examples: Sequence[Example], max_length: int
) -> AnswerEnd | None:
    """How likely a model ends these answers as they end; None where no answer is whole within `max_length` tokens."""
    import torch

    best: dict[int, float] = {}
    ends: set[int] = set()
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for example in examples:
            prompt = example.prompt_for(tokenizer)
            end, scored = end_of(prompt, tokenizer), encode_scored(example, tokenizer, max_length)
            if end is None or not example.whole or not scored.n_bytes or len(scored.ids) >= max_length:
                continue
            ends.add(end)
            ids = torch.from_numpy(scored.ids.astype(np.int64))[None].to(model.device)
            row = _logits_from(model, ids, torch.ones_like(ids), ids.shape[1] - 1)[0, -1].float().log_softmax(-1)
            looked_at = [index for index in {end, *tokenizer.special_ids} if index < len(row)]
            for index, value in zip(looked_at, row[looked_at].tolist()):
                best[index] = max(value, best.get(index, -math.inf))
    model.train(was_training)
    if not ends:
        return None
    others = [index for index in best if index not in ends]
    other = max(others, key=best.__getitem__, default=None)
    given = max(best.get(index, -math.inf) for index in ends)
    return AnswerEnd(given) if other is None else AnswerEnd(given, other, best[other])


def bits_per_byte(
    model: PreTrainedModel,
    items: Sequence[Scored],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
) -> float:
    """Bits per byte over all items together (long responses weigh more); NaN when nothing can be scored."""
    total = sum(x.n_bytes for x in items)
    bits = sum(float(each.sum()) for each in token_bits(model, items, batch_size, pad_id, between))
    return bits / total if total else math.nan


def token_bits(
    model: PreTrainedModel,
    items: Sequence[Scored],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
    also: Callable[[int, Any, Any], None] | None = None,
) -> list[NDArray[np.float64]]:
    """-log2 p of each scored token, float64 [k] for each item; empty where nothing can be scored.

    `also` is called with the same rows, as `read_rows` does it, for whoever needs more of them.
    """
    import torch

    found = [np.zeros(0) for _ in items]

    def keep(number: int, rows: Any, targets: Any) -> None:
        nats = torch.nn.functional.cross_entropy(rows, targets, reduction="none")
        found[number] = nats.cpu().double().numpy() / math.log(2)
        if also:
            also(number, rows, targets)

    read_rows(model, items, keep, batch_size, pad_id, between)
    return found


def read_rows(
    model: PreTrainedModel,
    items: Sequence[Scored],
    use: Callable[[int, Any, Any], None],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
) -> None:
    """Have a model read all items and call `use(number of the item, rows, targets)` for each.

    rows float32 [k, V] predict the item's scored tokens, targets int64 [k]. Items without scored bytes are left out.
    No gradient is kept, and rows don't outlive the call.
    """
    import torch

    able = [n for n, x in enumerate(items) if x.n_bytes and len(x.ids) > x.start]
    able.sort(key=lambda n: (items[n].start, len(items[n].ids)))
    was_training = model.training
    model.eval()
    try:
        for i in range(0, len(able), batch_size):
            numbers = able[i : i + batch_size]
            with torch.inference_mode():
                rows, targets = _rows_of_batch(model, [items[n] for n in numbers], pad_id)
                sizes = [len(items[n].ids) - items[n].start for n in numbers]
                for n, own, tokens in zip(numbers, rows.split(sizes), targets.split(sizes)):
                    use(n, own, tokens)
            del rows, own
            if between:
                between()
    finally:
        model.train(was_training)


def _rows_of_batch(model: PreTrainedModel, batch: Sequence[Scored], pad_id: int) -> tuple[Any, Any]:
    """Logits float32 [K, V] of the response tokens of a batch, and the tokens int64 [K]."""
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
    return logits[chosen].float(), ids[:, first + 1 :][chosen]


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
    prompts: Sequence[str | ChatPrompt],
    max_new_tokens: int,
) -> list[str]:
    """Greedy completions, one a prompt, cut at the token that ends an answer and at the first line break.

    A prompt that the model has no positions for loses its beginning.
    """
    import torch

    ends = ends_of(tokenizer, prompts)
    encoded = with_room(model, tokenizer, prompts, max_new_tokens)
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
            eos_token_id=list(ends) or None,
            pad_token_id=filler,
        )
    model.train(was_training)
    return [_first_line(tokenizer, row[longest:].tolist(), ends) for row in out]


def with_room(
    model: PreTrainedModel, tokenizer: Tokenizer, prompts: Sequence[str | ChatPrompt], max_new_tokens: int
) -> list[list[int]]:
    """Ids of prompts that leave the model positions for so many more tokens; longer ones lose their beginning."""
    most = positions_of(model)
    room = None if most is None else max(1, most - max_new_tokens)
    return [shortened(prompt_ids(prompt, tokenizer), 0, room, tokenizer) for prompt in prompts]


def ends_of(tokenizer: Tokenizer, prompts: Sequence[str | ChatPrompt]) -> tuple[int, ...]:
    """The tokens at which answers to these prompts end: EOS, what chat templates end turns with, the model's own."""
    ids = (tokenizer.eos_id, *(end_of(prompt, tokenizer) for prompt in prompts), *tokenizer.end_ids)
    return tuple(dict.fromkeys(i for i in ids if i is not None))


def positions_of(model: PreTrainedModel) -> int | None:
    """Tokens of the longest text that a model reads, None where its config doesn't say it."""
    from ctkd_core.distill.models.facts import facts_in

    config: Any = model.config
    return facts_in(config.to_dict()).positions


def _first_line(tokenizer: Tokenizer, ids: list[int], ends: Sequence[int]) -> str:
    last = next((n for n, index in enumerate(ids) if index in ends), len(ids))
    return tokenizer.decode(ids[:last]).lstrip("\n").split("\n")[0].strip()


def repetition(texts: Sequence[str]) -> float:
    """Share of words that repeat the word pair they end: 0 for no repeated pair; 0 for texts of one word."""
    repeated = total = 0
    for text in texts:
        words = text.split()
        pairs = list(itertools.pairwise(words))
        repeated += len(pairs) - len(set(pairs))
        total += len(pairs)
    return repeated / total if total else 0.0
