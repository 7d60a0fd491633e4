"""Training data: the examples of a file, a bundled set or a set of the hub, and which of them are held out.

Everything becomes an Example: a prompt and what should follow it. A conversation gives one for each of the assistant's
turns, with all that was said before it as the prompt; `rendering` adds how each tokenizer's chat template writes that.
Which examples are held out depends on a hash of the prompt alone, so equal prompts never lie on both sides; a record
without a prompt counts as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core import files
from ctkd_core.distill.sources.bundled import NAMES, SETS, bundled_set
from ctkd_core.distill.sources.hub import fetched, hub_set
from ctkd_core.errors import RunError, short
from ctkd_core.files.data_files import MAX_WHOLE, RecordFile, Unreadable, place, shown_name
from ctkd_core.files.data_shapes import ANSWERS, PREFERRED, SYSTEM, Conversation, Message, Misfit, Pair, shape_of
from ctkd_core.markup.visible import counted, one_line, shorten
from ctkd_core.tokenizers.chat_prompts import ChatPrompt, Turn

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

BUNDLED_FILE = SETS["tasks"].path
HELD_OUT_SHARE = 1 / 12
MAX_BYTES = MAX_WHOLE  # of one file: everything is held in memory
NAMED = 3  # records that one message names
_ENDINGS = ".jsonl, .json or .parquet"


@dataclass(frozen=True)
class Example:
    """One rendered prompt and its completion.

    kind      the sort of task, where the data says so
    question  the prompt before it was rendered
    where     file and record, for messages
    turn      the conversation behind it, None for other records
    prompts   what stands before the completion for a tokenizer, by its template_key or else its fingerprint, where that
              isn't `prompt`
    language  that of the text, where the data names a domain besides
    lead      the blank between `prompt` and a completion that is the answer alone, as chat templates want it
    """

    prompt: str
    completion: str
    kind: str = ""
    question: str = ""
    where: str = field(default="", compare=False)
    turn: Turn | None = field(default=None, repr=False)
    prompts: Mapping[str, ChatPrompt] = field(default_factory=dict, repr=False)
    lead: str = field(default="", repr=False)
    language: str = ""

    def prompt_for(self, tokenizer: Tokenizer) -> str | ChatPrompt:
        """The prompt as the model of this tokenizer reads it."""
        if not self.prompts:
            return self.prompt
        own = self.prompts.get(tokenizer.template_key) or self.prompts.get(tokenizer.fingerprint)
        return own or self.shared_prompt(tokenizer)

    def shared_prompt(self, tokenizer: Tokenizer) -> ChatPrompt:
        """The lines that all share, as a tokenizer without a template reads them beside one that has one."""
        return ChatPrompt(self.prompt, self.lead, tokenizer.eos_id, self.completion, template=False)

    @property
    def whole(self) -> bool:
        """Whether the completion comes to an end; one that goes on with a call of a tool doesn't."""
        return self.turn is None or self.turn.whole

    @property
    def without_leads(self) -> Example:
        """The same for a completion that brings its own blank along (the student wrote it)."""
        return replace(self, lead="", prompts={key: prompt.without_lead for key, prompt in self.prompts.items()})


@dataclass(frozen=True)
class Reading:
    """How records become examples; see the options of a run.

    template  "plain" or "none"; turns  "all" or "last"; skip  whether bad records are left out
    """

    template: str = "plain"
    turns: str = "all"
    skip: bool = False


