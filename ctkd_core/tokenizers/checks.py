"""Checks of tokenizer files that run in a child process: can it be read, and what does AutoTokenizer change.

A tokenizer.json can be huge, broken, or make the parser abort; a child that dies takes nothing with it. And
transformers picks a tokenizer class by name, which may replace parts of tokenizer.json without a word: the probe texts
show whether it does.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.files import cache_dir, write_atomic
from ctkd_core.tokenizers.faults import first_line, library_faults

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

UPLOAD_LIMIT = 40_000_000  # bytes; the largest common tokenizer.json (Gemma 3) has 33 million
READ_TIMEOUT = 60.0  # seconds
CHECK_TIMEOUT = 180.0
LARGEST_ID = 4_000_000  # arrays have an entry an id; the largest vocabulary in use has 262,144
CHECK_VERSION = 1  # raise it with PROBES, so that old results are not used

# Where tokenizer classes are known to differ: digit runs, spaces, scripts, emoji, contractions, normalisation.
PROBES = (
    "1100",
    "110",
    "In 2024 we sold 1234567 units at 3.14159 each.",
    "  two leading,  two  inside, two trailing  ",
    "x = [1, 2]\n\treturn x\r\n\n",
    "東京都庁は新宿区にある。 日本語",
    "👩\u200d🚀 🦙 🇯🇵",
    "don't we'll I'VE they're",
    "naïve cafe\u0301 ﬁne ½",
    "HelloWorld camelCase UPPER_case",
)


def parse(text: str, what: str) -> Backend:
    """A `tokenizers.Tokenizer` without truncation and padding; every fault of the file becomes a TokenizerError."""
    from tokenizers import Tokenizer as Backend

    with library_faults(f"{what} can't be read as a tokenizer"):
        backend = Backend.from_str(text)
        backend.no_truncation()
        backend.no_padding()
        _probe(backend, PROBES[:1])
    return backend


def _probe(backend: Backend, texts: Sequence[str]) -> None:
    """Let panics show. Ordinary errors are allowed: a vocabulary of A, C, G and T rightly refuses other text."""
    for text in texts:
        with suppress(Exception):
            backend.encode(text)


def document(text: str, what: str) -> dict[str, Any]:
    """The JSON document of a tokenizer.json, checked for its outline; raises TokenizerError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise TokenizerError(f"{what} isn't valid JSON ({first_line(fault)}); is the file complete?") from None
    if not isinstance(value, dict) or not isinstance(value.get("model"), dict):
        hint = ""
        if isinstance(value, dict) and ({"tokenizer_class", "model_type"} & set(value)):
            hint = " (it looks like a configuration; the file wanted is tokenizer.json)"
        raise TokenizerError(f'{what} isn\'t a tokenizer.json: it has no "model" section{hint}.')
    vocabulary = value["model"].get("vocab")
    if isinstance(vocabulary, dict):
        highest = max((i for i in vocabulary.values() if isinstance(i, int)), default=0)
        if highest > LARGEST_ID:
            raise TokenizerError(
                f"{what} has {len(vocabulary)} tokens but an id {highest}; ids over {LARGEST_ID} are refused."
            )
    return value


