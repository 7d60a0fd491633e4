"""Replay of the projection matrices in tests/golden/xtoken.json (kind "projection_matrix").

Two things are the reference's own and are made with the library that it used: the order of equal weights and the
id in the scale slot are what `torch.topk` makes of dense rows, and tokens are cut greedily instead of by a tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctkd_core.alignment.released.xtoken import canonical
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.cuts import weigh
from ctkd_core.vocabulary.partition import Partition, partition
from ctkd_core.vocabulary.projection import PIECES, REVERSE
from ctkd_core.vocabulary.released import pieces as released
from ctkd_core.vocabulary.special_similarity import is_shaped, similarities


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    inputs = case["inputs"]
    inputs.notes("tokenise_rule")
    student, teacher = inputs["student_vocab"], inputs["teacher_vocab"]
    entries = _entries(inputs, student, teacher)
    slots = _top(entries, len(student), len(teacher), inputs["prep_top_k"], inputs["scale_slot"])
    k = inputs["runtime_top_k"]
    if inputs["scale_slot"]:
        slots = released.with_scale_slot(slots, released.bfloat16)
    if inputs["exact_rows_overwritten"]:
        spelled = [[_spelled(t, inputs) for t in v] for v in (student, teacher)]
        slots = overwritten(slots, last_equal(*spelled))
    cut = released.cut_counting_the_last_twice if inputs["scale_slot"] else released.cut_to
    slots = cut(slots, k, released.bfloat16)
    weights = slots.weights.tolist()
    pairs = [list(zip(*row)) for row in zip(slots.ids.tolist(), weights)]
    return {
        "final_rows_teacher_weight": [[list(pair) for pair in row if pair[1] > 0] for row in pairs],
        "final_indices": slots.ids.tolist(),
        "strict_partition": _sets(partition(slots.ids, slots.weights, len(teacher), "strict")),
        "relaxed_partition": _sets(partition(slots.ids, slots.weights, len(teacher), "relaxed")),
    }


def _entries(inputs: dict[str, Any], student: list[str], teacher: list[str]) -> table.Entries:
    """Piece, reverse and similarity entries, one a cell, each over the sum of its row."""
    parts = [_pieces(student, teacher, inputs, PIECES)]
    if inputs["reverse_pass"]:
        back = _pieces(teacher, student, inputs, REVERSE)
        parts.append(table.entries(back.columns, back.rows, back.weights, REVERSE))
    if inputs["special_token_mapping"]:
        own, other = ({i: t for i, t in enumerate(v) if is_shaped(t)} for v in (student, teacher))
        parts.append(similarities(own, other, inputs["prep_top_k"]))
    return released.row_shares(table.sum_cells(table.join(parts)), released.bfloat16)


def _pieces(source: list[str], target: list[str], inputs: dict[str, Any], reason: int) -> table.Entries:
    ids = [i for i, token in enumerate(source) if not released.is_marker(token)]
    own, other = _space(source), _space(target)
    # the tool cuts a canonical form's blank mark as it stands, where the target's vocabulary has another one too
    cut = [_greedy(_spelled(source[i].replace(own, " "), inputs).replace(" ", other), target) for i in ids]
    counts, flat, weight = weigh(cut, "geometric", inputs["max_pieces"])
    return table.entries(np.repeat(np.array(ids), counts), flat, weight, reason)


def _spelled(token: str, inputs: dict[str, Any]) -> str:
    """The form that the tools compare and cut."""
    return canonical(token) if inputs["canonicalise"] else token


def _space(vocabulary: list[str]) -> str:
    """How a vocabulary writes a space; tokens pass through the text, where it is one."""
    return "\u2581" if any("\u2581" in token for token in vocabulary) else "\u0120"


def _greedy(text: str, vocabulary: list[str]) -> list[int]:
    """Longest match from the left; characters that the vocabulary lacks are passed over."""
    ids: list[int] = []
    while text:
        end = next((n for n in range(len(text), 0, -1) if text[:n] in vocabulary), 0)
        if end:
            ids.append(vocabulary.index(text[:end]))
        text = text[end or 1 :]
    return ids


def _top(given: table.Entries, n_rows: int, n_columns: int, k: int, keep_last: bool) -> released.PaddedRows:
    """`released.to_slots`, with equal weights and ids of weight 0 in the order of `torch.topk`."""
    dense = torch.zeros(n_rows, n_columns)
    dense[given.rows, given.columns] = torch.from_numpy(given.weights).float()
    weights, ids = (a.numpy() for a in torch.topk(dense, min(k, n_columns), dim=1))
    if k > n_columns:  # a row has no more ids than there are
        none = ((0, 0), (0, k - n_columns))
        weights, ids = np.pad(weights, none), np.pad(ids, none, constant_values=-1)
    used = weights > 0
    used[:, -1] |= keep_last
    return released.PaddedRows(np.where(used, ids, -1), weights)


def _sets(sets: Partition) -> dict[str, Any]:
    return {
        "common_pairs_student_teacher": sets.common.tolist(),
        "uncommon_student": sets.uncommon_student.tolist(),
        "uncommon_teacher": sets.uncommon_teacher.tolist(),
    }


def last_equal(student: Sequence[str], teacher: Sequence[str]) -> NDArray[np.int64]:
    """int64 [Vs]: the teacher id of the equal string, -1 without one; of several the last wins."""
    ids_of = {token: i for i, token in enumerate(teacher)}
    return np.array([ids_of.get(token, -1) for token in student], dtype=np.int64)


def overwritten(slots: released.PaddedRows, match: NDArray[np.int64]) -> released.PaddedRows:
    """Rows with a match (int64 [n], -1 without) hold that id alone, with weight 1 in the first slot."""
    ids, weights = slots.ids.copy(), slots.weights.copy()
    found = match >= 0
    ids[found], weights[found] = -1, 0.0
    ids[found, 0], weights[found, 0] = match[found], 1.0
    return released.PaddedRows(ids, weights)
