"""The process that measures one corpus: `python -m ctkd_core.pair.corpus_worker FOLDER`.

Exit codes as in `background.attempt`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from ctkd_core import files
from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora.uploads import called
from ctkd_core.pair.corpus_job import DONE, RESULT, Order


def measure_file(order: Order, folder: Path, report: Progress) -> str:
    """Measure what the order names and write the metrics; returns a sentence. An upload's content goes in any case."""
    kept = None if order.source else folder / Path(order.file).name
    path = kept or Path(order.source)
    try:
        report(0.0, f"reading {order.name}")
        from ctkd_core.pair.corpus import measure_domains, read_texts

        def progress(share: float, sentence: str) -> None:
            report(share, sentence.removeprefix("texts: "))

        student, teacher = order.student.load(), order.teacher.load()
        with called(order.name, path):
            texts = {"texts": read_texts(path, by_content=kept is not None)}
            records = folder / DONE
            found = measure_domains(
                student, teacher, texts, order.method, None, progress, by=order.by, records=records
            )["texts"]
        report(1.0, "measured")  # a cancellation that came last still counts
        files.write_atomic(folder / RESULT, json.dumps(found))
        shutil.rmtree(records, ignore_errors=True)
    except CtkdError:
        # Workers may hear of a cancellation first and be missed before this process is told: then this raises.
        report(0.0, f"reading {order.name}")
        raise
    finally:
        if kept is not None:
            kept.unlink(missing_ok=True)
    return f"{found['texts']:,} texts."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], measure_file, Order))
