"""The teacher: the bundled model, converted once, or any causal language model from a folder or hub id.

The bundled file is a quantised GGUF; its weights are kept as safetensors (`gguf`), which open in a blink. Only
safetensors are read from elsewhere: pickled weights can run code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files
from ctkd_core.background.attempt import out_of_memory
from ctkd_core.background.progress import Progress, silent
from ctkd_core.distill.kept_student import STUDENT
from ctkd_core.distill.models.prepared import is_prepared, prepared_folder
from ctkd_core.distill.teachers.access import Access
from ctkd_core.errors import CtkdError, RunError
from ctkd_core.markup.visible import shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example
    from ctkd_core.distill.further import FurtherTeacher
    from ctkd_core.distill.teachers.kept import KeptTeacher
    from ctkd_core.losses.batch import AlignedSample
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

BUNDLED = "smollm2"
PLAIN = Access()  # a model in float32 on one device


@dataclass(frozen=True, eq=False)
class LiveTeacher:
    """A teacher while a run trains: its tokenizer, its frozen model, and how it is asked.

    A teacher without a model isn't asked, or it is `kept`: a cache or a server has its rows.
    """

    tokenizer: Tokenizer
    model: PreTrainedModel | None
    method: str
    variant: str = "clean"
    options: Mapping[str, Any] = field(default_factory=dict)
    align_options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    name: str = ""
    source: str = ""  # "bundled", or where its weights come from
    access: Access = PLAIN
    kept: KeptTeacher | None = None


def align_all(
    teachers: Sequence[LiveTeacher],
    student: Tokenizer,
    prompt: str | Example,
    completion: str,
    max_length: int,
    student_response: Encoding | None = None,
    ended: bool = True,
    truncation_side: str = "right",
) -> tuple[AlignedSample, ...]:
    """One text aligned with every teacher by its own method; the student's side is the same in all of them.

    `prompt`: a text for all, or an example, whose prompt each side reads as its chat template writes it.
    """
    from ctkd_core.losses.batch import align_sample

    def read_by(tokenizer: Tokenizer) -> Any:
        return prompt if isinstance(prompt, str) else prompt.prompt_for(tokenizer)

    return tuple(
        align_sample(
            read_by(student),
            completion,
            student,
            teacher.tokenizer,
            teacher.method,
            max_length,
            teacher_prompt=read_by(teacher.tokenizer),
            variant=teacher.variant,
            student_response=student_response,
            ended=ended,
            truncation_side=truncation_side,
            **teacher.align_options,
        )
        for teacher in teachers
    )


def planned_teachers(config: RunConfig, tokenizer: Tokenizer) -> list[LiveTeacher]:
    """The run's teacher, whose tokenizer is loaded, and the further ones, without their models."""
    from ctkd_core import methods
    from ctkd_core.distill.further import further_teachers
    from ctkd_core.tokenizers.load import load_tokenizer

    def read(entry: RunConfig | FurtherTeacher) -> tuple[dict[str, Any], dict[str, Any]]:
        row = methods.get(entry.method, RunError)
        return row.read_of(entry.method_options, entry.variant), row.read_of(entry.align_options, entry.variant)

    found = [
        LiveTeacher(
            tokenizer,
            None,
            config.method,
            config.variant,
            *read(config),
            config.teacher_weight,
            config.teacher,
            teacher_source(config),
            Access.of(config),
        )
    ]
    for entry in further_teachers(config.teachers):
        taken = {t.name for t in found}
        name = entry.name or entry.teacher
        name = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 99))) if n not in taken)
        found.append(
            LiveTeacher(
                load_tokenizer(entry.teacher),
                None,
                entry.method,
                entry.variant,
                *read(entry),
                entry.weight,
                name,
                weights_source(entry.teacher, entry.teacher_path),
                Access.of(entry),
            )
        )
    return found


def with_models(
    planned: Sequence[LiveTeacher], config: RunConfig, model: PreTrainedModel | None, device: str = "cpu"
) -> list[LiveTeacher]:
    """The teachers with their models: the first one's is loaded already; those from one source are loaded once.

    Those in a cache or behind a server get none. Raises RunError where one can't be loaded.
    """
    first, *others = planned
    loaded = {_weights_of(first): model}
    found = [replace(first, model=model if config.needs_teacher and not first.access.elsewhere else None)]
    for teacher in others:
        key = _weights_of(teacher)
        if loaded.get(key) is None and not teacher.access.elsewhere:
            loaded[key] = load_frozen(teacher.source, device, access=teacher.access)
        found.append(teacher if teacher.access.elsewhere else replace(teacher, model=loaded[key]))
    return found


def _weights_of(teacher: LiveTeacher) -> tuple[str, str, str]:
    return teacher.source, teacher.access.precision, teacher.access.loading


def check_width(model: PreTrainedModel | None, tokenizer: Tokenizer, highest: int, role: str = "teacher") -> None:
    """Raise RunError where the data has an id (`highest` is its highest one) for which a model has no embedding."""
    from ctkd_core.distill.models.embeddings import embedding_rows

    if model is None:
        return
    rows = embedding_rows(model)
    if highest >= rows:
        raise RunError(
            f"the {role} has {rows} embedding rows but the data has the id {highest} ({tokenizer.token(highest)!r}) of "
            f"its tokenizer {tokenizer.name!r}: it would be fed another model's ids. Name the tokenizer that belongs "
            "to it."
        )


