"""Settings that several experiments share: what makes them one, and what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctkd_core.figures.evidence import glance_rows, method_rows
from ctkd_core.methods import evidence
from experiments import digest
from tests.experiments import made

SFT = {0: 1.5, 1: 1.6, 2: 1.7}
FIRST = {"sft": SFT, "alm": {0: 1.4, 1: 1.5, 2: 1.61}, "gold-warm": {0: 1.55, 1: 1.65, 2: 1.75}}
# The same options under another title, looked at more often, with another method beside the two.
OTHER = made.YAML.replace("title: A few samples", "title: The same under another name")
OTHER = OTHER.replace("gold-warm: {method: gold, method_options: {temperature: 2.0}}", "bytes: {}")
OTHER = OTHER.replace("batch_size: 2}", "batch_size: 2, eval_every: 5}")


def both(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    yaml: str = OTHER,
    sft: dict[int, float] = SFT,
    alm: dict[int, float] | None = None,
    **config: Any,
) -> evidence.Digest:
    """The digest of two experiments; `sft`, `alm`, `config`: runs of the second."""
    first, second = (made.experiment(folder, monkeypatch, y, n) for y, n in ((made.YAML, "first"), (yaml, "second")))
    made.write(first, made.results(FIRST))
    runs = made.results({"sft": sft, "bytes": {0: 1.2, 1: 1.3, 2: 1.39}} | ({"alm": alm} if alm else {}))
    for run in runs:
        run["config"] |= config
    made.write(second, runs)
    return digest.build([first, second])


def test_a_setting_is_what_runs_were_given_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = both(tmp_path, monkeypatch)
    (shared,) = found.shared
    assert [(name.experiment, name.title) for name in shared.of] == [
        ("first", "A few samples"),
        ("second", "The same under another name"),
    ]
    ((experiment, condition),) = found.settings
    assert (experiment.name, condition.title) == ("first", "A few samples") and len(found.conditions) == 2
    assert [(t.label, t.rank, t.source.experiment) for t in condition.methods] == [
        ("bytes", 1, "second"),
        ("alm", 2, "first"),
        ("sft", 3, "first"),
        ("gold-warm", 4, "first"),
    ]
    best = condition.methods[0]
    assert best.to_baseline.mean == pytest.approx(-0.303333, abs=1e-5)
    assert best.to_baseline.adjusted == 0.75  # three differences, no longer one
    assert best.to_others["alm"].mean == pytest.approx(-0.206667, abs=1e-5)
    assert condition.methods[1].against_next.n == 3
    assert [run.curve for run in best.runs] == [[], [], []]
    assert "Asked in 2 conditions: first (few), second (few)." in condition.notes
    assert any("with 3 differences and 3 seeds" in note for note in condition.notes)


def test_it_counts_once_with_the_best_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = both(tmp_path, monkeypatch)
    assert [(row["method"], row["settings"]) for row in glance_rows(found)] == [("Bytes", "1"), ("ALM", "1")]
    (row,) = method_rows(found, "bytes")
    assert row["setting"] == "The same under another name · second"  # where page Evidence shows its runs


def test_seeds_of_one_method_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = OTHER.replace("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3, 4]")
    more = SFT | {3: 1.8, 4: 1.9}
    condition = both(tmp_path, monkeypatch, yaml, more, alm={3: 1.7, 4: 1.8}).settings[0][1]
    alm = condition.find("alm")
    assert [run.seed for run in alm.runs] == [0, 1, 2, 3, 4] and alm.missing == []
    assert (alm.to_baseline.n, alm.rank, alm.source.experiment) == (5, 1, "first")
    assert condition.find("bytes").rank is None  # it lacks two of the seeds that others have


@pytest.mark.parametrize(
    ("yaml", "sft"),
    [
        (OTHER, {seed: value + 0.001 for seed, value in SFT.items()}),  # the baseline came to something else
        (OTHER, {}),  # there is none
        (OTHER.replace("steps: 10", "steps: 9"), SFT),
        (OTHER.replace("regime: few samples", "regime: fresh text"), SFT),
        (OTHER.replace("kind: tokenizer transfer", "kind: cross-family"), SFT),
        (OTHER.replace("count: 4", "count: 5"), SFT),
    ],
)
def test_other_settings_stay_apart(
    yaml: str, sft: dict[int, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"steps": 9} if "steps: 9" in yaml else {}
    found = both(tmp_path, monkeypatch, yaml, sft, **steps)
    assert found.shared == [] and len(found.settings) == 2


def test_baselines_on_other_text_are_not_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert both(tmp_path, monkeypatch, data="other.jsonl").shared == []


def test_one_name_for_two_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = OTHER.replace("alm: {}", "alm: {method_options: {temperature: 7.0}}")
    condition = both(tmp_path, monkeypatch, yaml, alm={0: 1.3, 1: 1.4, 2: 1.5}).settings[0][1]
    assert condition.find("alm").title == "ALM"
    assert condition.find("alm (second)").title == "ALM (temperature 7.0)"


def test_the_digest_with_shared_settings_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = both(tmp_path, monkeypatch)
    assert found.shared
    path = digest.write(tmp_path / "evidence.json")
    assert evidence.read(path) == found
