"""Learning rates: a warm-up whose first step learns, and a rate of its own for what a loss learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def warm_from_the_first_step(scheduler: Any, warmup_steps: int) -> None:
    """Make a scheduler of transformers rise to step k of `warmup_steps` with k / warmup_steps of the rate.

    As it comes, the first step has rate 0 and computes for nothing. Behind the warm-up nothing changes; schedulers that
    aren't functions of the step are left alone.
    """
    if not warmup_steps or not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        return
    scheduler.lr_lambdas = [_ahead(function, warmup_steps) for function in scheduler.lr_lambdas]
    for group, base, function in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas):
        group["lr"] = base * function(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]


def _ahead(function: Callable[[int], float], warmup_steps: int) -> Callable[[int], float]:
    return lambda step: function(step + 1 if step < warmup_steps else step)


def give_own_rate(optimizer: torch.optim.Optimizer, states: Iterable[nn.Module], rate: float) -> None:
    """Move the parameters of `states` (what losses learn) into a group of the optimiser with its own rate, no decay."""
    own = {id(p) for state in states for p in state.parameters() if p.requires_grad}
    moved = [p for group in optimizer.param_groups for p in group["params"] if id(p) in own]
    if not moved:
        return
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in own]
    optimizer.add_param_group({"params": moved, "lr": rate, "weight_decay": 0.0})
