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

from typing_extensions import TypedDict

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import cpu_count
from ctkd_core.distill.run_inputs import noted
from ctkd_core.distill.training.processes import world_size
from ctkd_core.files import documents, write_atomic

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy", "numba", "scipy")


class Environment(TypedDict, total=False):
    """What env.json may have; older versions wrote less.

    time              seconds since the epoch
    revision          commit of the source; null for an installed package
    packages          version of each, null where it isn't installed
    tokenizers        name, source, fingerprint and vocab_size of both sides; content  a hash of the files of each side
                      that doesn't come along with the program, those of further teachers, too
    weights           source and fingerprint of those sides whose weights lie in files that don't come along
    data, eval_data   source and fingerprint
    processes         that train the run together
    """

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]

    time: float
    ctkd_core: str
    revision: str | None
    python: str
    platform: str
    executable: str
    packages: dict[str, str | None]
    device: str
    device_name: str
    cpu_cores: int
    processes: int
    tokenizers: dict[str, dict[str, Any]]
    weights: dict[str, dict[str, Any]]
    data: dict[str, Any]
    eval_data: dict[str, Any]
    config_fingerprint: str


def read(content: bytes) -> dict[str, Any]:
    """What an env.json says; {} for what is no table, and what isn't of its type is left out."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    wrong = {where[0] for where in documents.misfits(Environment, found)}
    return {key: value for key, value in found.items() if key not in wrong}


def write(run_dir: Path, config: RunConfig, device: str, student: Tokenizer, teacher: Tokenizer) -> None:
    """Write env.json of the current attempt."""
    found = describe(config, device, student, teacher)
    write_atomic(run_dir / "env.json", json.dumps(found, indent=1, ensure_ascii=False, default=str))


def describe(config: RunConfig, device: str, student: Tokenizer, teacher: Tokenizer) -> dict[str, Any]:
    """Versions, device, threads, source revision, fingerprints of tokenizers and data."""
    from ctkd_core import __version__

    read = noted(config)
    sides = read.pop("tokenizers", {})
    for side, t in (("student", student), ("teacher", teacher)):
        known = {"name": t.name, "source": t.source, "fingerprint": t.fingerprint, "vocab_size": t.vocab_size}
        sides[side] = sides.get(side, {}) | known
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
        "processes": world_size(),
        "tokenizers": sides,
        **read,
        "config_fingerprint": config.fingerprint,
    }


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
