"""Replay of tests/golden/alm.json: chunks, merged chunks and boundary probabilities of tokenkit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.alm import log_space_probability, merged_chunks
from ctkd_core.alignment.boundaries import lists_to_groups
from ctkd_core.alignment.released.tokenkit import byte_walk
from ctkd_core.tokenizers.token_bytes import token_bytes_from_strings

SIDES = ("student", "teacher")
EPSILON = 1e-6


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    given, options = case["inputs"], case["options"]
    options.fixed(epsilon=EPSILON)
    by_space = options.choice("chunk_kind", {"unconstrained": False, "space": True})
    options.fixed(replacements_teacher={}, replacements_student={})
    options.fixed(boundary_mask="token starts with U+0120 or is <eos>")
    options.notes("note")
    lengths = {side: len(given[f"{side}_ids"]) for side in SIDES}
    pieces = [_pieces(given, side) for side in SIDES]
    walked = groups = lists_to_groups(byte_walk(*pieces))
    if by_space:  # a chunk ends where both next tokens begin with a blank; the recorded walk doesn't know of that
        before = [np.array([piece[:1] == b" " for piece in side] + [False]) for side in pieces]
        groups = merged_chunks(groups, before[0][groups[:, 1]] & before[1][groups[:, 3]])
    eos = "eos_as_space" in options["alm_mode"]
    boundary = {side: _boundary_log_probability(given, side, eos) for side in SIDES}
    n_chunks = min(lengths.values())  # the reference pads its chunks to this many
    real = _real_chunks(groups, given, n_chunks)
    out: dict[str, Any] = {
        "alignment_indices_teacher_start_end_student_start_end": walked[:, [2, 3, 0, 1]].tolist(),
        "naive_chunk_mask": real.astype(int).tolist(),
        "avg_teacher_chunk_len_after_merge": None,
    }
    for side in SIDES:
        chunk = chunk_of_tokens(groups, lengths[side], side)
        out[f"{side}_token_to_chunk_matrix"] = (chunk[:, None] == np.arange(n_chunks)).astype(int).tolist()
        out[f"{side}_boundary_logp_per_position"] = boundary[side].tolist()
    gamma = options["tokenizer_pair_bias_threshold"]
    if "merge_by_space_prob" in options["alm_mode"]:
        expected = np.exp(boundary["teacher"]) > gamma
        out |= _merged(groups, expected, real, given)
    from tests.golden import alm_losses as golden_alm_losses  # brings torch

    return out | golden_alm_losses.replay(case, groups)


def _merged(groups: np.ndarray, expected: np.ndarray, real: np.ndarray, given: dict[str, Any]) -> dict[str, Any]:
    merged = merged_chunks(groups, expected[groups[:, 3] - 1])
    unit = np.searchsorted(merged[:, 1], groups[:, 1])
    members = [[c for c in range(len(groups)) if unit[c] == u and real[c]] for u in range(len(merged))]
    predicted = sum(_predicted(given)[a:b].sum() for _, _, a, b in groups[real[: len(groups)]])
    kept = [chunks for chunks in members if chunks]
    return {
        "merged_chunk_groups": kept,
        "real_merged_chunks": len(kept),
        "avg_teacher_chunk_len_after_merge": float(predicted / len(kept)) if kept else float("nan"),
    }


def _real_chunks(groups: np.ndarray, given: dict[str, Any], n_chunks: int) -> np.ndarray:
    """bool [n_chunks]: chunks with a teacher token that is predicted and learnt from."""
    real = np.zeros(n_chunks, dtype=bool)
    predicted = _predicted(given)
    real[: len(groups)] = [bool(predicted[a:b].any()) for _, _, a, b in groups]
    return real


def _predicted(given: dict[str, Any]) -> np.ndarray:
    mask = np.array(given["teacher_loss_mask"], dtype=bool)
    mask[0] = False  # no row predicts the first token
    return mask


def _pieces(given: dict[str, Any], side: str) -> list[bytes]:
    names = given[f"{side}_vocab"]
    tokens = [names[i] for i, kept in zip(given[f"{side}_ids"], given[f"{side}_attention_mask"]) if kept]
    return token_bytes_from_strings(tokens, "byte-level")


def _boundary_log_probability(given: dict[str, Any], side: str, only_eos: bool) -> np.ndarray:
    names = given[f"{side}_vocab"]
    pieces = token_bytes_from_strings(names, "byte-level")
    boundary = [(piece[:1] == b" " and not only_eos) or name == "<eos>" for piece, name in zip(pieces, names)]
    return log_space_probability(given[f"{side}_logits"], boundary)


def chunk_of_tokens(groups: NDArray[np.int32], n_tokens: int, side: str = "student") -> NDArray[np.int32]:
    """int32 [n_tokens]: number of the two-sided chunk that holds each token of `side`, -1 for tokens in none."""
    two_sided = groups[(groups[:, 0] < groups[:, 1]) & (groups[:, 2] < groups[:, 3])]
    column = 0 if side == "student" else 2
    tokens = np.arange(n_tokens)
    chunk = np.searchsorted(two_sided[:, column + 1], tokens, side="right")
    start = np.append(two_sided[:, column], n_tokens)
    return np.where(start[chunk] <= tokens, chunk, -1).astype(np.int32)
