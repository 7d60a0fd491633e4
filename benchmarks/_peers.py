"""The alternatives of benchmarks/losses.py: TRL's GOLD loss, and other public formulas in plain torch with autograd."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=2)
def trl_gold(hybrid: bool, n_matched: int) -> Any:
    """TRL's loss object (`pip install trl datasets`), or None where it isn't installed."""
    try:
        from trl.experimental.gold.gold_config import GOLDConfig
        from trl.experimental.gold.gold_trainer import ULDLoss
    except ImportError:
        return None
    config = GOLDConfig(
        output_dir="unused", use_uld_loss=True, use_extended_uld=True, uld_use_hybrid_loss=hybrid,
        uld_crossentropy_weight=0.0, uld_skip_student_eos=False, uld_skip_teacher_eos=False, use_cpu=True,
    )  # fmt: skip
    loss = ULDLoss.__new__(ULDLoss)
    try:
        ULDLoss.__init__(loss, config)
    except Exception:  # the hybrid form wants tokenizers to find equal strings; the map is given here
        config.uld_use_hybrid_loss = False
        ULDLoss.__init__(loss, config)
        loss.use_hybrid_loss = hybrid
    loss._n = n_matched
    return loss


def run_trl(loss: Any, pairs: Any, student: Any, teacher: Any, batch: Any, offsets: Any) -> Any:
    """One value of TRL's loss; pairs int [M, 2] are the matched ids."""
    if pairs is not None:
        loss._vocab_mapping = {int(t): int(s) for s, t in pairs}
        loss._teacher_matched_ids = set(loss._vocab_mapping)
        loss._student_matched_ids = set(loss._vocab_mapping.values())
    return loss(
        student, teacher, batch.student_labels, batch.teacher_labels, batch.student_ids, batch.teacher_ids,
        student_byte_offsets=offsets[0], teacher_byte_offsets=offsets[1],
    )  # fmt: skip