@dataclass(frozen=True)
class Split:
    """Examples to learn from, examples kept apart for measuring, and what was left out: file, record and why.

    notes  sentences about fields that aren't read
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def examples(self) -> tuple[Example, ...]:
        """All of them."""
        return (*self.train, *self.held_out)


def data_file(source: str) -> Path:
    """The file behind a bundled name, a hub set (which is fetched) or a path; raises RunError when there is none."""
    if (known := bundled_set(source)) is not None:
        return known.path
    if (remote := hub_set(source)) is not None:
        return fetched(remote)
    try:
        path = Path(source).expanduser()
        if path.is_file():
            return path
        kind = "a folder" if path.is_dir() else "no regular file" if path.exists() else ""
    except (OSError, ValueError, RuntimeError):  # too long for a name, a NUL byte, no home folder
        kind = ""
    if kind:
        raise RunError(f"data {short(source)} is {kind}; give a {_ENDINGS} file.")
    looked = "" if source.startswith(("/", "~")) else f" (looked in {short(Path.cwd())})"
    raise RunError(
        f"data {short(source)} isn't there{looked}; give 'bundled', {', '.join(map(repr, NAMES[2:]))}, "
        f"hf:owner/name, or a {_ENDINGS} file."
    )


def load_split(source: str, template: str = "plain", *, turns: str = "all", skip: bool = False) -> Split:
    """The examples of a source, a twelfth held out. Raises RunError, with the record, for one that can't be used.

    turns, skip  as in `Reading`: with `skip` such records are left out, and named in the split
    """
    return split_by(source, Reading(template, turns, skip))


def split_by(source: str, reading: Reading, eval_data: str = "", eval_share: float = 0.0) -> Split:
    """The examples of a source, split. Raises RunError, with the record, for one that can't be used.

    eval_data   the source of the held-out examples; "": a share of `source`. Records of `source` with a prompt that is
                held out there are left out, and named in the split
    eval_share  that share; 0: one twelfth
    """
    left = _Left()
    groups = list(_groups(data_file(source), reading, left))
    keys = [_key(group) for group in groups]
    if eval_data:
        return _split_from(source, list(zip(groups, keys)), eval_data, reading, left)
    if len(set(keys)) < 2:  # one prompt for all: what follows it tells them apart
        keys = [_whole_key(group) for group in groups]
    wanted = max(1, round(len(groups) * (eval_share or HELD_OUT_SHARE)))
    border = sorted(keys)[wanted - 1]
    train = tuple(e for group, key in zip(groups, keys) if key > border for e in group)
    held_out = _in_order((group, key) for group, key in zip(groups, keys) if key <= border)
    if not train:
        raise RunError(
            f"data {short(source)} has {counted(len(groups), 'usable record')}, none of which differs from the others; "
            "give at least two with different prompts."
        )
    return left.split(train, held_out)


def _split_from(
    source: str, keyed: list[tuple[list[Example], bytes]], eval_data: str, reading: Reading, left: _Left
) -> Split:
    """All of `source` to learn from, but for prompts that the other file holds out."""
    apart = [(group, _key(group)) for group in _groups(data_file(eval_data), reading, left)]
    held = {key for _, key in apart}
    train = tuple(e for group, key in keyed if key not in held for e in group)
    twice = [group[0].where for group, key in keyed if key in held]
    if not train:
        raise RunError(
            f"every record of data {short(source)} is in eval_data {short(eval_data)}, too; nothing is left."
        )
    left.skipped += [f"{where}: its prompt is held out in {short(eval_data)}." for where in twice]
    return left.split(train, _in_order(apart))


def _in_order(keyed: Iterable[tuple[list[Example], bytes]]) -> tuple[Example, ...]:
    """The examples by their keys: the first few are a fair sample, whatever the order of the file."""
    return tuple(e for group, _ in sorted(keyed, key=lambda pair: pair[1]) for e in group)


def load_examples(source: str, template: str = "plain", *, turns: str = "all", skip: bool = False) -> list[Example]:
    """All examples of a source in file order. Raises RunError for an empty file or a record that can't be used."""
    return [e for group in _groups(data_file(source), Reading(template, turns, skip), _Left()) for e in group]


def fingerprint(source: str) -> str:
    """SHA-256 of the data file in hex."""
    return files.sha256_of(data_file(source))


def render(question: str, template: str = "plain") -> str:
    """A question as both models read it: "Question: ...\\nAnswer:", or as it is with template "none"."""
    return f"Question: {question}\nAnswer:" if template == "plain" else question


def named(skipped: Sequence[str]) -> str:
    """What was left out, as a sentence: how many records, and the first ones."""
    some = " ".join(skipped[:NAMED])
    more = len(skipped) - NAMED
    return f"{counted(len(skipped), 'record')} left out: {some}{f' ({more:,} more.)' if more > 0 else ''}"


@dataclass
class _Left:
    """What isn't learnt: bad records, as sentences, and how many records have a field that isn't read."""

    skipped: list[str] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)

    def split(self, train: tuple[Example, ...], held_out: tuple[Example, ...]) -> Split:
        notes = (
            f"{name} {_OTHERWISE.get(name, _NOT)} ({counted(n, 'record')}): {_UNREAD[name]}."
            for name, n in self.unread.items()
        )
        return Split(train, held_out, tuple(self.skipped), tuple(notes))


_NOT = "isn't read"
_OTHERWISE = {"chosen": "has no prompt"}  # what there is to say of fields that are read
_UNREAD = {
    "chosen": "it is learnt whole, with what both answers begin with; give the prompt as a field of its own",
    **dict.fromkeys(("rejected", PREFERRED[1]), "only the answer that was preferred is learnt"),
    **dict.fromkeys(("context", "choices", "options"), "put it into the prompt if that can't be answered without it"),
    **dict.fromkeys(ANSWERS, "the text beside it is learnt as a whole; leave the text out, or the answer"),
    "role": "a text is learnt whoever says it; give messages",
    "label": "completions are learnt whether it is true or false",
    **dict.fromkeys(("tools", "history"), "a text prompt has no place for it; give messages"),
    **dict.fromkeys(SYSTEM, "a text has no place for it; give prompt and completion, or messages"),
}


