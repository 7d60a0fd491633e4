"""Where runs and caches are kept, content hashes, and the one way to replace a file."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ctkd_core.errors import CtkdError, short

MOST_BYTES_OF_A_MEMO = 100_000  # of a remembered hash: a path and three numbers


def home() -> Path:
    """Where runs and caches are kept: CTKD_HOME, else the platform's folder for user data."""
    given = os.environ.get("CTKD_HOME")
    if given:
        return expanded(given).absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("ctkd-lab", appauthor=False))


def expanded(given: str | Path, error: type[CtkdError] = CtkdError) -> Path:
    """A path that somebody wrote, with the home folder for `~` or `~name`. Raises `error` where there is none.

    An empty text is none, though it would mean the current folder: it is what is left of a variable that nobody set.
    """
    if not str(given) or "\0" in str(given):
        raise error(f"{short(str(given))} can't be a path; name a folder or a file.")
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise error(f"there's no home folder for {short(str(given))}; write the whole path.") from None


def cache_dir() -> Path:
    """Where conversions and checks are kept; safe to delete."""
    return home() / "cache"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex, read now. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex; remembered under CTKD_HOME by path, size and time of change."""
    stat = path.stat()
    now: dict[str, object] = {"path": str(path.absolute()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    memo = cache_dir() / "hashes" / (hashlib.sha256(str(now["path"]).encode()).hexdigest()[:24] + ".json")
    try:
        known = json.loads(read_regular(memo, MOST_BYTES_OF_A_MEMO))
    except (OSError, ValueError, RecursionError):
        known = None
    # By hand: tokenizers are loaded without pydantic.
    if isinstance(known, dict) and known.items() >= now.items() and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    digest = sha256_of(path)
    with suppress(OSError):  # a read-only home costs time, no more
        write_atomic(memo, json.dumps(now | {"sha256": digest}))
    return digest


def write_atomic(path: Path, data: str | bytes, sync: bool = False) -> None:
    """Write `data` so that readers see the old file or the new one, never half of it.

    With `sync` it is on the disk when this returns, and survives a power cut. Raises OSError; what was there stays.
    """
    with replacing(path, sync) as part:
        part.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path, sync: bool = False) -> Iterator[Path]:
    """A name beside `path`; the file or folder that was made there takes the place of `path` at the end.

    When the block raises, or the move fails, what was at `path` stays and the new part is removed. A folder that is
    replaced is out of sight for the moment between two renames. `sync` as in `write_atomic`. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name per writer, so that two of them can't mix their bytes.
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    old = part.with_suffix(".old")
    try:
        with as_os_error():
            yield part
        if sync:
            sync_to_disk(part)
        if part.is_dir() and path.is_dir() and not path.is_symlink():
            path.replace(old)
        try:
            part.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        if sync:
            _sync(path.parent)
    finally:
        with suppress(OSError):
            _remove(part)
            _remove(old)


_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


@contextmanager
def as_os_error() -> Iterator[None]:
    """Raise what libraries say of a file that they couldn't write as the OSError that it is.

    Those in Rust (safetensors, tokenizers) have errors of their own with "(os error 28)" in them, and NumPy's tells
    only how much it could write. What says so of a network, and errors of ours, stay as they are.
    """
    try:
        yield
    except CtkdError:
        raise
    except OSError as fault:
        if fault.errno is None and "requested and" in str(fault):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from fault
        raise
    except Exception as fault:
        found = re.search(r"\(os error (\d+)\)", str(fault))
        if found is None or (number := int(found[1])) not in _OF_A_DISK:
            raise
        raise OSError(number, os.strerror(number)) from fault


def sync_to_disk(path: Path) -> None:
    """Return when a file, or a folder with all that is in it, is on the disk. Raises OSError."""
    if path.is_dir():
        for entry in path.iterdir():
            sync_to_disk(entry)
    _sync(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading. Raises OSError for anything else; a pipe would never answer."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it isn't a plain file")
    return path.open("rb")


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a plain file. Raises OSError for anything else, and for one with more than `most` bytes."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"it has more than the {most:,} bytes that belong there")
    return data


def _sync(path: Path) -> None:
    folder = path.is_dir()
    if os.name == "nt" and folder:
        return  # folders can't be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as fault:
        if not folder or fault.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks can't for folders
            raise
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def to_json(data: Any) -> str:
    """One JSON document; NaN and infinities become null, numpy scalars and arrays plain numbers and lists."""
    return json.dumps(plain(data), ensure_ascii=False, allow_nan=False)


_PLAIN = frozenset({str, bool, int, type(None)})


def plain(value: Any) -> Any:
    """`value` with only dict, list, str, int, float, bool and None in it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        if _PLAIN.issuperset(map(type, value)):  # ids and tokens of long texts: millions
            return list(value)
        return [plain(v) for v in value]
    if getattr(getattr(value, "dtype", None), "kind", None) in ("b", "i", "u"):
        return value.tolist()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)
