"""Makes the stored example of page Losses: `python -m ctkd_core.lab.example` (half a minute; after losses change).

The default pair reads the first example; the worker computes the default methods; the answer becomes one JSON file.
"""

from __future__ import annotations

import json
import shutil
import sys

from ctkd_core import files
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import DEFAULT_METHODS, EXAMPLES, Choice, Question
from ctkd_core.tokenizers import catalog
from ctkd_core.tokenizers.load import load_tokenizer

SECONDS = 300.0


def question() -> Question:
    """The default pair on the first example."""
    example = next(iter(EXAMPLES.values()))
    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    return Question(student, teacher, example.context, example.text)


def main() -> int:
    """Compute everything anew and write the file; returns the exit code."""
    asked, choices = question(), [Choice(name) for name in DEFAULT_METHODS]
    shutil.rmtree(asked.folder, ignore_errors=True)  # answers of older losses
    status = loss_lab.start(asked, choices).wait(SECONDS, lambda share, words: print(f"{share:4.0%} {words}"))
    if status.state != "finished":
        print(status.message, file=sys.stderr)
        return 4
    document = loss_lab.example_document(asked, choices)
    text = json.dumps(document, separators=(",", ":"))
    files.write_atomic(loss_lab.EXAMPLE, text + "\n")
    print(f"{loss_lab.EXAMPLE.name}: {len(text) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
