"""Which device a run will use, found without importing torch; one run at a time trains on each."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctkd_core.background.processes import OWN_MODULES
from ctkd_core.distill.training import processes
from ctkd_core.markup.visible import counted


def guess_device(wanted: str) -> str:
    """ "cpu", "mps" or "cuda:N" for a config's device. "auto" is a guess until torch has been asked."""
    if wanted == "cuda":
        return "cuda:0"
    if wanted != "auto":
        return wanted
    if Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1"):
        return "cuda:0"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"


# What tells of GPUs that have no /dev/nvidia0: of AMD, of Windows below Linux, of NVIDIA's small boards.
_OTHER_GPUS = ("kfd", "dxg", "nvmap")


def cuda_count(devices: Path = Path("/dev")) -> int | None:
    """How many CUDA devices a run could use, by their files and CUDA_VISIBLE_DEVICES; None where these don't tell."""
    if platform.system() != "Linux" or any((devices / name).exists() for name in _OTHER_GPUS):
        return None
    there = len(list(devices.glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    chosen = visible.split(",") if visible.strip() else []
    return min(there, chosen.index("-1") if "-1" in chosen else len(chosen))


def missing_device(wanted: str) -> str:
    """Why a config's device can't be here, as a sentence, without asking torch; "" where it may be."""
    if wanted == "mps" and platform.system() != "Darwin":
        return "device 'mps' isn't here: only Macs have it."
    count = cuda_count() if wanted.startswith("cuda") else None
    if count is None or int(wanted.partition(":")[2] or 0) < count:
        return ""
    return f"device {wanted!r} isn't here: this computer shows {counted(count, 'CUDA device')}."


# In a process of its own: a CUDA context takes some of the memory for as long as its process lives.
_MEMORY = "import sys, torch; print(*torch.cuda.mem_get_info(sys.argv[1]))"
_TIMEOUT = 60.0  # seconds
# How long an answer holds, in seconds: a page looks with every change. What doesn't suffice may be free a moment later.
_REMEMBERED, _REMEMBERED_SHORT = 30.0, 10.0
_told: dict[str, tuple[float, tuple[int, int] | None]] = {}
_asking: dict[str, threading.Thread] = {}
_lock = threading.Lock()  # held while either is changed: all threads wait for one child of a device


def gpu_memory(wanted: str, needed: int = 0) -> tuple[int, int] | None:
    """Free and all bytes of a config's CUDA device; None where torch doesn't tell them. Takes seconds at first.

    They are half a minute old at most, and ten seconds where less than `needed` is free.
    """
    if child := _child(wanted, needed):
        child.join()
    return told_memory(wanted)


def told_memory(wanted: str) -> tuple[int, int] | None:
    """What `gpu_memory` told last, however old; None where it told nothing."""
    return _told.get(guess_device(wanted), (0.0, None))[1]


def asking_memory(wanted: str, needed: int = 0) -> bool:
    """Whether `gpu_memory` would have to wait: then the device is being asked, and `told_memory` has it soon."""
    return _child(wanted, needed) is not None


def _child(wanted: str, needed: int) -> threading.Thread | None:
    """Who waits for the process that asks a device, which is started where none is; None for an answer that holds."""
    device = guess_device(wanted)
    if not device.startswith("cuda") or missing_device(wanted):
        return None
    with _lock:
        asked, found = _told.get(device, (-_REMEMBERED, None))
        if time.monotonic() - asked < (_REMEMBERED_SHORT if found and found[0] < needed else _REMEMBERED):
            return None
        if device not in _asking:
            _asking[device] = threading.Thread(target=_ask, args=(device,), name="gpu memory", daemon=True)
            _asking[device].start()
        return _asking[device]


def _ask(device: str) -> None:
    found = None
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        command, environment = [sys.executable, "-c", _MEMORY, device], os.environ | OWN_MODULES
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
        free, whole = map(int, answer.stdout.split())
        found = free, whole
    with _lock:
        _told[device] = time.monotonic(), found
        del _asking[device]


def slots(wanted: str) -> list[str]:
    """The devices of this computer that a run takes, one slot each, in the order in which they are taken."""
    device = guess_device(wanted)
    if not device.startswith("cuda") or processes.local_size() == 1:
        return [device]
    return [f"cuda:{number}" for number in range(processes.local_size())]


def ignored_precision(precision: str, trainer: Mapping[str, Any], device: str) -> str:
    """Why a run wouldn't compute on `device` in the precision that it asks for, as a sentence; "" where it would.

    trainer: the run's table, which may have `fp16`, too
    """
    if device != "cpu" or not (precision == "fp16" or str(trainer.get("fp16", "")).lower() == "true"):
        return ""
    return "this run asks for fp16 and trains on the CPU, where all would be computed in fp32: only GPUs have it."


def torch_device(wanted: str) -> str:
    """The device torch will really use. Raises RunError when the wanted one isn't there."""
    import torch

    from ctkd_core.errors import RunError

    if processes.world_size() > 1 and wanted in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{processes.local_rank()}"
    if processes.world_size() > 1 and wanted.startswith("cuda:"):
        raise RunError(f"device {wanted!r} is one device, and this run has several processes; use cuda or auto.")
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda"):
        index, count = int(wanted.partition(":")[2] or 0), torch.cuda.device_count()
        if not torch.cuda.is_available() or index >= count:
            raise RunError(f"device {wanted!r} isn't here: torch sees {count} CUDA devices; use auto.")
        return f"cuda:{index}"
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise RunError("device 'mps' isn't here; use auto or cpu.")
    return wanted


def cpu_count() -> int:
    """Processor cores this process may use."""
    with suppress(AttributeError):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
