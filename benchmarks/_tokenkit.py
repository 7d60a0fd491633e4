"""tokenkit's own functions, called from the program where it is installed: its alignment and its ALM loss in JAX.

Its training code logs to wandb, which nothing here calls: an empty module stands in its place where it is missing.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
from _installed import stand_in

TAU, GAMMA = 100.0, 0.1  # tokenkit's own: temperature of the events, least probability of a new word


def aligned(student: Any, teacher: Any) -> Callable[[], list[tuple[int, int, int, int]]]:
    """A call of its alignment of two Encodings: groups (student start, end, teacher start, end).

    Its input are tokens in the byte-to-character spelling of byte-level BPE, made beforehand. Both sides are told to be
    of one model family, so that no special tokens are replaced; the text has none.
    """
    from tokenkit.align import get_alignment_indices
    from tokenkit.constants import BYTES_TO_CHARS
    from tokenkit.model_kinds import get_model_kind_cls

    def spelt(encoding: Any) -> list[str]:
        return ["".join(BYTES_TO_CHARS[b] for b in token) for token in encoding.token_bytes]

    family = types.SimpleNamespace(model_kind_cls=get_model_kind_cls("Qwen3"))
    own, other = spelt(student), spelt(teacher)

    def run() -> list[tuple[int, int, int, int]]:
        # it changes leading blanks in the lists that it gets
        indices = get_alignment_indices(list(other), list(own), family, family)[0]
        return [(s0, s1, t0, t1) for t0, t1, s0, s1 in indices]

    return run


def alm(student: Any, teacher: Any, batch: Any, masks: Any) -> Callable[[], tuple[float, np.ndarray]]:
    """A call of its ALM loss, compiled by JAX: value and gradient of the student's logits.

    "merge_by_space_prob+append_space" on unconstrained chunks, binary cross-entropy: its configurations' choice.
    student [1, Ts, Vs], teacher [1, Tt, Vt] torch; masks: float [Vs], [Vt], tokens that begin a word.
    """
    stand_in("wandb")
    import jax
    import jax.numpy as jnp
    from tokenkit.training.losses import LossArgs, compute_alm_loss

    ids, other_ids = batch.student_ids.numpy(), batch.teacher_ids.numpy()
    width = min(ids.shape[1], other_ids.shape[1])
    chunks = np.zeros((1, ids.shape[1], width), bool), np.zeros((1, other_ids.shape[1], width), bool)
    for k, (_, s0, s1, t0, t1) in enumerate(batch.groups.tolist()):
        chunks[0][0, s0:s1, k] = chunks[1][0, t0:t1, k] = True
    samples = {
        "input_ids_new": ids, "input_ids_original": other_ids,
        "alignment_matrix_a_unconstrained": chunks[0], "alignment_matrix_b_unconstrained": chunks[1],
        "loss_mask_new": np.ones(ids.shape, bool), "loss_mask_original": np.ones(other_ids.shape, bool),
    }  # fmt: skip
    settings = types.SimpleNamespace(
        alm_diff_fn="binary_ce", binarization_temp=TAU, alm_mode="merge_by_space_prob+append_space",
        distill_chunk_sizes=[1], distill_main_path_numerator="chunk_count",
        distill_main_path_denominator="chunk_count", tokenizer_pair_bias_threshold=GAMMA,
    )  # fmt: skip
    space = [jnp.asarray(mask.numpy()) for mask in masks]

    def loss(z: Any, other: Any, given: Any) -> Any:
        log_p, log_q = jax.nn.log_softmax(z), jax.nn.log_softmax(other)
        arguments = dict.fromkeys(LossArgs.__dataclass_fields__) | {
            "batch": given, "global_batch": given, "scalar_report": {},
            "student_logprobs": log_p, "student_probs": jnp.exp(log_p), "space_mask_new": space[0],
            "teacher_logprobs": log_q, "teacher_probs": jnp.exp(log_q), "space_mask_teacher": space[1],
        }  # fmt: skip
        return compute_alm_loss("unconstrained", settings, LossArgs(**arguments))

    step = jax.jit(jax.value_and_grad(loss))
    # The batch is an argument: JAX would work out at compile time whatever follows from constants.
    inputs = jnp.asarray(student.detach().numpy()), jnp.asarray(teacher.numpy()), jax.tree.map(jnp.asarray, samples)

    def run() -> tuple[float, np.ndarray]:
        value, gradient = step(*inputs)
        return float(value), np.asarray(gradient.block_until_ready())

    return run
