"""Encodings: token bytes and byte spans, on tiny tokenizers of every kind and on the golden cases."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.rewriting import widened
from ctkd_core.tokenizers.token_bytes import byte_alphabet, byte_spans, char_to_byte, token_bytes_from_strings
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.patience import PATIENCE
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece
from tests.work import lines_run

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "alignment.json").read_text(encoding="utf-8"))
KINDS = {"llama3": "byte-level", "qwen3": "byte-level", "gpt4o": "byte-level", "gemma3": "sentencepiece"}

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"
EMOJI = "a👩‍🚀b 🇯🇵 日本 cafe\u0301 naïve 201"
texts = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["👩‍🚀", "🇯🇵", "cafe\u0301", "é", "日本", " ", "  ", "\n", "\t", "201", "1234567", "the", " the", "\u2581", "İ"]
    ),
    max_size=12,
).map("".join)


def assert_tiles(encoding: Encoding) -> None:
    """Spans are in order and make up the text with the uncovered ranges; only tokens of one changed cluster overlap."""
    spans, size = encoding.spans, len(encoding.text.encode())
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert (np.diff(spans, axis=0) >= 0).all()
    covered = np.zeros(size, dtype=int)
    for start, end in spans.tolist():
        covered[start:end] += 1
    bare = np.zeros(size, dtype=bool)
    for start, end in encoding.uncovered.tolist():
        bare[start:end] = True
    assert ((covered > 0) != bare).all()
    for (a, b), (c, d) in pairwise(spans.tolist()):
        if a < b and c < d:
            assert c >= b or max(a, c) < min(b, d)
            if c < b:  # they share a cluster that was changed, so its bytes aren't what they spell
                shared = encoding.text.encode()[c:b]
                assert shared.decode() and (b, d) != (a, c)


@given(texts)
@example(EMOJI)
def test_byte_level_tokens_spell_the_text_and_tile_it(text: str) -> None:
    encoding = tiny_byte_level().encode(text)
    assert b"".join(encoding.token_bytes) == text.encode()
    assert_tiles(encoding)
    assert len(encoding.uncovered) == 0
    data = text.encode()
    assert [data[a:b] for a, b in encoding.spans.tolist()] == encoding.token_bytes


@given(texts)
@example("In cats")
@example(EMOJI)
def test_metaspace_tokens_spell_the_text_after_a_dummy_prefix(text: str) -> None:
    encoding = tiny_metaspace().encode(text)
    spelled, written = b"".join(encoding.token_bytes), text.replace("\u2581", " ").encode()
    assert spelled in (written, b" " + written)
    assert_tiles(encoding)
    assert len(encoding.uncovered) == 0


@given(texts)
@example("CAFÉ déjà İ")
def test_normalised_texts_are_tiled_by_spans_and_uncovered_bytes(text: str) -> None:
    assert_tiles(tiny_wordpiece().encode(text, special_tokens=True))
    assert_tiles(tiny_byte_level(nfc=True).encode(text, special_tokens=True))


@given(texts)
def test_ids_are_those_of_the_library(text: str) -> None:
    for tokenizer in (tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()):
        expected = tokenizer.backend.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).ids.tolist() == expected
        assert tokenizer.encode_batch([text, "x"])[0] == expected


def test_dummy_prefix_is_in_the_bytes_and_not_in_the_span() -> None:
    encoding = tiny_metaspace().encode("cats are")
    assert encoding.token_bytes[0] == b" cats"
    assert encoding.spans[0].tolist() == [0, 4]


def test_byte_fallback_pieces_have_their_own_bytes() -> None:
    encoding = tiny_metaspace().encode("a🦙b")
    pieces = [(b, s) for b, s in zip(encoding.token_bytes, encoding.spans.tolist()) if b[:1] >= b"\x80"]
    assert pieces == [(b"\xf0", [1, 2]), (b"\x9f", [2, 3]), (b"\xa6", [3, 4]), (b"\x99", [4, 5])]


def test_special_tokens_are_masked_and_cover_nothing() -> None:
    for tokenizer, ends in ((tiny_byte_level(), 1), (tiny_metaspace(), 1), (tiny_wordpiece(), 2)):
        encoding = tokenizer.encode("the cats", special_tokens=True)
        assert int(encoding.special.sum()) == ends
        assert encoding.special[0]
        assert (encoding.spans[encoding.special, 0] == encoding.spans[encoding.special, 1]).all()
        plain = tokenizer.encode("the cats")
        assert not plain.special.any()
        assert plain.ids.tolist() == encoding.ids[~encoding.special].tolist()
        assert plain.spans.tolist() == encoding.spans[~encoding.special].tolist()


def test_special_token_written_in_the_text_is_masked_and_said() -> None:
    encoding = tiny_byte_level().encode("the<eos>cats")
    assert encoding.tokens[int(np.flatnonzero(encoding.special)[0])] == "<eos>"
    assert any("1 special token of" in note and "<eos>" in note for note in encoding.notes)
    assert_tiles(encoding)


def test_unknown_tokens_are_counted_and_stay_visible() -> None:
    encoding = tiny_wordpiece().encode("cats 🦙 日")
    unknown = encoding.ids == tiny_wordpiece().unk_id
    assert unknown.sum() == 2
    assert not encoding.special[unknown].any()  # they stand for text, an alignment needs them
    assert any("no token for 2 pieces" in note for note in encoding.notes)


def test_wordpiece_bytes_spans_and_notes() -> None:
    encoding = tiny_wordpiece().encode("Cats")
    assert b"".join(encoding.token_bytes) == b"cats"
    assert encoding.spans[-1, 1] == 4
    assert any("lower case" in note for note in encoding.notes)
    spaced = tiny_wordpiece().encode("the cats")
    assert spaced.uncovered.tolist() == [[3, 4]]
    assert any("1 of 8 bytes" in note and "white space" in note for note in spaced.notes)


def test_nfc_is_said_and_spans_refer_to_the_text_as_given() -> None:
    encoding = tiny_byte_level(nfc=True).encode("cafe\u0301 201")
    assert "é".encode() in b"".join(encoding.token_bytes)
    assert len(encoding.uncovered) == 0  # the accent belongs to the tokens of the letter that it was composed into
    data = encoding.text.encode()
    for (start, end), piece in zip(encoding.spans.tolist(), encoding.token_bytes):
        written = data[start:end].decode()
        assert piece in unicodedata.normalize("NFC", written).encode()
    assert any("NFC" in note for note in encoding.notes)
    composed = tiny_byte_level(nfc=True).encode("caf\u00e9 201")
    assert composed.notes == ()


def test_trimmed_spaces_are_taken_back() -> None:
    # some tokenizers report " cats" as the range of "cats"; here an NFC change forbids the short way
    spans = byte_spans("e\u0301 cats", [[0, 2], [3, 7]], ["é".encode(), b" cats"])
    assert spans.tolist() == [[0, 3], [3, 8]]


def test_empty_text() -> None:
    for tokenizer in (tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()):
        encoding = tokenizer.encode("")
        assert len(encoding) == 0
        assert encoding.spans.shape == encoding.char_spans.shape == (0, 2)
        assert len(encoding.uncovered) == 0


def test_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(TokenizerError, match="character 2 is the lone surrogate U\\+D83D"):
        tiny_byte_level().encode("ab\ud83d")
    with pytest.raises(TokenizerError, match="a text isn't valid Unicode: character 2 is the lone surrogate"):
        tiny_byte_level().encode_batch(["ok", "ab\ud83d"])
    with pytest.raises(TokenizerError, match="a piece"):
        tiny_byte_level().encode_pieces(["ab\ud83d"])


def test_script_stays_text() -> None:
    encoding = tiny_byte_level().encode("<script>alert(1)</script>")
    assert "".join(encoding.tokens) == "<script>alert(1)</script>"


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["id"])
def test_golden_byte_offsets(case: dict) -> None:
    recorded = case["outputs"]["trl_gold_byte_offsets"]
    data = case["text"].encode()
    for side in ("student", "teacher"):
        token_bytes = token_bytes_from_strings(case[f"{side}_tokens"], KINDS[case[side]])
        spans = byte_spans(case["text"], case[f"{side}_char_spans"], token_bytes)
        if "error" not in recorded:
            # The recorded program leaves marks out that were composed into a token; here the token covers them.
            offsets = np.array(recorded[f"{side}_byte_offsets"], dtype=np.int64).reshape(-1, 2)
            assert spans.tolist() == widened(case["text"], offsets).tolist()
        if b"".join(token_bytes) == data:
            assert [data[a:b] for a, b in spans.tolist()] == token_bytes


@given(st.text(max_size=40))
def test_char_to_byte_counts_bytes(text: str) -> None:
    assert char_to_byte(text).tolist() == [len(text[:i].encode()) for i in range(len(text) + 1)]


def test_byte_alphabet_is_that_of_the_library() -> None:
    assert sorted(byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    for byte in range(256):
        assert token_bytes_from_strings([byte_alphabet()[byte]], "byte-level") == [bytes([byte])]


def test_token_bytes_of_strings() -> None:
    assert token_bytes_from_strings(["Ġthe", "<｜x｜>"], "byte-level") == [b" the", "<｜x｜>".encode()]
    assert token_bytes_from_strings(["▁the", "<0xE2>", "<0x>"], "sentencepiece") == [b" the", b"\xe2", b"<0x>"]
    assert token_bytes_from_strings(["##ing", "##", "ing"], "wordpiece") == [b"ing", b"##", b"ing"]
    with pytest.raises(TokenizerError, match="did you mean 'byte-level'"):
        token_bytes_from_strings([], "byte-levl")


def test_span_and_token_counts_must_agree() -> None:
    with pytest.raises(TokenizerError, match="1 character spans for 2 tokens"):
        byte_spans("ab", [[0, 1]], [b"a", b"b"])


@given(st.binary(max_size=12))
@example(b"\xf0\x9f")
@example(b" \xe6\x97\xa5\xf0 the")
def test_pieces_keep_every_byte(piece: bytes) -> None:
    for tokenizer in (tiny_byte_level(), tiny_metaspace()):
        if tokenizer.kind == "sentencepiece" and "\u2581".encode() in piece:
            continue
        ids = tokenizer.encode_pieces([piece])[0]
        assert b"".join(tokenizer.token_bytes(i) for i in ids) == piece


def test_pieces_have_no_dummy_prefix() -> None:
    tokenizer = tiny_metaspace()
    spelled = [[tokenizer.token(i) for i in ids] for ids in tokenizer.encode_pieces(["cats", " cats", "201"])]
    assert spelled[1] == ["▁cats"]
    assert not spelled[0][0].startswith("▁")
    assert spelled[2] == ["2", "0", "1"]
    assert tokenizer.encode("cats").tokens == [" cats"]  # the tokenizer itself is as before


def changed(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    """The same vocabulary with other parts: normalizer, pre_tokenizer, added (tokens)."""
    backend = Backend.from_str(tokenizer.backend.to_str())
    backend.add_tokens(parts.pop("added", []))
    for name, part in parts.items():
        setattr(backend, name, part)
    return Tokenizer.from_backend(backend, "changed")


def strings(tokenizer: Tokenizer, encoding: Encoding) -> list[str]:
    return [tokenizer.token(i) for i in encoding.ids.tolist()]


@pytest.mark.parametrize("text", ["the cats", "the  cats\n and\tthe dogs ", "the \u2581cats \u2581 \u2581"])
def test_a_cut_into_words_with_a_mark_each_keeps_its_marks_in_the_middle(text: str) -> None:
    """T5, ALBERT, XLM-R: blanks are dropped and each word gets a mark."""
    cut = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer = changed(tiny_metaspace(), pre_tokenizer=cut)
    whole = strings(tokenizer, tokenizer.encode(text))
    assert strings(tokenizer, tokenizer.encode_continuation(" " + text)) == whole
    assert strings(tokenizer, tokenizer.encode_continuation(text, behind=False)) == whole
    inside = tokenizer.encode_continuation(text)
    assert not tokenizer.token(int(inside.ids[0])).startswith("▁")
    assert b"".join(inside.token_bytes).split() == text.replace("▁", " ").encode().split()
    assert [tokenizer.token(i) for i in tokenizer.encode_pieces([" cats"])[0]] == ["▁cats"]


def test_a_blank_before_an_added_token_is_dropped_as_between_words() -> None:
    cut = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    added = [AddedToken("<tool>", normalized=True), AddedToken("<call>", normalized=False)]
    tokenizer = changed(tiny_metaspace(), pre_tokenizer=cut, added=added)
    for text in ("x <tool> y", "x  <call> <tool>", "x<tool>y <call>"):
        whole = strings(tokenizer, tokenizer.encode(text))
        assert strings(tokenizer, tokenizer.encode_continuation(" " + text)) == whole
        assert whole[2:] == strings(tokenizer, tokenizer.encode_continuation(text[1:])), "behind an x"


@pytest.mark.parametrize("text", [" \u00a0<tool>", " \r\n<tool> y", " x \n <tool>y"])
def test_an_added_token_that_takes_blanks_before_it_is_not_lost(text: str) -> None:
    cut = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    added = [AddedToken("<tool>", lstrip=True, normalized=True)]
    tokenizer = changed(tiny_metaspace(), pre_tokenizer=cut, added=added)
    assert strings(tokenizer, tokenizer.encode_continuation(text)) == strings(tokenizer, tokenizer.encode(text))


def test_a_run_of_blanks_is_cut_into_words_in_one_pass() -> None:
    """In a process of its own: the library can't be interrupted, and would need hours for a quadratic search."""
    code = (
        "from tokenizers import pre_tokenizers as p\n"
        "from tests.tokenizers.test_encoding import changed, tiny_metaspace\n"
        "cut = p.Sequence([p.WhitespaceSplit(), p.Metaspace()])\n"
        "tokenizer = changed(tiny_metaspace(), pre_tokenizer=cut)\n"
        "long, short = tokenizer.encode_pieces(['a' + 1_000_000 * ' ' + 'b', 'a b'])\n"
        "assert long == short\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_added_tokens_that_are_looked_for_with_the_mark_before_the_text() -> None:
    """Llama 2's normaliser puts a mark before normalised added tokens, too: only behind a blank they are found."""
    marked = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts: dict[str, Any] = {"normalizer": marked, "pre_tokenizer": None}
    tokenizer = changed(tiny_metaspace(), added=[AddedToken("<tool>", normalized=True)], **parts)
    for text, count in (("x <tool>y", 1), ("x<tool>y", 0), ("x<tool> <tool>", 1), ("cats <tool> y<tool>", 1)):
        there = strings(tokenizer, tokenizer.encode(text))
        here = strings(tokenizer, tokenizer.encode_continuation(text))
        assert there.count("<tool>") == here.count("<tool>") == count
        assert here[-3:] == there[-3:]
        assert strings(tokenizer, tokenizer.encode_continuation(" " + text)) == there
    assert "<tool>" not in strings(tokenizer, tokenizer.encode_continuation("<tool>y"))
    twice = strings(tokenizer, tokenizer.encode_continuation("<tool> <tool>"))
    assert twice.count("<tool>") == 1 and twice[-1] == "<tool>"


@pytest.mark.parametrize("kind", ["Unigram", "WordLevel"])
def test_special_tokens_that_a_model_finds_in_a_text_are_text(kind: str) -> None:
    """Models that look for whole pieces find "</s>" where it is one of theirs, declared special or not."""
    names = ["<unk>", "</s>", "▁", *"</s>ab"]
    if kind == "Unigram":
        model: Any = models.Unigram([(name, -k / 9) for k, name in enumerate(names)], unk_id=0)
    else:
        model = models.WordLevel({name: k for k, name in enumerate(dict.fromkeys(names))}, unk_token="<unk>")
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace() if kind == "Unigram" else pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["</s>"])
    tokenizer = Tokenizer.from_backend(backend, kind)
    assert tokenizer.id_of("</s>") in tokenizer.special_ids
    for text in ("</s>", "a </s> b", "a</s>", "</s> </s>"):
        found = [tokenizer.encode_continuation(text, behind=behind).ids.tolist() for behind in (True, False)]
        for ids in [*found, *tokenizer.encode_pieces([text])]:
            assert ids and tokenizer.special_ids.isdisjoint(ids)
        assert tokenizer.special_ids & set(tokenizer.encode(text).ids.tolist()), "the tokenizer itself is as before"
    spelled = strings(tokenizer, tokenizer.encode_continuation("a</s>b"))
    assert spelled == (["a", "<", "/", "s", ">", "b"] if kind == "Unigram" else ["<unk>"])


