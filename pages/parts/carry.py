"""A method with its options in one word of an address: page Losses writes it, the form of a new run reads it."""

from __future__ import annotations

import json

from ctkd_core import methods
from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import CtkdError
from ctkd_core.lab.question import Choice

PARAMETER = "carry"


def packed(choice: Choice) -> str:
    """The choice as JSON: values may hold commas."""
    return json.dumps([choice.method, choice.variant, dict(choice.options)], separators=(",", ":"))


def unpacked(word: str) -> Choice:
    """What `packed` gave. Raises CtkdError for anything else, with what is wrong about it."""
    try:
        name, variant, given = json.loads(word)
        given = dict(given)
    except (ValueError, TypeError, RecursionError):
        raise CtkdError(
            f"the address should carry [method, variant, options] as JSON; got {word[:80]!r}. Choose the method below."
        ) from None
    row = methods.get(name)
    row.check_variant(variant)
    resolved = row.resolve_loss(given, variant=variant)
    defaults = {option.name: option.default for option in row.loss_options_of(variant)}
    return Choice(row.name, variant, tuple(sorted((k, resolved[k]) for k in given if resolved[k] != defaults[k])))


def into(config: RunConfig, word: str) -> RunConfig:
    """The run with the method, variant and options of `word`. Raises CtkdError."""
    choice = unpacked(word)
    return config.replace(method=choice.method, variant=choice.variant, method_options=dict(choice.options))
