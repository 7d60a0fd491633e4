"""Data sets of the hub, `hf:owner/name[/config][@split]`: fetched once by the library `datasets`, then read as a file.

A set is written as JSON lines into the cache, so that the one reader of data files reads it, a run that is started
again reads the same records, and nothing is asked of the network twice. A run fetches, and so does a command that
measures a corpus (`ctkd pair`, `ctkd report`); checks and pages never do. What one of them fetched the others find, so
a run looks at the size of a set that is there already: a corpus may be larger than what a run reads.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctkd_core import files
from ctkd_core.distill.sources import bundled
from ctkd_core.errors import RunError, short
from ctkd_core.files.data_files import MAX_WHOLE, without_nulls
from ctkd_core.markup.visible import one_line, shorten

PREFIX = "hf:"
_PART = r"[A-Za-z0-9][\w.-]*"
_FORM = re.compile(rf"hf:(?P<name>{_PART}/{_PART})(?:/(?P<config>{_PART}))?(?:@(?P<split>[\w.:%\[\]+-]+))?")
MISSING = (
    "data sets of the hub need the package datasets; run `pip install 'ctkd-lab[hub]'` (or `pip install datasets`)."
)


@dataclass(frozen=True)
class HubSet:
    """What `hf:owner/name[/config][@split]` names; the split is "train" where none is given."""

    name: str
    config: str | None
    split: str

    @property
    def path(self) -> Path:
        """Where its records are kept once they were fetched."""
        key = hashlib.sha256(json.dumps([self.name, self.config, self.split]).encode()).hexdigest()[:24]
        return files.cache_dir() / "datasets" / f"{key}.jsonl"


def hub_set(source: str) -> HubSet | None:
    """The hub set that a source names, None for any other source. Raises RunError for one that isn't well formed."""
    if not source.startswith(PREFIX):
        return None
    found = _FORM.fullmatch(source)
    if found is None:
        raise RunError(f"data {short(source)} isn't of the form hf:owner/name, hf:owner/name/config or ...@split.")
    return HubSet(found["name"], found["config"], found["split"] or "train")


def names_set(source: str) -> bool:
    """Whether a source names a set that comes along or one of the hub, well formed or not, and no file."""
    return source in bundled.NAMES or source.startswith((bundled.PREFIX, PREFIX))


def not_fetched(source: str) -> bool:
    """Whether a source is a hub set that the run has to fetch first."""
    found = hub_set(source)
    return found is not None and not found.path.is_file()


def fetched(source: HubSet, most: int | None = MAX_WHOLE) -> Path:
    """The file with a set's records, fetched on the first call. Raises RunError, also for a set that is too large.

    most  bytes of the file; None: of any size
    """
    from filelock import FileLock

    try:
        if source.path.is_file():
            _check_size(source, source.path.stat().st_size, most)
            return source.path
        source.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{source.path}.lock"):
            if not source.path.is_file():
                with files.replacing(source.path, sync=True) as part:
                    _write(_rows(source), part, source, most)
    except OSError as fault:
        raise RunError(
            f"data set {source.name!r} can't be kept at {str(source.path)!r}: {fault}; free space or set CTKD_HOME."
        ) from fault
    return source.path


def _rows(source: HubSet) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise RunError(MISSING) from None
    try:
        return datasets.load_dataset(source.name, source.config, split=source.split)
    except Exception as fault:  # its loaders raise what they like
        said = shorten(one_line(str(fault).strip().split("\n")[0]), 300).rstrip(".")
        raise RunError(
            f"data set {source.name!r} ({source.config or 'default'}, {source.split}) can't be had: {said}. Without a "
            "network only sets in the local cache can be read; give a .jsonl or .parquet file instead."
        ) from fault


def _write(rows: Iterable[Mapping[str, Any]], path: Path, source: HubSet, most: int | None) -> None:
    size = 0
    with path.open("wb") as file:
        for row in rows:
            kept = {key: without_nulls(value) for key, value in row.items()}  # as rows of Parquet are read
            size += file.write((json.dumps(kept, ensure_ascii=False, default=_plain) + "\n").encode())
            _check_size(source, size, most)


def _check_size(source: HubSet, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise RunError(
            f"data set {source.name!r} has more than {most / 1e9:.0f} GB of text; name a part of it, for "
            f"example hf:{source.name}@train[:100000]."
        )


def _plain(value: Any) -> Any:
    """What JSON has no word for; records of texts have none of these where it matters."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)[:200]
