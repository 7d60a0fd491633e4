"""Energy that training takes, where the machine tells it: Linux RAPL for processors and memory, NVML for a GPU.

Both count what the whole device takes, whoever makes it work. Sources: the kernel's powercap interface
(docs.kernel.org/power/powercap), `nvmlDeviceGetTotalEnergyConsumption` of NVIDIA's NVML (Volta and newer).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
LONGEST = 64  # bytes of a file of the interface


@dataclass
class Counter:
    """A counter of energy: `read` gives it in joules; it starts again at 0 behind `highest` (0: never)."""

    read: Callable[[], float]
    highest: float = 0.0
    _last: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self._last = self.read()

    def spent(self) -> float:
        """Joules since the last call. Raises OSError or RuntimeError where it can't be read any more."""
        now, before = self.read(), self._last
        self._last = now
        return now - before if now >= before else max(0.0, now + self.highest - before)


@dataclass
class EnergyMeter:
    """Several counters together; when one of them fails, the others have no sum with it any more."""

    counters: Sequence[Counter]
    _failed: bool = field(default=False, repr=False)

    def spent(self) -> float | None:
        """Joules since the last call; None once a counter couldn't be read."""
        if self._failed:
            return None
        try:
            return sum([counter.spent() for counter in self.counters])
        except (OSError, ValueError, RuntimeError):
            self._failed = True
            return None


def meter_of(device: str, powercap: Path = POWERCAP) -> EnergyMeter | None:
    """What tells the energy of a run on this device; None where nothing does, or not that of its GPU."""
    counters = rapl_counters(powercap)
    if device.startswith("cuda"):
        gpu = gpu_counter(device)
        if gpu is None:  # the processor's alone would be mistaken for the run's
            return None
        counters.append(gpu)
    elif device != "cpu":
        return None
    return EnergyMeter(counters) if counters else None


def rapl_counters(powercap: Path = POWERCAP) -> list[Counter]:
    """One counter for each processor and each memory beside it; [] where there are none, or not for this user.

    A processor's zone has its cores in it, and `psys` the processors, so neither is counted besides.
    """
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = _text(zone / "name")
            if name.startswith("package") or name == "dram":
                highest = int(_text(zone / "max_energy_range_uj")) / 1e6
                found.append(Counter(_reads(zone / "energy_uj"), highest))
        except (OSError, ValueError):  # often only root may read it
            return []
    return found


def _reads(path: Path) -> Callable[[], float]:
    return lambda: int(_text(path)) / 1e6


def _text(path: Path) -> str:
    with path.open(encoding="ascii") as file:
        return file.read(LONGEST).strip()


def gpu_counter(device: str) -> Counter | None:
    """The counter of a CUDA device; None without NVML's package (nvidia-ml-py), or where the GPU has none."""
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        # CUDA numbers its devices otherwise than NVML does.
        properties: Any = torch.cuda.get_device_properties(device)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        return Counter(lambda: _millijoules(pynvml, handle) / 1e3)
    except Exception:  # an optional package, its own errors, and whatever a driver says
        return None


def _millijoules(pynvml: Any, handle: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except pynvml.NVMLError as fault:
        raise OSError(str(fault)) from fault
