"""Processes that outlive their caller: what they inherit."""

from __future__ import annotations

import json
import os
import subprocess

from ctkd_core.background import processes
from tests import patience

TELL = "import json, os, sys; json.dump(dict(os.environ), sys.stdout)"


def environment_of(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    processes.start_detached(["-c", TELL], tmp_path / "log", {"MINE": "1"})
    assert started[0].wait(patience.LONG) == 0
    return json.loads((tmp_path / "log").read_text())


def test_a_process_belongs_to_no_launch(tmp_path, monkeypatch):
    launched = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    launched |= {"GROUP_RANK": "0", "ROLE_NAME": "default", "TORCHELASTIC_RUN_ID": "x", "ACCELERATE_USE_CPU": "true"}
    for name, value in (launched | {"OMP_NUM_THREADS": "1", "KEPT": "2"}).items():
        monkeypatch.setenv(name, value)
    found = environment_of(tmp_path, monkeypatch)
    assert not (launched | {"OMP_NUM_THREADS": ""}).keys() & found.keys()
    assert (found["MINE"], found["KEPT"]) == ("1", "2")


def test_no_progress_bar_goes_into_a_log(tmp_path):
    log, bar = tmp_path / "log", "from tqdm import tqdm; list(tqdm([1, 2])); print('done')"
    processes.start_detached(["-c", bar], log, processes.child_environment())
    patience.wait_for(lambda: "done" in log.read_text(), what="the process")
    assert log.read_text() == "done\n"


def test_modules_of_the_current_folder_are_none_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    (tmp_path / "tqdm.py").write_text("print('of somebody else')")
    processes.start_detached(["-c", "import tqdm; print('done')"], log, processes.child_environment())
    patience.wait_for(lambda: "done" in log.read_text(), what="the process")
    assert log.read_text() == "done\n"


def test_threads_that_a_user_set_stay(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert environment_of(tmp_path, monkeypatch)["OMP_NUM_THREADS"] == "1"


def test_places_of_modules_are_whole_and_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["own", "/there"]))
    root, *others = processes.child_environment()["PYTHONPATH"].split(os.pathsep)
    assert others == [str(tmp_path / "own"), "/there"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *others]))
    assert processes.child_environment()["PYTHONPATH"].split(os.pathsep) == [root, *others]
