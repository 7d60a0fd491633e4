"""docs/adding-a-method.md: its code runs as it stands there, and what it makes passes what every method must."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import ctkd_core as ctkd
from ctkd_core import methods
from ctkd_core.alignment.metrics import alignment_metrics
from ctkd_core.losses import author
from ctkd_core.losses.author import group_loss, response_rows
from ctkd_core.methods import METHODS, Method
from tests import forked
from tests.losses.cases import TEXTS, batch_of, logits_for, samples
from tests.losses.test_label_gaps import check_gaps
from tests.patience import LONG
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FAMILIES = [code for code in CODE if "\nROWS = (" in code]
MODULES = [code for code in CODE if code.startswith('"""') and code not in FAMILIES]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [text for language, text in BLOCKS if not language]
PAGES = re.findall(r"### 3\. `docs/methods/(\w+)\.md`\n\n```markdown\n(.*?)```", PAGE, re.S)


def rows_of(code: str) -> tuple[Method, ...]:
    module = types.ModuleType("a_family")
    exec(compile(code, "the page", "exec"), vars(module))
    return module.ROWS


@pytest.fixture
def added(monkeypatch):
    """Both methods of the page, in the table and importable as if their files were there."""
    rows = [row for code in FAMILIES for row in rows_of(code)]
    for code, row in zip(MODULES, rows):
        name = (row.loss or row.aligner).partition(":")[0]
        module = types.ModuleType(name)
        exec(compile(code, name, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(METHODS, row.name, row)
    return {row.name: row for row in rows}


def test_the_page_has_two_whole_walks(added):
    assert list(added) == ["confidence", "words"] == [name for name, _ in PAGES]
    for name, row in added.items():
        assert f"### 1. `{(row.loss or row.aligner).partition(':')[0].replace('.', '/')}.py`" in PAGE
        assert f"### 2. The row, in `ctkd_core/methods/families/{name}.py`" in PAGE
        page = dict(PAGES)[name]
        assert all(heading in page for heading in ("## What it cannot see", "## Sources"))
        assert all(f"`{option.name}`" in page for option in (*row.align_options, *row.loss_options))


def test_authors_import_from_one_place():
    assert set(re.findall(r"ctkd_core\.losses\.(\w+)", PAGE)) == {"author", "confidence"}
    called = re.findall(r"`(\w+)\(", PAGE.partition("## Paper and code")[2])
    assert {"divisor", "share", "needs_logits"} <= {*called} & {*author.__all__}


def test_the_loss(added):
    assert "confidence" in {row.name for row in methods.training()}
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    out = ctkd.loss("confidence", s, t, batch, sharpness=2.0, chunk_rows=3)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    values = []
    for b, _, s1, _, t1 in batch.groups.tolist():
        p, q = (2 * z[b, s1 - 2]).softmax(0).max(), (2 * t[b, t1 - 2]).softmax(0).max()
        values.append((p - q) ** 2)
    rows = response_rows(batch.student_labels)
    ce = -z.flatten(0, 1)[rows.flat].log_softmax(1).gather(1, rows.target[:, None]).mean()
    expected = 0.5 * ce + 0.5 * torch.stack(values).mean()
    expected.backward()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(s.grad, z.grad)
    with pytest.raises(ctkd.LossInputError, match="did you mean 'sharpness'"):
        ctkd.loss("confidence", s, t, batch, sharpnes=2.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_with_labels_that_have_gaps(added, seed, monkeypatch):
    check_gaps("confidence", "clean", seed, monkeypatch)


@pytest.mark.parametrize("teacher", [tiny_byte_level(300, 1), tiny_metaspace(), tiny_wordpiece()])
def test_the_aligner(added, teacher):
    assert "words" in {row.name for row in methods.aligning()}
    for text in (*TEXTS, "", " ", "a  b"):
        found = ctkd.align(text, student=tiny_byte_level(400, 3), teacher=teacher, method="words")
        edges = [[0, 0, 0, 0], *found.groups.tolist(), [len(found.student)] * 2 + [len(found.teacher)] * 2]
        for before, after in pairwise(edges):
            assert (before[1], before[3]) == (after[0], after[2]), "in order, every token once"
        assert alignment_metrics(found)["n_groups"] <= len(found.groups)
    found = ctkd.align(TEXTS[0], student=tiny_byte_level(400, 3), teacher=teacher, method="words")
    fewer = ctkd.align(TEXTS[0], student=tiny_byte_level(400, 3), teacher=teacher, method="words", most_tokens=1)
    assert len(fewer) > len(found)
    same = ctkd.align(TEXTS[0], student=teacher, teacher=teacher, method="words")
    assert (same.sizes == 1).all()


def test_the_other_blocks():
    names: dict = {}
    for code in CODE:
        if code not in MODULES and code not in FAMILIES:
            exec(compile(code, "the page", "exec"), names)
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    assert group_loss("gap", names["mean_gap"], s, t, batch).loss > 0
    names["fast_loss"](s, t, batch).loss.backward()
    fast, s.grad = s.grad, None
    rows = response_rows(batch.student_labels)
    z = s.flatten(0, 1)[rows.flat]
    ce = -z.log_softmax(1).gather(1, rows.target[:, None]).mean()
    (0.5 * ce + 0.5 * (z.amax(dim=1) ** 2).mean()).backward()
    torch.testing.assert_close(fast, s.grad)


# What goes through the table of methods or the pages of the docs, beside the tests of one method that the page names;
# whatever else does is about the losses or aligners.
ASKED = ("tests/test_benchmark_tables.py", "tests/test_contracts_docs.py", "tests/test_layers.py", "tests/methods")
# What is compiled stays so in the copy, kernels too; but pytest's own bytecode holds the paths of here, and what others
# are writing has another name first.
COMPILED = ("*-pytest-*", "*.pyc.*", "*.tmp.*")
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".ctkd", "build", ".hypothesis", ".*_cache", *COMPILED)


@pytest.mark.slow
def test_both_walks_leave_the_tests_green(tmp_path):
    """The files of the page in a copy of the repository, three for each method, and the commands that it names."""
    top = tmp_path / "copy"
    shutil.copytree(ROOT, top, ignore=LEFT_OUT)
    files = dict(re.findall(r"### \d\. (?:The row, in )?`([\w/]+\.\w+)`\n.*?```\w+\n(.*?)```", PAGE, re.S))
    assert len(files) == 3 * len(FAMILIES) == 6
    for file, text in files.items():
        assert not (top / file).exists()
        (top / file).write_text(text, encoding="utf-8")
    here = {k: v for k, v in os.environ.items() if k != forked.FOLDER and not k.startswith("PYTEST_")}

    def done(*words: str) -> str:
        found = subprocess.run(
            [sys.executable, *words], cwd=top, env=here | {"PYTHONPATH": str(top), "CTKD_TEST_HOME": here["CTKD_HOME"]},
            capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip
        assert found.returncode == 0, (words, found.stdout[-6000:], found.stderr[-2000:])
        return found.stdout

    for block, name in zip(COMMANDS, ("confidence", "words"), strict=True):
        assert f"ctkd methods {name}" in block
        for program, *words in map(shlex.split, block.splitlines()):
            if program == "python":
                done(*words)
            elif program == "ctkd" and words[0] != "distill":
                assert name in done("-m", "ctkd_core", *words).lower(), words
    modules = [file for file in files if file.endswith(".py")]
    done("-m", "ruff", "check", "--no-cache", *modules)
    done("-m", "ruff", "format", "--no-cache", "--check", *modules)
    done("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not browser", *ASKED)
