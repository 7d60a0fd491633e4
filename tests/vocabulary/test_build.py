"""Building a map in a process of its own: progress, one build for all who ask, cancel, death, refusal."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ctkd_core.background.attempt import work
from ctkd_core.background.lifecycle import Work
from ctkd_core.background.processes import process_alive, process_start, stop_process
from ctkd_core.background.status import JobStatus, write_status
from ctkd_core.errors import ProjectionError, TokenizerError
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary import build as builds
from ctkd_core.vocabulary import build_worker, project, store
from tests.patience import PATIENCE
from tests.tiny import saved, tiny_byte_level, tiny_metaspace


def wait_for(look, what: str):
    """What `look` gives once it's true; fails with `what` after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two tokenizer.json files and a home of their own; processes that are left over end with the test."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    paths = []
    for name, tokenizer in (("student", tiny_byte_level()), ("teacher", tiny_metaspace())):
        paths.append(str(saved(tokenizer, tmp_path / name)))
    yield tuple(paths)
    for launch in (tmp_path / "home").rglob("launch.json"):
        said = json.loads(launch.read_text())
        if process_alive(said["pid"], said["pid_start"]):
            os.kill(said["pid"], signal.SIGKILL)


def launched(build) -> dict:
    return json.loads((build.job.folder / "control" / "launch.json").read_text())


def held(pair, method="pieces"):
    """A build whose process stands still before it could end (not while it holds the folder's lock)."""
    build = builds.start(*pair, method)
    with Work(build.job.folder, JobStatus).lock():
        os.kill(launched(build)["pid"], signal.SIGSTOP)
    assert not build.status().ended_already
    return build


def test_a_build_tells_its_progress_and_leaves_the_map(pair):
    build = builds.start(*pair, "pieces", {"top_k": 2})
    shares = []
    wait_for(lambda: shares.append(build.status().share) or build.status().ended_already, "the end of the build")
    assert build.status().state == "finished", build.job.log_tail()
    assert shares == sorted(shares)
    assert build.status().share == 1.0
    found = build.result()
    expected = project(load_tokenizer(pair[0]), load_tokenizer(pair[1]), "pieces", top_k=2)
    assert (found.matrix != expected.matrix).nnz == 0
    assert f"{found.matrix.nnz:,} entries" in build.status().message


def test_whoever_asks_for_the_same_map_joins_its_build(pair):
    first = held(pair)
    second = builds.start(*pair, "pieces")
    assert second.job.folder == first.job.folder
    assert launched(second) == launched(first)
    other = builds.start(*pair, "pieces", {"top_k": 1})
    assert other.job.folder != first.job.folder
    os.kill(launched(first)["pid"], signal.SIGCONT)
    wait_for(lambda: first.status().ended_already and second.status().ended_already, "both handles")
    assert first.status() == second.status()
    assert second.status().state == "finished"


def test_a_map_of_other_roles_is_another_build(pair):
    student, teacher = map(load_tokenizer, pair)
    without = dataclasses.replace(student, eos_id=None)
    assert len({builds.handle(*sides, "pieces").job.folder for sides in ((student, teacher), (without, teacher))}) == 2


def test_a_killed_process_is_noticed_and_built_again(pair):
    build = held(pair)
    pid = launched(build)["pid"]
    os.kill(pid, signal.SIGKILL)
    status = wait_for(lambda: build.status() if build.status().ended_already else None, "the loss to be noticed")
    assert status.state == "lost"
    assert f"process {pid}" in status.message
    assert "Start it again" in status.message
    with pytest.raises(ProjectionError, match="ended without a word"):
        build.result()
    again = builds.start(*pair, "pieces")
    wait_for(lambda: again.status().ended_already, "the second attempt")
    assert again.status().state == "finished"
    assert again.result().matrix.nnz > 0


def test_cancelling_ends_even_a_process_that_does_not_answer(pair):
    build = held(pair)
    said = launched(build)
    build.job.cancel(wait=True)
    assert not process_alive(said["pid"], said["pid_start"])
    assert build.status().state == "cancelled"
    with pytest.raises(ProjectionError, match="Cancelled"):
        build.result()
    build.job.cancel()  # once more is harmless
    again = builds.start(*pair, "pieces")
    wait_for(lambda: again.status().ended_already, "the second attempt")
    assert again.status().state == "finished", "the old request to cancel is gone"


def ordered(pair, method="pieces", **options):
    """A build whose folder holds an order, for the worker to be run here."""
    build = builds.handle(load_tokenizer(pair[0]), load_tokenizer(pair[1]), method, options)
    build.job.folder.mkdir(parents=True)
    order = {"student": pair[0], "teacher": pair[1], "method": method, "options": build.options}
    (build.job.folder / "order.json").write_text(json.dumps(order))
    return build


