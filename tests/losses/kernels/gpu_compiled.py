"""Every Triton kernel compiled for a GPU (compute capability 9.0) on a machine without one, to machine code.

    python -m tests.losses.kernels.gpu_compiled

What the interpreter lets pass and the compiler refuses is found here: types that change in a loop, missing operations.
Dense rows must be read and written 16 bytes at once where their widths allow, or half of the bandwidth is lost.
"""

from __future__ import annotations

import importlib
import json
import traceback
from typing import Any

FOLDER = "ctkd_core.losses.kernels.gpu"
OFFSETS = {
    *("offset", "out_offset", "s_offset", "t_offset", "f_offset", "target", "order", "group", "m_group", "p_group"),
    "starts",
    *("first", "count", "s_first", "s_count", "t_first", "t_count"),
}
IDS = {
    "counts",
    "opened",
    "open_bits",
    "open_at",
    "edge",
    "student",
    "teacher",
    "m_edge",
    "m_column",
    "p_partner",
    "p_place",
}
SIZES = {"width", "whole", "n_groups", "width_p", "width_q", "n", "f_width", "m_width", "p_rest", "limit"}
NUMBERS = {
    *("scale", "scale_a", "scale_b", "scale_s", "scale_t", "number", "push", "alpha", "base"),
    *("f_scale_s", "f_scale_t", "f_number", "m_scale", "p_scale_s", "p_scale_t", "p_number"),
}
KEEP_NAN = {"_sums", "_groups", "_pairs", "_rest"}  # Triton's interpreter keeps it anyway
LOGITS = {"line", "s_line", "t_line", "f_line", "out"}
WRITER = {
    "STEP": 16,
    "OUT_STEP": 16,
    "F_STEP": 16,
    "ONE": True,
    "TWO": True,
    "TARGET": True,
    "DENSE": False,
    "BASE": False,
}
PLAIN = {"FACING": 0, "MAPPED": False, "PAIRED": 0, "BLOCK": 2048}

# (module, kernel, constants, types that differ from the rule, loads or stores of 16 bytes that must be there)
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, str], int]] = {
    "normalisers": (
        "statistics", "_normalisers", {"STEP": 16, "TWO": True, "SOME": False, "BLOCK": 4096}, {"columns": "*i64"}, 1,
    ),
    "gathered": (
        "statistics", "_normalisers", {"STEP": 1, "TWO": False, "SOME": True, "BLOCK": 4096}, {"columns": "*i64"}, 0,
    ),
    "maxima": ("maxima", "_maxima", {"STEP": 16, "ROWS": 16, "PART": 512, "BLOCK": 256}, {"found": "*fp32"}, 1),
    **{
        f"one pass, {kind}": (
            "facing", "_one_pass", {"STEP_S": 16, "STEP_T": 16, "KIND": kind, "BLOCK": 4096}, {}, 2,
        )
        for kind in (1, 2)
    },
    **{
        f"sums, {kind}": ("facing", "_sums", {"STEP_S": 16, "STEP_T": 16, "KIND": kind, "BLOCK": 4096}, {}, 2)
        for kind in (3, 4, 5, 6)
    },
    "masses": ("projected", "_masses", {"BLOCK": 512}, {}, 0),
    "groups": ("projected", "_groups", {"REVERSED": False, "LEARNS": True, "BLOCK": 512}, {"pushed": "*bf16"}, 0),
    "groups, reverse": (
        "projected", "_groups", {"REVERSED": True, "LEARNS": True, "BLOCK": 512}, {"pushed": "*bf16"}, 0,
    ),
    "dots": ("projected", "_dots", {"BLOCK": 512}, {"pushed": "*bf16"}, 0),
    **{f"pairs, {kind}": ("paired", "_pairs", {"KIND": kind, "BLOCK": 1024}, {}, 0) for kind in range(1, 6)},
    **{
        f"rest, {'counted' if counts else 'sorted'}": (
            "paired", "_rest", {"SOME": True, "COUNTS": counts, "SPAN": 8192, "BLOCK": 1024}, {"columns": "*i32"}, 0,
        )
        for counts in (True, False)
    },
    "signs of buckets": ("ranks", "_tables", {"SPAN": 8192}, {"signs": "*i8"}, 0),
    **{
        f"known signs, {'student' if learns else 'teacher'}": (
            "ranks", "_known", {"SPAN": 8192, "LEARNS": learns, "BLOCK": 1024},
            {"table": "*i8", "sign": "*i8", "values": "*fp64"}, 0,
        )
        for learns in (True, False)
    },
    "gaps": ("paired", "_gaps", {"LEARNS": True, "BLOCK": 1024}, {}, 0),
    "writer": ("writer", "_write", WRITER | PLAIN, {}, 2),
    "writer, added": ("writer", "_write", WRITER | PLAIN | {"DENSE": True, "BASE": True}, {}, 2),
    "writer, facing": ("writer", "_write", WRITER | PLAIN | {"FACING": 1}, {}, 3),
    "writer, jsd": ("writer", "_write", WRITER | PLAIN | {"FACING": 3}, {}, 3),
    "writer, mapped": ("writer", "_write", WRITER | PLAIN | {"MAPPED": True}, {"m_pushed": "*bf16"}, 2),
    "writer, paired": ("writer", "_write", WRITER | PLAIN | {"PAIRED": 5}, {}, 2),
}  # fmt: skip


def signature(kernel: Any, dtype: str, other: dict[str, str]) -> dict[str, str]:
    """Triton's type of every parameter: float32 pointers unless its name says otherwise."""
    types = dict.fromkeys(OFFSETS, "*i64") | dict.fromkeys(IDS, "*i32") | dict.fromkeys(SIZES, "i32")
    types |= dict.fromkeys(NUMBERS, "fp32") | dict.fromkeys(LOGITS, f"*{dtype}") | {"signs": "*i8", "p_signs": "*i8"}
    types |= other
    return {p.name: "constexpr" if p.is_constexpr else types.get(p.name, "*fp32") for p in kernel.params}


def compile_case(name: str, dtype: str) -> None:
    """Raise where the compiler refuses, or the rows aren't read 16 bytes at once."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, kernel_name, constants, other, wide = CASES[name]
    kernel = getattr(importlib.import_module(f"{FOLDER}.{module}"), kernel_name)
    types = signature(kernel, dtype, other)
    names = list(types)
    divisible = {"width", "whole", "f_width", "m_width"}
    aligned = {
        (k,): [["tt.divisibility", 16]] for k, n in enumerate(names) if types[n].startswith("*") or n in divisible
    }
    source = ASTSource(
        fn=kernel, signature=types, constexprs={(names.index(k),): v for k, v in constants.items()}, attrs=aligned
    )
    warps = 8 if module in ("statistics", "facing", "ranks") else 4
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert built.asm["cubin"]
    code = built.asm["ptx"]
    if kernel_name in KEEP_NAN:
        assert "max.NaN.f32" in code, "a model without numbers would be one whose tokens have no probability"
    found = code.count("ld.global.v4") + code.count("st.global.v4")
    assert found >= wide, f"{found} loads and stores of 16 bytes, at least {wide} expected"


def main() -> None:
    """Print what went wrong with each kernel, "" where nothing did, as JSON."""
    found = {}
    for name in CASES:
        for dtype in ("bf16", "fp32") if name in ("normalisers", "writer") else ("bf16",):
            try:
                compile_case(name, dtype)
                found[f"{name}, {dtype}"] = ""
            except Exception:
                found[f"{name}, {dtype}"] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
