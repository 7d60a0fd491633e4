"""What a run is told: one frozen data class, from whose fields flags, forms, schemas and docs come, and the presets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic import field_validator as validated
from pydantic.dataclasses import dataclass

from ctkd_core import methods
from ctkd_core.distill import on_policy_access
from ctkd_core.distill.config_file import is_folder, read_table
from ctkd_core.distill.consistency import (
    check_asking,
    check_device,
    check_precision,
    check_student,
    check_texts,
    check_weights,
    refuse_tokenizer,
)
from ctkd_core.distill.evaluation import table as evaluation
from ctkd_core.distill.further import (
    CONFIG,
    FurtherTeacher,
    further_teachers,
    of_the_method,
    older_form,
    parse_teachers,
)
from ctkd_core.distill.settings import fields_of, options_of, parsed, refusing, schema_of, setting
from ctkd_core.distill.state_rates import StateRates
from ctkd_core.distill.teachers import access
from ctkd_core.distill.training.table import parse_table
from ctkd_core.errors import RunError, short, unknown
from ctkd_core.methods.options import only_read

CONFIG_VERSION = 1  # of the file format: a reader refuses a newer one instead of misreading it
STUDENT_MODELS = ("scratch", "transplant", "pretrained", "prune")

# Fields that came after the first runs were kept.
_LATER = (
    *("evaluations", "eval_completions"),
    *("on_policy_share", "on_policy_temperature", "on_policy_top_p", "on_policy_max_new_tokens"),
    *("teacher_weight", "teacher_mix", "teacher_score", "teacher_alpha", "teachers"),
    *("chat_template", "learnt_turns", "skip_bad_records", "truncation_side", "eval_data", "eval_share"),
    *access.FIELDS,
    *("warmup_from_zero", "state_learning_rate", "state_learning_rates", "trainer"),
    *("student_layers", "embedding_rows", "tie_embeddings", "save_dtype"),
    *("lora_rank", "lora_alpha", "lora_dropout", "lora_targets"),
    *on_policy_access.FIELDS,
)


@refusing("option of a run")
@dataclass(frozen=True, config=CONFIG)
class RunConfig:
    """One distillation run. Every setting says what it is, its range and its default; RUN_OPTIONS lists them.

    method_options  loss options of the method (see `ctkd_core.METHODS[method].loss_options`)
    align_options   alignment options of the method
    teachers        further teachers, a list of tables with the fields of `further.FurtherTeacher`

    Raises RunError for a value that's out of range, an unknown method or an unknown option.
    """

    student: str = setting("deepseek", "Student tokenizer: a catalog name, hub id, folder or tokenizer.json.")
    teacher: str = setting("smollm2", "Teacher tokenizer: a catalog name, hub id, folder or tokenizer.json.")
    method: str = setting("sedi", "How the teacher is asked.", choices=tuple(m.name for m in methods.training()))
    variant: str = setting("clean", "Clean reading or the released program.", choices=methods.VARIANTS)
    student_model: str = setting(
        "transplant",
        "scratch: a small new model; transplant: the teacher's body with embeddings moved to the student's "
        "tokenizer; pretrained: the model at student_path; prune: some layers of the model at student_path, or of the "
        "teacher (with embeddings moved where the tokenizers differ).",
        choices=STUDENT_MODELS,
    )
    student_path: str = setting(
        "",
        "Folder or hub id of a pretrained student, or of one to prune; smollm2 or gemma3-270m: that model.",
        advanced=True,
    )
    student_layers: int = setting(
        6, "Layers of a pruned student: the first, the last, and others evenly spread.", low=1, high=1024, advanced=True
    )
    embedding_rows: str = setting(
        "pieces",
        "Where embeddings are moved, a token that the teacher lacks gets: the mean of the pieces that spell it, the "
        "row of the nearest token by its spelling, or (exact) the mean of all rows.",
        choices=("pieces", "nearest", "exact"),
        advanced=True,
    )
    tie_embeddings: str = setting(
        "source",
        "Where embeddings are moved: one matrix for input and output (tied), two, or as the source has it.",
        choices=("source", "tied", "untied"),
        advanced=True,
    )
    lora_rank: int = setting(
        0,
        "Learn matrices of this rank (LoRA) beside the student's frozen weights; 0: learn all.",
        low=0,
        high=4096,
        advanced=True,
    )
    lora_alpha: float = setting(
        16.0, "What LoRA's matrices add is multiplied by lora_alpha / lora_rank.", low=0.0, high=65_536.0, advanced=True
    )
    lora_dropout: float = setting(0.0, "Dropout before LoRA's matrices.", low=0.0, high=0.9, advanced=True)
    lora_targets: str = setting(
        "all-linear", "Modules that LoRA adapts: all-linear, or names such as q_proj,v_proj.", advanced=True
    )
    teacher_path: str = setting(
        "",
        "Folder or hub id of the teacher's weights; empty: the model that comes with smollm2 or gemma3-270m, else the "
        "teacher's source.",
        advanced=True,
    )
    data: str = setting(
        "bundled",
        "bundled, bundled:languages, bundled:arithmetic, bundled:copying, bundled:code or bundled:prose; "
        "hf:owner/name, with /config and @split where wanted; or a JSONL, JSON or Parquet file with text, "
        "prompt/completion or messages.",
    )
    template: str = setting("plain", "How prompts are written.", choices=("plain", "none"), advanced=True)
    chat_template: str = setting(
        "own",
        "How messages are written: by each tokenizer's own chat template, or shared, in the lines of `template`.",
        choices=("own", "shared"),
        advanced=True,
    )
    learnt_turns: str = setting(
        "all",
        "Of a conversation: each of the assistant's turns is a sample, or only the last one.",
        choices=("all", "last"),
        advanced=True,
    )
    skip_bad_records: bool = setting(
        False, "Leave out records that can't be used, and count them, instead of refusing the data.", advanced=True
    )
    steps: int = setting(40, "Optimiser steps.", low=1, high=1_000_000)
    batch_size: int = setting(8, "Samples in one forward pass.", low=1, high=4096)
    accumulation: int = setting(1, "Forward passes in one optimiser step.", low=1, high=1024, advanced=True)
    learning_rate: float = setting(2e-4, "Highest learning rate.", low=0.0, high=1.0)
    warmup: float = setting(0.1, "Share of the steps in which the learning rate rises.", low=0.0, high=1.0)
    warmup_from_zero: bool = setting(
        False, "Begin the warm-up at 0, so that the first step learns nothing; else at its first share.", advanced=True
    )
    state_learning_rate: float = setting(
        0.0,
        "Learning rate of what a loss learns itself (projectors, X-Token's map, SeDi's omega); 0: that of the student.",
        low=0.0,
        high=1.0,
        source="X-Token: 0.01; DSKD, CoT2Align: 0.001",
        advanced=True,
    )
    weight_decay: float = setting(0.0, "Decoupled weight decay.", low=0.0, high=1.0, advanced=True)
    max_length: int = setting(64, "Longer samples are cut.", low=8, high=131_072, unit="tokens on either side")
    truncation_side: str = setting(
        "right",
        "Where a longer sample is cut: its end, or the beginning of its prompt, so that the answer stays.",
        choices=("right", "left"),
        advanced=True,
    )
    seed: int = setting(0, "Seed of weights, order and dropout.", low=0, high=2**31 - 1)
    eval_samples: int = setting(48, "Held-out samples for bits per byte; 0: none.", low=0, high=100_000)
    eval_data: str = setting(
        "", "Held-out samples of one's own, named as `data` is; empty: a share of the data.", advanced=True
    )
    eval_share: float = setting(
        0.0, "Share of the prompts that are held out; 0: one twelfth.", low=0.0, high=0.9, advanced=True
    )
    eval_every: int = setting(0, "Evaluate every so many steps; 0: before and after only.", low=0, high=1_000_000)
    evaluations: str = setting(
        evaluation.DEFAULT,
        f"What is measured beside bits per byte: {', '.join(evaluation.EVALUATIONS)}, separated by commas (or a list); "
        "all; none.",
        advanced=True,
    )
    eval_completions: int = setting(
        32, "Held-out prompts that evaluations write answers to.", low=1, high=10_000, advanced=True
    )
    sample_prompts: int = setting(4, "Held-out prompts that both models complete.", low=0, high=64)
    sample_tokens: int = setting(16, "Longest completion.", low=1, high=512, unit="tokens", advanced=True)
    save_every: int = setting(0, "Checkpoint every so many steps; 0: at the end only.", low=0, high=1_000_000)
    keep_checkpoints: int = setting(
        2,
        "Older checkpoints are removed; two stay in any case, so that a damaged one has one before it.",
        low=1,
        high=100,
        advanced=True,
    )
    save_student: bool = setting(True, "Keep the trained student as a folder of its own.", advanced=True)
    save_dtype: str = setting(
        "source",
        "Type of the kept student's weights; source: as those that it began with lie at their source.",
        choices=("source", "float32", "bfloat16", "float16"),
        advanced=True,
    )
    on_policy_share: float = setting(
        0.0,
        "Share of the batches whose completions the student writes itself; the teacher then reads the student's text.",
        low=0.0,
        high=1.0,
        source="GKD: lambda; 0.5 in TRL",
    )
    on_policy_temperature: float = setting(
        0.9,
        "Temperature at which the student writes them.",
        low=0.05,
        high=5.0,
        source="TRL's GKD trainer: 0.9",
        advanced=True,
    )
    on_policy_top_p: float = setting(
        1.0, "The student draws from its most probable tokens up to this mass.", low=0.01, high=1.0, advanced=True
    )
    on_policy_max_new_tokens: int = setting(
        32,
        "Longest completion that the student writes.",
        low=1,
        high=4096,
        unit="tokens",
        source="ours; TRL: 128",
        advanced=True,
    )
    on_policy_server: str = on_policy_access.server_setting()
    on_policy_server_model: str = on_policy_access.server_model_setting()
    on_policy_refresh: int = on_policy_access.refresh_setting()
    teacher_cache: str = access.cache_setting()
    teacher_precision: str = access.precision_setting()
    teacher_loading: str = access.loading_setting()
    teacher_server: str = access.server_setting()
    teacher_server_model: str = access.server_model_setting()
    teacher_server_k: int = access.server_k_setting()
    teacher_weight: float = setting(
        1.0, "With further teachers: weight of this teacher's loss.", low=0.0, high=1000.0, advanced=True
    )
    teacher_mix: str = setting(
        "static",
        "With further teachers: fixed weights, weights by how well each reads the text, or the best reader alone.",
        choices=("static", "adaptive", "select"),
        source="X-Token: fixed weights were better",
        advanced=True,
    )
    teacher_score: str = setting(
        "ce",
        "With adaptive weights: minus cross-entropy, minus entropy, or the largest probability of each teacher.",
        choices=("ce", "entropy", "confidence"),
        advanced=True,
    )
    teacher_alpha: float = setting(
        1.0,
        "With adaptive weights: the score is multiplied by this before the soft-max.",
        low=0.0,
        high=1000.0,
        advanced=True,
    )
    hidden_size: int = setting(256, "Width of a scratch student.", low=8, high=8192, advanced=True)
    layers: int = setting(4, "Layers of a scratch student.", low=1, high=128, advanced=True)
    device: str = setting("auto", "auto, cpu, mps, cuda or cuda:1.", advanced=True)
    precision: str = setting(
        "auto",
        "Arithmetic; auto: bfloat16 on CUDA that has it, else float32. fp16 needs a GPU.",
        choices=("auto", "fp32", "bf16", "fp16"),
        advanced=True,
    )
    threads: int = setting(0, "CPU threads; 0: all cores.", low=0, high=1024, advanced=True)
    name: str = setting("", "A name for people; nothing depends on it.")
    method_options: dict[str, Any] = Field(default_factory=dict, description="Loss options of the method.")
    align_options: dict[str, Any] = Field(default_factory=dict, description="Alignment options of the method.")
    teachers: Annotated[
        tuple[dict[str, Any], ...],
        WithJsonSchema({"type": "array", "items": schema_of(FurtherTeacher)}),
    ] = Field(default=(), description="Further teachers, one table each.")
    state_learning_rates: StateRates = Field(
        default_factory=dict, description="Rates of their own by part, before state_learning_rate."
    )
    trainer: dict[str, Any] = Field(
        default_factory=dict,
        description="Further TrainingArguments of transformers: schedules, gradient checkpointing, report_to, ...",
    )

    @validated("method", mode="before")
    @classmethod
    def _trains(cls, value: Any) -> str:
        row = methods.get(value, RunError)
        if not row.can_train:
            able = ", ".join(m.name for m in methods.training())
            raise RunError(
                f"method {short(value)} aligns but has no loss of its own, so it can't train; choose one of {able}."
            )
        return row.name

    @validated("*", mode="before")
    @classmethod
    def _as_its_option(cls, value: Any, field: ValidationInfo) -> Any:
        if field.field_name == "evaluations":  # a list of names, too
            return evaluation.spelt(evaluation.chosen(value))
        if field.field_name == "student_model":
            refuse_tokenizer(value)
        # The method's own error names what it lacks.
        return value if field.field_name == "method" else parsed(_OPTIONS, field.field_name, value)

    @validated("method_options", "align_options", mode="before")
    @classmethod
    def _of_the_method(cls, value: Any, field: ValidationInfo) -> dict[str, Any]:
        return of_the_method(value, field)

    @validated("teachers", mode="before")
    @classmethod
    def _with_defaults(cls, value: Any) -> tuple[dict[str, Any], ...]:
        return parse_teachers(value)

    @validated("trainer", mode="before")
    @classmethod
    def _of_the_trainer(cls, value: Any) -> dict[str, Any]:
        return parse_table(value)

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        check_texts({name: getattr(self, name) for name in fields_of(RunConfig)})
        methods.get(self.method, RunError).check_variant(self.variant, RunError)
        check_student(self)
        check_device(self.device)
        check_precision(self)
        check_asking(self)
        on_policy_access.check_server(self)
        check_weights(self)
        if self.eval_data and self.eval_share:
            raise RunError("eval_share takes a share of the data and eval_data another file; give one of them.")
        access.check_access(self, self.method, self.variant, self.method_options, self.on_policy_share)
        for number, entry in enumerate(further_teachers(self.teachers), start=1):
            try:
                access.check_access(entry, entry.method, entry.variant, entry.method_options, self.on_policy_share)
            except RunError as fault:
                raise RunError(f"entry {number} of teachers: {fault}") from None
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether training asks the teacher at every step (SFT doesn't)."""
        return methods.get(self.method).asks_teacher

    @property
    def copies_teacher(self) -> bool:
        """Whether the student is made of the teacher's model, which is then loaded in any case."""
        return self.student_model == "transplant" or (self.student_model == "prune" and not self.student_path)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the content of config.json."""
        data = {"version": CONFIG_VERSION} | asdict(self)
        # Left out where they say nothing: a config of before they existed keeps its fingerprint.
        untouched = [name for name in _LATER if data[name] == _later_default(name)]
        data["teachers"] = tuple(older_form(entry) for entry in data["teachers"])
        return {key: value for key, value in older_form(data).items() if key not in untouched}

    def every_option(self) -> dict[str, Any]:
        """As `to_dict`, with the options that it leaves out at their default: what people are shown."""
        return asdict(self) | self.to_dict()

    @property
    def begins_with(self) -> str:
        """ "scratch", or where the weights come from that the student begins with: "bundled", a folder or hub id."""
        if self.student_model == "scratch":
            return "scratch"
        from ctkd_core.tokenizers.assets import model_folder

        chosen = self.student_path or self.teacher_path or self.teacher
        if (folder := model_folder(chosen)) is not None:
            return str(folder)
        return "bundled" if chosen == "smollm2" else chosen

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the config as canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def problem(self) -> str:
        """Why this config of an earlier version can't be run any more; "" where it can."""
        try:
            type(self)(**{name: getattr(self, name) for name in fields_of(RunConfig)})
        except RunError as fault:
            return str(fault)
        return ""

    def with_effect(self) -> RunConfig:
        """The config without options that have no effect, which those of earlier versions may hold."""
        changes: dict[str, Any] = {"teachers": tuple(_with_effect(dict(entry)) for entry in self.teachers)}
        given = {name: getattr(self, name) for name in fields_of(RunConfig)}
        return type(self)(**_with_effect(given | changes))

    def replace(self, **changes: Any) -> RunConfig:
        """A config with some fields changed. A new method or variant drops the options that only the old one has.

        Raises RunError as the constructor does.
        """
        method, variant = changes.get("method", self.method), changes.get("variant", self.variant)
        if (method, variant) != (self.method, self.variant):
            row, before = methods.get(method, RunError), methods.get(self.method, RunError)
            known = {
                "method_options": (row.loss_options_of(variant), before.loss_options, before.loss_options_of),
                "align_options": (row.align_options_of(variant), before.align_options, before.align_options_of),
            }
            for key, (options, old, read) in known.items():
                # A default of the old method isn't a choice: the new method has its own.
                names = {o.name for o in options}
                untouched = {o.name: o.default for o in (*old, *read(self.variant))}
                kept = {k: v for k, v in getattr(self, key).items() if k in names and v != untouched[k]}
                changes.setdefault(key, only_read(options, kept, variant))
        return type(self)(**{name: getattr(self, name) for name in fields_of(RunConfig)} | _with_path(changes))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
        """The config in `data`; what it leaves out comes from `base`, the preset it names, or the defaults.

        `student_model` may be a folder or hub id: it then means pretrained. Raises RunError for unknown keys, with
        the nearest names.
        """
        if not isinstance(data, Mapping):
            raise RunError(f"a run config is a table of options; got {type(data).__name__}.")
        given = dict(data)
        for name in given:
            if not isinstance(name, str):  # YAML has such keys
                raise unknown("option of a run", name, fields_of(cls), RunError)
        given.pop("fingerprint", None)  # of the config.json of a run
        version = given.pop("version", CONFIG_VERSION)
        if version != CONFIG_VERSION:
            raise RunError(
                f"this config has format version {short(version)}; this program reads {CONFIG_VERSION}. Update it."
            )
        if (name := given.pop("preset", None)) is not None:
            base = preset(name)
        return (base or cls()).replace(**given)

    @classmethod
    def from_file(cls, path: str | Path, base: RunConfig | None = None) -> RunConfig:
        """The config in a .yaml, .yml or .json file; raises RunError when it can't be read."""
        return cls.from_dict(read_table(path), base)


