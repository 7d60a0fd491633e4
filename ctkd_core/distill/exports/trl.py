"""A run as a script for TRL's GOLDTrainer, with the names that TRL 1.16 gives to its options.

Both compute the same loss for the same tokens: GOLD with `use_extended_uld`, ULD without. The differences that stay are
in how texts become tokens, and are told. Source: `trl.experimental.gold` of TRL 1.16.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core import methods
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.exports.teacher import teacher_of
from ctkd_core.distill.training.arguments import optimisation
from ctkd_core.errors import RunError, short

SCRIPT, VERSION = "train_trl.py", "1.16.0"
TESTED = {"trl": VERSION, "transformers": "5.24.0", "torch": "2.13.0", "datasets": "5.2.0"}  # as in constraints.txt
START = f"""In an environment of its own:

    pip install {" ".join(f"{name}=={version}" for name, version in TESTED.items())}
    python {SCRIPT}

These are the versions that it was tested with, one step on a CPU. The student is kept in `trained/`. The script finds
what lies beside it, so the folder can be moved as a whole.
"""


def contents(config: RunConfig, student: str) -> tuple[Mapping[str, str], list[str]]:
    """The script by its name, and notes. `student`: folder or hub id of the student. Raises RunError."""
    options, notes = settings(config)
    if options["use_extended_uld"]:
        _check_byte_level(config)
    teacher, where = teacher_of(config)
    notes += where
    lines = "\n".join(f"    {name}={value!r}," for name, value in options.items())
    script = _SCRIPT.format(
        version=VERSION,
        method=config.method,
        student=student,
        teacher=teacher,
        options=lines,
    )
    return {SCRIPT: script}, notes


def _check_byte_level(config: RunConfig) -> None:
    """Refuse (RunError) what TRL's GOLD refuses at its first batch: a tokenizer that isn't byte-level."""
    from ctkd_core.tokenizers.load import load_tokenizer

    pair = {"student": load_tokenizer(config.student), "teacher": load_tokenizer(config.teacher)}
    # Its own test, `trl.experimental.utils.is_byte_level_tokenizer`.
    others = [
        f"the {side}'s, {short(tokenizer.name)},"
        for side, tokenizer in pair.items()
        if not any("ByteLevel" in repr(part) for part in (tokenizer.backend.pre_tokenizer, tokenizer.backend.decoder))
    ]
    if others:
        raise RunError(
            f"GOLD of TRL {VERSION} aligns byte-level tokenizers only, and {' and '.join(others)} "
            f"{'is' if len(others) == 1 else 'are'} none: it would stop at its first batch. Export a run with method "
            "'uld', which aligns nothing there, or train this one here."
        )


def settings(config: RunConfig) -> tuple[dict[str, Any], list[str]]:
    """Options of GOLDConfig by name, and sentences about what is different there.

    Raises RunError for an option that GOLDTrainer hasn't.
    """
    o = config.method_options
    groups = config.align_options.get("groups", "bytes")
    if groups != "bytes":
        raise RunError(f"TRL's GOLD groups tokens by bytes; groups is {groups!r} here. Export with groups=bytes.")
    loss, notes = methods.load(methods.get(config.method).exports["trl"])(o, config.variant)
    temperature = float(o["temperature"])
    common = {
        "uld_crossentropy_weight": float(o["ce_weight"]),
        "uld_distillation_weight": 1.0 - float(o["ce_weight"]),
        "uld_student_temperature": temperature,
        "uld_teacher_temperature": float(o.get("teacher_temperature") or temperature),
    }
    if config.on_policy_share and config.max_length <= config.on_policy_max_new_tokens:
        raise RunError(
            f"TRL wants on_policy_max_new_tokens ({config.on_policy_max_new_tokens}) below max_length "
            f"({config.max_length})."
        )
    run = {
        **optimisation(config),
        "max_length": config.max_length,
        "bf16": config.precision == "bf16",
        "fp16": config.precision == "fp16",
        "use_cpu": config.device == "cpu",
        "lmbda": config.on_policy_share,
        "temperature": config.on_policy_temperature,
        "top_p": config.on_policy_top_p,
        # It must be smaller than max_length, also where nothing is drawn.
        "max_completion_length": min(config.on_policy_max_new_tokens, config.max_length - 1),
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
    }
    notes += [
        "TRL reads a prompt and its completion as one text on the student's side, and puts the teacher's own special "
        "tokens before its prompt; here each is encoded by itself, without them.",
        "TRL cuts long samples at their beginning, here at their end unless truncation_side is left.",
        "The order of the samples is another one, so only the first step of one whole batch is the same.",
    ]
    if run["warmup_steps"] and not config.warmup_from_zero:
        notes.append("TRL's warm-up begins at 0, so its first step learns nothing; here at its first share.")
    return {"use_uld_loss": True} | loss | common | run, notes


def gold(o: Mapping[str, Any], variant: str) -> tuple[dict[str, Any], list[str]]:
    """GOLD's own options there, and notes."""
    fixed = o["weights"] == "fixed"
    loss = {
        "use_extended_uld": True,
        "uld_token_merge_strategy": o["merge"],
        "uld_use_hybrid_loss": o["hybrid"],
        "uld_hybrid_matched_weight": float(o["matched_weight"]) if fixed else None,
        "uld_hybrid_unmatched_weight": float(o["unmatched_weight"]) if fixed else None,
        "beta": float(o["beta"]),
        "uld_skip_student_eos": not o["with_eos"],
        "uld_skip_teacher_eos": not o["with_eos"],
    }
    notes = []
    if variant == "clean":
        notes.append("TRL matches tokens by their vocabulary strings, here by the bytes that they spell.")
    if o["empty_samples"] == "skip":
        notes.append("Samples without an answer count as 0 there; here the mean runs over the others.")
    return loss, notes


