"""The process that builds one vocabulary map: `python -m ctkd_core.vocabulary.build_worker FOLDER`.

Exit codes as in `background.attempt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ctkd_core import files
from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary.build import Order

LOADED = 0.1  # loading tokenizers comes before the map; its share of the bar


def build(order: Order, _folder: Path, report: Progress) -> str:
    """Build what the order asks for; returns a sentence. Raises ProjectionError where the map can't be kept."""
    report(0.0, "Loading both tokenizers")
    from ctkd_core.tokenizers.load import load_tokenizer
    from ctkd_core.vocabulary.store import cached, cached_project

    student, teacher = load_tokenizer(order.student), load_tokenizer(order.teacher)
    report(LOADED, "Reading both vocabularies")

    def progress(share: float, sentence: str) -> None:
        report(LOADED + (1 - LOADED) * min(max(share, 0.0), 1.0), sentence)

    projection = cached_project(student, teacher, order.method, progress=progress, **order.options)
    if cached(student, teacher, order.method, **order.options) is None:
        raise ProjectionError(
            f"the map was built, but the cache {str(files.cache_dir())!r} can't be written; free some space or mend "
            "the folder's rights, then build it again."
        )
    return f"{projection.matrix.nnz:,} entries."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], build, Order))
