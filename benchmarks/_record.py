"""What every benchmark records beside its figures: machine, versions, command; and where results go."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("numpy", "numba", "torch", "transformers", "tokenizers", "rapidfuzz", "tslearn", "networkx"),
    *("spacy-alignments", "streamlit"),
)


def environment() -> dict[str, Any]:
    """Device, versions and command line of this process."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "command": "python " + " ".join(sys.argv),
        "revision": revision(),
        "load_average": load_average(),
    }


def load_average() -> list[float] | None:
    """Runnable processes over the last 1, 5 and 15 minutes; None where the system doesn't say."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def revision(folder: Path = ROOT) -> str:
    """The short commit of a folder's repository, with "+" where files that it tracks were changed.

    Outside one ""; for this tree, which may be a copy without history, CTKD_REVISION.
    """
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CTKD_REVISION", "") if folder == ROOT else ""
    return commit.stdout.strip() + "+" * any("benchmarks/results/" not in line for line in changed)


def gpu_environment(device: str) -> dict[str, Any]:
    """As `environment`, for figures of a device of torch: its name and driver, Triton, peers, source revision."""
    import torch

    found = environment()
    for name in ("triton", "trl", "liger-kernel", "accelerate", "gguf"):
        try:
            found["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["memory_mib"] = torch.cuda.get_device_properties(0).total_memory // 2**20
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = _first_line(query)
        found["cuda"] = torch.version.cuda
    return found


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def keep(out: Path, rows: list[dict[str, Any]], device: str, **extra: Any) -> None:
    """Write the rows so far; a part that is stopped later leaves these."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_text(json.dumps({"environment": gpu_environment(device), **extra, "rows": rows}, indent=1) + "\n")
    part.replace(out)


def median_ms(action: Callable[[], object], repeats: int = 7, warm_up: int = 1) -> float:
    """Median wall-clock milliseconds of `action` after `warm_up` uncounted calls."""
    for _ in range(warm_up):
        action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def arguments(description: str, default_out: str) -> argparse.ArgumentParser:
    """A parser with --out, which every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results") / default_out)
    return parser


def save(out: Path, rows: list[dict[str, Any]], **extra: Any) -> None:
    """Print the rows as a table and write them with the environment as JSON."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(_cell(row.get(column)) for column in columns) + " |")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"environment": environment(), **extra, "rows": rows}, indent=1) + "\n")
    print(f"written to {out}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