def test_a_request_to_cancel_stops_the_work_between_two_steps(pair, monkeypatch):
    build = ordered(pair)

    def interrupted(student, teacher, method, progress, **options):
        progress(0.5, "half")
        (build.job.folder / "control" / "cancel").write_text("cancel\n")
        progress(0.6, "more")
        raise AssertionError("went on after the request")

    monkeypatch.setattr(store, "cached_project", interrupted)
    assert work([str(build.job.folder)], build_worker.build, builds.Order) == 130
    assert build.status().state == "cancelled"
    assert 0.5 < build.status().share < 0.6


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ProjectionError("the teacher has no tokens."), "the teacher has no tokens."),
        (MemoryError(), "Out of memory"),
        (OSError(28, "No space left on device"), "Free some space"),
        (RuntimeError("odd\nsecond line"), "RuntimeError: odd. The log"),
    ],
)
def test_a_failure_is_a_sentence(pair, monkeypatch, fault, said):
    build = ordered(pair)

    def broken(*args, **kwargs):
        raise fault

    monkeypatch.setattr(store, "cached_project", broken)
    assert work([str(build.job.folder)], build_worker.build, builds.Order) == 4
    assert build.status().state == "failed"
    assert said in build.status().message
    with pytest.raises(ProjectionError, match=said.split(".")[0]):
        build.result()


def test_a_cache_that_cannot_be_written_is_a_failure(pair, monkeypatch):
    build = ordered(pair)

    def full(*args, **kwargs):
        raise ProjectionError("can't save")

    monkeypatch.setattr(store, "save", full)
    assert work([str(build.job.folder)], build_worker.build, builds.Order) == 4
    assert "can't be written" in build.status().message


def test_a_finished_build_whose_map_was_deleted_says_so(pair):
    build = ordered(pair)
    assert work([str(build.job.folder)], build_worker.build, builds.Order) == 0
    folder = store.cached(build.student, build.teacher, "pieces")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ProjectionError, match="deleted since; build it again"):
        build.result()


def test_a_process_of_an_older_attempt_writes_nothing(pair):
    build = ordered(pair)
    write_status(build.job.folder, JobStatus(attempt=2))
    assert work([str(build.job.folder), "1"], build_worker.build, builds.Order) == 130
    assert build.status() == JobStatus(attempt=2)
    assert store.cached(build.student, build.teacher, "pieces") is None


def test_a_torn_status_is_said_and_built_again(pair):
    build = ordered(pair)
    (build.job.folder / "status.json").write_text("{half a")
    assert build.status().state == "damaged"
    with pytest.raises(ProjectionError, match=r"status\.json"):
        build.result()
    again = builds.start(*pair, "pieces")
    wait_for(lambda: again.status().ended_already, "the second attempt")
    assert again.status().state == "finished"


def test_the_worker_loads_no_torch(pair):
    build = ordered(pair)
    code = (
        "import sys; from ctkd_core.background.attempt import work; "
        "from ctkd_core.vocabulary.build_worker import build, Order; "
        "code = work([sys.argv[1]], build, Order); "
        "print(code, sorted({'torch', 'transformers', 'streamlit', 'plotly'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(build.job.folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.stdout.strip() == "0 []", answer.stderr


def test_unknown_names_are_refused_before_anything_starts(pair):
    with pytest.raises(ProjectionError, match="did you mean 'pieces'"):
        builds.start(*pair, "piece")
    with pytest.raises(ProjectionError, match="did you mean 'top_k'"):
        builds.start(*pair, "pieces", {"topk": 3})
    with pytest.raises(TokenizerError):
        builds.start("no-such-tokenizer", pair[1], "pieces")
    assert builds.find(load_tokenizer(pair[0]), load_tokenizer(pair[1]), "pieces") is None


def test_quick_maps_need_no_process(pair, monkeypatch):
    student, teacher = map(load_tokenizer, pair)
    assert builds.is_quick(student, teacher, "pieces"), "small vocabularies"
    monkeypatch.setattr(builds, "SMALL", 0)
    assert builds.is_quick(student, teacher, "exact")
    assert not builds.is_quick(student, teacher, "pieces")


def test_only_the_process_that_was_meant_is_stopped():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    start = process_start(child.pid)
    try:
        assert stop_process(child.pid, start + "0", grace=0.1), "an earlier process of that id is gone"
        assert child.poll() is None
        assert stop_process(child.pid, start, grace=3.0)
        assert child.wait(timeout=PATIENCE) == -signal.SIGTERM
    finally:
        child.kill()