def _with_effect(entry: dict[str, Any]) -> dict[str, Any]:
    """A run's fields, or a further teacher's, with the method's options that are read alone."""
    row, variant = methods.get(entry["method"], RunError), entry["variant"]
    align = () if row.groups_of else row.align_options_of(variant)
    for key, options in (("method_options", row.loss_options_of(variant)), ("align_options", align)):
        names = {option.name for option in options}
        kept = {name: value for name, value in entry[key].items() if name in names}
        entry[key] = only_read(options, kept, variant)
    return entry


# One for each setting, in the order of the fields: what flags and forms are drawn from.
RUN_OPTIONS = options_of(RunConfig)
_OPTIONS = {option.name: option for option in RUN_OPTIONS}


def json_schema() -> dict[str, Any]:
    """JSON schema of a config file: the fields of RunConfig, the format's version and the preset to start from."""
    schema = schema_of(RunConfig)
    schema["description"] = "A run of CTKD Lab: what it is told, with the default of everything."
    schema["properties"] |= {
        "version": {"const": CONFIG_VERSION, "description": "Version of the file format."},
        "preset": {"enum": list(PRESETS), "description": "Where what is left out comes from."},
    }
    return schema


def preset(name: str) -> RunConfig:
    """The preset called `name`; an unknown name fails with the nearest ones."""
    if not isinstance(name, str) or name not in PRESETS:
        raise unknown("preset", name, PRESETS, RunError)
    return PRESETS[name]


