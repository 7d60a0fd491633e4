"""Views of runs: a file opens on another machine, shows the same there, and is none of that machine's runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.comparison.table import compare, run_frame
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
    assert left == [] and not list((home / "there").rglob(".*.part"))


def test_two_that_open_the_same_file_keep_it_once(home, monkeypatch):
    from ctkd_core.lab import opened_runs

    view = views.make("runs", {"compare": ",".join(run.id for run in some())})
    data = views.export(view)
    elsewhere(monkeypatch, home)
    write, others = opened_runs.write, [None]

    def meanwhile(*arguments):
        if others:  # somebody is faster
            others.clear()
            views.open_file(data)
        return write(*arguments)

    monkeypatch.setattr(opened_runs, "write", meanwhile)
    views.open_file(data)
    assert len(opened_runs.kept()) == 4
    root = home / "there" / "views" / "runs"
    assert len(list(root.iterdir())) == 1, "nothing else is left there"


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


def brought(home, monkeypatch) -> tuple[str, list[Run]]:
    """Runs that another machine sent, opened here: the name of their set, and the runs."""
    data = views.export(views.make("runs", {"compare": ",".join(run.id for run in some())}))
    elsewhere(monkeypatch, home)
    _, opened, _ = views.open_file(data)
    return opened.get("opened"), list(views.runs_in(opened))


def test_runs_of_a_file_and_of_this_machine_are_compared_and_stay_apart(home, monkeypatch):
    name, opened = brought(home, monkeypatch)
    mine = [made(RunStore(), 5.0, method="sft", seed=seed) for seed in range(2)]
    words = [opened_runs.word_of(run) for run in (*opened, *mine)]
    assert words[0] == f"{name}:{opened[0].id}" and words[-1] == mine[-1].id
    found, left_out = opened_runs.named(words, RunStore())
    assert found == [*mine, *opened] and left_out == [], "those of this machine come first"
    compared = compare(found)
    assert {row.kind.label: sorted(row.kind.by_seed) for row in compared.rows} == {
        "SFT": [0, 1],
        "SFT, opened": [0, 1],
        "ULD, opened": [0, 1],
    }
    assert compared.baseline == "SFT", "what is measured here is what others are compared with"
    means = {row.kind.label: row.figures["bits_per_byte"].mean for row in compared.rows}
    assert means["SFT"] == 5.0 and means["SFT, opened"] == 2.5, "a stranger's figures are in no mean of ours"
    assert run_frame(found)["opened"].tolist() == [False] * 2 + [True] * 4
    assert "opened" not in run_frame(mine).columns
    assert [run.is_opened for run in found] == [False] * 2 + [True] * 4
    assert set(RunStore().list(archived=True)) == set(mine)
    assert opened_runs.kept() == sorted(opened, key=lambda run: run.id, reverse=True)


def test_a_file_takes_the_place_of_no_run_of_this_machine(home, monkeypatch):
    runs = some()
    data = views.export(views.make("runs", {"compare": ",".join(run.id for run in runs)}))
    _, opened, _ = views.open_file(hostile(data, lambda d: d["runs"][0].update(message="mine is better")))
    theirs = views.runs_in(opened)[0]
    found, left_out = opened_runs.named([opened_runs.word_of(theirs), runs[0].id], RunStore())
    assert theirs.id == runs[0].id and found == [runs[0]] and left_out == [theirs]


@pytest.mark.parametrize("word", ["0123456789abcdef:x", "../..:x", ":", "0123456789abcdef:../../x"])
def test_words_that_name_nothing_are_refused(word, home, monkeypatch):
    made(RunStore())
    with pytest.raises(CtkdError):
        opened_runs.named([word], RunStore())


def test_a_run_of_another_file_cannot_be_reached_by_a_path(home, monkeypatch):
    name, _ = brought(home, monkeypatch)
    made(RunStore())
    for word in (f"{name}:../x", f"{name}:", f"{name}:nowhere"):
        with pytest.raises(CtkdError):
            opened_runs.named([word], RunStore())


def test_a_view_of_both_goes_along_and_keeps_the_runs_that_it_shows(home, monkeypatch):
    name, opened = brought(home, monkeypatch)
    mine = made(RunStore(), 5.0)
    view = views.make("runs", {"compare": f"{mine.id},{opened_runs.word_of(opened[0])}"})
    assert [run.id for run in views.runs_in(view)] == [mine.id, opened[0].id]
    data = views.export(view)
    assert name.encode() not in data, "what this machine calls them is nobody's business"
    kept = views.keep(view)
    for first, _ in [item for item in views.kept() if item[0] != kept]:
        views.remove(first)
    assert views.runs_in(views.load(kept)), "the view of both still names them"
    views.remove(kept)
    assert opened_runs.kept() == [] and RunStore().list() == [mine]
    _, there, _ = views.open_file(data)
    assert {run.id for run in views.runs_in(there)} == {mine.id, opened[0].id}
