"""The programs that benchmarks/peers.py compares with: which are here, in which version, and how to get the others."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

from _record import revision

REQUIREMENTS = "benchmarks/requirements.txt"


@dataclass(frozen=True)
class Peer:
    """A program: how it is called, its modules, its package, and what must be said about it."""

    title: str
    modules: tuple[str, ...]
    package: str
    note: str = ""

    @property
    def missing(self) -> str:
        """How to install it, or "" where it is here."""
        absent = [name for name in self.modules if not _found(name)]
        if not absent:
            return ""
        return f"no module {', '.join(absent)}: pip install -r {REQUIREMENTS}" + (
            f" ({self.note})" if self.note else ""
        )

    @property
    def version(self) -> str:
        """Its version, or the commit that it was installed or is imported from."""
        try:
            installed = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            spec = importlib.util.find_spec(self.modules[0])
            return revision(Path(spec.origin).parent) if spec and spec.origin else "unknown"
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return origin.get("vcs_info", {}).get("commit_id", "")[:10] or installed.version


PEERS = {
    "trl": Peer("TRL", ("trl", "datasets"), "trl"),
    "liger": Peer(
        "Liger Kernel", ("liger_kernel.chunked_loss",), "liger-kernel",
        "`pip install --no-deps liger-kernel` leaves Triton out, which its chunked losses don't need",
    ),
    "tokenkit": Peer(
        "tokenkit", ("tokenkit.align", "jax", "flax", "optax", "editdistance", "msgpack"), "tokenkit",
        "not the package of this name on PyPI; a clone of github.com/bminixhofer/tokenkit on PYTHONPATH does as well",
    ),
    "spacy-alignments": Peer("spacy-alignments", ("spacy_alignments",), "spacy-alignments"),
    "tslearn": Peer("tslearn", ("tslearn",), "tslearn"),
    "pot": Peer("POT", ("ot",), "POT"),
}  # fmt: skip
# What is compared with nothing here, and why.
LEFT_OUT = {
    "rapidfuzz": "Distances of token strings are rapidfuzz's own, so it is no peer.",
    "NeMo-RL": "P-KL and H-KL are compared with plain forms of its published algorithm: its own run on several "
    "processes and GPUs only.",
    "Liger's Triton kernels": "They need a GPU: `benchmarks/gpu.py` has LigerJSD. Here Liger's chunked loss, which is "
    "plain torch, is compared.",
}


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def stand_in(name: str) -> None:
    """Put an empty module in the place of one that a program imports and doesn't use here."""
    if name not in sys.modules and not _found(name):
        sys.modules[name] = types.ModuleType(name)
