"""Gemma teaches SmolLM2 on a GPU: one run a method with the evaluation's figures, and what share of the gap it closes.

    python benchmarks/gpu_runs.py [--device cuda|cpu] [--steps 300] [--method NAME] [--seconds N]

The preset "cross-family" with so many steps, seed 0. Every finished run is written at once; a method whose row of the
same steps and device is in the results already is left out, so that a stopped session goes on where it ended. The share
closed is that of the distance in bits per byte between SFT and the teacher.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _record import arguments, keep  # noqa: E402

METHODS = ("sft", "xtoken-pkl", "gold", "alm", "sedi", "bytes")
# On a CPU those that write text take longer than a run; on a GPU some seconds.
EVALUATIONS = {"cuda": "all", "cpu": "classes, agreement"}
COMPLETIONS = 24  # texts that a model writes for an evaluation


def run(method: str, device: str, steps: int, more: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run of the preset in this process, and its figures."""
    import ctkd_core
    from ctkd_core.distill.config import PRESETS
    from ctkd_core.distill.runs import RunStore

    config = PRESETS["cross-family"].replace(
        method=method, steps=steps, device=device, eval_every=0, sample_prompts=0, seed=0,
        evaluations=EVALUATIONS[device], eval_completions=COMPLETIONS, **more,
    )  # fmt: skip
    start = time.perf_counter()
    done = ctkd_core.distill(config, store=RunStore(folder))
    summary = done.summary()
    return {
        "method": method, "device": device, "steps": steps, "seconds": round(time.perf_counter() - start, 1),
        "options": more, "metrics": summary["metrics"], "evaluation": _last(done),
    }  # fmt: skip


def _last(done: Any) -> dict[str, Any]:
    """The figures of the last evaluation of a run."""
    rows = [row for row in done.metric_rows() if row.get("kind") == "eval"]
    return rows[-1] if rows else {}


def with_shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the share of SFT's gap that it closed, where SFT is among them."""
    from ctkd_core.distill.evaluation.saved import closed

    sft = next((row for row in rows if row["method"] == "sft" and row.get("evaluation")), None)
    if sft is None:
        return rows
    return [
        row | {"gap_closed": closed(row["evaluation"], sft["evaluation"])}
        if row.get("evaluation") and row is not sft
        else row
        for row in rows
    ]


def main() -> int:
    """Run the methods that aren't there yet."""
    import torch

    parser = arguments(__doc__ or "", "gpu_runs.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--method", action="append")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="JSON values")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new run begins after so many")
    args = parser.parse_args()
    more = {name: json.loads(value) for name, value in (each.split("=", 1) for each in args.set)}
    before = json.loads(args.out.read_text())["rows"] if args.out.is_file() else []
    mine = {"device": args.device, "steps": args.steps, "options": more}
    rows = [row for row in before if {key: row.get(key) for key in mine} == mine and "fault" not in row]
    began = time.perf_counter()
    for method in args.method or METHODS:
        if any(row["method"] == method for row in rows):
            print(f"{method}: there already", flush=True)
            continue
        if time.perf_counter() - began > args.seconds:
            print(f"{method}: left out, the time was over", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(run(method, args.device, args.steps, more, Path(folder)))
            except Exception:  # the others are still worth their time
                rows.append({"method": method, **mine, "fault": traceback.format_exc(limit=-5)})
        row = rows[-1]
        print(row.get("fault") or f"{method}: {row['seconds']} s, {row['metrics']}", flush=True)
        rows = with_shares(rows)
        keep(args.out, rows, args.device, seed=0, preset="cross-family")
    return 1 if any("fault" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
