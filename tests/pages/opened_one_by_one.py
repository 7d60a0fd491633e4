"""Every page opened in one process, and the heavy modules that it was the first to import.

    python -m tests.pages.opened_one_by_one STUDENT TEACHER

A process of its own, for the tests around it have torch long since; one for all pages, for each process imports
Streamlit, compiled kernels and tokenizers anew. STUDENT and TEACHER are two small tokenizers, as files, for pages that
would take seconds over all tokenizers or the map of two large ones.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import Any

from streamlit.components.v2 import manifest_scanner

from tests.pages.app import opened

HEAVY = ("torch", "transformers", "ray")


def main() -> None:
    """Print the heavy modules of each page as JSON; what goes wrong with a page is raised."""
    manifest_scanner.scan_component_manifests = lru_cache(maxsize=1)(manifest_scanner.scan_component_manifests)
    student, teacher = sys.argv[1:]
    addresses: list[tuple[str, dict[str, Any]]] = [
        ("start", {}),
        ("align", {}),
        ("losses", {}),
        ("runs", {}),
        ("runs", {"view": "New run"}),
        ("vocabulary", {"student": student, "teacher": teacher, "map": "exact"}),
        ("pair", {}),
        ("pair", {"look": "Chat templates"}),
        ("rank", {"student": student, "ranked": teacher}),
        ("evidence", {}),
    ]
    found: dict[str, list[str]] = {}
    before: set[str] = set()
    for page, address in addresses:
        at = opened(page, **address)
        assert not at.exception, f"{page} {address}: {at.exception}"
        heavy = {name for name in HEAVY if name in sys.modules}
        found[page] = sorted({*found.get(page, ()), *(heavy - before)})
        before |= heavy
    print(json.dumps(found))


if __name__ == "__main__":
    main()
