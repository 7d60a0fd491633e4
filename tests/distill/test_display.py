"""Runs in notebooks: state, figures and curves; a damaged folder says so instead of raising."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.markup.visible import one_line
from tests.markup.page import NASTY, harmless


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = RunStore(tmp_path).create(RunConfig(name=NASTY, method="sedi", steps=60))
    rows: list[dict[str, object]] = [{"step": k + 1, "kind": "train", "loss": 5.0 - k} for k in range(3)]
    rows += [{"step": k, "kind": "eval", "bits_per_byte": 2.0 - k / 3, "teacher_bits_per_byte": 0.9} for k in (0, 3)]
    rows[-1] |= {"held_out": 48, "held_out_bytes": 3120}
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run


def test_the_line_says_where_it_stands(run: Run) -> None:
    assert repr(run) == f"<Run {run.id}: queued, step 0 of 60, sedi, smollm2 → deepseek>"


def test_the_card_has_figures_and_curves(run: Run) -> None:
    page = harmless(run._repr_html_())
    assert "loss5.000 → 3.000" in page.text
    assert "bits per byte2.000 → 1.000" in page.text
    assert "held-out text48 samples, 3,120 bytes" in page.text
    assert page.count("svg") == 2
    assert page.count("polyline") == 3  # loss, the student's bits per byte, the teacher's level
    assert one_line(NASTY) in page.text


def test_a_run_that_has_not_begun_has_no_curves(run: Run) -> None:
    (run.dir / "metrics.jsonl").unlink()
    page = harmless(run._repr_html_())
    assert page.count("svg") == 0
    assert "step0 of 60" in page.text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", NASTY),
        ("config.json", "[" * 5000),
        ("status.json", "[1]"),
        ("status.json", '{"state": 3, "step": "x"}'),
    ],
)
def test_damage_is_shown_and_never_raises(run: Run, file: str, content: str) -> None:
    (run.dir / file).chmod(0o644)
    (run.dir / file).write_text(content, encoding="utf-8")
    fresh = Run(run.dir)
    assert repr(fresh).isprintable()
    assert "damaged" in repr(fresh)
    page = harmless(fresh._repr_html_())
    assert "damaged" in page.text and file in page.text
    assert "NoneType" not in page.text


@pytest.mark.parametrize(
    "row", ['{"kind": "train", "loss": "<script>", "step": {}}', '{"kind": "eval", "bits_per_byte": []}', "[", "3"]
)
def test_damaged_rows_take_nothing_else_away(run: Run, row: str) -> None:
    (run.dir / "metrics.jsonl").write_text(f"{row}\n", encoding="utf-8")
    assert run.metric_rows() == []
    assert repr(run).isprintable()
    page = harmless(run._repr_html_())
    assert page.count("polyline") == 0
    assert "step0 of 60" in page.text


def test_a_folder_that_is_gone_has_a_line_and_a_card(tmp_path: Path) -> None:
    run = Run(tmp_path / "<script>")
    assert "damaged" in repr(run)
    assert "damaged" in harmless(run._repr_html_()).text
