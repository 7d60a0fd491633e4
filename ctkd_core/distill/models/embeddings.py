"""Embedding rows of another vocabulary."""

from __future__ import annotations

from typing import Any


def embedding_rows(model: Any) -> int:
    """Rows of a model's input embeddings."""
    return int(model.get_input_embeddings().weight.shape[0])
