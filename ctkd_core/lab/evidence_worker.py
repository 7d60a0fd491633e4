"""The process that asks the models about one text: `python -m ctkd_core.lab.evidence_worker FOLDER`.

Exit codes as in `background.attempt`; `evidence` and `background.lifecycle` say what is in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.lab import evidence

# A model reads this many tokens at once; of a longer text the next stretch begins so many earlier.
STRETCH, CONTEXT = 1024, 256
ROWS = 64  # rows of logits at once: 64 x 152k float32 are 39 MB
# Shares of the bar that the stages take.
LOADED, TAUGHT, MOVED = 0.45, 0.6, 0.8


def answer(order: evidence.Order, folder: Path, report: Progress) -> str:
    """Load the models, let both read the text, write the file; returns a sentence."""
    report(0.02, "Loading both tokenizers")
    student, teacher, text = order.student.load(), order.teacher.load(), order.text
    student_ids, teacher_ids = (side.encode(text, special_tokens=False).ids for side in (student, teacher))
    for name, tokens in ((student.name, student_ids), (teacher.name, teacher_ids)):
        if not 0 < len(tokens) <= evidence.MAX_TOKENS:
            raise CtkdError(
                f"the models are asked about 1 to {evidence.MAX_TOKENS:,} tokens; {name} has {len(tokens):,} of this "
                "text. Take a shorter one."
            )
    report(0.08, "Loading the model library")
    from ctkd_core.alignment.alm import boundary_tokens
    from ctkd_core.distill.models import students, teachers

    folder_of_model = teachers.prepare(lambda share, sentence: report(0.1 + 0.25 * share, sentence))
    report(0.35, "Loading the teacher")
    model: Any = teachers.load_model(folder_of_model, role="teacher").eval()
    found = _rows(model, teacher_ids, boundary_tokens(teacher), report, LOADED, TAUGHT, "The teacher reads")
    report(TAUGHT, "Moving the teacher's body to the student's tokenizer")
    twin: Any = students.transplant(model, student, teacher).eval()
    del model
    own = _rows(twin, student_ids, None, report, MOVED, 1.0, "The student reads")
    notes = (
        "Teacher: the bundled SmolLM2 135M Instruct (4-bit weights). Student: its body with embeddings moved to "
        f"{student.name}'s tokens, before any training.",
    )
    result = evidence.Evidence(
        **{f"teacher_{name}": values for name, values in found.items()},
        **{f"student_{name}": values for name, values in own.items()},
        notes=notes,
    )
    evidence.write(folder / evidence.FILE, result)
    return f"{len(teacher_ids):,} teacher and {len(student_ids):,} student rows."


def _rows(
    model: Any,
    ids: NDArray[np.int32],
    boundary: NDArray[np.bool_] | None,
    report: Progress,
    start: float,
    end: float,
    sentence: str,
) -> dict[str, NDArray[Any]]:
    """Entropy, top candidates and, with `boundary`, their mass, of the row after each token.

    The head runs on a few rows at a time: all rows of a large vocabulary at once would be gigabytes.
    """
    import torch

    parts: dict[str, list[Any]] = {"entropy": [], "top_ids": [], "top_logprobs": []}
    if boundary is not None:
        parts["space_probability"] = []
    marked = None if boundary is None else torch.from_numpy(np.flatnonzero(boundary))
    head, tokens = model.get_output_embeddings(), torch.from_numpy(ids.astype(np.int64))
    with torch.inference_mode():
        for at in range(0, len(tokens), STRETCH - CONTEXT):
            first = max(0, at - CONTEXT)
            hidden = model.base_model(tokens[None, first : at + STRETCH - CONTEXT]).last_hidden_state[0, at - first :]
            for k in range(0, len(hidden), ROWS):
                report(start + (end - start) * (at + k) / len(tokens), sentence)
                logp = torch.log_softmax(head(hidden[k : k + ROWS]).float(), dim=-1)
                p = logp.exp()
                best = logp.topk(min(evidence.TOP_K, logp.shape[1]), dim=-1)
                parts["entropy"].append(-(p * logp).sum(dim=-1))
                parts["top_ids"].append(best.indices.to(torch.int32))
                parts["top_logprobs"].append(best.values)
                if marked is not None:
                    parts["space_probability"].append(p[:, marked].sum(dim=-1).clamp(max=1.0))
    return {name: torch.cat(pieces).numpy() for name, pieces in parts.items()}


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], answer, evidence.Order))
