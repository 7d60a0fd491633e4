"""Measuring a file in the background: the figures of `measure`, progress, cancelling, faults as sentences."""

from __future__ import annotations

import pytest

from ctkd_core.pair import corpus
from ctkd_core.pair.corpus import measure
from ctkd_core.pair.corpus_job import MAX_BYTES, CorpusJob
from tests.patience import PATIENCE
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

PAIR = (tiny_byte_level(), tiny_metaspace())


def test_the_result_is_that_of_measure() -> None:
    job = CorpusJob(*PAIR, "\n\n".join(CORPUS[:3]).encode(), "mine.txt")
    assert job.wait(PATIENCE)
    assert (job.state, job.share, job.problem) == ("finished", 1.0, "")
    assert job.result == measure(*PAIR, CORPUS[:3])


def test_progress_grows_and_cancelling_ends_it() -> None:
    job = CorpusJob(*PAIR, ("In 2024 we sold 201 units.\n\n" * 200_000).encode(), "long.txt")
    job.cancel()
    assert job.wait(PATIENCE)
    assert job.state == "cancelled" and job.result is None
    assert 0 <= job.share < 1


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"caf\xe9", "a.txt", "'a.txt' isn't UTF-8"),
        (b"x", "a.pdf", "ends in '.pdf'"),
        (b"", "a.md", "empty"),
        (b"x" * (MAX_BYTES + 1), "a.txt", "files up to 20 MB"),
        (b"[1]\n", "x/../../a.jsonl", "no text to measure"),
    ],
)
def test_a_wrong_file_is_a_sentence(content: bytes, name: str, said: str) -> None:
    job = CorpusJob(*PAIR, content, name)
    assert job.wait(PATIENCE)
    assert job.state == "failed" and said in job.problem and job.result is None


def test_a_fault_of_ours_ends_the_job_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(corpus, "measure", broken)
    job = CorpusJob(*PAIR, b"text", "a.txt")
    assert job.wait(PATIENCE)
    assert job.state == "failed" and "RuntimeError: boom" in job.problem
