"""The Triton kernels: equal to their torch twins in Triton's interpreter, and accepted by the compiler for a GPU.

Each in a process of its own (`gpu_forms`, `gpu_compiled`), for Triton is imported either to interpret or to compile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctkd_core.losses.kernels import switch

if not switch.installed():
    pytest.skip("needs the package triton (pip install triton==3.6.0)", allow_module_level=True)


def faults(module: str, **more: str) -> dict[str, str]:
    """What went wrong, by name; in one test, or each process of the suite would run the module again."""
    clean = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "CTKD_TRITON")}
    command = [sys.executable, "-m", f"tests.losses.kernels.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean | more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found
    return {name: fault for name, fault in found.items() if fault}


@pytest.mark.slow
def test_kernels_compute_what_their_twins_do() -> None:
    wrong = faults("gpu_forms", TRITON_INTERPRET="1", CTKD_TRITON="interpret")
    assert not wrong, "\n".join(f"{name}: {fault}" for name, fault in wrong.items())


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    wrong = faults("gpu_compiled", TRITON_CACHE_DIR=str(tmp_path))
    assert not wrong, "\n".join(f"{name}: {fault}" for name, fault in wrong.items())
