"""Fused output heads against logits: seconds and memory of a step, forward and backward to hidden states and head.

    python benchmarks/fused.py [--positions 256 --positions 1024]

One sample, 128k tokens, width 576 (SmolLM2-135M's), float32. "kd" has a fused teacher of the same sizes beside it.
Memory is the growth of the peak over what the process holds with its inputs (Linux only); 281 MiB of it are the
gradient of the head, which either way needs. Every case has a process of its own.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _record import arguments, save  # noqa: E402

VOCABULARY, WIDTH = 128_256, 576
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}


def measure(form: str, name: str, positions: int, repeats: int) -> dict[str, float]:
    """Seconds and extra MiB of one step in this process; form "fused" or "logits"."""
    import torch

    from ctkd_core import losses
    from ctkd_core.losses.batch import AlignedSample, collate
    from ctkd_core.losses.engine.fused import HeadLogits

    ids = np.random.default_rng(0).integers(0, VOCABULARY, positions + 1).astype(np.int32)
    groups = np.array([[i, i + 1, i, i + 1] for i in range(1, positions + 1)], dtype=np.int32)
    batch = collate([AlignedSample(ids, ids, 1, 1, groups)])
    torch.manual_seed(0)
    hidden = torch.randn(1, positions + 1, WIDTH, requires_grad=True)
    head = (torch.randn(VOCABULARY, WIDTH) * 0.05).requires_grad_()
    other, other_head = torch.randn(1, positions + 1, WIDTH), torch.randn(VOCABULARY, WIDTH) * 0.05
    make = HeadLogits if form == "fused" else torch.nn.functional.linear

    def step() -> None:
        hidden.grad = head.grad = None
        teacher = make(other, other_head) if name == "kd" else None
        losses.loss(name, make(hidden, head), teacher, batch).loss.backward()

    step()
    hidden.grad = head.grad = None
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _peak_mib()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"seconds": round(median(times), 2), "extra_mib": round(_peak_mib() - before)}


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main() -> None:
    """Run every case in a process of its own and save the table."""
    parser = arguments(__doc__ or "", "fused.json")
    parser.add_argument("--positions", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("FORM", "NAME", "POSITIONS"), help="measure one case here")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], given.one[1], int(given.one[2]), given.repeats)))
        return
    rows = []
    for positions in given.positions or (256, 1024):
        for name in ("sft", "kd"):
            for form in ("logits", "fused"):
                command = [
                    sys.executable,
                    __file__,
                    "--one",
                    form,
                    name,
                    str(positions),
                    "--repeats",
                    str(given.repeats),
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | PASSIVE)
                found = json.loads(done.stdout.splitlines()[-1])
                rows.append({"loss": name, "form": form, "positions": positions} | found)
                print(rows[-1], file=sys.stderr)
    save(given.out, rows)


if __name__ == "__main__":
    main()
