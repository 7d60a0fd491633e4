"""Tables of further figures of runs: by class, by length, over training."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.methods.evidence import Table
from experiments import digest
from experiments.definition import ExperimentError
from tests.experiments import made

VALUES = {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.4, 1: 1.5, 2: 1.6}}
ASKED = """\
tables:
  - title: By domain
    condition: few
    figures: {A: bits_by_domain.a, never: exposure.2}
    note: Look.
  - title: Over training
    condition: few
    figures: {bits: bits_per_byte}
    over_steps: true
claims:
"""


def tables(folder: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, dict[int, float]]) -> list[Table]:
    found = made.experiment(folder, monkeypatch, made.YAML.replace("claims:\n", ASKED))
    made.write(found, made.results(values))
    return digest.build([found]).experiments[0].tables


def test_figures_after_training_beside_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = tables(tmp_path, monkeypatch, VALUES)
    assert table.columns == ["method", "A", "A, minus SFT", "never", "never, minus SFT"]
    assert [row[0] for row in table.rows] == ["before training", "ALM", "SFT"]  # by rank; what wasn't run is left out
    assert table.rows[0][1:] == ["–", "–", "–", "–"]  # looks don't have it
    assert table.rows[1][1].startswith("2 (") and table.rows[1][1].endswith("n = 3")
    assert table.rows[1][2] == "-0.1 (-0.1 to -0.1), n = 3"
    assert table.rows[2][2] == "–"
    assert table.note.endswith("Look.")


def test_a_figure_over_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = tables(tmp_path, monkeypatch, VALUES)
    assert table.columns == ["method", "bits, step 0", "bits, step 2", "bits, step 5", "bits, step 10"]
    assert table.rows[0][0] == "ALM"
    assert table.rows[0][1] == "2 (2 to 2), n = 3"
    assert table.rows[0][4].startswith("1.5 (")


def test_cells_rest_on_the_runs_that_have_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, made.YAML.replace("claims:\n", ASKED))
    runs = made.results(VALUES)
    runs[0]["figures"]["exposure.2"] = 5.0  # of SFT, seed 0
    made.write(found, runs)
    table = digest.build([found]).experiments[0].tables[0]
    assert [row[3] for row in table.rows] == ["–", "–", "5, n = 1"]


def test_without_runs_there_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables(tmp_path, monkeypatch, {}) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("title: By domain\n    condition: few", "title: By domain\n    condition: many"), ("{bits:", "{b: x, bits:")],
)
def test_tables_that_cannot_be_made(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old in ASKED
    with pytest.raises(ExperimentError, match="wants a condition that is there, and over steps one figure"):
        made.experiment(tmp_path, monkeypatch, made.YAML.replace("claims:\n", ASKED.replace(old, new)))
