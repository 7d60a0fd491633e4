"""Coroutines run to their end, wherever a test finds itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def completed(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns. In a thread of its own: a browser of other tests keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
