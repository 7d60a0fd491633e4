"""Conversations as each model reads them: its own chat template writes what stands before an answer.

The answer is the same text on both sides, so that alignments are about the same bytes. A tokenizer without a chat
template reads the lines that all share ("Question: ...").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ctkd_core.distill.data import Example, Split
from ctkd_core.errors import RunError, TokenizerError
from ctkd_core.tokenizers.chat_prompts import ChatPrompt, chat_prompts

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.tokenizers.tokenizer import Tokenizer

BATCH = 400  # turns between two looks whether somebody asked to stop
ADVICE = "Leave the record out (skip_bad_records), or set chat_template=shared."


def without_template(config: RunConfig, split: Split, tokenizers: Iterable[Tokenizer]) -> list[str]:
    """Names of the tokenizers whose chat template is missed."""
    if config.chat_template != "own" or not any(e.turn for e in split.examples):
        return []
    return list(dict.fromkeys(t.name for t in tokenizers if t.chat_template is None))


def rendered(
    config: RunConfig, split: Split, tokenizers: Sequence[Tokenizer], between: Callable[[], None] | None = None
) -> Split:
    """The split with the prompts of its conversations by each tokenizer's template; others stay as they are.

    An answer that a template refuses is left out with `skip_bad_records`, and named in the split.
    Raises RunError that names the first such record otherwise.
    """
    able = _by_key(tokenizers)
    if config.chat_template != "own" or not able or not any(e.turn for e in split.examples):
        return split
    skipped = list(split.skipped)
    parts = [_rendered(config, part, able, skipped, between) for part in (split.train, split.held_out)]
    # Of the same tokenizer.json as one with a template: what that writes is found by the fingerprint of both.
    plain = [t for t in tokenizers if t.chat_template is None and t.fingerprint in able]
    train, held_out = (tuple(_with_shared(e, plain) for e in part) for part in parts)
    if not train:
        raise RunError(f"no example to learn from is left: {skipped[-1]}")
    return Split(train, held_out, tuple(skipped), split.notes)


def _by_key(tokenizers: Sequence[Tokenizer]) -> dict[str, Tokenizer]:
    """The tokenizers that have a template, by fingerprint; others of one tokenizer.json by their `template_key`."""
    found: dict[str, Tokenizer] = {}
    for tokenizer in tokenizers:
        if tokenizer.chat_template is not None:
            first = found.setdefault(tokenizer.fingerprint, tokenizer)
            if first.template_key != tokenizer.template_key:
                found[tokenizer.template_key] = tokenizer
    return found


def _rendered(
    config: RunConfig,
    examples: Sequence[Example],
    tokenizers: Mapping[str, Tokenizer],
    skipped: list[str],
    between: Callable[[], None] | None,
) -> tuple[Example, ...]:
    found: list[Example] = []
    for start in range(0, len(examples), BATCH):
        if between:
            between()
        batch = examples[start : start + BATCH]
        turns = [e.turn for e in batch if e.turn is not None]
        try:
            columns = {key: iter(chat_prompts(t, turns)) for key, t in tokenizers.items()}
        except TokenizerError as fault:
            raise RunError(f"{batch[0].where} and later ones: {fault} {ADVICE}") from None
        for example in batch:
            if example.turn is None:
                found.append(example)
                continue
            prompts = {key: next(column) for key, column in columns.items()}
            refused = [(t, p) for key, t in tokenizers.items() if isinstance(p := prompts[key], TokenizerError)]
            if not refused:
                found.append(_with(example, {k: p for k, p in prompts.items() if isinstance(p, ChatPrompt)}))
                continue
            tokenizer, reason = refused[0]
            said = f"{example.where}: {tokenizer.name}: {reason}"
            if not config.skip_bad_records:
                raise RunError(f"{said} {ADVICE}")
            skipped.append(said)
    return tuple(found)


def _with_shared(example: Example, tokenizers: Sequence[Tokenizer]) -> Example:
    """The example with the shared lines as the prompt of these tokenizers, if it has prompts by templates."""
    if not example.prompts or not tokenizers:
        return example
    shared = {t.template_key: example.shared_prompt(t) for t in tokenizers}
    return replace(example, prompts={**example.prompts, **shared})


def _with(example: Example, prompts: Mapping[str, ChatPrompt]) -> Example:
    """The example with these prompts, and the answer as all templates write it."""
    assert example.turn is not None
    written = {prompt.answer for prompt in prompts.values()}
    answer = written.pop() if len(written) == 1 else example.turn.text.strip()
    # For a tokenizer without a template: the shared lines, with the blank that stands behind "Answer:".
    lead = example.completion.removesuffix(example.turn.text)
    return replace(example, completion=answer, prompts=prompts, lead=lead)
