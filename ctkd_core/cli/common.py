"""What commands share: the answer they give, flags, input text, `-o name=value`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ctkd_core.errors import CtkdError, unknown

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

OK, UNEXPECTED, BAD_INPUT, PREFLIGHT_FAILED, RUN_FAILED, CANCELLED = 0, 1, 2, 3, 4, 130


BYTE_ORDER_MARK = "\ufeff"  # some editors write it at the beginning of a file


class UsageError(CtkdError):
    """A command line that can't be understood."""


@dataclass(frozen=True)
class Answer:
    """What a command found: `data()` is printed with --json, `text()` without; `code` is the exit status."""

    data: Callable[[], Any]
    text: Callable[[], str]
    code: int = OK


class CommandParser(argparse.ArgumentParser):
    """argparse, but errors are raised (so that --json can report them) and unknown flags name the nearest ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing and leaving."""
        raise UsageError(f"{message}; see `{self.prog} --help`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise unknown(f"{action.metavar or action.dest} of `{self.prog}`", value, action.choices, UsageError)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse's; an unknown flag raises UsageError with the nearest flags."""
        found, rest = self.parse_known_args(args, namespace)
        if not rest:
            return found
        first = rest[0].partition("=")[0]
        if first.startswith("-") and first != "-":
            raise unknown(f"flag of `{self.prog}`", first, self.flags(found), UsageError)
        raise UsageError(f"`{self.prog}` does not expect {rest[0]!r}; see `{self.prog} --help`.")

    def flags(self, found: argparse.Namespace) -> list[str]:
        """Long flags of this parser and of the sub-command that was reached."""
        names: list[str] = []
        for action in self._actions:
            names += [name for name in action.option_strings if name.startswith("--")]
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices.get(str(getattr(found, action.dest, None)))
                if isinstance(chosen, CommandParser):
                    names += chosen.flags(found)
        return sorted(set(names))


def nonempty(what: str) -> Callable[[str], str]:
    """An argparse type that refuses the empty string."""

    def check(value: str) -> str:
        if not value.strip():
            raise argparse.ArgumentTypeError(f"{what} is empty")
        return value

    return check


def add_json(parser: argparse.ArgumentParser) -> None:
    """The --json flag, the same for every command."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")


def add_pair(parser: argparse.ArgumentParser) -> None:
    """Student and teacher tokenizer, by default the catalog's pair."""
    source = "catalog name, hub id, folder or tokenizer.json"
    parser.add_argument("-s", "--student", metavar="S", help=f"student tokenizer: {source}")
    parser.add_argument("-t", "--teacher", metavar="T", help=f"teacher tokenizer: {source}")


def add_text(parser: argparse.ArgumentParser) -> None:
    """The input text: --text, --file or --sample, exactly one."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--text", metavar="STR", help="the text itself")
    group.add_argument("--file", metavar="F", help="a UTF-8 file; - reads standard input")
    group.add_argument("--sample", metavar="NAME", help="a text that comes along: prose, code, numbers, emoji or chat")


def load_pair(args: argparse.Namespace) -> tuple[Tokenizer, Tokenizer]:
    """The two tokenizers of `add_pair`, loaded; raises TokenizerError."""
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
    from ctkd_core.tokenizers.load import load_tokenizer

    student = args.student if args.student is not None else DEFAULT_PAIR[0]
    teacher = args.teacher if args.teacher is not None else DEFAULT_PAIR[1]
    loaded = {source: load_tokenizer(source) for source in dict.fromkeys((student, teacher))}
    return loaded[student], loaded[teacher]


def read_text(args: argparse.Namespace) -> str:
    """The text of `add_text`.

    Raises UsageError for an empty text, a file that can't be read and bytes that aren't UTF-8 (with their position).
    """
    if args.sample is not None:
        from ctkd_core.tokenizers.sample_texts import TEXTS

        if args.sample not in TEXTS:
            raise unknown("sample text", args.sample, TEXTS, UsageError)
        return TEXTS[args.sample].text
    if args.text is not None:
        # Bytes of the command line that aren't UTF-8 arrive as lone surrogates; os.fsencode gives them back.
        try:
            data, origin = os.fsencode(args.text), "--text"
        except UnicodeEncodeError as error:
            raise UsageError(
                f"--text holds a lone surrogate at character {error.start}; it has no UTF-8 form, remove it."
            ) from None
    else:
        data, origin = _read_file(args.file), "standard input" if args.file == "-" else args.file
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{origin} is not valid UTF-8: byte 0x{data[error.start]:02x} at position {error.start} ({error.reason}); "
            "convert it first, for example with iconv."
        ) from None
    if args.text is None and text.startswith(BYTE_ORDER_MARK):
        say(f"ctkd: {origin} begins with a byte order mark, which isn't part of the text; it is left out.")
        text = text.removeprefix(BYTE_ORDER_MARK)
    if not text:
        raise UsageError(f"{origin} is empty; there is nothing to align. Give at least one character.")
    return text


def _read_file(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"no file {name!r}; check the path (it is relative to {str(Path.cwd())!r}).") from None
    except OSError as error:
        raise UsageError(f"can't read {name!r}: {error.strerror}.") from None
    except ValueError as error:  # a NUL byte in the name
        raise UsageError(f"can't read {name!r}: {error}.") from None


def parse_assignments(pairs: Sequence[str] | None) -> dict[str, str]:
    """`-o name=value` flags as a dict; dashes in names count as underscores."""
    given: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"-o takes name=value; got {pair!r}. For example: -o temperature=2.")
        given[name.strip().replace("-", "_")] = value.strip()
    return given


def say(sentence: str) -> None:
    """One line for the person at the terminal, on stderr."""
    print(sentence, file=sys.stderr, flush=True)
