"""The student: a small new model, the teacher's body under another tokenizer, or any pretrained causal model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.consistency import scratch_heads
from ctkd_core.distill.models.embeddings import embedding_rows, lacks_rows
from ctkd_core.distill.models.pruning import prune
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.roles import ROLES

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedModel

    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Maps of embedding rows. Means of all pieces, unlike the defaults, which serve the projection of probabilities.
WAYS: dict[str, dict[str, Any]] = {
    "pieces": {"method": "pieces", "weights": "mean", "match": "bytes", "top_k": 0},
    "nearest": {"method": "nearest"},
    "exact": {"method": "exact"},
}


def build_student(
    config: RunConfig, student: Tokenizer, teacher: Tokenizer, teacher_model: PreTrainedModel | None = None
) -> PreTrainedModel:
    """The student model of a run, float32 on the CPU, before any step.

    `teacher_model` is read (not changed) by "transplant". The same seed gives the same weights.
    Raises RunError when the model can't be had or doesn't fit the tokenizer.
    """
    if config.student_model == "pretrained":
        from ctkd_core.distill.models.teachers import load_model, student_source

        model = load_model(student_source(config), role="student")
        _check_rows(model, student, config.student_path)
        return model
    if config.student_model == "scratch":
        return scratch(student, config.hidden_size, config.layers, config.max_length, config.seed)
    if config.student_model == "prune" and config.student_path:
        from ctkd_core.distill.models.teachers import load_model, student_source

        model = load_model(student_source(config), role="student")
        _check_rows(model, student, config.student_path)
        return prune(model, config.student_layers)[0]
    if teacher_model is None:
        from ctkd_core.distill.models.teachers import load_frozen, teacher_source

        teacher_model = load_frozen(teacher_source(config))
    if config.student_model == "prune":
        teacher_model = prune(teacher_model, config.student_layers)[0]
        if student.fingerprint == teacher.fingerprint:
            return teacher_model
    return transplant(teacher_model, student, teacher, config.embedding_rows, config.tie_embeddings)


def scratch(tokenizer: Tokenizer, hidden_size: int, layers: int, max_length: int, seed: int) -> PreTrainedModel:
    """A small Llama with random weights, tied embeddings of [n_ids, hidden_size], heads 64 wide."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = scratch_heads(hidden_size)
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.n_ids,
            hidden_size=hidden_size,
            intermediate_size=4 * hidden_size * 2 // 3 // 8 * 8,  # a gated block of the usual 4x size
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=max(512, max_length),
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id,
        )
    )


def transplant(
    model: PreTrainedModel, student: Tokenizer, teacher: Tokenizer, by: str = "pieces", tie: str = "source"
) -> PreTrainedModel:
    """The teacher's body with embeddings for the student's tokenizer.

    by   "pieces": row of a student token = mean of the teacher's embeddings of the pieces that spell it (an exact match
         is one piece, so a copy); taking the first piece only starts twice as far away. "nearest": the row of the
         nearest token by its spelling. "exact": rows of equal tokens alone
    tie  "source", "tied" or "untied": whether input and output are one matrix; tying keeps the input's

    A token without a row gets the mean of all; BOS, EOS, PAD and UNK take the row of their role. Untied output
    embeddings move in the same way. Raises RunError where the tokenizer isn't that of the model.
    """
    import copy

    import torch

    from ctkd_core.vocabulary import project

    matrix = project(student, teacher, **WAYS[by]).matrix
    moved: Any = copy.deepcopy(model).float()  # type: ignore[operator]
    moved.requires_grad_(True)
    inputs: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tied = head is None or head.weight is inputs.weight
    moved.resize_token_embeddings(student.n_ids, mean_resizing=False)
    with torch.no_grad():
        moved.get_input_embeddings().weight.copy_(
            _move_rows(inputs.weight.detach().float().cpu(), matrix, student, teacher)
        )
        if not tied:
            rows = _move_rows(head.weight.detach().float().cpu(), matrix, student, teacher)
            moved.get_output_embeddings().weight.copy_(rows)
    _tie(moved, tied, {"source": tied, "tied": True, "untied": False}[tie])
    for role in ("bos", "eos", "pad"):
        setattr(moved.config, f"{role}_token_id", getattr(student, f"{role}_id"))
    moved.generation_config.bos_token_id = student.bos_id
    moved.generation_config.eos_token_id = student.eos_id
    moved.generation_config.pad_token_id = student.pad_id
    return moved


def _tie(model: Any, tied: bool, wanted: bool) -> None:
    """Make one matrix of input and output embeddings, or two."""
    import torch

    if tied == wanted:
        return
    table = model.get_input_embeddings().weight
    model.config.tie_word_embeddings = wanted
    model.get_output_embeddings().weight = table if wanted else torch.nn.Parameter(table.detach().clone())
    if hasattr(model, "all_tied_weights_keys"):  # what saving leaves out
        model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)


def _move_rows(source: torch.Tensor, matrix: csr_matrix, student: Tokenizer, teacher: Tokenizer) -> torch.Tensor:
    """Embedding rows [Vs, d] from `source` float32 [Vt', d] and the projection [Vs, Vt]."""
    import torch

    if lacks_rows(source.shape[0], matrix.shape[1]):
        raise RunError(
            f"the teacher has {source.shape[0]} embedding rows but its tokenizer {teacher.name!r} has "
            f"{matrix.shape[1]} ids; this isn't the tokenizer of that model."
        )
    known = min(matrix.shape[1], source.shape[0])
    matrix, table = matrix[:, :known], source[:known].numpy()
    rows = np.asarray(matrix @ table, dtype=np.float32)
    mass = np.asarray(matrix.sum(axis=1)).ravel()
    spelt = mass > 0
    rows[spelt] /= mass[spelt, None]
    rows[~spelt] = table.mean(axis=0)
    for role in ROLES:
        mine, theirs = getattr(student, f"{role}_id"), getattr(teacher, f"{role}_id")
        if mine is not None and theirs is not None and theirs < known:
            rows[mine] = table[theirs]
    return torch.from_numpy(rows)


def _check_rows(model: PreTrainedModel, tokenizer: Tokenizer, source: str) -> None:
    rows = embedding_rows(model)
    if lacks_rows(rows, tokenizer.n_ids):
        raise RunError(
            f"the model {source!r} has {rows} embedding rows but tokenizer {tokenizer.name!r} has ids up to "
            f"{tokenizer.n_ids - 1}; name the tokenizer that belongs to the model, or use student_model 'transplant'."
        )
