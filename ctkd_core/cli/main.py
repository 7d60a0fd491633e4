"""The command line: `ctkd <command>`, the same as `python -m ctkd_core <command>`.

With --json one JSON document goes to stdout and nothing else; logs and progress go to stderr. Exit codes: 0 ok,
2 usage or bad input, 3 pre-flight failed, 4 run failed, 130 cancelled (1 is left for bugs of this program).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from ctkd_core import __version__
from ctkd_core.cli import COMMANDS
from ctkd_core.cli.command import CONTEXT, Group, load, sentence
from ctkd_core.cli.common import (
    BAD_INPUT,
    CANCELLED,
    OK,
    PREFLIGHT_FAILED,
    UNEXPECTED,
    Json,
    Output,
    UsageError,
    inform,
)
from ctkd_core.errors import LONGEST_MESSAGE, CtkdError, PreflightError, cut, unknown
from ctkd_core.files import to_json
from ctkd_core.markup.terminal import guarded_stderr

NAME = "ctkd"
COMPLETION = "_CTKD_COMPLETE"  # a shell sets it when it asks for completions
PATIENCE = 3.0  # seconds of silence
SHOW_PROGRESS = ("app", "cache-teacher", "distill", "evaluate", "losses", "prepare", "report", "runs", "sweep")


class Commands(Group):
    """All commands; the module of one is loaded when it is called, not to list its name."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Name and summary of a command, for lists."""
        return TyperCommand(cmd_name, help=sentence(COMMANDS[cmd_name])) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command itself; raises UsageError with the nearest names."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, None if known is None else load(args[0]), rest


class _Done(Exception):  # noqa: N818 (nothing went wrong)
    """The output is there before any command was called."""

    def __init__(self, output: Output) -> None:
        self.output = output


def _show_version(value: bool) -> None:
    if value:
        raise _Done(Output(lambda: {"version": __version__}, lambda: [f"{NAME} {__version__}"]))


def _root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("-V", "--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
    json: Json = False,
) -> None:
    if ctx.invoked_subcommand is None:
        if json:
            raise UsageError(f"a COMMAND is missing: {NAME} COMMAND --json; see `{NAME} --help`.")
        typer.echo(ctx.get_help())
        raise typer.Exit(BAD_INPUT)


def application() -> Any:
    """The whole command line."""
    app = typer.Typer()
    app.callback(
        cls=Commands,
        invoke_without_command=True,
        subcommand_metavar="COMMAND [ARGS]...",
        context_settings=CONTEXT,
        help="See, measure and run cross-tokenizer knowledge distillation.",
        epilog="`ctkd COMMAND --help` lists the flags of a command. Every command takes --json.",
    )(_root)
    return typer.main.get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never lets an error of the user end in a traceback.

    Standard error is guarded: what libraries write there (warnings, log lines, tracebacks) quotes files of strangers.
    Standard output gets the answer alone, which is JSON or was made safe when it was laid out.
    """
    _open_closed_streams()
    with guarded_stderr():
        return _main(argv)


def _open_closed_streams() -> None:
    """Where the caller closed a standard stream (`>&-`), nothing is read, and what is written goes nowhere.

    Each takes the lowest number that is free, its own, so that no file that is opened later is one of them.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    # Before torch is loaded, as in processes that are started: threads that wait by spinning starve each other where
    # another program is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.stderr.isatty():  # in a file, a library's progress bar is one line for each of its states
        os.environ.setdefault("TQDM_DISABLE", "1")
    if os.environ.get(COMPLETION):
        application().main(words, prog_name=NAME, complete_var=COMPLETION)  # ends the process
    if words[:1] == ["help"]:
        words[0] = "--help"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    shown, code = _answer(words, "--json" in words)
    try:
        _print(shown, "--json" in words)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Point stdout elsewhere, or Python complains while it shuts down.
        _forget_stdout()
    except OSError as error:
        _forget_stdout()
        inform(f"ctkd: can't write the answer: {error}")
        return UNEXPECTED
    return code


