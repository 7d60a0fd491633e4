"""Conversations as training data: what a chat template writes before an answer, and the token that ends the answer.

Two tokenizers write the same conversation differently, but the answer's own text is the same on both sides. So the
template is filled in once with the answer and once with a mark in its place; what stands before the mark is the prompt,
and what stands behind it ends the turn. A template may trim the answer (Llama 3) or rewrite it (Qwen3 moves reasoning);
then the prompt is what the template writes to ask for an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.chat_templates import names_of
from ctkd_core.tokenizers.template_sandbox import in_child_each

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MARK = "CtkdAnswerStandsHere7f3a91"  # letters and digits: no template changes them
JOBS = 400  # renderings of one child process
JOB_CHARACTERS = 2_000_000  # of all messages together, for one child process
# What widely used templates end a turn with.
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|eot|>", "<turn|>", "<|END_OF_TURN_TOKEN|>")
TIME_LIMIT = 60.0  # seconds for one child process; 400 renderings take half a second


@dataclass(frozen=True)
class ChatPrompt:
    """What one tokenizer's template writes before an answer, and how it goes on.

    text      the prompt with its special tokens
    lead      "" or the blank that the template puts before the answer; it belongs to the answer's first token
    end       id of the token that ends the answer; None: nothing does
    answer    the answer's text as the template writes it (it may trim blanks)
    template  whether a chat template wrote it; BOS is then its business, and nothing is put before it
    """

    text: str
    lead: str = ""
    end: int | None = None
    answer: str = ""
    template: bool = True

    @property
    def without_lead(self) -> ChatPrompt:
        """The same for an answer that brings its own blank along."""
        return replace(self, lead="")


@dataclass(frozen=True)
class Turn:
    """An answer in a conversation: the messages before it (role, content, ...), the answer's message, and the tools."""

    before: tuple[Mapping[str, Any], ...]
    answer: Mapping[str, Any]
    tools: Any = None

    @property
    def text(self) -> str:
        """What the answer says."""
        return str(self.answer["content"])

    @property
    def whole(self) -> bool:
        """Whether the answer ends its turn; one that goes on with calls of tools doesn't."""
        return not self.answer.get("tool_calls")


def chat_prompts(tokenizer: Tokenizer, turns: Sequence[Turn]) -> list[ChatPrompt | TokenizerError]:
    """The prompt of each turn by the template of `tokenizer`; where it refuses the messages, the error.

    Renders in child processes with limits: templates come from strangers. Raises TokenizerError for a tokenizer
    without a chat template, and for a template that takes too long or too much.
    """
    if tokenizer.chat_template is None:
        raise TokenizerError(f"tokenizer {tokenizer.name!r} has no chat template.")
    ends: dict[str, int | None] = {}
    marked = _rendered(tokenizer, [_job(turn, MARK) for turn in turns])
    plain = _rendered(tokenizer, [_job(turn, turn.text) for turn in turns])
    asked: list[int] = []
    found: list[ChatPrompt | TokenizerError] = []
    for n, (turn, mark, text) in enumerate(zip(turns, marked, plain)):
        if isinstance(mark, TokenizerError) or isinstance(text, TokenizerError):
            found.append(mark if isinstance(mark, TokenizerError) else text)  # type: ignore[arg-type]
            continue
        before, _, after = mark.partition(MARK)
        once = mark.count(MARK) == 1
        end = _end(tokenizer, after, ends) if once else tokenizer.eos_id
        written = _as_written(turn.text, text, before, after) if once else None
        if written is None:
            asked.append(n)
            found.append(ChatPrompt("", "", end, turn.text))
        else:
            lead = " " if before.endswith(" ") and before[-2:-1].strip() else ""
            found.append(ChatPrompt(before.removesuffix(lead) if lead else before, lead, end, written))
    questions = [_job(turns[n]) for n in asked]
    for n, text in zip(asked, _rendered(tokenizer, questions)):
        kept = found[n]
        found[n] = replace(kept, text=text) if isinstance(text, str) and isinstance(kept, ChatPrompt) else text  # type: ignore[assignment]
    for n, (turn, prompt) in enumerate(zip(turns, found)):
        if isinstance(prompt, ChatPrompt) and turn.before and not prompt.text.strip():
            found[n] = TokenizerError("the chat template writes nothing of the messages before the answer.")
    return found


