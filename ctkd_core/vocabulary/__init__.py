"""Vocabulary maps: which teacher tokens say what a student token says.

Every map is a Projection, a sparse matrix with the reason of each entry. To add a map, write a function
(student, teacher, *, progress, **options) -> Projection in a file of its own and one row in MAPS.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.methods.options import Is, Option, resolve
from ctkd_core.vocabulary.projection import REASONS, Projection

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

__all__ = ["MAPS", "REASONS", "Progress", "Projection", "VocabularyMap", "map_options", "project"]


@dataclass(frozen=True)
class VocabularyMap:
    """One row of the table: `function` is "module:name".

    `released`: options whose defaults differ in the public program; empty where there's no such variant.
    """

    name: str
    title: str
    idea: str
    function: str
    options: tuple[Option, ...] = ()
    released: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False  # a fraction of a second for 150,000 x 150,000 ids: pages build it while one waits

    @property
    def variants(self) -> tuple[str, ...]:
        """ "clean", and "released" where the public program differs."""
        return ("clean", "released") if self.released else ("clean",)


_TOOLS = "off: not in the paper's rules; on: released tools (NeMo-RL)"
_PIECES_OPTIONS = (
    Option(
        "weights",
        "choice",
        "geometric",
        "geometric: 0.9 * 0.1^i, nearly all on the first piece (projection of probabilities); "
        "mean: every piece counts the same (embedding transplant).",
        choices=("geometric", "mean"),
        source="geometric: X-Token, section 2",
    ),
    Option(
        "match",
        "choice",
        "canonical",
        "What counts as equal before pieces are asked for. canonical: equal bytes, else equal apart from space marks "
        "and the like; bytes: equal bytes; raw: equal vocabulary strings.",
        choices=("canonical", "bytes", "raw"),
        source="canonical: X-Token, section 2; raw: released tools",
    ),
    Option(
        "top_k",
        "int",
        4,
        "The heaviest entries that a row keeps; 0 keeps all.",
        low=0,
        high=4096,
        unit="entries",
        source="X-Token, section 2: K = 4",
    ),
    Option(
        "max_pieces",
        "int",
        0,
        "Pieces that are looked at, from the first, before weights are given; 0: all.",
        low=0,
        high=4096,
        unit="pieces",
        source="released tools: 4",
        advanced=True,
    ),
    Option(
        "reverse",
        "bool",
        False,
        "Also cut every teacher token with the student, and let its pieces point at it.",
        source=_TOOLS,
        advanced=True,
    ),
    Option(
        "similar",
        "bool",
        False,
        "Also map special tokens to those with similar names.",
        source=_TOOLS,
        advanced=True,
    ),
    Option(
        "scale_slot",
        "bool",
        False,
        "Give 0.2 to the last slot of every row without an equal token, whatever id it holds.",
        source=_TOOLS,
        advanced=True,
    ),
    Option(
        "prep_top_k",
        "int",
        32,
        "Slots of a row before the scale slot and the final cut.",
        low=2,
        high=4096,
        unit="slots",
        source="released tools: 32",
        advanced=True,
        read_if=((Is("scale_slot", (True,)), Is("similar", (True,)), Is("rounding", ("bfloat16",))),),
    ),
    Option(
        "rounding",
        "choice",
        "float32",
        "bfloat16: weights have the precision that the released tools store.",
        choices=("float32", "bfloat16"),
        source="bfloat16: released tools",
        advanced=True,
    ),
)

_ROWS = (
    VocabularyMap(
        "exact",
        "Equal tokens",
        "A student token maps to the teacher token that says the same; tokens without one map to nothing.",
        "ctkd_core.vocabulary.exact:project_exact",
        (
            Option(
                "match",
                "choice",
                "bytes",
                "bytes: equal bytes; canonical: also equal apart from space marks and the like; "
                "raw: equal vocabulary strings.",
                choices=("bytes", "canonical", "raw"),
                source="raw: TRL's GOLD; canonical: X-Token, section 2",
            ),
        ),
        quick=True,
    ),
    VocabularyMap(
        "pieces",
        "Pieces",
        "Student tokens without an equal one map to the pieces into which the teacher cuts their bytes.",
        "ctkd_core.vocabulary.pieces:project_pieces",
        _PIECES_OPTIONS,
        released={
            "match": "raw",
            "max_pieces": 4,
            "reverse": True,
            "similar": True,
            "scale_slot": True,
            "rounding": "bfloat16",
        },
    ),
    VocabularyMap(
        "nearest",
        "Nearest spelling",
        "Tokens without an equal one map to the token of least edit distance.",
        "ctkd_core.vocabulary.nearest:project_nearest",
        (
            Option(
                "direction",
                "choice",
                "student",
                "student: each student token looks for a teacher token; teacher: each teacher token for a student one.",
                choices=("student", "teacher"),
                source="student: tokenkit; teacher: FuseLLM",
            ),
            Option(
                "ties",
                "choice",
                "prefix",
                "Of equally near tokens. prefix: longest common beginning, then lowest id; first: lowest id; "
                "length: first when scanned by length.",
                choices=("prefix", "first", "length"),
                source="first: FuseLLM; length: tokenkit; prefix: ours",
            ),
            Option(
                "unit",
                "choice",
                "byte",
                "What one edit changes: a byte or a character.",
                choices=("byte", "char"),
                source="byte-level vocabulary strings have one symbol a byte",
                advanced=True,
            ),
            Option(
                "max_distance",
                "int",
                0,
                "Tokens farther than this map to nothing; 0: no limit.",
                low=0,
                high=1024,
                unit="edits",
                advanced=True,
            ),
        ),
        released={"direction": "teacher", "ties": "first"},
    ),
)

MAPS: dict[str, VocabularyMap] = {row.name: row for row in _ROWS}


def map_options(method: str, options: Mapping[str, Any], variant: str = "clean") -> dict[str, Any]:
    """Every option of a map with its given or default value, checked; given ones win over those of the variant.

    Raises ProjectionError for an unknown method, variant or option, with the nearest names.
    """
    if method not in MAPS:
        raise unknown("vocabulary map", method, MAPS, ProjectionError)
    row = MAPS[method]
    if variant not in row.variants:
        raise unknown(f"variant of vocabulary map {method!r}", variant, row.variants, ProjectionError)
    preset = row.released if variant == "released" else {}
    return resolve(row.options, {**preset, **options}, f"vocabulary map {method!r}", ProjectionError, variant)


def project(
    student: Tokenizer,
    teacher: Tokenizer,
    method: str = "pieces",
    progress: Progress | None = None,
    variant: str = "clean",
    **options: Any,
) -> Projection:
    """The map from the student's vocabulary to the teacher's, matrix [student.n_ids, teacher.n_ids].

    `progress(share, sentence)` is called while the map is built; what it raises ends the work.
    `variant` "released" starts from the defaults of the public program, where the map has one.

    Raises ProjectionError for an unknown method, variant or option, with the nearest names, and TokenizerError for
    a slow tokenizer of transformers (fast ones are taken).
    """
    from ctkd_core.tokenizers.load import as_pair

    student, teacher = as_pair(student, teacher)
    resolved = map_options(method, options, variant)
    module, _, name = MAPS[method].function.partition(":")
    function = getattr(importlib.import_module(module), name)
    tell = silent if progress is None else progress
    tell(0.0, f"Reading both vocabularies ({student.n_ids:,} x {teacher.n_ids:,} ids)")
    projection = function(student, teacher, progress=tell, **resolved)
    tell(1.0, f"{projection.matrix.nnz:,} entries")
    return projection
