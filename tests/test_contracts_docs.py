"""Documentation that can't drift: links, commands, metric names, config files and Python blocks are checked."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import yaml

from ctkd_core.cli import COMMANDS
from ctkd_core.cli.command import load
from ctkd_core.figures.evidence import method_rows
from ctkd_core.methods import METHODS, Method
from ctkd_core.methods import evidence as experiments

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str | None = None) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if language is None or kind == language]


def commands() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        for text in blocks(path):
            for line in text.splitlines():
                if match := re.match(r"(?:\$ )?(ctkd [^#]*)", line):
                    found.append((name(path), match[1].strip()))
    return found


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: str(value))
def test_commands_in_the_docs_parse(page: str, line: str) -> None:
    _, command, *words = shlex.split(line)
    assert command in COMMANDS, page
    load(command).make_context(f"ctkd {command}", words)


def test_the_docs_show_commands() -> None:
    shown = {line.split()[1] for _, line in commands()}
    assert {"align", "compare", "project", "distill", "runs", "doctor"} <= shown


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_python_blocks_are_python(path: Path) -> None:
    for text in blocks(path, "python"):
        ast.parse(text)


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"`{command}" in page for command in COMMANDS)


def test_every_metric_is_defined() -> None:
    import ctkd_core

    tokenizer = ctkd_core.load_tokenizer("smollm2")
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in ctkd_core.align("one text", student=tokenizer, teacher=tokenizer).metrics():
        assert f"`{metric}`" in page, metric


def test_config_examples_are_valid() -> None:
    from ctkd_core.distill.config import RunConfig

    for text in blocks(ROOT / "docs" / "runs.md", "yaml"):
        config = RunConfig.from_dict(yaml.safe_load(text))
        assert config.method == "uld"
        assert config.method_options["temperature"] == 2.0


def test_the_table_of_run_options_is_that_of_the_model() -> None:
    """To mend it, write `markdown_table(RUN_OPTIONS)` between the two comments of docs/runs.md."""
    from ctkd_core.distill.config import RUN_OPTIONS
    from ctkd_core.distill.settings import markdown_table

    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    table = page.partition("<!-- The table of options")[2].partition("-->")[2].partition("<!-- End of the table")[0]
    assert table.strip() == markdown_table(RUN_OPTIONS).strip()


def test_navigation_lists_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def files(entries: list[dict[str, object]]) -> set[str]:
        found: set[str] = set()
        for entry in entries:
            for value in entry.values():
                found |= files(value) if isinstance(value, list) else {str(value)}
        return found

    pages = [path for ending in ("md", "ipynb") for path in (ROOT / "docs").rglob(f"*.{ending}")]
    there = {str(path.relative_to(ROOT / "docs")) for path in pages}
    assert files(nav) == there, f"mkdocs.yml and docs differ in {files(nav) ^ there}: run `python docs/lists.py`"


def script(file: str) -> ModuleType:
    """A program of the docs as a module."""
    spec = importlib.util.spec_from_file_location(file, ROOT / "docs" / f"{file}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTED = [
    *("docs/index.md", "docs/losses.md", "docs/teachers.md", "docs/runs.md", "docs/evidence.md", "docs/glossary.md"),
    "mkdocs.yml",
]


def test_lists_of_methods_come_from_the_table() -> None:
    lists, evidence = script("lists"), experiments.load()
    pages = {row.name: f"docs/methods/{row.name}.md" for row in METHODS.values() if row.can_train and row.name != "sft"}
    assert {ROOT / file for file in (*LISTED, *pages.values())} <= {*lists.FILES}
    for file in (*LISTED, *pages.values()):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert lists.written(text) == text, (
            f"{file} says other things of methods than the table and the evidence: run `python docs/lists.py`"
        )
    for name, file in pages.items():
        assert not method_rows(evidence, name) or f"methods: tried {name} -->" in (ROOT / file).read_text("utf-8"), (
            f"an experiment has tried {name!r}: put the lines `<!-- methods: tried {name} -->` and "
            f"`<!-- methods: end -->` into {file} and run `python docs/lists.py`"
        )


def test_every_list_stands_somewhere() -> None:
    lists = script("lists")
    there = "".join(path.read_text(encoding="utf-8") for path in lists.FILES)
    unseen = [name for name in lists.LISTS if f"methods: {name}" not in there]
    evidence = experiments.load()
    assert [n for n in unseen if not n.startswith("tried ") or method_rows(evidence, n.removeprefix("tried "))] == []


def test_a_list_in_the_wrong_place_is_refused() -> None:
    written = script("lists").written
    for text in ("<!-- methods: end -->\n", "<!-- methods: views -->\n", "<!-- methods: vews -->\n"):
        with pytest.raises(ValueError, match=r"wrong place|no end"):
            written(text)
    assert "| SFT |" in written("a\n<!-- methods: views -->\nold\n<!-- methods: end -->\nb\n")


def test_answers_stand_in_the_docs_without_markup_of_their_own() -> None:
    lists = script("lists")
    assert lists.prose("a_b *c* <d> [e](f) `g` | h") == r"a\_b \*c\* \<d\> \[e\](f) \`g\` \| h"
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    for experiment in experiments.load().experiments:
        assert f"**Answer.** {lists.prose(experiment.answer)}" in page, experiment.name


def test_the_short_answers_come_first_and_lead_to_their_questions() -> None:
    lists = script("lists")
    lines = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## In short"
    listed = lines[lines.index("<!-- methods: short answers -->") + 1 : lines.index("## How to read it")]
    for experiment in experiments.load().experiments:
        assert f"### {experiment.title}" in lines
        start = f"- [{lists.prose(experiment.title)}](#{lists.anchor(experiment.title)}) "
        assert any(line.startswith(start) for line in listed), experiment.name
    assert lists.anchor("A first look: SmolLM2 under DeepSeek's tokenizer") == (
        "a-first-look-smollm2-under-deepseeks-tokenizer"
    )


def test_what_the_docs_say_of_the_cost_of_bytes_is_the_benchmark() -> None:
    lists = script("lists")
    assert "1.3 times forward KL" in lists.bytes_cost()[1]
    lists.BYTES_GOAL = 99.0
    assert "is kept" in lists.bytes_cost()[1]


@pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.name)
def test_a_methods_page_shows_its_picture(row: Method) -> None:
    page = (ROOT / "docs" / "methods" / f"{row.name}.md").read_text(encoding="utf-8")
    shown = f"](../img/methods/{row.name}.png)" in page
    assert shown == bool(row.picture), (
        f"the row of {row.name!r} has picture={row.picture!r}, and docs/methods/{row.name}.md shows "
        f"{'one' if shown else 'none'}: set `picture` in the row, run `python docs/pictures.py {row.name}` and show "
        f"../img/methods/{row.name}.png, or leave all of it out"
    )
    assert not row.picture or (ROOT / "docs" / "img" / "methods" / f"{row.name}.png").is_file(), (
        f"run `python docs/pictures.py {row.name}`"
    )


def test_every_kind_of_picture_is_drawn() -> None:
    kinds = set(get_args(Method.model_fields["picture"].annotation)) - {""}
    assert kinds == set(script("pictures").PICTURES), (
        "docs/pictures.py: PICTURES has a function for each kind of picture"
    )


def test_every_page_of_a_method_has_a_row() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages == set(METHODS), "docs/methods has one page a row of the table, named like it"


def test_make_installs_what_was_tested() -> None:
    """Every installation keeps to constraints.txt, which holds what each extra for development asks for."""
    lines = [each for each in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if "$(PIP) install" in each]
    free = [each for each in lines if not re.search(r"\$\(CONSTRAINTS\)|--no-deps|--upgrade ", each)]
    assert lines and not free
    pinned = {each.partition("==")[0].lower() for each in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    asked = {re.match(r"[\w-]+", each)[0].lower() for part in ("dev", "docs") for each in extras[part]}  # type: ignore[index]
    assert "mkdocs" in asked
    assert {each.replace("-", "_") for each in asked - {"ctkd-lab"}} <= {each.replace("-", "_") for each in pinned}
