"""Whether runs are measured on the same held-out text: only then can figures of it be compared."""

from __future__ import annotations

from collections.abc import Sequence

from ctkd_core.distill.config import RunConfig

_DECIDE = ("eval_data", "eval_share", "eval_samples")


def differing_in(configs: Sequence[RunConfig]) -> tuple[str, ...]:
    """The options in which configs differ that decide on the held-out text; () where it is the same."""
    # Where no other source is named, the held-out samples are a share of the training data.
    options = _DECIDE if all(config.eval_data for config in configs) else (*_DECIDE, "data")
    return tuple(key for key in options if len({getattr(config, key) for config in configs}) > 1)
