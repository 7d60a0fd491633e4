"""Methods describe themselves: one row each, which the command line, pages, trainer, docs and tests read."""

from __future__ import annotations

from ctkd_core.methods.row import VARIANTS, Method, load
from ctkd_core.methods.table import METHODS, aligner, aligning, get, shown_on_a_text, training

__all__ = ["METHODS", "VARIANTS", "Method", "aligner", "aligning", "get", "load", "shown_on_a_text", "training"]
