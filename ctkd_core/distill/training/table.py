"""The `trainer` table of a config: what transformers' TrainingArguments may be told besides the options of a run.

Here is what can be said of it without transformers: that it is a table of plain values, and that none of them is an
option of the run under another name. `training.arguments` asks transformers for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ctkd_core.errors import RunError, short

LONGEST = 20_000  # characters of the table as JSON

# Names of TrainingArguments that the run decides, and by which of its own options, or why.
OWNED = {
    "output_dir": "--runs-dir",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "seed": "seed",
    "data_seed": "seed",
    "use_cpu": "device",
    "local_rank": "device",
    "eval_strategy": "eval_every",
    "eval_steps": "eval_every",
    "eval_on_start": "eval_samples",
    "save_strategy": "save_every",
    "save_steps": "save_every",
    "save_total_limit": "keep_checkpoints",
    "run_name": "name",
    "label_smoothing_factor": "method_options",
}
_STEPS = "every step writes a row of metrics"
_WHOLE = "checkpoints hold all that going on needs"
_LOCAL = "runs stay on this computer; push the folder of the student yourself"
_OURS = "the run's own data and losses need it as it is"
FIXED = {
    "logging_strategy": _STEPS,
    "logging_steps": _STEPS,
    "logging_first_step": _STEPS,
    "save_only_model": _WHOLE,
    "save_on_each_node": _WHOLE,
    "enable_jit_checkpoint": _WHOLE,
    "ignore_data_skip": _WHOLE,
    "resume_from_checkpoint": "`ctkd runs resume` does that",
    "load_best_model_at_end": "the last step's student is kept",
    "metric_for_best_model": "the last step's student is kept",
    "greater_is_better": "the last step's student is kept",
    "auto_find_batch_size": "the batch size is part of what is compared",
    "remove_unused_columns": _OURS,
    "label_names": _OURS,
    "do_train": _OURS,
    "do_eval": _OURS,
    "do_predict": _OURS,
} | dict.fromkeys(
    (
        "push_to_hub",
        "hub_token",
        "hub_private_repo",
        "hub_model_id",
        "hub_strategy",
        "hub_always_push",
        "hub_revision",
    ),
    _LOCAL,
)


def parse_table(value: Any) -> dict[str, Any]:
    """`value` as a table of names and plain values. Raises RunError for anything else, and for what the run owns."""
    if isinstance(value, str):  # of a form
        value = _read(value)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise RunError(f"trainer must be a table of TrainingArguments, name: value; got {short(value)}.")
    for name in value:
        if name in OWNED:
            raise RunError(f"trainer: {name} is an option of the run; set {OWNED[name]} instead.")
        if name in FIXED:
            raise RunError(f"trainer: {name} can't be set: {FIXED[name]}.")
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise RunError("trainer may hold numbers, texts, true, false, null, and lists and tables of them.") from None
    if len(text) > LONGEST:
        raise RunError(f"trainer has {len(text):,} characters; at most {LONGEST:,} are read.")
    table: dict[str, Any] = json.loads(text)
    return table


def _read(text: str) -> Any:
    """The table in lines of `name: value`, or `name=value` as on a command line."""
    import yaml

    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all("=" in line and ":" not in line.partition("=")[0] for line in lines):
        return parse_assignments(line.strip() for line in lines)
    try:
        return yaml.safe_load(text) or {}
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError):
        raise RunError("trainer can't be read: write one `name: value` in a line.") from None


def parse_assignments(words: Any) -> dict[str, Any]:
    """`name=value` words as a table; values as YAML reads them. Raises RunError."""
    table = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise RunError(f"trainer takes name=value; got {short(word)}.")
        table[name.strip()] = read_value(value)
    return table


def read_value(text: str) -> Any:
    """A value of a command line as YAML reads it; what it can't read is a text."""
    import yaml

    try:
        return yaml.safe_load(text) if text.strip() else ""
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError):
        return text
