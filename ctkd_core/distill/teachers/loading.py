"""In which numbers a teacher computes, and where its weights lie, by transformers' own options."""

from __future__ import annotations

import importlib.util
from typing import Any

from ctkd_core.errors import RunError


def missing_for(precision: str, loading: str) -> str:
    """A sentence about a package that these options need and that isn't there; "" where nothing is missing."""
    needed = {"int8": "bitsandbytes"}.get(precision), {"offload": "accelerate"}.get(loading)
    lacking = [name for name in needed if name and importlib.util.find_spec(name) is None]
    if not lacking:
        return ""
    option = "teacher_precision 'int8'" if "bitsandbytes" in lacking else "teacher_loading 'offload'"
    return f"{option} needs the package {lacking[0]}, which isn't installed: pip install {lacking[0]}."


def from_pretrained_options(precision: str, loading: str, device: str = "cpu") -> dict[str, Any]:
    """What `from_pretrained` is told besides the source. Raises RunError where a package is missing.

    precision  "fp32", "bf16", "fp16", or "int8" (weights in 8 bits by bitsandbytes, the rest in fp16)
    loading    "device": all on one; "offload": transformers places layers on the GPUs, then in memory, then on disk
    """
    import torch

    if said := missing_for(precision, loading):
        raise RunError(said)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float16}
    options: dict[str, Any] = {"dtype": dtypes[precision]}
    if precision == "int8":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=loading == "offload"
        )
        options["device_map"] = {"": device}
    if loading == "offload":
        options["device_map"] = "auto"
    return options
