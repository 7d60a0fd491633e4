"""The command line at a terminal: tables for its width, colours, progress, help, completion. And elsewhere."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.cli import COMMANDS, progress
from ctkd_core.cli.command import load
from ctkd_core.cli.display import TokenRows, console_of, facts, plain_text, render, safe, styled, table, width
from ctkd_core.cli.main import main, printable
from ctkd_core.cli.progress import Bar, follow
from ctkd_core.distill.config import PRESETS
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.status import RunStatus
from ctkd_core.files import to_json
from ctkd_core.methods import METHODS, aligning
from tests.cli.test_main import Ctkd
from tests.cli.test_runs import past_run

ROOT = Path(__file__).resolve().parents[2]
STYLE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "[red]x[/red] [link=http://e.org]y[/] :smile: \x1b[31mred\x1b]0;title\x07 \x9b2J \u202e\r\b[/]"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def at_terminal(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Exit code and what a terminal gets."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    code = main(list(words))
    return code, screen.getvalue()


def nothing_but_styles(text: str) -> str:
    """The text without rich's styles; fails for anything else that a terminal would obey."""
    seen = STYLE.sub("", text)
    assert all(c.isprintable() or c == "\n" for c in seen), repr(seen)
    return seen


# Untrusted text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_markup_and_control_characters_are_shown(stream: type[io.StringIO]) -> None:
    parts = [HOSTILE, styled(HOSTILE, "bold"), table([HOSTILE], [[HOSTILE]]), facts([(HOSTILE, HOSTILE)])]
    parts.append(TokenRows([(safe(HOSTILE), safe(HOSTILE))], (HOSTILE, "b")))
    seen = nothing_but_styles(render(parts, stream(), columns=1000))
    assert seen.count("[red]x[/red] [link=http://e.org]y[/] :smile: <U+001B>[31mred") == 9
    assert "<U+009B>2J <U+202E>␍<U+0008>[/]" in seen