def _groups(path: Path, reading: Reading, left: _Left) -> Iterator[list[Example]]:
    """The examples of each record. Bad records are put into what is left, or raise RunError."""
    size = path.stat().st_size
    name = shown_name(path)
    if size > MAX_BYTES:
        raise RunError(f"data {name!r} has {size / 1e9:.1f} GB; files up to {MAX_BYTES / 1e9:.0f} GB are read whole.")
    found = False
    for record in RecordFile(path, "data", RunError):
        try:
            if isinstance(record, Unreadable):
                raise RunError(f"data {name!r}, {record.place} {record.fault}.")
            where = f"{name}, {place(record.number, record.line)}"
            try:
                shape = shape_of(record.value)
                group = _examples(shape, reading, where)
            except Misfit as fault:
                raise RunError(f"{where}: {fault}") from None
        except RunError as fault:
            if not reading.skip:
                raise
            left.skipped.append(str(fault))
            continue
        left.unread.update(shape.unread)
        found = True
        yield group
    if not found:
        some = f" {named(left.skipped)}" if left.skipped else ""
        raise RunError(f"data {name!r} holds no examples.{some}")


def _examples(shape: Pair | Conversation, reading: Reading, where: str) -> list[Example]:
    if isinstance(shape, Conversation):
        return _of_conversation(shape, reading, where)
    if not shape.completion:
        raise Misfit("the text or completion is empty; there's nothing to learn.")
    prompt = _prompt(shape, reading.template)
    if not prompt:
        return [Example("", shape.completion, shape.kind, where=where, language=shape.language)]
    # The space belongs to the completion: in most tokenizers it is part of the next word's token.
    before = " " if reading.template == "plain" else ""
    return [Example(prompt, before + shape.completion, shape.kind, shape.prompt, where, language=shape.language)]


def _prompt(shape: Pair, template: str) -> str:
    """The prompt of a pair as both models read it, a system prompt in lines of its own before it; "" without any."""
    asked = shape.prompt and (template != "plain" or shape.prompt.strip())
    system = f"{shape.system}\n" if shape.system else ""
    if asked:
        return system + render(shape.prompt, template)
    return system + "Answer:" if system and template == "plain" else system


def _of_conversation(conversation: Conversation, reading: Reading, where: str) -> list[Example]:
    """One example for each answer that is learnt."""
    answers, messages = conversation.answers, conversation.messages
    last = len(messages) - 1
    if not answers or (reading.turns == "last" and answers[-1] != last):
        roles = ", ".join(dict.fromkeys(shorten(one_line(m["role"]), 40) for m in messages))
        spoken = [m for m in messages if m["role"] == "assistant"]
        said = "" if spoken else f" The only roles are {shorten(roles, 200)}."
        if any(m.get("weight") == 0 for m in spoken):
            said = " Messages of weight 0 are only read."
        raise Misfit(f"the last message must be the assistant's and not empty; it is what's learnt.{said}")
    kind = conversation.kind or "chat"
    found = []
    for n in answers if reading.turns == "all" else answers[-1:]:
        before, answer = messages[:n], messages[n]
        question = next((m["content"] for m in reversed(before) if m["role"] == "user"), "")
        turn = Turn(before, answer, conversation.tools)
        prompt, lead = _shared_prompt(before, reading.template)
        text = lead + answer["content"]
        found.append(Example(prompt, text, kind, question, where, turn, language=conversation.language))
    return found


_SPEAKERS = {"user": "Question: ", "assistant": "Answer: ", "system": "", "developer": "", "tool": "Tool: "}


def _shared_prompt(messages: Sequence[Message], template: str) -> tuple[str, str]:
    """The messages as both models read them, without a chat template, and the blank before what follows."""
    if template == "none":
        return "".join(f"{_content(message)}\n" for message in messages), ""
    lines = [_SPEAKERS.get(m["role"], f"{m['role'].capitalize()}: ") + _content(m) for m in messages]
    return ("\n".join([*lines, "Answer:"]), " ") if messages else ("", "")


def _content(message: Message) -> str:
    """What a message says; calls of tools as JSON."""
    calls = message.get("tool_calls")
    called = json.dumps(calls, ensure_ascii=False, default=str) if calls else ""
    return "\n".join(part for part in (message["content"], called) if part)


def _key(group: Sequence[Example]) -> bytes:
    """What examples of one record are split by: the prompt of the first, else all of it."""
    first = group[0]
    return _digest(first.prompt) if first.prompt.strip() else _whole_key(group)


def _whole_key(group: Sequence[Example]) -> bytes:
    return _digest("\0".join(text for e in group for text in (e.prompt, e.completion) if text))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
