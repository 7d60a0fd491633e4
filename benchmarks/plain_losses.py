"""What the plain form of a loss costs beside the analytic kernel: time and memory of one step, in the same run.

    python benchmarks/plain_losses.py [--size small|large] [--name CASE] [--memory]

The plain twins are those of the tests (`tests/losses/plain_twins.py`). Sizes: "small" 256 student x 300 teacher rows
with vocabularies of 32k, "large" with 128k x 152k. Both forms take turns, so that a busy machine slows both; the ratio
is the median of those of neighbours, and `ratios` has its interval. With --memory each form also runs in a process of
its own: the growth of the peak over what it holds with its inputs, the gradient of the logits included (Linux only).
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _pairs import interleaved  # noqa: E402
from _record import arguments, load_average, save  # noqa: E402
from losses import PASSIVE, peak_mib, spread_groups  # noqa: E402

SIZES = {"small": (257, 301, 32_000, 32_000), "large": (257, 301, 128_256, 151_936)}
NAMES = ("cross-entropy", "forward KL", "reverse KL", "ULD", "GOLD", "P-KL")


def case(name: str, size: str):
    """Functions of the student's logits for both forms, and these logits."""
    import numpy as np
    import torch
    from scipy.sparse import csr_matrix

    from ctkd_core import losses
    from ctkd_core.losses.batch import AlignedSample, collate
    from tests.losses import plain_twins as twins

    ts, tt, vs, vt = SIZES[size]
    same = name.endswith("KL") and name != "P-KL"
    tt, vt = (ts, vs) if same else (tt, vt)
    rng = np.random.default_rng(0)
    s_ids = rng.integers(0, vs, ts).astype(np.int32)
    t_ids = s_ids if same else rng.integers(0, vt, tt).astype(np.int32)
    batch = collate([AlignedSample(s_ids, t_ids, 1, 1, spread_groups(ts, tt))])
    generator = torch.Generator().manual_seed(0)
    student = (torch.randn(1, ts, vs, generator=generator) * 2).requires_grad_()
    teacher = torch.randn(1, tt, vt, generator=generator) * 3
    n = int(0.85 * min(vs, vt))
    given = {"projection": csr_matrix((np.ones(n), (np.arange(n), np.arange(n))), shape=(vs, vt))}
    forms = {
        "cross-entropy": ("sft", {}, twins.sft, {}),
        "forward KL": ("kd", {}, twins.kd, {}),
        "reverse KL": ("kd", {"divergence": "reverse_kl"}, twins.kd, {"divergence": "reverse_kl"}),
        "ULD": ("uld", {}, twins.uld, {}),
        "GOLD": ("gold", given, twins.gold, given),
        "P-KL": ("xtoken-pkl", given | {"scaling": "fixed"}, twins.pkl, given | {"scaling": "fixed", "top_k": 8192}),
    }
    method, options, twin, others = forms[name]
    return student, {
        "analytic": lambda: losses.loss(method, student, teacher, batch, **options).loss,
        "plain": lambda: twin(student, teacher, batch, **others).loss,
    }


def seconds(name: str, size: str, repeats: int) -> dict[str, Any]:
    """Seconds of a step of both forms, which take turns, and the ratio of neighbours."""
    student, forms = case(name, size)
    values = {}

    def run(form: str) -> None:
        student.grad = None
        value = forms[form]()
        value.backward()
        values[form] = float(value.detach())

    for form in forms:  # compiles and warms up
        run(form)
    if abs(values["plain"] - values["analytic"]) > 1e-3 * abs(values["analytic"]):
        raise SystemExit(f"{name}: both forms should agree, but give {values}")
    found = interleaved(partial(run, "analytic"), partial(run, "plain"), repeats)
    return {
        "analytic_s": found["ours_seconds"],
        "plain_s": found["peer_seconds"],
        "ratio": found["ratio"]["median"],
        "ratios": found["ratio"],
        "cpu_ratio": found["cpu_ratio"]["median"],
        "load": load_average(),
    }


def memory(name: str, size: str, form: str) -> float:
    """Extra MiB of a step of one form in this process."""
    student, forms = case(name, size)
    forms[form]().backward()
    student.grad = None
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = peak_mib()
    forms[form]().backward()
    return peak_mib() - before


def main() -> None:
    """Measure every case in processes of its own and save the table."""
    parser = arguments(__doc__ or "", "plain_losses.json")
    parser.add_argument("--size", choices=sorted(SIZES), action="append")
    parser.add_argument("--name", choices=NAMES, action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SIZE", "FORM"), help="measure memory in this process")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(memory(*given.one)))
        return
    os.environ.update(PASSIVE)
    rows = []
    for size in given.size or ["small"]:
        for name in given.name or NAMES:
            row = {"size": size, "case": name} | seconds(name, size, given.repeats)
            for form in ("analytic", "plain") if given.memory else ():
                command = [sys.executable, __file__, "--one", name, size, form]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                row[f"{form}_mib"] = round(json.loads(done.stdout.splitlines()[-1]))
            rows.append(row)
            print(row, file=sys.stderr)
    save(given.out, rows)


if __name__ == "__main__":
    main()
