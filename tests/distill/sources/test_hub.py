"""Data sets of the hub: named by `hf:...`, fetched once by what reads them; here with the loader replaced."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from ctkd_core.distill import checks
from ctkd_core.distill.data import load_examples
from ctkd_core.distill.sources.hub import HubSet, fetched, hub_set, not_fetched
from ctkd_core.errors import RunError

ROWS = [{"prompt": f"Who is {n}?", "completion": f"Number {n}.", "extra": b"\x00"} for n in range(3)]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the library was asked for."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    calls: list[tuple] = []

    def load_dataset(name, config, *, split):
        calls.append((name, config, split))
        if name == "owner/missing":
            raise FileNotFoundError("Couldn't reach 'owner/missing' on the Hub\nmore")
        return iter(ROWS)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return calls


def test_names_say_owner_set_config_and_split():
    assert hub_set("hf:owner/set") == HubSet("owner/set", None, "train")
    assert hub_set("hf:owner/set/ru@test[:100]") == HubSet("owner/set", "ru", "test[:100]")
    assert hub_set("data.jsonl") is None
    for wrong in ("hf:set", "hf:owner/set/a/b", "hf:../../etc/passwd", "hf:owner/set@", "hf:/root/x"):
        with pytest.raises(RunError, match="isn't of the form hf:owner/name"):
            hub_set(wrong)


def test_a_set_is_fetched_once_and_read_as_a_file(asked):
    assert not_fetched("hf:owner/set@test")
    assert [e.question for e in load_examples("hf:owner/set@test")] == [row["prompt"] for row in ROWS]
    assert not not_fetched("hf:owner/set@test")
    load_examples("hf:owner/set@test")
    assert asked == [("owner/set", None, "test")]
    load_examples("hf:owner/set/ru@test")
    assert asked[1:] == [("owner/set", "ru", "test")]


def test_nulls_that_arrow_wrote_into_nested_tables_are_left_out(asked, monkeypatch):
    call = {"function": {"name": "f", "arguments": {"a": 1, "b": None}}}
    rows = [{"messages": [{"role": "assistant", "content": "x", "tool_calls": [call], "name": None}], "text": None}]
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *_, split: iter(rows)))
    (record,) = [json.loads(line) for line in fetched(hub_set("hf:owner/tools")).read_text().splitlines()]
    assert record["text"] is None
    assert record["messages"][0]["tool_calls"] == [{"function": {"name": "f", "arguments": {"a": 1}}}]
    assert "name" not in record["messages"][0]


def test_a_set_that_a_corpus_was_measured_on_may_be_too_large_for_a_run(asked, monkeypatch):
    source = hub_set("hf:owner/set")
    place = fetched(source, most=None)
    size = place.stat().st_size
    assert fetched(source, most=size) == place
    with pytest.raises(RunError, match=r"'owner/set' has more than .* name a part of it"):
        fetched(source, most=size - 1)
    assert fetched(source, most=None) == place and len(asked) == 1
    with pytest.raises(RunError, match=r"'owner/other' has more than"):
        fetched(hub_set("hf:owner/other"), most=size - 1)
    assert not_fetched("hf:owner/other"), "half a set isn't kept"


def test_checks_fetch_nothing(asked, pair):
    config = pair.config(data="hf:owner/set", eval_data="hf:owner/other")
    (found,) = (check for check in checks.preflight(config) if check.name == "data")
    assert found.ok
    assert found.detail == "'hf:owner/set' and 'hf:owner/other' will be fetched from the hub when the run starts."
    assert asked == []
    (found,) = (check for check in checks.preflight(pair.config(data="hf:set")) if check.name == "data")
    assert not found.ok


def test_what_cannot_be_had_is_said_with_a_way_out(asked, monkeypatch):
    with pytest.raises(RunError, match=r"'owner/missing' \(default, train\) can't be had: Couldn't reach.*a \.jsonl"):
        load_examples("hf:owner/missing")
    assert not_fetched("hf:owner/missing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RunError, match=r"need the package datasets; run `pip install 'ctkd-lab\[hub\]'`"):
        load_examples("hf:owner/another")


def test_the_librarys_own_reader_of_local_files_fits(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    file = tmp_path / "set" / "data.jsonl"
    file.parent.mkdir()
    file.write_text('{"prompt": "Ja?", "completion": "Nein."}\n{"prompt": "Nein?", "completion": "Ja."}\n')
    table = datasets.Dataset.from_json(str(file), cache_dir=str(tmp_path / "arrow"))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config, *, split: table)
    assert [e.completion for e in load_examples("hf:owner/local")] == [" Nein.", " Ja."]
