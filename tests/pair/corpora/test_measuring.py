"""Pieces counted once each: stopped and resumed, done twice, by several processes; the sums are always the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.files import kept
from ctkd_core.pair.corpora import measuring, sources
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.counts import Counts, metrics
from ctkd_core.pair.corpora.engines import here
from ctkd_core.pair.corpora.measuring import CountingTask, Engine, count_corpora
from ctkd_core.pair.corpora.records import records_of
from ctkd_core.pair.corpora.sources import read_texts
from ctkd_core.pair.corpus import measure_domains
from tests.patience import PATIENCE
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

PAIR = tiny_byte_level(), tiny_metaspace()
COUNTING = Counting(*PAIR)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text file of about ten pieces."""
    monkeypatch.setattr(sources, "WINDOW", 100)
    monkeypatch.setattr(sources, "LEAST_PIECE", 300)
    monkeypatch.setattr(sources, "MOST_PIECE", 300)
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"{n} {text}" for n, text in enumerate(CORPUS)))
    assert len(read_texts(path).pieces()) >= 7
    return path


def recording(begun: list[int], stop_at: int = -1) -> Engine:
    """The engine of this process, which notes what it counts and can be interrupted."""

    def engine(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
        for number, counts in here(counting, works):
            if len(begun) == stop_at:
                raise KeyboardInterrupt
            begun.append(number)
            yield number, counts

    return engine


def test_what_was_stopped_goes_on_and_counts_nothing_twice(corpus: Path, tmp_path: Path) -> None:
    whole = metrics(count_corpora(COUNTING, {"a": read_texts(corpus)}, here)["a"])
    records = records_of(COUNTING, tmp_path / "kept")
    pieces = len(read_texts(corpus).pieces())
    first: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        count_corpora(COUNTING, {"a": read_texts(corpus)}, recording(first, stop_at=3), records)
    second: list[int] = []
    shares: list[float] = []
    found = count_corpora(
        COUNTING, {"a": read_texts(corpus)}, recording(second), records, lambda share, _: shares.append(share)
    )
    assert (len(first), len(second)) == (3, pieces - 3)
    assert metrics(found["a"]) == whole
    assert shares[0] == pytest.approx(3 / pieces, rel=0.2) and shares == sorted(shares) and shares[-1] == 1.0
    third: list[int] = []
    assert metrics(count_corpora(COUNTING, {"b": read_texts(corpus)}, recording(third), records)["b"]) == whole
    assert third == [], "all of it was counted before"


def test_a_damaged_record_and_another_question_are_counted_anew(corpus: Path, tmp_path: Path) -> None:
    records = records_of(COUNTING, tmp_path)
    count_corpora(COUNTING, {"a": read_texts(corpus)}, here, records)
    some = next(records.folder.rglob("*.counts"))
    some.write_bytes(some.read_bytes()[:-5])
    again: list[int] = []
    count_corpora(COUNTING, {"a": read_texts(corpus)}, recording(again), records)
    assert len(again) == 1
    assert records_of(Counting(COUNTING.teacher, COUNTING.student), tmp_path).folder != records.folder
    assert records_of(Counting(COUNTING.student, COUNTING.teacher, by=("language",)), tmp_path) != records
    corpus.write_text(corpus.read_text() + "\n\nmore")
    changed: list[int] = []
    count_corpora(COUNTING, {"a": read_texts(corpus)}, recording(changed), records)
    assert len(changed) == len(read_texts(corpus).pieces()), "another file"


def test_a_piece_that_comes_twice_is_added_once(corpus: Path) -> None:
    def twice(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
        for number, counts in sorted(here(counting, works), reverse=True, key=lambda done: done[0]):
            yield number, counts
            yield number, counts

    plain = count_corpora(COUNTING, {"a": read_texts(corpus)}, here)["a"]
    assert metrics(count_corpora(COUNTING, {"a": read_texts(corpus)}, twice)["a"]) == metrics(plain)


def test_a_full_disk_is_a_sentence(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctkd_core.files.write_atomic", full)
    with pytest.raises(CtkdError, match=r"can't be kept.*No space left.*the same command goes on"):
        count_corpora(COUNTING, {"a": read_texts(corpus)}, here, records_of(COUNTING, tmp_path))


def test_old_measurements_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.records.KEPT", 2)
    kept = [records_of(Counting(COUNTING.student, COUNTING.teacher, by=(str(n),)), tmp_path).folder for n in range(4)]
    assert [folder.exists() for folder in kept] == [False, False, True, True]


def test_processes_find_what_one_finds(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "BATCH_TEXTS", 2)
    texts = ["", "\ud83e", *CORPUS[:5]]
    given = {"a": read_texts(corpus), "b": texts, "c": iter(CORPUS[:3])}
    pair = COUNTING.student, COUNTING.teacher
    alone = measure_domains(*pair, given | {"c": CORPUS[:3]})
    assert measure_domains(*pair, given, workers=2, records=tmp_path) == alone
    assert alone["b"]["skipped"] == {"empty": 1, "not valid Unicode (half of a character)": 1}


def test_an_interruption_while_sums_are_added_still_keeps_what_is_under_way(corpus: Path, tmp_path: Path) -> None:
    def ahead(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
        under_way = list(here(counting, (next(works) for _ in range(3))))
        try:
            while under_way:
                yield under_way.pop(0)
        except KeyboardInterrupt:
            yield from under_way
            raise

    def interrupted(share: float, _: str) -> None:
        if share:  # what there is to do was told before
            raise KeyboardInterrupt

    records = records_of(COUNTING, tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        count_corpora(COUNTING, {"a": read_texts(corpus)}, ahead, records, interrupted)
    assert len(list(records.folder.rglob("*.counts"))) == 3


def test_an_interruption_while_a_record_is_written_keeps_it(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctkd_core import files

    write = files.write_atomic
    tries: list[Path] = []

    def once(path: Path, data: bytes) -> None:
        tries.append(path)
        if len(tries) == 1:
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(files, "write_atomic", once)
    records = records_of(COUNTING, tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        count_corpora(COUNTING, {"a": read_texts(corpus)}, here, records)
    assert len(tries) == 2 and tries[1].exists()


def test_a_measurement_that_is_written_to_makes_no_room(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.records.KEPT", 2)
    piece = read_texts(corpus).pieces()[0]
    first, second = (records_of(Counting(*PAIR, by=(name,)), tmp_path / "kept") for name in "ab")
    first.write(piece, Counts())
    os.utime(first.folder, (1, 1))
    os.utime(second.folder, (2, 2))
    first.write(piece, Counts())  # in a folder that is there: no entry of the measurement's own changes
    records_of(Counting(*PAIR, by=("c",)), tmp_path / "kept")
    assert first.folder.exists() and not second.folder.exists()


@pytest.mark.parametrize("name", ["script", "student_class", "teacher_class"])
def test_a_field_called_as_a_slice_of_all_texts_is_refused(name: str) -> None:
    with pytest.raises(CtkdError, match=f"by the field '{name}'.*Rename the field"):
        measure_domains(*PAIR, {"a": CORPUS[:1]}, by=["language", name])


def test_a_measurement_asked_for_while_another_makes_room_stays(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.records.KEPT", 2)
    root, piece = tmp_path / "kept", read_texts(corpus).pieces()[0]
    first, second = (records_of(Counting(*PAIR, by=(name,)), root) for name in "ab")
    os.utime(first.folder, (1, 1))
    os.utime(second.folder, (2, 2))
    other = threading.Thread(target=lambda: records_of(Counting(*PAIR, by=("a",)), root).write(piece, Counts()))
    plain = kept.take_out

    def slowly(*given: object) -> list[Path]:
        def chosen(folder: Path) -> bool:
            assert folder == first.folder
            other.start()
            other.join(0.5)  # as far as it comes
            return True

        monkeypatch.setattr(kept, "take_out", plain)
        return plain(*given, chosen)  # type: ignore[arg-type]

    monkeypatch.setattr(kept, "take_out", slowly)
    third = records_of(Counting(*PAIR, by=("c",)), root)
    other.join(PATIENCE)
    assert first.read(piece) is not None and third.folder.exists() and not second.folder.exists()
