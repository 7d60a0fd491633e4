"""Measuring corpora: sums against single texts, processes, files of every wrong form."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctkd_core as ctkd
from ctkd_core.alignment.metrics import alignment_counts, rates
from ctkd_core.errors import AlignmentError, CtkdError
from ctkd_core.pair import corpus, corpus_files
from ctkd_core.pair.corpus import DOMAINS, Skipped, count_words, measure, measure_domains, read_texts
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
    monkeypatch.setattr(corpus, "MAX_TEXT", 40)
    cut = measure(*PAIR, [text])
    assert (cut["texts"], cut["bytes"], cut["characters"]) == (1, whole["bytes"], whole["characters"])
    assert cut["words"] == whole["words"], "cut at white space"
    monkeypatch.setattr(corpus, "MAX_TEXT", 7)
    assert measure(*PAIR, ["x" * 50])["bytes"] == 50, "nowhere to cut is cut anyway"


def test_texts_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BATCH_TEXTS", 2)
    measured: list[int] = []
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for read in range(1, 21):
            yield f"text {read}"

    measure(*PAIR, texts(), progress=lambda share, sentence: measured.append(read))
    assert measured[:3] == [2, 4, 6], "the first are measured before the last are read"


def test_progress_rises_to_one_and_may_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BATCH_TEXTS", 1)
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
    with pytest.raises(AlignmentError, match="'sft' has no alignment to measure; choose one of"):
        measure(*PAIR, TEXTS, method="sft")


def test_a_string_is_no_list_of_texts() -> None:
    with pytest.raises(CtkdError, match="domain 'a' is one string"):
        measure_domains(*PAIR, {"a": "text"})


# processes


def test_two_workers_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BATCH_TEXTS", 2)
    texts = {"a": [*TEXTS, "", "\ud83e"], "b": (text for text in TEXTS[:3])}
    again = {"a": texts["a"], "b": TEXTS[:3]}
    assert measure_domains(*PAIR, texts, workers=2) == measure_domains(*PAIR, again, workers=1)


def test_a_killed_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BATCH_TEXTS", 1)
    before = set(multiprocessing.active_children())

    def texts() -> Iterator[str]:
        for number in range(1000):
            yield TEXTS[number % len(TEXTS)]
            for child in set(multiprocessing.active_children()) - before if number == 4 else ():
                child.kill()

    with pytest.raises(CtkdError, match=r"a worker process ended before it was done .* try fewer workers"):
        measure(*PAIR, texts(), workers=2)
    assert set(multiprocessing.active_children()) <= before, "nothing is left running"


# files


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\ufeffone\ntwo\r\n\r\n\n  \nthree\n\n")
    assert list(read_texts(path)) == ["one\ntwo", "three"]


def test_records(tmp_path: Path) -> None:
    records = [
        {"text": "a"},
        {"prompt": "2+2", "completion": "4"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
        {"text": 5},
        [1],
        {"messages": [{"role": "user"}]},
    ]
    path = write(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, records)))
    assert list(read_texts(path)) == [
        "a",
        "2+2\n4",
        "hi\nho",
        Skipped("no text, prompt/completion or messages in the record"),
        Skipped("not a record with text, prompt/completion or messages"),
        Skipped("messages without content"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "", "corpus 'a.txt' is empty; there is nothing to measure"),
        ("a.txt", "\n \n", "corpus 'a.txt' holds no text to measure (only blank lines)"),
        ("a.txt", b"ab\0\1\2", "corpus 'a.txt' is binary or UTF-16, not UTF-8 text"),
        ("a.txt", "half".encode("utf-16"), "corpus 'a.txt' is binary or UTF-16"),
        ("a.txt", b"fine\n\ncaf\xe9\n", "corpus 'a.txt' isn't UTF-8 text in line 3: byte 0xe9"),
        ("a.csv", "a,b", "corpus 'a.csv' ends in '.csv'; give a file that ends in .txt, .md, .jsonl, .ndjson"),
        ("a", "text", "corpus 'a' ends in 'nothing'"),
        ("a.jsonl", "plain text\n", "corpus 'a.jsonl', line 1 isn't JSON: Expecting value at column 1"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "corpus 'a.jsonl', line 2 isn't JSON"),
        ("a.jsonl", '{"a": 1}\n{"b": 2}\n[]', "holds no text to measure (no text, prompt/completion or messages in"),
        ("a.jsonl", '{"text": ""}', "corpus 'a.jsonl' holds no text to measure"),
        ("a.jsonl", "[" * 100_000, "corpus 'a.jsonl', line 1 is nested too deeply to read"),
    ],
)
def test_wrong_files_get_a_sentence(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(CtkdError) as caught:
        list(read_texts(path))
    assert sentence in str(caught.value)


def test_missing_files_and_folders_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CtkdError, match=r"no corpus file .*none.txt"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CtkdError, match="is a folder; name its files one by one"):
        read_texts(tmp_path / "folder.txt")


def test_huge_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.txt", "x" * 250 + "\n\nend")
    monkeypatch.setattr(corpus_files, "MAX_PARAGRAPH", 100)
    assert list(map(len, read_texts(path))) == [100, 100, 50, 3]  # type: ignore[arg-type]
    monkeypatch.setattr(corpus_files, "MAX_RECORD", 100)
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n' + json.dumps({"text": "x" * 200}))
    with pytest.raises(CtkdError, match=r"'a.jsonl', line 2 is longer than 100 characters; give one record a line"):
        list(read_texts(path))
