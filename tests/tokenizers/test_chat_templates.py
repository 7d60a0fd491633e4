"""Chat templates: rendered in a child with limits, BOS doubled, seams, markers, differences."""

from __future__ import annotations

import json
import os
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.tokenizers.chat_templates import (
    CONVERSATIONS,
    differences,
    markers,
    names_of,
    parse_conversation,
    render,
    seam_of,
    written,
)
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.template_sandbox import MAX_TEMPLATE, fill, in_child
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace

USER = {"role": "user", "content": "Hé <b> 201?"}
ANSWER = {"role": "assistant", "content": "1234"}
CHATML = (
    "{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def chatty(template: str = CHATML, *added: str, **config: object) -> Tokenizer:
    backend = Backend.from_str(tiny_byte_level().backend.to_str())
    backend.add_special_tokens(list(added or ("<turn>", "<end>")))
    return Tokenizer.from_backend(backend, "chatty", config={"chat_template": template, **config})


def test_both_texts_are_what_the_template_writes() -> None:
    side = render(chatty(), [USER, ANSWER])
    assert side.text == "<turn>user\nHé <b> 201?<end>\n<turn>assistant\n1234<end>\n"
    assert side.problem == "" and side.encoding is not None
    assert side.text == fill(CHATML, {"messages": [USER, ANSWER]}), "the child writes what the sandbox does"
    assert b"".join(side.encoding.token_bytes).decode() == side.text


def test_no_template_and_a_refusal_are_sentences() -> None:
    assert render(tiny_byte_level(), [USER]).problem == "the tokenizer has no chat template."
    refusing = render(chatty("{{ raise_exception('no system, please') }}"), [USER])
    assert refusing.text is None and "refuses these messages: no system, please" in refusing.problem


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% if", "can't be applied"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ x.y.z }}", "'x' is undefined"),
        ("{{ 'a' * 10**10 }}", "asks for too much"),
        ("{% for i in range(99999) %}{{ 'a' * 100 }}{% endfor %}", "writes more than"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "asks for too much"),
        ("x" * (MAX_TEMPLATE + 1), "aren't tried"),
    ],
)
def test_a_bad_template_is_refused_with_its_reason(template: str, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        in_child(template, [{"messages": [USER]}], {})


def test_an_endless_template_is_stopped() -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TokenizerError, match=r"wasn't done after 1\.5 s"):
        in_child(endless, [{"messages": []}], {}, time_limit=1.5)
    assert "loop for ever" in render(chatty(endless), [USER], time_limit=1.5).problem


def test_the_child_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template can't read it anyway; a fault of the sandbox would find nothing, either."""
    import subprocess

    seen: dict[str, str] = {}
    real = subprocess.run

    def spy(*words: object, env: dict[str, str], **more: object) -> object:
        seen.update(env)
        return real(*words, env=env, **more)  # type: ignore[call-overload]

    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    assert in_child("{{ messages|length }}", [{"messages": [USER]}], {}) == ["1"]
    assert "HF_TOKEN" in os.environ and "HF_TOKEN" not in seen


def test_the_child_runs_no_file_of_the_current_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise SystemExit('of somebody else')")
    monkeypatch.chdir(tmp_path)
    assert in_child("{{ messages|length }}", [{"messages": [USER]}], {}) == ["1"]


def test_what_templates_of_transformers_use_is_there() -> None:
    template = (
        "{{ messages|tojson }}{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}"
        "{% break %}{% endfor %}{{ strftime_now('%Y') }}{{ 'no' if tools is none else tools }}{{ bos_token }}"
    )
    found = fill(template, {"messages": [USER, ANSWER], "bos_token": "<s>"})
    assert found == f"{json.dumps([USER, ANSWER], ensure_ascii=False)}user{datetime.now():%Y}no<s>"


def test_names_leave_out_missing_roles() -> None:
    assert names_of(tiny_metaspace()) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def test_bos_written_twice_is_seen() -> None:
    doubled = render(chatty("{{ bos_token }}" + CHATML), [USER])  # this tokenizer adds <bos>, too
    assert (doubled.bos, doubled.adds_bos, doubled.doubled) == (1, True, True)
    assert "add_special_tokens=False" in doubled.bos_sentence
    once = render(chatty(), [USER])
    assert (once.bos, once.doubled) == (0, False) and "the tokenizer adds it" in once.bos_sentence


