"""What the package imports of others, and what it declares: requirements by name, of the product and of its extras."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

OWN = {"ctkd_core", "pages"}
# Modules whose distribution has another name.
DISTRIBUTIONS = {"yaml": "pyyaml", "pynvml": "nvidia-ml-py"}
# What is imported where it happens to be there, and isn't declared.
UNDECLARED = {"nvidia-ml-py": "reads a GPU's energy counter; without it no energy is noted"}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    """The distribution that a requirement is about."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement.strip())
    assert found, requirement
    return normal(found[0])


def imported(files: Iterable[Path]) -> dict[str, Path]:
    """Distributions whose modules the files import, at whatever depth, each with a file that does."""
    found: dict[str, Path] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for top in (name.partition(".")[0] for name in names):
                if top not in sys.stdlib_module_names and top not in OWN:
                    found.setdefault(normal(DISTRIBUTIONS.get(top, top)), file)
    return found


def requirements(text: str) -> list[str]:
    """The lines of a file of requirements."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