def decode(data: bytes, what: str) -> str:
    """The file's text; raises TokenizerError when it isn't UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        kind = " (a SentencePiece or GGUF file, perhaps?)" if fault.start < 64 else ""
        raise TokenizerError(f"{what} isn't a tokenizer.json: byte {fault.start} is no valid UTF-8{kind}.") from None


def check_upload(data: bytes, what: str) -> None:
    """`check_content` for a file from a stranger, which may not be larger than UPLOAD_LIMIT; raises TokenizerError."""
    if len(data) > UPLOAD_LIMIT:
        raise TokenizerError(
            f"{what} has {len(data) / 1e6:.1f} MB; uploads are limited to {UPLOAD_LIMIT / 1e6:.0f} MB. Put the file "
            "in a folder and give its path instead."
        )
    check_content(data, what)


def check_content(data: bytes, what: str) -> None:
    """Read a tokenizer.json and encode probe texts in a child process, so that panics and worse stay there.

    Content that passed is remembered on disk by its hash. Raises TokenizerError with the reason.
    """
    from ctkd_core.tokenizers.child import run_child

    memo = cache_dir() / "checks" / f"read-{CHECK_VERSION}-{hashlib.sha256(data).hexdigest()[:32]}"
    if memo.is_file():
        return
    document(decode(data, what), what)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_bytes(data)
        result = json.loads(run_child(["read", str(path)], f"{what} can't be read as a tokenizer", READ_TIMEOUT))
    if result["error"]:
        raise TokenizerError(f"{what} can't be read as a tokenizer: {result['error']}")
    with suppress(OSError):
        write_atomic(memo, "")


def auto_tokenizer_warnings(folder: Path) -> list[str]:
    """What AutoTokenizer would change about the folder's tokenizer.json, as sentences; kept on disk by content."""
    from ctkd_core.files import documents
    from ctkd_core.tokenizers.child import run_child

    if not (folder / "tokenizer_config.json").is_file() or not _transformers_version():
        return []
    memo = cache_dir() / "checks" / f"{_check_key(folder)}.json"
    try:
        return documents.read(list[str], memo, "check", TokenizerError)
    except TokenizerError:
        pass
    try:
        result = json.loads(run_child(["auto", str(folder.absolute())], "AutoTokenizer check", CHECK_TIMEOUT))
    except TokenizerError as fault:
        return [f"It couldn't be checked whether AutoTokenizer cuts texts as tokenizer.json does ({fault})."]
    warnings = _sentences(result)
    with suppress(OSError):
        write_atomic(memo, json.dumps(warnings, ensure_ascii=False))
    return warnings


def _sentences(result: dict[str, Any]) -> list[str]:
    if result["error"]:
        return [
            f"AutoTokenizer can't load this folder ({result['error']}); tokenizer.json itself is used here, but "
            "training with transformers will fail."
        ]
    if not result["differences"]:
        return []
    first = result["differences"][0]
    raw, auto = "|".join(first["raw"]), "|".join(first["auto"])
    return [
        f"AutoTokenizer (class {result['class']}, named by tokenizer_config.json) cuts texts differently from "
        f"tokenizer.json: {first['text']!r} becomes {auto} instead of {raw} ({len(result['differences'])} of "
        f'{len(PROBES)} probe texts differ). tokenizer.json is used here; set "tokenizer_class" to '
        '"PreTrainedTokenizerFast" in tokenizer_config.json so that transformers does the same.'
    ]


def _check_key(folder: Path) -> str:
    digest = hashlib.sha256(f"{CHECK_VERSION} {_transformers_version()}".encode())
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "special_tokens_map.json"):
        path = folder / name
        digest.update(name.encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _transformers_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return ""


def _try_reading(path: Path) -> dict[str, Any]:
    """Child: read the file and encode the probe texts with it."""
    try:
        with library_faults(""):
            _probe(parse(path.read_text(encoding="utf-8-sig"), "the file"), PROBES)
    except TokenizerError as fault:
        return {"error": str(fault).partition(": ")[2]}
    return {"error": ""}


def _compare_auto(folder: Path) -> dict[str, Any]:
    """Child: tokens of the probe texts by AutoTokenizer and by tokenizer.json itself."""
    from transformers import AutoTokenizer

    raw = parse((folder / "tokenizer.json").read_text(encoding="utf-8"), "tokenizer.json")
    try:
        auto = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as fault:
        return {"error": f"{type(fault).__name__}: {first_line(fault)}", "differences": [], "class": ""}
    differences = []
    for text in PROBES:
        ours = raw.encode(text, add_special_tokens=False)
        theirs = auto(text, add_special_tokens=False)["input_ids"]
        if list(ours.ids) != list(theirs):
            tokens = auto.convert_ids_to_tokens(theirs)
            differences.append({"text": text, "raw": ours.tokens, "auto": [str(t) for t in tokens]})
    return {"error": "", "differences": differences, "class": type(auto).__name__}


CHILD_TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {"read": _try_reading, "auto": _compare_auto}
