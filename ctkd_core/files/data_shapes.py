"""What a record of a data file says: a text, a prompt with its completion, or a conversation.

The shapes that people have: `text`; `prompt` and `completion` as texts or as lists of messages (TRL), under other
names, too (`question` and `answer`), as long as one field alone can be meant; `messages`, or `conversations` with
`from` and `value` (ShareGPT); `instruction`, `input` and `output` (Alpaca, Dolly); of preferences `chosen`, while
`rejected` isn't read, and `preferred_output` behind `input` (OpenAI). A text `system` may stand beside all but `text`.
Null, NaN and a missing key are the same, as in rows that Arrow gave the fields of all records. A content may be a list
of text parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctkd_core.errors import CtkdError
from ctkd_core.files.data_files import MAX_DEPTH, deeper_than
from ctkd_core.markup.visible import one_line, shorten

Message = dict[str, Any]  # role and content at least

# Why a record can't be used, where only the number of such records is told.
NO_RECORD = "not a record with text, prompt/completion or messages"
NO_TEXT = "no text, prompt/completion or messages in the record"
NO_CONTENT = "messages without content"
NO_ONE_FIELD = "several fields that may be the prompt or the answer"
NO_UNICODE = "not valid Unicode (half of a character)"

EXPECTED = "text, prompt/completion or messages"
NEEDED = (
    "text, or both prompt and completion, or messages (or conversations), or question and answer, or instruction and "
    "output, or chosen"
)
SYSTEM = ("system", "system_prompt")  # fields of a system prompt beside others
CHATS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "question", "query", "problem", "input", "inputs")  # names of what is only read
ANSWERS = ("completion", "response", "answer", "solution", "output", "targets")  # names of what is learnt
DETAILS = ("input", "context")  # what an instruction is about, in Alpaca and in Dolly
PREFERRED = ("preferred_output", "non_preferred_output")  # OpenAI's names of chosen and rejected
FIELDS = (  # all that are read
    *("text", *PROMPTS, *ANSWERS, *CHATS, "tools", *SYSTEM),
    *("instruction", "context", "history", "chosen", PREFERRED[0]),
)
KIND_FIELDS = ("domain", "language", "kind")  # what names the sort of a record, the first that says something
CALLS = ("function_call", "tool_call")  # roles whose text is a call of a tool, as JSON
_ROLES = {  # other names of the roles, ShareGPT's among them, in small letters
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "bing", "chatgpt", "bard", "model", "bot", "ai", *CALLS), "assistant"),
    **dict.fromkeys(("observation", "function", "function_response", "tool_response"), "tool"),
}
_TURNS = (("input", "output"), ("human", "assistant"))  # of conversations whose entries hold a question and its answer
_TEXT_PARTS = (None, "text", "input_text", "output_text")


class Misfit(CtkdError):  # noqa: N818 - it is no error of a program
    """A record that can't be used: the message says the field and what is wrong, `reason` is one of a few."""

    def __init__(self, message: str, reason: str = NO_TEXT) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Pair:
    """A prompt ("" for none) and what follows it.

    kind      domain, language or sort of task, if the record names it
    language  that of the record where its domain is its kind
    system    the system prompt before it, "" for none
    unread    fields that may be taken for read, and aren't; `chosen` where it is read with all that stands before the
              answer
    """

    prompt: str
    completion: str
    kind: str = ""
    language: str = ""
    system: str = ""
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Messages, each with a role and a content; what else a message has (tool calls) stays.

    A content is text, or None where an assistant only calls tools.

    context  how many of the first messages are only read: those of a prompt
    tools    descriptions of the tools that may be called, None for none
    unread   fields that may be taken for read, and aren't
    """

    messages: tuple[Message, ...]
    context: int = 0
    tools: Any = None
    kind: str = ""
    language: str = ""
    unread: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[int, ...]:
        """The assistant's messages that say something and aren't only read, as those of a prompt or of weight 0."""
        return tuple(
            n
            for n, message in enumerate(self.messages)
            if n >= self.context
            and message["role"] == "assistant"
            and (message["content"] or "").strip()
            and message.get("weight") != 0
        )


def shape_of(record: Any) -> Pair | Conversation:
    """What a record says. A text is a Pair without a prompt. Raises Misfit."""
    if not isinstance(record, Mapping):
        raise Misfit(f"expected a table with {EXPECTED}; got {kind_of(record)}.", NO_RECORD)
    named = {field: _name(record.get(field)) for field in KIND_FIELDS}
    kind = next(filter(None, named.values()), "")
    shape = _shape(record)
    language = named["language"] if named["domain"] else ""
    return replace(shape, kind=kind, language=language, unread=_unread(record, shape))


def _name(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() and valid(value) else ""


def _shape(record: Mapping[str, Any]) -> Pair | Conversation:
    chosen = record.get("chosen")
    given = [key for key in CHATS if not absent(record.get(key))]
    pairs = (("prompt", "completion"), ("instruction", "output"))
    beside = _has_text(record) or any(asked in record and not absent(record.get(told)) for asked, told in pairs)
    for key in given:
        if key == CHATS[-1] and (beside or not _is_list(_listed(record[key]))):
            continue  # a word for other things, too, an id, say
        if _listed(record[key]) != []:
            messages = _messages(record[key], key)
            if messages[-1]["role"] != "assistant" and _is_answer(chosen):  # preferences in ShareGPT's form
                return _answered(record, messages, _answers(chosen, "chosen"))
            return Conversation((*_system(record, messages), *messages), tools=_tools(record))
    if _is_answer(record.get(PREFERRED[0])) and isinstance(record.get("input"), Mapping):
        return _preferred(record["input"], record[PREFERRED[0]])
    answered = not all(absent(record.get(name)) for name in ANSWERS)
    others = _has_text(record) or _is_answer(chosen) or answered
    if "prompt" in record and "completion" in record and not (absent(record["completion"]) and others):
        return _pair(record, "prompt", "completion")
    if not absent(record.get("instruction")) and (answer := _instructed(record)):
        return _alpaca(record, answer)
    if _is_answer(chosen):
        told = _is_given(record.get("prompt")) or _is_whole(chosen)
        return _pair(record, "prompt" if told else _only(record, PROMPTS), "chosen")
    if _has_text(record):
        return Pair("", _text(record["text"], "text"))
    if answered and any(name in record for name in PROMPTS):
        answer = _only(record, ANSWERS)
        return _pair(record, _only(record, [name for name in PROMPTS if name != answer]), answer)
    if given:  # beside another shape an empty list is none
        _messages(record[given[0]], given[0])
    names = (f"{one_line(str(name))}{' (null)' if absent(value) else ''}" for name, value in record.items())
    keys = shorten(", ".join(names), 150)
    raise Misfit(f"{f'its keys are {keys}' if keys else 'it has no keys'}; a record needs {NEEDED}.")


def _only(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The one of some fields that says something; the first that is named where none does. Raises Misfit for several.

    Which one is meant isn't guessed: a `solution` beside an `answer` is the way to it here, and the same thing there.
    """
    found = [name for name in names if _is_given(record.get(name))]
    if len(found) > 1:
        part = "asked" if names[0] == "prompt" else "learnt"
        raise Misfit(
            f"{' and '.join(found)} may each be what is {part}; name the fields that are meant prompt and completion.",
            NO_ONE_FIELD,
        )
    named = [name for name in names if not absent(record.get(name))]
    return (*found, *named, names[0])[0]


