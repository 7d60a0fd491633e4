"""Test-wide settings: no hub, and a CTKD_HOME beside the checkout (conversions are cached once in it)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CTKD_HOME"] = os.environ.get("CTKD_TEST_HOME", str(Path(__file__).resolve().parents[1] / ".ctkd" / "tests"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that spin while they wait slow a loaded machine down many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

# The first call of a compiled kernel takes a second, later ones microseconds.
settings.register_profile("ctkd", deadline=None)
settings.load_profile("ctkd")
