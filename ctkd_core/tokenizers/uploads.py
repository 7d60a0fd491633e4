"""Uploaded tokenizers: where they are kept, and a source that names one without telling a place on this machine."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ctkd_core.errors import TokenizerError
from ctkd_core.files import home

PREFIX = "upload:"  # of the source; the file's name and the first digits of its hash follow
_NAME = re.compile(r"(?P<stem>[A-Za-z0-9_-][A-Za-z0-9._-]{0,23})-(?P<hash>[0-9a-f]{12})")


def place(data: bytes, name: str) -> Path:
    """Where an upload with this content and file name is kept: CTKD_HOME/uploads/<file's name>-<hash>/."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(name).stem)[:24].lstrip(".") or "tokenizer"
    return home() / "uploads" / f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}" / "tokenizer.json"


def source_of(path: Path) -> str:
    """The source that names a kept upload: "upload:<file's name>-<hash>"."""
    return f"{PREFIX}{path.parent.name}"


def find(source: str) -> tuple[Path, str]:
    """The file behind such a source, and its name for people: the file's name with 8 digits of its hash.

    Raises TokenizerError for a source of another form, and for an upload that isn't kept on this machine.
    """
    found = _NAME.fullmatch(source.removeprefix(PREFIX))
    path = home() / "uploads" / found[0] / "tokenizer.json" if found else None
    if found is None or path is None or not path.is_file():
        raise TokenizerError(
            f"there is no uploaded tokenizer {source[:60]!r} on this machine; uploads stay where they were made. "
            "Upload the file here, or choose another tokenizer."
        )
    return path, f"{found['stem']} {found['hash'][:8]}"
