"""Options of a `trainer` table that transformers takes and that would end the run once its models are loaded.

TrainingArguments looks at most of them; what a Trainer makes of them later (sampler, optimiser, scheduler) is tried
here on nothing, so that the sentence comes before anything is loaded. Configs of earlier runs may hold such options,
and are read as they are.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from typing import Any

from ctkd_core.errors import RunError, short
from ctkd_core.markup.visible import one_line, shorten

# Names that the run has an option for, which they would override without a word.
OVERRIDING = {"warmup_steps": "warmup", "warmup_ratio": "warmup"}
# Optimisers that look at the model, which isn't there yet; of those only a missing package is told.
_READS_MODEL = ("galore", "apollo", "lomo", "adalomo")
_BY_COLUMN = ("group_by_length", "batch_rebalance")
_STEPS = 4
WORKERS_A_CORE = 8  # more processes than that fill the memory before they help


def refuse_overriding(table: Mapping[str, Any]) -> None:
    """Raise RunError for a name that would override an option of the run."""
    for name in table:
        if name in OVERRIDING:
            own = OVERRIDING[name]
            raise RunError(
                f"trainer: {name} would override the run's own {own}, a share of its steps; set {own} instead."
            )


def refuse_late_failures(arguments: Any) -> None:
    """Raise RunError for TrainingArguments with which no Trainer of ours could start."""
    _sampling(arguments)
    _packages(arguments)
    _optimiser(arguments)
    _scheduler(arguments)


def _sampling(arguments: Any) -> None:
    strategy = getattr(arguments, "train_sampling_strategy", "random")
    if strategy in _BY_COLUMN:
        raise RunError(
            f"trainer: train_sampling_strategy {short(strategy)} reads a column of lengths, and samples of a pair have "
            "none; leave it out (random), or set sequential."
        )
    most = WORKERS_A_CORE * (os.cpu_count() or 1)
    if arguments.dataloader_num_workers > most:
        raise RunError(
            f"trainer: dataloader_num_workers {arguments.dataloader_num_workers:,} would start as many processes; give "
            f"at most {most} on this machine, or leave it out: samples are aligned before the first step."
        )
    if arguments.dataloader_persistent_workers and not arguments.dataloader_num_workers:
        raise RunError(
            "trainer: dataloader_persistent_workers needs dataloader_num_workers of 1 or more; samples are aligned "
            "before the first step, so both can be left out."
        )


def _packages(arguments: Any) -> None:
    from transformers.utils import is_liger_kernel_available

    if arguments.use_liger_kernel and not is_liger_kernel_available():
        raise RunError(
            "trainer: use_liger_kernel needs the package liger-kernel, which isn't installed here; install it, or "
            "leave the option out."
        )


def _optimiser(arguments: Any) -> None:
    import torch
    from transformers import Trainer

    name = str(getattr(arguments.optim, "value", arguments.optim))
    _optimiser_arguments(arguments.optim_args)
    try:
        made, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
        if not name.startswith(_READS_MODEL):
            made([torch.nn.Parameter(torch.zeros(1))], **settings)
    except ImportError as fault:
        raise RunError(
            f"trainer: optim {short(name)} needs a package that isn't installed here ({_in_one_line(fault)}); "
            "install it, or choose another, such as adamw_torch or adafactor."
        ) from None
    except (ValueError, TypeError, RuntimeError, AttributeError, AssertionError) as fault:
        if not name.startswith(_READS_MODEL):
            raise RunError(
                f"trainer: optim {short(name)} can't be made ({_in_one_line(fault)}); change optim, optim_args, or "
                "adam_beta1, adam_beta2 and adam_epsilon."
            ) from None
    if arguments.optim_args and not name.startswith(_READS_MODEL) and (unread := _unread(arguments)):
        raise RunError(
            f"trainer: optim {short(name)} doesn't read {short(', '.join(unread))} of optim_args; leave it out, or "
            "choose an optimiser that has it. AdamW is told by adam_beta1, adam_beta2 and adam_epsilon."
        )


def _optimiser_arguments(given: Any) -> None:
    """Raise RunError for what isn't name=value, with commas between several, as transformers reads it."""
    parts = given.replace(" ", "").split(",") if isinstance(given, str) else [""]
    if given and not all(re.fullmatch(r"[^=]+=[^=]+", part) for part in parts):
        raise RunError(
            f"trainer: optim_args takes name=value, with commas between several; got {short(given)}. For example: "
            "optim_args: momentum=0.9 with optim: sgd."
        )


def _unread(arguments: Any) -> list[str]:
    """Names in optim_args that transformers passes over: the optimiser is told the same whatever stands there."""
    from transformers import Trainer

    given = dict(part.split("=") for part in arguments.optim_args.replace(" ", "").split(","))

    def told(changed: dict[str, str]) -> str:
        tried = copy.copy(arguments)
        tried.optim_args = ",".join(f"{name}={value}" for name, value in changed.items())
        try:
            return str(Trainer.get_optimizer_cls_and_kwargs(tried)[1])
        except (ValueError, TypeError, AttributeError) as fault:  # it was read, and isn't of its type
            return str(fault)

    def is_read(name: str) -> bool:
        without = {key: value for key, value in given.items() if key != name}
        return len({told(without), told(given | {name: "1"}), told(given | {name: "2"})}) > 1

    return [name for name in given if not is_read(name)]


def _scheduler(arguments: Any) -> None:
    import torch
    from transformers import get_scheduler

    name = str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type))
    given = arguments.lr_scheduler_kwargs
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    try:
        get_scheduler(
            arguments.lr_scheduler_type,
            optimiser,
            num_warmup_steps=1,
            num_training_steps=_STEPS,
            scheduler_specific_kwargs=dict(given) if given else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as fault:
        missing = re.search(r"missing \d+ required .*arguments?: (.+)", str(fault))
        if missing:
            names = missing[1].replace("'", "")
            raise RunError(
                f"trainer: lr_scheduler_type {short(name)} needs {names}; set them in lr_scheduler_kwargs, as in "
                f"lr_scheduler_kwargs: {{{names.split(' ')[0].rstrip(',')}: 10}}."
            ) from None
        raise RunError(
            f"trainer: lr_scheduler_type {short(name)} can't be made with lr_scheduler_kwargs {short(given)} "
            f"({_in_one_line(fault)}); change one of them."
        ) from None


def _in_one_line(fault: BaseException) -> str:
    return shorten(" ".join(map(one_line, str(fault).split())), 200).rstrip(".")