def _is_given(value: Any) -> bool:
    """Whether a field holds something."""
    return not absent(value) and value not in ("", [])


def text_of(shape: Pair | Conversation) -> str:
    """All that a record says, as one text: prompt and completion, or the contents of the messages, one a line."""
    if isinstance(shape, Pair):
        return "\n".join(part for part in (shape.system, shape.prompt, shape.completion) if part)
    return "\n".join(message["content"] for message in shape.messages if message["content"])


def _has_text(record: Mapping[str, Any]) -> bool:
    return not absent(record.get("text"))


def _is_answer(value: Any) -> bool:
    """Whether a field can be an answer; `chosen` and `rejected` are other things in other data."""
    return (isinstance(value, str) and value != "") or (isinstance(value, (list, tuple, Mapping)) and bool(value))


def _unread(record: Mapping[str, Any], shape: Pair | Conversation) -> tuple[str, ...]:
    found = [name for name in ("rejected", PREFERRED[1]) if _is_answer(record.get(name))]
    if isinstance(record.get("label"), bool) and (isinstance(shape, Conversation) or shape.prompt):
        found.append("label")  # of TRL's unpaired preferences
    if isinstance(shape, Pair):
        if "rejected" in found and not shape.prompt and record.get("chosen") == shape.completion:
            found.append("chosen")
        whole = not shape.prompt and record.get("text") == shape.completion
        beside = ("context", "choices", "options") if shape.prompt else ("role", *ANSWERS) if whole else ()
        found += [name for name in beside if _is_answer(record.get(name)) and record[name] != shape.completion]
        found += [n for n in ("tools", "history") if _is_answer(record.get(n)) and record[n] not in ("[]", "null")]
        found += [name for name in SYSTEM if _is_answer(record.get(name)) and not shape.system]
    return tuple(found)