def end_behind(prompt: str, tokenizer: Tokenizer) -> int | None:
    """The token that ends an answer to a prompt that is rendered already: what ends turns in it, else EOS.

    A prompt with `<|eot_id|>` in it was written by Llama 3's template, whose answers end with `<|eot_id|>` and not with
    the tokenizer's EOS, `<|end_of_text|>`.
    """
    ends, markers = _markers(tokenizer)
    found = [(at, index) for name, index in ends.items() if (at := prompt.rfind(name)) >= 0]
    if found:
        return max(found)[1]
    return _template_end(tokenizer) if any(name in prompt for name in markers) else tokenizer.eos_id


@lru_cache(maxsize=8)
def _markers(tokenizer: Tokenizer) -> tuple[dict[str, int], tuple[str, ...]]:
    """Tokens known to end turns, by name, and the other special tokens that the chat template spells out."""
    special = {tokenizer.token(index): index for index in tokenizer.special_ids}
    ends = {name: special[name] for name in TURN_ENDS if name in special}
    ends |= {tokenizer.token(index): index for index in tokenizer.end_ids}
    template = tokenizer.chat_template or ""
    roles = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id}
    others = (name for name, index in special.items() if index not in roles and name not in ends)
    return ends, tuple(name for name in others if name and name in template)


@lru_cache(maxsize=8)
def _template_end(tokenizer: Tokenizer) -> int | None:
    """What the chat template ends an answer with."""
    said: dict[str, Any] = {"role": "assistant", "content": "Yes."}
    try:
        (found,) = chat_prompts(tokenizer, [Turn(({"role": "user", "content": "Is it?"},), said)])
    except TokenizerError:
        return tokenizer.eos_id
    return found.end if isinstance(found, ChatPrompt) else tokenizer.eos_id


def _job(turn: Turn, answer: str | None = None) -> dict[str, Any]:
    """What the template is filled in with: the conversation up to the answer, or only up to the question."""
    messages = [dict(message) for message in turn.before]
    if answer is not None:
        kept = {key: value for key, value in turn.answer.items() if key not in ("tool_calls", "content")}
        messages.append(kept | {"content": answer})
    job = {"messages": messages, "add_generation_prompt": answer is None}
    return job if turn.tools is None else job | {"tools": turn.tools}


def _rendered(tokenizer: Tokenizer, jobs: Sequence[Mapping[str, Any]]) -> list[str | TokenizerError]:
    """Each job by the template, or by the one for tools where the tokenizer has one and the job has tools."""
    plain = tokenizer.chat_template or ""
    templates = [tokenizer.named_templates.get("tool_use", plain) if "tools" in job else plain for job in jobs]
    names = names_of(tokenizer)
    texts: dict[int, str | TokenizerError] = {}
    for template in dict.fromkeys(templates):
        numbers = [n for n, used in enumerate(templates) if used == template]
        found: list[str | TokenizerError] = []
        for batch in _batches([jobs[n] for n in numbers]):
            found += in_child_each(template, batch, names, TIME_LIMIT)
        texts |= dict(zip(numbers, found))
    return [texts[n] for n in range(len(jobs))]


def _batches(jobs: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += sum(len(message["content"] or "") for message in job["messages"])
        if len(batch) >= JOBS or size >= JOB_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _as_written(answer: str, text: str, before: str, after: str) -> str | None:
    """The answer as it stands in the rendered text, whole or without blanks at its ends; None where rewritten."""
    forms = dict.fromkeys((answer, answer.rstrip(), answer.lstrip(), answer.strip()))
    return next((form for form in forms if text == before + form + after), None)


def _end(tokenizer: Tokenizer, after: str, known: dict[str, int | None]) -> int | None:
    """The added token (`<|im_end|>`) right behind an answer, else the tokenizer's EOS."""
    if after not in known:
        (ids,) = tokenizer.encode_batch([after.lstrip()[:200]])
        added = {token["id"] for token in tokenizer.spec["added_tokens"]}
        known[after] = ids[0] if ids and ids[0] in added else tokenizer.eos_id
    return known[after]
