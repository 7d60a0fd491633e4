"""TrainingArguments of a run: what its options say, and its `trainer` table, checked by transformers itself."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.training.processes import world_size
from ctkd_core.distill.training.trial import refuse_late_failures, refuse_overriding
from ctkd_core.errors import RunError, short, unknown
from ctkd_core.markup.visible import one_line, shorten

TENSORBOARD = "tensorboard"  # in the run's folder: where report_to tensorboard writes


def training_arguments(config: RunConfig, output_dir: Path, device: str) -> Any:
    """What the Trainer is told. Raises RunError for a name or a value of the `trainer` table that it doesn't take."""
    given = checked(config.trainer)
    settings = _of_the_run(config, output_dir, device) | given
    if "warmup_ratio" in given:
        settings.pop("warmup_steps", None)
    with _on(device):
        return _built(settings)


def check_table(table: Mapping[str, Any], learning_rate: float = 1e-4) -> None:
    """Raise RunError for a name or a value of a new run's `trainer` table with which it couldn't train at this rate.

    Loads transformers, and no model.
    """
    refuse_overriding(table)
    _check(json.dumps(table, sort_keys=True), learning_rate)


@lru_cache(maxsize=64)
def _check(text: str, learning_rate: float) -> None:
    given = checked(json.loads(text))
    settings = {"output_dir": tempfile.gettempdir(), "use_cpu": True, "report_to": "none"} | given
    settings["learning_rate"] = learning_rate
    for name in ("bf16", "fp16", "tf32"):  # whether the device has them is known where the run starts
        settings.pop(name, None)
    with _environment_kept():
        refuse_late_failures(_built(settings))


def checked(table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a `trainer` table in the types that transformers gives them. Raises RunError."""
    if not table:
        return {}
    from transformers import HfArgumentParser, TrainingArguments

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise RunError(f"trainer: {one_line(message)}.")

    fields = {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}
    found = {}
    parser = Parser([TrainingArguments])  # type: ignore[list-item]
    for name, value in table.items():
        if name not in fields:
            raise unknown("option of transformers' TrainingArguments", name, fields, RunError)
        if value is None or isinstance(value, Mapping):
            found[name] = value
            continue
        words = [_word(item) for item in value] if isinstance(value, list) else [_word(value)]
        (parsed, _) = parser.parse_known_args([f"--{name}", *words])
        found[name] = getattr(parsed, name)
    return found


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _built(settings: Mapping[str, Any]) -> Any:
    from transformers import TrainingArguments

    try:
        return TrainingArguments(**settings)
    except (ValueError, TypeError, ImportError, RuntimeError, AttributeError, KeyError, OSError) as fault:
        said = shorten(" ".join(map(one_line, str(fault).split())), 300).rstrip(".")
        raise RunError(f"transformers refuses the trainer's options: {said}.") from None


def optimisation(config: RunConfig) -> dict[str, Any]:
    """Steps, batches, rates and seeds, in the names of transformers' Trainer, which others build upon."""
    return {
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, round(config.warmup * config.steps)) if config.warmup else 0,
        "weight_decay": config.weight_decay,
        "max_grad_norm": 1.0,
        "seed": config.seed,
        "data_seed": config.seed,
    }


def _of_the_run(config: RunConfig, output_dir: Path, device: str) -> dict[str, Any]:
    import torch

    bf16 = config.precision == "bf16" or (
        config.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported()
    )
    if "bf16" in config.trainer or "fp16" in config.trainer:  # `precision` is auto then
        bf16 = False
    return {
        "output_dir": str(output_dir),
        **optimisation(config),
        "bf16": bf16,
        "fp16": config.precision == "fp16",
        "use_cpu": device == "cpu",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "save_strategy": "steps" if config.save_every else "no",
        "save_steps": config.save_every or config.steps,
        "save_total_limit": None,  # `_save_checkpoint` removes older ones, once the new one is whole
        "report_to": "none",
        "run_name": config.name or None,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": [],
        "dataloader_pin_memory": False,
        "dataloader_num_workers": 0,  # samples are aligned already, collating takes a millisecond
        # All parameters have a gradient in every step (see `trainer`), and a search for others would find the wrong
        # ones: what a loss learns isn't part of the forward pass.
        "ddp_find_unused_parameters": False,
        "ddp_backend": "gloo" if device == "cpu" and world_size() > 1 else None,
    }


@contextmanager
def _on(device: str) -> Iterator[None]:
    """Make a single process use its device alone: the Trainer takes all devices of the computer otherwise."""
    name = "ACCELERATE_TORCH_DEVICE"
    if world_size() > 1 or not device.startswith("cuda") or name in os.environ:
        yield
        return
    os.environ[name] = device
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what TrainingArguments writes into the environment, which a run started from here would inherit."""

    def theirs() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(("ACCELERATE_", "FSDP_"))}

    before = theirs()
    try:
        yield
    finally:
        for name in theirs().keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


def use_one_device(arguments: Any) -> None:
    """Keep the Trainer from spreading a single process over several GPUs."""
    if world_size() == 1 and arguments.n_gpu > 1:
        arguments._n_gpu = 1


@contextmanager
def reports_into(run_dir: Path) -> Iterator[None]:
    """Inside, TensorBoard writes into the run's folder, unless the environment says where."""
    name = "TENSORBOARD_LOGGING_DIR"
    before = os.environ.get(name)
    os.environ.setdefault(name, str(run_dir / TENSORBOARD))
    try:
        yield
    finally:
        if before is None:
            with suppress(KeyError):
                del os.environ[name]


def missing_reporters(table: Mapping[str, Any]) -> list[str]:
    """Names in report_to whose package isn't installed."""
    wanted = table.get("report_to") or []
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if not set(wanted) - {"none"}:
        return []
    from transformers.integrations import get_available_reporting_integrations

    return [short(name) for name in wanted if name not in (*get_available_reporting_integrations(), "none", "all")]
