"""The command line: JSON contract, exit codes, error texts, input files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core import methods
from ctkd_core.cli import COMMANDS, printed
from ctkd_core.cli.main import main
from ctkd_core.files import documents
from ctkd_core.tokenizers import catalog, sample_texts

ROOT = Path(__file__).resolve().parents[2]
ALIGN = ["align", "-s", "deepseek", "-t", "smollm2"]


class Ctkd:
    """Runs commands in this process and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(list(words))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    def json(self, *words: str, code: int = 0, fits: bool = True) -> Any:
        """The document, which `fits` the type that is named for it, unless a test made it up."""
        found, out, err = self(*words, "--json")
        assert found == code, err
        assert out.count("\n") == 1, "one document on one line, nothing else"
        document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        failed = isinstance(document, dict) and set(document) == {"error"}
        if fits and words[0] in COMMANDS and "--help" not in words and not failed:
            documents.fitting(printed.document_of(words), document, f"ctkd {' '.join(words)}")
        return document

    def error(self, *words: str, code: int = 2) -> str:
        """The message of a failing command; the JSON document and stderr must agree."""
        document = self.json(*words, code=code)
        assert set(document) == {"error"}
        assert set(document["error"]) == {"type", "message"}
        found, out, err = self(*words)
        assert (found, out) == (code, "")
        assert err.strip() == f"ctkd: {document['error']['message']}".strip()
        return document["error"]["message"]


# The documents that the contract names.


def test_tokenizers(ctkd: Ctkd) -> None:
    rows = ctkd.json("tokenizers")
    assert [row["name"] for row in rows] == list(catalog.TOKENIZERS)
    for row in rows:
        assert {"name", "vocab_size", "kind", "source", "licence", "offline"} <= set(row)
    assert {"deepseek", "smollm2"} <= {row["name"] for row in rows if row["offline"]}


def test_tokenizers_of_named_sources_are_loaded(ctkd: Ctkd) -> None:
    (row,) = ctkd.json("tokenizers", "smollm2")
    assert row["vocab_size"] == 49_152
    assert len(row["fingerprint"]) == 64
    listed = {r["name"]: r["vocab_size"] for r in ctkd.json("tokenizers")}
    assert listed["smollm2"] == row["vocab_size"]


def test_align(ctkd: Ctkd) -> None:
    text = "In 2024, naïve 東京 🤦🏽"
    data = ctkd.json(*ALIGN, "-m", "sedi", "--text", text)
    assert {"student", "teacher", "method", "variant", "groups", "pairs", "metrics"} <= set(data)
    for side, source in (("student", "deepseek"), ("teacher", "smollm2")):
        assert {"name", "ids", "tokens", "spans"} <= set(data[side])
        assert data[side]["name"] == source
        assert len(data[side]["ids"]) == len(data[side]["tokens"]) == len(data[side]["spans"])
        assert data[side]["spans"][-1][1] == len(text.encode())
    assert data["method"] == "sedi"
    assert data["variant"] == "clean"
    assert data["pairs"] is None
    groups = data["groups"]
    assert groups[0][::2] == [0, 0]
    assert groups[-1][1::2] == [len(data["student"]["ids"]), len(data["teacher"]["ids"])]
    assert data["metrics"]["boundary_f1"] == 1


def test_align_with_pairs(ctkd: Ctkd) -> None:
    data = ctkd.json(*ALIGN, "-m", "cdm", "--text", "number 1234567")
    assert all(len(pair) == 2 for pair in data["pairs"])
    assert data["pairs"][-1] == [len(data["student"]["ids"]) - 1, len(data["teacher"]["ids"]) - 1]
    assert any("entropy" in note for note in data["notes"])


def test_align_option_changes_the_result(ctkd: Ctkd) -> None:
    by_unit = [ctkd.json(*ALIGN, "-o", f"unit={unit}", "--text", "x 🤦🏽") for unit in ("byte", "char")]
    assert [data["options"]["unit"] for data in by_unit] == ["byte", "char"]
    assert by_unit[0]["groups"] != by_unit[1]["groups"]


@pytest.mark.parametrize("method", [m.name for m in methods.aligning()])
@pytest.mark.parametrize("sample", list(sample_texts.TEXTS))
def test_align_samples(ctkd: Ctkd, method: str, sample: str) -> None:
    data = ctkd.json(*ALIGN, "-m", method, "--sample", sample)
    assert data["metrics"]["n_groups"] > 5
    code, out, _ = ctkd(*ALIGN, "-m", method, "--sample", sample)
    assert code == 0
    assert f"in {len(data['groups'])} groups" in out


