"""Replay of tests/golden/multilevelot.json: the released program, and the paper's formulas as read here."""

from __future__ import annotations

from typing import Any

import torch

from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.multilevel_ot import multilevel_ot_loss
from ctkd_core.losses.parts.settings import MultiLevelOtSettings
from ctkd_core.losses.released.multilevel_ot import SD_FACTOR, STD_EPSILON, answers

# The paper's reading on file: sums over tokens, the best permutation, alpha beta gamma = 0.15 0.1 0.1.
ALPHA, BETA, GAMMA = 0.15, 0.1, 0.1
LABEL = (
    "[our reading], not a reference run: raw-logit softmax on answer span, exact L1 assignment for Q, sum over tokens, "
    "SL temperature 1, SD temperature 2, lambda 0.1, N=20, alpha 0.15 beta 0.1 gamma 0.1, truncated to the shorter "
    "answer"
)


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    given, options = case["inputs"], case["options"]
    student = torch.tensor(given["student_logits"], dtype=torch.float64)
    teacher = torch.tensor(given["teacher_logits"], dtype=torch.float64)
    labels = torch.tensor(given["student_labels"]), torch.tensor(given["teacher_labels"])
    settings = MultiLevelOtSettings(
        options["sl_weight"], options["sd_weight"], options["sinkhorn_T"],
        options["sinkhorn_epsilon"], options["sinkhorn_iterations"], "mean",
        (options["student_temperature"], options["teacher_temperature"]),
        (options["skip_student_eos"], options.get("skip_teacher_eos", False)),
    )  # fmt: skip
    matching = options.choice("f", {1: "rank", 2: "greedy"})
    options.fixed(sd_inner_factor=SD_FACTOR, std_eps=STD_EPSILON, label_ignore=IGNORE)
    options.notes("f_meaning")
    found = answers(student, teacher, *labels, settings, options["k"], matching)
    distillation = options["distillation_weight"] * float(
        found.distillation(options["sl_weight"], options["sd_weight"])
    )
    return {
        "answer_start_student": [start for start, _ in found.spans[0]],
        "answer_size_student": [size for _, size in found.spans[0]],
        "answer_start_teacher": [start for start, _ in found.spans[1]],
        "answer_size_teacher": [size for _, size in found.spans[1]],
        "student_probs_aligned": found.student.tolist(),
        "teacher_probs_aligned": found.teacher.tolist(),
        "L_HAD_per_example": found.had.tolist(),
        "L_SL": float(found.sl),
        "L_SD_with_0.001": float(found.sd),
        "distillation_loss": distillation,
        "total_loss": options["cross_entropy_given"] + distillation,
        "label": LABEL,
        "per_example": [
            _paper(student[[b]], teacher[[b]], [x[[b]] for x in labels], options) for b in range(len(student))
        ],
    }


def _paper(student: torch.Tensor, teacher: torch.Tensor, labels: list[torch.Tensor], options: dict[str, Any]) -> dict:
    ids = [torch.where(x == IGNORE, 0, x) for x in labels]
    learnt = (labels[0][0] != IGNORE).nonzero()
    if options["skip_student_eos"] and len(learnt):
        labels[0][0, int(learnt[-1])] = IGNORE
    ones = [torch.ones_like(x) for x in ids]
    batch = AlignedBatch(*ids, *labels, *ones, torch.zeros(0, 5, dtype=torch.int64))
    with torch.no_grad():
        terms = multilevel_ot_loss(
            student, teacher, batch, top_k=options["k"], matching="exact", reduction="sum", sinkhorn_iterations=20
        ).terms
    had, sl, sd = (float(terms[name]) for name in ("had", "sl", "sd"))
    return {"HAD": had, "SL": sl, "SD": sd, "weighted": ALPHA * (had + BETA * sl + GAMMA * sd)}