def test_a_seam_holds_when_the_prompt_keeps_its_tokens() -> None:
    side = render(chatty(), [USER, ANSWER])
    assert side.seam is not None and side.seam.holds
    assert b"" in side.seam.apart
    assert b"".join(side.seam.apart) == b"".join(side.seam.together)
    assert render(chatty(), [USER]).seam is None, "no answer, no seam"


def test_a_seam_breaks_inside_a_token() -> None:
    # 201 is one token of this tokenizer, so "...20" and "1" are cut differently together.
    seam = seam_of(tiny_byte_level(), "In 20", "In 201 units")
    assert not seam.holds
    k = seam.apart.index(b"")
    assert seam.apart[k - 1] == b"20" and b"201" in seam.together
    whole = seam_of(tiny_byte_level(digits=1), "In 20", "In 201 units")
    assert whole.holds


def test_a_prompt_that_is_written_differently_later_has_no_seam() -> None:
    template = "{% if add_generation_prompt %}PROMPT{% else %}whole text{% endif %}"
    side = render(chatty(template), [USER, ANSWER])
    assert side.seam is not None and not side.seam.holds
    assert "writes the prompt differently" in side.seam.sentence


@given(st.text("a1 \n<turn>é", max_size=12), st.text("a1 \n<end>é", max_size=12))
def test_the_seam_is_the_definition(prompt: str, answer: str) -> None:
    tokenizer = chatty()
    own, whole = (tokenizer.encode(t).ids.tolist() for t in (prompt, prompt + answer))
    assert seam_of(tokenizer, prompt, prompt + answer).holds == (whole[: len(own)] == own)


def test_markers_count_what_the_reader_needs() -> None:
    writer = chatty()
    encoding = render(writer, [USER, ANSWER]).encoding
    assert encoding is not None
    assert markers(writer, writer, encoding) == {"<turn>": (2, 1), "<end>": (2, 1)}
    spelled = markers(tiny_byte_level(), writer, encoding)
    assert spelled["<turn>"] == (2, len(tiny_byte_level().encode("<turn>"))) and spelled["<turn>"][1] > 1


@given(st.text("ab<|>im_ \n[I]é", max_size=40), st.text("ab<|>im_ \n[I]é", max_size=40))
def test_differences_lose_nothing(student: str, teacher: str) -> None:
    pieces = differences(student, teacher)
    assert "".join(p.student for p in pieces) == student
    assert "".join(p.teacher for p in pieces) == teacher
    assert all((p.student == p.teacher) == p.same for p in pieces)


def test_conversations_are_read_and_written() -> None:
    for messages in CONVERSATIONS.values():
        assert parse_conversation(written(messages)) == [dict(m) for m in messages]
    assert parse_conversation("User: a\nb: c\n\nASSISTANT:d") == [
        {"role": "user", "content": "a\nb: c\n"},
        {"role": "assistant", "content": "d"},
    ]


@pytest.mark.parametrize(
    ("text", "said"), [("", "no message"), ("hello", "no speaker"), ("user:" + "a" * 20_001, "most 20")]
)
def test_what_is_no_conversation_is_refused(text: str, said: str) -> None:
    with pytest.raises(CtkdError, match=said):
        parse_conversation(text)


@pytest.mark.real
def test_real_templates() -> None:
    messages = [dict(m) for m in CONVERSATIONS["answer begins with a line break"]]
    qwen, smollm2 = (render(load_tokenizer(name), messages) for name in ("qwen", "smollm2"))
    assert qwen.seam is not None and not qwen.seam.holds, "two line breaks are one token of Qwen"
    assert smollm2.seam is not None and smollm2.seam.holds
    assert (qwen.bos, smollm2.bos) == (0, 1)
    assert smollm2.text is not None and "helpful AI assistant named SmolLM" in smollm2.text
