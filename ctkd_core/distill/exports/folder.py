"""The folder that goes to another trainer: script or config, training data, tokenizers, the untrained student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ctkd_core import methods
from ctkd_core.background.status import reason
from ctkd_core.distill.config import RUN_OPTIONS, RunConfig
from ctkd_core.distill.data import Example
from ctkd_core.distill.exports.teacher import place_of, writes_student
from ctkd_core.distill.preparation import split_of
from ctkd_core.distill.training.export import save_tokenizer
from ctkd_core.errors import RunError, short, unknown
from ctkd_core.files import as_os_error, write_atomic

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

DATA, STUDENT = "train.jsonl", "student"
TOKENIZERS = ("student-tokenizer", "teacher-tokenizer")


@dataclass(frozen=True)
class ExportTarget:
    """Another trainer.

    name      as the rows of the methods that exist there call it (`Method.exports`)
    contents  function of (config, student) -> files by name, and notes
    start     how it is started, with what versions: Markdown
    writes    options of `NOT_WRITTEN` that it has after all
    """

    name: str
    title: str
    contents: str
    start: str
    writes: frozenset[str] = frozenset()

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that exist there."""
        return tuple(row.name for row in methods.training() if self.name in row.exports)


_TRL, _NEMO_RL = "ctkd_core.distill.exports.trl", "ctkd_core.distill.exports.nemo_rl"
TARGETS = {
    target.name: target
    for target in (
        ExportTarget("trl", "TRL's GOLDTrainer", f"{_TRL}:contents", f"{_TRL}:START", frozenset({"precision"})),
        ExportTarget("nemo-rl", "NeMo-RL's cross-tokenizer distillation", f"{_NEMO_RL}:contents", f"{_NEMO_RL}:START"),
    )
}

# Options that change what is learnt, or what it takes, and that a target isn't told, with what holds there instead.
NOT_WRITTEN = {
    "trainer": "there the trainer has its own.",
    "lora_rank": "LoRA isn't set up, and all of the student's weights learn there.",
    "teacher_cache": "the teacher's model is loaded there.",
    "teacher_server": "the teacher's model is loaded there.",
    "on_policy_server": "the target writes the student's text its own way.",
    "teacher_precision": "the teacher is loaded as its files are there, unless you say otherwise.",
    "teacher_loading": "all of the teacher's weights lie on the device there.",
    "state_learning_rate": "all that learns has the student's learning rate there.",
    "state_learning_rates": "all that learns has the student's learning rate there.",
    "warmup_from_zero": "the warm-up is the target's own.",
    "truncation_side": "the target cuts long samples its own way.",
    "precision": "bf16 and fp32 are all that is written.",
    "threads": "it computes with as many threads as it likes.",
    "eval_samples": "nothing is held out or measured there.",
    "eval_data": "nothing is held out or measured there.",
    "eval_every": "nothing is held out or measured there.",
    "evaluations": "nothing is held out or measured there.",
    "save_every": "checkpoints are the target's own affair.",
    "save_dtype": "the student is saved in the numbers that it was trained in.",
}
_WRITTEN_VALUES = (("precision", "bf16"), ("precision", "fp32"))


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, its files, and sentences about what is different there."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]


def write(config: RunConfig, target: str, folder: Path | str, *, student: bool = True, force: bool = False) -> Exported:
    """Write everything for a target into a folder, which is made.

    student  also write the student before its first step, where it isn't a folder or hub id of the user's
    force    replace the files of an export that is there; other files in the folder stay

    Raises RunError for an unknown target, a method or an option that doesn't exist there, and what can't be written.
    """
    check(config, target)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{str(folder)!r} isn't a folder; choose another one.")
    there = folder.exists()
    if there and any(folder.iterdir()):
        if not force:
            raise RunError(
                f"{str(folder)!r} exists already and isn't an empty folder; choose another one, or add --force."
            )
        _require_export(config, target, folder, student)
    try:
        with as_os_error():
            folder.mkdir(parents=True, exist_ok=True)
            # Made beside its place: what fails leaves the folder as it was, with what others put there meanwhile.
            with TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                found = _written(config, target, made, student)
                _move(made, folder)
    except OSError as fault:
        raise RunError(f"{str(folder)!r} can't be written ({reason(fault)}); choose another folder.") from fault
    finally:
        if not there:
            with suppress(OSError):
                folder.rmdir()  # half an export would be in the way of the next one; a whole one stays
    return replace(found, folder=folder)


def _written(config: RunConfig, target: str, folder: Path, student: bool) -> Exported:
    own = writes_student(config)
    student_place, where = (STUDENT, []) if own else place_of(config.student_path, "student")
    contents, notes = methods.load(TARGETS[target].contents)(config, student_place)
    for name, text in contents.items():
        write_atomic(folder / name, text)
    write_atomic(folder / DATA, training_data(config))
    written = [*contents, DATA]
    pair = _pair(config)
    for name, tokenizer in zip(TOKENIZERS, pair):
        (folder / name).mkdir()
        save_tokenizer(tokenizer, folder / name)
        written.append(name)
    if own and student:
        _write_student(config, pair, folder / STUDENT)
        written.append(STUDENT)
    if target == "nemo-rl":
        written.append(_write_map(pair, folder))
    notes = [*notes, *where, *_left_out(config, target), *([] if student or not own else [_MISSING])]
    write_atomic(folder / "README.md", _readme(config, target, written, notes))
    return Exported(folder, (*written, "README.md"), tuple(notes))


# What one export has in a folder of its own and the next may lack, and what transformers would read there all the same.
_OPTIONAL = (
    *("chat_template.jinja", "additional_chat_templates/*.jinja", "special_tokens_map.json"),
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "generation_config.json"),
)
_SIGN = "Written by CTKD Lab"