def prepare(progress: Progress | None = None) -> Path:
    """The bundled teacher's folder (config.json, model.safetensors), converted on first use.

    Converting takes about 20 s and 0.8 GB of memory and runs in this process; several processes wait for one another.
    Raises CtkdError when the package is missing, its hash is wrong or the disk is full.
    """
    from filelock import FileLock

    from ctkd_core.distill.models.gguf import require_room
    from ctkd_core.tokenizers import assets

    report = progress or silent
    folder = prepared_folder()
    if is_prepared(folder):
        report(1.0, "The teacher is ready.")
        return folder
    report(0.02, "Checking the teacher's file.")
    source = assets.teacher_gguf()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not is_prepared(folder):
            require_room(folder.parent, 700_000_000)
            _convert(source, folder, report)
    report(1.0, "The teacher is ready.")
    return folder


def teacher_source(config: RunConfig) -> str:
    """ "bundled", or the folder or hub id that the teacher's weights come from."""
    return weights_source(config.teacher, config.teacher_path)


def weights_source(tokenizer: str, path: str) -> str:
    """ "bundled", or where the weights come from that belong to this tokenizer; `path`, if given, says it.

    A catalog name may be given as the path, too.
    """
    from ctkd_core.tokenizers.assets import model_folder

    chosen = path or tokenizer
    if (folder := model_folder(chosen)) is not None:
        return str(folder)
    return "bundled" if chosen == BUNDLED else chosen


def loads_teacher(config: RunConfig) -> bool:
    """Whether a run loads the model of its first teacher: to ask it, to make the student of it, or to measure it."""
    return not Access.of(config).elsewhere and (
        config.needs_teacher or config.copies_teacher or config.eval_samples > 0
    )


def student_source(config: RunConfig) -> str:
    """ "bundled", or the folder or hub id of a pretrained student."""
    return weights_source(config.student_path, "")


def load_teacher(config: RunConfig, device: str = "cpu") -> PreTrainedModel:
    """The frozen teacher of a run as it says, in evaluation mode on `device`. Raises RunError without such a model."""
    return load_frozen(teacher_source(config), device, Access.of(config))


def load_frozen(source: str, device: str = "cpu", access: Access | None = None) -> PreTrainedModel:
    """The frozen model behind "bundled", a folder or hub id, in the precision and place of `access`."""
    from ctkd_core.distill.teachers.loading import from_pretrained_options

    access = access or PLAIN
    options = from_pretrained_options(access.precision, access.loading, device)
    model = load_model(source, role="teacher", **options)
    model.requires_grad_(False)
    model.eval()
    return model if "device_map" in options else model.to(device)  # type: ignore[arg-type]


def load_model(source: str | Path, dtype: Any = None, role: str = "model", **options: Any) -> PreTrainedModel:
    """A causal language model from "bundled", a folder or hub id; safetensors only, no code from the source.

    `options`: what else `from_pretrained` takes. Raises RunError that names the source and what to do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from ctkd_core.tokenizers.assets import entry_in, is_prepared, not_prepared

    if source == "bundled":
        source = prepare()
    elif (row := entry_in(source)) is not None and not is_prepared(row):
        raise RunError(f"the {role}: {not_prepared(row)}")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(source),
            **options,
            dtype=dtype or torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(source).is_dir(),
            ignore_mismatched_sizes=True,  # told below
            output_loading_info=True,
        )
        model: PreTrainedModel = loaded[0]
        found: dict[str, Any] = loaded[1]
        # transformers would go on with random numbers in their place.
        if wrong := sorted([*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]):
            raise ValueError(f"weights that its config names are missing, or of another shape: {', '.join(wrong)}")
    except Exception as fault:  # a damaged file, or a config that makes no model: its readers raise what they like
        if out_of_memory(fault):
            raise
        reason = shorten(" ".join(str(fault).split()), 300).rstrip(".")
        mend = _mend(Path(source), options)
        raise RunError(f"the {role} {str(source)!r} can't be loaded: {reason}. {mend}") from fault
    return model


def _mend(folder: Path, options: Mapping[str, Any]) -> str:
    """What to do about a model that can't be loaded; what this program wrote itself is damaged.

    options  what it was loaded with: 8 bits or parted weights may be what a machine can't do
    """
    from ctkd_core.tokenizers.assets import entry_in

    row = entry_in(folder)
    if options.keys() & {"quantization_config", "device_map"} and (row is not None or folder == prepared_folder()):
        return "Leave teacher_precision and teacher_loading at their defaults, if this machine can't do what they say."
    if row is not None or folder == prepared_folder():
        return f"It is damaged: remove this folder, then run `{row.install if row else 'ctkd prepare'}`."
    if folder.parts[-2:] == STUDENT.parts and (folder.parents[1] / "config.json").is_file():
        return "It is what a run kept, and is damaged: put its files back, or run the run again."
    return (
        "Give a folder or hub id of a causal language model with safetensors weights; without a network only folders "
        "and the bundled teacher work."
    )


def _convert(source: Path, folder: Path, report: Progress) -> None:
    import torch

    from ctkd_core.distill.models.gguf import write_model

    try:
        with files.replacing(folder, sync=True) as part:
            write_model(source, part, torch.float32, report)
    except OSError as fault:
        raise CtkdError(
            f"the teacher can't be kept at {str(folder)!r}: {fault}; free some space or set CTKD_HOME."
        ) from fault