@pytest.mark.parametrize("prefix", ["", "##"])
def test_merges_that_spell_a_special_token_dont_make_it_of_a_text(prefix: str) -> None:
    """A BPE trained on HTML has them for "<s>"."""
    names = ["<unk>", "<s>", "<", f"{prefix}s", f"{prefix}>", "<s", "a", f"{prefix}a", "<s>a"]
    merges = [("<", f"{prefix}s"), ("<s", f"{prefix}>"), ("<s>", f"{prefix}a")]
    vocabulary = {name: k for k, name in enumerate(names)}
    parts = {"continuing_subword_prefix": prefix} if prefix else {}
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", **parts))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<s>"])
    tokenizer = Tokenizer.from_backend(backend, "html")
    assert strings(tokenizer, tokenizer.encode_continuation("a <s> a")) == ["a", "<s", f"{prefix}>", "a"]
    assert tokenizer.encode_pieces(["<s>"]) == [[5, 4]]


def test_renamed_added_tokens_keep_their_ids_on_both_sides_of_a_blank() -> None:
    marked = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    added = [AddedToken("the", normalized=True), AddedToken("<tool>", normalized=True)]
    tokenizer = changed(tiny_metaspace(), added=added, normalizer=marked, pre_tokenizer=None)
    text = "x the <tool> the"
    assert strings(tokenizer, tokenizer.encode_continuation(" " + text)) == strings(tokenizer, tokenizer.encode(text))