def test_markup_in_a_text_that_is_aligned(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["align", "-s", "deepseek", "-t", "smollm2", "--text", "[red]12[/red]\x1b[31m"]
    code, out, _ = ctkd(*words)
    assert code == 0
    code, screen = at_terminal(monkeypatch, *words)
    assert code == 0
    for text in (out, nothing_but_styles(screen)):
        pieces = re.sub(r"[\s|]", "", "".join(line for line in text.splitlines() if line.startswith("deepseek ")))
        assert "[red]12[/red]" in pieces
        assert "<U+001B>" in pieces


def test_markup_in_runs(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ["--runs-dir", str(store.root)]
    run = past_run(store, student=HOSTILE)
    write_status(run.dir, RunStatus(state="failed", message=HOSTILE, step=1, total_steps=2))
    (run.dir / "log.txt").write_text(HOSTILE)
    monkeypatch.setenv("COLUMNS", "400")
    for words in (["runs", "ls"], ["runs", "show", run.id]):
        assert "[red]x[/red]" in nothing_but_styles(ctkd(*words, *at)[1])
    for words in (["runs", "ls"], ["runs", "show", run.id]):
        assert "[red]x[/red]" in nothing_but_styles(at_terminal(monkeypatch, *words, *at)[1])


def test_errors_are_made_safe_on_stderr_only(ctkd: Ctkd) -> None:
    code, _, err = ctkd("align", "--file", "no\x1b[31m[red]file")
    assert code == 2
    assert "\x1b" not in err
    assert "[red]file" in err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_holds_no_control_character(encoding: str) -> None:
    data = {"text": "a\x1b[31m\x9b2J\u202e東京é🤦🏽\n"}
    document = printable(to_json(data), encoding)
    assert document.isprintable()
    assert json.loads(document.encode(encoding)) == data


def test_json_in_an_encoding_that_lacks_characters() -> None:
    words = [sys.executable, "-m", "ctkd_core", "align", "--file", "東京 🤦🏽", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run(words, capture_output=True, cwd=ROOT, env=environment, check=False)
    assert run.returncode == 2
    assert "no file '東京 🤦🏽'" in json.loads(run.stdout.decode("ascii"))["error"]["message"]


# Widths


LONG = [["first", "words " * 30 + "end", 1], ["second", "x" * 200, 22]]


@pytest.mark.parametrize("columns", [24, 40, 80, 200])
def test_a_table_fits_the_terminal_and_loses_nothing(columns: int) -> None:
    seen = nothing_but_styles(render([table(["name", "text", "n"], LONG)], Terminal(), columns))
    assert max(map(width, seen.splitlines())) <= columns
    assert seen.count("words") == 30
    assert seen.count("x") == 200 + 1  # the header has one
    assert "…" not in seen


def test_a_table_in_a_file_has_one_row_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = plain_text(table(["name", "text", "n"], LONG)).splitlines()
    assert len(lines) == 2 + len(LONG)
    assert LONG[0][1] in lines[2]
    assert LONG[1][1] in lines[3]
    assert not any(line.endswith(" ") for line in lines)


def test_wide_characters_keep_columns_together() -> None:
    rows = [["東京", "a"], ["e\u0301te\u0301", "b"], ["plain", "c"]]
    lines = plain_text(table(["word", "letter"], rows)).splitlines()
    assert {width(line[: line.rindex(letter)]) for line, letter in zip(lines[2:], "abc", strict=True)} == {7}


@pytest.mark.parametrize("columns", ["40", "120"])
def test_token_rows_follow_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, screen = at_terminal(monkeypatch, "align", "--sample", "numbers")
    rows = [
        line for line in nothing_but_styles(screen).splitlines() if line.startswith(("group", "smollm2", "deepseek"))
    ]
    assert code == 0
    assert max(map(width, rows)) <= int(columns)
    assert (len(rows) > 6) == (columns == "40") or len(rows) > 3


def test_piped_output_is_plain(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    code, out, _ = ctkd("methods")
    assert code == 0
    assert "\x1b" not in out
    lines = out.splitlines()
    for row in METHODS.values():
        (line,) = [line for line in lines[2:] if line.startswith(row.name + " ")]
        assert line.endswith(row.idea)


# Colours


def test_colours_at_a_terminal_and_none_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]")
    assert colour.search(at_terminal(monkeypatch, "methods")[1])
    monkeypatch.setenv("NO_COLOR", "1")
    code, screen = at_terminal(monkeypatch, "methods")
    assert code == 0
    assert not colour.search(screen)
    assert "sedi" in nothing_but_styles(screen)


# Help


@pytest.mark.parametrize("columns", ["40", "80", "160"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_at_a_terminal(monkeypatch: pytest.MonkeyPatch, command: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, screen = at_terminal(monkeypatch, *filter(None, [command]), "--help")
    seen = nothing_but_styles(screen)
    assert code == 0
    assert max(map(width, seen.splitlines())) <= int(columns)
    assert f"Usage: ctkd {command}".strip() in " ".join(seen.split())
    if columns == "160":  # wide enough for every flag to be whole
        names = COMMANDS if not command else [n for p in load(command).params for n in p.opts if n.startswith("--")]
        assert all(name in seen for name in names)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_texts_hold_no_markup(command: str) -> None:
    """typer reads help texts as markup at a terminal: a word in brackets would vanish."""
    from rich.text import Text

    for param in load(command).params:
        help_text = getattr(param, "help", None) or ""
        assert Text.from_markup(help_text).plain == help_text


def test_help_in_a_pipe_is_one_flag_a_line(ctkd: Ctkd) -> None:
    code, out, _ = ctkd("distill", "--help")
    assert code == 0
    assert out.count("\n  --on-policy-max-new-tokens V") == 1
    assert "Longest completion that the student writes." in out
    assert not set("╭│╰") & set(out)


def test_help_as_json(ctkd: Ctkd) -> None:
    assert ctkd.json("--help") == {"commands": COMMANDS}
    assert ctkd.json("align", "--help")["help"].startswith("usage: ctkd align")
    assert ctkd.json("--version").keys() == {"version"}


# Flags in every form


@pytest.mark.parametrize(
    "words",
    [
        ["align", "-m", "uld", "--text", "It cost 12345."],
        ["align", "-muld", "--text", "It cost 12345."],
        ["align", "-m=uld", "--text=It cost 12345."],
        ["align", "--method=uld", "--text", "It cost 12345."],
        ["--json", "align", "--text", "It cost 12345.", "--method", "uld"],
    ],
    ids=" ".join,
)
def test_forms_of_flags(ctkd: Ctkd, words: list[str]) -> None:
    found, out, _ = ctkd(*words, *([] if "--json" in words else ["--json"]))
    assert found == 0
    data = json.loads(out)
    assert data["method"] == "uld"
    assert "".join(data["student"]["tokens"]) == "It cost 12345."


def test_a_flag_without_its_value(ctkd: Ctkd) -> None:
    assert "expected one argument" in ctkd.error("align", "--text", "--sample", "prose")
    assert "--text" in ctkd.error("align", "--text")
    data = ctkd.json("align", "--text=--sample")
    assert "".join(data["student"]["tokens"]) == "--sample"


def test_json_may_stand_before_an_action(ctkd: Ctkd, store: RunStore) -> None:
    code, out, _ = ctkd("runs", "--json", "ls", "--runs-dir", str(store.root))
    assert (code, json.loads(out)) == (0, [])


# Progress


def test_a_bar_at_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Bar(4) as bar:
        assert bar.terminal
        bar.show("zero", 0.5)
        bar.step()
        bar.inform("news [blue]")
        bar.show("[red]one[/red]\x1b[31m")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.getvalue())
    assert "[red]one[/red]<U+001B>[31m" in seen
    assert "news [blue]" in seen
    assert "1/4" in seen
    assert re.search(r"(-:--:--|\d:\d\d:\d\d) left", seen), "the time that is left"
    assert capsys.readouterr().out == ""


def test_a_bar_whose_labels_tell_the_time_left_tells_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Bar(1, tells_left=False) as bar:
        bar.update(0.5, "a: 3 texts, about 2 min left")
    assert screen.getvalue().count(" left") == screen.getvalue().count("about 2 min left") > 0


def test_lines_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(2) as bar:
        assert not bar.terminal
        bar.show("one [red]")
        bar.step()
        bar.show("two")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["0/2", "1/2"]
    assert "one [red]" in err
    assert "\x1b" not in err


def test_a_run_is_followed_with_a_bar(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    assert follow(past_run(store)).state == "finished"
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.getvalue())
    assert "2/2" in seen
    assert "loss 4.0000" in seen
    assert "2.0000 bits per byte" in seen


def test_what_a_run_waits_for_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["Waiting to start.", "Waiting for cpu: one run trains on it at a time.", "Step 1 of 2.", "Step 2 of 2."]
    states = ["queued", "queued", "queued", "queued", "running", "running", "finished"]
    found = [RunStatus(state=s, message=m) for s, m in zip(states, [told[0], *told[:2], *told[1:], "Finished."])]
    run = SimpleNamespace(status=lambda: found.pop(0), read_metrics=lambda offset: ([], offset))
    places = ["Place 3.", "Place 3.", "Place 3.", None]
    monkeypatch.setattr("ctkd_core.distill.sweeps.queue.in_line", lambda run: places.pop(0))
    monkeypatch.setattr(progress, "POLL", 0.0)
    monkeypatch.setattr(progress, "QUEUE_EVERY", 0.0)
    follow(run)  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        *(f"queued  {message} Place 3." for message in told[:2]),
        f"queued  {told[1]}",
        f"running  {told[2]}",
        "finished  Finished.",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_progress_goes_to_stderr_only() -> None:
    import pty

    master, slave = pty.openpty()
    # two tokenizers of the catalog: all of them take seconds, and a bar is drawn for two as well
    code = (
        "from ctkd_core.cli.main import main; from ctkd_core.tokenizers.catalog import TOKENIZERS as table; "
        "[table.pop(name) for name in set(table) - {'deepseek', 'smollm2'}]; "
        "raise SystemExit(main(['prepare', '--tokenizers-only', '--json']))"
    )
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=slave, cwd=ROOT)
    os.close(slave)
    screen = b""
    try:
        while part := os.read(master, 65536):
            screen += part
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(master)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0
    assert out.count(b"\n") == 1
    rows = json.loads(out)
    assert len(rows) == 3  # and one alignment, for its compiled kernels
    assert b"3/3" in screen
    assert b"\x1b" in screen, "a bar is drawn"
    assert b"\x1b" not in out


# Completion


def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    words = line.split(" ")
    for name, value in (("_CTKD_COMPLETE", "complete_bash"), ("COMP_WORDS", line), ("COMP_CWORD", str(len(words) - 1))):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ctkd al", {"align"}),
        ("ctkd runs re", {"report", "resume"}),
        ("ctkd align --samp", {"--sample"}),
        ("ctkd align --sample nu", {"numbers"}),
        ("ctkd align -m gold", {"gold", "gold-greedy"}),
        ("ctkd align -s deep", {"deepseek"}),
        ("ctkd methods sed", {"sedi"}),
        ("ctkd distill --preset qu", {"quick"}),
        ("ctkd distill --student scr", {"scratch"}),
        ("ctkd project -m pie", {"pieces"}),
        ("ctkd runs export latest --format c", {"csv"}),
        ("ctkd nonsense x", set()),
    ],
)
def test_completion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, expected: set[str]
) -> None:
    assert set(completed(monkeypatch, capsys, line)) == expected


def test_completion_of_names_is_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(monkeypatch, capsys, "ctkd ") == list(COMMANDS)
    assert completed(monkeypatch, capsys, "ctkd align -m ") == [row.name for row in aligning()]
    assert completed(monkeypatch, capsys, "ctkd distill --preset ") == list(PRESETS)


def test_completion_of_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: RunStore
) -> None:
    run = past_run(store)
    line = f"ctkd runs show --runs-dir {store.root} "
    assert completed(monkeypatch, capsys, line) == ["latest", run.id, run.config.name]


