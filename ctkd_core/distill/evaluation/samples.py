"""Which held-out samples an evaluation is measured on, and what people should know where there are none or few.

Loads no torch: the same is asked before a run starts, by the run, and of its student afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ctkd_core.distill.evaluation.arithmetic import operand_length
from ctkd_core.distill.evaluation.exposure import FEWEST
from ctkd_core.distill.evaluation.table import chosen
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example

FEW = 10  # samples below which a figure says little: one answer moves a share by a tenth


def with_prompt(examples: Sequence[Example], most: int) -> list[Example]:
    """The examples with a prompt that answers are written to, at most so many."""
    return list(islice((e for e in examples if e.prompt.strip()), most))


def exercises(examples: Sequence[Example], most: int) -> list[tuple[Example, int]]:
    """The examples that are arithmetic, with the digits of their longer operand, at most so many."""
    found = ((e, n) for e in examples if e.prompt and (n := operand_length(e)) is not None)
    return list(islice(found, most))


def without_samples(config: RunConfig, examples: Sequence[Example], what: str = "held-out sample") -> dict[str, str]:
    """A sentence for each evaluation that the config asks for and for which these examples are none, or too few.

    what  the name of one of them; examples are those that bits per byte are measured on, without any there is nothing
          to say
    """
    if not examples:
        return {}
    asked, found = chosen(config.evaluations), {}
    none = f"none of the {len(examples):,} {what}s"
    prompts = len(with_prompt(examples, config.eval_completions))
    if "completions" in asked and not prompts:
        found["completions"] = f"completions: {none} has a prompt."
    if "arithmetic" in asked and not exercises(examples, 1):
        found["arithmetic"] = f"arithmetic: {none} is an exercise."
    if "exposure" in asked and prompts < FEWEST:
        few = f"only {counted(prompts, what)} with a prompt can be answered; a figure takes {FEWEST}."
        found["exposure"] = f"exposure: {few if prompts else none + ' has a prompt.'}"
    return found