def test_a_piece_that_is_spelt_as_an_added_token_with_its_mark_loses_no_text() -> None:
    marked = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    added = [AddedToken("cats", normalized=True, single_word=True)]
    tokenizer = changed(tiny_metaspace(), added=added, normalizer=marked, pre_tokenizer=None)
    assert tokenizer.id_of("▁cats") is not None
    for text in ("x catsa", "x catsa cats catsa", "x cats catsa"):
        there = strings(tokenizer, tokenizer.encode(text))
        assert "▁cats" in there
        assert strings(tokenizer, tokenizer.encode_continuation(" " + text)) == there
        pieces = tokenizer.encode_pieces([text, f" cats {text}".encode() + b"\xff"])
        assert [tokenizer.token(i) for i in pieces[0]] == there[1:]
        assert [tokenizer.token(i) for i in pieces[1]] == ["cats", "▁", *there[1:], "<0xFF>"]


@pytest.mark.parametrize("strip", [normalizers.Strip(), normalizers.Strip(right=False)])
def test_a_blank_at_the_beginning_stays_in_the_middle_of_a_text(strip: Any) -> None:
    """DeBERTa's normaliser takes blanks away at both ends of a text; a completion begins in the middle of one."""
    tokenizer = changed(tiny_metaspace(), normalizer=normalizers.Sequence([strip]))
    assert strings(tokenizer, tokenizer.encode_continuation(" cats")) == ["▁cats"]
    assert [tokenizer.token(i) for i in tokenizer.encode_pieces([" cats"])[0]] == ["▁cats"]
    for text in ("  cats", "cats"):
        whole = strings(tokenizer, tokenizer.encode(text))
        assert whole == strings(tokenizer, tokenizer.encode_continuation(text, behind=False))


