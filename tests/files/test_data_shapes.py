"""Records: the shapes that people have, and which field is wrong in the others."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from ctkd_core.files.data_shapes import (
    NO_CONTENT,
    NO_ONE_FIELD,
    NO_RECORD,
    Conversation,
    Misfit,
    Pair,
    shape_of,
    text_of,
)

PART = {"type": "text", "text": "Tw"}
USER, ANSWER = {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
RESULT = {"role": "tool", "content": "7", "name": "f"}


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"text": "a"}, Pair("", "a")),
        ({"text": "a", "prompt": None, "completion": None, "messages": None}, Pair("", "a")),
        ({"prompt": "a", "completion": "b", "kind": "n"}, Pair("a", "b", "n")),
        ({"prompt": None, "completion": "b"}, Pair("", "b")),
        ({"prompt": math.nan, "completion": "b", "text": None}, Pair("", "b")),
        ({"prompt": "a", "completion": "b", "kind": 5}, Pair("a", "b")),
        ({"prompt": "a", "completion": "b", "kind": "n", "language": "ru"}, Pair("a", "b", "ru")),
        ({"text": "a", "domain": "law", "language": "ru"}, Pair("", "a", "law", "ru")),
        ({"text": "a", "domain": "law", "language": 5}, Pair("", "a", "law")),
        ({"text": "a", "messages": [], "conversations": []}, Pair("", "a")),
        ({"prompt": [], "completion": "b"}, Pair("", "b")),
        ({"prompt": "a", "completion": "b", "messages": []}, Pair("a", "b")),
        ({"prompt": "a", "completion": "b", "domain": " ", "language": None, "kind": "n"}, Pair("a", "b", "n")),
        ({"prompt": "a", "completion": "b", "conversation": "an id"}, Pair("a", "b")),
        ({"prompt": "a", "completion": "b", "conversation": [USER]}, Pair("a", "b")),
        ({"text": "a", "conversation": ""}, Pair("", "a")),
        ({"text": "a", "conversation": [USER, ANSWER]}, Pair("", "a")),
        ({"chosen": "b", "prompt": "a", "conversation": "an id"}, Pair("a", "b")),
        ({"question": "a", "answer": "b", "conversation": "an id"}, Pair("a", "b")),
    ],
)
def test_texts_and_pairs(record: dict[str, Any], shape: Pair) -> None:
    assert shape_of(record) == shape


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [{**USER, "tool_calls": None, "name": math.nan}, ANSWER], "prompt": None},
        {"messages": ({"role": "user", "content": [PART, PART | {"text": "o?"}]}, ANSWER)},
        {"messages": [{"role": "user", "content": ["Two?"]}, ANSWER]},
        {"conversations": [{"from": "human", "value": "Two?"}, {"from": "gpt", "value": "2"}]},
        {"conversations": [{"from": "Human", "value": "Two?"}, {"from": "GPT", "value": "2"}], "messages": []},
        {"conversations": {"from": ["human", "gpt"], "value": ["Two?", "2"]}, "system": "", "tools": "[]"},
        {"messages": [USER | {"role": "User"}, ANSWER | {"role": "model"}], "tools": " null"},
        {"conversation": [USER, ANSWER], "messages": None},
        {"conversation": [{"input": "Two?", "output": "2"}], "source": "capybara"},
        {"conversations": [{"human": "Two?", "assistant": "2"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "Two?"}]}, ANSWER]},
        {"messages": json.dumps([USER, ANSWER])},
        {"messages": [{"role": "user", "content": [{"type": None, "text": "Two?"}]}, ANSWER]},
    ],
)  # fmt: skip
def test_conversations(record: dict[str, Any]) -> None:
    found = shape_of(record)
    assert isinstance(found, Conversation)
    assert found.messages == (USER, ANSWER)
    assert (found.context, found.answers) == (0, (1,))
    assert text_of(found) == "Two?\n2"


def test_a_prompt_of_messages_is_context() -> None:
    found = shape_of({"prompt": [USER, ANSWER, USER], "completion": [ANSWER, USER, ANSWER]})
    assert isinstance(found, Conversation)
    assert (len(found.messages), found.context, found.answers) == (6, 3, (3, 5))
    one = shape_of({"prompt": [USER], "completion": ANSWER})
    assert isinstance(one, Conversation) and one.answers == (1,)
    columns = [{"role": [m["role"]], "content": [m["content"]]} for m in (USER, ANSWER)]
    assert shape_of({"prompt": columns[0], "completion": columns[1]}) == one


def test_a_system_prompt_beside_the_messages() -> None:
    system = {"role": "system", "content": "Be short."}
    for record in ({"messages": [USER, ANSWER]}, {"conversations": [USER, ANSWER]}):
        found = shape_of(record | {"system": "Be short."})
        assert isinstance(found, Conversation)
        assert (found.messages, found.answers) == ((system, USER, ANSWER), (2,))
    for prompt, context in (([USER], 2), ([], 1), (None, 1)):
        found = shape_of({"prompt": prompt, "completion": [ANSWER], "system": "Be short."})
        assert isinstance(found, Conversation)
        assert (found.messages[0], found.messages[-1], found.context) == (system, ANSWER, context)
    found = shape_of({"messages": [system, USER, ANSWER], "system": "Another one."})
    assert isinstance(found, Conversation) and found.messages == (system, USER, ANSWER)
    with pytest.raises(Misfit, match="system must be text; got list"):
        shape_of({"messages": [USER, ANSWER], "system": [1]})


def test_a_system_prompt_beside_texts() -> None:
    assert shape_of({"prompt": "a", "completion": "b", "system": "Be short."}) == Pair("a", "b", system="Be short.")
    assert shape_of({"prompt": None, "completion": "b", "system_prompt": "S"}) == Pair("", "b", system="S")
    assert shape_of({"prompt": "a", "completion": "b", "system": "", "system_prompt": None}) == Pair("a", "b")
    assert text_of(shape_of({"prompt": "a", "completion": "b", "system": "S"})) == "S\na\nb"
    assert shape_of({"text": "b", "system": "S"}) == Pair("", "b", unread=("system",))
    with pytest.raises(Misfit, match="system_prompt must be text; got int"):
        shape_of({"prompt": "a", "completion": "b", "system_prompt": 5})


SYSTEM = {"role": "system", "content": "Be short."}
ADDED = {"role": "user", "content": "Add.\n1+1"}


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        ({"instruction": "Two?", "output": "2"}, (USER, ANSWER)),
        ({"instruction": "Two?", "input": "", "output": "2", "text": "Below is ..."}, (USER, ANSWER)),
        ({"instruction": "", "input": "Two?", "output": "2", "history": []}, (USER, ANSWER)),
        ({"instruction": "Add.", "input": "1+1", "output": "2"}, (ADDED, ANSWER)),
        ({"instruction": "Two?", "output": "2", "system": "Be short."}, (SYSTEM, USER, ANSWER)),
        ({"instruction": "Two?", "output": None, "chosen": "2"}, (USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "history": [["Two?", "2"]]}, (USER, ANSWER, USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "history": [USER, ANSWER]}, (USER, ANSWER, USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "history": '[["Two?", "2"]]'}, (USER, ANSWER, USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "history": "[]"}, (USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "history": "null"}, (USER, ANSWER)),
        ({"instruction": "Two?", "output": "2", "messages": "[]"}, (USER, ANSWER)),
        ({"instruction": "Add.", "context": "1+1", "response": "2", "category": "sums"}, (ADDED, ANSWER)),
        ({"instruction": "Two?", "context": "", "response": "2", "text": "Below is ..."}, (USER, ANSWER)),
        ({"instruction": "Add.", "input": "1+1", "answer": "2", "output": None}, (ADDED, ANSWER)),
        ({"instruction": "", "output": "2", "history": [USER, CALL, RESULT]}, (USER, CALL, RESULT, ANSWER)),
    ],
)
def test_alpaca(record: dict[str, Any], messages: tuple[dict[str, Any], ...]) -> None:
    found = shape_of(record)
    assert isinstance(found, Conversation) and (found.messages, found.context) == (messages, 0)


OTHER = {"role": "assistant", "content": "3"}


@pytest.mark.parametrize(
    ("record", "messages", "context"),
    [
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]}, (USER, ANSWER), 1),
        ({"prompt": [USER], "chosen": ANSWER, "rejected": OTHER}, (USER, ANSWER), 1),
        ({"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (USER, ANSWER), 1),
        ({"prompt": "Two?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (USER, ANSWER), 1),
        ({"chosen": [USER, ANSWER], "rejected": [USER, OTHER], "system": "Be short."}, (SYSTEM, USER, ANSWER), 2),
        ({"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER, USER, OTHER]}, (USER, ANSWER) * 2, 3),
        ({"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, OTHER]}, (USER, ANSWER) * 2, 1),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, (USER, ANSWER), 1),
        ({"chosen": [USER, ANSWER], "rejected": "\ud800"}, (USER, ANSWER), 0),
        ({"chosen": [USER, ANSWER], "rejected": None}, (USER, ANSWER), 0),
        ({"prompt": "Two?", "completion": None, "chosen": [USER, ANSWER]}, (USER, ANSWER), 0),
        ({"messages": [USER, ANSWER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (USER, ANSWER), 0),
        ({"conversations": [USER, OTHER, USER], "chosen": {"from": "gpt", "value": "2"}, "rejected": {"from": "gpt"}},
         (USER, OTHER, USER, ANSWER), 3),
        ({"instruction": "Two?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (USER, ANSWER), 1),
        ({"instruction": "Two?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER], "answer": "3"},
         (USER, ANSWER), 1),
        ({"question": "Two?", "input": {"id": 3}, "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
         (USER, ANSWER), 1),
    ],
)  # fmt: skip
def test_preferences(record: dict[str, Any], messages: tuple[dict[str, Any], ...], context: int) -> None:
    found = shape_of(record)
    assert isinstance(found, Conversation) and (found.messages, found.context) == (messages, context)
    assert found.unread == (("rejected",) if record.get("rejected") else ())
    assert found.answers[-1] == len(messages) - 1


def test_preferences_in_the_form_of_openai() -> None:
    asked = {"messages": [SYSTEM, USER], "tools": [{"name": "f"}], "parallel_tool_calls": True}
    found = shape_of({"input": asked, "preferred_output": [ANSWER], "non_preferred_output": [OTHER]})
    assert isinstance(found, Conversation)
    assert (found.messages, found.context, found.tools) == ((SYSTEM, USER, ANSWER), 2, [{"name": "f"}])
    assert found.unread == ("non_preferred_output",)
    with pytest.raises(Misfit, match=r"input\.messages must be a list of tables with role and content; got nothing"):
        shape_of({"input": {"prompt": "Two?"}, "preferred_output": [ANSWER]})


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"question": "a", "answer": "b"}, Pair("a", "b")),
        ({"query": "a", "response": "b", "original_question": "c", "type": "d"}, Pair("a", "b")),
        ({"problem": "a", "solution": "b", "answer": None}, Pair("a", "b")),
        ({"problem": "a", "solution": "b", "answer": ""}, Pair("a", "b")),
        ({"prompt": "a", "response": "b"}, Pair("a", "b")),
        ({"prompt": "a", "completion": None, "response": "b"}, Pair("a", "b")),
        ({"prompt": "a", "completion": "b", "answer": "c", "solution": "d"}, Pair("a", "b")),
        ({"input": "a", "output": "b"}, Pair("a", "b")),
        ({"inputs": "a", "targets": "b"}, Pair("a", "b")),
        ({"question": None, "answer": "b", "text": None}, Pair("", "b")),
        ({"system_prompt": "S", "question": "a", "response": "b", "id": "c"}, Pair("a", "b", system="S")),
        ({"system": "S", "question": "a", "chosen": "b"}, Pair("a", "b", system="S")),
        ({"question": "a", "choices": ["b"], "context": "c", "answer": "b"},
         Pair("a", "b", unread=("context", "choices"))),
        ({"text": "a", "question": "b", "answer": "c"}, Pair("", "a", unread=("answer",))),
        ({"text": "a", "role": "prompter", "parent_id": None}, Pair("", "a", unread=("role",))),
    ],
)  # fmt: skip
def test_other_names_of_prompt_and_completion(record: dict[str, Any], shape: Pair) -> None:
    assert shape_of(record) == shape


def test_other_names_may_hold_messages() -> None:
    assert shape_of({"question": [USER], "answer": [ANSWER]}) == shape_of({"prompt": [USER], "completion": [ANSWER]})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"problem": "a", "solution": "b", "answer": "c"}, "answer and solution may each be what is learnt; name"),
        ({"instruction": "a", "response": "b", "answer": "c"}, "response and answer may each be what is learnt; name"),
        ({"question": "a", "problem": "b", "answer": "c"}, "question and problem may each be what is asked; name"),
        ({"instruction": "a", "question": "b", "answer": "c"}, "question and instruction may each be what is asked"),
        ({"question": "a", "query": "b", "chosen": "c"}, "question and query may each be what is asked"),
    ],
)
def test_a_field_is_not_guessed(record: dict[str, Any], said: str) -> None:
    with pytest.raises(Misfit, match=said) as caught:
        shape_of(record)
    assert "name the fields that are meant prompt and completion" in str(caught.value)
    assert caught.value.reason == NO_ONE_FIELD


def test_preferences_as_texts_and_what_is_none() -> None:
    assert shape_of({"prompt": "a", "chosen": "b", "rejected": "c"}) == Pair("a", "b", unread=("rejected",))
    assert shape_of({"chosen": "b", "rejected": "c"}) == Pair("", "b", unread=("rejected", "chosen"))
    assert shape_of({"chosen": "b", "rejected": None}) == Pair("", "b")
    assert shape_of({"prompt": "a", "chosen": "b", "system": "S"}) == Pair("a", "b", system="S")
    assert shape_of({"text": "a", "chosen": True, "rejected": 0, "label": True}) == Pair("", "a")
    assert shape_of({"prompt": "a", "completion": "b", "label": False}) == Pair("a", "b", unread=("label",))
    assert shape_of({"prompt": "a", "completion": "b", "label": 1}) == Pair("a", "b")
    assert shape_of({"instruction": None, "output": "2", "prompt": "a", "chosen": "b"}) == Pair("a", "b")
    assert shape_of({"prompt": "a", "completion": "b", "tools": "[]", "history": []}) == Pair("a", "b")
    found = shape_of({"prompt": "a", "completion": "b", "tools": ["f"], "history": [["a", "b"]]})
    assert found.unread == ("tools", "history")


def test_answers_of_weight_0_are_only_read() -> None:
    found = shape_of({"messages": [USER, ANSWER | {"weight": 0}, USER, ANSWER | {"weight": 1}, USER, ANSWER]})
    assert isinstance(found, Conversation) and found.answers == (3, 5)


def test_tools_and_their_calls_as_json() -> None:
    call = {"name": "f", "arguments": {"a": 1}}
    said = [
        {"from": "human", "value": "Two?"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "7"},
        {"from": "gpt", "value": "2"},
    ]
    found = shape_of({"conversations": said, "tools": json.dumps([{"name": "f"}])})
    assert isinstance(found, Conversation)
    assert (found.tools, found.answers) == ([{"name": "f"}], (3,))
    called = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]}
    assert found.messages[1:3] == (called, {"role": "tool", "content": "7"})
    for role in ("tool_call", "Function_Call"):
        named = shape_of({"messages": [USER, {"role": role, "content": json.dumps([call])}, ANSWER]})
        assert isinstance(named, Conversation) and named.messages[1] == called
    older = [USER, {"role": "assistant", "content": None, "function_call": call}, {"role": "function", "content": "7"}]
    found = shape_of({"messages": [*older, ANSWER]})
    assert isinstance(found, Conversation)
    assert found.messages[1:3] == (called, {"role": "tool", "content": "7"})
    plain = shape_of({"conversations": [said[0], {"from": "function_call", "value": "f(1)"}]})
    assert isinstance(plain, Conversation) and plain.answers == (1,)


def test_tools_and_turns_without_a_text() -> None:
    found = shape_of({"messages": [USER, CALL, RESULT, ANSWER], "tools": [{"name": "f"}]})
    assert isinstance(found, Conversation)
    assert found.answers == (3,)
    assert found.messages[1]["content"] is None and found.messages[1]["tool_calls"] == CALL["tool_calls"]
    assert found.messages[2] == RESULT
    assert found.tools == [{"name": "f"}]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (5, "expected a table with text, prompt/completion or messages; got int"),
        ({}, "it has no keys; a record needs text, or both prompt and completion, or messages"),
        ({"promt": "a", "completion": "b"}, "its keys are promt, completion; a record needs text"),
        ({"prompt": "a"}, "its keys are prompt; a record needs text, or both prompt and completion"),
        ({"messages": None, "answer": 1}, "its keys are messages (null), answer; a record needs"),
        ({"a\x1b[0m": 1}, "its keys are a<U+001B>[0m; a record needs"),
        ({"question": "a", "answer": 1}, "answer must be text; got int"),
        ({"question": "a", "answer": [ANSWER]}, "question is a text and answer a list of messages"),
        ({"question": "a", "answers": "b"}, "its keys are question, answers; a record needs text"),
        ({"prompt": 3, "completion": "x"}, "prompt must be text; got int"),
        ({"prompt": "x", "completion": None}, "completion must be text; got nothing"),
        ({"prompt": "x", "completion": math.nan}, "completion must be text; got nothing"),
        ({"text": 5}, "text must be text; got int"),
        ({"messages": 1}, "messages must be a list of tables with role and content; got int"),
        ({"messages": []}, "messages is an empty list"),
        ({"messages": [1]}, "message 1 of messages must be a table with role and content; got int"),
        ({"messages": [USER, {"content": "x"}]}, "message 2 of messages: role must be text; got nothing"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "message 1 of messages: role must be text; got list"),
        ({"messages": [{"role": "user", "content": None}]}, "message 1 of messages (role 'user') has no content"),
        ({"messages": [{"role": "user", "content": 5}]}, "message 1 of messages: content must be text; got int"),
        ({"messages": [{"role": "user", "content": [PART, {"type": "image"}]}]}, "part 2 that is no text (of type 'im"),
        ({"prompt": "a", "completion": [ANSWER]}, "prompt is a text and completion a list of messages"),
        ({"prompt": [USER], "completion": "b"}, "prompt is a list of messages and completion isn't"),
        ({"prompt": "a", "completion": "half \ud83d"}, "completion isn't valid Unicode (lone surrogate U+D83D)"),
        ({"text": "\udc00"}, "text isn't valid Unicode (lone surrogate U+DC00)"),
        (
            {"messages": [{"role": "user", "content": "x", "name": "\ud83d"}]},
            "message 1 of messages: name isn't valid Unicode (lone surrogate U+D83D)",
        ),
        ({"messages": [USER], "tools": [{"a": ["\ud83d"]}]}, "tools isn't valid Unicode"),
        ({"messages": [USER], "tools": "f(x)"}, "tools is a text and no JSON list"),
        ({"messages": [USER], "tools": '["\\ud83d"]'}, "tools isn't valid Unicode"),
        ({"messages": [USER], "tools": "[" * 5000}, "tools is a text and no JSON list"),
        ({"completion": "b", "text": None}, "its keys are completion, text (null); a record needs text"),
        ({"messages": [USER | {"role": ""}]}, "message 1 of messages: role must be text; got an empty one"),
        ({"instruction": "a", "output": " "}, "output is empty; there's nothing to learn"),
        ({"instruction": "a", "input": {"b": 1}, "output": "c"}, "input must be text; got dict"),
        ({"instruction": "a", "output": ["c"]}, "output must be text; got list"),
        ({"instruction": "a", "output": "c", "history": "b"}, "history must be a list of tables with role and content"),
        ({"instruction": "a", "output": "c", "history": [["b", 1]]}, "message 2 of history: content must be text"),
        ({"instruction": "a", "output": None}, "its keys are instruction, output (null); a record needs text"),
        ({"prompt": "a", "chosen": [ANSWER]}, "prompt is a text and chosen a list of messages; give both in one form"),
        ({"prompt": [USER], "chosen": "b"}, "prompt is a list of messages and chosen isn't"),
        ({"chosen": [USER, {"role": "assistant", "content": 5}]}, "message 2 of chosen: content must be text; got int"),
        ({"messages": {"role": ["user"], "content": []}}, "the lists of messages aren't equally long"),
    ],
)  # fmt: skip
def test_the_field_that_is_wrong_is_named(record: Any, said: str) -> None:
    with pytest.raises(Misfit) as caught:
        shape_of(record)
    assert said in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_long_names_are_cut() -> None:
    with pytest.raises(Misfit) as caught:
        shape_of({"x" * 100_000: 1})
    assert len(str(caught.value)) < 400


def test_reasons_are_few() -> None:
    for record, reason in (([1], NO_RECORD), ({"messages": [{"role": "user"}]}, NO_CONTENT)):
        with pytest.raises(Misfit) as caught:
            shape_of(record)
        assert caught.value.reason == reason
