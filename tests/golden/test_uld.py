"""Plain ULD (no groups) against TRL's figures, tests/golden/gold_uld.json.

TRL slices the logits at the answer's own positions and leaves out the last token when it skips EOS, so its row i is
our row that predicts position i + 1: the labels move one place to the right.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.uld import uld_loss

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "gold_uld.json").read_text())
PLAIN = [c for c in FACTS["cases"] if c["name"].startswith("uld_plain")]


def shifted(side: str, inputs: dict, skip_eos: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with one more position, and labels whose predictor rows are the positions that TRL takes."""
    logits = torch.tensor(inputs[f"{side}_logits"], dtype=torch.float64)
    labels = torch.tensor(inputs[f"{side}_labels"])
    logits = torch.nn.functional.pad(logits, (0, 0, 0, 1))
    labels = torch.nn.functional.pad(labels, (1, 0), value=-100)
    if skip_eos:
        for row in labels:
            row[(row != -100).nonzero().max()] = -100
    return logits, labels


def test_the_facts_hold_plain_cases():
    assert len(PLAIN) == 2


@pytest.mark.parametrize("case", PLAIN, ids=lambda c: c["name"])
def test_plain_uld(case):
    config, inputs, outputs = case["config"], case["inputs"], case["outputs"]
    s, s_labels = shifted("student", inputs, config["uld_skip_student_eos"])
    t, t_labels = shifted("teacher", inputs, config["uld_skip_teacher_eos"])
    batch = AlignedBatch(
        student_ids=s_labels.clamp(min=0),
        teacher_ids=t_labels.clamp(min=0),
        student_labels=s_labels,
        teacher_labels=t_labels,
        student_attention=torch.ones_like(s_labels),
        teacher_attention=torch.ones_like(t_labels),
        groups=torch.zeros((0, 5), dtype=torch.int64),
    )
    s.requires_grad_()
    out = uld_loss(
        s, t, batch, ce_weight=0.0,
        temperature=config["uld_student_temperature"], teacher_temperature=config["uld_teacher_temperature"],
    )  # fmt: skip
    out.loss.backward()
    tolerance = FACTS["meta"]["tolerance"]
    assert float(out.loss.detach()) == pytest.approx(outputs["loss"], rel=1e-5, abs=tolerance)
    assert float(s.grad.abs().sum()) == pytest.approx(outputs["grad_student_logits_abs_sum"], rel=1e-5)
    norms = s.grad[0].norm(dim=-1)[:-1].tolist()
    assert norms == pytest.approx(outputs["grad_student_logits_sample0_pos_norms"], rel=1e-5, abs=1e-9)
