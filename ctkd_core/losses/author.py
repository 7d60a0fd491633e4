"""Everything that the author of a loss imports, in one place; `docs/adding-a-method.md` walks through an example.

The plain form, a function of rows or groups in torch:

    row_loss, group_loss        a whole loss from such a function
    PlainRows, PlainGroups, GroupSide  what the function sees
    row_term, group_term, kept_groups  one term of a loss that mixes several, for `finish`

The fast form, with a gradient of your own:

    Term, Chunk                 values and gradient of a chunk of rows
    cross_entropy_term, uniform, sample_mean, finish  the other terms, means, and the result

Both:

    AlignedBatch, LossOutput    what comes in and what goes out
    Rows, response_rows, PAIRINGS, GroupRows, group_rows  which rows there are and which face each other
    check_inputs, need_teacher  refusals with a sentence
    States, states_of, StateContext  hidden states, and what a module of your own is built from
    HeadLogits, IGNORE          logits that are made where they are read; the label of what isn't learnt
    divisor, share, needs_logits  what own means divide by where one step has several batches
    Count, mean                 figures for `LossOutput.diagnostics` that add up over the batches of a step
"""

from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    StateContext,
    States,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
    states_of,
    uniform,
)
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine.engine import Chunk, Term
from ctkd_core.losses.engine.fused import HeadLogits
from ctkd_core.losses.engine.units import divisor, needs_logits, share
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.group_rows import GroupRows, group_rows
from ctkd_core.losses.parts.pairing import PAIRINGS, sample_mean
from ctkd_core.losses.plain import (
    GroupSide,
    PlainGroups,
    PlainRows,
    group_loss,
    group_term,
    kept_groups,
    row_loss,
    row_term,
)

__all__ = [
    "IGNORE",
    "PAIRINGS",
    "AlignedBatch",
    "Chunk",
    "Count",
    "GroupRows",
    "GroupSide",
    "HeadLogits",
    "LossOutput",
    "PlainGroups",
    "PlainRows",
    "Rows",
    "StateContext",
    "States",
    "Term",
    "check_inputs",
    "cross_entropy_term",
    "divisor",
    "finish",
    "group_loss",
    "group_rows",
    "group_term",
    "kept_groups",
    "mean",
    "need_teacher",
    "needs_logits",
    "response_rows",
    "row_loss",
    "row_term",
    "sample_mean",
    "share",
    "states_of",
    "uniform",
]
