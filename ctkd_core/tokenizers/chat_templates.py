"""Chat templates of two tokenizers side by side: what each writes around a conversation, and where an answer begins."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.tokenizers.template_sandbox import TIME_LIMIT, in_child

if TYPE_CHECKING:
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

Message = dict[str, str]

MAX_CONVERSATION = 20_000  # characters of a conversation typed by a user
SEAM_TOKENS = 3  # tokens shown on both sides of a seam
_SPEAKER = re.compile(r"(system|user|assistant|tool):[ \t]?", re.IGNORECASE)

# What the page offers; the last message is the answer whose seam is looked at.
CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "question": (
        {"role": "user", "content": "How many days had the year 2024?"},
        {"role": "assistant", "content": "366, for it was a leap year."},
    ),
    "system prompt": (
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "Who keeps a lighthouse?"},
        {"role": "assistant", "content": "A lighthouse keeper."},
    ),
    "several turns": (
        {"role": "user", "content": "What is 12 times 12?"},
        {"role": "assistant", "content": "144."},
        {"role": "user", "content": "And 201 more?"},
        {"role": "assistant", "content": "345."},
    ),
    "answer begins with a line break": (
        {"role": "user", "content": "Write a list of two fruits."},
        {"role": "assistant", "content": "\n- apple\n- pear"},
    ),
}


@dataclass(frozen=True)
class Seam:
    """Where a prompt ends and its answer begins.

    holds     whether cutting prompt and answer together gives the prompt's own tokens first
    apart     last tokens of the prompt by itself, "" where the answer begins, first tokens of the answer by itself
    together  the same place when both are cut as one text
    sentence  what that means
    """

    holds: bool
    apart: tuple[bytes, ...]
    together: tuple[bytes, ...]
    sentence: str


@dataclass(frozen=True, eq=False)
class Rendered:
    """A conversation as one tokenizer's template writes it.

    text        None without a template, or when the template refuses (then `problem` says why)
    encoding    of the text as it is, nothing added
    bos         BOS tokens that the template writes at the start
    adds_bos    whether the tokenizer puts one more before them by itself
    seam        None without a text or without an answer at the end
    """

    tokenizer: str
    text: str | None
    problem: str
    encoding: Encoding | None = field(default=None, repr=False)
    bos: int = 0
    adds_bos: bool = False
    seam: Seam | None = None

    @property
    def doubled(self) -> bool:
        """Whether the text begins with BOS twice once the tokenizer has added its own."""
        return self.bos + self.adds_bos > 1

    @property
    def bos_sentence(self) -> str:
        """Who writes BOS, and what to do when two do."""
        if self.doubled and self.adds_bos:
            return "BOS twice: the template writes it and the tokenizer adds it. Encode with add_special_tokens=False."
        if self.doubled:
            return f"The template writes BOS {self.bos} times."
        if self.adds_bos:
            return "One BOS: the tokenizer adds it, the template doesn't write it."
        return "One BOS: the template writes it." if self.bos else "No BOS: neither template nor tokenizer writes one."


def parse_conversation(text: str) -> list[Message]:
    """Messages from lines that begin with "system:", "user:", "assistant:" or "tool:"; other lines continue one.

    Raises CtkdError when there is no message, the first line has no speaker, or the text is too long.
    """
    if len(text) > MAX_CONVERSATION:
        raise CtkdError(f"the conversation has {len(text):,} characters; give at most {MAX_CONVERSATION:,}.")
    messages: list[Message] = []
    for line in text.strip().split("\n"):
        found = _SPEAKER.match(line)
        if found:
            messages.append({"role": found[1].lower(), "content": line[found.end() :]})
        elif messages:
            messages[-1]["content"] += "\n" + line
        elif line.strip():
            raise CtkdError(f"no speaker for {line[:40]!r}; begin each message with system:, user: or assistant:.")
    if not messages:
        raise CtkdError("there is no message; begin each one with system:, user: or assistant:.")
    return messages


def written(messages: Sequence[Mapping[str, str]]) -> str:
    """The inverse of `parse_conversation`."""
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)


def render(tokenizer: Tokenizer, messages: Sequence[Message], time_limit: float = TIME_LIMIT) -> Rendered:
    """`messages` through the template of `tokenizer`, in a child process; a refusal becomes `problem`."""
    if tokenizer.chat_template is None:
        return Rendered(tokenizer.name, None, "the tokenizer has no chat template.")
    answered = bool(messages) and messages[-1]["role"] == "assistant"
    jobs: list[dict[str, Any]] = [{"messages": list(messages), "add_generation_prompt": False}]
    if answered and len(messages) > 1:
        jobs.append({"messages": list(messages[:-1]), "add_generation_prompt": True})
    try:
        full, *prompts = in_child(tokenizer.chat_template, jobs, names_of(tokenizer), time_limit)
        encoding = tokenizer.encode(full)
        seam = seam_of(tokenizer, prompts[0], full) if prompts else None
    except TokenizerError as fault:
        return Rendered(tokenizer.name, None, str(fault))
    adds = bool(tokenizer.begins_with_bos)
    return Rendered(tokenizer.name, full, "", encoding, _leading_bos(tokenizer, encoding), adds, seam)


def names_of(tokenizer: Tokenizer) -> dict[str, str]:
    """Texts of the special tokens that templates use, by the names they use; roles that it lacks are left out."""
    roles = ("bos", "eos", "pad", "unk")
    ids = {role: getattr(tokenizer, f"{role}_id") for role in roles}
    return {f"{role}_token": tokenizer.token(i) for role, i in ids.items() if i is not None}


def _leading_bos(tokenizer: Tokenizer, encoding: Encoding) -> int:
    ids, count = encoding.ids.tolist(), 0
    while tokenizer.bos_id is not None and count < len(ids) and ids[count] == tokenizer.bos_id:
        count += 1
    return count


def seam_of(tokenizer: Tokenizer, prompt: str, full: str) -> Seam:
    """Whether the tokens of `prompt` are the first tokens of `full`, which answers it.

    Where they aren't, a trainer that cuts prompt and answer apart learns on tokens that never occur in a text that is
    cut as a whole, and a mask by the prompt's length hides or shows a token too many.
    """
    if not full.startswith(prompt):
        shared = _common(prompt, full)
        return Seam(
            False,
            (prompt[shared : shared + 40].encode(),),
            (full[shared : shared + 40].encode(),),
            "The template writes the prompt differently once an answer follows, so the answer can't be found by the "
            "prompt's length. Train on text cut as a whole, with the answer marked by the template.",
        )
    before, after, whole = (tokenizer.encode(t) for t in (prompt, full[len(prompt) :], full))
    n = len(before)
    holds = bool((whole.ids[:n] == before.ids).all()) if len(whole) >= n else False
    same = n if holds else _common(whole.ids.tolist(), before.ids.tolist())
    start = max(0, min(same, n) - SEAM_TOKENS + 1)
    apart = (*before.token_bytes[start:], b"", *after.token_bytes[:SEAM_TOKENS])
    border, last = len(prompt.encode()), same
    while last < len(whole) and whole.spans[last, 0] <= border:
        last += 1
    together = tuple(whole.token_bytes[start : last + SEAM_TOKENS - 1])
    if holds:
        return Seam(True, apart, together, "Prompt and answer can be cut apart: the prompt keeps its tokens.")
    return Seam(
        False,
        apart,
        together,
        "The prompt's last tokens change when the answer follows: cut both as one text and mask by characters.",
    )


def _common(first: Sequence[object], second: Sequence[object]) -> int:
    """How many entries both begin with."""
    return next((k for k, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))


def markers(reader: Tokenizer, writer: Tokenizer, encoding: Encoding) -> dict[str, tuple[int, int]]:
    """What the special tokens in a text of `writer` (its `encoding`) are to `reader`: (how often, tokens of `reader`).

    One token means that `reader` has the same marker; several, that it spells the marker as plain text.
    """
    names = Counter(writer.token(i) for i in encoding.ids.tolist() if i in writer.special_ids)
    return {name: (times, len(reader.encode(name))) for name, times in names.items()}


@dataclass(frozen=True)
class DiffPiece:
    """A stretch of the comparison: texts of both sides, equal or not."""

    same: bool
    student: str
    teacher: str


_WORDS = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,24}\]|\n|[^\S\n]+|\w+|[^\w\s]")


def differences(student: str, teacher: str) -> list[DiffPiece]:
    """Both texts in stretches that are the same and stretches that differ; joined, they give the texts again."""
    own, other = _WORDS.findall(student), _WORDS.findall(teacher)
    matcher = SequenceMatcher(None, own, other, autojunk=False)
    return [
        DiffPiece(tag == "equal", "".join(own[a:b]), "".join(other[c:d])) for tag, a, b, c, d in matcher.get_opcodes()
    ]
