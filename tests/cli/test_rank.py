"""`ctkd rank`: the document, the table, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.cli import rank
from ctkd_core.cli.main import main
from ctkd_core.pair.ranking import RankedPair
from tests.cli.test_main import Ctkd
from tests.tiny import saved, tiny_byte_level, tiny_metaspace, tiny_wordpiece


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    found = []
    for name, tokenizer in (("a", tiny_byte_level()), ("b", tiny_metaspace()), ("c", tiny_wordpiece())):
        found.append(str(saved(tokenizer, tmp_path / name)))
    return found


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "mine.txt"
    path.write_text("One paragraph.\n\nAnother with 201.\n")
    return str(path)


def test_teachers_for_a_student_best_first(ctkd: Ctkd, files: list[str], corpus: str) -> None:
    data = ctkd.json("rank", *files, "-s", files[0], "--corpus", corpus, "--by", "canonical")
    assert data["by"] == "canonical" and len(data["pairs"]) == 2
    assert list(data["pairs"][0]) == list(RankedPair.__dataclass_fields__)
    assert data["pairs"][0]["canonical"] >= data["pairs"][1]["canonical"]
    code, out, err = ctkd("rank", *files, "--corpus", corpus)
    assert code == 0 and "common boundaries" in out
    assert len(out.split("\n\n")[0].strip().splitlines()) == 2 + 6, "all ordered pairs"
    assert " with " in err and "0/6 " in err, "progress goes to stderr, pair by pair"
    assert " evidence" in out.splitlines()[0] and data["pairs"][0]["confidence"] in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-s", "deepseek", "-t", "smollm2"], "fix both sides"),
        (["--by", "beauty"], "figure to order pairs by"),
        (["--by", "nosuch"], "known: boundaries, canonical, equal_tokens, teacher_whole, tokens."),
        (["deepseek"], "at least two"),
        (["--corpus", "/nowhere.txt"], "nowhere"),
        (["--corpus", "hf:nobody"], "hf:owner/name"),
        (["--documents", "5"], "name one"),
        (["--documents", "many", "--corpus", "/nowhere.txt"], "--documents"),
        (["-s", ""], "--student is empty"),
        (["-t", " "], "--teacher is empty"),
        (["deepseek", ""], "a tokenizer is empty"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    assert main(["rank", *flags]) == 2
    assert said in capsys.readouterr().err


def test_one_text_is_measured_as_it_is(ctkd: Ctkd, files: list[str], tmp_path: Path) -> None:
    text = "the 2024 llamas\n\nsay naïve things"
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    found = ctkd.json("rank", *files, "--text", text)
    assert found["pairs"] == ctkd.json("rank", *files, "--file", str(tmp_path / "one.txt"))["pairs"]
    assert found["pairs"] != ctkd.json("rank", *files)["pairs"]
    assert found["pairs"] != ctkd.json("rank", *files, "--sample", "numbers")["pairs"]
    assert "contradict" in ctkd.error("rank", *files, "--text", "x", "--corpus", str(tmp_path / "one.txt"))
    assert "give one text" in ctkd.error("rank", *files, "--text", "x", "--sample", "numbers")
    assert "empty" in ctkd.error("rank", *files, "--text", "")


def test_skipped_texts_and_two_folders_of_one_name_are_shown(ctkd: Ctkd, files: list[str], tmp_path: Path) -> None:
    other = saved(tiny_metaspace(), tmp_path / "other" / "a")
    corpus = tmp_path / "mine.jsonl"
    corpus.write_text('{"text": "Some words."}\n{"text": ""}\n{"text": ""}\n')
    asked = ("rank", files[0], str(other), "--corpus", str(corpus))
    data = ctkd.json(*asked)
    assert {row["student"] for row in data["pairs"]} == {f"a ({path})" for path in (files[0], other)}
    (count,) = data["skipped"].values()
    assert count == 2 and all(row["skipped"] == data["skipped"] for row in data["pairs"])
    code, out, _ = ctkd(*asked)
    assert code == 0 and "skipped texts (the most of any pair): 2 x" in out


def test_a_method_is_shown_with_its_options() -> None:
    assert rank._advised({"method": "gold", "options": {"method_options.beta": 0.5}}) == "gold beta=0.5"
    assert rank._advised({"method": "sft", "options": {}}) == "sft"


def test_a_corpus_is_a_folder_a_set_of_the_hub_or_files_and_a_sample_of_it_is_measured(
    ctkd: Ctkd, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.txt").write_text("\n\n".join(f"Paragraph {n} of {name}." for n in range(40)))
    whole = ctkd.json("rank", *files, "--corpus", str(folder))
    assert whole["sample"]["documents"] == 80 and whole["sample"]["all"] is True
    some = ctkd.json("rank", *files, "--corpus", f"mine={folder}", "--documents", "10")
    assert some["sample"] | {"bytes": 0} == {
        "documents": 10,
        "bytes": 0,
        "of_bytes": whole["sample"]["of_bytes"],
        "all": False,
    }
    monkeypatch.setattr("ctkd_core.distill.sources.hub.HubSet.path", tmp_path / "rows.jsonl")
    monkeypatch.setattr("ctkd_core.distill.sources.hub._rows", lambda _: [{"text": "In 2024"}, {"text": "One."}])
    code, out, err = ctkd("rank", *files, "--corpus", "hf:owner/name", "--corpus", str(folder / "a.txt"))
    assert code == 0 and "Measured on all 42 documents of the corpus" in out and "fetching hf:owner/name" in err
    code, out, _ = ctkd("rank", *files, "--corpus", str(folder), "--documents", "10")
    assert code == 0 and "Measured on a sample: 10 documents" in out
    assert ctkd.json("rank", *files, "--text", "a b")["sample"] is None
    assert "1 to 1,000,000 documents" in ctkd.error("rank", *files, "--corpus", str(folder), "--documents", "0")
