"""Views of runs: a file opens on another machine, shows the same there, and is none of that machine's runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.comparison.table import compare
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.errors import CtkdError
from ctkd_core.lab import opened_runs
from ctkd_core.lab import saved_views as views
from tests.distill.comparison.make import made

PAIR = {"student": "deepseek", "teacher": "smollm2"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "here"))
    return tmp_path


def elsewhere(monkeypatch, home) -> None:
    monkeypatch.setenv("CTKD_HOME", str(home / "there"))


def some() -> list[Run]:
    return [made(RunStore(), 2.0 + k - (m == "uld"), method=m, seed=k) for k in range(2) for m in ("sft", "uld")]


def test_a_comparison_opens_elsewhere_and_says_the_same(home, monkeypatch):
    runs = some()
    wanted = compare(runs, "bits_per_byte").frame().to_csv()
    ids = [run.id for run in runs]
    view = views.make("runs", PAIR | {"compare": ",".join([ids[0], ids[1][-5:], *ids[2:]]), "method": "cdm"}, "Mine")
    data = views.export(view)
    elsewhere(monkeypatch, home)
    name, opened, notes = views.open_file(data)
    assert notes == [] and views.load(name) == opened and opened.title == "Mine"
    assert opened.get("compare").split(",") == ids, "whole ids"
    assert set(opened.address) == {"compare", "opened", "student", "teacher"}
    there = views.runs_in(opened)
    assert compare(there, "bits_per_byte").frame().to_csv() == wanted
    assert RunStore().list(archived=True) == [], "they are none of this machine's runs"
    assert views.open_file(data)[0] == name, "once, however often it is opened"
    assert views.export(opened) == data, "and it goes on from there"


def test_a_run_whose_tokenizer_is_a_folder_goes_without_its_name(home, monkeypatch):
    run = made(RunStore(), student=str(home / "secret"))
    view = views.make("runs", {"run": run.id[-5:], "student": str(home / "secret"), "teacher": "smollm2"})
    data = views.export(view)
    assert b"secret" not in data.replace(b'"student":"secret"', b"")
    elsewhere(monkeypatch, home)
    _, opened, _ = views.open_file(data)
    assert set(opened.address) == {"run", "opened", "teacher"}
    assert views.runs_in(opened)[0].config.student == "secret"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({}, "lists and forms"),
        ({"view": "New run"}, "lists and forms"),
        ({"run": "nowhere"}, "nowhere"),
        ({"opened": "0123456789abcdef", "run": "x"}, "open the file again"),
        ({"opened": "../..", "run": "x"}, "open the file again"),
    ],
)
def test_views_that_stay_here_say_why(address, said):
    made(RunStore())
    view = views.make("runs", address)
    assert said in views.why_it_stays(view)
    with pytest.raises(CtkdError, match=said):
        views.export(view)


def test_a_run_that_trains_stays_until_it_has_ended():
    run = made(RunStore())
    view = views.make("runs", {"run": run.id})
    write_status(run.dir, replace(run.status(), state="running", pid=os.getpid(), detached=False))
    assert "when it has ended" in views.why_it_stays(view)
    write_status(run.dir, replace(run.status(), state="finished", pid=None))
    assert views.why_it_stays(view) == ""


def hostile(data: bytes, change) -> bytes:
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(runs=[]), "doesn't hold run"),
        (lambda d: d["view"]["address"].pop("compare"), "names no run"),
        (lambda d: d["runs"][1].update(id="../../../x"), "isn't a view"),
        (lambda d: d["runs"][1]["config"].update(method="x"), "this version can't read"),
        (lambda d: d["runs"][1]["files"].update({"metrics.jsonl": "x"}), "can't be unpacked"),
        (lambda d: d.update(runs=d["runs"] * 100), "isn't a view"),
    ],
)
def test_of_a_file_that_is_not_sound_nothing_is_kept(change, said, home, monkeypatch):
    view = views.make("runs", {"compare": ",".join(run.id for run in some())})
    data = hostile(views.export(view), change)
    elsewhere(monkeypatch, home)
    with pytest.raises(CtkdError, match=said):
        views.open_file(data)
    left = [path for path in (home / "there").rglob("*") if path.is_file()]
    assert left == [] and not list((home / "there").rglob(".part-*"))


def test_only_runs_that_the_address_names_are_kept(home, monkeypatch):
    runs = some()
    data = views.export(views.make("runs", {"compare": ",".join(run.id for run in runs)}))
    elsewhere(monkeypatch, home)
    two = hostile(data, lambda d: d["view"].update(address={"compare": [",".join(run.id for run in runs[:2])]}))
    _, opened, _ = views.open_file(two)
    assert {run.id for run in opened_runs.store(opened.get("opened")).list()} == {run.id for run in runs[:2]}


def test_the_runs_go_with_the_last_view_of_them(home, monkeypatch):
    runs = some()
    data = views.export(views.make("runs", {"compare": ",".join(run.id for run in runs)}))
    elsewhere(monkeypatch, home)
    name, opened, _ = views.open_file(data)
    one = views.keep(views.make("runs", {"run": runs[0].id, "opened": opened.get("opened")}))
    views.remove(name)
    assert views.runs_in(views.load(one))[0].id == runs[0].id
    folder = opened_runs.store(opened.get("opened")).root
    views.remove(one)
    assert not folder.exists()