def _pair(record: Mapping[str, Any], asked: str, field: str) -> Pair | Conversation:
    """A prompt in one field, and what follows it in another: texts, or lists of messages."""
    prompt, answer = record.get(asked), record[field]
    if _is_list(answer) or isinstance(answer, Mapping):
        answer = _answers(answer, field)
        whole = field == "chosen" and _is_whole(answer)
        if isinstance(prompt, str) and prompt and not whole:
            raise Misfit(f"{asked} is a text and {field} a list of messages; give both in one form.")
        before = () if absent(prompt) or isinstance(prompt, str) or prompt == [] else _messages(prompt, asked)
        if whole and not before:  # the prompt is what both answers begin with
            before = answer[: _shared(answer, record.get("rejected"))]
        return _answered(record, before, answer)
    if _is_list(prompt) and prompt:
        raise Misfit(f"{asked} is a list of messages and {field} isn't; give both in one form.")
    question = "" if absent(prompt) or prompt == [] else _text(prompt, asked)
    return Pair(question, _text(answer, field), system=_system_text(record))


def _is_whole(chosen: Any) -> bool:
    """Whether a preferred answer is a whole conversation, which has its prompt in it."""
    return not isinstance(chosen, str) and _answers(chosen, "chosen")[0]["role"] != "assistant"


def _answers(value: Any, field: str) -> tuple[Message, ...]:
    """Messages that answer: a list, a single one, or a text alone."""
    if isinstance(value, str):
        value = {"role": "assistant", "content": value}
    return _messages([value] if isinstance(value, Mapping) and not _is_columns(value) else value, field)


def _shared(answer: tuple[Message, ...], rejected: Any) -> int:
    """How many messages a whole conversation has before the one that another has otherwise, or before its last one."""
    try:
        other = _answers(rejected, "rejected")
    except Misfit:  # it isn't learnt, so it may be anything
        return 0
    alike = (n for n, (one, two) in enumerate(zip(answer, other)) if one != two)
    return min(next(alike, len(other)), len(answer) - 1)


def _answered(record: Mapping[str, Any], before: tuple[Message, ...], answer: tuple[Message, ...]) -> Conversation:
    """Messages that are only read, then those that are learnt, which may begin with the former once more."""
    if before and answer[: len(before)] == before:
        answer = answer[len(before) :]
    before = (*_system(record, (*before, *answer)), *before)
    return Conversation((*before, *answer), len(before), _tools(record))


def _instructed(record: Mapping[str, Any]) -> str:
    """The field that answers an instruction; "" for none. Raises Misfit where several may."""
    if not absent(record.get("output")):
        return "output"
    if isinstance(record.get("chosen"), str):
        return "chosen"
    if _is_answer(record.get("chosen")) or all(absent(record.get(name)) for name in ANSWERS):
        return ""
    answer = _only(record, ANSWERS)
    _only(record, [name for name in (*PROMPTS, "instruction") if name not in ("input", answer)])
    return answer


def _preferred(asked: Mapping[str, Any], answer: Any) -> Conversation:
    """What OpenAI's form asks for, messages and tools in one table, and the answer that was preferred."""
    return _answered(asked, _messages(asked.get("messages"), "input.messages"), _answers(answer, PREFERRED[0]))


def _alpaca(record: Mapping[str, Any], field: str) -> Conversation:
    """An instruction and what it is about as what the user says, behind a history; `field` holds the answer."""
    about = next((name for name in DETAILS if _is_given(record.get(name))), "input")
    asked = [_text(record[name], name) for name in ("instruction", about) if not absent(record.get(name))]
    question, answer = "\n".join(filter(None, asked)), _text(record[field], field)
    if not answer.strip():
        raise Misfit(f"{field} is empty; there's nothing to learn.")
    user = ({"role": "user", "content": question},) if question else ()
    messages = (*_history(record.get("history")), *user, {"role": "assistant", "content": answer})
    return Conversation((*_system(record, messages), *messages), tools=_tools(record))


def _history(value: Any) -> tuple[Message, ...]:
    """Earlier questions and answers, pairs of texts or messages."""
    value = _listed(value)
    if absent(value) or value in ("", "null", []):
        return ()
    if _is_list(value) and all(_is_list(pair) and len(pair) == 2 for pair in value):
        value = [{"role": role, "content": text} for pair in value for role, text in zip(("user", "assistant"), pair)]
    return _messages(value, "history")


