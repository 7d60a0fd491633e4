"""What was counted, kept on disk piece by piece, so that a measurement that was stopped goes on where it was.

A record is named by what was counted (pair, method, fields) and by the piece: where it lies, and size, times and inodes
of its files. So it is taken for what it is or not at all, and one that is written twice is the same record.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core import files
from ctkd_core.background.status import reason
from ctkd_core.errors import CtkdError
from ctkd_core.files import kept
from ctkd_core.pair.corpora.counting import MAX_TEXT
from ctkd_core.pair.corpora.counts import FIELDS, GROUPS, MOST_BYTES, Counts

if TYPE_CHECKING:
    from ctkd_core.pair.corpora.counting import Counting
    from ctkd_core.pair.corpora.sources import Piece

VERSION = 5  # of what is counted; another one is counted anew
KEPT = 20  # measurements


@dataclass(frozen=True)
class Records:
    """The records of one counting, in a folder."""

    folder: Path

    def read(self, piece: Piece) -> Counts | None:
        """What was counted of a piece; None for a piece without a record, or with a damaged one."""
        try:
            return Counts.from_bytes(files.read_regular(self._place(piece), MOST_BYTES))
        except (OSError, ValueError):
            return None

    def write(self, piece: Piece, counts: Counts) -> None:
        """Keep what was counted of a piece. Raises CtkdError where the folder can't be written."""
        data = counts.to_bytes()
        try:
            with kept.held(self.folder.parent):
                files.write_atomic(self._place(piece), data)
                os.utime(self.folder)  # in use: `records_of` takes the folders that are so the longest time ago
        except OSError as fault:
            raise CtkdError(
                f"what was measured can't be kept under {str(self.folder)!r} ({reason(fault)}); free some space or set "
                "CTKD_HOME, then the same command goes on."
            ) from None

    def _place(self, piece: Piece) -> Path:
        key = piece.key
        return self.folder / key[:2] / f"{key}.counts"


def records_of(counting: Counting, root: Path) -> Records:
    """The records of a counting, under `root`; the KEPT ones last written or asked for stay."""
    asked = [VERSION, counting.student.fingerprint, counting.teacher.fingerprint, counting.method, list(counting.by)]
    asked += [MAX_TEXT, GROUPS, list(FIELDS)]
    folder = root / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]
    gone: list[Path] = []
    with kept.held(root) as alone, suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # asked for now
        if alone:
            gone = kept.take_out(root, folder, KEPT)
    kept.remove(gone)
    return Records(folder)
