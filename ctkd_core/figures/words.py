"""Numbers as people say them: sizes, ages, changes."""

from __future__ import annotations

import time

from ctkd_core.markup.quantities import duration


def gib(size: float) -> str:
    """Bytes as GiB with one decimal."""
    return f"{size / 2**30:.1f} GiB"


def ago(moment: float | None, now: float | None = None) -> str:
    """How long ago a time (seconds since the epoch) was; "" for None."""
    if not moment:
        return ""
    seconds = max(0.0, (now or time.time()) - moment)
    if seconds < 60:
        return "just now"
    if seconds < 86_400:
        return f"{duration(seconds)} ago" if seconds < 600 else f"{duration(60 * round(seconds / 60))} ago"
    days = int(seconds // 86_400)
    return "yesterday" if days == 1 else f"{days} days ago"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimals, "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def change(now: float | None, before: float | None) -> float | None:
    """`now` minus `before`, rounded for display; None when either is missing."""
    return None if now is None or before is None else round(now - before, 3)


def progress(step: int, total: int) -> float:
    """Share of the steps that are done, 0 to 1."""
    return min(1.0, step / total) if total else 0.0


def remaining(step: int, total: int, seconds: float | None) -> float | None:
    """Seconds that the rest will take at the pace so far; None before the second step."""
    return None if not seconds or step < 2 else seconds / step * max(0, total - step)
