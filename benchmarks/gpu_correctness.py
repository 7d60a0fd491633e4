"""Every loss on a GPU against the CPU: values and gradients, with the Triton kernels and without.

    python benchmarks/gpu_correctness.py [--device cuda|cpu] [--method NAME]

The reference is the CPU in float32 (bfloat16 rows: on the logits rounded to bfloat16). Errors are relative: of the
loss; of the gradient as |found - expected| / |expected| over the whole tensor. The bounds are stated in each row; ties
between bfloat16 logits make the order of sorted entries, and so single signs of the gradient, a matter of the sort, so
the bound for losses that sort is wider there. On a CPU (a try-out) the kernels run in Triton's interpreter, on tiny
logits. Ends with status 1 where a row is beyond its bound.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _record import arguments, keep  # noqa: E402

SORTING = ("uld", "gold", "xtoken-hkl", "multilevel_ot")
COUNTING = ("uld", "gold", "xtoken-hkl")  # count ranks in long rows; here these rows are short, so they are told to
COUNTED = ", counted"
VALUE = {"float32": 1e-4, "bfloat16": 1e-4}
GRADIENT = {"float32": 1e-3, "bfloat16": 1e-2}
SORTED_GRADIENT = 0.2  # bfloat16
WIDTHS = {"cuda": (8192, 6144), "cpu": (403, 305)}
ODD_WIDTHS = (9001, 7013)  # not in steps of 16: kernels are compiled anew for them, so only for these, in one form
ODD = ("sft", "kd", "xtoken-pkl", "gold")
# What the kernels do most of comes first: a short session may not come to the end.
FIRST = ("sft", "kd", "xtoken-pkl", "gold", "xtoken-hkl", "uld", "sedi", "alm", "bytes")
ON_CPU = ("sft", "kd", "gold", "xtoken-pkl")  # of a try-out without --method: the interpreter is slow
FORMS: dict[str, list[dict[str, Any]]] = {
    "kd": [{"divergence": kind} for kind in ("forward_kl", "reverse_kl", "jsd", "skewed_forward_kl", "tvd")],
    "gold": [{}, {"hybrid": False}, {"merge": "observed", "beta": 0.0}, {"temperature": 2.0}],
    "uld": [{}, {"pairing": "groups"}],
    "xtoken-pkl": [{}, {"reverse": True, "scaling": "fixed"}, {"merge": "chain"}],
    "xtoken-hkl": [{}, {"reverse": True, "scaling": "fixed", "tail_k": 64}],
    "alm": [{}, {"debias": "none"}],
}


def case(name: str, widths: tuple[int, int], dtype: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Logits, batch and what the method takes besides, on the CPU."""
    from ctkd_core import methods
    from tests.losses.cases import batch_of, extras, logits_for, same_sides, samples

    batch = batch_of(samples())
    student, teacher = logits_for(batch, widths=widths)
    student, teacher = student.detach().to(dtype), teacher.to(dtype)
    if methods.get(name).same_tokenizer:
        batch, teacher = same_sides(batch, teacher)
    return student, teacher, batch, extras(name, batch)


