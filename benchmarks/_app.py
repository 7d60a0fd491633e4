"""The app under measurement."""

from __future__ import annotations

import time
import urllib.request


def wait_for_app(address: str) -> None:
    """Come back when the app answers at this address. Raises SystemExit after 40 seconds of silence."""
    for _ in range(400):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the app didn't start")
