"""What the evaluations of a run found at its last look after a step, beside its first look and its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctkd_core.distill.evaluation.arithmetic import overall
from ctkd_core.distill.headline import number

Rows = Sequence[Mapping[str, Any]]
# Tables of an `eval` row in the order in which they are shown, and which of their entries are counts.
TABLES = (
    *("bits_by_domain", "bits_by_language", "bits_by_class", "mass_by_class"),
    *("agreement", "completions", "arithmetic", "exposure"),
)
COUNTS = ("stretches", "boundaries", "bytes", "texts")


def last_figures(rows: Rows) -> dict[str, dict[str, float | None]]:
    """Each figure as {before, after, teacher}, None for what isn't known; {} without a look after a step.

    Where it is known, `count` says besides how many completions, exercises or prompts `after` stands on.

    rows  of metrics.jsonl that count. Names are those by which runs are compared, "agreement.top1" say; "arithmetic"
          is the share of right results of all lengths together. Bits per byte have no table and aren't among them.
    """
    looks = [row for row in rows if row.get("kind") == "eval"]
    last = next((row for row in reversed(looks) if row["step"] > 0), None)
    if last is None:
        return {}
    before = _figures(next((row for row in looks if row["step"] == 0), {}))
    teacher = _figures(last, "teacher_")
    return {
        name: {"before": before.get(name), "after": value, "teacher": teacher.get(name)} | _count(last, name)
        for name, value in _figures(last).items()
    }


def _count(row: Mapping[str, Any], name: str) -> dict[str, float | None]:
    table, _, part = name.partition(".")
    if table == "arithmetic":
        counts = row.get("arithmetic_counts") or {}
        total: float | None = sum(number(n) or 0 for length, n in counts.items() if part in ("", length))
    else:
        texts = {"completions": (row.get("completions") or {}).get("texts"), "exposure": row.get("exposure_texts")}
        total = number(texts.get(table))
    return {"count": int(total)} if total else {}


def _figures(row: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in TABLES:
        table = row.get(prefix + name)
        if not isinstance(table, Mapping):
            continue
        if name == "arithmetic" and (share := overall(table, row.get("arithmetic_counts") or {})) is not None:
            found[name] = share
        found |= {f"{name}.{part}": number(value) for part, value in table.items() if part not in COUNTS}
    return found