def test_align_leads_with_bytes_that_face_equal_bytes(ctkd: Ctkd) -> None:
    """Pairs by position are all 1-1, whatever they spell: the first sentence and a mark say what they are."""
    text = "In 2024 we sold 201 units."
    code, out, _ = ctkd(*ALIGN, "-m", "uld", "--text", text)
    assert code == 0
    rate = ctkd.json(*ALIGN, "-m", "uld", "--text", text)["metrics"]["byte_match_rate"]
    assert 0 < rate < 0.5
    assert f"wrong: {100 * rate:.1f} % of bytes face equal bytes; boundary F1 0." in out
    assert "≠ the two sides spell different bytes" in out
    code, out, _ = ctkd(*ALIGN, "--text", text)
    assert "exact and fine: 100.0 % of bytes face equal bytes; boundary F1 1.000" in out
    assert "≠" not in out


def test_align_prints_two_rows_with_visible_whitespace(ctkd: Ctkd) -> None:
    code, out, _ = ctkd(*ALIGN, "--text", "a\tb\n 2024")
    assert code == 0
    lines = out.splitlines()
    rows = {line.split()[0]: line for line in lines[2:5]}
    assert set(rows) == {"group", "smollm2", "deepseek"}
    for name in ("smollm2", "deepseek"):
        assert "→" in rows[name]
        assert "↵" in rows[name]
        assert "·" in rows[name]
    assert "2|0|2" in rows["smollm2"]
    assert "202" in rows["deepseek"]


def test_compare(ctkd: Ctkd) -> None:
    data = ctkd.json("compare", "--text", "It cost 12345 in 2024.")
    assert set(data["methods"]) == {m.name for m in methods.aligning()}
    assert data["methods"]["sedi"]["boundary_f1"] == 1
    assert data["disagreements"]
    for s0, s1, t0, t1 in data["disagreements"]:
        assert s0 <= s1
        assert t0 <= t1
    ends = [(region[1], region[3]) for region in data["disagreements"]]
    starts = [(region[0], region[2]) for region in data["disagreements"]]
    assert all(s >= e and t >= u for (e, u), (s, t) in zip(ends, starts[1:], strict=False)), "regions do not overlap"


def test_compare_of_equal_tokenizers_agrees(ctkd: Ctkd) -> None:
    data = ctkd.json("compare", "-s", "smollm2", "-t", "smollm2", "-m", "sedi", "-m", "uld", "--text", "It cost 12345.")
    assert data["disagreements"] == []
    assert data["methods"]["uld"] == data["methods"]["sedi"]
    assert data["agreement"][0]["boundary_f1"] == 1


def test_methods_and_losses(ctkd: Ctkd) -> None:
    rows = ctkd.json("methods")
    assert [row["name"] for row in rows] == list(methods.METHODS)
    assert rows == [m.to_dict() for m in methods.METHODS.values()]
    losses = ctkd.json("losses")
    assert [row["name"] for row in losses] == [m.name for m in methods.training()]
    for row in losses:
        assert {"name", "title", "paper", "options"} <= set(row)
        assert all({"type", "default", "description"} <= set(option) for option in row["options"].values())


def test_method_page(ctkd: Ctkd) -> None:
    code, out, _ = ctkd("methods", "sedi")
    assert code == 0
    assert methods.METHODS["sedi"].cannot_see in out
    assert "entropy_weight" in out


def test_doctor(ctkd: Ctkd) -> None:
    report = ctkd.json("doctor")
    assert {"device", "memory", "disk", "versions", "assets", "problems"} <= set(report)
    assert report["device"]["usable_cpus"] >= 1
    assert 0 < report["memory"]["available"] <= report["memory"]["total"]
    assert report["versions"]["torch"]
    assets = {asset["name"]: asset for asset in report["assets"]}
    assert set(catalog.TOKENIZERS) < set(assets)
    assert all(asset["hash_ok"] for asset in assets.values() if asset["present"])
    for problem in report["problems"]:
        assert problem["what"]
        assert problem["fix"]