def _answer(words: list[str], as_json: bool) -> tuple[str, int]:
    """What goes to stdout, and the exit code."""
    stdout = sys.stdout
    printed = io.StringIO()  # a help text, or the script of --show-completion
    interrupts: list[int] = []
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_noting(interrupts))
            if as_json or not stdout.isatty():
                stack.enter_context(contextlib.redirect_stdout(printed))
            stack.enter_context(_patience(words))
            context = stack.enter_context(application().make_context(NAME, words))
            output = context.command.invoke(context)
            return _shown(output, as_json, stdout), output.code
    except _Done as done:
        return _shown(done.output, as_json, stdout), done.output.code
    except (typer.Exit, SystemExit) as stop:
        code = stop.exit_code if isinstance(stop, typer.Exit) else stop.code
        text = printed.getvalue().rstrip("\n")
        return _help_document(text, words) if as_json else text, code if isinstance(code, int) else OK
    except KeyboardInterrupt:
        return _failed("Cancelled", "cancelled.", as_json), CANCELLED
    except TyperException as error:
        return _failed(UsageError.__name__, _sentence(error), as_json), BAD_INPUT
    except PreflightError as error:
        return _failed(type(error).__name__, str(error), as_json), PREFLIGHT_FAILED
    except CtkdError as error:
        return _failed(type(error).__name__, str(error), as_json), BAD_INPUT
    except BrokenPipeError:  # the reader of a help text has left; printing will notice too
        return "", OK
    except OSError as error:
        return _failed(type(error).__name__, f"the system refused: {error}", as_json), BAD_INPUT
    except Exception as error:
        if interrupts:
            return _failed("Cancelled", "cancelled.", as_json), CANCELLED
        traceback.print_exc(file=sys.stderr)
        sentence = f"this is a bug in CTKD Lab, please report the lines above ({type(error).__name__}: {error})."
        return _failed(type(error).__name__, sentence, as_json), UNEXPECTED


@contextlib.contextmanager
def _noting(interrupts: list[int]) -> Iterator[None]:
    """Note Ctrl-C beside raising KeyboardInterrupt, of which libraries make other errors (pydantic of a pattern)."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _shown(output: Output, as_json: bool, stdout: Any) -> str:
    """The output as text; libraries that print must not spoil it."""
    with contextlib.redirect_stdout(sys.stderr):
        if as_json:
            return to_json(output.data())
        from ctkd_core.cli.display import render

        return render(output.view(), stdout)


def _help_document(text: str, words: list[str]) -> str:
    whole = set(words) <= {"-h", "--help", "--json"}
    return to_json({"commands": COMMANDS} if whole else {"help": text})


@contextlib.contextmanager
def _patience(words: list[str]) -> Iterator[None]:
    """A word on the terminal when nothing has been seen for a while; commands with progress of their own need none."""
    if not sys.stderr.isatty() or words[:1] in ([], *([name] for name in SHOW_PROGRESS)):
        yield
        return
    waiting = threading.Timer(
        PATIENCE, inform, ["working; first uses on a machine compile kernels and read vocabularies."]
    )
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


def _sentence(error: TyperException) -> str:
    """What typer found wrong with the words, in our words: what, and where to look."""
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    path = NAME if ctx is None else ctx.command_path
    message = error.message.removeprefix("Value error, ").rstrip(".")
    match type(error).__name__:
        case "NoSuchOption":
            flag = error.option_name  # type: ignore[attr-defined]
            assert ctx is not None
            if isinstance(ctx.command, Commands):
                return f"the command comes first: {NAME} COMMAND {flag} ...; see `{NAME} --help`."
            flags = [name for param in ctx.command.get_params(ctx) for name in param.opts if name.startswith("--")]
            return str(unknown(f"flag of `{path}`", flag, flags))
        case "MissingParameter" if param is not None:
            message = f"the following arguments are required: {param.metavar or param.name}"
        case _ if param is not None:
            message = f"argument {'/'.join(param.opts)}: {message}"
    return f"{message}; see `{path} --help`."


def _print(text: str, as_json: bool) -> None:
    if text:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = printable(text, encoding) if as_json else text
        # Terminals that can't show a character get an escape instead of an error.
        sys.stdout.write(text.encode(encoding, errors="backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def printable(document: str, encoding: str) -> str:
    """The same JSON document, with escapes for what a terminal would obey or the encoding lacks."""
    try:
        document.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if c.isascii() and c.isprintable() else json.dumps(c)[1:-1] for c in document)
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in document)


def _forget_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(kind: str, sentence: str, as_json: bool) -> str:
    shown = cut(sentence, LONGEST_MESSAGE).encode("utf-8", errors="backslashreplace").decode("utf-8")
    inform(f"ctkd: {shown}")
    return to_json({"error": {"type": kind, "message": shown}}) if as_json else ""
