"""`ctkd report`: the file, the document, both ways to name a pair, what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ctkd_core.distill.runs import RunStore
from tests.cli.test_main import Ctkd
from tests.distill.comparison.make import made
from tests.markup.page import Page
from tests.tiny import saved, tiny_byte_level, tiny_metaspace


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Teacher and student in folders of their own, beside which the report is written."""
    monkeypatch.chdir(tmp_path)
    for name, tokenizer in (("teacher", tiny_metaspace()), ("student", tiny_byte_level())):
        saved(tokenizer, tmp_path / name)
    (tmp_path / "corpus.txt").write_text("In 2024 we sold 201.\n\nNaïve façade.\n", encoding="utf-8")
    return "teacher", "student"


FEW = ["--corpus", "corpus.txt", "--methods", "sedi,uld", "--runs-dir", "runs"]


def test_a_report_with_texts_corpus_methods_and_runs(ctkd: Ctkd, pair: tuple[str, str]) -> None:
    store = RunStore("runs")
    mine = [made(store, 2.0, seed=k, student="student", teacher="teacher") for k in range(2)]
    made(store, 2.0, student="student", teacher="another")
    words = ["report", *pair, *FEW, "--text", "the 2024 llamas", "--sample", "numbers", "--out", "mine.html"]
    data = ctkd.json(*words)
    written = Path(data["path"])
    assert written == Path("mine.html").absolute() and data["bytes"] == written.stat().st_size
    assert (data["teacher"], data["student"]) == pair
    assert [list(text["methods"]) for text in data["texts"]] == [["sedi", "uld"]] * 2
    assert [text["name"] for text in data["texts"]] == ["numbers", "text 2"]
    assert set(data["corpus"]) == {"corpus"}
    assert sorted(data["runs"]) == sorted(run.id for run in mine), "finished runs of this pair, and no others"
    assert {"vocabulary", "advice", "special_tokens", "map"} <= set(data)
    html = written.read_text(encoding="utf-8")
    assert all(run.id in html for run in mine)


def test_a_corpus_is_measured_as_pair_measures_it(
    ctkd: Ctkd, pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctkd_core.pair import report

    asked: list[dict[str, object]] = []
    plain = report.measure_domains

    def measured(
        student: object, teacher: object, corpus: object, method: str, workers: object, *rest: object, **more: object
    ) -> object:
        asked.append({"workers": workers, **more})
        return plain(student, teacher, corpus, method, workers, *rest, **more)

    monkeypatch.setattr(report, "measure_domains", measured)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    words = ["report", *pair, *FEW, "--text", "x", "--no-runs"]
    assert ctkd(*words)[0] == 0
    assert asked[0]["workers"] is None
    assert list((tmp_path / "home" / "cache" / "corpora").rglob("*.counts"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "measure_domains", interrupted)
    code, _, err = ctkd(*words, "--force")
    assert code == 130 and "what was measured is kept, the same command goes on" in err


def test_the_command_in_the_file_measures_the_same_corpus_again(ctkd: Ctkd, pair: tuple[str, str]) -> None:
    Path("a=b's.txt").write_text("The year 1999.\n", encoding="utf-8")
    given = ["--corpus", "corpus.txt", "--corpus", "a=b's.txt", "--corpus", "two words=corpus.txt"]
    words = ["report", *pair, *given, "--methods", "sedi", "--text", "x", "--no-runs"]
    first = ctkd.json(*words)
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    (line,) = [each for each in page.text.split("\n") if each.startswith("ctkd report")]
    assert "--corpus corpus.txt" in line and "give the command these files" not in page.text
    again = ctkd.json(*shlex.split(line)[1:], "--force")
    assert list(again["corpus"]) == ["corpus", "a=b's", "two words"]
    assert again["corpus"] == first["corpus"]


def test_the_pair_by_flags_and_a_file_that_is_there(ctkd: Ctkd, pair: tuple[str, str]) -> None:
    words = ["report", "-t", pair[0], "-s", pair[1], *FEW, "--text", "x", "--no-runs"]
    code, out, err = ctkd(*words)
    assert code == 0, err
    assert "MB in report.html: 1 text, 2 methods, 0 runs" in out
    assert "add --force" in ctkd.error(*words)
    assert ctkd(*words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["teacher"], "TEACHER STUDENT, or -t TEACHER -s STUDENT"),
        (["teacher", "student", "-s", "student"], "TEACHER STUDENT, or -t TEACHER -s STUDENT"),
        (["--methods", "sedi,sft"], "'sft' has no alignment"),
        (["--methods", ","], "1 to 8 methods"),
        (["--map", "peces"], "did you mean 'pieces'"),
        (["--no-runs", "--run", "x"], "contradict"),
        (["--text", ""], "empty"),
        (["--file", "none.txt"], "no file"),
        (["--file", "saved:0123456789abcdef"], "no saved text"),
    ],
)
def test_bad_input_is_told_before_tokenizers_load(
    ctkd: Ctkd, pair: tuple[str, str], words: list[str], sentence: str
) -> None:
    assert sentence in ctkd.error("report", *words)
    assert not Path("report.html").exists()


def test_a_place_that_cannot_be_written(ctkd: Ctkd, pair: tuple[str, str]) -> None:
    assert "give another file" in ctkd.error("report", *pair, *FEW, "--text", "x", "--no-runs", "--out", "none/x.html")


def test_the_picture_of_an_alignment(ctkd: Ctkd, pair: tuple[str, str]) -> None:
    words = ["align", "-s", pair[1], "-t", pair[0], "--text", "<b>2024</b>", "--svg"]
    ctkd.json(*words, "a.svg")
    assert Path("a.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert "the picture can't be written" in ctkd.error(*words, "none/a.svg")