def preset_changes(name: str) -> dict[str, Any]:
    """The options that a preset sets to something else than their defaults, but for its name. Raises RunError."""
    chosen = preset(name)
    values = {option.name: (option.default, getattr(chosen, option.name)) for option in RUN_OPTIONS}
    return {key: value for key, (default, value) in values.items() if key != "name" and value != default}


def _with_path(changes: dict[str, Any]) -> dict[str, Any]:
    model = changes.get("student_model")
    if isinstance(model, str) and model not in STUDENT_MODELS and ("/" in model or is_folder(model)):
        return changes | {"student_model": "pretrained", "student_path": model}
    return changes


def _later_default(name: str) -> Any:
    return fields_of(RunConfig)[name].get_default(call_default_factory=True)


# The presets are measured on two CPU cores; `estimate.py` says how long they take on this machine.
PRESETS: dict[str, RunConfig] = {
    # A look, not a product: the trained student (0.7 GB) isn't kept unless asked for.
    "quick": RunConfig(name="quick", batch_size=6, save_student=False),
    "standard": RunConfig(
        name="standard",
        steps=400,
        batch_size=8,
        max_length=96,
        eval_samples=128,
        eval_every=100,
        save_every=100,
    ),
    "transfer": RunConfig(
        name="transfer",
        student_model="transplant",
        steps=1000,
        batch_size=16,
        max_length=128,
        learning_rate=1e-4,
        eval_samples=200,
        eval_every=100,
        sample_prompts=8,
        save_every=100,
    ),
    # Few samples, seen many times, in languages that the teacher knows better: where a teacher can help most.
    "cross-family": RunConfig(
        name="cross-family",
        student="smollm2",
        teacher="gemma3-270m",
        student_model="pretrained",
        student_path="smollm2",
        method="xtoken-pkl",
        data="bundled:languages",
        eval_share=0.85,
        steps=60,
        batch_size=4,
        max_length=160,
        learning_rate=5e-5,
        eval_samples=48,
        eval_every=30,
        save_student=False,
    ),
    # The other way round: a base model of which the small chat model's tasks are new. Its texts end with `<eos>`, the
    # end of its own tokenizer (not `<end_of_turn>`, which only the instruct model writes).
    "cross-family-reverse": RunConfig(
        name="cross-family-reverse",
        student="gemma3-270m",
        teacher="smollm2",
        student_model="pretrained",
        student_path="gemma3-270m",
        method="xtoken-pkl",
        data="bundled",
        steps=40,
        batch_size=4,
        max_length=64,
        learning_rate=2e-5,
        eval_samples=48,
        eval_every=20,
        save_student=False,
    ),
}
PRESET_TITLES = {
    "quick": "Quick: a short look on any laptop",
    "standard": "Standard: a few hundred steps",
    "transfer": "Transfer: move the teacher to another tokenizer",
    "cross-family": "Cross-family: Gemma teaches SmolLM2 four languages from few samples",
    "cross-family-reverse": "Cross-family, reversed: SmolLM2 teaches Gemma short English tasks",
}
