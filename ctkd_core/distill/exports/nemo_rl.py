"""A run as a NeMo-RL config with its projection map: P-KL and H-KL of its cross-tokenizer distillation.

The config lies over NeMo-RL's own example (`defaults`), so it says only what the run says. The names are those of the
revision in which both losses are in its public code (7ea279ab, August 2026); later ones may have replaced them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core import methods
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.exports.teacher import teacher_of
from ctkd_core.errors import RunError

CONFIG, MAP, REVISION = "nemo_rl.yaml", "projection.pt", "7ea279ab"
DEFAULTS = "xtoken_off_policy_distillation.yaml"
START = f"""In a checkout of NeMo-RL at revision {REVISION}, with its own environment: put `{CONFIG}` beside
`{DEFAULTS}` (examples/configs), or give that file's path as `defaults`; then start its
cross-tokenizer distillation with this config, in this folder, because paths are relative to where NeMo-RL starts.

NeMo-RL was never run by CTKD Lab, so no versions of torch and transformers are tested: take those that it asks for.
"""
RELAXED_FROM = 0.6  # the least weight of a pair, fixed in their code


def contents(config: RunConfig, student: str) -> tuple[Mapping[str, str], list[str]]:
    """The config as YAML by its name, and notes. `student`: folder or hub id of the student. Raises RunError."""
    import yaml

    table, notes = settings(config, student)
    head = (
        f"# NeMo-RL {REVISION}: method {config.method}, written by CTKD Lab. Put it beside {DEFAULTS}\n"
        "# (examples/configs), or give that file's path as `defaults`. Paths are relative to where NeMo-RL starts.\n"
    )
    return {CONFIG: head + yaml.safe_dump(table, sort_keys=False, allow_unicode=True)}, notes


def settings(config: RunConfig, student: str) -> tuple[dict[str, Any], list[str]]:
    """The config as a table, and sentences about what is different there. Raises RunError for what it can't do."""
    if config.on_policy_share:
        raise RunError("NeMo-RL's cross-tokenizer distillation is off-policy; export a run with on_policy_share 0.")
    teacher, where = teacher_of(config)
    notes = [
        "This config was read back and its map replayed with the loss of CTKD Lab; NeMo-RL itself wasn't run.",
        "It learns from whole texts, prompts included; here only the completions are learnt.",
        f"Later revisions than {REVISION} may have other loss options.",
    ]
    loss, own = loss_settings(config)
    notes += [*where, *own]
    for name in ("anchors", "repair"):
        if not config.align_options[name]:
            notes.append(f"align_options {name}=false isn't written: their aligner does as it is set there.")
    if config.variant == "clean":
        notes.append("Groups are compared whatever the labels say there, and the scale has no limit.")
    batch = config.batch_size * config.accumulation
    size = {
        "train_global_batch_size": batch,
        "train_micro_batch_size": config.batch_size,
        "max_total_sequence_length": config.max_length,
        "precision": "bfloat16" if config.precision == "bf16" else "float32",
    }
    rising = max(1, round(config.warmup * config.steps))
    optimizer = {
        "name": "torch.optim.AdamW",
        "kwargs": {"lr": config.learning_rate, "weight_decay": config.weight_decay, "betas": [0.9, 0.999], "eps": 1e-8},
    }
    table = {
        "defaults": DEFAULTS,
        "distillation": {"num_prompts_per_step": batch, "max_num_steps": config.steps, "seed": config.seed},
        "loss_fn": loss,
        "policy": {
            "model_name": student,
            "tokenizer": {"name": "student-tokenizer"},
            **size,
            "max_grad_norm": 1.0,
            "optimizer": optimizer,
            "scheduler": [
                {
                    "name": "torch.optim.lr_scheduler.LinearLR",
                    "kwargs": {"start_factor": 1.0 / (rising + 1), "end_factor": 1.0, "total_iters": rising},
                },
                {
                    "name": "torch.optim.lr_scheduler.CosineAnnealingLR",
                    "kwargs": {"T_max": max(1, config.steps - rising), "eta_min": 0.0},
                },
                {"milestones": [rising]},
            ],
        },
        "teachers": [
            {
                "model_name": teacher,
                "tokenizer": {"name": "teacher-tokenizer"},
                "aligner": {
                    "projection_matrix_path": MAP,
                    "use_sparse_format": False,
                    "max_comb_len": config.align_options["max_span"],
                },
                "weight": 1.0,
                **size,
            }
        ],
        "data": {
            "max_input_seq_length": config.max_length,
            "train": {"dataset_name": "arrow_text", "data_files": "train.jsonl", "text_key": "text"},
        },
        "cluster": {"gpus_per_node": 1, "num_nodes": 1},
    }
    return table, notes


def loss_settings(config: RunConfig) -> tuple[dict[str, Any], list[str]]:
    """The table `loss_fn`, and notes. Raises RunError for an option that isn't there."""
    o = config.method_options
    shared = {
        "temperature": float(o["temperature"]),
        "reverse_kl": o["reverse"],
        "dynamic_loss_scaling": o["scaling"] == "dynamic",
        "kl_loss_weight": 1.0 - float(o["ce_weight"]),
        "ce_loss_scale": float(o["ce_weight"]),
        "kd_loss_mode": "sum",
    }
    own, notes = methods.load(methods.get(config.method).exports["nemo-rl"])(o, config.variant)
    return shared | own, notes


def pkl(o: Mapping[str, Any], variant: str) -> tuple[dict[str, Any], list[str]]:  # noqa: ARG001
    """P-KL's own entries of `loss_fn`. Raises RunError for another merge and for a map that learns."""
    if o["merge"] != "mean":
        raise RunError(f"NeMo-RL takes the mean of a group's rows; merge is {o['merge']!r} here. Export with mean.")
    if o["learn_projection"]:
        raise RunError("NeMo-RL's map is fixed; export a run without learn_projection.")
    loss = {
        "gold_loss": False,
        "xtoken_loss": False,
        "vocab_topk": o["top_k"],
        "exact_token_match_only": o["exact_only"],
    }
    return loss, []


def hkl(o: Mapping[str, Any], variant: str) -> tuple[dict[str, Any], list[str]]:  # noqa: ARG001
    """H-KL's own entries of `loss_fn`. Raises RunError for another threshold or weight of the rest."""
    if o["common"] == "relaxed" and o["threshold"] != RELAXED_FROM:
        raise RunError(f"NeMo-RL pairs tokens from {RELAXED_FROM} on; threshold is {o['threshold']} here.")
    if o["tail_weight"] != 1.0:
        raise RunError(f"NeMo-RL adds the sorted rest as it is; tail_weight is {o['tail_weight']} here. Export with 1.")
    return {"gold_loss": True, "xtoken_loss": o["common"] == "relaxed", "uncommon_topk": o["tail_k"]}, []