def test_a_mark_that_the_vocabulary_lacks_is_spelled_by_its_bytes() -> None:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {'"': 256}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    backend.normalizer = normalizers.Replace("``", '"')
    encoding = Tokenizer.from_backend(backend, "bytes").encode("▁``")
    assert not len(encoding.uncovered)
    assert encoding.spans[-1].tolist() == [3, 5]


def test_look_ups() -> None:
    tokenizer = tiny_byte_level()
    index = tokenizer.id_of("Ġthe")
    assert index is not None
    assert tokenizer.token(index) == "Ġthe"
    assert tokenizer.token_bytes(index) == b" the"
    assert tokenizer.all_token_bytes()[index] == b" the"
    assert len(tokenizer.all_token_bytes()) == tokenizer.n_ids == tokenizer.vocab_size
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id) == (0, 1, 2, None)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.decode([0, index, 1]) == " the"
    for bad in (-1, tokenizer.n_ids):
        with pytest.raises(TokenizerError, match=f"token id {bad} isn't in"):
            tokenizer.token(bad)


def test_kinds() -> None:
    assert tiny_byte_level().kind == "byte-level"
    assert tiny_metaspace().kind == "sentencepiece"
    assert tiny_wordpiece().kind == "wordpiece"
    assert tiny_wordpiece().unk_id == 1