def uld(o: Mapping[str, Any], variant: str) -> tuple[dict[str, Any], list[str]]:
    """ULD's own options there. Raises RunError for other pairs of rows and for part of a vocabulary."""
    if o.get("pairing", "positional") != "positional":
        raise RunError(f"TRL's ULD pairs positions by index; pairing is {o['pairing']!r} here. Export with positional.")
    if o.get("top_k", 0):
        raise RunError(f"TRL's ULD compares whole vocabularies; top_k is {o['top_k']} here. Export with top_k=0.")
    loss = {
        "use_extended_uld": False,
        # "bayesian" only moves the rows here: they predict the answer's tokens. "observed" takes those after them.
        "uld_token_merge_strategy": "observed" if variant == "released" else "bayesian",
        "uld_use_hybrid_loss": False,
        # the released variant leaves out the last token, as TRL does
        "uld_skip_student_eos": variant == "released",
        "uld_skip_teacher_eos": variant == "released",
    }
    return loss, []


_SCRIPT = '''"""Cross-tokenizer distillation with TRL {version}: method {method}, written by CTKD Lab.

    pip install trl=={version}
    python train_trl.py
"""

from pathlib import Path

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.gold import GOLDConfig, GOLDTrainer

HERE = Path(__file__).resolve().parent
STUDENT = {student!r}
TEACHER = {teacher!r}

CONFIG = dict(
{options}
)


def local(name):
    """A folder beside this script, or a folder or hub id."""
    return str(HERE / name) if (HERE / name).is_dir() else name


def trainer(**changes):
    """The trainer before its first step; `changes` override options."""
    student, teacher = local(STUDENT), local(TEACHER)
    tokenizer = AutoTokenizer.from_pretrained(str(HERE / "student-tokenizer"))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    own = dict(output_dir=str(HERE / "out"), teacher_tokenizer_name_or_path=str(HERE / "teacher-tokenizer"))
    data = load_dataset("json", data_files=str(HERE / "train.jsonl"), split="train")
    made = GOLDTrainer(
        model=AutoModelForCausalLM.from_pretrained(student),
        teacher_model=AutoModelForCausalLM.from_pretrained(teacher),
        args=GOLDConfig(**own | CONFIG | changes),
        train_dataset=data.remove_columns("text"),
        processing_class=tokenizer,
    )
    # The loss of a step is the mean of its batches': without this, transformers takes TRL's loss for one that was
    # divided already, and adds them up.
    made.model_accepts_loss_kwargs = False
    return made


if __name__ == "__main__":
    made = trainer()
    made.train()
    made.save_model(str(HERE / "trained"))
'''
