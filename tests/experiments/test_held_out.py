"""How much text a figure is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import digest
from tests.experiments import made
from tests.experiments.test_digest import VALUES


def said(folder: Path, monkeypatch: pytest.MonkeyPatch, yaml: str, runs: list[dict[str, object]]) -> str:
    found = made.experiment(folder, monkeypatch, yaml)
    made.write(found, runs)
    return digest.build([found]).experiments[0].conditions[0].held_out_text


HELD_OUT = "    held_out: {texts: [ru-desktop-held, ru-system-held], count: 12}\n"
APART = made.YAML.replace("claims:", f"{HELD_OUT}claims:")
DOMAIN = made.YAML.replace("claims:", f"{HELD_OUT}    figure: bits_by_domain.ru-system\nclaims:")


def test_how_much_text_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = made.results(VALUES)
    of_set = "at most 48 pieces, held out of the same set"
    assert said(tmp_path, monkeypatch, made.YAML, runs) == f"{of_set}, other ones for each seed"
    whole = made.YAML.replace(", count: 4, by_seed: true", "")
    assert said(tmp_path, monkeypatch, whole, runs) == f"{of_set}, the same for all seeds"
    assert said(tmp_path, monkeypatch, APART, runs) == "24 pieces, the same for all seeds"
    runs[0]["figures"] |= {"bytes_by_domain.a": 1000.0, "bytes_by_domain.b": 234.0}
    assert said(tmp_path, monkeypatch, APART, runs) == "24 pieces, 1,234 bytes, the same for all seeds"
    runs[1]["held_out_bytes"] = 1300
    assert said(tmp_path, monkeypatch, APART, runs) == "24 pieces, 1,234 to 1,300 bytes, the same for all seeds"


def domain_runs(**noted: object) -> list[dict[str, object]]:
    """Runs with a figure of one domain, all measured on one file; the first has `noted` how much that is."""
    runs = made.results(VALUES)
    for run in runs:
        run["figures"]["bits_by_domain.ru-system"] = run["figures"]["bits_per_byte"]
        run["config"] |= {"eval_data": "held.jsonl", "eval_samples": 48}
        run["held_out_bytes"] = 2219
    runs[0] |= noted
    return runs


def test_a_figure_of_one_domain_is_measured_on_its_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "12 pieces of ru-system"
    runs = domain_runs()
    assert said(tmp_path, monkeypatch, DOMAIN, runs) == f"{text}, the same for all seeds"  # nobody noted its bytes
    # What one run noted of a file holds for all that were measured on it.
    runs = domain_runs(held_out_bytes_by_domain={"ru-desktop": 1175, "ru-system": 1044})
    assert said(tmp_path, monkeypatch, DOMAIN, runs) == f"{text}, 1,044 bytes, the same for all seeds"
    runs = domain_runs()
    runs[0]["figures"]["bytes_by_domain.ru-system"] = 1044.0  # as older ones have it
    assert said(tmp_path, monkeypatch, DOMAIN, runs) == f"{text}, 1,044 bytes, the same for all seeds"


def test_of_a_part_of_the_pieces_nobody_knows_how_many_are_of_a_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = DOMAIN.replace("batch_size: 2", "batch_size: 2, eval_samples: 20")
    runs = domain_runs()
    for run in runs:
        run["config"]["eval_samples"] = 20
    assert said(tmp_path, monkeypatch, few, runs) == "at most 12 pieces of ru-system, the same for all seeds"
