"""The card of a trained student (README.md): what it was made of, with which figures, and under which licences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.addresses import with_stand_ins
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.headline import held_out_text
from ctkd_core.distill.training.materials import Material, base_models, licence_tag, materials
from ctkd_core.distill.working_folder import SOURCES
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

FIGURES = {
    "bits_per_byte_before": "bits per byte of held-out text before",
    "bits_per_byte_after": "bits per byte of held-out text after",
    "teacher_bits_per_byte": "the teacher's bits per byte",
    "loss_first": "loss of the first step",
    "loss_last": "loss of the last step",
}


def card(
    config: RunConfig,
    tokenizers: Mapping[str, Tokenizer],
    figures: Mapping[str, float | None],
    facts: Mapping[str, Any],
    processes: int = 1,
) -> str:
    """Markdown with the metadata that model hubs read.

    tokenizers: of "student" and "teacher"; figures: the headline of the run; facts: name and value of what else is to
    be said (run, dtype, kept layers, ...); processes: that trained it, whose batches are one step. Folders of this
    machine are named by their last part alone.
    """
    from huggingface_hub import ModelCardData

    from ctkd_core import __version__

    found = materials(config, tokenizers)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=_tags(config),
        license=licence_tag(found) or None,
        base_model=base_models(found) or None,
    )
    name = _plain(config.name) or "Distilled student"
    lines = ["---", data.to_yaml(), "---", "", f"# {name}", "", _sentence(config, processes), "", "## Figures", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {text} | {figures[key]:.4f} |" for key, text in FIGURES.items() if figures.get(key) is not None]
    lines += [f"| held-out text | {text} |"] if (text := held_out_text(figures)) else []
    lines += [f"| {_plain(key)} | {_plain(str(value))} |" for key, value in facts.items()]
    lines += ["", "## Licences", "", *_licences(found), "", "## Configuration", ""]
    lines += [f"Made with CTKD Lab {__version__}. The same run again: `ctkd distill` with this table as a file.", ""]
    return "\n".join([*lines, *_fenced(_shown(config))]) + "\n"


def _tags(config: RunConfig) -> list[str]:
    return ["knowledge-distillation", "cross-tokenizer", f"ctkd-{config.method}"]


def _sentence(config: RunConfig, processes: int) -> str:
    teacher = f"from {_last(config.teacher_path or config.teacher)} " if config.needs_teacher else ""
    samples = config.batch_size * config.accumulation * processes
    return (
        f"A student ({config.student_model}) trained {teacher}with the method `{config.method}` ({config.variant}), "
        f"{config.steps:,} steps of {samples} samples of {_last(config.data)}; its "
        f"tokenizer is that of {_last(config.student)}."
        + (f" {processes} processes trained it, each with its part of every step." if processes > 1 else "")
    )


def _licences(found: Iterable[Material]) -> list[str]:
    """What is known of the licences of everything that the student was made of."""
    unknown = "its licence is told where it comes from"
    return [
        *(f"- {each.role}: {_last(each.source)}, {_plain(each.licence) or unknown}" for each in found),
        "",
        "A student takes over the terms of the weights it began with, and a teacher's may cover what it taught.",
    ]


def _shown(config: RunConfig) -> str:
    table = _without_places(config.to_dict())
    if "teachers" in table:
        table["teachers"] = [_without_places(entry) for entry in table["teachers"]]
    if "trainer" in table:
        table["trainer"] = _without_folders(table["trainer"])
    return json.dumps({key: value for key, value in table.items() if key != "teachers" or value}, indent=1)


def _without_places(table: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run or a further teacher without folders and addresses of this machine."""
    shown = dict(table) | {key: _without_folders(table[key]) for key in SOURCES if key in table}
    return with_stand_ins(shown)  # type: ignore[no-any-return]


def _without_folders(value: Any) -> Any:
    """A value of a table; each text in it that is the path of a file or folder is its last part alone."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if not isinstance(value, str):
        return value
    return Path(value).name if Path(value).is_absolute() or value.startswith((".", "~")) else value


def _last(source: str) -> str:
    """A source without the folders of this machine, as Markdown."""
    return _plain(_without_folders(source))


def _plain(text: str) -> str:
    """One line that is no markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", one_line(text)).strip()


def _fenced(text: str) -> list[str]:
    """A block of code that what is in it can't end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}json", text, fence]