def test_fingerprint_tells_tokenizers_apart_and_survives_pickling() -> None:
    tokenizer = tiny_byte_level()
    copy: Tokenizer = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint == tokenizer.fingerprint != tiny_byte_level(digits=1).fingerprint
    assert copy.encode(EMOJI).spans.tolist() == tokenizer.encode(EMOJI).spans.tolist()


def test_chat_template_is_rendered_in_a_sandbox() -> None:
    backend = tiny_byte_level().backend
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    tokenizer = Tokenizer.from_backend(backend, "chat", config={"chat_template": template})
    assert tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "user: hi<eos>"
    assert tiny_byte_level().render_chat([]) is None
    evil = Tokenizer.from_backend(backend, "evil", config={"chat_template": "{{ ''.__class__.__mro__ }}"})
    with pytest.raises(TokenizerError, match="chat template can't be applied"):
        evil.render_chat([])


@pytest.mark.parametrize(
    ("tokenizer", "sample"),
    [(tiny_byte_level(nfc=True), "e\u0301x 201 "), (tiny_metaspace(), "the cats 👩‍🚀 日本語\n")],
    ids=["nfc", "metaspace"],
)
def test_a_megabyte_of_text(tokenizer: Tokenizer, sample: str) -> None:
    def text(size: int) -> str:
        return sample * (size // len(sample.encode()))

    tokenizer.encode("warm")
    assert tokenizer.encode(text(1_000_000)).spans[-1, 1] >= len(text(1_000_000).encode()) - 2
    small, large = (lines_run(lambda n=n: tokenizer.encode(text(n))) for n in (10_000, 40_000))
    assert large < 4.2 * small  # far from quadratic


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared reference tokenizers")
@pytest.mark.parametrize("name", ["llama3", "qwen3", "gpt4o", "gemma3", "llama2", "deepseek_v3", "smollm2"])
def test_published_tokenizers_spell_texts_exactly(name: str) -> None:
    tokenizer = load_tokenizer(SHARED / name)
    for text in [EMOJI, "  two  spaces\n\n\tx = [1, 2]\r\n", "日本語 नमस्ते 🦙", "1100 201 3.14159", " "]:
        encoding = tokenizer.encode(text, special_tokens=True)
        assert_tiles(encoding)
        spelled = b"".join(b for b, s in zip(encoding.token_bytes, encoding.special) if not s)
        given = unicodedata.normalize("NFC", text) if name == "qwen3" else text
        assert spelled in (given.encode(), b" " + given.encode())
    pieces = [b for b in tokenizer.all_token_bytes()[1000:4000] if b and b"\xe2\x96\x81" not in b]
    for piece, ids in zip(pieces, tokenizer.encode_pieces(pieces)):
        assert b"".join(tokenizer.token_bytes(i) for i in ids) == piece


@pytest.mark.parametrize("make", [tiny_byte_level, tiny_metaspace, tiny_wordpiece])
def test_encoding_among_threads_gives_the_same(make):
    tokenizer = make()
    for text in ("", EMOJI, f"  {EMOJI}\n" * 20):
        wanted, found = tokenizer.encode(text), tokenizer.encode_among_threads(text)
        for name in ("ids", "spans", "char_spans", "special"):
            assert getattr(found, name).tolist() == getattr(wanted, name).tolist()
        assert (found.token_bytes, found.tokens, found.notes) == (wanted.token_bytes, wanted.tokens, wanted.notes)
    with pytest.raises(TokenizerError):
        tokenizer.encode_among_threads("\ud800")
