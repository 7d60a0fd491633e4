"""Documentation that can't drift: links, commands, metric names, config files and Python blocks are checked."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

from ctkd_core.cli import COMMANDS
from ctkd_core.cli.command import load

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


def test_navigation_lists_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def files(entries: list[dict[str, object]]) -> set[str]:
        found: set[str] = set()
        for entry in entries:
            for value in entry.values():
                found |= files(value) if isinstance(value, list) else {str(value)}
        return found

    assert files(nav) == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
