"""A student with some of a model's layers: the first, the last, and others evenly spread between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.errors import RunError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def kept_layers(total: int, kept: int) -> list[int]:
    """Which of `total` layers stay, from 0: `kept` of them, the first and the last among them (one: the first)."""
    return [int(n) for n in np.linspace(0, total - 1, kept).round()]


def prune(model: PreTrainedModel, kept: int) -> tuple[PreTrainedModel, list[int]]:
    """A copy of `model` with `kept` layers, trainable, float32, and the numbers of the layers that stayed.

    Raises RunError where the model has fewer layers, or none that can be found.
    """
    import copy

    layers = _layers(model)
    if kept > len(layers):
        raise RunError(f"student_layers is {kept}, but the model has {len(layers)} layers; give at most so many.")
    chosen = kept_layers(len(layers), kept)
    moved: Any = copy.deepcopy(model).float()  # type: ignore[operator]
    moved.requires_grad_(True)
    mine = _layers(moved)
    stay = [mine[n] for n in chosen]
    for place, layer in enumerate(stay):  # by which generation finds its cache
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", place)  # noqa: B010 - a module takes tensors by assignment
    del mine[:]
    mine.extend(stay)
    _shorten(moved.config.get_text_config(), len(layers), chosen)
    return moved, chosen


def _layers(model: Any) -> nn.ModuleList:
    from torch import nn

    total = model.config.get_text_config().num_hidden_layers
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    if not found:
        raise RunError(
            f"the layers of a {type(model).__name__} can't be found (no list of {total} modules): it can't be pruned."
        )
    return found[0]


def _shorten(config: Any, total: int, chosen: list[int]) -> None:
    """Settings that have an entry for each layer, and the number of layers."""
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == total:
            setattr(config, name, [value[n] for n in chosen])
    config.num_hidden_layers = len(chosen)
