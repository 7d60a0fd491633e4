"""What commands share: what they give back, exit codes, flags of texts and pairs, `-o name=value`, messages."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.errors import CtkdError, RunError, short, unknown
from ctkd_core.files import replacing
from ctkd_core.markup.terminal import safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.distill.lookup import Use
    from ctkd_core.distill.runs import Run, RunStore
    from ctkd_core.tokenizers.tokenizer import Tokenizer

OK, UNEXPECTED, BAD_INPUT, PREFLIGHT_FAILED, RUN_FAILED, CANCELLED = 0, 1, 2, 3, 4, 130


BYTE_ORDER_MARK = "\ufeff"  # some editors write it at the beginning of a file


class UsageError(CtkdError):
    """A command line that can't be understood."""


@dataclass(frozen=True)
class Output:
    """What a command found: `data()` is printed with --json, the parts of `view()` without; `code` is the exit status.

    A part is a string, printed as it is (made safe for terminals), or anything that rich can draw.
    """

    data: Callable[[], Any]
    view: Callable[[], Iterable[RenderableType]]
    code: int = OK


def one_of(what: str, names: Iterable[str]) -> Callable[[str], str]:
    """A check of a flag's value, which fails with the nearest names."""
    known = list(names)

    def check(value: str) -> str:
        if value not in known:
            raise unknown(what, value, known, UsageError)
        return value

    return check


def whole(value: Any) -> int:
    """A flag's value as a whole number."""
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"invalid int value: {short(value)}") from None


def names_of(names: Iterable[str]) -> Callable[[], list[str]]:
    """What a shell completes a value with."""
    return lambda: list(names)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]

SOURCE = "catalog name, hub id, folder or tokenizer.json"

# Student and teacher tokenizer, by default the catalog's pair.
Student = Annotated[
    str | None,
    typer.Option(
        "-s", "--student", metavar="S", help=f"Student tokenizer: {SOURCE}.", autocompletion=complete.tokenizers
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "-t", "--teacher", metavar="T", help=f"Teacher tokenizer: {SOURCE}.", autocompletion=complete.tokenizers
    ),
]

# The input text, exactly one of the three.
_TEXT = "The text (exactly one)"
MethodOptions = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="METHOD.NAME=VALUE", help="An option of one method; may be repeated."),
]
Text = Annotated[str | None, typer.Option("--text", metavar="STR", help="The text itself.", rich_help_panel=_TEXT)]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        metavar="F",
        help="A UTF-8 file; - reads standard input, saved:ID a text that a page keeps.",
        rich_help_panel=_TEXT,
    ),
]
Sample = Annotated[
    str | None,
    typer.Option(
        "--sample",
        metavar="NAME",
        help="A text that comes along: prose, code, numbers, emoji, chat or rtl.",
        rich_help_panel=_TEXT,
        autocompletion=complete.samples,
    ),
]


def _one_run(latest: str) -> Any:
    """The argument that names a run; `latest`: which one that word means to the command."""
    return typer.Argument(
        metavar="ID",
        help=f"Id, unique beginning or end of one, name or folder of a run; or 'latest': {latest}.",
        autocompletion=complete.runs,
    )


OneRun = Annotated[str, _one_run("the newest that has begun")]
FinishedRun = Annotated[str, _one_run("the newest that has finished")]
ActiveRun = Annotated[str, _one_run("the newest that is under way, else one that waits")]
StoppedRun = Annotated[str, _one_run("the newest that was cancelled, failed or lost")]
RUNS = "Ids, unique beginnings or ends of ids, or names of runs"
RunsDir = Annotated[
    str | None, typer.Option("--runs-dir", metavar="D", help="Where runs are kept (default: CTKD_HOME/runs).")
]
Options = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="NAME=VALUE", help="An option, see below; may be repeated."),
]


def sources_of(student: str | None, teacher: str | None) -> tuple[str, str]:
    """What the two sides are loaded from, by default the catalog's pair."""
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR

    first, second = DEFAULT_PAIR
    return first if student is None else student, second if teacher is None else teacher


def load_pair(student: str | None, teacher: str | None) -> tuple[Tokenizer, Tokenizer]:
    """The two tokenizers, loaded, by default the catalog's pair; raises TokenizerError."""
    from ctkd_core.tokenizers.load import load_tokenizer

    first, second = sources_of(student, teacher)
    loaded = {source: load_tokenizer(source) for source in dict.fromkeys((first, second))}
    return loaded[first], loaded[second]


def run_store(folder: str | None) -> RunStore:
    """The runs in a folder; None: those under CTKD_HOME."""
    from ctkd_core.distill.runs import RunStore

    return RunStore(folder)


def run_named(store: RunStore, name: str, use: Use = "begun") -> Run:
    """The run of the store that `name` means (`lookup.named`), or before that the one whose folder it is, anywhere.

    use  which run "latest" is: the newest that the command can use (`lookup.latest`)
    Raises CtkdError for none or several.
    """
    from ctkd_core.distill.consistency import LATEST
    from ctkd_core.distill.lookup import latest
    from ctkd_core.distill.runs import run_at

    if name == LATEST:
        runs = store.list()
        found = latest(runs, use)
        if found is None:
            raise CtkdError("there are no runs yet; start one with `ctkd distill`.")
        if found != runs[0]:
            inform(f"latest: run {found.id}")
        return found
    if not names_folder(name):
        return store.get(name)
    try:
        return run_at(name)
    except RunError:
        if not is_name(store, name):
            raise
        return store.get(name)


