"""Counting texts: the compiled sweep against `align`, text by text; scripts, classes, fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import AlignmentError
from ctkd_core.pair.corpora.characters import count_words
from ctkd_core.pair.corpora.counting import CorpusDocument, Counting, Skipped
from ctkd_core.pair.corpora.counts import ALL, AT, Counts
from ctkd_core.vocabulary.classes import CLASSES, token_classes
from ctkd_core.vocabulary.overlap import overlap
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace, tiny_wordpiece

A, B, C = tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()
PAIRS = {"plain": (A, B), "reverse": (B, A), "rewritten": (C, A)}
SIGNS = ["a", "b ", "12", "\n", ".", "é", "東", "ก", "ั", "🦙", "\u3000", "ﬁ", "<bos>", "<s>", "<unk>", "the ", " of"]
TEXT = st.lists(st.one_of(st.sampled_from(SIGNS), st.characters(codec="utf-8")), max_size=30).map("".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=6)


def counted(texts: list[str], pair: str, together: bool = True) -> Counts:
    counting = Counting(*PAIRS[pair])
    documents = [CorpusDocument(text) for text in texts]
    if together:
        return counting.count(documents)
    with pytest.MonkeyPatch.context() as patch:  # no batch at all: every text goes through `align`
        patch.setattr("ctkd_core.pair.corpora.counting.EXACT", "")
        return counting.count(documents)


@pytest.mark.parametrize("pair", PAIRS)
@given(texts=TEXTS)
def test_the_sweep_counts_what_align_counts(pair: str, texts: list[str]) -> None:
    fast, slow = counted(texts, pair), counted(texts, pair, together=False)
    assert fast.skipped == slow.skipped
    assert fast.total() == slow.total()
    assert {part: fast.total(part) for part in fast.slices} == {part: slow.total(part) for part in slow.slices}
    assert fast.total()["words"] == sum(count_words(text) for text in texts if text.strip())
    assert fast.total()["characters"] == sum(len(text) for text in texts if text.strip())


@pytest.mark.parametrize("pair", PAIRS)
def test_classes_and_shared_tokens_are_those_of_the_tokens(pair: str) -> None:
    student, teacher = PAIRS[pair]
    counts = counted(CORPUS[:7], pair)
    for side, tokenizer, matched in (
        ("student", student, overlap(student, teacher).student_matched["bytes"]),
        ("teacher", teacher, overlap(student, teacher).teacher_matched["bytes"]),
    ):
        ids = [i for text in CORPUS[:7] for i in tokenizer.encode(text).ids.tolist()]
        codes = token_classes(tokenizer)
        for code, name in enumerate(CLASSES):
            expected = sum(codes[i] == code for i in ids)
            assert counts.total((f"{side}_class", name))[f"{side}_tokens"] == expected
        assert counts.total()[f"{side}_whole"] == sum(bool(matched[i]) for i in ids)


def test_scripts_by_the_first_letter_of_a_group() -> None:
    counts = counted(["ab 12 東京 ...", "да"], "plain")
    assert {value for by, value in counts.slices if by == "script"} == {"Latin", "numbers", "Han", "signs", "Cyrillic"}
    assert counts.total(("script", "Cyrillic"))["bytes"] == len("да".encode())
    scripts = [counts.total(part) for part in list(counts.slices) if part[0] == "script"]
    for name in ("bytes", "groups", "1_1", "n_m", "equal_groups", "student_whole"):
        assert sum(total[name] for total in scripts) == counts.total()[name]


def test_fields_tell_texts_apart() -> None:
    documents = [CorpusDocument(text, (("de", "en")[n % 2],)) for n, text in enumerate(CORPUS[:6])]
    counts = Counting(A, B, by=("language",)).count([*documents, CorpusDocument(Skipped("no text"), ("fr",))])
    assert {part for part in counts.slices if part[0] == "language"} == {("language", "de"), ("language", "en")}
    for name in ("texts", "bytes", "student_tokens", "boundaries"):
        both = counts.total(("language", "de"))[name] + counts.total(("language", "en"))[name]
        assert both == counts.total(ALL)[name]
    assert counts.skipped == {"no text": 1}


def test_the_pieces_of_a_long_text_lie_in_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.counting.MAX_TEXT", 20)
    counts = Counting(A, B).count([CorpusDocument("a word " * 20)])
    assert (counts.table()[:, AT["bytes"]] > 0).sum() == 1
    assert counts.total()["texts"] == 1


@pytest.mark.parametrize(
    ("refused", "texts", "skipped"),
    [
        ("first", 2, {}),
        ("last", 2, {}),
        ("first last", 1, {"refused by the method": 1}),
    ],
)
@pytest.mark.parametrize("batch", [1, 512])
def test_a_long_text_is_counted_or_skipped_never_both(
    refused: str, texts: int, skipped: dict[str, int], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctkd_core.alignment

    plain = ctkd_core.alignment.align

    def align(text: str, **options: object) -> object:
        if text.strip() in refused.split():
            raise AlignmentError("no")
        return plain(text, **options)

    monkeypatch.setattr(ctkd_core.alignment, "align", align)
    monkeypatch.setattr("ctkd_core.pair.corpora.counting.EXACT", "")  # all go through `align`
    monkeypatch.setattr("ctkd_core.pair.corpora.counting.MAX_TEXT", 7)
    monkeypatch.setattr("ctkd_core.pair.corpora.counting.BATCH_TEXTS", batch)
    counts = Counting(A, B).count([CorpusDocument("first last"), CorpusDocument("more")])
    assert (counts.total()["texts"], dict(counts.skipped)) == (texts, skipped)
