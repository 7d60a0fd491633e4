"""What may stand in a stored file instead of what was written: any JSON of any type, whole or in one field, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 0.5, float("nan"), float("inf")),
    *("", "no", "\ud800", "1", [], [1, "x"], [[]], {}, {"x": [None]}),
)
NO_JSON = (b"", b"{", b"\xff\xfe", b"\x00", b"[" * 9_000, b"1" * 9_000)


def contents(whole: Mapping[str, Any]) -> Iterator[bytes]:
    """Contents of a file whose whole one is this table, each damaged in another way."""
    yield from NO_JSON
    for value in VALUES:
        yield json.dumps(value).encode()
    for key in whole:
        yield json.dumps({name: value for name, value in whole.items() if name != key}).encode()
        for value in VALUES:
            yield json.dumps({**whole, key: value}).encode()
