"""Texts and uploaded tokenizers that a URL can name: kept under CTKD_HOME by the hash of their content.

A link carries the short id; the text itself stays on this machine.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.files import home, write_atomic
from ctkd_core.tokenizers import uploads

MAX_TEXT_BYTES = 1_000_000
MAX_TOKENIZER_BYTES = 40 * 2**20
_ID = re.compile(r"[0-9a-f]{16}")
SAVED = "saved:"  # of a file name that means a text kept here; its id follows


def decode_text(data: bytes, name: str) -> str:
    """The text of an uploaded file.

    Raises CtkdError when it's over 1 MB, empty, or not valid UTF-8 (with the position of the first bad byte).
    """
    if len(data) > MAX_TEXT_BYTES:
        raise CtkdError(
            f"{name} has {len(data):,} bytes; the limit is {MAX_TEXT_BYTES:,}. Cut it, or use `ctkd align --file`."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise CtkdError(
            f"{name} is not valid UTF-8: byte 0x{data[fault.start]:02x} at position {fault.start} ({fault.reason}). "
            "Save it as UTF-8, then upload it again."
        ) from None
    if not text:
        raise CtkdError(f"{name} is empty; there is nothing to align. Upload a file with at least one character.")
    return text


def save_text(text: str) -> str:
    """Keep `text` and return its id, 16 hex digits. Raises CtkdError for text that has no UTF-8 form."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise CtkdError(f"the text holds a lone surrogate at character {fault.start}; remove it.") from None
    snapshot = id_of(data)
    path = _texts() / f"{snapshot}.txt"
    if not path.is_file():
        write_atomic(path, text)
    return snapshot


def id_of(data: bytes) -> str:
    """The id of a text in UTF-8: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def load_text(snapshot: str) -> str:
    """The text behind an id. Raises CtkdError for an id that isn't kept on this machine, and for a damaged file."""
    path = _texts() / f"{snapshot}.txt"
    if not _ID.fullmatch(snapshot) or not path.is_file():
        raise CtkdError(
            f"there is no saved text {snapshot[:40]!r} on this machine; texts stay where they were typed. "
            "Choose a sample or type one."
        )
    # bytes, so that line endings arrive as they were saved
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise CtkdError(f"the saved text {str(path)!r} can't be read: {fault.strerror or fault}.") from None
    if id_of(data) != snapshot:
        raise CtkdError(f"the saved text {str(path)!r} is damaged: it isn't what was saved. Type or upload it again.")
    return data.decode("utf-8")


def save_tokenizer(data: bytes, name: str) -> Path:
    """Check an uploaded tokenizer.json (in a child process), keep it, and return its path, a tokenizer source.

    Raises TokenizerError when it's over 40 MB or can't be loaded.
    """
    check_tokenizer(data, name)
    return keep_tokenizer(data, name)


def check_tokenizer(data: bytes, name: str) -> None:
    """Load an uploaded tokenizer.json (in a child process first) and keep nothing of it.

    Raises TokenizerError when it's over 40 MB or can't be loaded.
    """
    from ctkd_core.tokenizers.load import load_tokenizer_bytes

    if len(data) > MAX_TOKENIZER_BYTES:
        raise TokenizerError(
            f"{name} has {len(data):,} bytes; the limit is {MAX_TOKENIZER_BYTES:,} (40 MB). Give its folder instead."
        )
    load_tokenizer_bytes(data, name)


def keep_tokenizer(data: bytes, name: str) -> Path:
    """Keep a tokenizer.json that `check_tokenizer` passed, and return its path. Raises OSError."""
    path = uploads.place(data, name)
    if not path.is_file():
        write_atomic(path, data.decode("utf-8"))
    return path


def _texts() -> Path:
    return home() / "snapshots"
