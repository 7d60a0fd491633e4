"""Whether an order holds in several conditions, in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import digest
from tests.experiments import made

SECOND = """\
  - name: many
    title: Many samples
    kind: tokenizer transfer
    regime: fresh text
    train: {texts: [bundled], count: 4, by_seed: true}
    base: {steps: 10}
claims: []
"""
AHEAD = {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.4, 1: 1.5, 2: 1.61}, "gold-warm": {0: 1.45, 1: 1.7, 2: 1.66}}


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def words(second: dict[str, dict[int, float]]) -> str:
        yaml = made.YAML.partition("claims:")[0] + SECOND
        found = made.experiment(tmp_path, monkeypatch, yaml)
        others = [record | {"condition": "many", "key": record["key"] + "m"} for record in made.results(second)]
        made.write(found, made.results(AHEAD) + others)
        (found.folder / "answer.md").write_text(
            '{alike "a few=few" lots=many}. {orders "a few=few" lots=many}', encoding="utf-8"
        )
        return digest.build([found]).experiments[0].answer

    return words


def test_one_order_everywhere(orders: Callable[..., str]) -> None:
    found = orders(AHEAD)
    assert found.startswith("the order is the same in all 2 settings. By the mean")
    assert "a few: ALM, SFT, GOLD (temperature 2.0); lots: ALM, SFT, GOLD (temperature 2.0)" in found
    assert "ALM before SFT (decided in 2 of 2)" in found
    assert "SFT before GOLD (temperature 2.0) (decided in 0 of 2)" in found


def test_an_order_that_is_turned_round_is_none(orders: Callable[..., str]) -> None:
    found = orders(
        {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.6, 1: 1.5, 2: 1.61}, "gold-warm": {0: 1.4, 1: 1.4, 2: 1.4}}
    )
    assert "isn't the same in all 2 settings, so of the 3 methods together there is none" in found
    assert found.endswith("Alike in all of them: ALM before SFT (decided in 1 of 2).")


def test_seeds_that_one_method_lacks_are_left_out(orders: Callable[..., str]) -> None:
    found = orders({"sft": {0: 1.5, 1: 9.0}, "alm": {0: 1.6}, "gold-warm": {0: 1.7}})
    assert "lots: SFT, ALM, GOLD" in found


def test_without_runs_there_is_no_order(orders: Callable[..., str]) -> None:
    assert orders({}) == "the order: not run. the order: not run"
    assert orders({"sft": {0: 1.5}}) == "the order: not run. the order: not run"