def test_completion_of_runs_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: RunStore
) -> None:
    for name in ("one-word", "two words", "both", "both", "$(reboot)", "-x", "again"):
        past_run(store, name=name)
    store.archive("again")
    past_run(store, name="again")
    past_run(store, name=store.list()[0].id[:3])
    line = f"ctkd runs show --runs-dir {store.root} "
    offered = completed(monkeypatch, capsys, line)
    assert offered == ["latest", *(run.id for run in store.list()), "one-word"]
    assert completed(monkeypatch, capsys, line + "one") == ["one-word"]
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    for shell in ("zsh", "fish"):  # they show the name beside the id
        monkeypatch.setenv("_CTKD_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        with pytest.raises(SystemExit):
            main([])
        printed = capsys.readouterr().out
        assert "two words" in printed and "__reboot_" in printed and "$(" not in printed


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
def test_completion_is_installed(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = f"{sys.executable} -m ctkd_core --install-completion; echo code $?"
    run = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert "code 0" in run.stdout, run.stderr
    scripts = list(tmp_path.rglob("ctkd*"))
    assert any("_CTKD_COMPLETE" in path.read_text() for path in scripts if path.is_file())


# What loads


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["methods"], ["losses", "--json"], ["tokenizers"], []])
def test_light_commands_load_nothing_heavy(words: list[str]) -> None:
    heavy = {"numpy", "torch", "transformers", "streamlit", "plotly", "numba", "scipy", "pandas", "tokenizers"}
    code = (
        f"import sys; from ctkd_core.cli.main import main; main({words!r}); "
        "print(*sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(run.stderr.splitlines()[-1].split())
    assert not loaded & heavy
    if words in (["--version"], ["losses", "--json"]):
        assert "rich" not in loaded, "rich is for people"


def test_listing_commands_loads_none_of_them() -> None:
    code = (
        "import sys; from ctkd_core.cli.main import main; main(['--help']); "
        "print(*(m for m in sys.modules if m.startswith('ctkd_core.cli.')), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not set(run.stderr.split()) & {f"ctkd_core.cli.{command}" for command in COMMANDS}


def test_damaged_rows_with_little_in_them(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctkd_core.distill.runs import Run

    run = past_run(store)
    row: dict[str, Any] = {"run_id": run.id, "status": "damaged", "message": "status.json: a list"}
    monkeypatch.setattr(Run, "summary", lambda self, whole=False: row)
    at = ["--runs-dir", str(store.root)]
    assert ctkd.json("runs", "ls", *at, fits=False) == [row]
    code, out, _ = ctkd("runs", "ls", *at)
    assert code == 0
    assert "damaged" in out
    assert "status.json: a list" in out
    assert ctkd("runs", "watch", run.id, *at)[0] == 0


def test_a_console_on_a_stream_that_is_no_terminal_has_no_bounds() -> None:
    assert console_of(io.StringIO()).width > 10_000
    assert console_of(Terminal(), columns=33).width == 33
