"""Measuring a file as a job: the figures of `measure`, progress, cancelling, faults as sentences."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ctkd_core import files
from ctkd_core.background.attempt import CANCELLED, FAILED, FINISHED, work
from ctkd_core.background.lifecycle import Job, Work
from ctkd_core.background.progress import Cancelled
from ctkd_core.background.status import JobStatus, write_status
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents, kept
from ctkd_core.pair import corpus, corpus_job, corpus_worker
from ctkd_core.pair.corpora import sources
from ctkd_core.pair.corpora.uploads import MAX_BYTES
from ctkd_core.pair.corpus import CorpusMetrics, measure
from ctkd_core.pair.corpus_job import Measurement, start, start_source
from ctkd_core.tokenizers.handover import hand_over
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests import anything
from tests.patience import PATIENCE
from tests.tiny import CORPUS, saved, tiny_byte_level, tiny_metaspace

pytestmark = pytest.mark.timeout(3000)
Pair = tuple[Tokenizer, Tokenizer]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two tokenizers from files, which another process can load, and a home of their own."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    found = []
    for name, tokenizer in (("student", tiny_byte_level()), ("teacher", tiny_metaspace())):
        found.append(load_tokenizer(str(saved(tokenizer, tmp_path / name).parent)))
    return found[0], found[1]


def long_text() -> bytes:
    return ("In 2024 we sold 201 units.\n\n" * 200_000).encode()


def test_the_result_is_that_of_measure_and_is_kept(pair: Pair) -> None:
    content = "\n\n".join(CORPUS[:3]).encode()
    found = start(*pair, content, "mine.txt")
    assert found.wait(PATIENCE).state == "finished", found.job.log_tail()
    assert found.result() == measure(*pair, CORPUS[:3])
    assert not list(found.job.folder.glob("corpus*")), "the file's content is gone"
    again = start(*pair, content, "other name.txt")
    assert again.job.folder == found.job.folder
    assert again.status().attempt == 1, "what was measured isn't measured again"
    assert start(*pair, content, "mine.txt", "uld").job.folder != found.job.folder


def test_a_damaged_result_is_none_and_measured_anew(tmp_path: Path) -> None:
    whole = measure(tiny_byte_level(), tiny_metaspace(), CORPUS[:3])
    found = Measurement(Job(tmp_path / "job"), "mine.txt")
    files.write_atomic(found.job.folder / corpus_job.RESULT, json.dumps(whole))
    write_status(found.job.folder, JobStatus(state="finished"))
    assert found.result() == whole
    assert found.is_done
    for content in anything.contents(whole):
        (found.job.folder / corpus_job.RESULT).write_bytes(content)
        read = found.result()
        assert found.is_done is (read is not None)
        assert read is None or documents.misfits(CorpusMetrics, read) == [], content[:200]


def test_a_folder_on_this_machine_is_read_where_it_lies(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for n, text in enumerate(CORPUS[:3]):
        (folder / f"{n}.txt").write_text(text)
    found = start_source(*pair, str(folder))
    assert found.wait(PATIENCE).state == "finished", found.job.log_tail()
    assert found.name == "texts" and len(list(folder.iterdir())) == 3
    assert found.result() == measure(*pair, [p for text in CORPUS[:3] for p in text.split("\n\n")])
    assert start_source(*pair, str(folder)).status().attempt == 1
    (folder / "0.txt").write_text("another")
    assert start_source(*pair, str(folder)).job.folder != found.job.folder
    with pytest.raises(CtkdError, match="no corpus file"):
        start_source(*pair, str(tmp_path / "none.txt"))


def test_who_starts_the_same_while_it_is_measured_disturbs_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ordered(pair, monkeypatch)
    plain = corpus.measure_domains

    def meanwhile(*given: object, **options: object) -> object:
        planned = sources.Corpus.pieces

        def pieces(self: sources.Corpus) -> list[sources.Piece]:
            made = planned(self)
            # After the pieces were planned, before they are read; and once as far as another start may have come.
            start(*pair, b"text", "a.txt")
            files.write_atomic(found.job.folder / "corpus.txt", b"text")
            return made

        monkeypatch.setattr(sources.Corpus, "pieces", pieces)
        return plain(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus, "measure_domains", meanwhile)
    assert work([str(found.job.folder)], corpus_worker.measure_file, corpus_job.Order) == FINISHED, found.status()
    assert found.result() is not None


def test_it_can_be_cancelled_and_begun_again(pair: Pair) -> None:
    found = start(*pair, long_text(), "long.txt")
    found.cancel()
    status = found.wait(PATIENCE)
    assert status.state == "cancelled" and found.result() is None
    assert 0 <= status.share < 1
    again = start(*pair, long_text(), "long.txt")
    assert not again.status().ended_already
    again.job.cancel(wait=True)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"caf\xe9", "a.txt", "'a.txt' isn't UTF-8"),
        (b"x", "a.pdf", "ends in '.pdf'"),
        (b"", "a.md", "empty"),
        (b"[1]\n", "x/../../a.jsonl", "no text to measure"),
    ],
)
def test_a_wrong_file_is_a_sentence(pair: Pair, content: bytes, name: str, said: str) -> None:
    found = start(*pair, content, name)
    status = found.wait(PATIENCE)
    assert status.state == "failed" and said in status.message and found.result() is None


def test_what_cannot_be_measured_is_refused_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CtkdError, match="files up to 20 MB"):
        start(*pair, b"x" * (MAX_BYTES + 1), "a.txt")
    with pytest.raises(CtkdError, match="has no file that another process could load"):
        start(replace(pair[0], source=""), pair[1], b"text", "a.txt")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(CtkdError, match=r"a\.txt can't be kept.*free some space"):
        start(*pair, b"text", "a.txt")


def ordered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Measurement:
    """A measurement whose folder holds an order, for the worker to be run here."""
    monkeypatch.setattr("ctkd_core.background.lifecycle.Work.launch", lambda *_: 0)
    return start(*pair, b"text", "a.txt")


def test_a_fault_of_ours_ends_the_job_too(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    found = ordered(pair, monkeypatch)
    monkeypatch.setattr(corpus, "measure_domains", broken)
    assert work([str(found.job.folder)], corpus_worker.measure_file, corpus_job.Order) == FAILED
    assert "RuntimeError: boom" in found.status().message
    assert isinstance(found.status(), JobStatus)


def test_a_tokenizer_that_changed_meanwhile_is_refused(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ordered(pair, monkeypatch)
    saved(tiny_byte_level(300), tmp_path / "student")
    from ctkd_core.tokenizers.sources import forget

    forget()
    assert work([str(found.job.folder)], corpus_worker.measure_file, corpus_job.Order) == FAILED
    assert "has changed on disk" in found.status().message


def works(found: Measurement) -> int:
    """Do the work of a measurement in this process; the exit code."""
    return work([str(found.job.folder)], corpus_worker.measure_file, corpus_job.Order)


def test_what_there_is_to_measure_is_told_before_it_is(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.measuring.TOLD_FROM", 0)
    (tmp_path / "mine.txt").write_text("\n\n".join(CORPUS))
    order = corpus_job.Order(hand_over(pair[0]), hand_over(pair[1]), "sedi", "", "mine.txt", str(tmp_path / "mine.txt"))
    said: list[str] = []
    corpus_worker.measure_file(order, tmp_path, lambda _, sentence: said.append(sentence))
    assert said[0] == "reading mine.txt"
    assert " in 1 piece" in said[1]
    assert said.index(said[1]) < next(n for n, sentence in enumerate(said) if sentence.endswith(" texts"))


@pytest.mark.parametrize("ending", [FINISHED, FAILED, CANCELLED])
def test_a_start_while_the_one_before_ends_finds_its_file(
    pair: Pair, ending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "launch", lambda self, _, first, *__: write_status(self.folder, first))
    found = start(*pair, b"text", "a.txt")
    plain_start, plain_measure = Job.start, corpus.measure_domains

    def ends(*given: object, **options: object) -> object:
        if ending == FAILED:
            raise RuntimeError("no memory")
        if ending == CANCELLED:
            raise Cancelled
        return plain_measure(*given, **options)  # type: ignore[arg-type]

    def start_late(*given: object) -> None:
        """The attempt under way ends behind whatever was done before the second start takes the job's lock."""
        with monkeypatch.context() as patch:
            patch.setattr(corpus, "measure_domains", ends)
            assert works(found) == ending
        plain_start(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Job, "start", start_late)
    again = start(*pair, b"text", "a.txt")
    assert again.status().attempt == 2
    assert works(again) == FINISHED, again.status()
    assert again.result() is not None and not list(again.job.folder.glob("corpus*"))


def test_a_measurement_started_while_another_makes_room_stays(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_job, "KEPT", 1)
    found = ordered(pair, monkeypatch)
    other = threading.Thread(target=lambda: start(*pair, b"text", "a.txt"))
    plain = kept.take_out

    def slowly(root: Path, current: Path, most: int, may_go: Callable[[Path], bool]) -> list[Path]:
        def chosen(folder: Path) -> bool:
            assert folder == found.job.folder
            other.start()
            other.join(0.5)  # as far as it comes
            return True

        monkeypatch.setattr(kept, "take_out", plain)
        return plain(root, current, most, chosen)

    monkeypatch.setattr(kept, "take_out", slowly)
    start(*pair, b"another", "b.txt")
    other.join(PATIENCE)
    assert works(found) == FINISHED, found.status()
