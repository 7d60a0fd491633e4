"""The tables of other programs in the READMEs are what was measured; paired ratios and their intervals are right."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ctkd_core import methods

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch):
    """A file of benchmarks/ as a module, found under its own name for what it imports."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark {name}", BENCHMARKS / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


def results():
    return json.loads((BENCHMARKS / "results" / "peers.json").read_text(encoding="utf-8"))


def test_the_pages_show_what_was_measured(program):
    tables = program("_tables")
    for path, text in tables.pages(results()).items():
        page = path.read_text(encoding="utf-8")
        assert tables.placed(page, text) == page, f"{path.name}: run `python benchmarks/peers.py --tables`"


def test_the_page_shows_the_losses_that_were_measured(program):
    table = program("_loss_table")
    page = table.PAGE.read_text(encoding="utf-8")
    made = table.text(json.loads(table.RESULTS.read_text(encoding="utf-8")))
    again = program("_tables").placed(page, made, table.BEGIN, table.END)
    assert again == page, "run `python benchmarks/losses.py --costs`"


def test_every_method_that_trains_has_a_row_once_it_is_measured(program):
    table = program("_loss_table")
    named = [case for _, case, _ in table.rows_named()]
    assert {row.cost_of or row.name for row in methods.training()} <= {*named}
    assert len(named) == len({*named})
    measured = {row["case"] for row in json.loads(table.RESULTS.read_text(encoding="utf-8"))["rows"]}
    assert {theirs for _, _, theirs in table.NAMED if theirs} <= measured


def test_a_method_that_is_not_measured_changes_no_table(program, monkeypatch):
    table = program("_loss_table")
    results = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    before = table.text(results)
    monkeypatch.setitem(methods.METHODS, "new", methods.get("sedi").model_copy(update={"name": "new", "title": "New"}))
    assert ("New", "new", "") in table.rows_named()
    assert table.text(results) == before
    results["rows"] += [row | {"case": "new"} for row in results["rows"] if row["case"] == "sedi"]
    assert "\n| New | " in table.text(results)


def test_the_readme_quotes_ratios_alone(program):
    text = program("_tables").summary(results())
    assert " ms " not in text and " s |" not in text and "MiB" not in text


def test_all_that_was_measured_gave_the_same_answer():
    unequal = [(row["what"], row["peer"], row["differences"]) for row in results()["rows"] if not row["agrees"]]
    assert not unequal


def test_a_page_without_the_comments_is_refused(program):
    tables = program("_tables")
    with pytest.raises(SystemExit, match="once each"):
        tables.placed("no comments", "text")
    assert tables.placed(f"a {tables.BEGIN} old {tables.END} b", "new") == (
        f"a {tables.BEGIN}\n\nnew\n\n{tables.END} b"
    )


def test_every_program_can_be_installed_from_the_list(program):
    listed = (BENCHMARKS / "requirements.txt").read_text(encoding="utf-8").lower()
    for peer in program("_installed").PEERS.values():
        assert f"\n{peer.package.lower()}" in listed, peer.package


def test_a_missing_program_says_how_to_get_it(program):
    peer = program("_installed").Peer("Nothing", ("no_such_module",), "nothing", "really")
    assert peer.missing == "no module no_such_module: pip install -r benchmarks/requirements.txt (really)"


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"), [(1, 1, 1, 0.0), (3, 1, 3, 0.75), (5, 1, 5, 0.9375), (9, 2, 8, 0.961)]
)
def test_intervals_of_a_median(program, n, low, high, coverage):
    found = program("_pairs").interval([float(k + 1) for k in range(n)])
    assert found[:2] == (low, high)
    assert found[2] == pytest.approx(coverage, abs=1e-3)


def test_two_calls_take_turns(program, monkeypatch):
    order: list[str] = []
    pairs = program("_pairs")
    collected: list[int] = []  # the heap of all tests takes the garbage collector a second each
    monkeypatch.setattr(pairs, "gc", SimpleNamespace(collect=lambda: collected.append(len(order))))
    found = pairs.interleaved(lambda: order.append("a"), lambda: order.append("b"), 4, 0.0)
    assert found["ratio"]["pairs"] == pairs.FEWEST  # no time left: as few as may be
    turns = "".join(order).replace("aa", "a")
    assert set(order) == {"a", "b"} and turns.count("a") and turns.count("b")
    assert len(collected) >= 2 * pairs.FEWEST  # before every turn
