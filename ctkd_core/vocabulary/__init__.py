"""Vocabulary maps: which teacher tokens say what a student token says.

Every map is a Projection, a sparse matrix with the reason of each entry. To add a map, write a function
(student, teacher, **options) -> Projection in a file of its own and one row in MAPS.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.options import Option, resolve
from ctkd_core.vocabulary.projection import REASONS, Projection

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer

__all__ = ["MAPS", "REASONS", "Projection", "VocabularyMap", "project"]


@dataclass(frozen=True)
class VocabularyMap:
    """One row of the table: `function` is "module:name"."""

    name: str
    title: str
    idea: str
    function: str
    options: tuple[Option, ...] = ()


_ROWS = (
    VocabularyMap(
        "exact",
        "Equal bytes",
        "A student token maps to the teacher token of equal bytes; tokens without one map to nothing.",
        "ctkd_core.vocabulary.exact:project_exact",
    ),
    VocabularyMap(
        "pieces",
        "Pieces",
        "Student tokens without an equal one map to the pieces into which the teacher cuts their bytes.",
        "ctkd_core.vocabulary.pieces:project_pieces",
        (
            Option(
                "weights",
                "choice",
                "mean",
                "mean: every piece counts the same (embedding transplant); "
                "geometric: 0.9 * 0.1^i, nearly all on the first (projection of probabilities).",
                choices=("mean", "geometric"),
                source="geometric: X-Token, section 2",
            ),
        ),
    ),
)

MAPS: dict[str, VocabularyMap] = {row.name: row for row in _ROWS}


def project(student: Tokenizer, teacher: Tokenizer, method: str = "pieces", **options: Any) -> Projection:
    """The map from the student's vocabulary to the teacher's, matrix [student.n_ids, teacher.n_ids].

    Raises ProjectionError for an unknown method or option, with the nearest names.
    """
    if method not in MAPS:
        raise unknown("vocabulary map", method, MAPS, ProjectionError)
    row = MAPS[method]
    resolved = resolve(row.options, options, f"vocabulary map {method!r}", ProjectionError)
    module, _, name = row.function.partition(":")
    return getattr(importlib.import_module(module), name)(student, teacher, **resolved)
