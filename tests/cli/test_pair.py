"""`ctkd pair`: the document, the table for people, files, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ctkd_core.cli.main import main
from ctkd_core.pair.corpus import DOMAINS
from ctkd_core.pair.evidence import MOVED, NEVER, SUCH, THIS
from tests.cli.test_main import Ctkd

PAIR = ["pair", "-s", "deepseek", "-t", "smollm2"]


def test_the_bundled_samples(ctkd: Ctkd) -> None:
    data = ctkd.json(*PAIR)
    assert (data["student"], data["teacher"]) == ("deepseek", "smollm2")
    assert list(data["corpus"]) == list(DOMAINS)
    assert data["vocabulary"]["classes"]["digits_3"] == {"total": 1000, "matched": 0}, "SmolLM2 splits digits"
    assert data["advice"]["verdict"] == "P-KL"
    assert any("0 of 1,000" in sentence for sentence in data["advice"]["because"])
    assert data["special_tokens"]
    assert data["advice"]["kind"] == "uncommon numbers"
    assert data["advice"]["confidence"] in {THIS, SUCH, NEVER, THIS + MOVED, SUCH + MOVED}
    assert bool(data["advice"]["evidence"]) == (data["advice"]["confidence"] != NEVER)


def test_the_table_for_people(ctkd: Ctkd) -> None:
    code, out, err = ctkd(*PAIR)
    assert code == 0, err
    assert "raw strings" in out
    assert "digits_3                  1000       0       0  201 " in out
    assert "verdict P-KL" in out
    assert re.search(
        r"^  confidence: +(never )?tried on (this|such a) pair.* \(kind: uncommon numbers\)", out, re.MULTILINE
    )
    assert re.search(r"^eos +1 +<｜end▁of▁sentence｜> +2 +<\|im_end\|>", out, re.MULTILINE)
    assert "  eos: " in out or "  bos: " in out, "notes follow the table"
    for domain in DOMAINS:
        assert f"\n{domain} " in out
    assert all(line.isprintable() for line in out.splitlines()), "tokens with control characters are shown escaped"


def test_files_are_domains(ctkd: Ctkd, tmp_path: Path) -> None:
    prose, chat = tmp_path / "prose.txt", tmp_path / "chat.jsonl"
    prose.write_text("One paragraph.\n\nAnother with 201.\n")
    chat.write_text(json.dumps({"prompt": "2+2", "completion": "4"}) + "\n{}\n")
    data = ctkd.json(*PAIR, "--corpus", str(prose), f"talk={chat}", "--corpus", f"again={prose}")
    assert {name: row["texts"] for name, row in data["corpus"].items()} == {"prose": 2, "talk": 1, "again": 2}
    assert data["corpus"]["talk"]["skipped"] == {"no text, prompt/completion or messages in the record": 1}
    assert data["corpus"]["again"] == data["corpus"]["prose"]
    _, out, err = ctkd(*PAIR, "--corpus", f"talk={chat}")
    assert "skipped texts: talk: 1 x no text" in out
    assert "talk: 2 texts" in err, "progress goes to stderr"


def test_what_there_is_comes_first(ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.pair.corpora.measuring.TOLD_FROM", 0)
    (tmp_path / "a.txt").write_text("One paragraph.\n\nAnother with 201.\n")
    code, _, err = ctkd(*PAIR, "--corpus", str(tmp_path / "a.txt"))
    assert code == 0 and "34 bytes in 1 piece" in err.split("a: 2 texts")[0]


def test_how_large_a_set_of_the_hub_is_is_not_guessed(
    ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctkd_core.distill.sources.hub.HubSet.path", tmp_path / "rows.jsonl")
    monkeypatch.setattr("ctkd_core.distill.sources.hub._rows", lambda _: [{"text": "In 2024"}])
    code, _, err = ctkd(*PAIR, "--corpus", "hf:owner/name")
    assert code == 0 and "fetching hf:owner/name; how large it is" in err.split("owner/name: 1 text")[0]
    _, _, err = ctkd(*PAIR, "--corpus", "hf:owner/name")
    assert "fetching" not in err and "owner/name: 1 text" in err


def test_workers_change_nothing(ctkd: Ctkd, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n\n".join(DOMAINS["english"] * 3))
    assert ctkd.json(*PAIR, "--corpus", str(file), "--workers", "2") == ctkd.json(*PAIR, "--corpus", str(file))


def test_fields_intervals_and_speed(ctkd: Ctkd, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [
        {"text": f"{n} pieces of text", "language": "de" if n % 2 else "en", "school_class": "7b"} for n in range(40)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    code, out, err = ctkd(
        *PAIR, "--corpus", str(file), "--by", "language", "--speed", "--workers", "1", "--by", "school_class"
    )
    assert code == 0, err
    assert re.search(r"^a +school_class 7b +\d+", out, re.MULTILINE) and "student_class" not in out
    assert re.search(r"^a +language de +\d+ +[\d.]+ \([\d.]+ to [\d.]+\)", out, re.MULTILINE)
    assert "script Latin" in out and re.search(r"^encode_batch alone: +[<\d.]+ MB/s", out, re.MULTILINE)


def test_what_was_asked_of_few_texts_is_shown_too(ctkd: Ctkd, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"text": "hello 2024", "language": "en"}, {"text": "привет", "language": "ru"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    words = ("--corpus", str(file), "--by", "language", "--by", "nosuch", "--speed", "--workers", "1")
    code, out, err = ctkd(*PAIR, *words)
    assert code == 0, err
    assert re.search(r"^a +language ru +12 +", out, re.MULTILINE)
    assert re.search(r"^a +student letters +\d+ +[\d.]+", out, re.MULTILINE)
    assert re.search(r"^a +teacher letters +\d+ +[\d.]+", out, re.MULTILINE)
    assert "No intervals with fewer than 20 texts: a." in out and "In brackets" not in out
    assert "No record has the field 'nosuch'" in out and "field 'language'" not in out
    assert "only 22 bytes were timed" in out
    code, out, err = ctkd(*PAIR, "--by", "language")
    assert code == 0 and "without --corpus there are none" in err


def test_interrupted_it_says_that_what_is_done_is_kept(
    ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setattr("ctkd_core.pair.report.measure_domains", interrupted)
    code, _, err = ctkd(*PAIR, "--corpus", str(tmp_path / "a.txt"))
    assert code == 130 and "what was measured is kept, the same command goes on" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--engine", "rey"], "unknown engine 'rey'"),
        (["--by", "script"], "by the field 'script'"),
        (["--speed"], "--speed times files; name some with --corpus"),
        (["--workers", "0"], "--workers takes a whole number from 1 to 256; got 0"),
        (["--workers", "two"], "invalid int value: 'two'"),
        (["-m", "sft"], "method 'sft' has no alignment; choose one of"),
        (["-m", "sedy"], "did you mean 'sedi'"),
        (["--corpus", "none.txt"], "no corpus file 'none.txt'"),
        (["--corpus", "{}/empty.txt"], "corpus 'empty.txt' is empty"),
        (["--corpus", "{}/binary.txt"], "corpus 'binary.txt' is binary"),
        (["--corpus", "{}/plain.jsonl"], "corpus 'plain.jsonl', line 1 isn't JSON"),
        (["--corpus", "{}/fine.txt", "fine={}/binary.txt"], "names the domain 'fine' twice; tell them apart with"),
        (["--corpus"], "expected at least one argument"),
        (["-s", "deepsek"], "did you mean 'deepseek'"),
    ],
)
def test_bad_input_is_exit_code_2(ctkd: Ctkd, tmp_path: Path, words: list[str], sentence: str) -> None:
    for name, content in (("empty.txt", b""), ("binary.txt", b"\0\1"), ("plain.jsonl", b"x"), ("fine.txt", b"x")):
        (tmp_path / name).write_bytes(content)
    given = [word.replace("{}", str(tmp_path)) for word in words]
    assert sentence in ctkd.error("pair", *given)


def test_cheap_mistakes_are_told_before_tokenizers_load(ctkd: Ctkd) -> None:
    message = ctkd.error("pair", "-s", "no such tokenizer", "--workers", "0")
    assert "--workers" in message


def test_help_names_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pair", "--help"]) == 0
    assert ".jsonl" in capsys.readouterr().out


def test_what_experiments_found_stands_below_the_advice(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctkd_core.pair import advice
    from tests.pair.test_evidence import BETTER, MAYBE_WORSE, digest

    tried, worse = (c.model_copy(update={"student": "deepseek", "teacher": "smollm2"}) for c in (BETTER, MAYBE_WORSE))
    monkeypatch.setattr(advice, "load", lambda: digest(tried, worse))
    found = ctkd.json(*PAIR)["advice"]
    assert (found["method"], found["confidence"]) == ("bytes", "tried on this pair")
    assert found["evidence"][0]["tried_on"] == {"student": "deepseek", "teacher": "smollm2"}
    _, out, _ = ctkd(*PAIR)
    assert re.search(r"^advice: +bytes ", out, re.MULTILINE)
    assert re.search(r"^  tried: +Setting few samples .*Bytes comes first", out, re.MULTILINE)
    assert re.search(r"^  against: +Setting fresh text .*Bytes is decidedly worse", out, re.MULTILINE)
    assert [row["regime"] for row in found["counter"]] == ["fresh text"]
