"""Amounts of time and of data as people say them."""

from __future__ import annotations

import math


def duration(seconds: float | None) -> str:
    """Seconds as "42 s", "3 min 5 s", "1 h 12 min"; "" for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest and minutes < 10 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def between(low: float, high: float) -> str:
    """A range of seconds as "40 to 90 s", "2 to 5 min", "50 min to 2 h"; never narrower than the unit."""
    for size, unit, last in ((1.0, "s", 120.0), (60.0, "min", 5400.0), (3600.0, "h", float("inf"))):
        if high < last:
            first, most = int(low / size), math.ceil(high / size)
            if first or unit == "s":
                return f"{first} to {most} {unit}"
            return f"{duration(low)} to {most} {unit}"
    raise ValueError(f"{low} to {high} seconds is no range.")


def about(seconds: float) -> str:
    """An estimate of seconds, as exact as estimates are: "5 s", "40 s", "2 min 10 s", "25 min", "3 h 20 min"."""
    for least, step in ((7200, 600), (300, 60), (120, 10)):
        if seconds >= least:
            return duration(step * round(seconds / step))
    return duration(max(5, 5 * round(seconds / 5)))


def in_bytes(count: float) -> str:
    """ "850 kB", "12.3 MB", "4.0 GB"."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return "1 byte" if count == 1 else f"{count:.0f} bytes"
