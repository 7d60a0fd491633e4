"""How long measuring takes: what is timed before it starts, what is done, and what isn't known."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.pair.corpora import measuring, pace, sources
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.engines import here, processes
from ctkd_core.pair.corpora.measuring import count_corpora
from ctkd_core.pair.corpora.pace import Pace, amount, estimate_before, estimate_left, seconds_before
from ctkd_core.pair.corpora.records import records_of
from ctkd_core.pair.corpora.sources import read_texts
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

COUNTING = Counting(tiny_byte_level(), tiny_metaspace())


class Watch:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text file of about ten pieces, large enough to be timed."""
    monkeypatch.setattr(sources, "WINDOW", 100)
    monkeypatch.setattr(sources, "LEAST_PIECE", 300)
    monkeypatch.setattr(sources, "MOST_PIECE", 300)
    monkeypatch.setattr(pace, "TIMED_FROM", 1000)
    monkeypatch.setattr(pace, "SAMPLE", 100)
    monkeypatch.setattr(pace, "TOLD_FROM", 0.0)
    monkeypatch.setattr(measuring, "TOLD_FROM", 0)
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"{n} {text}" for n, text in enumerate(CORPUS)))
    return path


def test_one_process_is_believed_from_its_first_piece() -> None:
    watch = Watch()
    found = Pace(40.0, clock=watch)
    watch.now += 5
    assert found.done(0.25) == pytest.approx(15.0)
    watch.now += 15
    assert found.done(1.0) == 0.0


def test_what_was_done_before_is_no_speed() -> None:
    watch = Watch()
    found = Pace(None, share=0.5, clock=watch)
    watch.now += 10
    assert found.done(0.5) is None
    assert found.done(0.75) == pytest.approx(10.0)


def test_several_processes_are_believed_little_by_little() -> None:
    watch = Watch()
    found, blind = Pace(100.0, steps=4, clock=watch), Pace(None, steps=4, clock=watch)
    watch.now += 10
    first = found.done(0.1)
    assert first == pytest.approx(0.25 * 90 + 0.75 * 90)
    assert blind.done(0.1) is None, "one of several that began together says nothing"
    watch.now += 90
    assert [found.done(0.2) for _ in range(3)][-1] == pytest.approx(400.0), "slower than was thought"
    assert [blind.done(0.2) for _ in range(3)][-1] == pytest.approx(400.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((12_400_000, 12_400_000, 13), "12.4 MB in 13 pieces"),
        ((3_000_000_000, 4_000_000_000, 400), "3.0 GB of 4.0 GB in 400 pieces"),
        ((900, 900, 1), "900 bytes in 1 piece"),
    ],
)
def test_what_there_is(given: tuple[int, int, int], said: str) -> None:
    assert amount(*given) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((100.0, 13, 2), ", about 1 to 3 min with 2 processes"),
        ((20.0, 400, 1), ", about 14 to 32 s with one process"),
        ((None, 250_000, None), "; the first ones will say how long it takes"),
        ((None, 1, 1), ""),
    ],
)
def test_what_is_said_before(given: tuple[float | None, int, int | None], said: str) -> None:
    assert estimate_before(*given) == said


def test_what_is_said_on_the_way() -> None:
    assert [estimate_left(seconds) for seconds in (None, 1.0, 42.0)] == ["", "", ", about 40 s left"]


def test_texts_from_all_over_are_timed(corpus: Path) -> None:
    pieces = read_texts(corpus).pieces()
    one = seconds_before(COUNTING, pieces, 1)
    assert one is not None and one > 0
    many = seconds_before(COUNTING, pieces, 1000)
    assert many is not None and many > pace.START_SECONDS
    assert seconds_before(COUNTING, pieces[:1], 1) is None, "too little to be worth it"


def test_what_cannot_be_timed_is_not_guessed(corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "array.json"
    whole.write_text("[" + ",\n".join('{"text": "some words"}' for _ in range(100)) + "]")
    assert seconds_before(COUNTING, read_texts(whole).pieces(), 1) is None
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "some words"}\nno json\n' * 100)
    assert seconds_before(COUNTING, read_texts(broken).pieces(), 1) is None, "measuring says what is wrong"


def test_sentences_tell_what_there_is_and_what_is_left(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shares: list[float] = []

    def note(share: float, sentence: str) -> None:
        shares.append(share)
        said.append(sentence)

    records = records_of(COUNTING, tmp_path / "kept")
    count_corpora(COUNTING, {"a": read_texts(corpus)}, here, records, note, 1)
    size, count = corpus.stat().st_size, len(read_texts(corpus).pieces())
    assert said[0] == f"{size / 1e3:.1f} kB in {count} pieces"
    assert f"{size / 1e3:.1f} kB in {count} pieces, about " in said[1] and said[1].endswith(" s with one process")
    assert all(" left" in sentence for sentence in said[2 : 2 + count])
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0
    next(records.folder.rglob("*.counts")).unlink()
    said.clear()
    count_corpora(COUNTING, {"a": read_texts(corpus)}, here, records, note, 1)
    assert said[0].startswith("a: ") and " left" not in said[0], "what was counted before"
    assert " bytes of " in said[1] and "in 1 piece" in said[1], "what is left of a measurement that goes on"


def test_a_stream_says_that_its_size_is_not_known() -> None:
    said: list[str] = []
    count_corpora(COUNTING, {"a": iter(CORPUS)}, here, None, lambda _, sentence: said.append(sentence), 1)
    assert said[0].endswith("; how many there are isn't known") and " left" not in " ".join(said)
    said.clear()
    count_corpora(COUNTING, {"a": CORPUS}, here, None, lambda _, sentence: said.append(sentence), 1)
    assert "isn't known" not in " ".join(said), "a list has a length"


def test_who_counts_is_not_known(corpus: Path) -> None:
    said: list[str] = []
    count_corpora(COUNTING, {"a": read_texts(corpus)}, here, None, lambda _, sentence: said.append(sentence))
    assert said[1].endswith("; the first ones will say how long it takes") and " left" in said[-2]


def test_an_estimate_changes_no_sum(corpus: Path) -> None:
    plain = count_corpora(COUNTING, {"a": read_texts(corpus)}, here)
    told = count_corpora(COUNTING, {"a": read_texts(corpus)}, processes(2), None, lambda *_: None, 2)
    assert (plain["a"].table() == told["a"].table()).all()
