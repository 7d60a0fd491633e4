"""Losses on a GPU against the memory-bandwidth floor, TRL and plain torch in the same run; small on a CPU.

    python benchmarks/gpu.py [--device cuda|cpu] [--name CASE]

4,096 student x 4,800 teacher positions at 128k x 152k, bfloat16 logits (on a CPU 64 x 75 at 32k x 38k: that it runs,
nothing more). The floor is the time that copying takes for both models' logits read once and the student's gradient
written once, at the bandwidth that a large copy reaches here. Memory is the peak beyond the inputs; the student's
gradient alone is `gradient_mib`. TRL runs where it is installed (`pip install trl datasets`), Liger's JSD likewise.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import losses as shared  # noqa: E402
from _record import arguments, save  # noqa: E402

shared.SIZES |= {"cuda": (1, 4097, 4801, 128_256, 151_936), "cpu": (1, 65, 76, 32_000, 38_000)}
OURS = ("forward-kl", "gold", "uld-groups", "xtoken-pkl", "xtoken-hkl", "sedi", "bytes", "cdm", "alm-plain")
PEERS = ("torch forward-kl", "liger jsd", "trl gold", "trl uld-groups", "torch xtoken-pkl", "torch xtoken-hkl")
NEEDS = {"liger jsd": "liger_kernel", "trl gold": "trl", "trl uld-groups": "trl"}
MIB = 2**20


def inputs(name: str, device: str) -> tuple[Any, Any, Any]:
    """Student logits that learn, teacher logits, both bfloat16, and the batch, on the device."""
    import torch

    student, teacher, batch = shared.text_case(device) if name in shared.ON_TEXT else shared.case(device)
    moved = student.detach().to(device, torch.bfloat16).requires_grad_()
    return moved, teacher.to(device, torch.bfloat16), batch.to(device)


def liger(student: Any, _teacher: Any, _batch: Any) -> Any:
    """Liger's JSD over one vocabulary (it takes logarithms of probabilities)."""
    from liger_kernel.transformers import LigerJSD

    rows, target = shared._kl_rows(student)
    return LigerJSD(beta=0.5)(rows.log_softmax(-1), target.log_softmax(-1))


def measure(name: str, device: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step, MiB beyond the inputs, and both as ratios."""
    import torch

    given = inputs(name, device)
    student, teacher, _ = given
    step: Callable[[], None] = (
        (lambda: liger(*given).backward()) if name == "liger jsd" else (lambda: shared.step(name, *given))
    )
    times = []
    on_gpu = device == "cuda"
    for k in range(repeats + 1):
        student.grad = None
        gc.collect()
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated() if on_gpu else 0, time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        if k:  # the first one compiles
            times.append(1000 * (time.perf_counter() - start))
    moved = (2 * student.numel() + teacher.numel()) * student.element_size()
    floor = 1000 * moved / bandwidth(device)
    return {
        "case": name,
        "ms": round(median(times), 2),
        "floor_ms": round(floor, 2),
        "times_floor": round(median(times) / floor, 2),
        "extra_mib": round((torch.cuda.max_memory_allocated() - before) / MIB) if on_gpu else None,
        "gradient_mib": round(student.numel() * student.element_size() / MIB),
    }


def bandwidth(device: str) -> float:
    """Bytes a second that a copy reads and writes."""
    import torch

    a = torch.zeros((2**30 if device == "cuda" else 2**26) // 4, device=device)
    b = torch.empty_like(a)
    times = []
    for _ in range(6):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        b.copy_(a)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * a.numel() * a.element_size() / min(times)


def main() -> None:
    """Measure every case and save the table."""
    import torch

    parser = arguments(__doc__ or "", "gpu.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", choices=(*OURS, *PEERS), action="append")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    out = args.out if args.device == "cuda" else args.out.with_name(f"{args.out.stem}_on_cpu.json")
    rows = []
    for name in args.name or (*OURS, *PEERS):
        module = NEEDS.get(name)
        if module and importlib.util.find_spec(module) is None:
            print(f"{name}: left out, {module} isn't installed", file=sys.stderr)
            continue
        rows.append(measure(name, args.device, 1 if name.startswith("trl") else args.repeats))
        print(rows[-1], file=sys.stderr)
    described = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    save(out, rows, gpu=described, seed=0)


if __name__ == "__main__":
    main()
