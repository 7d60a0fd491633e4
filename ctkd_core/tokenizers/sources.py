"""Where tokenizers come from: catalog names, hub ids, folders, tokenizer.json files, uploads.

Loaded tokenizers are kept, by content, and shared between threads and sessions; nothing changes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ctkd_core.errors import TokenizerError, short, unknown
from ctkd_core.files import cache_dir, read_regular
from ctkd_core.files.sized_cache import MIB, SizedCache
from ctkd_core.tokenizers import assets, catalog, uploads
from ctkd_core.tokenizers import checks as tokenizer_checks
from ctkd_core.tokenizers.facts import MODEL_EOS, chat_templates
from ctkd_core.tokenizers.faults import first_line
from ctkd_core.tokenizers.tokenizer import Tokenizer

MOST_CONFIG = 64 * MIB  # of a tokenizer_config.json (some list every added token) or a template
SMALL_CONFIG = MIB  # read at once; a larger one is read by a child process first
MOST_FILE = 1024 * MIB  # of a tokenizer.json on this machine
KEPT = 1500 * MIB  # of memory for loaded tokenizers; one of 150k tokens takes about 100 MB
MEMORY_PER_BYTE = 12  # of a file, when it is loaded and its tables are made
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MODEL_CONFIGS = ("generation_config.json", "config.json")
_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", *_MODEL_CONFIGS)

_kept = SizedCache(KEPT, size=lambda entry: entry[1][1])
_lists_folders: ContextVar[bool] = ContextVar("lists_folders", default=True)


@dataclass(frozen=True)
class _Files:
    """A tokenizer.json on disk with what is known about it."""

    path: Path
    name: str
    source: str
    licence: str = ""
    foreign: bool = True  # not from the catalog: to be tried in a child process first
    shown: str = ""  # what errors call it; empty: its path
    check: bool = False  # whether AutoTokenizer may be compared with it


def load(source: str | Path | bytes) -> Tokenizer:
    """See `ctkd_core.tokenizers.load.load_tokenizer`."""
    if isinstance(source, bytes | bytearray):
        return load_bytes(bytes(source), "uploaded tokenizer")
    return _load_files(_locate(source))


def load_bytes(data: bytes, name: str = "uploaded tokenizer") -> Tokenizer:
    """See `ctkd_core.tokenizers.load.load_tokenizer_bytes`."""

    def build() -> Tokenizer:
        tokenizer_checks.check_upload(data, repr(name))
        return _build(data, repr(name), {}, name=name, source="upload", licence="unknown")

    return _once(f"bytes {name} {hashlib.sha256(data).hexdigest()}", len(data), build)


def check(source: str | Path) -> list[str]:
    """See `ctkd_core.tokenizers.load.tokenizer_check`."""
    files = _locate(source)
    return tokenizer_checks.auto_tokenizer_warnings(files.path.parent) if files.check else []


def json_of(source: str) -> tuple[Path, str]:
    """The tokenizer.json behind a source, and what the file would be called as an upload. Raises TokenizerError."""
    files = _locate(source)
    upload = source.startswith(uploads.PREFIX)
    stem = files.path.parent.name.rpartition("-")[0] if upload else files.name.replace("/", "-")
    return files.path, f"{stem[:60]}.json"


def forget() -> None:
    """Drop every loaded tokenizer (for tests)."""
    _kept.clear()


def _locate(source: str | Path) -> _Files:
    if not isinstance(source, str | Path):
        raise TokenizerError(
            f"a tokenizer is named by a text or a path, not by {type(source).__name__}; give a name, or the folder "
            "that `save_pretrained` wrote."
        )
    name = str(source).strip() if isinstance(source, str) else ""
    if name in catalog.TOKENIZERS:
        row = catalog.TOKENIZERS[name]
        path = assets.tokenizer_folder(name) / "tokenizer.json"
        return _Files(path, name, row.source, row.licence, foreign=False)
    if isinstance(source, str) and not name:
        raise TokenizerError(f"no tokenizer given; choose one of {', '.join(sorted(catalog.TOKENIZERS))}.")
    if name.startswith(uploads.PREFIX):
        path, shown = uploads.find(name)
        return _Files(path, shown, name, "unknown", shown=name)
    try:
        path = Path(name or source).expanduser()
        is_dir, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a file name, null bytes, no home folder
        raise unknown("tokenizer", name, catalog.TOKENIZERS, TokenizerError) from None
    if is_dir:
        return _in_folder(path)
    if is_file:
        return _Files(path, path.parent.name or path.stem, str(path), check=path.name == "tokenizer.json")
    if _HUB_ID.fullmatch(name) and not name.endswith(".json"):
        from ctkd_core.tokenizers.hub import tokenizer_files

        return _Files(tokenizer_files(name), name, f"hub: {name}", "see its model card", check=True)
    if isinstance(source, Path) or "/" in name or name.endswith(".json"):
        raise TokenizerError(f"there's no file or folder {short(source)}; check the path.")
    raise unknown("tokenizer", name, catalog.TOKENIZERS, TokenizerError)


def _in_folder(folder: Path) -> _Files:
    path = folder / "tokenizer.json"
    if path.is_file():
        return _Files(path, folder.absolute().name, str(folder), check=True)
    others = sorted(p.name for p in folder.iterdir())
    hint = "give a folder with a tokenizer.json"
    if {"tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"} & set(others):
        hint = (
            "it has an older format; convert it once in Python: "
            "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    names = ", ".join(name[:80] for name in others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
    listed = f" (it has: {names or 'nothing'})" if _lists_folders.get() else ""
    raise TokenizerError(f"folder {short(folder)} has no tokenizer.json{listed}; {hint}.")


@contextmanager
def folders_unlisted() -> Iterator[None]:
    """Inside, no error tells what lies in a folder: who reads a page needn't be who owns the machine."""
    before = _lists_folders.set(False)
    try:
        yield
    finally:
        _lists_folders.reset(before)


