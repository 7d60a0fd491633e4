"""Relative paths of a run are read from the folder in which it was made, wherever it is gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctkd_core.distill import worker, working_folder
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.config_file import read_table
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps import sweep as sweeps
from ctkd_core.distill.sweeps.definition import SweepDefinition
from ctkd_core.distill.training import launch


@pytest.fixture
def folders(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Two folders with a data.jsonl each; the first is the current one."""
    found = tmp_path / "mine", tmp_path / "another"
    for folder in found:
        folder.mkdir()
        (folder / "data.jsonl").write_text(f'{{"text": "{folder.name}"}}\n')
    monkeypatch.chdir(found[0])
    return found


@pytest.fixture
def still(monkeypatch) -> None:
    """No process is started."""
    monkeypatch.setattr(queue, "start_waiting", lambda root, besides=None: [])


def test_a_worker_reads_the_files_of_its_runs_folder(store, folders, monkeypatch):
    run = store.create(RunConfig(data="data.jsonl"))
    monkeypatch.setenv("CTKD_HOME", "home")
    read = []
    monkeypatch.setattr(worker, "lower_priority", lambda: None)
    monkeypatch.setattr(
        worker, "execute", lambda run, number=None: read.append((Path(run.config.data).read_text(), worker_home()))
    )

    def worker_home() -> str:
        return os.environ["CTKD_HOME"]

    os.chdir(folders[1])
    worker.main([str(run.dir)])
    assert read == [('{"text": "mine"}\n', str(folders[1] / "home"))]
    (folders[0] / "data.jsonl").unlink()
    folders[0].rmdir()
    os.chdir(folders[1])
    worker.main([str(run.dir)])
    assert "another" in read[1][0], "where the folder is gone it is read from the current one, as before"


def test_all_processes_of_a_launch_read_them(store, folders, monkeypatch):
    run = store.create(RunConfig(data="data.jsonl"))
    monkeypatch.setattr(launch, "join", lambda device: None)
    monkeypatch.setattr(launch, "_lead", lambda run: Path(run.config.data).read_text())
    os.chdir(folders[1])
    assert "mine" in launch.run_together(run.config, lambda: run)[1]


def test_paths_are_whole_for_whoever_reads_the_config_elsewhere(store, folders):
    further = [{"teacher": "smollm2", "teacher_cache": "rows", "method": "uld"}, {"teacher": "qwen", "method": "uld"}]
    (folders[0] / "rows").mkdir()
    (folders[0] / "smollm2").mkdir()  # a name of what comes along is no path
    given = {"data": "data.jsonl", "eval_data": "/x.jsonl", "teacher_path": "org/name", "method": "uld"}
    run = store.create(RunConfig(**given, teachers=further))
    assert working_folder.moved(run.config.to_dict(), run.dir) == {}
    assert read_table(run.dir)["data"] == "data.jsonl"
    os.chdir(folders[1])
    found = read_table(run.dir / "config.json")
    assert found["data"] == str(folders[0] / "data.jsonl")
    assert (found["eval_data"], found["teacher_path"], found["teacher"]) == ("/x.jsonl", "org/name", "smollm2")
    assert [entry.get("teacher_cache") for entry in found["teachers"]] == [str(folders[0] / "rows"), None]
    assert run.config.data == "data.jsonl", "what was asked stays"


@pytest.mark.parametrize("name", ["data.jsonl", "hf:owner/name", "bundled", "bundled:prose", "~/data.jsonl"])
def test_files_of_the_same_name_are_not_read_in_place_of_those_that_are_gone(store, folders, name):
    run = store.create(RunConfig(data=name, eval_data="data.jsonl"))
    (folders[0] / "data.jsonl").unlink()
    (folders[0] / "bundled").mkdir()
    os.chdir(folders[1])
    whole = str(folders[0] / "data.jsonl")
    found = working_folder.config_from_here(run.config, run.dir)
    assert (found.data, found.eval_data) == (whole if name == "data.jsonl" else name, whole)
    assert Path.cwd() == folders[1]


def test_results_of_files_of_another_folder_that_are_gone_are_not_taken_over(store, folders, still):
    from tests.distill.sweeps.test_sweep import ended

    config = RunConfig(data="data.jsonl")
    ended(store.create(config), "finished")
    (folders[0] / "data.jsonl").unlink()
    os.chdir(folders[1])
    assert sweeps.finished(store, [config]) == {}


@pytest.mark.parametrize("content", [None, "{}", '{"folder": "mine"}', '{"folder": ""}', '{"folder": "/no/such"}'])
def test_a_run_without_such_a_folder_is_read_here(store, folders, content):
    run = store.create(RunConfig(data="data.jsonl"))
    path = run.dir / working_folder.FOLDER
    path.unlink() if content is None else path.write_text(content)
    os.chdir(folders[1])
    working_folder.enter(run.dir)
    assert Path.cwd() == folders[1]
    assert read_table(run.dir)["data"] == "data.jsonl"


def test_a_run_is_made_in_a_folder_that_is_gone(store, folders):
    gone = folders[1] / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    run = store.create(RunConfig())
    os.chdir(folders[1])
    assert working_folder.elsewhere(run.dir) is None


def test_a_sweep_makes_all_runs_as_in_its_folder(store, folders, still):
    sweep = sweeps.start(store, SweepDefinition(methods=["sft"], seeds=[0, 1], base={"data": "data.jsonl"}))
    removed, stays = sweep.runs()
    store.remove(removed.id)
    os.chdir(folders[1])
    (made,) = [run for run in sweeps.get(store, sweep.id).resume() if run != stays]
    assert working_folder.elsewhere(made.dir) == folders[0]


def test_results_of_files_of_another_folder_are_not_taken_over(store, folders, still):
    from tests.distill.sweeps.test_sweep import ended

    config = RunConfig(data="data.jsonl")
    ended(store.create(config), "finished")
    assert len(sweeps.finished(store, [config])) == 1
    os.chdir(folders[1])
    assert sweeps.finished(store, [config]) == {}
    bundled = RunConfig()
    ended(store.create(bundled), "finished")
    os.chdir(folders[0])
    assert len(sweeps.finished(store, [bundled])) == 1, "it reads no file"