def test_help_needs_no_torch_and_lists_every_command(ctkd: Ctkd) -> None:
    code, out, _ = ctkd("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    code, out, err = ctkd()
    assert code == 2
    assert "COMMAND" in out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(ctkd: Ctkd, command: str) -> None:
    code, out, err = ctkd(command, "--help")
    assert code == 0
    assert out.startswith("usage: ctkd " + command)
    assert err == ""
    assert "--json" in out or command == "runs"


def test_version(ctkd: Ctkd) -> None:
    from ctkd_core import __version__

    assert ctkd("--version")[1].strip() == f"ctkd {__version__}"


# What people get wrong.


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["allign"], "unknown command 'allign'; did you mean 'align'"),
        (["align", "--text", "x", "-m", "sedo"], "unknown method 'sedo'; did you mean 'sedi'"),
        (["align", "--text", "x", "-s", "deepsek"], "did you mean 'deepseek'?"),
        (["align", "--text", "x", "-o", "unti=char"], "did you mean 'unit'?"),
        (["align", "--text", "x", "-o", "unit=chars"], "did you mean 'char'?"),
        (["align", "--text", "x", "-o", "unit"], "-o takes name=value"),
        (["align", "--text", "x", "--variant", "relesed"], "unknown variant of 'sedi'"),
        (["align", "--txt", "x"], "--text"),
        (["align", "--text", "x", "--spezial-tokens"], "did you mean '--special-tokens'"),
        (["align", "--text", "x", "more"], "does not expect 'more'"),
        (["align"], "--text --file --sample"),
        (["align", "--text", "x", "--file", "y"], "not allowed with"),
        (["align", "--text", ""], "is empty"),
        (["align", "--sample", "prosa"], "did you mean 'prose'?"),
        (["align", "--file", "no-such-file"], "no file 'no-such-file'"),
        (["align", "--file", "."], "can't read '.'"),
        (["align", "--text", "x", "-m", "sft"], "has no alignment"),
        (["compare", "--text", "x", "-m", "sft"], "has no alignment"),
        (["compare", "--text", "x", "-o", "unit=char"], "METHOD.NAME=VALUE"),
        (["compare", "--text", "x", "-o", "sedi.unti=char"], "did you mean 'unit'?"),
        (["methods", "ull"], "did you mean 'uld'?"),
        (["tokenizers", "qwne"], "did you mean 'qwen'?"),
        (["project", "-m", "piece"], "did you mean 'pieces'"),
        (["project", "--top-k", "0"], "at least 1"),
        (["runs"], "ACTION"),
        (["runs", "lss"], "did you mean 'ls'"),
        (["app", "--port", "70000"], "0 to 65535"),
        (["--verbose", "align"], "the command comes first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_says_what_to_do(ctkd: Ctkd, words: list[str], expected: str) -> None:
    code, out, err = ctkd(*words)
    assert (code, out) == (2, "")
    assert expected in err
    assert expected in ctkd.error(*words)


def test_a_byte_order_mark_is_no_part_of_a_file(ctkd: Ctkd, tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_text("A cat.", encoding="utf-8-sig")
    code, out, err = ctkd("align", "--file", str(path), "--json")
    assert code == 0
    assert "byte order mark" in err
    plain = ctkd.json("align", "--text", "A cat.")
    assert json.loads(out)["student"]["ids"] == plain["student"]["ids"]


def test_file_that_is_not_utf8(ctkd: Ctkd, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"na\xefve")
    message = ctkd.error("align", "--file", str(path))
    assert "byte 0xef at position 2" in message


def test_empty_file(ctkd: Ctkd, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    assert "is empty" in ctkd.error("align", "--file", str(path))


def test_corrupt_tokenizer(ctkd: Ctkd, tmp_path: Path) -> None:
    for content in ("", "{", "[]", '{"model": {"type": "BPE"}}', "\x00" * 100):
        path = tmp_path / "tokenizer.json"
        path.write_text(content)
        message = ctkd.error("align", "-s", str(path), "--text", "x")
        assert str(path) in message


def test_markup_stays_text(ctkd: Ctkd) -> None:
    text = "<script>alert('x')</script>\x1b[31mred\x07"
    data = ctkd.json(*ALIGN, "--text", text)
    assert "".join(data["student"]["tokens"]) == text
    _, out, _ = ctkd(*ALIGN, "--text", text)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "<U+001B>" in out


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_aligns(capsys: pytest.CaptureFixture[str], text: str) -> None:
    ctkd = Ctkd(capsys)
    words = [*ALIGN, f"--text={text}"]
    data = ctkd.json(*words)
    groups = data["groups"]
    assert [g[0] for g in groups[1:]] == [g[1] for g in groups[:-1]], "student tokens in order, none twice"
    assert [g[2] for g in groups[1:]] == [g[3] for g in groups[:-1]]
    code, out, _ = ctkd(*words)
    assert code == 0
    assert all(c.isprintable() or c == "\n" for c in out)


@given(st.binary(min_size=1, max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_aligns_or_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: bytes) -> None:
    ctkd = Ctkd(capsys)
    path = tmp_path / "input"
    path.write_bytes(data)
    code, out, err = ctkd(*ALIGN, "--file", str(path), "--json")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        assert code == 2
        assert f"position {error.start} " in err
    else:
        assert code == 0
        assert json.loads(out)["student"]["spans"][-1][1] == len(data)


@given(
    st.lists(st.sampled_from(["align", "-s", "-t", "x", "", "--text", "-o", "=", "a=b", "--", "-", "--all", "runs"]))
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_end_in_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123
    code, out, err = Ctkd(capsys)(*words)
    assert code in {0, 2}
    assert out or err


def test_a_bug_is_called_a_bug(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("ctkd_core.cli.methods.run", broken)
    assert main(["methods", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["type"] == "ZeroDivisionError"
    assert "this is a bug in CTKD Lab" in err


def test_cancelled(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctkd_core.cli.methods.run", interrupted)
    assert ctkd.json("methods", code=130)["error"]["message"] == "cancelled."
