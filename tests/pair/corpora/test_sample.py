"""Documents from all over a corpus: how many, which, how much of each, and what is said of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ctkd_core.background.progress import Cancelled
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import sample, sources
from ctkd_core.pair.corpora.counting import Skipped
from ctkd_core.pair.corpora.sample import draw
from ctkd_core.pair.corpora.sources import Corpus, read_texts


def lines(path: Path, count: int, word: str = "text") -> Corpus:
    path.write_text("\n".join(json.dumps({"text": f"{word} {n}"}) for n in range(count)) + "\n")
    return read_texts(path)


def test_a_small_corpus_is_taken_as_it_is(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "a.jsonl", 20)
    found = draw([corpus])
    assert list(found.texts) == list(corpus) and found.is_all
    assert found.to_dict() == {"documents": 20, "bytes": 130, "of_bytes": corpus.size, "all": True}
    assert found.sentence == "Measured on all 20 documents of the corpus (130 bytes)."


def test_a_large_one_gives_no_more_than_was_asked_for_from_all_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 500)
    monkeypatch.setattr(sources, "MOST_PIECE", 500)
    corpus = lines(tmp_path / "a.jsonl", 2000)
    assert len(corpus.pieces()) > sample.PLACES
    found = draw([corpus], 100)
    assert len(found.texts) == len(set(found.texts)) == 100 and not found.is_all
    numbers = [int(str(text).split()[1]) for text in found.texts]
    assert numbers == sorted(numbers) and numbers[0] < 100 and numbers[-1] > 1800
    assert draw([corpus], 100) == found, "the same each time"
    assert draw([corpus], 100, seed=1) != found
    assert "a sample: 100 documents (" in found.sentence and "kB of files" in found.sentence


def test_of_one_piece_any_document_may_be_drawn(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "a.jsonl", 200)
    seen = {text for seed in range(40) for text in draw([corpus], 20, seed).texts}
    assert len(seen) > 190, "not those at the beginning alone"


def test_no_more_is_read_than_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "READ", 50)
    found = draw([lines(tmp_path / "a.jsonl", 200)], 100)
    assert len(found.texts) < 10 and not found.is_all


def test_corpora_share_the_documents(tmp_path: Path) -> None:
    large, small = lines(tmp_path / "large.jsonl", 200, "large"), lines(tmp_path / "small.jsonl", 5, "small")
    for corpora in ([small, large], [large, small]):
        words = [str(text).split()[0] for text in draw(corpora, 20).texts]
        assert words.count("small") == 5 and len(words) in (15, 20)


def test_files_of_a_megabyte_are_measured_whole_where_no_number_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.txt").write_text("word " * 10_000)
    corpora = [lines(tmp_path / "a.jsonl", 3000), read_texts(tmp_path / "long.txt")]
    found = draw(corpora)
    assert list(found.texts) == [text for corpus in corpora for text in corpus] and found.is_all
    monkeypatch.setattr(sample, "WHOLE", found.total - 1)
    assert len(draw(corpora).texts) == 251 and not draw(corpora).is_all  # 250 of the lines, and the long one


def test_a_packed_file_counts_as_what_it_unpacks_to(tmp_path: Path) -> None:
    content = "".join(json.dumps({"text": "text " * 30 + str(n)}) + "\n" for n in range(8000)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    found = draw([read_texts(tmp_path / "a.jsonl.gz")])
    assert found.total < sample.WHOLE < len(content)
    assert len(found.texts) == sample.DOCUMENTS and not found.is_all
    half = content[:700_000]
    for name in "ab":
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(half))
    both = [read_texts(tmp_path / f"{name}.txt.gz") for name in "ab"]
    assert [corpus.unpacked(sample.WHOLE) < sample.WHOLE for corpus in both] == [True, True]
    assert draw(both[:1]).is_all and not draw(both).is_all, "together they have more"


def test_long_documents_are_cut_at_white_space(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 1000 + "\n\n" + "x" * 5000 + "\n\nshort")
    found = draw([read_texts(tmp_path / "a.txt")], sample.DOCUMENTS)
    first, second, third = map(str, found.texts)
    assert first == ("word " * 400).strip() and second == "x" * sample.CHARACTERS and third == "short"
    assert not found.is_all


def test_what_is_no_text_counts_as_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"no": 1}\n')
    assert isinstance(draw([read_texts(tmp_path / "a.jsonl")]).texts[1], Skipped)


@pytest.mark.parametrize("documents", [0, -1, True, 1.5, 10_000_000])
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, documents: int) -> None:
    with pytest.raises(CtkdError, match="a sample has 1 to 1,000,000 documents"):
        draw([lines(tmp_path / "a.jsonl", 1)], documents)


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\nno json\n')
    with pytest.raises(CtkdError, match="line 2 isn't JSON"):
        draw([read_texts(tmp_path / "a.jsonl")])


def test_progress_is_told_on_the_way_and_may_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 500)
    monkeypatch.setattr(sources, "MOST_PIECE", 500)
    monkeypatch.setattr(sample, "EVERY", 10)
    corpora = [lines(tmp_path / "a.jsonl", 300), lines(tmp_path / "b.jsonl", 300)]
    told: list[tuple[float, str]] = []
    found = draw(corpora, 100, progress=lambda *news: told.append(news))
    assert found == draw(corpora, 100)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0.0 and 0.5 in shares and 0.9 < shares[-1] < 1.0
    assert len(told) > len(set(shares)), "within a piece too"
    assert "(place 1 of" in told[0][1]

    def stop(*_: object) -> None:
        raise Cancelled

    for wanted in (100, None):
        with pytest.raises(Cancelled):
            draw(corpora, wanted, progress=stop)
