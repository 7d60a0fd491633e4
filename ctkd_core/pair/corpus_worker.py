"""The process that measures one file: `python -m ctkd_core.pair.corpus_worker FOLDER`.

Exit codes as in `background.attempt`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ctkd_core import files
from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpus_job import RESULT, Order


def measure_file(order: Order, folder: Path, report: Progress) -> str:
    """Measure what the order names and write the metrics; returns a sentence. The file's content goes in any case."""
    path = folder / Path(order.file).name
    try:
        report(0.0, f"reading {order.name}")
        from ctkd_core.pair.corpus import measure, read_texts

        try:
            texts = list(read_texts(path))
        except CtkdError as fault:
            raise CtkdError(str(fault).replace(repr(path.name), repr(order.name))) from None
        student, teacher = order.student.load(), order.teacher.load()

        def progress(share: float, sentence: str) -> None:
            report(share, sentence.removeprefix("texts: "))

        found = measure(student, teacher, texts, order.method, progress=progress)
        report(1.0, "measured")  # a cancellation that came last still counts
        files.write_atomic(folder / RESULT, json.dumps(found))
    finally:
        path.unlink(missing_ok=True)
    return f"{len(texts):,} texts."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], measure_file, Order))
