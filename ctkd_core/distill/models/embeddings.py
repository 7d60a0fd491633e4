"""Embedding rows of another vocabulary."""

from __future__ import annotations

from typing import Any

FEW = 0.05  # of a tokenizer's ids: so many may lie beyond a model's rows (Gemma 3: one of 262,145)


def embedding_rows(model: Any) -> int:
    """Rows of a model's input embeddings."""
    return int(model.get_input_embeddings().weight.shape[0])


def lacks_rows(rows: int, n_ids: int) -> bool:
    """Whether a model has too few rows to belong to a tokenizer.

    Some ids beyond the rows are no reason: tokenizers list markers of pictures that a model of text never sees. Whether
    data has one of them is looked at where the data is (`teachers.check_width`).
    """
    return n_ids - rows > FEW * n_ids
