"""What a student was made of, under which terms, and the files of these terms that go wherever the student goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models.prepared import prepared_folder
from ctkd_core.distill.models.teachers import student_source, weights_source
from ctkd_core.distill.sources.bundled import bundled_set
from ctkd_core.tokenizers.assets import entry_in
from ctkd_core.tokenizers.catalog import GEMMA, TOKENIZERS

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Catalog names with weights: the model's id on the hub, and its licence as model hubs call it.
_MODELS = {
    "smollm2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
    GEMMA: ("google/gemma-3-270m", "gemma"),
}
_BINDING = ("gemma",)  # licences that cover whatever was made with a model, students that it taught included
_TERMS = re.compile(r"(?i)^([\w.-]*[_.-])?(terms|license|licence|notice|copying)([_.-][\w.-]*)?$")
MOST_BYTES = 2_000_000  # of a file of terms
MOST_FRONT = 100_000  # characters of a card that are read for its metadata


@dataclass(frozen=True)
class Material:
    """One thing that a student was made of.

    role     "student tokenizer", "student's weights", "teacher", "teacher 2", "data"
    source   as the config names it
    licence  for people; "" where it isn't known
    model    its id on a model hub, "" where there is none
    tag      its licence as model hubs call it, "" where it isn't known
    folder   where its weights lie, None for hub ids and what has no weights
    begins   whether the student began with its weights
    """

    role: str
    source: str
    licence: str = ""
    model: str = ""
    tag: str = ""
    folder: Path | None = None
    begins: bool = False


def materials(config: RunConfig, tokenizers: Mapping[str, Tokenizer]) -> list[Material]:
    """Everything that the student of a run was made of. tokenizers: of "student" and "teacher"."""
    found = [Material("student tokenizer", config.student, tokenizers["student"].licence)]
    if config.student_path and config.student_model in ("pretrained", "prune"):
        found.append(replace(_weights("student's weights", config.student_path, student_source(config)), begins=True))
    if config.needs_teacher or config.copies_teacher:
        found += _teachers(config, tokenizers["teacher"])
    own = bundled_set(config.data)
    return [*found, Material("data", config.data, own.licence if own else "")]


def licence_tag(found: list[Material]) -> str:
    """The licence of the student as model hubs call it; "" where that isn't known.

    That of the weights it began with, unless the terms of something else cover it.
    """
    binding = [each.tag for each in found if each.tag in _BINDING]
    return next(iter(binding + [each.tag for each in found if each.begins]), "")


def base_models(found: list[Material]) -> list[str]:
    """Ids on a model hub of the weights that the student began with."""
    return [each.model for each in found if each.begins and each.model]


def terms_of(found: list[Material]) -> dict[str, bytes]:
    """Files of terms that lie with the weights and cover the student, by the name that each gets beside it.

    One that can't be read is left out: a student isn't lost for it.
    """
    kept: dict[str, bytes] = {}
    for each in found:
        for path in _terms_in(each.folder) if each.begins or each.tag in _BINDING else ():
            name = path.name
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if kept.get(name, content) != content:
                name = f"{re.sub(r'[^a-z0-9]+', '-', each.role)}-{name}"
            kept.setdefault(name, content)
    return kept


def _teachers(config: RunConfig, tokenizer: Tokenizer) -> list[Material]:
    path = config.teacher_path
    first = _weights("teacher", path or config.teacher, weights_source(config.teacher, path))
    first = replace(first, begins=config.copies_teacher, licence=first.licence or ("" if path else tokenizer.licence))
    others = enumerate(config.teachers, start=2)
    return [first] + [
        _weights(
            f"teacher {number}",
            entry["teacher_path"] or entry["teacher"],
            weights_source(entry["teacher"], entry["teacher_path"]),
        )
        for number, entry in others
    ]


def _weights(role: str, named: str, source: str) -> Material:
    """A model: `named` as the config does, `source` as `weights_source` does."""
    row = TOKENIZERS["smollm2"] if source in ("bundled", str(prepared_folder())) else entry_in(source)
    if row is not None:
        model, tag = _MODELS.get(row.name, ("", ""))
        return Material(
            role, named, row.licence, model, tag, Path(prepared_folder() if source == "bundled" else source)
        )
    folder = Path(source)
    if folder.is_dir():
        said = _front_matter(folder).get("license")
        tag = said if isinstance(said, str) and re.fullmatch(r"[\w.-]{1,40}", said) else ""
        return Material(role, named, tag, "", tag, folder)
    return Material(role, named, model=source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else "")


def _front_matter(folder: Path) -> Mapping[str, Any]:
    """The metadata of a model card (README.md), {} without any."""
    import yaml

    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(MOST_FRONT)
        found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        table = yaml.safe_load(found[1]) if found else {}
    # PyYAML raises others than its own for dates and numbers that there can't be, and for deep nesting.
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError):
        return {}
    return table if isinstance(table, dict) else {}


def _terms_in(folder: Path | None) -> list[Path]:
    try:
        files = sorted(folder.iterdir()) if folder is not None else []
        return [path for path in files if _TERMS.match(path.name) and _is_its_own(path) and _is_small(path)]
    except OSError:
        return []


def _is_its_own(path: Path) -> bool:
    """Whether a file lies in its folder, or where the hub's cache keeps what its folders point to.

    Any other link could bring a private file of this machine into a folder that is passed on.
    """
    folder, target = path.parent.resolve(), path.resolve()
    return any(target.is_relative_to(place) for place in (folder, folder.parent.parent / "blobs"))


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MOST_BYTES
