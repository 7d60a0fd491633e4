"""Learning rates of what losses learn themselves, by what it is: X-Token's map, SeDi's omega, projectors.

One number for all of them (`state_learning_rate`) is right for one loss. A sweep over methods, or several teachers,
want one for each part, as the papers have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from ctkd_core.distill.further import further_teachers
from ctkd_core.errors import RunError, short, unknown
from ctkd_core.methods.options import Option

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

PROJECTOR = "projector"  # of modules that don't say which part they are, too
PARTS = {
    "projection": "The map of X-Token's P-KL (`learn_projection`).",
    "omega": "SeDi's weights of the student's own logits.",
    PROJECTOR: "Maps between hidden states: DSKD, CoT2Align, ALM.",
}
_RATES = {
    name: Option(name=name, kind="float", default=0.0, help=help, low=0.0, high=1.0) for name, help in PARTS.items()
}


def _parsed(value: Any) -> dict[str, float]:
    """A table of rates by part. Raises RunError."""
    if not isinstance(value, Mapping):
        raise RunError(f"state_learning_rates is a table of rates by part ({', '.join(PARTS)}); got {short(value)}.")
    for name in value:
        if name not in PARTS:
            raise unknown("part that a loss learns", name, PARTS, RunError)
    return {name: _RATES[name].parse(rate, RunError) for name, rate in value.items()}


StateRates = Annotated[
    dict[str, float],
    BeforeValidator(_parsed),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: option.schema() for name, option in _RATES.items()},
            "additionalProperties": False,
        }
    ),
]


def rate_of(config: RunConfig, number: int, part: str) -> float:
    """The rate of a part that the loss of teacher `number` learns, from 0; 0.0: the student's.

    A further teacher's own rate comes first, then that of the part, then that of all.
    """
    own = further_teachers(config.teachers)[number - 1].state_learning_rate if number else 0.0
    return own or config.state_learning_rates.get(part, config.state_learning_rate)
