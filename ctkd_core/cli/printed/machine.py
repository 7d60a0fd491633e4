"""Documents about this machine and what is prepared on it."""

from __future__ import annotations

from typing import NotRequired

from ctkd_core.cli.printed.base import Printed


class Preparation(Printed):
    """One thing that was prepared, or the sentence why not; `folder` of one that has its own."""

    name: str
    ok: bool
    seconds: float
    problem: str
    folder: NotRequired[str]


class Terms(Printed):
    """Terms to accept, and where they stand."""

    terms: str
    address: str


class App(Printed):
    """Where the app is served, and its script."""

    url: str
    script: str