def _load_files(files: _Files) -> Tokenizer:
    folder = files.path.parent
    siblings = [files.path, *(folder / name for name in _CONFIG_FILES), *_named_templates(folder)]
    stamp = [(str(p), s.st_size, s.st_mtime_ns) for p in siblings if (s := _stat(p))]
    with _mending(files):
        return _once(f"file {files.name} {stamp}", sum(size for _, size, _ in stamp), lambda: _read_files(files))


@contextmanager
def _mending(files: _Files) -> Iterator[None]:
    """Say what to do about a damaged file that this program has made itself."""
    try:
        yield
    except TokenizerError as fault:
        folder = files.path.parent
        if files.foreign or not folder.is_relative_to(cache_dir()):
            raise
        row = catalog.TOKENIZERS[files.name]
        again = f"run `{row.install}`" if row.on_request else "use it again, and it is made anew"
        said = str(fault).rstrip(".").removesuffix("; mend it or move it away")
        raise TokenizerError(f"{said}; it is damaged: remove the folder, then {again}.") from None


def _read_files(files: _Files) -> Tokenizer:
    what, folder = files.shown or str(files.path), files.path.parent
    try:
        data = read_regular(files.path, MOST_FILE)
    except OSError as fault:
        raise TokenizerError(f"{what} can't be read: {fault.strerror or fault}.") from None
    if files.foreign:
        tokenizer_checks.check_content(data, what)
    check = partial(tokenizer_checks.auto_tokenizer_warnings, folder) if files.check else None
    details = {"name": files.name, "source": files.source, "licence": files.licence, "check": check}
    return _build(data, what, _config(folder), **details)


def _build(data: bytes, what: str, config: dict[str, Any], **details: Any) -> Tokenizer:
    backend = tokenizer_checks.parse(tokenizer_checks.decode(data, what), what)
    return Tokenizer.from_backend(backend, config=config, **details)


def _config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, filled up from special_tokens_map.json; {} without them.

    A chat_template.jinja wins over a template in the configuration, and the files in additional_chat_templates/ are
    named templates beside it, as in transformers.

    Raises TokenizerError for files that can't be read, or aren't JSON or UTF-8.
    """
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        if path.stat().st_size > SMALL_CONFIG:
            tokenizer_checks.check_config(path)
        try:
            value = json.loads(read_regular(path, MOST_CONFIG).decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as fault:
            raise TokenizerError(f"{path} isn't valid JSON ({first_line(fault)}); mend it or move it away.") from None
        config |= value if isinstance(value, dict) else {}
    named = {path.stem: path for path in _named_templates(folder)}
    if (folder / "chat_template.jinja").is_file():
        named.setdefault("default", folder / "chat_template.jinja")
    if named:
        found = {name: _template(path) for name, path in named.items()}
        config["chat_template"] = found if "default" in found else chat_templates(config) | found
    return config | {MODEL_EOS: _model_eos(folder)}


def _model_eos(folder: Path) -> tuple[int, ...]:
    """Ids at which texts of the model end, by its generation_config.json and config.json, in this order; () without."""
    found: list[Any] = []
    for name in _MODEL_CONFIGS:
        try:
            document = json.loads(read_regular(folder / name, MOST_CONFIG))
        except (OSError, ValueError, RecursionError):  # the model's files are no business of its tokenizer
            continue
        named = document.get("eos_token_id") if isinstance(document, dict) else None
        found += named if isinstance(named, list) else [named]
    return tuple(dict.fromkeys(i for i in found if isinstance(i, int) and not isinstance(i, bool) and i >= 0))


def _named_templates(folder: Path) -> list[Path]:
    return sorted((folder / "additional_chat_templates").glob("*.jinja"))


def _template(path: Path) -> str:
    try:
        text = read_regular(path, MOST_CONFIG).decode("utf-8")
        return text.replace("\r\n", "\n").replace("\r", "\n")  # as Python reads text files
    except UnicodeDecodeError as fault:
        said = f"byte 0x{fault.object[fault.start]:02x} at position {fault.start}"
        raise TokenizerError(f"{path} isn't UTF-8 text ({said}); save it as UTF-8 or move it away.") from None
    except OSError as fault:
        raise TokenizerError(f"{path} can't be read ({fault.strerror or fault}); mend it or move it away.") from None


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None


def _once(key: str, size: int, build: Callable[[], Tokenizer]) -> Tokenizer:
    """What is kept under `key`, built by the first thread that asks while the others wait; size: bytes of its file."""
    return _kept.get(key, lambda: (build(), size * MEMORY_PER_BYTE))[0]
