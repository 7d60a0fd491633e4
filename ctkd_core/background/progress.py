"""How work reports how far it is, and how it is stopped between two reports."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]  # share done 0..1, what is being done; may raise Cancelled


class Cancelled(Exception):  # noqa: N818 - not an error
    """Somebody asked the work to stop."""


def silent(share: float, sentence: str) -> None:
    """A Progress that reports to nobody."""


def within(progress: Progress, start: float, stop: float) -> Progress:
    """`progress` for a part of the work, from share `start` to `stop`."""
    return lambda share, sentence: progress(start + share * (stop - start), sentence)
