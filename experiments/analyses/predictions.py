"""What a model says after each token of some texts: its best candidates and its entropy, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core import files
from experiments.analyses.pairs import WITH_WEIGHTS, Text, tokenizer
from experiments.analyses.records import Anew

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

TOP_K = 100  # candidates of a row, as in SeDi and CDM
ROWS = 64  # rows of logits at once: 64 x 262k float32 are 67 MB


@dataclass(frozen=True, eq=False)
class TextPredictions:
    """One text of n tokens, none of them special: row i is said after token i, about token i + 1.

    ids  int32 [n, TOP_K] likeliest first; logprobs float32 [n, TOP_K] nats; entropy float32 [n] nats
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropy: NDArray[np.float32]


def text_predictions(
    body: str, reads_with: str, texts: Sequence[Text], anew: Anew | None = None
) -> list[TextPredictions]:
    """What the model `body` says of the texts, under its own tokenizer or, its embeddings moved, under another one.

    Raises RunError where the model isn't prepared.
    """
    reader = tokenizer(reads_with)
    key = json.dumps([body, reads_with, reader.fingerprint, TOP_K, [text.text for text in texts]])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = files.cache_dir() / "experiments" / "analyses" / "said" / f"{name}.npz"
    anew = anew or Anew()
    if not anew.has(path):
        found = _ask(body, reader, texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as part, part.open("wb") as out:
            np.savez(out, **found)
        anew.made(path)
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays["length"])[:-1]
        columns = [np.split(arrays[name], ends) for name in ("ids", "logprobs", "entropy")]
    return [TextPredictions(*row) for row in zip(*columns)]


def _ask(body: str, reader: Tokenizer, texts: Sequence[Text]) -> dict[str, NDArray[Any]]:
    import torch

    from ctkd_core.distill.models import students, teachers

    assert body in WITH_WEIGHTS
    model: Any = teachers.load_frozen(teachers.weights_source(body, ""))
    own = tokenizer(body)
    if reader.fingerprint != own.fingerprint:
        model = students.transplant(model, reader, own).eval()
    # Gemma without its BOS says nothing sensible; SmolLM2 has none.
    bos = [reader.bos_id if reader.bos_id is not None else own.bos_id] if own.begins_with_bos else []
    head = model.get_output_embeddings()
    parts: dict[str, list[Any]] = {"ids": [], "logprobs": [], "entropy": [], "length": []}
    with torch.inference_mode():
        for text in texts:
            ids = reader.encode(text.text, special_tokens=False).ids.tolist()
            hidden = model.base_model(torch.tensor([[*bos, *ids]])).last_hidden_state[0, len(bos) :]
            for rows in hidden.split(ROWS):
                logp = torch.log_softmax(head(rows).float()[:, : reader.n_ids], dim=-1)
                best = logp.topk(TOP_K, dim=-1)
                parts["entropy"].append(-(logp.exp() * logp).sum(dim=-1).numpy())
                parts["ids"].append(best.indices.to(torch.int32).numpy())
                parts["logprobs"].append(best.values.numpy())
            parts["length"].append(np.array([len(ids)]))
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}
