"""What a run is told: one frozen record, its options (flags, forms and schemas come from them) and the presets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ctkd_core import methods
from ctkd_core.distill.further import option_table, parse_teachers
from ctkd_core.distill.run_options import RUN_OPTIONS, STUDENT_MODELS
from ctkd_core.errors import RunError, unknown

CONFIG_VERSION = 1  # of the file format: a reader refuses a newer one instead of misreading it
_OPTIONS = {option.name: option for option in RUN_OPTIONS}


# Fields that came after the first runs were kept.
_LATER = (
    *("on_policy_share", "on_policy_temperature", "on_policy_top_p", "on_policy_max_new_tokens"),
    *("teacher_weight", "teacher_mix", "teacher_score", "teacher_alpha", "teachers"),
)


def _default(name: str) -> Any:
    return _OPTIONS[name].default


@dataclass(frozen=True)
class RunConfig:
    """One distillation run. Every field is described by the option of its name in RUN_OPTIONS.

    method_options  loss options of the method (see `ctkd_core.METHODS[method].loss_options`)
    align_options   alignment options of the method
    teachers        further teachers, a list of tables with the fields of `further.FurtherTeacher`

    Raises RunError for a value that's out of range, an unknown method or an unknown option.
    """

    student: str = _default("student")
    teacher: str = _default("teacher")
    method: str = _default("method")
    variant: str = _default("variant")
    student_model: str = _default("student_model")
    student_path: str = _default("student_path")
    teacher_path: str = _default("teacher_path")
    data: str = _default("data")
    template: str = _default("template")
    steps: int = _default("steps")
    batch_size: int = _default("batch_size")
    accumulation: int = _default("accumulation")
    learning_rate: float = _default("learning_rate")
    warmup: float = _default("warmup")
    weight_decay: float = _default("weight_decay")
    max_length: int = _default("max_length")
    seed: int = _default("seed")
    eval_samples: int = _default("eval_samples")
    eval_every: int = _default("eval_every")
    sample_prompts: int = _default("sample_prompts")
    sample_tokens: int = _default("sample_tokens")
    save_every: int = _default("save_every")
    keep_checkpoints: int = _default("keep_checkpoints")
    save_student: bool = _default("save_student")
    on_policy_share: float = _default("on_policy_share")
    on_policy_temperature: float = _default("on_policy_temperature")
    on_policy_top_p: float = _default("on_policy_top_p")
    on_policy_max_new_tokens: int = _default("on_policy_max_new_tokens")
    teacher_weight: float = _default("teacher_weight")
    teacher_mix: str = _default("teacher_mix")
    teacher_score: str = _default("teacher_score")
    teacher_alpha: float = _default("teacher_alpha")
    hidden_size: int = _default("hidden_size")
    layers: int = _default("layers")
    device: str = _default("device")
    precision: str = _default("precision")
    threads: int = _default("threads")
    name: str = _default("name")
    method_options: Mapping[str, Any] = field(default_factory=dict)
    align_options: Mapping[str, Any] = field(default_factory=dict)
    teachers: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for option in RUN_OPTIONS:
            if option.name == "method":  # its own error names what the method lacks
                continue
            object.__setattr__(self, option.name, option.parse(getattr(self, option.name), RunError))
        row = methods.get(self.method, RunError)
        if not row.can_train:
            able = ", ".join(m.name for m in methods.training())
            raise RunError(
                f"method {self.method!r} aligns but has no loss of its own, so it can't train; choose one of {able}."
            )
        row.check_variant(self.variant, RunError)
        loss, align = (option_table(key, getattr(self, key)) for key in ("method_options", "align_options"))
        object.__setattr__(self, "method_options", row.resolve_loss(loss, RunError))
        object.__setattr__(self, "align_options", row.resolve_groups(align, RunError))
        object.__setattr__(self, "teachers", parse_teachers(self.teachers))
        _check_student(self)
        _check_device(self.device)
        _check_asking(self)
        _check_weights(self)

    @property
    def needs_teacher(self) -> bool:
        """Whether training asks the teacher at every step (SFT doesn't)."""
        return methods.get(self.method).asks_teacher

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the content of config.json."""
        data = {"version": CONFIG_VERSION} | asdict(self)
        # Left out where they say nothing: a config of before they existed keeps its fingerprint.
        untouched = [name for name in _LATER if data[name] == _later_default(name)]
        return {key: value for key, value in data.items() if key not in untouched}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the config as canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def replace(self, **changes: Any) -> RunConfig:
        """A config with some fields changed. A new method drops the options that only the old one has."""
        if changes.get("method", self.method) != self.method:
            row, before = methods.get(changes["method"], RunError), methods.get(self.method, RunError)
            known = {
                "method_options": (row.loss_options, before.loss_options),
                "align_options": (row.align_options, before.align_options),
            }
            for key, (options, old) in known.items():
                # A default of the old method isn't a choice: the new method has its own.
                names, untouched = {o.name for o in options}, {o.name: o.default for o in old}
                kept = {k: v for k, v in getattr(self, key).items() if k in names and v != untouched[k]}
                changes.setdefault(key, kept)
        _refuse_unknown(changes, "option of a run")
        return replace(self, **_with_path(changes))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
        """The config in `data`; what it leaves out comes from `base`, the preset it names, or the defaults.

        `student_model` may be a folder or hub id: it then means pretrained. Raises RunError for unknown keys, with
        the nearest names.
        """
        if not isinstance(data, Mapping):
            raise RunError(f"a run config is a table of options; got {type(data).__name__}.")
        given = dict(data)
        version = given.pop("version", CONFIG_VERSION)
        if version != CONFIG_VERSION:
            raise RunError(f"this config has format version {version}; this program reads {CONFIG_VERSION}. Update it.")
        if (name := given.pop("preset", None)) is not None:
            base = preset(name)
        return (base or cls()).replace(**given)

    @classmethod
    def from_file(cls, path: str | Path, base: RunConfig | None = None) -> RunConfig:
        """The config in a .yaml, .yml or .json file; raises RunError when it can't be read."""
        return cls.from_dict(read_table(path), base)


def read_table(path: str | Path) -> dict[str, Any]:
    """The table in a YAML or JSON file, unchecked, so that command line options can be laid over it.

    Raises RunError when the file is missing, isn't text, or doesn't hold a table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"there's no config file {str(path)!r}; give a .yaml or .json file, or --preset.") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RunError(f"config file {str(path)!r} can't be read: {fault}.") from None
    if path.suffix not in {".yaml", ".yml", ".json"}:
        raise RunError(f"config file {path.name!r} ends in {path.suffix!r}; use .yaml, .yml or .json.")
    import yaml

    try:
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as fault:
        raise RunError(f"config file {path.name!r} isn't valid {path.suffix[1:].upper()}: {fault}.") from None
    if not isinstance(data, dict):
        raise RunError(f"config file {path.name!r} holds {type(data).__name__}, not a table of options.")
    return data


def preset(name: str) -> RunConfig:
    """The preset called `name`; an unknown name fails with the nearest ones."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS, RunError)
    return PRESETS[name]


def _refuse_unknown(given: Mapping[str, Any], what: str) -> None:
    known = {f.name for f in fields(RunConfig)}
    for name in given:
        if name not in known:
            raise unknown(what, name, known, RunError)


def _with_path(changes: dict[str, Any]) -> dict[str, Any]:
    model = changes.get("student_model")
    if isinstance(model, str) and model not in STUDENT_MODELS and ("/" in model or Path(model).is_dir()):
        return changes | {"student_model": "pretrained", "student_path": model}
    return changes


def _check_student(config: RunConfig) -> None:
    if config.student_model == "pretrained" and not config.student_path:
        raise RunError("student_model 'pretrained' needs student_path: a folder or hub id of a causal language model.")
    if config.student_model != "pretrained" and config.student_path:
        raise RunError(
            f"student_path {config.student_path!r} is only read with student_model 'pretrained'; "
            f"student_model is {config.student_model!r}."
        )
    heads = scratch_heads(config.hidden_size)
    if config.hidden_size % heads or (config.hidden_size // heads) % 2:
        raise RunError(
            f"hidden_size {config.hidden_size} can't be cut into attention heads; use a multiple of 64 (or 8)."
        )


def scratch_heads(hidden_size: int) -> int:
    """Attention heads of a scratch student: 64 wide where that divides the width."""
    return max(1, hidden_size // 64)


def _check_asking(config: RunConfig) -> None:
    if config.needs_teacher:
        return
    if config.on_policy_share > 0.0:
        raise RunError(
            f"method {config.method!r} asks no teacher, so it can't learn from text that the student wrote; "
            "set on_policy_share to 0 or choose another method."
        )
    if config.teachers:
        raise RunError(
            f"method {config.method!r} asks no teacher; with further teachers, give the first one a method that does."
        )


def _check_weights(config: RunConfig) -> None:
    weights = [config.teacher_weight, *(entry["weight"] for entry in config.teachers)]
    if config.teachers and not any(weights):
        raise RunError("all teachers weigh 0, so nothing would be learnt; give one of them a weight above 0.")


def _later_default(name: str) -> Any:
    return () if name == "teachers" else _default(name)


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (index and not (kind == "cuda" and index.isdigit())):
        raise RunError(f"device {device!r} isn't known; use auto, cpu, mps, cuda or cuda:0.")


# SeDi adds omega times the student's own logits to its target. From omega = 1 (the table's default) the target is so
# sharp that the entropy term flattens the student: in 40 steps held-out bits per byte went from 2.65 to 2.73; from
# omega = 0, plain top-K distillation to begin with, to 1.82.
_SHORT_SEDI = {"omega": 0.0}

# The presets are measured on two CPU cores; `estimate.py` says how long they take on this machine.
PRESETS: dict[str, RunConfig] = {
    # A look, not a product: the trained student (0.7 GB) isn't kept unless asked for.
    "quick": RunConfig(name="quick", batch_size=6, save_student=False, method_options=_SHORT_SEDI),
    "standard": RunConfig(
        name="standard",
        steps=400,
        batch_size=8,
        max_length=96,
        eval_samples=128,
        eval_every=100,
        save_every=100,
        method_options=_SHORT_SEDI,
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
        method_options=_SHORT_SEDI,
    ),
}
PRESET_TITLES = {
    "quick": "Quick: a short look on any laptop",
    "standard": "Standard: a few hundred steps",
    "transfer": "Transfer: move the teacher to another tokenizer",
}
