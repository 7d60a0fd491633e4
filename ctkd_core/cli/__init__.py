"""The commands of `ctkd`, one module each.

A command module has `run`, a function whose parameters are the command's flags (typer reads them from the signature)
and which returns an `Output`; or `ACTIONS`, such functions by name, of which `DEFAULT_ACTION` needn't be named. It may
have `after_help`, which returns what `--help` shows below the flags. Modules load only when their command is called, so
that `ctkd methods` doesn't pay for `ctkd align`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

COMMANDS: dict[str, str] = {
    "tokenizers": "list the tokenizers that work offline",
    "align": "align one text under two tokenizers",
    "compare": "align one text with several methods and show where they differ",
    "pair": "compare two tokenizers: shared vocabulary, texts by domain, which method to use",
    "rank": "which teacher suits a student, which student a teacher: pairs of several tokenizers, best first",
    "evidence": "what experiments found: methods at a glance, settings with their rankings, claims",
    "report": "write one HTML file about a pair: texts, disagreements, map, advice with its evidence, runs",
    "view": "keep what a page shows under a short id, or as one file that opens elsewhere",
    "project": "map the student's vocabulary onto the teacher's",
    "methods": "list the methods with paper, formula and options",
    "losses": "list the losses with their options, or compute them on a sentence",
    "distill": "run one distillation experiment",
    "cache-teacher": "keep a teacher's predictions on disk, so that runs needn't load it",
    "sweep": "queue runs of several methods, seeds and options; show, resume, move or cancel them",
    "runs": "list, show, watch, queue, cancel, resume, compare, report, export or remove runs",
    "evaluate": "measure what the student of a finished run has learnt",
    "export": "write a run's config for another trainer: a TRL script or a NeMo-RL config",
    "doctor": "check this machine and what works offline",
    "prepare": "convert and cache the bundled teacher and tokenizers once",
    "schema": "what a command prints with --json, as a JSON Schema",
    "app": "open the browser app on 127.0.0.1",
}


def module_of(command: str) -> ModuleType:
    """The module of a command, loaded."""
    return importlib.import_module(f"{__name__}.{command.replace('-', '_')}")