def computed(name: str, given: Any, options: dict[str, Any], device: str, dtype: Any, mode: str) -> tuple[float, Any]:
    """Loss and gradient (float32, on the CPU) of a method on a device, logits in `dtype`."""
    import torch

    from ctkd_core import losses
    from ctkd_core.losses.kernels import buckets
    from ctkd_core.losses.kernels.switch import triton_mode

    student, teacher, batch, more = given
    z = student.to(device, dtype).requires_grad_()
    fewest = 0 if mode.endswith(COUNTED) else buckets.FEWEST
    with triton_mode(mode.removesuffix(COUNTED)), patch.object(buckets, "FEWEST", fewest):
        out = losses.loss(
            name, z, teacher.to(device, dtype), batch.to(device), **options,
            **{key: _moved(value, device) for key, value in more.items()},
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(out.loss, [z])
    return float(out.loss.detach()), gradient.float().cpu()


def _moved(value: Any, device: str) -> Any:
    import copy

    import torch

    from ctkd_core.losses.base import States

    if isinstance(value, torch.nn.Module):
        return copy.deepcopy(value).to(device)
    if isinstance(value, States):
        return replace(
            value,
            hidden=tuple(layer.to(device) for layer in value.hidden),
            head=value.head.to(device),
            embeddings=value.embeddings.to(device),
        )
    return value.to(device) if isinstance(value, torch.Tensor) else value


def rows_of(name: str, device: str) -> list[dict[str, Any]]:
    """The rows of one method: forms x widths x data types x modes."""
    import torch

    found = []
    forms = FORMS.get(name, [{}])
    for widths in (WIDTHS[device], ODD_WIDTHS) if device == "cuda" and name in ODD else (WIDTHS[device],):
        for options in forms if device == "cuda" and widths != ODD_WIDTHS else forms[:1]:
            for dtype in (torch.float32, torch.bfloat16):
                given = case(name, widths, dtype)
                value, gradient = computed(name, given, options, "cpu", torch.float32, "off")
                modes = ["auto", "off"] if device == "cuda" else ["interpret"]
                for mode in modes + [modes[0] + COUNTED] * (name in COUNTING):
                    row = {
                        "method": name, "options": ", ".join(f"{k}={v}" for k, v in options.items()),
                        "widths": list(widths), "dtype": str(dtype).removeprefix("torch."), "triton": mode,
                    }  # fmt: skip
                    found.append(row | _compared(name, row["dtype"], value, gradient, given, options, device, mode))
    return found


def _compared(
    name: str, dtype: str, value: float, gradient: Any, given: Any, options: dict[str, Any], device: str, mode: str
) -> dict[str, Any]:
    import torch

    bound = SORTED_GRADIENT if dtype == "bfloat16" and name in SORTING else GRADIENT[dtype]
    try:
        own, slope = computed(name, given, options, device, getattr(torch, dtype), mode)
    except Exception:
        return {"ok": False, "fault": traceback.format_exc(limit=-4)}
    errors = abs(own - value) / max(abs(value), 1e-6), float((slope - gradient).norm() / gradient.norm())
    fine = errors[0] <= VALUE[dtype] and errors[1] <= bound  # NaN is not
    return {
        "ok": fine, "value_error": errors[0], "gradient_error": errors[1], "value_bound": VALUE[dtype],
        "gradient_bound": bound,
    }  # fmt: skip


def main() -> int:
    """Compare every method, writing the table after each."""
    import torch

    from ctkd_core import methods

    parser = arguments(__doc__ or "", "gpu_correctness.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--method", action="append")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    torch.backends.cuda.matmul.allow_tf32 = False
    every = tuple(dict.fromkeys((*FIRST, *(row.name for row in methods.training()))))
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for name in args.method or (every if args.device == "cuda" else ON_CPU):
        if time.perf_counter() - began > args.seconds:
            rows.append({"method": name, "ok": False, "fault": "left out: the time was over"})
            continue
        rows += rows_of(name, args.device)
        keep(args.out, rows, args.device, seed=0, reference="CPU, float32")
        wrong = [row for row in rows if row["method"] == name and not row["ok"]]
        print(f"{name}: {len(wrong)} of {sum(row['method'] == name for row in rows)} beyond their bounds", flush=True)
        for row in wrong:
            print(f"  {row}", flush=True)
    keep(args.out, rows, args.device, seed=0, reference="CPU, float32")
    worst = {
        dtype: max(
            (row["gradient_error"] for row in rows if row.get("dtype") == dtype and "gradient_error" in row), default=0
        )
        for dtype in VALUE
    }
    print(f"{sum(row['ok'] for row in rows)} of {len(rows)} within their bounds; worst gradient errors {worst}")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
