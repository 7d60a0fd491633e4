"""Prompts of answers by chat templates: what stands before an answer, what ends it, and what a template does to it."""

from __future__ import annotations

import pytest

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.chat_prompts import MARK, ChatPrompt, Turn, chat_prompts, end_behind
from ctkd_core.tokenizers.chat_templates import names_of
from ctkd_core.tokenizers.template_sandbox import in_child_each
from tests.tiny import tiny_byte_level
from tests.tokenizers.test_chat_templates import CHATML, chatty

SYSTEM, USER = {"role": "system", "content": "Be short."}, {"role": "user", "content": "Two?"}
ASKED = "<turn>user\nTwo?<end>\n<turn>assistant\n"
TRIMMING = CHATML.replace("{{ m.content }}", "{{ m.content | trim }}")
# Mistral: nothing asks for an answer, which begins behind a blank.
BLANK = (
    "{% for m in messages %}{% if m.role == 'user' %}<turn>{{ m.content }}<end>{% else %} {{ m.content }}<eos>"
    "{% endif %}{% endfor %}"
)
# Qwen3: reasoning moves into a block of its own.
THINKING = (
    "{% for m in messages %}<turn>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n"
    "{{ m.content.split('</think>')[0] if '</think>' in m.content else '' }}\n</think>\n"
    "{{ m.content.split('</think>')[-1].lstrip() }}{% else %}{{ m.content }}{% endif %}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def turn(answer: str, *before: dict[str, str], **more: object) -> Turn:
    return Turn(before or (USER,), {"role": "assistant", "content": answer, **more})


def test_what_stands_before_an_answer_and_ends_it() -> None:
    tokenizer = chatty()
    first, second = chat_prompts(
        tokenizer, [turn("2"), turn("4\n", SYSTEM, USER, {"role": "assistant", "content": "2"}, USER)]
    )
    assert first == ChatPrompt(ASKED, "", tokenizer.id_of("<end>"), "2")
    assert isinstance(second, ChatPrompt)
    assert second.text == f"<turn>system\nBe short.<end>\n{ASKED}2<end>\n{ASKED}"
    assert second.answer == "4\n"


def test_a_template_that_trims() -> None:
    (prompt,) = chat_prompts(chatty(TRIMMING), [turn(" 2 \n")])
    assert isinstance(prompt, ChatPrompt)
    assert (prompt.text, prompt.answer) == (ASKED, "2")


def test_a_blank_before_the_answer_belongs_to_it() -> None:
    tokenizer = chatty(BLANK)
    (prompt,) = chat_prompts(tokenizer, [turn("2")])
    assert prompt == ChatPrompt("<turn>Two?<end>", " ", tokenizer.eos_id, "2")
    assert tokenizer.token(tokenizer.eos_id) == "<eos>"


def test_a_template_that_rewrites_the_answer() -> None:
    plain, thought = chat_prompts(chatty(THINKING), [turn("2"), turn("one and one</think>\n2")])
    assert isinstance(plain, ChatPrompt) and isinstance(thought, ChatPrompt)
    assert (plain.text, plain.answer) == (f"{ASKED}<think>\n\n</think>\n", "2")
    assert (thought.text, thought.answer) == (ASKED, "one and one</think>\n2")


def test_a_template_that_ends_no_turn_leaves_it_to_eos() -> None:
    tokenizer = chatty("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    (prompt,) = chat_prompts(tokenizer, [turn("2")])
    assert prompt == ChatPrompt("user: Two?\nassistant:", " ", tokenizer.eos_id, "2")


def test_refusals_stand_in_their_place() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    good, bad, again = chat_prompts(chatty(refusing), [turn("2"), turn("2", SYSTEM, USER), turn("3")])
    assert isinstance(bad, TokenizerError) and "no system" in str(bad)
    assert isinstance(good, ChatPrompt) and isinstance(again, ChatPrompt)
    with pytest.raises(TokenizerError, match="has no chat template"):
        chat_prompts(tiny_byte_level(), [turn("2")])


def test_a_template_that_writes_nothing_is_no_empty_prompt() -> None:
    for template in ("", "{# nothing #}\n", "{% if false %}{{ messages }}{% endif %}"):
        (found,) = chat_prompts(chatty(template), [turn("2")])
        assert isinstance(found, TokenizerError) and "writes nothing of the messages" in str(found)
    (alone,) = chat_prompts(chatty("{{ messages[0].content }}"), [Turn((), {"role": "assistant", "content": "2"})])
    assert isinstance(alone, ChatPrompt) and (alone.text, alone.answer) == ("", "2")


def test_calls_and_tools_reach_the_template() -> None:
    template = (
        "{{ tools[0].name if tools else 'none' }}"
        "{% for m in messages %}[{{ m.role }}{{ m.tool_calls }}]{{ m.content }}{% endfor %}"
    )
    call = {"role": "assistant", "content": "", "tool_calls": [1]}
    asked = Turn(
        (USER, call, {"role": "tool", "content": "7"}), {"role": "assistant", "content": "7!"}, [{"name": "f"}]
    )
    (prompt,) = chat_prompts(chatty(template), [asked])
    assert isinstance(prompt, ChatPrompt)
    assert prompt.text == "f[user]Two?[assistant[1]][tool]7[assistant]"
    assert asked.whole and not turn("I'll look.", tool_calls=[1]).whole


def test_a_null_content_is_none_to_a_template_and_nothing_in_its_text() -> None:
    template = (
        "{% for m in messages %}{{ '<call>' if m.content is none }}{{ m.content | trim }}"
        "{{ ' text' if m.content is string }}{{ ' null' if m.content == none }}|{% endfor %}"
    )
    call = {"role": "assistant", "content": None, "tool_calls": [1]}
    asked = Turn((USER, call, {"role": "tool", "content": "7"}), {"role": "assistant", "content": "7!"})
    (prompt,) = chat_prompts(chatty(template), [asked])
    assert isinstance(prompt, ChatPrompt)
    assert prompt.text == "Two? text|<call> null|7 text|"


def test_a_mark_in_the_conversation_is_asked_for_instead() -> None:
    tokenizer = chatty()
    (prompt,) = chat_prompts(tokenizer, [turn("2", {"role": "user", "content": MARK})])
    assert prompt == ChatPrompt(f"<turn>user\n{MARK}<end>\n<turn>assistant\n", "", tokenizer.eos_id, "2")


def test_each_job_has_an_answer() -> None:
    texts = in_child_each("{{ 1 // messages|length }}", [{"messages": [USER]}, {"messages": []}], names_of(chatty()))
    assert texts[0] == "1"
    assert isinstance(texts[1], TokenizerError) and "zero" in str(texts[1])


def test_what_ends_an_answer_to_a_prompt_that_is_rendered_already() -> None:
    llama = chatty("{{ '' }}", "<|start_header_id|>", "<|eot_id|>")
    asked = "<|start_header_id|>user\n\nTwo?<|eot_id|><|start_header_id|>assistant\n\n"
    assert end_behind(asked, llama) == llama.id_of("<|eot_id|>")
    assert end_behind("Question: Two?\nAnswer:", llama) == llama.eos_id
    assert end_behind(asked, tiny_byte_level()) == tiny_byte_level().eos_id
    own = chatty()
    assert end_behind(ASKED, own) == own.id_of("<end>")
    assert end_behind("Two?", own) == own.eos_id
    broken = chatty("<turn>{{ raise_exception('never') }}")
    assert end_behind(ASKED, broken) == broken.eos_id
