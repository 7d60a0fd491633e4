"""env.json: what a run found around it, so that its figures can be understood later."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import fingerprint
from ctkd_core.distill.devices import cpu_count
from ctkd_core.distill.sources.hub import names_set
from ctkd_core.distill.training.processes import world_size
from ctkd_core.errors import RunError, short
from ctkd_core.files import documents, write_atomic

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy", "numba", "scipy")


class Environment(TypedDict, total=False):
    """What env.json may have; older versions wrote less.

    time              seconds since the epoch
    revision          commit of the source; null for an installed package
    packages          version of each, null where it isn't installed
    tokenizers        name, source, fingerprint and vocab_size of both sides
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
        "tokenizers": {
            side: {"name": t.name, "source": t.source, "fingerprint": t.fingerprint, "vocab_size": t.vocab_size}
            for side, t in (("student", student), ("teacher", teacher))
        },
        "data": _data(config.data),
        **({"eval_data": _data(config.eval_data)} if config.eval_data else {}),
        "config_fingerprint": config.fingerprint,
    }


def changed_data(
    before: Mapping[str, Any], config: RunConfig, now: Callable[[str], str | None] = fingerprint
) -> str | None:
    """Which of "data" and "eval_data" isn't what the run began with; None where neither is known to differ.

    before  what env.json told
    now     the fingerprint that a source has now; None where it can't be told
    """
    for name in ("data", "eval_data"):
        source, known = getattr(config, name), before.get(name)
        began = known.get("fingerprint") if isinstance(known, dict) else None
        if source and began and now(source) not in (began, None):
            return name
    return None


def refuse_other_data(before: Mapping[str, Any], config: RunConfig) -> None:
    """Raise RunError where a run would go on with other data than it began with.

    before  what env.json told
    """
    if name := changed_data(before, config):
        source = getattr(config, name)
        # A set that comes along, or one of the hub that was fetched anew, isn't a file that can be brought back.
        mend = "bring the file back and resume the run, or start a new one"
        raise RunError(
            f"{name} {short(source)} isn't what it was when the run began, and its last checkpoint is of that; "
            f"{'start a new run' if names_set(source) else mend}."
        )


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
