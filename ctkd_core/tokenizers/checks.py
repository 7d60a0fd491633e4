"""Checks of tokenizer files that run in a child process: can it be read, and what does AutoTokenizer change.

A tokenizer.json can be huge, broken, made to take all memory, or make the parser abort; a child that dies takes nothing
with it. What passed can be read in the process that asked: the child was no larger than its limit. And transformers
picks a tokenizer class by name, which may replace parts of tokenizer.json without a word: the probe texts show whether
it does.
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
from ctkd_core.files.data_files import LFS_POINTER, POINTS
from ctkd_core.tokenizers import facts, growth
from ctkd_core.tokenizers.faults import first_line, library_faults

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

UPLOAD_LIMIT = 40 * 2**20  # bytes; the largest common tokenizer.json (Gemma 3) has 33 million
READ_TIMEOUT, READ_TIMEOUT_PER_MIB = 60.0, 10.0  # seconds, and more for each megabyte of the file
CHECK_TIMEOUT = 180.0
LARGEST_ID = 4_000_000  # arrays have an entry an id; the largest vocabulary in use has 262,144
# Reading a file of 40 MB takes 0.4 GB where it holds short added tokens, 2.6 GB and a minute where they have 250
# characters each: the library builds an automaton that finds them all.
READ_MEMORY, READ_MEMORY_PER_BYTE = 2**29, 70  # bytes that reading a file may take, and more for each of its own
CONFIG_MEMORY, CONFIG_MEMORY_PER_BYTE = 2**24, 10
CHECK_MEMORY = 4 * 2**30
CHECK_VERSION = 2  # raise it with PROBES and with what is refused, so that old results are not used
AUTO_VERSION = 4  # raise it with PROBES and with what is said of AutoTokenizer
_NAME = "\0"  # stands for the file's name in what the child says

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
    """The JSON document of a tokenizer.json, checked for its outline; raises TokenizerError.

    Python's own objects may take thirty times the file's size: only for files that nobody made to take all memory, and
    for the child.
    """
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
    """The file's text; raises TokenizerError when it isn't UTF-8, or only says where the file is."""
    if data.startswith(LFS_POINTER):
        raise TokenizerError(f"{what} {POINTS}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        kind = " (a SentencePiece or GGUF file, perhaps?)" if fault.start < 64 else ""
        raise TokenizerError(f"{what} isn't a tokenizer.json: byte {fault.start} is no valid UTF-8{kind}.") from None


def check_upload(data: bytes, what: str) -> None:
    """`check_content` for a file from a stranger, which may not be larger than UPLOAD_LIMIT; raises TokenizerError."""
    if len(data) > UPLOAD_LIMIT:
        raise TokenizerError(
            f"{what} has {len(data) / 2**20:.1f} MB; uploads are limited to {UPLOAD_LIMIT / 2**20:.0f} MB. Put the "
            "file in a folder and give its path instead."
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
    decode(data, what)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_bytes(data)
        limit = READ_TIMEOUT + READ_TIMEOUT_PER_MIB * (len(data) // 2**20)
        result = json.loads(run_child(["read", str(path)], f"{what} can't be read as a tokenizer", limit))
    if result["error"]:
        raise TokenizerError(result["error"].replace(_NAME, what))
    with suppress(OSError):
        write_atomic(memo, "")


def check_config(path: Path) -> None:
    """Read a large configuration in a child process: JSON can take thirty times its size. Raises TokenizerError."""
    from ctkd_core.tokenizers.child import run_child

    run_child(["config", str(path.absolute())], f"{path} can't be read", READ_TIMEOUT)


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
    # transformers takes a class of its own for some types of models (qwen2), whatever the files say.
    whose, remedy = "taken for this type of model", "load it with PreTrainedTokenizerFast.from_pretrained"
    if _slow(result["class"]) == _slow(result["named"]):
        whose = "named by tokenizer_config.json"
        remedy = 'set "tokenizer_class" to "PreTrainedTokenizerFast" in tokenizer_config.json'
    return [
        f"AutoTokenizer (class {result['class']}, {whose}) cuts texts differently from "
        f"tokenizer.json: {first['text']!r} becomes {auto} instead of {raw} ({len(result['differences'])} of "
        f"{len(PROBES)} probe texts differ). tokenizer.json is used here; {remedy} so that transformers does the same."
    ]


def _slow(name: Any) -> str:
    """A class as transformers 5 calls it, which has one where there were a slow one and a fast one."""
    return name.removesuffix("Fast") if isinstance(name, str) else ""


def _check_key(folder: Path) -> str:
    digest = hashlib.sha256(f"{AUTO_VERSION} {_transformers_version()}".encode())
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
    """Child: `examine` the file within a limit of memory."""
    import tokenizers  # noqa: F401 - before the limit, which is for what the file takes

    from ctkd_core.tokenizers.child import limit_memory

    limit_memory(READ_MEMORY + READ_MEMORY_PER_BYTE * path.stat().st_size)
    return examine(path.read_bytes())


def _try_config(path: Path) -> dict[str, Any]:
    """Child: parse a configuration within a limit of memory; what is wrong with its JSON is said by who asked."""
    from ctkd_core.tokenizers.child import limit_memory

    data = path.read_bytes()
    limit_memory(CONFIG_MEMORY + CONFIG_MEMORY_PER_BYTE * len(data))
    with suppress(ValueError, RecursionError):
        json.loads(data)
    return {}


def examine(data: bytes) -> dict[str, str]:
    """{"error": why a tokenizer.json is refused, or ""}: its outline, its parts, its ids, the probe texts."""
    try:
        with library_faults(f"{_NAME} can't be read as a tokenizer"):
            text = decode(data, _NAME)
            _check_parts(document(text, _NAME), _NAME)
            backend = parse(text, _NAME)
            check_backend(backend, _NAME)
            highest = max(backend.get_vocab(with_added_tokens=True).values(), default=0)
            if highest > LARGEST_ID:
                raise TokenizerError(f"{_NAME} has an id {highest}; ids over {LARGEST_ID} are refused.")
            _probe(backend, PROBES)
    except TokenizerError as fault:
        return {"error": str(fault)}
    return {"error": ""}


def _check_parts(parsed: dict[str, Any], what: str) -> None:
    """What the parts can make of a text, before the library uses them: it normalises added tokens while it reads."""
    from tokenizers import Tokenizer as Backend

    names = ("version", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    shell = {name: parsed[name] for name in names if name in parsed}
    shell |= {"added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    try:
        written = json.dumps(shell)
    except RecursionError:
        raise TokenizerError(f"{what} can't be read as a tokenizer: it is nested too deeply.") from None
    with library_faults(f"{what} can't be read as a tokenizer"):
        parts = growth.components(Backend.from_str(written))
    _refusing(what, lambda: growth.check_components(parts))


def check_backend(backend: Backend, what: str) -> None:
    """Raise TokenizerError for a tokenizer that can make far more of a text than it is, or adds ids that it lacks."""
    spec = facts.read_spec(backend)
    _refusing(what, lambda: growth.check_components(spec))
    _refusing(what, lambda: growth.check_model(spec["model"]))
    for index in growth.template_ids(spec["post_processor"]):
        if backend.id_to_token(index) is None:
            raise TokenizerError(f"{what} can't be used: its template adds the id {index}, which has no token.")


def _refusing(what: str, check: Callable[[], None]) -> None:
    try:
        check()
    except TokenizerError as fault:
        raise TokenizerError(f"{what} is refused: {fault}") from None


def _compare_auto(folder: Path) -> dict[str, Any]:
    """Child: tokens of the probe texts by AutoTokenizer and by tokenizer.json itself."""
    from transformers import AutoTokenizer

    from ctkd_core.tokenizers.child import limit_memory

    limit_memory(CHECK_MEMORY)
    raw = parse((folder / "tokenizer.json").read_text(encoding="utf-8-sig"), "tokenizer.json")
    try:
        auto = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as fault:
        return {"error": f"{type(fault).__name__}: {first_line(fault)}", "differences": []}
    differences = []
    for text in PROBES:
        ours = raw.encode(text, add_special_tokens=False)
        theirs = auto(text, add_special_tokens=False)["input_ids"]
        if list(ours.ids) != list(theirs):
            tokens = auto.convert_ids_to_tokens(theirs)
            differences.append({"text": text, "raw": ours.tokens, "auto": [str(t) for t in tokens]})
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8-sig"))
    named = config.get("tokenizer_class") if isinstance(config, dict) else None
    return {"error": "", "differences": differences, "class": type(auto).__name__, "named": named}


CHILD_TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "read": _try_reading,
    "config": _try_config,
    "auto": _compare_auto,
}
