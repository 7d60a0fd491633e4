"""Bytes that each loss moves through a GPU's memory with the Triton kernels, counted, against the floor; no GPU needed.

    python benchmarks/gpu_bytes.py [--student 128256] [--teacher 151936] [--width 2]

For one student row that faces one teacher row. Reading single columns moves whole sectors of 32 bytes: columns at
random touch 1 - (1 - share)^(entries of a sector) of a row. What a kernel reads again at once (the small tables of
P-KL's groups) is counted once, and so are the counters of a row's buckets while it is counted: the cache holds them.
Entries in open buckets are left out, some 0.2 % of a row. The floor reads both rows once and writes the gradient once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from _record import arguments, save  # noqa: E402

SECTOR = 32
MATCHED = 109_566  # Llama 3 and Qwen3
TOP = 8192
# A row's buckets, both sides: counters cleared, counted, read and written as what lies above; signs written and read.
BUCKET_BYTES = 2 * 8192 * (4 * 4 + 2 * 1)


@dataclass(frozen=True)
class Sizes:
    """Columns of both sides, bytes of a logit."""

    student: int
    teacher: int
    width: int

    def touched(self, side: str, columns: int) -> float:
        """Share of a row that reading so many of its columns moves."""
        whole = getattr(self, side)
        return 1.0 - (1.0 - min(1.0, columns / whole)) ** (SECTOR // self.width)


def counted(sizes: Sizes) -> dict[str, tuple[dict[str, float], bool, float]]:
    """Each loss: bytes by what moves them, whether it reads the teacher, extra bytes kept beside the gradient a row."""
    s, t, w = sizes.student * sizes.width, sizes.teacher * sizes.width, sizes.width
    own, other = sizes.student - MATCHED, sizes.teacher - MATCHED
    pairs = s * sizes.touched("student", MATCHED) + t * sizes.touched("teacher", MATCHED)
    rest = s * sizes.touched("student", own) + t * sizes.touched("teacher", other) + 4 * (own + other)
    signs = 4.0 * (own + other) + own + BUCKET_BYTES
    entries = round(1.04 * TOP * sizes.student / sizes.teacher)
    tables = 2 * 4 * TOP + 2 * 4 * TOP + 2 * w * TOP
    norms, write = {"log-sum-exps": float(s + t)}, {"gradient": float(2 * s)}
    paired = write["gradient"] + t * sizes.touched("teacher", MATCHED) + own
    both = sizes.student + sizes.teacher
    return {
        "cross-entropy": ({"log-sum-exps": float(s)} | write, False, 0.0),
        "kd, forward or reverse KL (one vocabulary)": ({"one pass": 2.0 * s, "gradient": 3.0 * s}, True, 0.0),
        "kd, JSD, TVD, skewed (one vocabulary)": (
            {"log-sum-exps": 3.0 * s, "sums": 2.0 * s, "gradient": 3.0 * s}, True, 0.0,
        ),
        "xtoken-pkl": (
            {
                "column maxima": float(t), "log-sum-exps": float(s),
                "teacher's columns": t * sizes.touched("teacher", TOP),
                "masses": s * sizes.touched("student", entries), "tables of groups": float(tables),
            } | write, True, float(w * TOP),
        ),
        "xtoken-hkl": (
            norms | {"pairs": pairs, "rest": rest, "signs of the rest": signs} | {"gradient": paired}, True, float(own),
        ),
        "gold": (
            norms | {"pairs": pairs, "rest": rest, "signs of the rest": signs} | {"gradient": paired}, True, 0.0,
        ),
        "uld": (
            norms | {"probabilities": s + t + 4.0 * both, "signs": 4.0 * both + sizes.student + BUCKET_BYTES}
            | {"gradient": 2.0 * s + sizes.student}, True, 0.0,
        ),
    }  # fmt: skip


def rows(sizes: Sizes) -> list[dict[str, Any]]:
    """One row a loss: kB moved, the floor, the ratio, what is kept beside the gradient, and the parts."""
    s, t = sizes.student * sizes.width, sizes.teacher * sizes.width
    found = []
    for name, (parts, reads, kept) in counted(sizes).items():
        floor = 2 * s + ((s if "one vocabulary" in name else t) if reads else 0)
        moved = sum(parts.values())
        found.append({
            "loss": name, "moved_kb": round(moved / 1000), "floor_kb": round(floor / 1000),
            "times_floor": round(moved / floor, 2), "kept_over_gradient": round(kept / s, 3),
            "parts_kb": ", ".join(f"{part} {size / 1000:.0f}" for part, size in parts.items()),
        })  # fmt: skip
    return found


def main() -> None:
    """Count and save the table."""
    parser = arguments(__doc__ or "", "gpu_bytes.json")
    parser.add_argument("--student", type=int, default=128_256)
    parser.add_argument("--teacher", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=2)
    args = parser.parse_args()
    save(args.out, rows(Sizes(args.student, args.teacher, args.width)), counted="by hand, not measured")


if __name__ == "__main__":
    main()
