"""What a row of the table of methods (`methods.py`) holds, and how the functions it names are loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ctkd_core.errors import CtkdError, unknown
from ctkd_core.methods.options import Option, resolve

VARIANTS = ("clean", "released")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    `aligner`: "module:function" taking (student: Encoding, teacher: Encoding, *, variant, **align_options).
    `loss`: "module:function" taking (student_logits, teacher_logits, batch, *, variant, chunk_rows, **loss_options)
    and, where the method has a `state`, state.
    Either may be None: a baseline has no aligner, a method whose loss isn't here yet has no loss.
    """

    name: str
    title: str
    paper: str
    url: str
    idea: str  # one line
    formula: str  # LaTeX
    cannot_see: str  # what this method is blind to, one or two sentences
    # of "logits", "entropy", "space_probability", "top_k", "hidden_states", "projection", "pairs", "groups",
    # "same_tokenizer"
    needs: tuple[str, ...] = ()
    aligner: str | None = None
    alignment_of: str = ""  # the row whose alignment this one uses; lists of alignments name it once
    loss: str | None = None
    state: str | None = (
        None  # "module:function" (student_vocab, **loss_options) -> torch module trained with the student
    )
    align_options: tuple[Option, ...] = ()
    loss_options: tuple[Option, ...] = ()
    variants: tuple[str, ...] = ("clean",)
    variant_note: str = ""  # how paper and released code differ

    @property
    def can_align(self) -> bool:
        """Whether the method has an alignment."""
        return self.aligner is not None

    @property
    def can_train(self) -> bool:
        """Whether the method has a loss."""
        return self.loss is not None

    def resolve_align(self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError) -> dict[str, Any]:
        """All alignment options with given or default values, checked."""
        return resolve(self.align_options, given, f"method {self.name!r} (alignment)", error)

    def resolve_loss(self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError) -> dict[str, Any]:
        """All loss options with given or default values, checked."""
        return resolve(self.loss_options, given, f"method {self.name!r} (loss)", error)

    def check_variant(self, variant: str, error: type[CtkdError] = CtkdError) -> str:
        """`variant` itself when this method has it, else an error that lists what it has."""
        if variant not in self.variants:
            raise unknown(f"variant of {self.name!r}", variant, self.variants, error)
        return variant

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, options as JSON schema."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "url": self.url,
            "idea": self.idea,
            "formula": self.formula,
            "cannot_see": self.cannot_see,
            "needs": list(self.needs),
            "aligns": self.can_align,
            "trains": self.can_train,
            "variants": list(self.variants),
            "variant_note": self.variant_note,
            "align_options": {o.name: o.schema() for o in self.align_options},
            "loss_options": {o.name: o.schema() for o in self.loss_options},
        }


def load(path: str) -> Callable[..., Any]:
    """The function that a row names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
