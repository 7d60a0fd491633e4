"""docs/adding-a-method.md: its code runs as it stands there, and what it makes passes what every method must."""

from __future__ import annotations

import re
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import ctkd_core as ctkd
from ctkd_core import methods
from ctkd_core.alignment.metrics import alignment_metrics
from ctkd_core.losses.author import group_loss, response_rows
from ctkd_core.methods import METHODS, Method
from tests.losses.cases import TEXTS, batch_of, logits_for, samples
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FAMILIES = [code for code in CODE if "\nROWS = (" in code]
MODULES = [code for code in CODE if code.startswith('"""') and code not in FAMILIES]
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
