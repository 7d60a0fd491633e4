"""Reads the evidence that comes with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.methods.evidence.records import Digest

PATH = Path(__file__).resolve().parent / "evidence.json"
VERSION = 1
_ADVICE = "Write it anew: python -m experiments digest."


class EvidenceError(CtkdError):
    """The evidence can't be read."""


def read(path: Path = PATH) -> Digest:
    """The evidence in a file; without experiments where there is no file. Raises EvidenceError for a damaged one."""
    if not path.exists():
        return Digest(version=VERSION, experiments=[])
    found = documents.read(Digest, path, "the evidence", EvidenceError, _ADVICE)
    if found.version != VERSION:
        raise EvidenceError(f"the evidence has version {found.version}; this program reads {VERSION}. {_ADVICE}")
    return found


@cache
def load() -> Digest:
    """The evidence of this package, read once. Raises EvidenceError."""
    return read()
