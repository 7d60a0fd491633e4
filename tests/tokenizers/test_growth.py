"""Bounds on what a tokenizer makes of a text: true for every text, small for real ones, large for hostile ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers import growth
from ctkd_core.tokenizers.catalog import TOKENIZERS
from ctkd_core.tokenizers.faults import library_faults
from ctkd_core.tokenizers.growth import MOST_GROWTH, check_components, check_model, check_text, normaliser_growth
from ctkd_core.tokenizers.load import load_tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

ALBERT = normalizers.Sequence(
    [
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
)


def written(part: Any) -> Any:
    return json.loads(part.__getstate__())


def charsmap(*texts: bytes) -> dict[str, Any]:
    table = (0).to_bytes(4, "little") + b"\0".join(texts) + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


HOSTILE = {
    "chain": sequence(*(replace("a", "a" * 10) for _ in range(10))),
    "nested": sequence(sequence(*(replace("x", "xx") for _ in range(6))), sequence(*(replace("x", "xx"),) * 20)),
    "rare character": sequence(
        replace("\U0001f984", "a" * 60), *(replace(a, b * 60) for a, b in ("ab", "bc", "cd", "de"))
    ),
    "through other characters": sequence(*(replace(chr(k), chr(k + 1) * 4) for k in range(0x4E00, 0x4E10))),
    "one long text": replace("\u2603", "x" * 100_000),
    "prepended": sequence(*({"type": "Prepend", "prepend": "ab"},) * 2, *(replace("a", "aaaa"),) * 6),
    "regular expression": sequence(*(replace("(?=a)", "aa", "Regex"),) * 12),
    "any character": sequence(*(replace(".", "xx", "Regex"),) * 12),
    "empty pattern": sequence(*(replace("", "x"),) * 12),
    "upper and lower": sequence(
        *(step for _ in range(6) for step in (replace("i", "\u0130" * 5), {"type": "Lowercase"}))
    ),
    "ligatures": sequence(*(s for _ in range(4) for s in (replace("\u0644", "\ufdfa"), {"type": "NFKD"}))),
    "charsmap": sequence(charsmap(b"x" * 5000)),
    "charsmap and others": sequence(charsmap(b"yy" * 50), replace("y", "z" * 20)),
    "bytes": sequence(*({"type": "ByteLevel"},) * 12),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_normalisers_that_multiply_are_refused(name: str) -> None:
    assert normaliser_growth(HOSTILE[name]) > MOST_GROWTH
    for where in ("normalizer", "decoder"):
        with pytest.raises(TokenizerError, match=r"can make .* characters of one; over 1,000 are refused"):
            check_components({where: HOSTILE[name]})


HARMLESS = {
    "none": (None, 1),
    "Llama": (sequence({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")), 2),
    "Gemma": (replace(" ", "▁"), 1),
    "NFC": ({"type": "NFC"}, 4),
    "XLM-R": (sequence(charsmap(b"a", "ﷺ...............".encode()), replace(" {2,}", "▁", "Regex")), 16),
    "ALBERT": (written(ALBERT), 36),
    "BERT": (written(normalizers.BertNormalizer()), 24),
    # None of these feeds another one: what counts is the longest, not the product.
    "many short ones": (sequence(*(replace(chr(0x2000 + k), "......") for k in range(100))), 6),
    "deletions": (sequence(*(replace("[^a-z]+", "", "Regex"),) * 50), 1),
    "a marker for a line": (replace("\n", "<newline>"), 9),
    "a longer text for a long one": (replace("abcd", "12345678"), 2),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_usual_normalisers_have_small_bounds(name: str) -> None:
    node, bound = HARMLESS[name]
    assert normaliser_growth(node) == bound
    check_components({"normalizer": node})


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.gemma] if row.on_request else []) for n, row in TOKENIZERS.items()]
)
def test_the_catalog_has_small_bounds(name: str) -> None:
    try:
        tokenizer = load_tokenizer(name)
    except TokenizerError:
        pytest.skip("not installed")
    check_components(tokenizer.spec)
    check_model(tokenizer.spec["model"])
    assert normaliser_growth(tokenizer.spec["normalizer"]) <= 4


LETTERS = "abİ½ﷺ́ "
patterns = st.one_of(
    st.tuples(st.just("String"), st.text(LETTERS, max_size=2)),
    st.tuples(
        st.just("Regex"),
        st.sampled_from(["a+", "[ab]", ".", "a*", "(?=a)", r"\s", "a|b", "b{2,}", "^", "$", "a{2}?", "[a[b]a]*"]),
    ),
)
contents = st.text(LETTERS, max_size=4)
some_steps = st.one_of(
    st.builds(lambda p, c: replace(p[1], c, p[0]), patterns, contents),
    st.builds(lambda c: {"type": "Prepend", "prepend": c}, contents),
    st.sampled_from(
        [{"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel")]
    ),
)


@given(st.lists(some_steps, max_size=5), st.text(LETTERS, min_size=1, max_size=8))
def test_the_bound_holds_for_what_the_library_does(steps: list[dict[str, Any]], text: str) -> None:
    """Whatever the steps, a text becomes at most the bound times as long."""
    shell = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    shell |= {"normalizer": sequence(*steps), "pre_tokenizer": None, "post_processor": None, "decoder": None}
    normaliser = Backend.from_str(json.dumps(shell)).normalizer
    bound = normaliser_growth(written(normaliser))
    try:
        with library_faults("the library"):
            made = normaliser.normalize_str(text)
    except TokenizerError:  # some combinations end its work
        assume(False)
    # One more for what is put before and behind a text, however short it is.
    assert len(made) <= bound * (len(text) + 1)


def test_steps_and_patterns_are_counted() -> None:
    with pytest.raises(TokenizerError, match="over 256 steps"):
        normaliser_growth(sequence(*({"type": "NFC"},) * 1000))
    deep: Any = {"type": "NFC"}
    for _ in range(100_000):
        deep = {"type": "Sequence", "normalizers": [deep]}
    with pytest.raises(TokenizerError, match="over 256 steps"):
        normaliser_growth(deep)
    with pytest.raises(TokenizerError, match="replaces a text of 2,000 characters"):
        normaliser_growth(replace("a" * 2000, "b"))


def test_pre_tokenizers_that_multiply_are_refused() -> None:
    plain = [pre_tokenizers.Metaspace(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    check_components({"pre_tokenizer": written(pre_tokenizers.Sequence(plain))})
    for step in (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), pre_tokenizers.Metaspace()):
        with pytest.raises(TokenizerError, match=r"pre-tokenizers can make (1,024|512) characters"):
            check_components({"pre_tokenizer": written(pre_tokenizers.Sequence([step] * 10))})


def test_templates_that_multiply_are_refused() -> None:
    usual = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    check_components({"post_processor": written(usual)})
    check_components({"post_processor": written(processors.BertProcessing(("a", 1), ("b", 2)))})
    marker = {"id": "x", "ids": [1] * 600, "tokens": ["x"] * 600}
    for single, times in (
        ([{"SpecialToken": {"id": "x", "type_id": 0}}] * 2, 1),
        ([{"Sequence": {"id": "A", "type_id": 0}}] * 3, 1),
        ([{"Sequence": {"id": "A", "type_id": 0}}] * 2, 2),
    ):
        step = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {"x": marker}}
        with pytest.raises(TokenizerError, match="its template adds"):
            check_components({"post_processor": {"type": "Sequence", "processors": [step] * times}})


def test_long_marks_and_unknown_tokens_are_refused() -> None:
    check_model({"unk_token": "<unk>", "continuing_subword_prefix": "##", "end_of_word_suffix": None})
    for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        with pytest.raises(TokenizerError, match=rf"its {name} has 5,000 characters"):
            check_model({name: "x" * 5000})


def test_a_text_that_becomes_far_longer_is_refused_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the bound of a tokenizer that is accepted, what counts is what one text becomes."""
    document = json.loads(tiny_byte_level().backend.to_str())
    document["normalizer"] = replace("☃", "x" * 900)
    from ctkd_core.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "snow")
    assert len(tokenizer.encode("a ☃ b")) > 400  # short texts may grow
    text = "a☃" * 20_000
    asked: list[int] = []
    normalise = tokenizer.backend.normalizer.normalize_str

    class Counted:
        def normalize_str(self, piece: str) -> str:
            asked.append(len(piece))
            return normalise(piece)

    with pytest.raises(TokenizerError, match="makes over 32 bytes of each byte"):
        check_text([text], Counted(), tokenizer._growth, tokenizer.name)
    assert sum(asked) < 0.1 * len(text)  # it was stopped early
    for call in (
        lambda: tokenizer.encode(text),
        lambda: tokenizer.encode_continuation(text),
        lambda: tokenizer.encode_batch(["a", text]),
        lambda: tokenizer.encode_pieces([text]),
    ):
        with pytest.raises(TokenizerError, match="snow makes over 32 bytes"):
            call()
    assert len(tokenizer.encode("a b " * 200_000).ids) >= 400_000  # a long text that doesn't grow


def test_texts_of_usual_tokenizers_are_not_tried() -> None:
    """The bound says that it can't be necessary."""

    class Untouched:
        def normalize_str(self, piece: str) -> str:
            raise AssertionError("tried")

    for tokenizer in (tiny_byte_level(nfc=True), tiny_metaspace(), tiny_wordpiece()):
        check_text(["x" * 40_000] * 3, Untouched(), tokenizer._growth, tokenizer.name)


def test_components_are_those_of_the_library() -> None:
    backend = Backend(BPE())
    assert growth.components(backend) == dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))
    backend.normalizer = ALBERT
    assert [step["type"] for step in growth.steps(growth.components(backend)["normalizer"])] == [
        *("Replace", "Replace", "NFKD", "StripAccents", "Lowercase", "Replace")
    ]