def _system(record: Mapping[str, Any], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The system prompt that stands beside the messages; one among them counts instead."""
    said = "" if messages and messages[0]["role"] in ("system", "developer") else _system_text(record)
    return ({"role": "system", "content": said},) if said else ()


def _system_text(record: Mapping[str, Any]) -> str:
    """The system prompt beside other fields, "" without one."""
    said = next((name for name in SYSTEM if not absent(record.get(name)) and record[name] != ""), "")
    return _text(record[said], said) if said else ""


def _messages(value: Any, field: str) -> tuple[Message, ...]:
    value = _listed(value)
    if _is_columns(value):
        try:
            value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
        except ValueError:
            raise Misfit(f"the lists of {field} aren't equally long.", NO_CONTENT) from None
    if not _is_list(value):
        raise Misfit(f"{field} must be a list of tables with role and content; got {kind_of(value)}.", NO_CONTENT)
    if not value:
        raise Misfit(f"{field} is an empty list; there's nothing to learn.", NO_CONTENT)
    for user, assistant in _TURNS:
        if all(isinstance(turn, Mapping) and {user, assistant} <= turn.keys() for turn in value):
            value = [{"role": r, "content": t[n]} for t in value for r, n in (("user", user), ("assistant", assistant))]
    return tuple(_message(message, f"message {n} of {field}") for n, message in enumerate(value, start=1))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise Misfit(f"{where} must be a table with role and content; got {kind_of(value)}.", NO_CONTENT)
    message = {str(key): inner for key, inner in value.items() if not absent(inner)}
    if "role" not in message and "from" in message:
        message["role"] = message.pop("from")
        if "value" in message:
            message["content"] = message.pop("value")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise Misfit(f"{where}: role must be text; got {'an empty one' if role == '' else kind_of(role)}.", NO_CONTENT)
    called = message.get("function_call")
    if role.lower() == "assistant" and isinstance(called, Mapping) and "tool_calls" not in message:
        message["tool_calls"] = [{"type": "function", "function": message.pop("function_call")}]
    if role.lower() in CALLS and (call := _parsed(message.get("content"))) is not None:
        calls = call if isinstance(call, list) else [call]
        message |= {"content": None, "tool_calls": [{"type": "function", "function": one} for one in calls]}
    message["role"] = role = _ROLES.get(role.lower(), role)
    if "content" not in message:
        if role != "assistant":  # an assistant may only call tools
            raise Misfit(f"{where} (role {_short(role)!r}) has no content; it is null or missing.", NO_CONTENT)
        message["content"] = None  # templates ask whether it is none
    elif message["content"] is not None:
        message["content"] = _content(message["content"], f"{where}: content")
    for key, inner in message.items():
        _check_unicode(inner, f"{where}: {_short(key)}")
    return message


def _content(value: Any, field: str) -> str:
    """A content as text: itself, or its text parts together."""
    if not _is_list(value):
        return _text(value, field)
    parts = []
    for n, part in enumerate(value, start=1):
        if isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS and "text" in part:
            part = part["text"]
        if not isinstance(part, str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            what = f"of type {_short(kind)!r}" if isinstance(kind, str) else kind_of(part)
            raise Misfit(f"{field} has a part {n} that is no text ({what}); only text can be learnt.", NO_CONTENT)
        parts.append(_text(part, field))
    return "".join(parts)


def _tools(record: Mapping[str, Any]) -> Any:
    tools = record.get("tools")
    if isinstance(tools, str) and tools.strip() not in ("", "null"):
        tools = _parsed(tools)
        if not isinstance(tools, list):
            raise Misfit("tools is a text and no JSON list; give a list of descriptions.")
    if absent(tools) or not tools or isinstance(tools, str):
        return None
    _check_unicode(tools, "tools")
    return tools


def _listed(value: Any) -> Any:
    """A value, or the list or table that it is as JSON text, as in tables that have no lists."""
    written = _parsed(value)
    return value if written is None else written


def _parsed(text: Any) -> Any:
    """A list or table that is written as JSON; None for anything else."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (list, dict)) and not deeper_than(value, MAX_DEPTH) else None


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Misfit(f"{field} must be text; got {kind_of(value)}.")
    _check_unicode(value, field)
    return value


def _check_unicode(value: Any, field: str) -> None:
    """Raise Misfit where a text, or one inside of lists and tables, holds half a character."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as fault:
            code = ord(value[fault.start])
            raise Misfit(
                f"{field} isn't valid Unicode (lone surrogate U+{code:04X}), at character {fault.start + 1}; it is "
                "half of a character: remove it, or write the whole one.",
                NO_UNICODE,
            ) from None
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_unicode(key, field)
            _check_unicode(inner, field)
    elif _is_list(value):
        for inner in value:
            _check_unicode(inner, field)


def valid(text: str) -> bool:
    """Whether a text has a UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def absent(value: Any) -> bool:
    """Whether a field is null; pandas writes NaN for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_columns(value: Any) -> bool:
    """Whether a value is a list of tables as the library datasets keeps it: a table of lists."""
    return isinstance(value, Mapping) and bool(value) and all(map(_is_list, value.values()))


def kind_of(value: Any) -> str:
    """What a value is, for messages: "nothing" for null."""
    return "nothing" if absent(value) else type(value).__name__


def _short(text: str) -> str:
    return shorten(one_line(text), 40)
