"""Pages are opened hundreds of times here: what Streamlit looks up anew each time is looked up once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest
from streamlit.components.v2 import manifest_scanner


@pytest.fixture(autouse=True, scope="session")
def _components_looked_up_once() -> Iterator[None]:
    """Streamlit parses the metadata of every installed package for each AppTest: 0.6 CPU seconds."""
    with pytest.MonkeyPatch.context() as patch:
        once = lru_cache(maxsize=1)(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", once)
        yield


@pytest.fixture(autouse=True)
def _no_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no browser to wait for."""
    from pages.parts import plots

    monkeypatch.setattr(plots, "HEAD_START_SECONDS", 0.0)