def _require_export(config: RunConfig, target: str, folder: Path, student: bool) -> None:
    """Raise RunError for a folder that holds anything but an export for this trainer, which may be replaced."""
    readme = folder / "README.md"
    try:
        text = readme.read_text(encoding="utf-8", errors="replace") if readme.exists() else ""
    except OSError as fault:
        raise RunError(f"{str(readme)!r} can't be read ({reason(fault)}); choose another folder.") from fault
    if _SIGN not in text:
        raise RunError(f"{str(folder)!r} has no README.md of an export; choose another folder.")
    if not text.startswith(_title(target)):
        raise RunError(f"{str(folder)!r} holds an export for another trainer; choose another folder.")
    if not student and writes_student(config) and (old := folder / STUDENT).exists():
        raise RunError(f"{str(old)!r} is the student of an earlier export; remove it, or leave off --no-student.")


def _move(made: Path, folder: Path) -> None:
    """Put an export into its folder, without what an earlier one has there and this one lacks."""
    for name in (name for name in (*TOKENIZERS, STUDENT) if (made / name).is_dir()):
        for old in (path for pattern in _OPTIONAL for path in (folder / name).glob(pattern)):
            old.unlink()
    for path in [path for path in made.rglob("*") if path.is_file()]:
        place = folder / path.relative_to(made)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _title(target: str) -> str:
    """How the README of an export for this target begins."""
    return f"# {TARGETS[target].title}:"


_MISSING = f"The student isn't here: `ctkd export` writes it as {STUDENT!r}."


def _left_out(config: RunConfig, target: str) -> list[str]:
    """Sentences about options of the run that the target isn't told, where they aren't at their default."""
    notes = []
    plain = {option.name: option.default for option in RUN_OPTIONS} | {"trainer": {}, "state_learning_rates": {}}
    for name, instead in NOT_WRITTEN.items():
        value = getattr(config, name)
        if name in TARGETS[target].writes or value == plain[name] or (name, value) in _WRITTEN_VALUES:
            continue
        # A folder or an address of this machine means nothing elsewhere, and a table's values may be long.
        said = {"trainer": f" ({', '.join(map(short, config.trainer))})"}
        said |= dict.fromkeys(("teacher_cache", "teacher_server", "on_policy_server"), "")
        notes.append(f"{name}{said.get(name, f' {short(value)}')} isn't written: {instead}")
    return notes


def check(config: RunConfig, target: str) -> None:
    """Raise RunError where the target hasn't the run's method, or the run does what no target can do."""
    if target not in TARGETS:
        raise unknown("target", target, TARGETS, RunError)
    known = TARGETS[target]
    if config.method not in known.methods:
        others = [name for name, other in TARGETS.items() if config.method in other.methods]
        where = f" {TARGETS[others[0]].title} has it (--to {others[0]})." if others else ""
        raise RunError(
            f"{known.title} has no method {config.method!r}, only {' and '.join(known.methods)}; "
            f"train it here, or choose one of these.{where}"
        )
    if config.teachers:
        raise RunError(f"the run has {len(config.teachers)} further teachers; only one teacher can be written.")


def training_data(config: RunConfig) -> str:
    """The examples that the run learns from, as JSON lines: prompt, completion, and both as text.

    Raises RunError for data that can't be used, and for conversations that each side's template writes otherwise.
    """
    split = split_of(config)
    if config.chat_template == "own" and any(example.turn for example in split.train):
        raise RunError(
            "the data has conversations, which each tokenizer's own chat template writes; export a run with "
            "chat_template=shared, whose texts are the same for both."
        )
    return "".join(json.dumps(_record(example), ensure_ascii=False) + "\n" for example in split.train)


def _record(example: Example) -> dict[str, str]:
    return {
        "prompt": example.prompt,
        "completion": example.completion,
        "text": example.prompt + example.completion,
    }


def _pair(config: RunConfig) -> tuple[Tokenizer, Tokenizer]:
    from ctkd_core.tokenizers.load import load_tokenizer

    return load_tokenizer(config.student), load_tokenizer(config.teacher)


def _write_student(config: RunConfig, pair: tuple[Tokenizer, Tokenizer], folder: Path) -> None:
    from ctkd_core.distill.models.students import build_student
    from ctkd_core.distill.models.teachers import load_teacher
    from ctkd_core.distill.training.export import save_student
    from ctkd_core.distill.training.materials import materials, terms_of

    model = load_teacher(config) if config.student_model == "transplant" else None
    made_of = [each for each in materials(config, dict(zip(("student", "teacher"), pair))) if each.begins]
    save_student(build_student(config, *pair, model), pair[0], folder, terms=terms_of(made_of))


def _write_map(pair: tuple[Tokenizer, Tokenizer], folder: Path) -> str:
    from ctkd_core.distill.exports.nemo_rl import MAP
    from ctkd_core.vocabulary.export import export
    from ctkd_core.vocabulary.store import cached_project

    export(cached_project(*pair, method="pieces"), folder / MAP)
    return MAP


def _readme(config: RunConfig, target: str, written: Sequence[str], notes: list[str]) -> str:
    from ctkd_core import __version__

    files = "\n".join(f"- `{name}`" for name in written)
    start = methods.load(TARGETS[target].start)
    points = "\n".join(f"- {' '.join(note.split())}" for note in notes) or "- nothing that is known"
    return (
        f"{_title(target)} method {config.method}\n\n{_SIGN} {__version__}.\n\n{files}\n\n"
        f"## How to start it\n\n{start}\n## What is different there\n\n{points}\n"
    )
