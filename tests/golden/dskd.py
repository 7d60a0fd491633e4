"""Replay of tests/golden/dskd.json: cross-model attention, exact token alignment, first projectors and the losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.alignment.costs import normalise
from ctkd_core.alignment.exact_history import equal_history
from ctkd_core.losses.base import LossOutput, States, response_rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.dskd import CrossModelProjectors, attend, dskd_loss, whole_side
from ctkd_core.losses.dskd_eta import aligned_rows, most_probable
from ctkd_core.losses.parts.divergences import divergence_rule
from ctkd_core.losses.parts.dual_space import DualRule, StudentInTeacher, TeacherInStudent, dual_space
from ctkd_core.vocabulary.head_maps import head_maps


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    case["options"].notes("seed", "reduction", "std", "unknown_token_rule")
    case["options"].fixed(label_smoothing=0, init_s2t_projector=False, same_vocabulary=True)
    if "overlap_student_teacher_ids" in case["inputs"]:
        return _projectors(case["inputs"], case["options"])
    case["options"].fixed(topk_vocab=-1)
    if "same_vocabulary" not in case["options"] and "student_vocab" not in case["inputs"]:
        return _attention(case["inputs"], case["options"])
    case["options"].notes("teacher_temperature")  # the programs divide by it in cross-model attention alone
    if "same_vocabulary" in case["options"]:
        return _one_vocabulary(case["inputs"], case["options"])
    return _exact_tokens(case["inputs"], case["options"])


def _projectors(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    student, teacher = np.array(given["student_lm_head"]), np.array(given["teacher_lm_head"])
    first = options.get("topk_vocab", -1)  # of the shared tokens; -1: all
    shared = given["overlap_student_teacher_ids"]
    t2s, s2t = head_maps(student, teacher, shared if first == -1 else shared[:first])
    return {
        "W_t2s_in_out": t2s.tolist(),
        "W_s2t_in_out": s2t.tolist(),
        "t2s_logits": (np.array(given["teacher_hidden"]) @ t2s @ student.T).tolist(),
        "s2t_logits": (np.array(given["student_hidden"]) @ s2t @ teacher.T).tolist(),
    }


def _attention(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    batch, states, logits = _models(given)
    projectors = _projectors_of(given)
    labels = batch.student_labels, batch.teacher_labels
    ids = batch.student_ids, batch.teacher_ids
    sides = [whole_side(i, response_rows(x), s, torch.float64) for i, x, s in zip(ids, labels, states)]
    seen = attend(*sides, projectors)
    out = dskd_loss(
        *logits,
        batch,
        **_divergence(options),
        temperature=options["kd_temperature"],
        teacher_temperature=options["teacher_temperature"],
        state=projectors,
        student_states=states[0],
        teacher_states=states[1],
        variant="released",
    )
    tokens = len(response_rows(labels[0]))
    sums = {key: tokens * value for key, value in _terms(out).items()}
    return {
        "t2s_attention": seen.t2s_weights.tolist(),
        "s2t_attention": seen.s2t_weights.tolist(),
        **sums,
        "t2s_correct": round(out.diagnostics["t2s_agreement"] * out.diagnostics["t2s_targets"]),
        "kd_loss": sum(sums.values()),
    }


# The files' names of the divergences that are called otherwise here.
NAMES = {"js_divergence": "jsd"}


def _divergence(options: dict[str, Any]) -> dict[str, Any]:
    kind = options["kd_objective"]
    return {
        "divergence": NAMES.get(kind, kind),
        "skew": options.get("skew_lambda", 0.1),
        "tail_mass": options.get("adaptive_kl_alpha", 0.5),
    }


def _rule(options: dict[str, Any]) -> Any:
    given = _divergence(options)
    return divergence_rule(given.pop("divergence"), **given)


def _one_vocabulary(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Both models read the same tokens: the first version, or the second where it knows of an agreement."""
    sides = {f"{side}_labels": given["labels"] for side in SIDES}
    batch, states, logits = _models(given | sides)
    ids = batch.student_labels.clamp(min=0)
    batch = replace(batch, student_ids=ids, teacher_ids=ids)
    rows = response_rows(batch.student_labels)
    if "t2s_agreement" not in options:
        out = dskd_loss(
            *logits, batch, **_divergence(options), temperature=options["kd_temperature"], one_vocabulary=True,
            state=_projectors_of(given), student_states=states[0], teacher_states=states[1], variant="released",
        )  # fmt: skip
        sums = {key: len(rows) * value for key, value in _terms(out).items()}
        correct = out.diagnostics["t2s_agreement"] * out.diagnostics["t2s_targets"]
        return {**sums, "t2s_acc": float(round(correct)), "kd_loss": sum(sums.values())}
    number = torch.arange(len(rows))
    best = most_probable(logits[1], rows.flat, torch.float64)
    t2s, s2t = (_double(given[f"{name}_weight_out_in"]).T for name in ("t2s", "s2t"))
    moved, back = (states[k].hidden[-1].flatten(0, 1)[rows.flat] @ matrix for k, matrix in ((1, t2s), (0, s2t)))
    rule = _rule(options)
    out = dual_space(
        *logits, batch, TeacherInStudent(moved, states[0].head, number, best),
        StudentInTeacher(back, states[1].head, rows, number),
        DualRule(rule, rule, options["kd_temperature"], agreement=options["t2s_agreement"], mean_over_agreeing=True),
        0.0,
    )  # fmt: skip
    return {
        **_terms(out),
        "t2s_agreement": out.diagnostics["t2s_agreement"],
        "t_acc": float((best == rows.target).double().mean()),
        "kd_loss": float(out.loss),
    }


