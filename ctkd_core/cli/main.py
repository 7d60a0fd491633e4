"""The command line: `ctkd <command>`, the same as `python -m ctkd_core <command>`.

With --json one JSON document goes to stdout and nothing else; logs and progress go to stderr. Exit codes: 0 ok,
2 usage or bad input, 3 pre-flight failed, 4 run failed, 130 cancelled (1 is left for bugs of this program).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ctkd_core import __version__
from ctkd_core.cli import COMMANDS
from ctkd_core.cli.common import (
    BAD_INPUT,
    CANCELLED,
    OK,
    PREFLIGHT_FAILED,
    UNEXPECTED,
    Answer,
    CommandParser,
    UsageError,
    add_json,
    say,
)
from ctkd_core.errors import CtkdError, PreflightError, unknown
from ctkd_core.files import to_json

PATIENCE = 3.0  # seconds of silence
SHOW_PROGRESS = ("app", "distill", "prepare", "runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never lets an error of the user end in a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    shown, code = _answer(words, "--json" in words)
    try:
        _print(shown)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Point stdout elsewhere, or Python complains while it shuts down.
        _forget_stdout()
    except OSError as error:
        _forget_stdout()
        say(f"ctkd: can't write the answer: {error}")
        return UNEXPECTED
    return code


def _answer(words: list[str], as_json: bool) -> tuple[str, int]:
    """What goes to stdout, and the exit code."""
    try:
        command = _understand(words)
        # Libraries that print must not spoil the one document on stdout.
        with contextlib.redirect_stdout(sys.stderr), _patience(words):
            answer = command()
            return to_json(answer.data()) if as_json else answer.text(), answer.code
    except SystemExit as stop:  # argparse has printed a help text
        return "", stop.code if isinstance(stop.code, int) else OK
    except KeyboardInterrupt:
        return _failed("Cancelled", "cancelled.", as_json), CANCELLED
    except PreflightError as error:
        return _failed(type(error).__name__, str(error), as_json), PREFLIGHT_FAILED
    except CtkdError as error:
        return _failed(type(error).__name__, str(error), as_json), BAD_INPUT
    except BrokenPipeError:  # the reader of a help text has left; printing will notice too
        return "", OK
    except OSError as error:
        return _failed(type(error).__name__, f"the system refused: {error}", as_json), BAD_INPUT
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        sentence = f"this is a bug in CTKD Lab, please report the lines above ({type(error).__name__}: {error})."
        return _failed(type(error).__name__, sentence, as_json), UNEXPECTED


@contextlib.contextmanager
def _patience(words: list[str]) -> Iterator[None]:
    """A word on the terminal when nothing has been seen for a while; commands with progress of their own need none."""
    if not sys.stderr.isatty() or words[:1] in ([], *([name] for name in SHOW_PROGRESS)):
        yield
        return
    waiting = threading.Timer(
        PATIENCE, say, ["working; first uses on a machine compile kernels and read vocabularies."]
    )
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


def _understand(words: list[str]) -> Callable[[], Answer]:
    """The command that the words ask for, its flags checked; --help ends here."""
    if not words or words[0] in {"-h", "--help", "help"}:
        return lambda: Answer(lambda: {"commands": COMMANDS}, overview, OK if words else BAD_INPUT)
    if words[0] in {"-V", "--version"}:
        return lambda: Answer(lambda: {"version": __version__}, lambda: f"ctkd {__version__}")
    name = words[0]
    if name.startswith("-"):
        raise UsageError(f"the command comes first: ctkd COMMAND {name} ...; see `ctkd --help`.")
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, UsageError)
    command = importlib.import_module(f"ctkd_core.cli.{name}")
    return partial(command.run, build_parser(name).parse_args(words[1:]))


def build_parser(name: str) -> CommandParser:
    """The parser of one command; the docs and tests read it too."""
    command = importlib.import_module(f"ctkd_core.cli.{name}")
    summary = COMMANDS[name]
    parser = CommandParser(prog=f"ctkd {name}", description=summary[0].upper() + summary[1:] + ".")
    command.arguments(parser)
    if not any("--json" in action.option_strings for action in parser._actions):
        add_json(parser)
    return parser


def overview() -> str:
    """What `ctkd --help` prints."""
    longest = max(map(len, COMMANDS))
    lines = [f"  {name:<{longest}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ctkd COMMAND [flags]",
            "",
            "See, measure and run cross-tokenizer knowledge distillation.",
            "",
            *lines,
            "",
            "`ctkd COMMAND --help` lists the flags of a command. Every command takes --json.",
        ]
    )


def _print(text: str) -> None:
    if text:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # Terminals that can't show a character get an escape instead of an error.
        sys.stdout.write(text.encode(encoding, errors="backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def _forget_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(kind: str, sentence: str, as_json: bool) -> str:
    shown = sentence.encode("utf-8", errors="backslashreplace").decode("utf-8")
    say(f"ctkd: {shown}")
    return to_json({"error": {"type": kind, "message": shown}}) if as_json else ""
