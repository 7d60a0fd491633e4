"""Tokenizers and encodings in notebooks: facts in a line and a card, no slow check is started, nothing is markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core.markup.visible import one_line, visible_bytes
from ctkd_core.tokenizers.display import MAX_TOKENS, token_text
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.markup.page import NASTY, harmless
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace, tiny_wordpiece


@pytest.mark.parametrize("make", [tiny_byte_level, tiny_metaspace, tiny_wordpiece])
def test_a_line_and_a_card_have_the_facts(make) -> None:
    tokenizer: Tokenizer = make()
    assert repr(tokenizer) == f"<Tokenizer {tokenizer.name}: {tokenizer.kind}, {tokenizer.vocab_size} tokens, none>"
    text = harmless(tokenizer._repr_html_()).text
    assert f"special tokens{len(tokenizer.special_ids)}" in text
    for role in ("bos", "eos", "pad", "unk"):
        index = getattr(tokenizer, f"{role}_id")
        shown = "none" if index is None else f"{tokenizer.token(index)} (id {index})"
        assert f"{role.upper()}{shown}" in text


def test_slow_checks_wait_until_somebody_asks() -> None:
    asked = []

    def check() -> list[str]:
        asked.append(True)
        return [f"transformers would cut {NASTY} differently"]

    tokenizer = replace(tiny_byte_level(), check=check)
    assert "Not checked yet" in harmless(tokenizer._repr_html_()).text
    assert repr(tokenizer)
    assert not asked
    assert len(tokenizer.warnings) == 1
    assert f"Warning: transformers would cut {one_line(NASTY)}" in harmless(tokenizer._repr_html_()).text
    assert len(asked) == 1


def test_without_a_check_there_is_nothing_to_warn_of() -> None:
    text = harmless(tiny_byte_level()._repr_html_()).text
    assert "Warning" not in text
    assert "Not checked" not in text


def test_what_files_say_is_text() -> None:
    tokenizer = replace(tiny_byte_level(), name=NASTY, source=NASTY, licence=NASTY)
    assert harmless(tokenizer._repr_html_()).text.count(one_line(NASTY)) == 3
    assert repr(tokenizer).isprintable()


def test_an_encoding_shows_its_tokens_and_marks_special_ones() -> None:
    encoding = tiny_byte_level().encode(f"In 2024 {NASTY}", special_tokens=True)
    assert repr(encoding).isprintable()
    assert f"{len(encoding)} tokens, {encoding.n_bytes} bytes" in repr(encoding)
    page = harmless(encoding._repr_html_())
    chips = [attributes["style"] for _, attributes in page.tags if attributes.get("class") == "c"]
    assert [style.endswith("dashed") for style in chips] == encoding.special.tolist()
    assert "".join(map(visible_bytes, encoding.token_bytes)) in page.text


def test_a_long_encoding_is_cut_with_a_note() -> None:
    encoding = tiny_byte_level().encode(" ".join(CORPUS * 4))
    html = encoding._repr_html_()
    assert harmless(html).count("span", **{"class": "c"}) == MAX_TOKENS
    assert f"{len(encoding) - MAX_TOKENS:,} more tokens are not drawn." in html


def test_ids_without_text_have_a_sign() -> None:
    tokenizer = tiny_byte_level()
    assert token_text(tokenizer, tokenizer.n_ids) == "∅ (padding of the logits)"
    assert token_text(tokenizer, tokenizer.id_of("Ġ") or 0) == "·"