def is_name(store: RunStore, name: str) -> bool:
    """Whether a run of the store has this name, which may look like a folder."""
    from ctkd_core.distill.lookup import name_of

    return any(name_of(run) == name for run in store.list(archived=True))


def names_folder(name: str) -> bool:
    """Whether a word looks like a run's folder, not like its id."""
    return name in (".", "..") or "/" in name or os.sep in name


def once_each(runs: Iterable[Run]) -> list[Run]:
    """The runs, of those with one id the first: a copy that lies elsewhere is the same run."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.id, run)
    return list(found.values())


def new_file(name: str, force: bool) -> Path:
    """A file to be written. Raises UsageError where there is one, unless it may be replaced, or no folder."""
    path = Path(name)
    if path.exists() and not force:
        raise UsageError(f"{name!r} exists already; choose another name with --out, or add --force.")
    if not path.parent.is_dir():
        raise UsageError(f"{name!r} can't be written: there is no such folder; give another file.")
    return path


def write_out(what: str, data: bytes, path: Path) -> None:
    """Write what a command makes. Raises UsageError with the reason where that fails; what was there stays then."""
    try:
        if _replaceable(path):
            with replacing(path.resolve()) as part:
                part.write_bytes(data)
                if path.exists():  # who may read it stays, too
                    shutil.copymode(path, part)
        else:
            path.write_bytes(data)
    except OSError as fault:
        raise UsageError(
            f"the {what} can't be written to {str(path)!r}: {fault.strerror}; give another file."
        ) from None


def _replaceable(path: Path) -> bool:
    """Whether a file can take the place of what is there; no folder is made for it.

    A device or a pipe isn't replaced, nor a file that is protected, or in a folder that is.
    """
    if not path.exists():
        return path.parent.is_dir()
    folder = path.resolve().parent
    return path.is_file() and os.access(path, os.W_OK) and os.access(folder, os.W_OK | os.X_OK)


def read_text(text: str | None, file: str | None, sample: str | None) -> str:
    """The text of --text, --file or --sample.

    Raises UsageError unless exactly one is given, for an empty text, a file that can't be read and bytes that aren't
    UTF-8 (with their position).
    """
    given = [f"--{name}" for name, value in (("text", text), ("file", file), ("sample", sample)) if value is not None]
    if not given:
        raise UsageError("one of the arguments --text --file --sample is required; for example --sample prose.")
    if len(given) > 1:
        raise UsageError(f"argument {given[1]}: not allowed with argument {given[0]}; give one text.")
    if sample is not None:
        from ctkd_core.tokenizers.sample_texts import TEXTS

        if sample not in TEXTS:
            raise unknown("sample text", sample, TEXTS, UsageError)
        return TEXTS[sample].text
    if text is not None:
        # Bytes of the command line that aren't UTF-8 arrive as lone surrogates; os.fsencode gives them back.
        try:
            data, origin = os.fsencode(text), "--text"
        except UnicodeEncodeError as error:
            raise UsageError(
                f"--text holds a lone surrogate at character {error.start}; it has no UTF-8 form, remove it."
            ) from None
    else:
        assert file is not None
        from ctkd_core.tokenizers.snapshots import SAVED, load_text

        if file.startswith(SAVED) and not Path(file).exists():
            return load_text(file.removeprefix(SAVED))
        data, origin = _read_file(file), "standard input" if file == "-" else file
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{origin} is not valid UTF-8: byte 0x{data[error.start]:02x} at position {error.start} ({error.reason}); "
            "convert it first, for example with iconv."
        ) from None
    if text is None and found.startswith(BYTE_ORDER_MARK):
        inform(f"ctkd: {origin} begins with a byte order mark, which isn't part of the text; it is left out.")
        found = found.removeprefix(BYTE_ORDER_MARK)
    if not found:
        raise UsageError(f"{origin} is empty; there is nothing to align. Give at least one character.")
    return found


def _read_file(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"no file {short(name)}; check the path (it is relative to {str(Path.cwd())!r}).") from None
    except OSError as error:
        raise UsageError(f"can't read {short(name)}: {error.strerror}.") from None
    except ValueError as error:  # a NUL byte in the name
        raise UsageError(f"can't read {short(name)}: {error}.") from None


def parse_assignments(pairs: Sequence[str] | None) -> dict[str, str]:
    """`-o name=value` flags as a dict; dashes in names count as underscores."""
    given: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"-o takes name=value; got {short(pair)}. For example: -o temperature=2.")
        given[name.strip().replace("-", "_")] = value.strip()
    return given


def parse_method_options(pairs: Sequence[str] | None, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """`-o METHOD.NAME=VALUE` flags by method, values still as given; every one of `names` has a table."""
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        method, dot, option = key.strip().partition(".")
        if not equals or not dot or method not in found:
            raise UsageError(f"-o takes METHOD.NAME=VALUE with one of {', '.join(found)}; got {short(pair)}.")
        found[method][option.replace("-", "_")] = value.strip()
    return found


def inform(sentence: str) -> None:
    """One message for the person at the terminal, on stderr."""
    print(safe(sentence, lines=True), file=sys.stderr, flush=True)
