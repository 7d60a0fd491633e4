"""Measuring corpora: sums against single texts, what isn't text, progress, processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctkd_core as ctkd
from ctkd_core.alignment.metrics import alignment_counts, rates
from ctkd_core.errors import AlignmentError, CtkdError
from ctkd_core.pair.corpora import counting, measuring
from ctkd_core.pair.corpus import DOMAINS, Skipped, count_words, measure, measure_domains
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace, tiny_wordpiece

PAIR = (tiny_byte_level(), tiny_metaspace())
TEXTS = CORPUS[:7]


# what is measured


@pytest.mark.parametrize("method", ["sedi", "uld"])
@pytest.mark.parametrize("pair", [PAIR, (tiny_wordpiece(), tiny_byte_level(320, 1))], ids=lambda p: p[0].name)
def test_one_text_has_the_metrics_of_its_alignment(pair: tuple[ctkd.Tokenizer, ctkd.Tokenizer], method: str) -> None:
    text = TEXTS[2]
    alignment = ctkd.align(text, student=pair[0], teacher=pair[1], method=method)
    found = measure(*pair, [text], method=method)
    assert {name: found[name] for name in alignment.metrics()} == alignment.metrics()
    assert found["texts"] == 1
    assert found["bytes"] == len(text.encode())
    assert found["student_bytes_per_token"] == len(text.encode()) / len(alignment.student)
    assert found["student_fertility"] == len(alignment.student) / len(text.split())


def test_rates_are_taken_of_sums() -> None:
    alignments = [ctkd.align(text, student=PAIR[0], teacher=PAIR[1]) for text in TEXTS]
    found = measure(*PAIR, TEXTS)
    groups = [alignment.metrics()["n_groups"] for alignment in alignments]
    alone = [alignment.metrics()["share_1_1"] for alignment in alignments]
    assert found["n_groups"] == sum(groups)
    assert found["share_1_1"] == pytest.approx(sum(n * share for n, share in zip(groups, alone)) / sum(groups))
    assert found["share_1_1"] != pytest.approx(sum(alone) / len(alone)), "a mean of shares would be something else"
    assert found["largest_group"] == max(alignment.metrics()["largest_group"] for alignment in alignments)
    covered = sum(a.metrics()["byte_coverage"] * a.student.n_bytes for a in alignments)
    assert found["byte_coverage"] == pytest.approx(covered / sum(a.student.n_bytes for a in alignments))


@given(st.permutations(TEXTS))
def test_the_order_of_texts_does_not_matter(texts: list[str]) -> None:
    assert measure(*PAIR, texts) == measure(*PAIR, TEXTS)


def test_counts_and_rates_of_one_alignment_agree() -> None:
    alignment = ctkd.align("", student=PAIR[0], teacher=PAIR[1])
    assert rates(alignment_counts(alignment))["boundary_f1"] == 1.0
    assert rates(alignment_counts(alignment))["share_1_1"] == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("two words", 2),
        ("  don't \n stop  ", 2),
        ("東京都", 3),
        ("東京都は新宿区にある。", 10),
        ("Tokyoは東京、OK", 5),
        ("สวัสดี", 4),  # two marks stand above their letters
        ("안녕 하세요", 2),
        ("नमस्ते दुनिया", 2),
        ("👩‍🚀 🦙", 2),
        ("Ａ！Ｂ", 2),
    ],
)
def test_words(text: str, words: int) -> None:
    assert count_words(text) == words


def test_every_bundled_domain_is_measured() -> None:
    found = measure_domains(*PAIR)
    assert list(found) == list(DOMAINS)
    assert {"english", "code", "mathematics", "emoji"} < set(DOMAINS)
    assert len(DOMAINS) == 10
    for domain, texts in DOMAINS.items():
        assert all(600 <= len(text) <= 1200 for text in texts), domain
        assert found[domain]["texts"] == len(texts)
        assert found[domain]["bytes"] == sum(len(text.encode()) for text in texts)
        assert found[domain]["skipped"] == {}


# what isn't text


def test_what_cannot_be_measured_is_counted_with_its_reason() -> None:
    texts = ["fine", "", "  \n", "half \ud83e", Skipped("no text in it"), None, "fine too"]
    found = measure(*PAIR, texts)  # type: ignore[arg-type]
    assert found["texts"] == 2
    assert found["skipped"] == {
        "empty": 2,
        "not valid Unicode (half of a character)": 1,
        "no text in it": 1,
        "not a text": 1,
    }


def test_nothing_to_measure_gives_zeros() -> None:
    found = measure(*PAIR, [])
    assert (found["texts"], found["n_groups"], found["student_fertility"], found["share_1_1"]) == (0, 0, 0, 0)


def test_a_long_text_is_cut_and_stays_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(TEXTS)
    whole = measure(*PAIR, [text])
    monkeypatch.setattr(counting, "MAX_TEXT", 40)
    cut = measure(*PAIR, [text])
    assert (cut["texts"], cut["bytes"], cut["characters"]) == (1, whole["bytes"], whole["characters"])
    assert cut["words"] == whole["words"], "cut at white space"
    monkeypatch.setattr(counting, "MAX_TEXT", 7)
    assert measure(*PAIR, ["x" * 50])["bytes"] == 50, "nowhere to cut is cut anyway"


def test_texts_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "BATCH_TEXTS", 2)
    measured: list[int] = []
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for read in range(1, 21):
            yield f"text {read}"

    measure(*PAIR, texts(), progress=lambda share, sentence: measured.append(read))
    assert measured[:3] == [2, 4, 6], "the first are measured before the last are read"


def test_progress_rises_to_one_and_may_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "BATCH_TEXTS", 1)
    seen: list[tuple[float, str]] = []
    measure_domains(*PAIR, {"a": TEXTS[:2], "b": TEXTS[:2]}, progress=lambda *news: seen.append(news))
    assert [share for share, _ in seen] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [sentence for _, sentence in seen[:2]] == ["a: 1 text", "a: 2 texts"]

    def cancel(share: float, sentence: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure(*PAIR, TEXTS, progress=cancel)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, 10_000])
def test_a_wrong_number_of_workers_is_refused(workers: int) -> None:
    with pytest.raises(CtkdError, match="workers takes a whole number from 1 to 256; got"):
        measure(*PAIR, TEXTS, workers=workers)


def test_methods_without_alignment_are_refused() -> None:
    with pytest.raises(AlignmentError, match="'sft' has no alignment; choose one of"):
        measure(*PAIR, TEXTS, method="sft")


def test_a_string_is_no_list_of_texts() -> None:
    with pytest.raises(CtkdError, match="domain 'a' is one string"):
        measure_domains(*PAIR, {"a": "text"})


# processes


def test_a_killed_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "BATCH_TEXTS", 1)
    before = set(multiprocessing.active_children())

    def texts() -> Iterator[str]:
        for number in range(1000):
            yield TEXTS[number % len(TEXTS)]
            for child in set(multiprocessing.active_children()) - before if number == 4 else ():
                child.kill()

    with pytest.raises(CtkdError, match=r"a worker process ended before it was done .* try fewer workers"):
        measure(*PAIR, texts(), workers=2)
    assert set(multiprocessing.active_children()) <= before, "nothing is left running"
