"""The figures of one run that are compared: what its last look at held-out text found, its last loss, its cost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ctkd_core.distill.config_file import flat
from ctkd_core.distill.evaluation.arithmetic import overall
from ctkd_core.distill.headline import number
from ctkd_core.distill.runs import Run

DEFAULT = "bits_per_byte"
_BOOKKEEPING = ("step", "time", "kind", "held_out", "held_out_bytes", "exposure_texts", "index")
# Of figures whose name says that more is better; all others are errors, losses or costs.
_HIGHER = re.compile(r"mass_by_class|exact|accuracy|arithmetic|rouge|agreement|match|closed|top_?1|tokens_per_second")
_LOWER = re.compile(r"kl|loss|error|distance|divergence")  # also where the table of such a figure has a name of those
# Figures that are shares, and those that can't be below 0: bits, distances, what was spent.
_SHARE = re.compile(
    r"^(teacher_)?(arithmetic|mass_by_class)\b|^repetition$|^agreement\.\w*top1$"
    r"|^(teacher_)?completions\.(exact_match|rouge_l)$"
)
_FROM_ZERO = re.compile(
    r"^(teacher_)?bits_|^bytes_by_|^agreement\.\w*_kl$|^training_|^arithmetic_counts\b"
    r"|\.(stretches|boundaries|bytes|texts)$"
)


def limits_of(name: str) -> tuple[float, float]:
    """The least and the greatest value that a figure can have, as far as its name tells; infinite where it doesn't."""
    if _SHARE.search(name):
        return 0.0, 1.0
    if name.startswith("exposure."):  # in percent of the teacher's own error
        return -100.0, math.inf
    return (0.0 if _FROM_ZERO.search(name) else -math.inf), math.inf


def higher_is_better(name: str) -> bool:
    """Whether a larger value of this figure is the better one."""
    return bool(_HIGHER.search(name)) and not _LOWER.search(name.rpartition(".")[2])


def on_held_out_text(name: str) -> bool:
    """Whether a figure is measured on held-out text; the others are the training loss and what training took."""
    return name != "loss" and not name.startswith("training_")


def figures_of(run: Run) -> dict[str, float]:
    """The figures of a run by name. Raises RunError for a damaged run."""
    return figures_in(run.metric_rows())


def figures_in(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The figures in rows that count: the last look after a step, the last loss, seconds and tokens of all steps.

    Those of a table have dotted names ("agreement.top1"); results by length have one of all lengths together besides,
    under the table's own name.
    """
    found: dict[str, float] = {}
    last: Mapping[str, Any] = {}
    seconds = tokens = 0.0
    spent_beside: dict[str, float | None] = {"cpu_seconds": 0.0, "joules": 0.0}
    for row in rows:
        if row.get("kind") == "eval" and (number(row.get("step")) or 0) > 0:
            last = row
        elif row.get("kind") == "train":
            spent = number(row.get("seconds")) or 0.0
            seconds += spent
            tokens += spent * (number(row.get("tokens_per_second")) or 0.0)
            for name, known in spent_beside.items():  # a step without it leaves no total: a part would look like one
                own = number(row.get(name))
                spent_beside[name] = None if known is None or own is None else known + own
            if (loss := number(row.get("loss"))) is not None:
                found["loss"] = loss
    for key, value in flat(dict(last)).items():
        if key not in _BOOKKEEPING and (figure := number(value)) is not None:
            found[key] = figure
    for key in ("arithmetic", "teacher_arithmetic"):
        if (share := overall(_table(last, key), _table(last, "arithmetic_counts"))) is not None:
            found[key] = share
    spent_on = (
        ("training_seconds", seconds),
        ("training_cpu_seconds", spent_beside["cpu_seconds"]),
        ("training_tokens", tokens),
        ("training_joules", spent_beside["joules"]),
    )
    return found | {key: value for key, value in spent_on if value}


def _table(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = row.get(name)
    return found if isinstance(found, Mapping) else {}