def _projectors_of(given: dict[str, Any]) -> CrossModelProjectors:
    weight = {name: given.get(f"{name}_weight_out_in") for name in ("query", "s2t", "t2s")}
    t2s = _double(weight["t2s"])
    projectors = CrossModelProjectors(*t2s.shape).double()
    with torch.no_grad():
        for name, value in weight.items():
            layer = getattr(projectors, name)
            if value is not None:
                layer.weight.copy_(_double(value))
            layer.bias.copy_(_double(given.get(f"{name}_bias", [0.0] * len(layer.bias))))
    return projectors


def _exact_tokens(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    at = [[k for k, label in enumerate(given[f"{side}_labels"][0]) if label != IGNORE] for side in SIDES]
    names = [
        [normalise(given[f"{side}_vocab"][given[f"{side}_labels"][0][k]]) for k in places]
        for side, places in zip(SIDES, at)
    ]
    pairs = equal_history(*names, [(given["student_vocab"][0], given["teacher_vocab"][0])])
    batch, states, logits = _models(given, pairs + np.array([at[0][0], at[1][0]]))
    rows, other = (response_rows(x) for x in (batch.student_labels, batch.teacher_labels))
    number, facing = aligned_rows(batch, rows.number, other.number)
    # a token string that the student lacks is no target
    strings = given["student_vocab"]
    ids = torch.tensor([strings.index(x) if x in strings else -1 for x in given["teacher_vocab"]])
    ids[0] = 0  # the ends of text stand first in both vocabularies
    target = ids[most_probable(logits[1], other.flat[facing], torch.float64)]
    number, facing, target = (x[target >= 0] for x in (number, facing, target))
    t2s, s2t = (_double(given[f"{name}_weight_out_in"]).T for name in ("t2s", "s2t"))
    moved = states[1].hidden[-1].flatten(0, 1)[other.flat[facing]] @ t2s
    back = states[0].hidden[-1].flatten(0, 1)[rows.flat[number]] @ s2t
    rule = _rule(options)
    out = dual_space(
        *logits,
        batch,
        TeacherInStudent(moved, states[0].head, number, target),
        StudentInTeacher(back, states[1].head, other, facing),
        DualRule(rule, rule, options["kd_temperature"], agreement=options["t2s_agreement"], mean_over_agreeing=True),
        0.0,
    )
    return {
        "aligned_student_idx": pairs[:, 0].tolist(),
        "aligned_teacher_idx": pairs[:, 1].tolist(),
        "align_ratio": len(pairs) / len(names[0]) if len(pairs) else 1.0,  # what the program notes without a pair
        **_terms(out),
        "t2s_agreement": out.diagnostics["t2s_agreement"],
        "kd_loss": float(out.loss),
    }


SIDES = ("student", "teacher")


def _models(
    given: dict[str, Any], pairs: Any = ()
) -> tuple[AlignedBatch, tuple[States, States], tuple[Tensor, Tensor]]:
    """The facts' shifted labels as a batch of one position more, states, and the logits that the heads give."""
    parts: dict[str, Tensor] = {}
    states, logits = [], []
    for side in SIDES:
        shifted = torch.tensor(given[f"{side}_labels"])
        labels = torch.nn.functional.pad(shifted, (1, 0), value=IGNORE)
        ids = torch.tensor(given.get(f"{side}_ids", (shifted * 0).tolist()))
        parts |= {
            f"{side}_ids": torch.nn.functional.pad(ids, (0, 1)),
            f"{side}_labels": labels,
            f"{side}_attention": torch.ones_like(labels),
        }
        hidden = torch.nn.functional.pad(_double(given[f"{side}_hidden"]), (0, 0, 0, 1))
        head = _double(given[f"{side}_lm_head"])
        states.append(States((hidden,), head, _double(given.get(f"{side}_embedding", given[f"{side}_lm_head"]))))
        logits.append(hidden @ head.T)
    groups = [[0, i + 1, i + 2, j + 1, j + 2] for i, j in np.asarray(pairs).reshape(-1, 2).tolist()]
    batch = AlignedBatch(groups=torch.tensor(groups, dtype=torch.int64).reshape(-1, 5), **parts)
    return batch, (states[0], states[1]), (logits[0], logits[1])


def _terms(out: LossOutput) -> dict[str, float]:
    return {f"{name}_loss": float(out.terms[name]) for name in ("t2s_ce", "t2s_kd", "s2t_kd")}


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
