"""Test-wide settings: no hub, and a CTKD_HOME beside the checkout (conversions are cached once in it)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CTKD_HOME"] = os.environ.get("CTKD_TEST_HOME", str(Path(__file__).resolve().parents[1] / ".ctkd" / "tests"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that spin while they wait slow a loaded machine down many times over, and tests run side by side: one each.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from ctkd_core.tokenizers import assets, catalog

# The first call of a compiled kernel takes a second, later ones microseconds.
settings.register_profile("ctkd", deadline=None)
settings.load_profile("ctkd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: started last, one of them would run alone while the other processes wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    wanting = [item for item in items if item.get_closest_marker("gemma")]
    if wanting and not assets.is_prepared(catalog.TOKENIZERS[catalog.GEMMA]):
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs `ctkd prepare gemma --accept-terms`"))
