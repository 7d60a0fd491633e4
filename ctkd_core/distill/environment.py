"""env.json: what a run found around it, so that its figures can be understood later."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import fingerprint
from ctkd_core.distill.devices import cpu_count
from ctkd_core.files import write_atomic

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy", "numba", "scipy")


def write(run_dir: Path, config: RunConfig, device: str, student: Tokenizer, teacher: Tokenizer) -> None:
    """Write env.json of the current attempt."""
    found = describe(config, device, student, teacher)
    write_atomic(run_dir / "env.json", json.dumps(found, indent=1, ensure_ascii=False, default=str))


def describe(config: RunConfig, device: str, student: Tokenizer, teacher: Tokenizer) -> dict[str, Any]:
    """Versions, device, threads, source revision, fingerprints of tokenizers and data."""
    from ctkd_core import __version__

    return {
        "time": time.time(),
        "ctkd_core": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "packages": {name: _version(name) for name in PACKAGES},
        "device": device,
        "device_name": _device_name(device),
        "cpu_cores": cpu_count(),
        "tokenizers": {
            side: {"name": t.name, "source": t.source, "fingerprint": t.fingerprint, "vocab_size": t.vocab_size}
            for side, t in (("student", student), ("teacher", teacher))
        },
        "data": _data(config.data),
        **({"eval_data": _data(config.eval_data)} if config.eval_data else {}),
        "config_fingerprint": config.fingerprint,
    }


def _data(source: str) -> dict[str, str]:
    return {"source": source, "fingerprint": fingerprint(source)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
