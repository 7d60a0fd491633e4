"""Losses that train a student from a teacher with another tokenizer.

`loss` finds a method's loss in the table of methods; importing this package imports no torch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.errors import LossInputError, short

if TYPE_CHECKING:
    import torch

    from ctkd_core.losses.base import LossOutput, StateContext, States
    from ctkd_core.losses.batch import AlignedBatch
    from ctkd_core.losses.engine.fused import HeadLogits

__all__ = ["loss", "make_state"]


def loss(
    name: str,
    student_logits: torch.Tensor | HeadLogits,
    teacher_logits: torch.Tensor | HeadLogits | None,
    batch: AlignedBatch,
    variant: str = "clean",
    *,
    state: torch.nn.Module | None = None,
    student_states: States | None = None,
    teacher_states: States | None = None,
    projection: Any = None,
    chunk_rows: int | None = None,
    num_items_in_batch: int | torch.Tensor | None = None,
    **options: Any,
) -> LossOutput:
    """The loss of method `name` for one batch.

    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]: any float dtype, row i predicts token i + 1; the teacher
    gets no gradient. Either may be `engine.fused.HeadLogits`, hidden states and head, so that no logits are kept.
    `state` is what `make_state` gave for this method. `chunk_rows`: rows computed at a time (default: as many as suit
    the device); results don't depend on it. `student_states`, `teacher_states`: for methods that read hidden states
    (others don't look at them). `projection`: for methods that need one, a Projection or a scipy matrix [Vs, Vt]; by
    default the method's own map of the batch's tokenizers, kept on disk.
    `num_items_in_batch`: learnt student tokens of all parts of an accumulated batch, as transformers' trainer counts
    them (None, 0: of this batch). Means become sums over these tokens: loss and terms are multiplied by this batch's
    own tokens and divided by that number, so that the parts add up to the loss of the whole. Released "gold"
    and "uld" keep their mean, as TRL's ULD loss does.
    Groups of the batch with an empty side are compared by no loss.
    Raises LossInputError for an unknown method, variant or option, for an option that the variant doesn't read, and for
    inputs that don't fit together.
    """
    row = _training(name)
    row.check_variant(variant, LossInputError)
    items = _items(num_items_in_batch)
    if items and any(option.name == "num_items_in_batch" for option in row.loss_options):
        options, items = options | {"num_items_in_batch": items}, 0
    resolved = row.resolve_loss(options, LossInputError, variant)
    extras = {
        "state": state,
        "student_states": student_states,
        "teacher_states": teacher_states,
        "projection": projection,
    }
    function = methods.load(row.loss or "")
    resolved |= _fitting(name, function, {key: value for key, value in extras.items() if value is not None})
    out: LossOutput = function(
        student_logits, teacher_logits, batch, variant=variant, chunk_rows=chunk_rows, **resolved
    )
    if variant == "released" and not bool(out.loss.isfinite()):  # plain torch has no checks of its own
        raise LossInputError(
            f"the released form of {name!r} gives {float(out.loss.detach())}: the logits of a model hold NaN or "
            "infinity, which it can't leave out. The clean form says where, or does without masked columns."
        )
    return _over_items(out, batch, items) if items and variant not in row.own_mean else out


def _items(given: Any) -> int:
    """The number of tokens as a plain number; 0 for none given. Raises LossInputError."""
    number = given.item() if hasattr(given, "item") and getattr(given, "ndim", 0) == 0 else given
    if number is None:
        return 0
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    if not is_number or number != int(number) or number < 0:
        raise LossInputError(f"num_items_in_batch is a number of tokens; got {short(given, 100)}.")
    return int(number)


def _over_items(out: LossOutput, batch: AlignedBatch, items: int) -> LossOutput:
    """The means over this batch as its share of a batch of `items` learnt tokens."""
    from dataclasses import replace

    from ctkd_core.losses.base import response_rows

    share = len(response_rows(batch.student_labels)) / items
    terms = {name: value if name == "kd_scale" else value * share for name, value in out.terms.items()}
    return replace(out, loss=out.loss * share, terms=terms)


def make_state(
    name: str, student_vocab: int, *, context: StateContext | None = None, variant: str = "clean", **options: Any
) -> torch.nn.Module | None:
    """The module that method `name` trains beside the student, or None for methods without one.

    student_vocab: width of the student's logits. context: what else is known of both models; methods with projectors
    between hidden states need it. `variant` and options as for `loss`. Add the module's parameters to the optimiser and
    pass it to `loss` as `state`.
    """
    row = _training(name)
    row.check_variant(variant, LossInputError)
    resolved = row.resolve_loss(options, LossInputError, variant)
    return methods.load(row.state)(student_vocab, context=context, **resolved) if row.state else None


def _fitting(name: str, function: Callable[..., Any], extras: dict[str, Any]) -> dict[str, Any]:
    """The extras that a loss takes; hidden states that it doesn't read are dropped, anything else is refused."""
    taken = inspect.signature(function).parameters
    for key in ("state", "projection"):
        if key in extras and key not in taken:
            raise LossInputError(f"loss {name!r} takes no {key}; leave it out.")
    return {key: value for key, value in extras.items() if key in taken}


def _training(name: str) -> methods.Method:
    row = methods.get(name, LossInputError)
    if row.loss is None:
        able = ", ".join(m.name for m in methods.training())
        raise LossInputError(f"method {name!r} has no loss; choose one of {able}.")
    return row
