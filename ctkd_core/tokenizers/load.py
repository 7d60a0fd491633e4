"""The way in: a Tokenizer from a name, a folder, a file or an upload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    pass


def check_tokenizer(value: Any, whose: str) -> None:
    """Raises TokenizerError for a name or another library's tokenizer where a `Tokenizer` belongs, with what to do.

    Slow tokenizers of transformers know no offsets and hide their bytes; only a tokenizer.json tells both.
    """
    if hasattr(value, "encode_pieces"):  # its own mark, which survives that a server loads this module again
        return
    if isinstance(value, str | Path):
        raise TokenizerError(f"the {whose} is the text {str(value)[:80]!r}; give what `load_tokenizer` makes of it.")
    raise TokenizerError(
        f"the {whose} is a {type(value).__module__}.{type(value).__name__}; save it with `save_pretrained(folder)` and "
        "give `load_tokenizer(folder)`."
    )


def load_tokenizer(source: str | Path | bytes) -> Tokenizer:
    """The tokenizer behind a catalog name, hub id, folder, tokenizer.json path, or the bytes of such a file.

    Loaded tokenizers are kept and shared between threads. Raises TokenizerError when there's nothing to load, with
    the nearest catalog names or what to do.
    """
    from ctkd_core.tokenizers.sources import load

    return load(source)


def load_tokenizer_bytes(data: bytes, name: str = "uploaded tokenizer") -> Tokenizer:
    """The tokenizer of an uploaded tokenizer.json, read in a child process first (it is untrusted)."""
    from ctkd_core.tokenizers.sources import load_bytes

    return load_bytes(data, name)


def tokenizer_check(source: str | Path) -> list[str]:
    """What AutoTokenizer would change for a folder or hub id, as sentences; [] if nothing. Kept on disk."""
    from ctkd_core.tokenizers.sources import check

    return check(source)
