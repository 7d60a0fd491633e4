"""The way in: a Tokenizer from a name, a folder, a file, an upload, or another library's tokenizer object."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers

KEPT = 12  # converted objects; one of 150k tokens takes about 100 MB

_converted: OrderedDict[int, tuple[weakref.ref[Any], tuple[str, ...], Tokenizer]] = OrderedDict()
_lock = threading.Lock()


def as_tokenizer(value: Any, whose: str) -> Tokenizer:
    """`value` as a Tokenizer: itself, or what a fast tokenizer of transformers or a `tokenizers.Tokenizer` does.

    An object is converted once and the result kept as long as it is asked for and the object stays as it was. What
    counts is what the object itself does (AutoTokenizer may rewrite a tokenizer.json): a copy of its backend, its own
    special tokens and chat template; later changes to it make a new copy. `whose` names it in errors.
    Raises TokenizerError for a name, a slow tokenizer (it knows no offsets and hides its bytes), and anything else.
    """
    if hasattr(value, "encode_pieces"):  # its own mark, which survives that a server loads this module again
        return value
    if isinstance(value, str | Path):
        raise TokenizerError(f"the {whose} is the text {str(value)[:80]!r}; give what `load_tokenizer` makes of it.")
    backend = _backend(value)
    if backend is None:
        kind = f"{type(value).__module__}.{type(value).__name__}"
        if getattr(value, "is_fast", None) is False:
            raise TokenizerError(
                f"the {whose} is a {kind}, a slow tokenizer, which tells neither where its tokens lie nor their bytes; "
                "load the fast one (`AutoTokenizer.from_pretrained(...)` gives it where there is one), save it with "
                "`save_pretrained(folder)` and give `load_tokenizer(folder)`."
            )
        raise TokenizerError(
            f"the {whose} is a {kind}; save it with `save_pretrained(folder)` and give `load_tokenizer(folder)`."
        )
    stamp = _stamp(value, backend)
    with _lock:
        kept = _converted.get(id(value))
        if kept is not None and kept[0]() is value and kept[1] == stamp:
            _converted.move_to_end(id(value))
            return kept[2]
        made = _convert(value, backend)
        _converted[id(value)] = (weakref.ref(value), stamp, made)
        for key in [key for key, (held, _, _) in _converted.items() if held() is None]:
            del _converted[key]
        while len(_converted) > KEPT:
            _converted.popitem(last=False)
        return made


def as_pair(student: Any, teacher: Any) -> tuple[Tokenizer, Tokenizer]:
    """Both sides through `as_tokenizer`."""
    return as_tokenizer(student, "student"), as_tokenizer(teacher, "teacher")


def _backend(value: Any) -> tokenizers.Tokenizer | None:
    import tokenizers

    for found in (value, getattr(value, "backend_tokenizer", None)):
        if isinstance(found, tokenizers.Tokenizer):
            return found
    return None


def _stamp(value: Any, backend: tokenizers.Tokenizer) -> tuple[str, ...]:
    """What changes when somebody adds tokens, moves roles or exchanges a step; cheap, unlike the whole document."""
    steps = (backend.normalizer, backend.pre_tokenizer, backend.post_processor, backend.decoder)
    named = (getattr(value, "chat_template", None), *(getattr(value, f"{role}_token", None) for role in _ROLES))
    return (str(backend.get_vocab_size(with_added_tokens=True)), *map(str, steps), *map(str, named))


_ROLES = ("bos", "eos", "pad")


def _convert(value: Any, backend: tokenizers.Tokenizer) -> Tokenizer:
    import tokenizers

    document = backend.to_str()
    copy = tokenizers.Tokenizer.from_str(document)  # ours switches truncation and padding off
    name = str(getattr(value, "name_or_path", "") or "")
    name = Path(name).name if Path(name).is_absolute() else name
    name = name or f"{type(value).__name__} {hashlib.sha256(document.encode()).hexdigest()[:8]}"
    source = f"{type(value).__module__}.{type(value).__name__} object"
    if value is backend:
        return Tokenizer.from_backend(copy, name, source=source)
    config: dict[str, Any] = {f"{role}_token": getattr(value, f"{role}_token", None) for role in _ROLES}
    config["chat_template"] = getattr(value, "chat_template", None)
    return Tokenizer.from_backend(copy, name, source=source, config=config)


def load_tokenizer(source: str | Path | bytes | Any) -> Tokenizer:
    """The tokenizer behind a catalog name, hub id, folder, tokenizer.json path, or the bytes of such a file.

    A Tokenizer, a fast tokenizer of transformers and a `tokenizers.Tokenizer` are taken too (`as_tokenizer`), wherever
    the project takes a tokenizer. Loaded tokenizers are kept and shared between threads. Raises TokenizerError when
    there's nothing to load, with the nearest catalog names or what to do.
    """
    from ctkd_core.tokenizers.sources import load

    if hasattr(source, "encode_pieces") or _backend(source) is not None:
        return as_tokenizer(source, "tokenizer")
    return load(source)


def load_tokenizer_bytes(data: bytes, name: str = "uploaded tokenizer") -> Tokenizer:
    """The tokenizer of an uploaded tokenizer.json, read in a child process first (it is untrusted)."""
    from ctkd_core.tokenizers.sources import load_bytes

    return load_bytes(data, name)


def tokenizer_check(source: str | Path) -> list[str]:
    """What AutoTokenizer would change for a folder or hub id, as sentences; [] if nothing. Kept on disk."""
    from ctkd_core.tokenizers.sources import check

    return check(source)
