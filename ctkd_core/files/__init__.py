"""Where runs and caches are kept, content hashes, and the one way to replace a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


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


def to_json(data: Any) -> str:
    """One JSON document; NaN and infinities become null, numpy scalars and arrays plain numbers and lists."""
    return json.dumps(plain(data), ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """`value` with only dict, list, str, int, float, bool and None in it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)
